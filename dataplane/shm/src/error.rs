//! What can go wrong with the files of a run directory.

use std::io;
use std::path::{Path, PathBuf};

/// An error of a run directory, a lock or a region.
#[derive(Debug, thiserror::Error)]
pub enum ShmError {
    /// The system refused something.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried, as in "create".
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process of the same kind uses the run directory.
    #[error("{} is held by {}: expected to be the only {role} of this run directory; stop that process, or set another \
             directory with SLUICE_RUN_DIR", path.display(), holder(*.pid))]
    Locked {
        /// "dataplane" or "control".
        role: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if it has said so already.
        pid: Option<u32>,
    },
    /// The file is not what its name says.
    #[error("{} does not begin with \"{}\" but with {found:02x?}: it is not a file of Sluice; remove it and start the \
             dataplane again", path.display(), expected.escape_ascii())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// The magic that was expected.
        expected: [u8; 8],
        /// The bytes that were found.
        found: [u8; 8],
    },
    /// The file was laid out by another build.
    #[error("{} was written by sluice {} (layout {}, hash {:016x}), and this is sluice {} (layout {}, hash \
             {:016x}): run control, dataplane and the sluice command of one build",
            path.display(), theirs.version, theirs.layout, theirs.hash, ours.version, ours.layout, ours.hash)]
    LayoutMismatch {
        /// The file.
        path: PathBuf,
        /// Who wrote it.
        theirs: BuildId,
        /// Who reads it.
        ours: BuildId,
    },
    /// The file has another size than its header says.
    #[error("{} has {found} bytes, and its header asks for {expected}: it is damaged; restart the dataplane, which \
             makes a new one", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes that the header implies.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A number in a header, or one that was asked for, is out of bounds.
    #[error("{}: {what} is {found}, expected {min} to {max}", path.display())]
    Bounds {
        /// The file.
        path: PathBuf,
        /// Which number.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// The file system of the run directory is too small.
    #[error("{} needs {needed} bytes, and its file system has {available} free: lower `sessions`, or enlarge it \
             (for /run: mount -o remount,size=... /run)", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Bytes it may grow to.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
}

/// Which build laid out a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildId {
    /// Version of the package.
    pub version: String,
    /// Number of the layout.
    pub layout: u32,
    /// Hash over sizes, offsets and names.
    pub hash: u64,
}

impl ShmError {
    /// An `Io` error, ready for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The same for the errors of `rustix`.
    pub(crate) fn os(action: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Io { action, path, source: errno.into() }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run as root or as a member of the directory's group, or set SLUICE_RUN_DIR to a directory of your own"
        }
        io::ErrorKind::NotFound => "; is Sluice running, and with this run directory (SLUICE_RUN_DIR)?",
        io::ErrorKind::StorageFull => "; the file system of the run directory is full",
        _ => "",
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process with pid {pid}"))
}
