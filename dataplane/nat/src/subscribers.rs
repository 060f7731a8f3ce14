//! Subscribers of one worker: their blocks, sessions and rates.

use std::sync::Arc;

use crate::arena::Touch;
use crate::blocks;
use crate::hash::HashSeed;
use crate::index::Index;
use crate::shared::Shared;
use crate::slab::Slab;
use crate::spec::Limits;
use crate::types::{Direction, KindRealm, TICKS_PER_SECOND, Tick, WorkerId};

/// A customer: all inside addresses of one prefix (MAP-05). One cache line.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    prefix: [u64; 2],
    pub(crate) kind_realm: KindRealm,
    /// First of its port blocks.
    pub(crate) first_block: u32,
    /// How many of them count against the limit: those of deterministic ranges do not.
    pub(crate) blocks: u16,
    pub(crate) sessions: u32,
    /// Dynamic bindings, by protocol (LIM-02).
    pub(crate) mappings: [u32; 3],
    /// Static bindings keep a subscriber alive.
    pub(crate) statics: u32,
    /// Sessions that may be made now, outbound and inbound, in quarters: a second gives four per session a second.
    tokens: [u32; 2],
    filled: Tick,
    /// When a refusal was last reported.
    refused: Option<Tick>,
}

const _: () = assert!(size_of::<Subscriber>() == 64);

impl Subscriber {
    pub(crate) fn prefix(&self) -> u128 {
        u128::from(self.prefix[0]) << 64 | u128::from(self.prefix[1])
    }

    /// Whether nothing is left of it, or nothing was made yet.
    pub(crate) fn is_idle(&self) -> bool {
        self.first_block == blocks::NONE && self.sessions == 0 && self.statics == 0
    }

    /// Whether the rate allows one more session (LIM-03). Strangers have a bucket of their own, so that they cannot use up
    /// what the subscriber may open.
    pub(crate) fn may_open(&mut self, direction: Direction, rate: u32, now: Tick) -> bool {
        if rate == 0 {
            return true;
        }
        let burst = rate.saturating_mul(TICKS_PER_SECOND);
        let gained = now.since(self.filled).saturating_mul(rate);
        if gained > 0 {
            self.filled = now;
            self.tokens = self.tokens.map(|tokens| tokens.saturating_add(gained).min(burst));
        }
        self.tokens[direction as usize] >= TICKS_PER_SECOND
    }

    /// A session was made.
    pub(crate) fn opened(&mut self, direction: Direction) {
        let tokens = &mut self.tokens[direction as usize];
        *tokens = tokens.saturating_sub(TICKS_PER_SECOND);
    }

    /// Whether a refusal is to be reported: once a second.
    pub(crate) fn may_report(&mut self, now: Tick) -> bool {
        let may = self.refused.is_none_or(|last| now.since(last) >= TICKS_PER_SECOND);
        if may {
            self.refused = Some(now);
        }
        may
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Subscribers {
    slab: Slab<Subscriber>,
    index: Index,
    seed: HashSeed,
    /// Where all workers say how many they have.
    shared: Arc<Shared>,
    worker: WorkerId,
}

fn split(prefix: u128) -> [u64; 2] {
    [(prefix >> 64) as u64, prefix as u64]
}

impl Subscribers {
    pub(crate) fn new(capacity: u32, seed: HashSeed, shared: Arc<Shared>, worker: WorkerId) -> Self {
        shared.set_subscribers(worker, 0);
        Self {
            slab: Slab::new(capacity, Touch::WhenUsed),
            index: Index::dense(capacity, Touch::AtStart),
            seed,
            shared,
            worker,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.slab.capacity()
    }

    pub(crate) fn get(&self, subscriber: u32) -> &Subscriber {
        self.slab.get(subscriber)
    }

    pub(crate) fn get_mut(&mut self, subscriber: u32) -> &mut Subscriber {
        self.slab.get_mut(subscriber)
    }

    /// Asks for the index line of a subscriber.
    #[inline]
    pub(crate) fn prefetch(&self, kind_realm: KindRealm, prefix: u128) {
        self.index.prefetch(self.index.place(self.hash(kind_realm, split(prefix))));
    }

    /// Asks for the memory of a subscriber.
    #[inline]
    pub(crate) fn prefetch_number(&self, subscriber: u32) {
        self.slab.prefetch(subscriber);
    }

    /// The subscriber whose tag stands in the index: perhaps the wanted one. Its memory is asked for.
    #[inline]
    pub(crate) fn guess(&self, kind_realm: KindRealm, prefix: u128) -> Option<u32> {
        let place = self.index.place(self.hash(kind_realm, split(prefix)));
        let slots = self.index.candidates(place);
        let number = (slots != 0).then(|| self.index.at(place, slots.trailing_zeros()))?;
        self.slab.prefetch(number);
        Some(number)
    }

    fn hash(&self, kind_realm: KindRealm, [high, low]: [u64; 2]) -> u64 {
        self.seed.of_four(high, low, kind_realm.0.into(), 0)
    }

    /// The subscriber with a prefix; a new one if there is none. `None`: the table is full, or all workers together have `most`
    /// (LIM-14).
    pub(crate) fn find_or_add(
        &mut self,
        kind_realm: KindRealm,
        prefix: u128,
        rate: u32,
        most: u32,
        now: Tick,
    ) -> Option<u32> {
        let prefix = split(prefix);
        let place = self.index.place(self.hash(kind_realm, prefix));
        let slab = &self.slab;
        let is = |number| {
            let known: &Subscriber = slab.get(number);
            known.prefix == prefix && known.kind_realm == kind_realm
        };
        if let Some(found) = self.index.find(place, is) {
            return Some(found);
        }
        //= conformance LIM-14
        if most != Limits::NONE && !self.shared.admit_subscriber(self.worker, self.slab.len(), most) {
            return None;
        }
        let tokens = rate.saturating_mul(TICKS_PER_SECOND);
        let number = self.slab.insert(Subscriber {
            prefix,
            kind_realm,
            first_block: blocks::NONE,
            blocks: 0,
            sessions: 0,
            mappings: [0; 3],
            statics: 0,
            tokens: [tokens; 2],
            filled: now,
            refused: None,
        });
        let entered = number.filter(|&number| self.index.insert(place, number));
        if entered.is_none()
            && let Some(number) = number
        {
            self.slab.remove(number);
        }
        self.shared.set_subscribers(self.worker, self.slab.len());
        entered
    }

    /// Forgets a subscriber that has nothing left.
    pub(crate) fn drop_if_idle(&mut self, number: u32) {
        let subscriber = *self.slab.get(number);
        if subscriber.is_idle() {
            let place = self.index.place(self.hash(subscriber.kind_realm, subscriber.prefix));
            self.index.remove(place, number);
            self.slab.remove(number);
            self.shared.set_subscribers(self.worker, self.slab.len());
        }
    }
}
