//! The bindings (BIB) of one worker.
//!
//! Most bindings have one session, whose record says already what is bound to what. So a binding does not repeat it: it
//! keeps the number of one of its sessions, and its ends are read from that record. When that session closes and others
//! stay, which of them nobody knows without a list, the ends are copied to a table of their own; those of static
//! bindings, which may have no session, are there from the start. That table has room for all, so that closing never
//! fails; its memory is touched only as far as it is used.
//!
//! A dynamic binding enters the table after its first session was made in its record, and leaves before the record of its
//! last one is deleted: its ends can be read at any moment.

use crate::arena::{Touch, prefetch};
use crate::binding::{Binding, Ends, ExternalKey, InsideKey, STATIC};
use crate::hash::HashSeed;
use crate::index::Index;
use crate::record::Session;
use crate::slab::Slab;

/// What is kept of a binding besides its ends.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Number of a record, or of kept ends.
    ends: u32,
    home: u32,
    sessions: u32,
    pool: u16,
    prefix64: u8,
    /// [`RETIRED`], [`KEPT`], [`REVOKED`].
    flags: u8,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// It is no longer in the indexes.
const RETIRED: u8 = 1;
/// Its ends stand in the table of kept ends.
const KEPT: u8 = 2;
/// The operator took it away.
const REVOKED: u8 = 4;

/// The table with its two indexes.
#[derive(Debug)]
pub(crate) struct Bindings {
    sessions: &'static [Session],
    entries: Slab<Entry>,
    kept: Slab<Ends>,
    by_inside: Index,
    by_external: Index,
    seed: HashSeed,
}

impl Bindings {
    /// Room for `capacity` bindings of these sessions.
    pub(crate) fn new(sessions: &'static [Session], capacity: u32, seed: HashSeed) -> Self {
        Self {
            sessions,
            entries: Slab::new(capacity, Touch::AtStart),
            kept: Slab::new(capacity, Touch::WhenUsed),
            by_inside: Index::dense(capacity, Touch::AtStart),
            by_external: Index::dense(capacity, Touch::AtStart),
            seed,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.entries.len()
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.entries.capacity()
    }

    /// The number that the binding made next will have; `None` if the table is full.
    pub(crate) fn next(&self) -> Option<u32> {
        self.entries.next()
    }

    #[inline(always)]
    fn ends(&self, entry: &Entry) -> Ends {
        if entry.flags & KEPT != 0 {
            *self.kept.get(entry.ends)
        } else {
            Ends::of(&self.sessions[entry.ends as usize])
        }
    }

    #[inline(always)]
    fn inside_key(&self, entry: &Entry) -> InsideKey {
        if entry.flags & KEPT != 0 {
            self.kept.get(entry.ends).inside_key(entry.pool)
        } else {
            InsideKey::of(&self.sessions[entry.ends as usize], entry.pool)
        }
    }

    #[inline(always)]
    fn read(&self, number: u32, ends: impl FnOnce(&Entry) -> Ends) -> Binding {
        let entry = self.entries.get(number);
        Binding {
            number,
            ends: ends(entry),
            home: entry.home,
            sessions: entry.sessions,
            pool: entry.pool,
            prefix64: entry.prefix64,
            retired: entry.flags & RETIRED != 0,
            revoked: entry.flags & REVOKED != 0,
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> Binding {
        self.read(number, |entry| self.ends(entry))
    }

    /// The binding of a live session, whose record is at hand: no other is looked at.
    #[inline(always)]
    pub(crate) fn of_session(&self, record: u32) -> Binding {
        let session = &self.sessions[record as usize];
        self.read(session.binding(), |_| Ends::of(session))
    }

    /// Port block of a binding, or subscriber.
    #[inline]
    pub(crate) fn home(&self, number: u32) -> u32 {
        self.entries.get(number).home
    }

    /// Asks for the memory of a binding.
    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        self.entries.prefetch(number);
    }

    /// Asks for the memory of a binding's ends.
    #[inline]
    pub(crate) fn prefetch_ends(&self, number: u32) {
        let entry = self.entries.get(number);
        if entry.flags & KEPT != 0 {
            self.kept.prefetch(entry.ends);
        } else {
            prefetch(&self.sessions[entry.ends as usize]);
        }
    }

    /// Asks for the index lines of a binding.
    #[inline]
    pub(crate) fn prefetch_indexes(&self, binding: &Binding) {
        self.prefetch_inside(&binding.ends.inside_key(binding.pool));
        self.prefetch_external(&binding.ends.external_key());
    }

    /// Asks for the index line of an inside key.
    #[inline]
    pub(crate) fn prefetch_inside(&self, key: &InsideKey) {
        self.by_inside.prefetch(self.by_inside.place(key.hash(&self.seed)));
    }

    /// The binding whose tag stands in the index: perhaps the wanted one. Its memory is asked for.
    #[inline]
    pub(crate) fn guess(&self, key: &InsideKey) -> Option<u32> {
        let place = self.by_inside.place(key.hash(&self.seed));
        let slots = self.by_inside.candidates(place);
        let number = (slots != 0).then(|| self.by_inside.at(place, slots.trailing_zeros()))?;
        self.entries.prefetch(number);
        Some(number)
    }

    /// Asks for the index line of an external key.
    #[inline]
    pub(crate) fn prefetch_external(&self, key: &ExternalKey) {
        self.by_external.prefetch(self.by_external.place(key.hash(&self.seed)));
    }

    pub(crate) fn by_inside(&self, key: &InsideKey) -> Option<u32> {
        self.by_inside.find(self.by_inside.place(key.hash(&self.seed)), |number| {
            self.inside_key(self.entries.get(number)) == *key
        })
    }

    pub(crate) fn by_external(&self, key: &ExternalKey) -> Option<u32> {
        self.by_external.find(self.by_external.place(key.hash(&self.seed)), |number| {
            self.ends(self.entries.get(number)).external_key() == *key
        })
    }

    /// Enters a dynamic binding with its first session, which was just made. False if there is no room; then nothing has
    /// changed.
    pub(crate) fn add(&mut self, binding: &Binding, record: u32) -> bool {
        let Binding { home, pool, prefix64, .. } = *binding;
        let entry = Entry { ends: record, home, sessions: 1, pool, prefix64, flags: 0 };
        let number = self.enter(entry, &binding.ends);
        debug_assert!(number.is_none_or(|number| number == binding.number));
        number.is_some()
    }

    /// Enters a static binding of a subscriber. False if there is no room; then nothing has changed.
    pub(crate) fn add_static(&mut self, ends: &Ends, subscriber: u32, prefix64: u8) -> bool {
        let Some(kept) = self.kept.insert(*ends) else { return false };
        let entry = Entry { ends: kept, home: subscriber, sessions: 0, pool: STATIC, prefix64, flags: KEPT };
        let entered = self.enter(entry, ends).is_some();
        if !entered {
            self.kept.remove(kept);
        }
        entered
    }

    fn enter(&mut self, entry: Entry, ends: &Ends) -> Option<u32> {
        let inside = self.by_inside.place(ends.inside_key(entry.pool).hash(&self.seed));
        let external = self.by_external.place(ends.external_key().hash(&self.seed));
        let number = self.entries.insert(entry)?;
        if self.by_inside.insert(inside, number) {
            if self.by_external.insert(external, number) {
                return Some(number);
            }
            self.by_inside.remove(inside, number);
        }
        self.entries.remove(number);
        None
    }

    /// One more session of a binding.
    pub(crate) fn opened(&mut self, number: u32) {
        self.entries.get_mut(number).sessions += 1;
    }

    /// A session is about to end, and with the last one its binding, unless that is static and not retired. Returns what the
    /// binding is without it.
    pub(crate) fn closed(&mut self, record: u32) -> Binding {
        let mut binding = self.of_session(record);
        binding.sessions -= 1;
        if binding.is_over() {
            self.withdraw(&binding);
            self.remove(binding.number);
            return binding;
        }
        let entry = self.entries.get_mut(binding.number);
        entry.sessions -= 1;
        if entry.flags & KEPT == 0 && entry.ends == record {
            let Some(kept) = self.kept.insert(binding.ends) else {
                unreachable!("there is room for the ends of every binding")
            };
            (entry.ends, entry.flags) = (kept, entry.flags | KEPT);
        }
        binding
    }

    /// Sessions from outside come under this prefix from now on.
    pub(crate) fn set_prefix64(&mut self, number: u32, prefix64: u8) {
        self.entries.get_mut(number).prefix64 = prefix64;
    }

    /// Takes a binding out of the indexes: no packet finds it any more. Its sessions keep it in the table.
    pub(crate) fn retire(&mut self, number: u32) {
        let binding = self.get(number);
        self.withdraw(&binding);
    }

    /// As [`Bindings::retire`], because the operator takes it away: its port rests after it, whatever its protocol.
    pub(crate) fn revoke(&mut self, number: u32) {
        self.retire(number);
        self.entries.get_mut(number).flags |= REVOKED;
    }

    /// As [`Bindings::retire`], of a binding whose ends are at hand.
    fn withdraw(&mut self, binding: &Binding) {
        let entry = self.entries.get_mut(binding.number);
        if entry.flags & RETIRED != 0 {
            return;
        }
        entry.flags |= RETIRED;
        let inside = self.by_inside.place(binding.ends.inside_key(binding.pool).hash(&self.seed));
        self.by_inside.remove(inside, binding.number);
        let external = self.by_external.place(binding.ends.external_key().hash(&self.seed));
        self.by_external.remove(external, binding.number);
    }

    /// Deletes a binding that is in no index any more.
    pub(crate) fn remove(&mut self, number: u32) {
        let entry = self.entries.get(number);
        if entry.flags & KEPT != 0 {
            self.kept.remove(entry.ends);
        }
        self.entries.remove(number);
    }
}

#[cfg(test)]
mod tests;
