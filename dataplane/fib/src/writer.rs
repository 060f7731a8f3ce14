//! The writer's side: routes in, routes out, chunks back.
//!
//! A route is *painted*: written to every entry it covers that no longer route has, each a single store that takes a
//! reader from the old answer to the new. To know which those are the writer keeps, for itself, the prefix length that
//! each entry came from. A new chunk is filled with the answer of the entry it hangs below before it is hung there, and a
//! chunk is let go only when all its entries agree, so the shape of the trie changes without changing any answer.
//!
//! Cost: a route of length /24 or longer touches few entries; shorter ones 2^(24 - length) root entries and the chunks
//! below them. Loading in the order of [`Prefix`] paints the wide ones before there is much below.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::address::{Address, MAX_DEPTH, ROOT_BITS, STRIDE};
use crate::arena::Arena;
use crate::chunks::{Chunks, Full, Mark};
use crate::entry::{Entry, Target};
use crate::fib::{CHUNK_ENTRIES, Fib};
use crate::prefix::Prefix;
use crate::rib::Rib;

/// The single writer of a table: it owns the routes, readers hold [`Writer::fib`]. It can move to another thread, but not
/// be shared between threads.
pub struct Writer<A: Address> {
    fib: Arc<Fib<A>>,
    rib: Rib<A>,
    chunks: Chunks,
    /// By entry that is not a chunk: the length of the route it was painted from, zero if it is empty.
    lengths: Vec<u8>,
    not_sync: PhantomData<Cell<()>>,
}

/// The writer of a [`Fib4`](crate::Fib4).
pub type Writer4 = Writer<u32>;
/// The writer of a [`Fib6`](crate::Fib6).
pub type Writer6 = Writer<u128>;

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Routes, the default route among them.
    pub routes: usize,
    /// Chunks that entries lead to.
    pub chunks_used: usize,
    /// Chunks ready for use.
    pub chunks_free: usize,
    /// Chunks that wait for [`Writer::reclaim`].
    pub chunks_retired: usize,
}

/// The chunks on the way to the entries of a prefix, from below the root, each with the entry that leads to it.
struct Path {
    steps: [(usize, u32); MAX_DEPTH],
    len: usize,
}

impl<A: Address> Writer<A> {
    /// Takes over `fib`. Having it by value makes this its only writer; one that had a writer before is replaced by an
    /// empty one, for its routes went with that writer.
    pub fn new(fib: Fib<A>) -> Self {
        let mut fib = if fib.adopted { Fib::new(fib.config()) } else { fib };
        fib.adopted = true;
        Self {
            rib: Rib::new(),
            chunks: Chunks::new(fib.config().chunks as u32),
            lengths: vec![0; fib.arena().len()],
            fib: Arc::new(fib),
            not_sync: PhantomData,
        }
    }

    /// The table to look up in, for as many readers as there are.
    pub fn fib(&self) -> Arc<Fib<A>> {
        Arc::clone(&self.fib)
    }

    /// Adds a route, or gives the route for `prefix` another target. If there are too few chunks nothing has changed.
    pub fn insert(&mut self, prefix: Prefix<A>, target: Target) -> Result<(), Full> {
        if prefix.len() == 0 {
            self.rib.insert(prefix, target);
            self.fib.set_default(Some(target));
            return Ok(());
        }
        self.chunks.check(self.missing(prefix))?;
        let path = self.open(prefix)?;
        let is_new = self.rib.insert(prefix, target).is_none();
        if let (true, Some(&(_, chunk))) = (is_new, path.steps().last()) {
            self.chunks.join(chunk);
        }
        let (start, count) = path.entries(prefix);
        self.paint(start, count, &(0..=prefix.len()), Entry::leaf(Some(target)), prefix.len());
        Ok(())
    }

    /// Removes a route and says whether there was one. Readers go over to the route that covers it.
    pub fn remove(&mut self, prefix: Prefix<A>) -> bool {
        if self.rib.remove(prefix).is_none() {
            return false;
        }
        if prefix.len() == 0 {
            self.fib.set_default(None);
            return true;
        }
        // Under the default route entries are empty.
        let (entry, length) = match self.rib.covering(prefix) {
            Some((covering, target)) if covering.len() > 0 => (Entry::leaf(Some(target)), covering.len()),
            _ => (Entry::EMPTY, 0),
        };
        let path = self.path(prefix);
        let (start, count) = path.entries(prefix);
        self.paint(start, count, &(prefix.len()..=prefix.len()), entry, length);
        self.close(&path);
        true
    }

    /// The target of the route for exactly this prefix.
    pub fn get(&self, prefix: Prefix<A>) -> Option<Target> {
        self.rib.get(prefix)
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.rib.len()
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All routes, by address, covering ones before what they cover.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix<A>, Target)> {
        self.rib.iter()
    }

    /// How full the table is.
    pub fn stats(&self) -> Stats {
        Stats {
            routes: self.rib.len(),
            chunks_used: self.chunks.used(),
            chunks_free: self.chunks.free(),
            chunks_retired: self.chunks.retired(),
        }
    }

    /// Makes all retired chunks free for use again.
    ///
    /// The caller knows that since the last [`remove`](Self::remove) every reader has been outside of a lookup at
    /// least once: for the workers, that the iteration counter of each has moved on. Too early, a lookup under way may
    /// answer with the target of another address; it is no memory error.
    pub fn reclaim(&mut self) {
        self.reclaim_to(self.mark());
    }

    /// This moment, for [`reclaim_to`](Self::reclaim_to). A writer that never pauses takes a mark, reads the workers'
    /// iteration counters, goes on changing routes, and reclaims up to the mark when every counter has moved.
    pub fn mark(&self) -> Mark {
        self.chunks.mark()
    }

    /// Makes free what was retired before `mark`, of this same writer, and says how many chunks that are. The same is asked
    /// of the caller as for [`reclaim`](Self::reclaim), since `mark` was taken.
    pub fn reclaim_to(&mut self, mark: Mark) -> usize {
        self.chunks.reclaim(mark)
    }

    /// The chunks that lead to the entries of `prefix`, as far as they exist.
    fn path(&self, prefix: Prefix<A>) -> Path {
        let mut path = Path::ROOT;
        let mut slot = prefix.address().root();
        for level in 1..=levels(prefix.len()) {
            let Some(base) = self.fib.arena().get(slot).base() else { break };
            path.push(slot, base);
            slot = base + byte(prefix.address(), level);
        }
        path
    }

    /// Chunks that must be made before `prefix` can be painted.
    fn missing(&self, prefix: Prefix<A>) -> usize {
        usize::from(levels(prefix.len())) - self.path(prefix).len
    }

    /// Makes the chunks that `prefix` lacks, without changing any answer.
    fn open(&mut self, prefix: Prefix<A>) -> Result<Path, Full> {
        let arena = self.fib.arena();
        let mut path = self.path(prefix);
        for level in path.len as u8 + 1..=levels(prefix.len()) {
            let slot = match path.steps().last() {
                Some(&(_, above)) => {
                    self.chunks.join(above);
                    base(above) + byte(prefix.address(), level - 1)
                }
                None => prefix.address().root(),
            };
            let chunk = self.chunks.take()?;
            let entries = base(chunk)..base(chunk) + CHUNK_ENTRIES;
            let inherited = arena.get(slot);
            entries.clone().for_each(|index| arena.set(index, inherited));
            let length = self.lengths[slot];
            self.lengths[entries].fill(length);
            arena.set(slot, Entry::chunk(chunk));
            path.push(slot, base(chunk));
        }
        Ok(path)
    }

    /// Takes one route out of the last chunk of `path` and lets go, from below, of the chunks that no route needs.
    fn close(&mut self, path: &Path) {
        for &(slot, chunk) in path.steps().iter().rev() {
            if !self.chunks.leave(chunk) {
                return;
            }
            // No route ends in it and no chunk hangs below: all its entries were inherited and are the same.
            let first = base(chunk);
            debug_assert!(agree(self.fib.arena(), first));
            self.lengths[slot] = self.lengths[first];
            self.fib.arena().set(slot, self.fib.arena().get(first));
            self.chunks.retire(chunk);
        }
    }

    /// Replaces, at and below `count` entries from `start`, what was painted from a route with a length in `over`.
    fn paint(&mut self, start: usize, count: usize, over: &RangeInclusive<u8>, entry: Entry, length: u8) {
        for index in start..start + count {
            let current = self.fib.arena().get(index);
            if let Some(base) = current.base() {
                self.paint(base, CHUNK_ENTRIES, over, entry, length);
            } else if over.contains(&self.lengths[index]) {
                self.lengths[index] = length;
                if current != entry {
                    self.fib.arena().set(index, entry);
                }
            }
        }
    }
}

impl Path {
    /// The way to the root: no chunks.
    const ROOT: Self = Self { steps: [(0, 0); MAX_DEPTH], len: 0 };

    fn push(&mut self, slot: usize, base: usize) {
        self.steps[self.len] = (slot, (base / CHUNK_ENTRIES) as u32);
        self.len += 1;
    }

    fn steps(&self) -> &[(usize, u32)] {
        &self.steps[..self.len]
    }

    /// The first entry of `prefix` at the end of its path, and how many there are.
    fn entries<A: Address>(&self, prefix: Prefix<A>) -> (usize, usize) {
        let level = self.len as u8;
        let start = match self.steps().last() {
            Some(&(_, chunk)) => base(chunk) + byte(prefix.address(), level),
            None => prefix.address().root(),
        };
        (start, 1 << (ROOT_BITS + STRIDE * level - prefix.len()))
    }
}

/// How many chunks lie on the way to a route of this length.
fn levels(len: u8) -> u8 {
    len.saturating_sub(ROOT_BITS).div_ceil(STRIDE)
}

/// The index of `address` in the chunk at `level`, counted from 1 below the root.
fn byte<A: Address>(address: A, level: u8) -> usize {
    address.byte(A::WIDTH - ROOT_BITS - STRIDE * level)
}

/// Where a chunk begins.
fn base(chunk: u32) -> usize {
    chunk as usize * CHUNK_ENTRIES
}

/// Whether all entries of the chunk at `first` are the same.
fn agree(arena: &Arena, first: usize) -> bool {
    (first..first + CHUNK_ENTRIES).all(|index| arena.get(index) == arena.get(first))
}

impl<A: Address> fmt::Debug for Writer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("bits", &A::WIDTH)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
