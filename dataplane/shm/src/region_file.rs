//! New files of the run directory: made under another name, filled, and only then put in place, so that nobody ever
//! opens half a file, and whoever has the old one mapped keeps it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::error::ShmError;

/// A file that is not yet in place; it vanishes if it never gets there.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    placed: bool,
}

impl NewFile {
    /// Begins a file that shall stand at `path`. What a process that was killed here left behind is removed: the locks of
    /// the run directory make sure that nobody else is at it.
    pub(crate) fn create(path: &Path, mode: u32) -> Result<Self, ShmError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        match fs::remove_file(&temporary) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(ShmError::Io { action: "remove", path: temporary, source });
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .map_err(ShmError::io("create", &temporary))?;
        let new = Self { file, temporary, path: path.to_owned(), placed: false };
        // The process's umask must not decide who may read along.
        new.file
            .set_permissions(Permissions::from_mode(mode))
            .map_err(ShmError::io("set the permissions of", &new.temporary))?;
        Ok(new)
    }

    /// The file, to be filled.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its size, with memory behind every page: a store to a page that cannot be had is SIGBUS.
    pub(crate) fn allocate(&self, bytes: u64) -> Result<(), ShmError> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can; then the space is only known to be there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.extend(bytes),
            Err(Errno::NOSPC) => Err(self.no_space(bytes, self.available()?)),
            result => result.map_err(ShmError::os("allocate", &self.temporary)),
        }
    }

    /// Gives it its size without memory, provided that the file system could back all of it.
    pub(crate) fn extend(&self, bytes: u64) -> Result<(), ShmError> {
        let available = self.available()?;
        if bytes > available {
            return Err(self.no_space(bytes, available));
        }
        self.file.set_len(bytes).map_err(ShmError::io("extend", &self.temporary))
    }

    /// Puts the file in place of what was there.
    pub(crate) fn place(mut self) -> Result<(), ShmError> {
        fs::rename(&self.temporary, &self.path).map_err(ShmError::io("rename into place", &self.path))?;
        self.placed = true;
        Ok(())
    }

    /// Bytes that the file may have: what is free, and what the file that it replaces gives back.
    fn available(&self) -> Result<u64, ShmError> {
        let system =
            statvfs(&self.temporary).map_err(ShmError::os("ask for the free space of", &self.temporary))?;
        if system.f_blocks == 0 {
            // A tmpfs without a limit.
            return Ok(u64::MAX);
        }
        let replaced = fs::metadata(&self.path).map_or(0, |old| old.blocks() * 512);
        Ok((system.f_bavail.saturating_mul(system.f_frsize)).saturating_add(replaced))
    }

    fn no_space(&self, needed: u64, available: u64) -> ShmError {
        ShmError::NoSpace { path: self.path.clone(), needed, available }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
