//! Fragments: which datagram each belongs to, what its first fragment said of the ports, and what waits for it (RFC 6146,
//! section 3.4).
//!
//! This is shallow reassembly. A fragment goes on as soon as the first one of its datagram has come, with what that one told
//! ([`Head`]); what comes earlier waits. Only a datagram whose checksum needs all of it waits for its last fragment. Nothing is
//! joined.
//!
//! Strangers can fill these tables, so everything has a bound: datagrams, fragments that wait, and both for each source. The
//! hash is seeded. **What is evicted**: datagrams of which the first fragment is missing, those of which it was seen, and those of
//! which nothing goes on any more share the table; whichever are most give way to a newcomer, their oldest first. A flood of
//! fragments without beginning therefore costs others nothing but what waits at that time. A source that has as many as it may has
//! its newest refused. Whole packets never come here.

mod datagram;

use sluice_packet::{DropReason, Family, Head, Meta};

use crate::hash::HashSeed;
use crate::spec::FragmentSpec;
use crate::types::{TICKS_PER_SECOND, Tick};
use datagram::{Datagram, Extent, Shape, State};

/// No datagram, no fragment.
const NONE: u32 = u32::MAX;
/// Counters of sources. Sources whose hashes agree share their limits.
const SOURCES: usize = 4096;
/// Bits of an IPv6 source that are one source: who has a /64 has all of its addresses.
const SOURCE_MASK: u128 = !(u64::MAX as u128);

/// What makes fragments those of one datagram, hashed: source, destination, identification, and for IPv4 the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramKey {
    source: u128,
    destination: u128,
    /// Identification, protocol and family.
    rest: u64,
}

impl DatagramKey {
    /// The key of a fragment.
    //= conformance FRAG-39
    pub fn of(meta: &Meta) -> Self {
        let protocol = match meta.family {
            Family::V4 => 0x100 | u64::from(meta.protocol),
            Family::V6 => 0,
        };
        let rest = protocol << 32 | u64::from(meta.identification);
        Self { source: meta.source, destination: meta.destination, rest }
    }

    /// The hash that spreads datagrams over workers and buckets.
    pub(crate) fn hash(&self, seed: HashSeed) -> u64 {
        let words = |value: u128| ((value >> 64) as u64, value as u64);
        let ((a, b), (c, d)) = (words(self.source), words(self.destination));
        seed.of_two(seed.of_four(a, b, c, d), self.rest)
    }

    /// The place of the source's counters.
    fn source_slot(&self, seed: HashSeed) -> usize {
        let source = if self.rest >> 40 == 0 { self.source & SOURCE_MASK } else { self.source };
        seed.of_two((source >> 64) as u64, source as u64) as usize % SOURCES
    }
}

/// What a fragment is to its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Fragment offset in units of 8 bytes.
    pub offset: u16,
    /// Bytes of the datagram in it, at least one.
    pub len: u16,
    /// Whether it is the last.
    pub last: bool,
    /// If it is the first, what it tells.
    pub head: Option<Head>,
    /// If it is the first: the datagram goes on only as a whole.
    pub together: bool,
}

impl Piece {
    /// The piece that a fragment is.
    pub fn of(meta: &Meta, together: bool) -> Self {
        Self {
            offset: meta.fragment_offset,
            len: meta.end.saturating_sub(meta.l4),
            last: !meta.more_fragments,
            head: (meta.fragment_offset == 0).then(|| meta.head()),
            together,
        }
    }
}

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on with what is known of its datagram, and so does all that has waited.
    Ready {
        /// What the first fragment told.
        head: Head,
        /// Bytes of the whole datagram, if all of it is here and goes on together; else zero.
        total: u16,
    },
    /// It was taken in and waits.
    Waits,
    /// It is dropped, and so is all that has waited.
    Drop(DropReason),
}

/// A fragment's fate and what else comes out of the table.
#[derive(Debug)]
#[must_use]
pub struct Arrival<T> {
    /// What becomes of the fragment.
    pub fate: Fate,
    /// The fragment itself, unless it waits or goes on with the others in `released`.
    pub item: Option<T>,
    /// What has waited and shares the fate, in order of offsets.
    pub released: Chain,
    /// What had to make room, to be dropped as [`DropReason::FragmentLimit`].
    pub evicted: Chain,
}

/// Fragments that have left the table but not yet their memory: [`Fragments::take`] yields them.
#[derive(Debug)]
#[must_use]
pub struct Chain(u32);

impl Chain {
    const EMPTY: Self = Self(NONE);

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0 == NONE
    }
}

/// A fragment that waits.
#[derive(Debug)]
struct Waiting<T> {
    item: Option<T>,
    offset: u16,
    next: u32,
}

/// Datagrams in the order in which their time is up.
#[derive(Clone, Copy, Debug)]
struct Age {
    oldest: u32,
    newest: u32,
    count: u32,
}

impl Age {
    const EMPTY: Self = Self { oldest: NONE, newest: NONE, count: 0 };
}

/// The datagrams of a worker. `T` is what a fragment is kept as.
#[derive(Debug)]
pub struct Fragments<T> {
    limits: FragmentSpec,
    seed: HashSeed,
    datagrams: Box<[Datagram]>,
    buckets: Box<[u32]>,
    free: u32,
    /// By [`Shape`].
    ages: [Age; 3],
    waiting: Box<[Waiting<T>]>,
    free_waiting: u32,
    count_waiting: u32,
    /// Datagrams and waiting fragments of each source.
    sources: Box<[(u16, u16)]>,
}

impl<T> Fragments<T> {
    /// Tables of their final size. All of their memory is written, and so there.
    pub fn new(limits: FragmentSpec, shared: &crate::Shared) -> Self {
        Self::with_seed(limits, shared.hash_seed())
    }

    fn with_seed(limits: FragmentSpec, seed: HashSeed) -> Self {
        let datagrams: Box<[Datagram]> =
            (0..limits.datagrams).map(|n| Datagram::free(following(n, limits.datagrams))).collect();
        let waiting: Box<[Waiting<T>]> = (0..limits.waiting)
            .map(|n| Waiting { item: None, offset: 0, next: following(n, limits.waiting) })
            .collect();
        Self {
            buckets: vec![NONE; (datagrams.len() * 2).next_power_of_two()].into(),
            free: if datagrams.is_empty() { NONE } else { 0 },
            free_waiting: if waiting.is_empty() { NONE } else { 0 },
            limits,
            seed,
            datagrams,
            ages: [Age::EMPTY; 3],
            waiting,
            count_waiting: 0,
            sources: vec![(0, 0); SOURCES].into(),
        }
    }

    /// Fragments that wait.
    pub fn waiting(&self) -> usize {
        self.count_waiting as usize
    }

    /// Datagrams that there is something to remember of.
    pub fn datagrams(&self) -> usize {
        self.ages.iter().map(|age| age.count as usize).sum()
    }

    /// What fragments have to respect; sizes stay as they were made.
    pub fn set_limits(&mut self, limits: FragmentSpec) {
        let (datagrams, waiting) = (self.limits.datagrams, self.limits.waiting);
        self.limits = FragmentSpec { datagrams, waiting, ..limits };
    }

    /// Shows a fragment.
    //= conformance FRAG-17
    //= conformance FRAG-18, LIM-12
    pub fn arrive(&mut self, key: &DatagramKey, piece: Piece, now: Tick, item: T) -> Arrival<T> {
        let bucket = (key.hash(self.seed) >> 32) as usize & (self.buckets.len() - 1);
        let mut evicted = Chain::EMPTY;
        let found = self.find(bucket, key).filter(|&at| !self.is_over(at, now));
        let at = match found {
            Some(at) => at,
            None => {
                if let Some(stale) = self.find(bucket, key) {
                    // Its time is up, and nobody has looked yet: this is another datagram. What waited goes first.
                    evicted = self.close(stale);
                }
                match self.open(bucket, key, now, &mut evicted) {
                    Some(at) => at,
                    None => return dropped(DropReason::FragmentLimit, item, Chain::EMPTY, evicted),
                }
            }
        };
        let datagram = &mut self.datagrams[at as usize];
        if datagram.state == State::Refused {
            return dropped(DropReason::FragmentOverlap, item, Chain::EMPTY, evicted);
        }
        //= conformance FRAG-22
        match datagram.add(piece.offset, piece.len, piece.last) {
            Extent::New => {}
            Extent::Known => return dropped(DropReason::FragmentDuplicate, item, Chain::EMPTY, evicted),
            Extent::Overlaps => {
                let released = self.refuse(at, now);
                return dropped(DropReason::FragmentOverlap, item, released, evicted);
            }
            Extent::TooMany => {
                let released = self.refuse(at, now);
                return dropped(DropReason::FragmentLimit, item, released, evicted);
            }
        }
        if let Some(head) = piece.head {
            datagram.head = Some(head);
            datagram.together = piece.together;
        }
        let complete = datagram.is_complete();
        let Some(head) = datagram.head.filter(|_| complete || !datagram.together) else {
            return self.wait(at, piece.offset, item, now, evicted);
        };
        let total = if datagram.together { datagram.total().unwrap_or(0) } else { 0 };
        // What goes on together goes on in order: this one too.
        let item = if datagram.together { self.keep(at, piece.offset, item) } else { Some(item) };
        let datagram = &mut self.datagrams[at as usize];
        let released = Chain(std::mem::replace(&mut datagram.waiting, NONE));
        let (source, waited) = (datagram.source as usize, std::mem::take(&mut datagram.waited));
        self.sources[source].1 -= waited;
        if complete {
            // Nothing of it is to come: the next one with this identification is another datagram.
            let _nothing = self.close(at);
        } else if self.datagrams[at as usize].state == State::Headless {
            self.unlink(at);
            self.datagrams[at as usize].state = State::Open;
            self.datagrams[at as usize].since = now;
            self.link(at);
        }
        Arrival { fate: Fate::Ready { head, total }, item, released, evicted }
    }

    /// Ends the next datagram whose time is up: what has waited is to be dropped as [`DropReason::FragmentTimeout`]. `None` if
    /// there is no other.
    //= conformance FRAG-19
    //= conformance FRAG-36
    pub fn expire(&mut self, now: Tick) -> Option<Chain> {
        let due = |age: &Age| (age.oldest != NONE && self.is_over(age.oldest, now)).then_some(age.oldest);
        let at = self.ages.iter().find_map(due)?;
        Some(self.close(at))
    }

    /// The next fragment of a chain.
    pub fn take(&mut self, chain: &mut Chain) -> Option<T> {
        let at = chain.0;
        let waiting = self.waiting.get_mut(at as usize)?;
        chain.0 = std::mem::replace(&mut waiting.next, self.free_waiting);
        self.free_waiting = at;
        self.count_waiting -= 1;
        waiting.item.take()
    }

    /// Everything that waits, at the end.
    pub fn drain(&mut self) -> Option<Chain> {
        let at = self.ages.iter().map(|age| age.oldest).find(|&oldest| oldest != NONE)?;
        Some(self.close(at))
    }

    fn is_over(&self, at: u32, now: Tick) -> bool {
        now.since(self.datagrams[at as usize].since) > self.limits.timeout.saturating_mul(TICKS_PER_SECOND)
    }

    fn find(&self, bucket: usize, key: &DatagramKey) -> Option<u32> {
        let mut at = self.buckets[bucket];
        while let Some(datagram) = self.datagrams.get(at as usize) {
            if datagram.key == *key {
                return Some(at);
            }
            at = datagram.next;
        }
        None
    }

    /// A place for a datagram that was not known.
    fn open(&mut self, bucket: usize, key: &DatagramKey, now: Tick, evicted: &mut Chain) -> Option<u32> {
        let source = key.source_slot(self.seed);
        if self.sources[source].0 >= self.limits.per_source {
            return None;
        }
        if self.free == NONE {
            let oldest =
                self.ages.iter().rev().max_by_key(|age| age.count).map_or(NONE, |fullest| fullest.oldest);
            if oldest == NONE {
                return None;
            }
            let chain = self.close(oldest);
            // A stale datagram made room before: then there was a free place.
            debug_assert!(evicted.is_empty());
            *evicted = chain;
        }
        let at = self.free;
        let datagram = &mut self.datagrams[at as usize];
        self.free = datagram.next;
        *datagram = Datagram::new(*key, bucket as u32, source as u16, now, self.buckets[bucket]);
        self.buckets[bucket] = at;
        self.sources[source].0 += 1;
        self.link(at);
        Some(at)
    }

    /// Forgets a datagram. What has waited is left to the caller.
    fn close(&mut self, at: u32) -> Chain {
        self.unlink(at);
        let datagram = &mut self.datagrams[at as usize];
        let (bucket, next) = (datagram.bucket as usize, datagram.next);
        let source = &mut self.sources[usize::from(datagram.source)];
        source.0 -= 1;
        source.1 -= datagram.waited;
        let chain = Chain(datagram.waiting);
        *datagram = Datagram::free(self.free);
        self.free = at;
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
            return chain;
        }
        let mut before = self.buckets[bucket];
        while let Some(datagram) = self.datagrams.get_mut(before as usize) {
            if datagram.next == at {
                datagram.next = next;
                break;
            }
            before = datagram.next;
        }
        chain
    }

    /// Refuses all of a datagram, what is still to come included, for as long as it could come.
    fn refuse(&mut self, at: u32, now: Tick) -> Chain {
        self.unlink(at);
        let datagram = &mut self.datagrams[at as usize];
        datagram.state = State::Refused;
        datagram.since = now;
        self.link(at);
        let datagram = &mut self.datagrams[at as usize];
        let source = usize::from(datagram.source);
        self.sources[source].1 -= std::mem::take(&mut datagram.waited);
        Chain(std::mem::replace(&mut datagram.waiting, NONE))
    }

    /// Lets a fragment wait, if there is room and its source has not too many.
    fn wait(&mut self, at: u32, offset: u16, item: T, now: Tick, mut evicted: Chain) -> Arrival<T> {
        let source = usize::from(self.datagrams[at as usize].source);
        if self.sources[source].1 >= self.limits.per_source {
            return self.no_room(at, item, now, evicted);
        }
        if let Some(item) = self.keep(at, offset, item) {
            return self.no_room(at, item, now, evicted);
        }
        if self.free_waiting == NONE && evicted.is_empty() {
            // The next one is to find room: the oldest of those that wait leaves.
            evicted = self.oldest_waiting(at).map_or(Chain::EMPTY, |oldest| self.close(oldest));
        }
        Arrival { fate: Fate::Waits, item: None, released: Chain::EMPTY, evicted }
    }

    /// The oldest datagram of which a fragment waits, apart from one: of all that have not been refused, and whose first fragment
    /// has not gone on, one does.
    fn oldest_waiting(&self, but: u32) -> Option<u32> {
        let oldest = self.ages[Shape::Headless as usize].oldest;
        let at = if oldest == but { self.datagrams.get(oldest as usize)?.younger } else { oldest };
        (at != NONE).then_some(at)
    }

    /// A fragment that cannot wait makes its datagram worthless.
    fn no_room(&mut self, at: u32, item: T, now: Tick, evicted: Chain) -> Arrival<T> {
        let released = self.refuse(at, now);
        dropped(DropReason::FragmentLimit, item, released, evicted)
    }

    /// Puts a fragment among those that wait, in order of offsets. Gives it back without room.
    fn keep(&mut self, at: u32, offset: u16, item: T) -> Option<T> {
        let place = self.free_waiting;
        if place == NONE {
            return Some(item);
        }
        let datagram = &mut self.datagrams[at as usize];
        let mut before = NONE;
        let mut after = datagram.waiting;
        while let Some(waiting) = self.waiting.get(after as usize).filter(|waiting| waiting.offset < offset) {
            before = after;
            after = waiting.next;
        }
        self.free_waiting = self.waiting[place as usize].next;
        self.waiting[place as usize] = Waiting { item: Some(item), offset, next: after };
        match self.waiting.get_mut(before as usize) {
            Some(waiting) => waiting.next = place,
            None => datagram.waiting = place,
        }
        datagram.waited += 1;
        self.sources[usize::from(datagram.source)].1 += 1;
        self.count_waiting += 1;
        None
    }

    /// Files a datagram as the newest of its shape.
    fn link(&mut self, at: u32) {
        let shape = self.datagrams[at as usize].shape();
        let age = &mut self.ages[shape as usize];
        let newest = std::mem::replace(&mut age.newest, at);
        age.count += 1;
        if newest == NONE {
            age.oldest = at;
        }
        let datagram = &mut self.datagrams[at as usize];
        (datagram.older, datagram.younger, datagram.filed) = (newest, NONE, shape);
        if let Some(older) = self.datagrams.get_mut(newest as usize) {
            older.younger = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Datagram { older, younger, filed, .. } = self.datagrams[at as usize];
        let age = &mut self.ages[filed as usize];
        age.count -= 1;
        match self.datagrams.get_mut(older as usize) {
            Some(older) => older.younger = younger,
            None => age.oldest = younger,
        }
        match self.datagrams.get_mut(younger as usize) {
            Some(younger) => younger.older = older,
            None => age.newest = older,
        }
    }
}

/// The next place of a list of free ones.
fn following(n: u32, count: u32) -> u32 {
    if n + 1 < count { n + 1 } else { NONE }
}

fn dropped<T>(reason: DropReason, item: T, released: Chain, evicted: Chain) -> Arrival<T> {
    Arrival { fate: Fate::Drop(reason), item: Some(item), released, evicted }
}

#[cfg(test)]
mod tests;
