//! Which chunks are free, in use, or waiting for readers to leave.
//!
//! A chunk that no entry leads to any more may still be read by a worker that was under way. It is *retired*, in order,
//! and comes back into use only after the owner says that all readers have passed.

use std::collections::VecDeque;

use crate::address::{ROOT_BITS, STRIDE};

/// Number of the first chunk: entries are one array, and the root takes its beginning.
const FIRST: u32 = 1 << (ROOT_BITS - STRIDE);

/// No chunk left: the table is as it was before. If `retired` is not zero, reclaiming may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Chunks that the route needs.
    pub needed: usize,
    /// Chunks that are free.
    pub free: usize,
    /// Chunks that are free once [`Writer::reclaim`](crate::Writer::reclaim) says that no reader is in them.
    pub retired: usize,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { needed, free, retired } = self;
        write!(
            f,
            "the route needs {needed} chunks, {free} are free and {retired} not yet reclaimed; raise the capacity"
        )
    }
}

impl std::error::Error for Full {}

/// A moment in a writer's life, see [`Writer::mark`](crate::Writer::mark).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// The chunks of one table.
pub(crate) struct Chunks {
    capacity: u32,
    /// Chunks never used so far are those from here on: their memory is untouched.
    fresh: u32,
    free: Vec<u32>,
    retired: VecDeque<u32>,
    /// How many were retired since the beginning.
    ever_retired: u64,
    /// By chunk: routes that end in it and chunks right below it. At zero all its entries are the same.
    users: Vec<u16>,
}

impl Chunks {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            fresh: 0,
            free: Vec::new(),
            retired: VecDeque::new(),
            ever_retired: 0,
            users: vec![0; capacity as usize],
        }
    }

    pub(crate) fn free(&self) -> usize {
        (self.capacity - self.fresh) as usize + self.free.len()
    }

    pub(crate) fn retired(&self) -> usize {
        self.retired.len()
    }

    pub(crate) fn used(&self) -> usize {
        self.capacity as usize - self.free() - self.retired()
    }

    /// Whether `needed` chunks are free.
    pub(crate) fn check(&self, needed: usize) -> Result<(), Full> {
        let (free, retired) = (self.free(), self.retired());
        if needed <= free { Ok(()) } else { Err(Full { needed, free, retired }) }
    }

    /// A free chunk, its entries as its last user left them. Those used before come first: their pages are there.
    pub(crate) fn take(&mut self) -> Result<u32, Full> {
        if let Some(chunk) = self.free.pop() {
            return Ok(chunk);
        }
        self.check(1)?;
        self.fresh += 1;
        Ok(FIRST + self.fresh - 1)
    }

    pub(crate) fn retire(&mut self, chunk: u32) {
        self.ever_retired += 1;
        self.retired.push_back(chunk);
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.ever_retired)
    }

    /// Frees what was retired before `mark` and says how many that were.
    pub(crate) fn reclaim(&mut self, mark: Mark) -> usize {
        let reclaimed_before = self.ever_retired - self.retired.len() as u64;
        let count = mark.0.saturating_sub(reclaimed_before).min(self.retired.len() as u64) as usize;
        self.free.extend(self.retired.drain(..count));
        count
    }

    pub(crate) fn join(&mut self, chunk: u32) {
        self.users[(chunk - FIRST) as usize] += 1;
    }

    /// Takes one user away and says whether it was the last.
    pub(crate) fn leave(&mut self, chunk: u32) -> bool {
        let users = &mut self.users[(chunk - FIRST) as usize];
        *users -= 1;
        *users == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_chunk_comes_back_only_after_its_mark() {
        let mut chunks = Chunks::new(2);
        let (a, b) = (chunks.take().unwrap(), chunks.take().unwrap());
        assert_eq!((a, b), (FIRST, FIRST + 1));
        assert_eq!(chunks.take(), Err(Full { needed: 1, free: 0, retired: 0 }));
        chunks.retire(a);
        let mark = chunks.mark();
        chunks.retire(b);
        assert_eq!(chunks.take(), Err(Full { needed: 1, free: 0, retired: 2 }));
        assert_eq!(chunks.reclaim(mark), 1);
        assert_eq!(chunks.reclaim(mark), 0);
        assert_eq!(chunks.take(), Ok(a));
        assert_eq!((chunks.free(), chunks.retired(), chunks.used()), (0, 1, 1));
        assert_eq!(chunks.reclaim(chunks.mark()), 1);
        assert_eq!(chunks.take(), Ok(b));
    }
}
