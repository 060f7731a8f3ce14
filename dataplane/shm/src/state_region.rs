//! `state.shm`: the session records.
//!
//! ```text
//! offset 0      preamble (layout.rs), state header at 128
//! offset 4096   session records, 64 bytes each, addressed by index
//! ```
//!
//! The file is sparse: a page that no session ever lay on takes no memory, and is skipped by those who list
//! sessions. Nothing in it is an address, so it can be mapped anywhere and by a later process.
//!
//! Sparse also means that a full file system shows up as SIGBUS at the first session on a new page. That there
//! is room for the whole table is checked when it is made; the run directory's file system is to hold little else.

use core::sync::atomic::{AtomicU64, Ordering};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sluice_nat::{Session, TICKS_PER_SECOND, Tick};
use zerocopy::IntoBytes;

use crate::clock::now_ns;
use crate::error::ShmError;
use crate::layout::{MAX_WORKERS, Preamble, state_layout_hash};
use crate::mapping::{Mapping, Shared};
use crate::paths::RunDir;
use crate::process;
use crate::region_file::NewFile;

mod reader;
pub use reader::{Chunk, Chunks, StateReader};

/// Number of the layout of this file alone; counted up when the meaning of header or record changes.
pub const STATE_LAYOUT_VERSION: u32 = 1;

/// The most sessions: an index is 32 bits, and the top values mean other things.
pub const MAX_SESSIONS: u32 = 1 << 30;

const MAGIC: [u8; 8] = *b"SLUICEST";
const HEADER: usize = 128;
const SESSIONS: usize = 4096;
const NS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND as u64;

/// What is needed to make sense of the records; written once.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct StateHeader {
    boot_id: [AtomicU64; 2],
    created_ns: AtomicU64,
    clock_base_ns: AtomicU64,
    capacity: AtomicU64,
    sessions_offset: AtomicU64,
    workers: AtomicU64,
    max_addresses: AtomicU64,
    seed: [AtomicU64; 4],
}

const _: () = assert!(HEADER >= Preamble::BYTES && HEADER + size_of::<StateHeader>() <= SESSIONS);

/// What shapes the tables that are derived from the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StateGeometry {
    /// Workers.
    pub workers: u8,
    /// Pool addresses that there is room for.
    pub max_addresses: u32,
    /// Seed of every hashed table that the outside can fill.
    #[serde(skip)]
    pub seed: [u64; 4],
}

impl StateGeometry {
    /// A geometry with a fresh random seed.
    ///
    /// # Errors
    ///
    /// [`ShmError::Io`] if the kernel has no random numbers.
    pub fn new(workers: u8, max_addresses: u32) -> Result<Self, ShmError> {
        //= conformance PORT-07
        let seed = process::random().map_err(ShmError::io("read", Path::new("/dev/urandom")))?;
        Ok(Self { workers, max_addresses, seed })
    }
}

/// Turns the ticks of records into moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateClock {
    base_ns: u64,
}

impl StateClock {
    /// `CLOCK_BOOTTIME` of tick 0.
    pub fn base_ns(self) -> u64 {
        self.base_ns
    }

    /// The tick of a moment of `CLOCK_BOOTTIME`.
    #[inline]
    pub fn tick(self, now_ns: u64) -> Tick {
        Tick((now_ns.saturating_sub(self.base_ns) / NS_PER_TICK) as u32)
    }

    /// How long ago a tick was; zero for one that is yet to come.
    pub fn age(self, tick: Tick, now_ns: u64) -> Duration {
        Duration::from_nanos(u64::from(self.tick(now_ns).since(tick)) * NS_PER_TICK)
    }
}

/// The session records, as the dataplane that made them has them. They stay mapped as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub struct StateRegion {
    header: &'static StateHeader,
    sessions: &'static [Session],
}

impl StateRegion {
    /// Makes a region for `capacity` sessions, none of them live, and puts it in place of the old one. The caller holds
    /// the run directory's dataplane lock.
    ///
    /// # Errors
    ///
    /// [`ShmError::Bounds`] for 0 or more than [`MAX_SESSIONS`] sessions, [`ShmError::NoSpace`], [`ShmError::Io`].
    pub fn create(run: &RunDir, capacity: u32, geometry: StateGeometry) -> Result<Self, ShmError> {
        let path = run.state_region();
        check(&path, "the capacity in sessions", capacity.into(), MAX_SESSIONS.into())?;
        check(&path, "the number of workers", geometry.workers.into(), MAX_WORKERS as u64)?;
        let bytes = SESSIONS + capacity as usize * size_of::<Session>();
        let new = NewFile::create(&path, 0o640)?;
        new.extend(bytes as u64)?;
        let preamble = Preamble::new(MAGIC, state_layout_hash());
        new.file().write_all_at(preamble.as_bytes(), 0).map_err(ShmError::io("write to", &path))?;
        let mapping = Mapping::aligned(new.file(), bytes).map_err(ShmError::os("map", &path))?;

        let header: Shared<StateHeader> = mapping.at(HEADER);
        let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
        let (boot_id, now) = (process::boot_id(), now_ns());
        set(&header.boot_id[0], (boot_id >> 64) as u64);
        set(&header.boot_id[1], boot_id as u64);
        set(&header.created_ns, now);
        set(&header.clock_base_ns, now);
        set(&header.capacity, capacity.into());
        set(&header.sessions_offset, SESSIONS as u64);
        set(&header.workers, geometry.workers.into());
        set(&header.max_addresses, geometry.max_addresses.into());
        for (word, value) in header.seed.iter().zip(geometry.seed) {
            set(word, value);
        }
        let sessions = mapping.slice_at(SESSIONS, capacity as usize);
        let file = new.file().try_clone().map_err(ShmError::io("open", &path))?;
        // The old region goes first, so that there is room.
        new.place()?;
        mapping.populate(&file);
        Ok(Self { header: header.leak(), sessions: sessions.leak() })
    }

    /// The records, by index.
    pub fn sessions(&self) -> &'static [Session] {
        self.sessions
    }

    /// Their number.
    pub fn capacity(&self) -> u32 {
        self.sessions.len() as u32
    }

    /// The clock of their ticks.
    pub fn clock(&self) -> StateClock {
        self.header.clock()
    }

    /// The geometry that the region was made with.
    pub fn geometry(&self) -> StateGeometry {
        self.header.geometry()
    }
}

impl StateHeader {
    fn clock(&self) -> StateClock {
        StateClock { base_ns: self.clock_base_ns.load(Ordering::Relaxed) }
    }

    fn geometry(&self) -> StateGeometry {
        StateGeometry {
            workers: self.workers.load(Ordering::Relaxed) as u8,
            max_addresses: self.max_addresses.load(Ordering::Relaxed) as u32,
            seed: core::array::from_fn(|i| self.seed[i].load(Ordering::Relaxed)),
        }
    }

    fn boot_id(&self) -> u128 {
        let half = |i: usize| u128::from(self.boot_id[i].load(Ordering::Relaxed));
        half(0) << 64 | half(1)
    }
}

fn check(path: &Path, what: &'static str, found: u64, max: u64) -> Result<(), ShmError> {
    if found == 0 || found > max {
        return Err(ShmError::Bounds { path: path.into(), what, found, min: 1, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
