//! What can go wrong with a measurement.

use std::io;
use std::path::PathBuf;

use sluice_nat::ConfigError;
use sluice_packet::DropReason;

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
}
