//! The memory limit: what a flow table of this shape costs if it did nothing but touch its lines.
//!
//! For each packet the walk reads
//!
//! 1. its header line, which says where the flow stands: in a translator the hash would,
//! 2. one random bucket line: the slot gives the number of the session,
//! 3. one random session line, always, and writes its hot word under the engine's tick rule: if last-seen is not now.
//!
//! No hash, no comparison of tags or keys, no decision. Lines are asked for one batch ahead of their use: while the
//! sessions of a batch are read, those of the next are on their way, and the buckets of the one after it.
//!
//! Everything that could be tuned is a constant of this file, because a limit that moves is none: ten-slot buckets of 64
//! bytes, 80 % of the slots in use, batches of 32. The same [`Session`] record as the engine's is read. The least of
//! several runs is the reference for all other results of the same process.

use sluice_nat::{Fixed, Hot, Kind, KindRealm, Route, Session, Tick};

use crate::hardware::{huge_vec, prefetch};
use crate::meter::{BATCH, RING, START, Workload};
use crate::population::{Arrival, Draw};
use crate::random::Random;

/// Slots of a bucket.
pub const SLOTS: usize = 10;
/// Entries of a bucket on average: 80 % of the slots.
pub const LOAD: usize = 8;

/// A bucket: ten tags of 16 bits in words 0 to 2, ten session numbers of 32 bits in words 3 to 7. A tag of zero marks a
/// free slot.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
struct Bucket([u64; 8]);

const _: () = assert!(size_of::<Bucket>() == 64 && 3 * 4 >= SLOTS && 5 * 2 >= SLOTS);

impl Bucket {
    fn tag(&self, slot: usize) -> u16 {
        (self.0[slot / 4] >> (slot % 4 * 16)) as u16
    }

    #[inline(always)]
    fn session(&self, slot: usize) -> u32 {
        (self.0[3 + slot / 2] >> (slot % 2 * 32)) as u32
    }

    fn free_slot(&self) -> Option<usize> {
        (0..SLOTS).find(|&slot| self.tag(slot) == 0)
    }

    fn put(&mut self, slot: usize, tag: u16, session: u32) {
        self.0[slot / 4] |= u64::from(tag) << (slot % 4 * 16);
        self.0[3 + slot / 2] |= u64::from(session) << (slot % 2 * 32);
    }
}

/// Where a session stands in the index.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    bucket: u32,
    slot: u32,
}

/// A packet's header line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
struct Header(Place);

const _: () = assert!(size_of::<Header>() == 64);

/// The lines: an index and its sessions.
#[derive(Debug)]
pub struct Yardstick {
    buckets: Vec<Bucket>,
    sessions: Vec<Session>,
    /// Place of each session.
    places: Vec<Place>,
}

impl Yardstick {
    /// A table of `sessions` sessions, rounded up to a whole number of buckets.
    pub fn new(sessions: u32) -> Self {
        let count = (sessions as usize).next_multiple_of(LOAD).max(LOAD);
        let mut table = Self {
            buckets: huge_vec(count / LOAD),
            sessions: huge_vec(count),
            places: Vec::with_capacity(count),
        };
        table.buckets.resize(count / LOAD, Bucket::default());
        let mut random = Random::new(0x7961_7264);
        for number in 0..count as u32 {
            let session = Session::default();
            session.create(&fixed(number), Hot { last_seen: START, ..Hot::default() }, Route::default());
            table.sessions.push(session);
            let place = table.enter(number, &mut random);
            table.places.push(place);
        }
        table
    }

    /// Enters a session into a random bucket that has room.
    fn enter(&mut self, number: u32, random: &mut Random) -> Place {
        loop {
            let bucket = random.below(self.buckets.len() as u32);
            let line = &mut self.buckets[bucket as usize];
            if let Some(slot) = line.free_slot() {
                line.put(slot, random.number() as u16 | 1, number);
                return Place { bucket, slot: slot as u32 };
            }
        }
    }

    /// Sessions of the table.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Slots of the index.
    pub fn slots(&self) -> usize {
        self.buckets.len() * SLOTS
    }

    #[inline(always)]
    fn bucket(&self, header: &Header) -> &Bucket {
        &self.buckets[header.0.bucket as usize]
    }

    #[inline(always)]
    fn session(&self, number: u32) -> &Session {
        &self.sessions[number as usize]
    }
}

/// Any session; its remote address is its number.
fn fixed(number: u32) -> Fixed {
    Fixed {
        kind_realm: KindRealm::new(Kind::Nat64, 0),
        protocol: 17,
        inside_port: 1024,
        inside: 1,
        remote: number,
        external: 1,
        remote_port: 53,
        external_port: 1024,
        delta: 0,
        rule: 0,
        binding: number,
        owner: 0,
        prefix64: 1,
    }
}

/// The walk over the lines.
#[derive(Debug)]
pub struct Walk {
    ring: Vec<Header>,
    draw: Draw,
}

impl Walk {
    /// A walk for packets that come like this. [`Arrival::Uniform`] is the yardstick.
    pub fn new(arrival: Arrival) -> Self {
        Self { ring: vec![Header::default(); RING], draw: Draw::new(0x7761_6c6b, arrival) }
    }
}

impl Workload for Walk {
    type State = Yardstick;

    fn fill(&mut self, table: &Yardstick) {
        for header in &mut self.ring {
            *header = Header(table.places[self.draw.below(table.places.len() as u32) as usize]);
        }
    }

    fn pass(&mut self, table: &mut Yardstick, now: Tick) -> u64 {
        let (batches, _) = self.ring.as_chunks::<BATCH>();
        let mut numbers = [[0; BATCH]; 2];
        if let Some(first) = batches.first() {
            ask_buckets(table, first);
            ask_sessions(table, first, &mut numbers[0]);
        }
        if let Some(second) = batches.get(1) {
            ask_buckets(table, second);
        }
        let mut live = 0;
        for at in 0..batches.len() {
            if let Some(next) = batches.get(at + 2) {
                ask_buckets(table, next);
            }
            if let Some(next) = batches.get(at + 1) {
                ask_sessions(table, next, &mut numbers[(at + 1) % 2]);
            }
            live += read_sessions(table, &numbers[at % 2], now);
        }
        live
    }
}

/// Reads headers and asks for their buckets.
#[inline(always)]
fn ask_buckets(table: &Yardstick, batch: &[Header; BATCH]) {
    for header in batch {
        prefetch(table.bucket(header));
    }
}

/// Reads buckets and asks for their sessions.
#[inline(always)]
fn ask_sessions(table: &Yardstick, batch: &[Header; BATCH], numbers: &mut [u32; BATCH]) {
    for (header, number) in batch.iter().zip(numbers) {
        *number = table.bucket(header).session(header.0.slot as usize);
        prefetch(table.session(*number));
    }
}

/// Reads sessions, and writes those that were not seen in this tick. Returns how many are live.
#[inline(always)]
fn read_sessions(table: &Yardstick, numbers: &[u32; BATCH], now: Tick) -> u64 {
    let mut live = 0;
    for &number in numbers {
        let session = table.session(number);
        let hot = session.hot();
        live += u64::from(session.word(0) & 1 == 0);
        if hot.last_seen != now {
            session.set_hot(Hot { last_seen: now, ..hot });
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_of_the_slots_are_in_use() {
        for sessions in [1024, 65_536, 1000] {
            let table = Yardstick::new(sessions);
            let used = table
                .buckets
                .iter()
                .flat_map(|bucket| (0..SLOTS).map(|slot| bucket.tag(slot)))
                .filter(|&tag| tag != 0)
                .count();
            assert_eq!(used, table.sessions());
            assert_eq!(used * 10, table.slots() * 8);
        }
        assert_eq!(Yardstick::new(1001).sessions(), 1008);
    }

    #[test]
    fn every_session_is_reached_by_one_place() {
        let table = Yardstick::new(65_536);
        for (number, place) in table.places.iter().enumerate() {
            let reached = table.bucket(&Header(*place)).session(place.slot as usize);
            assert_eq!(reached as usize, number);
            let session = table.session(reached);
            assert!(session.is_live());
            assert_eq!(session.fixed().remote, reached);
        }
        let mut places: Vec<_> = table.places.iter().map(|place| (place.bucket, place.slot)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 65_536);
    }

    #[test]
    fn lines_do_not_straddle_and_buckets_are_filled_at_random() {
        let table = Yardstick::new(65_536);
        assert_eq!(table.buckets.as_ptr() as usize % 64, 0);
        assert_eq!(table.sessions.as_ptr() as usize % 64, 0);
        let full = table.buckets.iter().filter(|bucket| bucket.free_slot().is_none()).count();
        assert!(full > 0 && full < table.buckets.len(), "{full}");
    }

    #[test]
    fn a_pass_reads_all_sessions_of_the_ring_and_marks_them_seen() {
        let mut table = Yardstick::new(65_536);
        let mut walk = Walk::new(Arrival::Uniform);
        walk.fill(&table);
        let now = START.after(5);
        assert_eq!(walk.pass(&mut table, now), RING as u64);
        let mut wanted: Vec<u32> =
            walk.ring.iter().map(|header| table.bucket(header).session(header.0.slot as usize)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // A ring holds few flows twice: the draw is over all sessions.
        assert!(wanted.len() > RING * 9 / 10);
        let seen: Vec<u32> = (0..table.sessions() as u32)
            .filter(|&number| table.session(number).hot().last_seen == now)
            .collect();
        assert_eq!(seen, wanted);
    }
}
