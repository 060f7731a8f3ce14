//! The readers' side: lookups, one at a time and in bursts.
//!
//! Readers take no lock and write nothing. What a lookup answers was right for its address at some moment while it ran:
//! each change of a route is, for any one address, one store of one entry. The default route lives outside of the array,
//! so two words decide where no entry does; a lookup that ends there reads the default's version before
//! and after, and starts again if it moved.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::{Address, ROOT_BITS, STRIDE};
use crate::arena::Arena;
use crate::entry::{Entry, Target};

/// Addresses that [`Fib::lookup_batch`] has under way at a time; any number may be given.
pub const BATCH: usize = 32;

/// Entries of a chunk.
pub(crate) const CHUNK_ENTRIES: usize = 1 << STRIDE;
/// Entries of the root, the first of the array.
pub(crate) const ROOT_ENTRIES: usize = 1 << ROOT_BITS;

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Chunks below the root, at most [`Self::MAX_CHUNKS`]; more are taken as that many. Each is 1 KiB of addresses that
    /// take memory when first used, besides 64 MiB for the root, and a quarter of both on the writer's side.
    ///
    /// IPv4 needs one for each /24 with longer routes in it. IPv6 needs, for each route longer than /24, one for every
    /// eight bits after that, less what it shares with its neighbours: below one for each route in the Internet's table,
    /// 13 for a host route far from all others.
    pub chunks: usize,
    /// Asks the kernel for 2 MiB pages, on Linux, if it has any. A lookup then saves most of its TLB misses: a quarter of
    /// the time for IPv4 and a third for IPv6 with a full table. Each place that routes touch takes 2 MiB in return,
    /// so a small table is better off without.
    pub huge_pages: bool,
}

impl Config {
    /// The greatest number of chunks: 16 GiB of addresses.
    pub const MAX_CHUNKS: usize = 1 << 24;
}

impl Default for Config {
    /// 2^19 chunks: the Internet's tables of today with room to double, in small pages.
    fn default() -> Self {
        Self { chunks: 1 << 19, huge_pages: false }
    }
}

/// A forwarding table, as its readers see it. Empty until a [`Writer`](crate::Writer) takes it.
pub struct Fib<A> {
    config: Config,
    arena: Arena,
    /// The default route: how often it changed in the upper half, its entry in the lower.
    default: AtomicU64,
    /// Whether a writer was made for it, whose routes may still be in.
    pub(crate) adopted: bool,
    family: std::marker::PhantomData<A>,
}

/// A table of IPv4 routes.
pub type Fib4 = Fib<u32>;
/// A table of IPv6 routes.
pub type Fib6 = Fib<u128>;

impl<A: Address> Fib<A> {
    /// An empty table. It takes address space for all its chunks, memory only for those in use.
    pub fn new(config: Config) -> Self {
        let config = Config { chunks: config.chunks.min(Config::MAX_CHUNKS), ..config };
        Self {
            config,
            arena: Arena::new(ROOT_ENTRIES + config.chunks * CHUNK_ENTRIES, config.huge_pages),
            default: AtomicU64::new(0),
            adopted: false,
            family: std::marker::PhantomData,
        }
    }

    /// Its size.
    pub fn config(&self) -> Config {
        self.config
    }

    /// The target of the longest route that covers `address`, in host byte order.
    #[inline]
    pub fn lookup(&self, address: A) -> Option<Target> {
        loop {
            let before = self.default.load(Ordering::Acquire);
            let entry = self.walk(address);
            if entry != Entry::EMPTY {
                return entry.end();
            }
            // A store of an entry is seen no later than the default stored after it, and the other way round: with the
            // version unchanged, empty entry and default were there at the same time.
            if self.default.load(Ordering::Acquire) == before {
                return default_target(before);
            }
        }
    }

    /// Looks up all of `addresses`, [`BATCH`] at a time, all reads of one level prefetched before the first is needed.
    /// `results[i]` is the answer for `addresses[i]`; results beyond are left alone.
    ///
    /// # Panics
    /// If `results` is shorter than `addresses`.
    pub fn lookup_batch(&self, addresses: &[A], results: &mut [Option<Target>]) {
        let results = &mut results[..addresses.len()];
        for (addresses, results) in addresses.chunks(BATCH).zip(results.chunks_mut(BATCH)) {
            self.lookup_stages(addresses, results);
        }
    }

    /// One to [`BATCH`] addresses, level by level.
    fn lookup_stages(&self, addresses: &[A], results: &mut [Option<Target>]) {
        let before = self.default.load(Ordering::Acquire);
        for address in addresses {
            self.arena.prefetch(address.root());
        }

        // Those that go on below this level: the entry they read next, and their number in the batch.
        let mut next = [(0_usize, 0_u8); BATCH];
        let mut pending = 0;
        let mut defaults = 0_u32;
        let mut shift = A::WIDTH - ROOT_BITS;
        let mut settle = |number: usize, entry: Entry| {
            results[number] = entry.end();
            defaults |= u32::from(results[number].is_none()) << number;
        };

        for (number, &address) in addresses.iter().enumerate() {
            let entry = self.arena.get(address.root());
            if let Some(base) = entry.base() {
                let index = base + address.byte(shift - STRIDE);
                self.arena.prefetch(index);
                next[pending] = (index, number as u8);
                pending += 1;
            } else {
                settle(number, entry);
            }
        }
        shift -= STRIDE;
        while pending > 0 {
            let mut kept = 0;
            for slot in 0..pending {
                let (index, number) = next[slot];
                let entry = self.arena.get(index);
                match entry.base() {
                    Some(base) if shift > 0 => {
                        let index = base + addresses[usize::from(number)].byte(shift - STRIDE);
                        self.arena.prefetch(index);
                        next[kept] = (index, number);
                        kept += 1;
                    }
                    // A leaf, or as in `walk` a way longer than the address.
                    _ => settle(usize::from(number), entry),
                }
            }
            pending = kept;
            shift = shift.saturating_sub(STRIDE);
        }

        if defaults != 0 {
            self.settle_defaults(defaults, before, addresses, results);
        }
    }

    /// Answers those whose bit is set in `defaults`: they found an empty entry, the default having been `before`.
    fn settle_defaults(
        &self,
        mut defaults: u32,
        before: u64,
        addresses: &[A],
        results: &mut [Option<Target>],
    ) {
        let unchanged = self.default.load(Ordering::Acquire) == before;
        while defaults != 0 {
            let number = defaults.trailing_zeros() as usize;
            defaults &= defaults - 1;
            results[number] = if unchanged { default_target(before) } else { self.lookup(addresses[number]) };
        }
    }

    /// The entry that decides for `address`: a leaf or empty.
    #[inline]
    fn walk(&self, address: A) -> Entry {
        let mut entry = self.arena.get(address.root());
        let mut shift = A::WIDTH - ROOT_BITS;
        while let Some(base) = entry.base() {
            // Only in chunks reclaimed too early can the way be longer than the address.
            if shift == 0 {
                return Entry::EMPTY;
            }
            shift -= STRIDE;
            entry = self.arena.get(base + address.byte(shift));
        }
        entry
    }

    /// The entries, for the writer.
    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Replaces the default route. For the writer only: two at a time would lose a version.
    pub(crate) fn set_default(&self, target: Option<Target>) {
        let version = (self.default.load(Ordering::Relaxed) >> 32) as u32;
        let word = u64::from(version.wrapping_add(1)) << 32 | u64::from(Entry::leaf(target).word());
        self.default.store(word, Ordering::Release);
    }
}

/// The target in the word of the default route.
#[inline]
fn default_target(word: u64) -> Option<Target> {
    Entry::from_word(word as u32).end()
}

impl<A: Address> fmt::Debug for Fib<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fib").field("bits", &A::WIDTH).field("config", &self.config).finish_non_exhaustive()
    }
}

const _: () = assert!(BATCH <= 32, "the set of defaults is a u32");
