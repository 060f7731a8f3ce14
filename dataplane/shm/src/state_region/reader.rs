//! Listing sessions from outside: read-only, chunk by chunk, without asking the workers.

use core::sync::atomic::Ordering;
use std::fs::File;
use std::io::ErrorKind;

use rustix::fs::{SeekFrom, seek};
use sluice_nat::{Session, SessionView};

use super::{HEADER, MAGIC, MAX_SESSIONS, SESSIONS, StateClock, StateGeometry, StateHeader, check};
use crate::error::ShmError;
use crate::layout::{Preamble, state_layout_hash};
use crate::mapping::{Access, Mapping, Shared};
use crate::paths::RunDir;
use crate::process;

/// Records of a chunk at most: 256 KiB.
const CHUNK: u64 = 4096;

const RECORD: u64 = size_of::<Session>() as u64;

/// A read-only look at the session records.
#[derive(Debug)]
pub struct StateReader {
    file: File,
    header: Shared<StateHeader>,
    sessions: Shared<[Session]>,
}

impl StateReader {
    /// Opens the records of a run directory.
    ///
    /// # Errors
    ///
    /// [`ShmError::Io`] if there are none, [`ShmError::LayoutMismatch`] if they are of another build, and whatever else is
    /// wrong with the file.
    pub fn open(run: &RunDir) -> Result<Self, ShmError> {
        let path = run.state_region();
        let file = File::open(&path).map_err(ShmError::io("open", &path))?;
        Preamble::check_file(&file, &path, &Preamble::new(MAGIC, state_layout_hash()))?;
        let found = file.metadata().map_err(ShmError::io("examine", &path))?.len();
        let wrong_size = |expected| ShmError::Size { path: path.clone(), expected, found };
        let map = |bytes| Mapping::new(&file, bytes, Access::Read).map_err(ShmError::os("map", &path));
        if found < SESSIONS as u64 {
            return Err(wrong_size(SESSIONS as u64));
        }
        let header: Shared<StateHeader> = map(SESSIONS)?.at(HEADER);
        let capacity = header.capacity.load(Ordering::Relaxed);
        check(&path, "the capacity in sessions", capacity, MAX_SESSIONS.into())?;
        let offset = header.sessions_offset.load(Ordering::Relaxed);
        if offset != SESSIONS as u64 {
            let (min, max) = (SESSIONS as u64, SESSIONS as u64);
            return Err(ShmError::Bounds {
                path,
                what: "the offset of the sessions",
                found: offset,
                min,
                max,
            });
        }
        let bytes = offset + capacity * RECORD;
        if found < bytes {
            return Err(wrong_size(bytes));
        }
        let sessions = map(bytes as usize)?.slice_at(SESSIONS, capacity as usize);
        Ok(Self { file, header, sessions })
    }

    /// Opens what the last life of the dataplane left in a run directory, before a new region takes its place. `None` if there
    /// is nothing, or nothing of this boot: when the machine went down, some pages had been written to the disk and some not.
    ///
    /// # Errors
    ///
    /// As [`StateReader::open`], but for a file that is not there.
    pub fn open_last_life(run: &RunDir) -> Result<Option<Self>, ShmError> {
        match Self::open(run) {
            Ok(reader) => Ok(reader.is_of_this_boot().then_some(reader)),
            Err(ShmError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records, live or not.
    pub fn capacity(&self) -> u32 {
        self.sessions.len() as u32
    }

    /// The clock of the records' ticks.
    pub fn clock(&self) -> StateClock {
        self.header.clock()
    }

    /// The geometry that the region was made with.
    pub fn geometry(&self) -> StateGeometry {
        self.header.geometry()
    }

    /// `CLOCK_BOOTTIME` when the region was made.
    pub fn created_ns(&self) -> u64 {
        self.header.created_ns.load(Ordering::Relaxed)
    }

    /// Whether the region was made since the machine booted: only then do its ticks mean anything.
    pub fn is_of_this_boot(&self) -> bool {
        self.header.boot_id() == process::boot_id()
    }

    /// One session, if its record is live.
    pub fn session(&self, index: u32) -> Option<SessionView> {
        self.sessions.get(index as usize)?.read()
    }

    /// Every live session with its index. Those that come and go meanwhile may be in it or not; none is torn.
    pub fn iter(&self) -> impl Iterator<Item = (u32, SessionView)> + '_ {
        self.chunks().flat_map(|chunk| chunk.sessions())
    }

    /// The same in chunks of at most 4096 records, so that the caller can pause in between. Extents
    /// that were never written to are passed over without touching them: touched, they would take memory.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { reader: self, next: 0, end: 0 }
    }

    /// The next records from `next` on, first and end, that lie on pages that were ever written to.
    fn extent(&self, next: u64) -> Option<(u64, u64)> {
        let capacity = self.sessions.len() as u64;
        if next >= capacity {
            return None;
        }
        let offset = SESSIONS as u64;
        // An error is the end of the data (ENXIO). A file system that knows no holes says that all is data.
        let data = seek(&self.file, SeekFrom::Data(offset + next * RECORD)).ok()?;
        let hole = seek(&self.file, SeekFrom::Hole(data)).ok()?;
        let first = next.max(data.saturating_sub(offset) / RECORD);
        let end = hole.saturating_sub(offset).div_ceil(RECORD).min(capacity);
        (first < end).then_some((first, end))
    }
}

/// The chunks of a [`StateReader`].
#[derive(Debug)]
pub struct Chunks<'a> {
    reader: &'a StateReader,
    next: u64,
    end: u64,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        if self.next >= self.end {
            (self.next, self.end) = self.reader.extent(self.next)?;
        }
        let first = self.next;
        self.next = self.end.min(first + CHUNK);
        let records = &self.reader.sessions[first as usize..self.next as usize];
        Some(Chunk { first: first as u32, records })
    }
}

/// Some neighbouring records.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    first: u32,
    // Not handed out: a store to one, which `Session` allows, would be SIGSEGV in a read-only mapping.
    records: &'a [Session],
}

impl<'a> Chunk<'a> {
    /// Index of the first record.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Records, live or not.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// The live ones with their indices.
    pub fn sessions(self) -> impl Iterator<Item = (u32, SessionView)> + use<'a> {
        let first = self.first;
        self.records
            .iter()
            .enumerate()
            .filter_map(move |(i, record)| Some((first + i as u32, record.read()?)))
    }
}
