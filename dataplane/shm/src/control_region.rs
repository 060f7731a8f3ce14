//! `control.shm`: rings and counters between control and dataplane.
//!
//! ```text
//! offset 0      preamble (layout.rs), dataplane header at 128, control header at 2048
//! offset 4096   32 port records
//!               command ring, reply ring
//!               for each thread: counters, notice ring, trace ring
//! ```
//!
//! Threads are the workers, then the main thread, then the punt thread. The dataplane makes the file anew in each of its
//! lives; control attaches, finds out when it is no longer the present one, and attaches again.

use core::sync::atomic::{AtomicU64, Ordering};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::counters::WorkerCounters;
use crate::error::ShmError;
use crate::layout::{MAX_PORTS, MAX_WORKERS, Preamble, layout_hash};
use crate::mapping::{Access, Mapping, Shared};
use crate::messages::{Message, Notice, Reply, Request, TraceRecord};
use crate::process;
use crate::published::Published;
use crate::ring::{RingIndices, RingMemory, ring_bytes};

mod control;
mod dataplane;
mod observer;
mod port;

pub use control::ControlSide;
pub use dataplane::{DataplaneRegion, WorkerSide};
pub use observer::Observer;
pub use port::PortInfo;
use port::{PORT_WORDS, PortRecord};

/// First bytes of the file.
const MAGIC: [u8; 8] = *b"SLUICECT";

/// Threads besides the workers: the main thread and the punt thread.
pub const EXTRA_THREADS: usize = 2;

/// Slots of the rings. Commands: a neighbour table of thousands is replayed when either side restarts.
const COMMAND_SLOTS: usize = 4096;
const REPLY_SLOTS: usize = 256;
const NOTICE_SLOTS: usize = 4096;
const TRACE_SLOTS: usize = 256;

const DATAPLANE_HEADER: usize = 128;
const CONTROL_HEADER: usize = 2048;
const PORTS: usize = 4096;
const COMMANDS: usize = align(PORTS + MAX_PORTS * size_of::<PortRecord>());
const REPLIES: usize = align(COMMANDS + ring_bytes::<Request>(COMMAND_SLOTS));
const THREADS: usize = align(REPLIES + ring_bytes::<Reply>(REPLY_SLOTS));
// Within a thread's part:
const NOTICES: usize = align(size_of::<WorkerCounters>());
const TRACES: usize = align(NOTICES + ring_bytes::<Notice>(NOTICE_SLOTS));
const THREAD_BYTES: usize = align(TRACES + ring_bytes::<TraceRecord>(TRACE_SLOTS));

/// Parts begin on pages of their own.
const fn align(offset: usize) -> usize {
    offset.next_multiple_of(4096)
}

/// Size of the file for a number of workers.
pub(crate) const fn bytes(workers: usize) -> usize {
    THREADS + (workers + EXTRA_THREADS) * THREAD_BYTES
}

const _: () = assert!(DATAPLANE_HEADER >= Preamble::BYTES);
const _: () = assert!(DATAPLANE_HEADER + size_of::<DataplaneHeader>() <= CONTROL_HEADER);
const _: () = assert!(CONTROL_HEADER + size_of::<ControlHeader>() <= PORTS);

/// What the dataplane says of itself; written by its main thread.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct DataplaneHeader {
    epoch: AtomicU64,
    pid: AtomicU64,
    process_start: AtomicU64,
    workers: AtomicU64,
    started_ns: AtomicU64,
    state: AtomicU64,
    heartbeat_ns: AtomicU64,
    generation: AtomicU64,
    ports: AtomicU64,
    active_workers: AtomicU64,
}

/// What control says of itself; written by control.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct ControlHeader {
    pid: AtomicU64,
    process_start: AtomicU64,
    heartbeat_ns: AtomicU64,
    /// The last sequence given to a command. Here, because replies to the commands of a control that died
    /// must not be taken for answers by the next.
    sequence: AtomicU64,
}

/// What the dataplane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum DataplaneState {
    /// Not yet forwarding.
    Starting = 0,
    /// Forwarding, as far as it is configured.
    Running = 1,
    /// About to end.
    Stopping = 2,
}

impl DataplaneState {
    /// What is not known is not running.
    fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Running,
            2 => Self::Stopping,
            _ => Self::Starting,
        }
    }
}

/// Both processes, as the headers have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataplaneInfo {
    /// Random number of this life of the dataplane.
    pub epoch: u64,
    /// Its process.
    pub pid: u32,
    /// Whether that process still lives.
    pub alive: bool,
    /// What it is doing.
    pub state: DataplaneState,
    /// Workers that there is room for.
    pub workers: usize,
    /// Workers that the active configuration has; 0: none runs yet.
    pub active_workers: usize,
    /// Generation of the configuration that every worker works with; 0: none yet.
    pub generation: u64,
    /// `CLOCK_BOOTTIME` of its start.
    pub started_ns: u64,
    /// `CLOCK_BOOTTIME` of its last heartbeat; 0: none yet.
    pub heartbeat_ns: u64,
    /// The control process that attached last; 0: none.
    pub control_pid: u32,
    /// Whether that process still lives.
    pub control_alive: bool,
    /// `CLOCK_BOOTTIME` of its last heartbeat; 0: none yet.
    pub control_heartbeat_ns: u64,
}

impl DataplaneInfo {
    /// Nanoseconds since the dataplane's last heartbeat; `None` before the first.
    pub fn heartbeat_age_ns(&self, now_ns: u64) -> Option<u64> {
        (self.heartbeat_ns != 0).then(|| now_ns.saturating_sub(self.heartbeat_ns))
    }

    /// Nanoseconds since control's last heartbeat; `None` before the first.
    pub fn control_heartbeat_age_ns(&self, now_ns: u64) -> Option<u64> {
        (self.control_heartbeat_ns != 0).then(|| now_ns.saturating_sub(self.control_heartbeat_ns))
    }
}

/// The parts of a mapped region.
#[derive(Debug)]
struct View {
    mapping: Arc<Mapping>,
    dataplane: Shared<DataplaneHeader>,
    control: Shared<ControlHeader>,
    ports: Shared<[Published<PORT_WORDS>]>,
    counters: Vec<Shared<WorkerCounters>>,
    /// Device and inode of the file.
    identity: (u64, u64),
}

impl View {
    fn new(mapping: Arc<Mapping>, workers: usize, identity: (u64, u64)) -> Self {
        let threads = workers + EXTRA_THREADS;
        Self {
            dataplane: mapping.at(DATAPLANE_HEADER),
            control: mapping.at(CONTROL_HEADER),
            ports: mapping.slice_at(PORTS, MAX_PORTS),
            counters: (0..threads).map(|i| mapping.at(THREADS + i * THREAD_BYTES)).collect(),
            mapping,
            identity,
        }
    }

    /// Opens the region at a path, having checked everything about it; `None` if there is none.
    fn open(path: &Path, access: Access) -> Result<Option<Self>, ShmError> {
        let write = access == Access::ReadWrite;
        let file = match File::options().read(true).write(write).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => result.map_err(ShmError::io("open", path))?,
        };
        Preamble::check_file(&file, path, &Preamble::new(MAGIC, layout_hash()))?;
        let metadata = file.metadata().map_err(ShmError::io("examine", path))?;
        let found = metadata.len();
        // The header is needed to know the size, so its own page must be there before it is looked at.
        let size = |expected: u64| {
            let wrong = ShmError::Size { path: path.into(), expected, found };
            if found < expected { Err(wrong) } else { Ok(expected as usize) }
        };
        let map = |bytes| Mapping::new(&file, bytes, access).map_err(ShmError::os("map", path));
        let header: Shared<DataplaneHeader> = map(size(PORTS as u64)?)?.at(DATAPLANE_HEADER);
        let workers = header.workers.load(Ordering::Relaxed);
        if workers == 0 || workers > MAX_WORKERS as u64 {
            return Err(ShmError::Bounds {
                path: path.into(),
                what: "the number of workers",
                found: workers,
                min: 1,
                max: MAX_WORKERS as u64,
            });
        }
        let workers = workers as usize;
        let mapping = map(size(bytes(workers) as u64)?)?;
        Ok(Some(Self::new(mapping, workers, (metadata.dev(), metadata.ino()))))
    }

    fn threads(&self) -> usize {
        self.counters.len()
    }

    fn ring<M: Message>(&self, offset: usize, slots: usize) -> RingMemory {
        let indices = self.mapping.at(offset);
        let words = slots * (size_of::<M::Wire>() / 8);
        RingMemory { indices, words: self.mapping.slice_at(offset + size_of::<RingIndices>(), words) }
    }

    fn commands(&self) -> RingMemory {
        self.ring::<Request>(COMMANDS, COMMAND_SLOTS)
    }

    fn replies(&self) -> RingMemory {
        self.ring::<Reply>(REPLIES, REPLY_SLOTS)
    }

    fn notices(&self, thread: usize) -> RingMemory {
        self.ring::<Notice>(THREADS + thread * THREAD_BYTES + NOTICES, NOTICE_SLOTS)
    }

    fn traces(&self, thread: usize) -> RingMemory {
        self.ring::<TraceRecord>(THREADS + thread * THREAD_BYTES + TRACES, TRACE_SLOTS)
    }

    fn dataplane_is_alive(&self) -> bool {
        let header = &self.dataplane;
        is_alive(&header.pid, &header.process_start)
    }

    fn info(&self) -> DataplaneInfo {
        let (dataplane, control) = (&self.dataplane, &self.control);
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        DataplaneInfo {
            epoch: read(&dataplane.epoch),
            pid: read(&dataplane.pid) as u32,
            alive: self.dataplane_is_alive(),
            state: DataplaneState::from_number(read(&dataplane.state)),
            workers: self.threads() - EXTRA_THREADS,
            active_workers: (read(&dataplane.active_workers) as usize).min(self.threads() - EXTRA_THREADS),
            generation: read(&dataplane.generation),
            started_ns: read(&dataplane.started_ns),
            heartbeat_ns: read(&dataplane.heartbeat_ns),
            control_pid: read(&control.pid) as u32,
            control_alive: is_alive(&control.pid, &control.process_start),
            control_heartbeat_ns: read(&control.heartbeat_ns),
        }
    }

    fn ports(&self) -> Vec<Option<PortInfo>> {
        let count = (self.dataplane.ports.load(Ordering::Relaxed) as usize).min(MAX_PORTS);
        self.ports[..count]
            .iter()
            .map(|record| record.load().map(|wire| PortInfo::from_wire(&wire)))
            .collect()
    }
}

fn is_alive(pid: &AtomicU64, start: &AtomicU64) -> bool {
    process::is_alive(pid.load(Ordering::Relaxed) as u32, start.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
