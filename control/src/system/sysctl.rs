//! Files below `/proc/sys/net`, in the network namespace of the current thread.

use std::io;
use std::path::{Path, PathBuf};

use super::{Result, SystemError};

/// IPv4 or IPv6, as directories of `/proc/sys/net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    const fn directory(self) -> &'static str {
        match self {
            Self::V4 => "/proc/sys/net/ipv4",
            Self::V6 => "/proc/sys/net/ipv6",
        }
    }
}

/// The file of a setting of one interface.
pub(crate) fn of_interface(family: Family, interface: &str, key: &str) -> PathBuf {
    Path::new(family.directory()).join("conf").join(interface).join(key)
}

/// The file of a setting of neighbour tables.
pub(crate) fn of_neighbours(family: Family, key: &str) -> PathBuf {
    Path::new(family.directory()).join("neigh/default").join(key)
}

/// Reads a setting without the newline at its end.
pub(crate) fn read(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(SystemError::Proc { asked: "read".into(), path: path.into(), source }),
    }
}

/// Reads a setting; `None` if this kernel, interface or namespace has no such file.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Err(SystemError::Proc { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Writes a setting.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    std::fs::write(path, value).map_err(|source| SystemError::Proc {
        asked: format!("write {value} to"),
        path: path.into(),
        source,
    })
}

/// Writes a setting if the file exists and holds something else. Says whether the file exists.
pub(crate) fn ensure(path: &Path, value: &str) -> Result<bool> {
    match read_if_present(path)? {
        None => Ok(false),
        Some(found) if found == value => Ok(true),
        Some(_) => write(path, value).map(|()| true),
    }
}
