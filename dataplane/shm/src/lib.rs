//! The shared-memory contract between control and dataplane.
//!
//! ```text
//!             control.shm: one inode for each life of the dataplane
//!   control ── commands ──────────────────────────────────▶ dataplane, main thread
//!           ◀───────────────────────────────── replies ────
//!           ◀───── notices, traces, counters (each thread) ─ workers, main thread, punt thread
//!             config.bin: one snapshot a generation, written by control, copied before it is read
//!             state.shm:  the session records, written by workers, read by anyone who lists them
//!             blocks.bin: port blocks that rest, from one life of the dataplane to the next
//! ```
//!
//! Rules of the house: nobody waits for anyone (a full ring refuses and counts), nobody believes anything (indices
//! are masked, lengths and enum bytes checked, every shared word is an atomic so that a hostile or dying writer can
//! produce a wrong value but not undefined behaviour), and every file says which build laid it out.
//!
//! `unsafe` lives in `mapping` alone.

#![deny(unsafe_code)]
// Without its regions the crate has no use for half of the ring.
#![cfg_attr(loom, allow(dead_code))]

pub mod messages;
pub mod ring;
mod sync;

// The model-checking run (`--cfg loom`) builds the ring and its messages alone: loom's atomics cannot lie in a file.
#[cfg(not(loom))]
pub mod block_journal;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod control_region;
#[cfg(not(loom))]
pub mod counters;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod layout;
#[cfg(not(loom))]
#[allow(unsafe_code)]
mod mapping;
#[cfg(not(loom))]
pub mod paths;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod published;
#[cfg(not(loom))]
mod region_file;
pub mod snapshot;
#[cfg(not(loom))]
pub mod snapshot_file;
#[cfg(not(loom))]
pub mod state_region;

#[cfg(not(loom))]
pub use self::{
    block_journal::{LostBlocks, read_block_journal, remove_block_journal, write_block_journal},
    clock::now_ns,
    control_region::{
        ControlSide, DataplaneInfo, DataplaneRegion, DataplaneState, Observer, PortInfo, WorkerSide,
    },
    counters::{Counter, CountersSnapshot, InterfaceCounters, InterfaceSnapshot, WorkerCounters},
    error::ShmError,
    layout::{LAYOUT_VERSION, MAX_INTERFACES, MAX_PORTS, MAX_WORKERS, layout_hash},
    paths::{Lock, RunDir},
    snapshot_file::{SnapshotError, read_snapshot, write_snapshot},
    state_region::{StateClock, StateGeometry, StateReader, StateRegion},
};
pub use messages::{
    Address, Command, MessageError, NeighbourState, Notice, Reply, Request, Stage, StageMark, TraceEnd,
    TraceFilter, TraceRecord,
};
pub use ring::{Consumer, Producer};
