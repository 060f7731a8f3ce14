//! The port blocks of one worker: whose they are, how full they are, and when they may go back to the pool.

use crate::arena::Touch;
use crate::hash::Rng;
use crate::ports::{CLEAN_INTERVAL, Window};
use crate::reserved::Withheld;
use crate::shared::Shared;
use crate::slab::Slab;
use crate::types::{Protocol, TICKS_PER_SECOND, Tick};

/// No block.
pub(crate) const NONE: u32 = u32::MAX;

/// Whether a port that is given back rests, if its pool has a hold-down at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It does not: it never served a session.
    Never,
    /// As its protocol has it: TCP ports do not (PORT-11).
    Usual,
    /// It does: the operator took its mapping away (MAP-15).
    Always,
}

/// A block that this worker has claimed: one cache line, which new sessions are asked for ahead.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) slot: u32,
    pub(crate) address: u32,
    /// Number of the block within its address, at its size.
    pub(crate) number: u16,
    /// Logarithm of its size.
    pub(crate) shift: u8,
    /// First and last port that the pool gives out of it.
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) pool: u16,
    pub(crate) subscriber: u32,
    /// Next block of the subscriber.
    pub(crate) next: u32,
    /// Bindings, by protocol.
    used: [u16; 3],
    /// Hold-down in ticks.
    hold: u32,
    /// Ports of a protocol that rest at a time, unless the operator took their mappings away.
    max_resting: u16,
    /// Until when the last freed port rests, if any does.
    rests: Option<Tick>,
    /// When resting ports were last looked through.
    cleaned: Tick,
    /// Part of the range that its subscriber has anyway (PORT-17).
    pub(crate) fixed: bool,
    /// In the queue of empty blocks, and the next one there.
    queued: bool,
    queue_next: u32,
    /// What `rests` was when it was queued.
    queued_until: Option<Tick>,
}

const _: () = assert!(size_of::<Block>() == 64);

/// What a new block is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBlock {
    pub(crate) slot: u32,
    pub(crate) address: u32,
    pub(crate) number: u16,
    pub(crate) shift: u8,
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) pool: u16,
    pub(crate) subscriber: u32,
    pub(crate) next: u32,
    pub(crate) hold: u32,
    pub(crate) max_resting: u16,
    pub(crate) fixed: bool,
}

impl Block {
    fn is_empty(&self) -> bool {
        self.used == [0; 3]
    }

    /// Lets rested ports go, unless that was done within `interval`.
    fn clean(&mut self, shared: &Shared, now: Tick, interval: u32) {
        if self.rests.is_none() || now.since(self.cleaned) < interval {
            return;
        }
        self.cleaned = now;
        let all = !self.is_resting(now);
        for protocol in Protocol::ALL {
            shared.ports.of(self.slot, protocol).clean(self.first, self.last, now, self.hold, all);
        }
        if all {
            self.rests = None;
        }
    }

    /// Whether one port more of a protocol may rest.
    //= conformance PORT-10
    fn may_rest(&mut self, shared: &Shared, protocol: Protocol, now: Tick) -> bool {
        if self.max_resting > self.last - self.first {
            return true;
        }
        self.clean(shared, now, TICKS_PER_SECOND);
        shared.ports.of(self.slot, protocol).resting(self.first, self.last) < self.max_resting.into()
    }

    fn is_resting(&self, now: Tick) -> bool {
        self.rests.is_some_and(|until| until.since(now) > 0)
    }
}

/// The blocks of one worker.
#[derive(Debug)]
pub(crate) struct Blocks {
    slab: Slab<Block>,
    /// Blocks that became empty, in that order.
    queue_head: u32,
    queue_tail: u32,
}

impl Blocks {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { slab: Slab::new(capacity, Touch::WhenUsed), queue_head: NONE, queue_tail: NONE }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slab.is_full()
    }

    /// Asks for the memory of a block.
    #[inline]
    pub(crate) fn prefetch(&self, block: u32) {
        self.slab.prefetch(block);
    }

    /// Asks for the port bitmaps of a block, as far as is worth while.
    #[inline]
    pub(crate) fn prefetch_ports(&self, shared: &Shared, block: u32, protocol: Protocol) {
        let at = self.slab.get(block);
        shared.ports.of(at.slot, protocol).prefetch(at.first, at.last);
    }

    pub(crate) fn get(&self, block: u32) -> &Block {
        self.slab.get(block)
    }

    /// Enters a block that was just claimed.
    pub(crate) fn add(&mut self, new: NewBlock, now: Tick) -> Option<u32> {
        self.slab.insert(Block {
            slot: new.slot,
            address: new.address,
            number: new.number,
            shift: new.shift,
            first: new.first,
            last: new.last,
            pool: new.pool,
            subscriber: new.subscriber,
            next: new.next,
            used: [0; 3],
            hold: new.hold,
            max_resting: new.max_resting,
            rests: None,
            cleaned: now,
            fixed: new.fixed,
            queued: false,
            queue_next: NONE,
            queued_until: None,
        })
    }

    /// A free port of a block within a window, none that is withheld, at random; not yet taken.
    pub(crate) fn pick(
        &mut self,
        shared: &Shared,
        block: u32,
        protocol: Protocol,
        (window, withheld): (Window, Withheld<'_>),
        now: Tick,
        rng: &mut Rng,
    ) -> Option<u16> {
        let at = self.slab.get_mut(block);
        let window = Window { first: window.first.max(at.first), last: window.last.min(at.last), ..window };
        if window.first > window.last || at.used[protocol.index()] > at.last - at.first {
            return None;
        }
        at.clean(shared, now, TICKS_PER_SECOND);
        shared.ports.of(at.slot, protocol).pick(window, |run| withheld.run(run), rng)
    }

    /// Whether a port of a block can be taken.
    pub(crate) fn is_free(&self, shared: &Shared, block: u32, protocol: Protocol, port: u16) -> bool {
        shared.ports.of(self.slab.get(block).slot, protocol).is_free(port)
    }

    /// Takes a port for a binding.
    pub(crate) fn take(&mut self, shared: &Shared, block: u32, protocol: Protocol, port: u16) {
        let at = self.slab.get_mut(block);
        at.used[protocol.index()] += 1;
        shared.ports.of(at.slot, protocol).take(port);
    }

    /// Takes the port of a binding back.
    pub(crate) fn give_back(
        &mut self,
        shared: &Shared,
        block: u32,
        protocol: Protocol,
        port: u16,
        now: Tick,
        rest: Rest,
    ) {
        let at = self.slab.get_mut(block);
        at.used[protocol.index()] -= 1;
        //= conformance PORT-11, MAP-15
        let rests = match rest {
            Rest::Never => false,
            Rest::Usual => protocol != Protocol::Tcp && at.hold > 0 && at.may_rest(shared, protocol, now),
            Rest::Always => at.hold > 0,
        };
        if rests {
            at.clean(shared, now, CLEAN_INTERVAL);
            at.rests = Some(now.after(at.hold + 1));
        }
        shared.ports.of(at.slot, protocol).give_back(port, now, rests);
        self.settle(block);
    }

    /// Sees to it that a block nobody uses is released.
    pub(crate) fn settle(&mut self, block: u32) {
        let at = self.slab.get(block);
        if at.is_empty() && !at.queued {
            self.enqueue(block);
        }
    }

    fn enqueue(&mut self, block: u32) {
        let at = self.slab.get_mut(block);
        at.queued = true;
        at.queue_next = NONE;
        at.queued_until = at.rests;
        match self.queue_tail {
            NONE => self.queue_head = block,
            tail => self.slab.get_mut(tail).queue_next = block,
        }
        self.queue_tail = block;
    }

    /// The next block that may be released. Looks at no more than `budget` blocks.
    ///
    /// The queue is in the order in which blocks became empty. The front one tells whether any is due, unless it was used
    /// again meanwhile: then it leaves, or goes to the end with its new time.
    pub(crate) fn next_rested(&mut self, now: Tick, budget: &mut usize) -> Option<u32> {
        while *budget > 0 && self.queue_head != NONE {
            let block = self.queue_head;
            let at = *self.slab.get(block);
            if at.is_empty() && at.is_resting(now) && at.queued_until == at.rests {
                return None;
            }
            *budget -= 1;
            self.dequeue();
            if at.is_empty() && !at.is_resting(now) {
                return Some(block);
            }
            if at.is_empty() {
                self.enqueue(block);
            }
        }
        None
    }

    fn dequeue(&mut self) {
        let at = self.slab.get_mut(self.queue_head);
        at.queued = false;
        self.queue_head = at.queue_next;
        if self.queue_head == NONE {
            self.queue_tail = NONE;
        }
    }

    /// Gives a block back to the pool. The caller has unlinked it from its subscriber.
    pub(crate) fn release(&mut self, shared: &Shared, block: u32) {
        let at = *self.slab.get(block);
        for protocol in Protocol::ALL {
            shared.ports.of(at.slot, protocol).clear(at.first, at.last);
        }
        shared.release_block(at.slot, at.number, at.shift);
        self.slab.remove(block);
    }

    pub(crate) fn set_next(&mut self, block: u32, next: u32) {
        self.slab.get_mut(block).next = next;
    }
}
