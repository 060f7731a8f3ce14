//! The run directory: the files by which control and dataplane find each other.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::ShmError;

/// Where the run directory is unless told otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/sluice";

/// The environment variable that tells otherwise.
pub const RUN_DIR_VARIABLE: &str = "SLUICE_RUN_DIR";

/// A run directory. Gateways on one machine each have their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The directory at a path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory of the command line, else of `SLUICE_RUN_DIR`, else `/run/sluice`.
    pub fn from_env(option: Option<PathBuf>) -> Self {
        let from_variable =
            || std::env::var_os(RUN_DIR_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self::new(option.or_else(from_variable).unwrap_or_else(|| PathBuf::from(DEFAULT_RUN_DIR)))
    }

    /// Makes the directory, with mode 0750, unless it exists.
    ///
    /// # Errors
    ///
    /// [`ShmError::Io`] if the system refuses.
    pub fn create(&self) -> Result<(), ShmError> {
        if self.path.is_dir() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.path)
            .map_err(ShmError::io("create the run directory", &self.path))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rings and counters, made by the dataplane.
    pub fn control_region(&self) -> PathBuf {
        self.path.join("control.shm")
    }

    /// Session records, made by the dataplane.
    pub fn state_region(&self) -> PathBuf {
        self.path.join("state.shm")
    }

    /// Port blocks that rest after a loss of sessions, written by the dataplane.
    pub fn block_journal(&self) -> PathBuf {
        self.path.join("blocks.bin")
    }

    /// The configuration snapshot, written by control.
    pub fn snapshot(&self) -> PathBuf {
        self.path.join("config.bin")
    }

    /// The socket of control's API.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The lock of the dataplane.
    pub fn dataplane_lock(&self) -> PathBuf {
        self.path.join("dataplane.lock")
    }

    /// The lock of control.
    pub fn control_lock(&self) -> PathBuf {
        self.path.join("control.lock")
    }

    /// Becomes the dataplane of the run directory, until the lock is dropped or the process ends.
    ///
    /// # Errors
    ///
    /// [`ShmError::Locked`] with the pid of the present one; [`ShmError::Io`].
    pub fn lock_dataplane(&self) -> Result<Lock, ShmError> {
        Lock::take(self.dataplane_lock(), "dataplane")
    }

    /// Becomes the control process of the run directory. Errors as [`RunDir::lock_dataplane`].
    ///
    /// # Errors
    ///
    /// [`ShmError::Locked`] with the pid of the present one; [`ShmError::Io`].
    pub fn lock_control(&self) -> Result<Lock, ShmError> {
        Lock::take(self.control_lock(), "control")
    }
}

/// A held lock. The kernel lets go of it when the process ends, however it ends; the file stays and means nothing.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    fn take(path: PathBuf, role: &'static str) -> Result<Self, ShmError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(ShmError::io("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // The pid is written just after the lock is taken: it may not be there yet.
                let mut text = String::new();
                let _ = file.take(32).read_to_string(&mut text);
                return Err(ShmError::Locked { role, path, pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(ShmError::Io { action: "lock", path, source }),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(ShmError::io("write the pid to", &path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_dataplane_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("run"));
        run.create().unwrap();
        run.create().unwrap();
        let held = run.lock_dataplane().unwrap();
        let _other_role = run.lock_control().unwrap();
        let error = run.lock_dataplane().unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, ShmError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
            "{text}"
        );
        assert!(
            text.contains(&format!("pid {}", std::process::id())) && text.contains("SLUICE_RUN_DIR"),
            "{text}"
        );
        drop(held);
        run.lock_dataplane().unwrap();
    }

    #[test]
    fn the_run_directory_is_not_for_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("a/b"));
        run.create().unwrap();
        let mode = std::fs::metadata(run.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
    }

    #[test]
    fn the_option_wins_over_everything() {
        assert_eq!(RunDir::from_env(Some("/x".into())).control_region(), Path::new("/x/control.shm"));
    }
}
