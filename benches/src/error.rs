//! What can go wrong with a measurement.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use sluice_nat::ConfigError;
use sluice_packet::DropReason;
use sluice_shm::{ShmError, SnapshotError};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine did not take the configuration of the benchmarks.
    #[error("the engine did not take the configuration of the benchmarks: {0}")]
    Config(#[from] ConfigError),
    /// The engine did not open a session.
    #[error("the engine opened {opened} of {wanted} sessions and refused the next: {reason:?}")]
    Refused {
        /// Sessions that were opened.
        opened: u32,
        /// Sessions that were to be opened.
        wanted: u32,
        /// Why not.
        reason: DropReason,
    },
    /// A workload did not handle all packets, so that its time means nothing.
    #[error("{handled} of {expected} packets were handled: the measurement means nothing")]
    Lost {
        /// Packets handled.
        handled: u64,
        /// Packets in the ring.
        expected: u64,
    },
    /// There is no such processor core.
    #[error("there is no core {core} to run on; there are {found}")]
    Core {
        /// Number asked for.
        core: usize,
        /// How many there are.
        found: usize,
    },
    /// The results could not be written.
    #[error("cannot write the results to {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There are no such results to read.
    #[error("cannot read results from {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line of a file of results is none.
    #[error("{path}, line {line}: expected a result or a machine and a method as JSON: {error}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1 on.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// No row is called so.
    #[error("no row fits {0:?}; docs/performance.md names them all")]
    NoRow(String),
    /// Sessions that were to end are still there, or others are gone.
    #[error("{found} sessions are left where there should be {expected}: the measurement means nothing")]
    Left {
        /// Sessions that should be left.
        expected: u32,
        /// Sessions that are.
        found: u32,
    },
    /// Runs that should have been the same were not.
    #[error("a run had {found} steps where the one before had {expected}: they cannot be compared")]
    OtherSteps {
        /// Steps of the first run.
        expected: usize,
        /// Steps of this one.
        found: usize,
    },
    /// The log of events could not be read.
    #[error("the control region in {0} has no dataplane behind it")]
    NoDataplane(PathBuf),
    /// A reader beside the worker needs a core of its own.
    #[error("a reader needs another core than the worker's, and there is one core only")]
    OneCore,
    /// There can be no run directory.
    #[error("cannot make a run directory in {path}: {error}; name another place with --dir")]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The run directory was not filled.
    #[error(transparent)]
    Shm(#[from] ShmError),
    /// The configuration was not written into the run directory.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// DPDK did not start, or gave no ports or no memory.
    #[error(transparent)]
    Dpdk(#[from] sluice_dpdk::Error),
    /// The routes of the worker's benchmark were refused.
    #[error(transparent)]
    Routes(#[from] sluice_dataplane::router::RouterError),
    /// Generator and device under test.
    #[error(transparent)]
    Io(#[from] crate::io::error::IoError),
    /// The reader did not run.
    #[error(
        "cannot run {path}: {error}; build it (cargo build --release -p sluice-control) or name it with --sluice"
    )]
    Run {
        /// The program.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The reader ended with an error.
    #[error("`{command}` ended with {status}")]
    Failed {
        /// Its command line.
        command: String,
        /// How.
        status: ExitStatus,
    },
    /// The reader left sessions out, or invented some.
    #[error("`{command}` listed {listed} of {live} sessions: its time means nothing")]
    Listed {
        /// Its command line.
        command: String,
        /// Sessions that it listed.
        listed: u64,
        /// Sessions that there are.
        live: u64,
    },
}
