//! The look-up of a tuple in steps, so that whoever has a batch of them can have its memory on the way while the processor
//! works: hash and ask for the bucket; scan its tags and ask for the record; where it had no such tag, the same in the second
//! bucket; compare.

use crate::arena::prefetch;
use crate::hash::HashSeed;
use crate::index::{Index, Place};
use crate::key::{InboundKey, InboundTuple, OutboundKey, OutboundTuple};
use crate::record::Session;
use crate::tables::Tables;
use crate::types::SessionIndex;

/// Tuples of one round of a batch look-up.
const BATCH: usize = 64;

/// A look-up under way.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    place: Place,
    /// Slots of the first bucket that carry the tag.
    candidates: u32,
    /// Record in the first of them.
    first: u32,
}

impl Search {
    /// Of nothing.
    pub const NONE: Self = Self { place: Place::NONE, candidates: 0, first: SessionIndex::NONE.0 };
}

/// What sessions are looked up by.
pub(crate) trait Key {
    fn index(tables: &Tables) -> &Index;
    fn hash(&self, seed: &HashSeed) -> u64;
    fn matches(&self, session: &Session) -> bool;
}

macro_rules! key {
    ($type:ty, $index:ident) => {
        impl Key for $type {
            #[inline(always)]
            fn index(tables: &Tables) -> &Index {
                &tables.$index
            }

            #[inline(always)]
            fn hash(&self, seed: &HashSeed) -> u64 {
                <$type>::hash(self, seed)
            }

            #[inline(always)]
            fn matches(&self, session: &Session) -> bool {
                <$type>::matches(self, session)
            }
        }
    };
}

key!(OutboundKey, outbound);
key!(OutboundTuple, outbound);
key!(InboundKey, inbound);
key!(InboundTuple, inbound);

impl Tables {
    /// First step.
    #[inline(always)]
    pub(crate) fn search<K: Key>(&self, key: &K) -> Search {
        let index = K::index(self);
        let place = index.place(key.hash(&self.seed));
        index.prefetch(place);
        Search { place, candidates: 0, first: SessionIndex::NONE.0 }
    }

    /// Second step.
    #[inline(always)]
    pub(crate) fn scan<K: Key>(&self, search: &mut Search) {
        let index = K::index(self);
        search.candidates = index.candidates(search.place);
        if search.candidates == 0 {
            return index.prefetch_second(search.place);
        }
        search.first = index.at(search.place, search.candidates.trailing_zeros());
        if let Some(record) = self.sessions.get(search.first as usize) {
            prefetch(record);
        }
    }

    /// Third step: one entry in twenty stands in its second bucket.
    #[inline(always)]
    pub(crate) fn scan_second<K: Key>(&self, search: &mut Search) {
        if search.candidates == 0 {
            self.scan_second_bucket::<K>(search);
        }
    }

    #[inline(never)]
    fn scan_second_bucket<K: Key>(&self, search: &mut Search) {
        let Some(number) = K::index(self).first_in_second(search.place) else { return };
        search.first = number;
        if let Some(record) = self.sessions.get(number as usize) {
            prefetch(record);
        }
    }

    /// Last step.
    #[inline(always)]
    pub(crate) fn settle<K: Key>(&self, key: &K, search: &Search) -> SessionIndex {
        let hit = |number: u32| self.sessions.get(number as usize).is_some_and(|record| key.matches(record));
        if hit(search.first) { SessionIndex(search.first) } else { self.settle_rest(key, search) }
    }

    /// The last step where the first candidate was not it: one tag in some thousands is another tuple's.
    #[inline(never)]
    fn settle_rest<K: Key>(&self, key: &K, search: &Search) -> SessionIndex {
        let index = K::index(self);
        let hit = |number: u32| self.sessions.get(number as usize).is_some_and(|record| key.matches(record));
        let mut rest = search.candidates & search.candidates.wrapping_sub(1);
        while rest != 0 {
            let number = index.at(search.place, rest.trailing_zeros());
            if hit(number) {
                return SessionIndex(number);
            }
            rest &= rest - 1;
        }
        index.find_second(search.place, hit).map_or(SessionIndex::NONE, SessionIndex)
    }

    /// All of them for a batch. `found` is as long as `tuples`.
    #[inline(always)]
    pub(crate) fn find_batch<K: Key>(&self, keys: &[K], found: &mut [SessionIndex]) {
        for (keys, found) in keys.chunks(BATCH).zip(found.chunks_mut(BATCH)) {
            let mut searches = [Search::NONE; BATCH];
            let searches = &mut searches[..keys.len()];
            for (key, search) in keys.iter().zip(searches.iter_mut()) {
                *search = self.search(key);
            }
            searches.iter_mut().for_each(|search| self.scan::<K>(search));
            searches.iter_mut().for_each(|search| self.scan_second::<K>(search));
            for ((key, search), found) in keys.iter().zip(searches.iter()).zip(found) {
                *found = self.settle(key, search);
            }
        }
    }
}
