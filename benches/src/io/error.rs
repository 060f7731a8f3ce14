//! What can go wrong between the generator and the device under test.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// Ports and addresses are made in a network of our own, which somebody has to give us.
    #[error(
        "this is the network that the machine's first process has; links and gateways are made in one of their own: \
         run it by scripts/bench, or under `unshare --net`"
    )]
    Network,
    /// Two busy loops need two cores.
    #[error("generator and device under test need a core each, and there is one core only")]
    OneCore,
    /// A helper could not be run, or failed.
    #[error("`{command}` failed: {why}")]
    Command {
        /// Its command line.
        command: String,
        /// What it or the system said.
        why: String,
    },
    /// A file could not be written or read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The device under test has ended.
    #[error("{name} ended with {status}:\n{log}")]
    Ended {
        /// The program.
        name: &'static str,
        /// How.
        status: ExitStatus,
        /// The end of what it wrote.
        log: String,
    },
    /// The device under test is not ready.
    #[error("{name} was not ready after {seconds} s: {why}")]
    NotReady {
        /// The program.
        name: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// What it said last.
        why: String,
    },
    /// A memif cannot be connected.
    #[error("the memif at {path} cannot be used: {error}")]
    Memif {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: rustix::io::Errno,
    },
    /// A port of DPDK cannot be used.
    #[error(transparent)]
    Dpdk(#[from] sluice_dpdk::Error),
    /// No carrier.
    #[error("the link of {0} does not come up")]
    LinkDown(String),
    /// Nothing comes through.
    #[error("no frame came through the device under test")]
    Silent,
    /// Flows were not opened.
    #[error("{missing} of {wanted} flows never came through the device under test")]
    Unopened {
        /// Flows that did not.
        missing: usize,
        /// Flows that should have.
        wanted: u32,
    },
    /// A frame came through wrongly.
    #[error("the device under test sent a wrong frame: {0}")]
    Wrong(String),
    /// Somebody else had the cores.
    #[error(
        "other programs used the cores of generator and device so much that nothing can be said; try again when they rest"
    )]
    Busy,
}
