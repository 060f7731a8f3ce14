//! Rings: one producer, one consumer, fixed slots, in memory that two processes share.
//!
//! ```text
//! offset   0   tail: slots ever filled, and refused messages      written by the producer
//! offset 128   head: slots ever emptied                           written by the consumer
//! offset 256   slot 0, slot 1, ...                                written by the producer
//! ```
//!
//! A message is visible when the tail has moved past it and gone when the head has. So a producer killed
//! anywhere leaves a half-written slot that nobody sees, and a consumer killed anywhere leaves at worst a message that is
//! delivered again. Whoever attaches takes up its own index where the dead one left it.
//!
//! Slots are copied word by word through relaxed atomics: the other side may be hostile or mad and write to a slot
//! while it is read. That gives a wrong message, which the decoder refuses, and never undefined behaviour. It costs
//! nothing measurable against a plain copy of these sizes.

use core::marker::PhantomData;

use zerocopy::{FromZeros, IntoBytes};

use crate::messages::Message;
use crate::sync::{AtomicU64, Ordering, Shared};

/// The two indices, each on cache lines of its own (128 bytes: processors fetch lines in pairs).
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RingIndices {
    tail: Line,
    head: Line,
}

#[repr(C, align(128))]
#[derive(Debug)]
struct Line {
    index: AtomicU64,
    /// Messages refused because the ring was full; meaningful in the producer's line.
    refused: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RingIndices>() == 256);

/// Where a ring lies.
#[derive(Clone, Debug)]
pub(crate) struct RingMemory {
    pub(crate) indices: Shared<RingIndices>,
    pub(crate) words: Shared<[AtomicU64]>,
}

impl RingMemory {
    fn slots<M: Message>(&self) -> u64 {
        let slots = self.words.len() / words::<M>();
        assert!(slots.is_power_of_two(), "{slots} slots: masking an index needs a power of two");
        slots as u64
    }

    fn slot<M: Message>(&self, index: u64, mask: u64) -> &[AtomicU64] {
        let first = (index & mask) as usize * words::<M>();
        &self.words[first..first + words::<M>()]
    }
}

/// Words of a slot.
const fn words<M: Message>() -> usize {
    const { assert!(size_of::<M::Wire>().is_multiple_of(8) && size_of::<M::Wire>() > 0) }
    size_of::<M::Wire>() / 8
}

/// Bytes of a ring.
#[cfg(not(loom))]
pub(crate) const fn ring_bytes<M: Message>(slots: usize) -> usize {
    size_of::<RingIndices>() + slots * words::<M>() * 8
}

/// The writing end. Exactly one exists per ring; locks and `take_` functions see to that.
#[derive(Debug)]
pub struct Producer<M: Message> {
    memory: RingMemory,
    mask: u64,
    tail: u64,
    /// The head as last seen: read again only when the ring looks full, so that a push rarely touches the
    /// consumer's line.
    head: u64,
    marker: PhantomData<fn(&M)>,
}

impl<M: Message> Producer<M> {
    /// Takes up the writing end where the last producer left it.
    pub(crate) fn attach(memory: RingMemory) -> Self {
        let mask = memory.slots::<M>() - 1;
        let head = memory.indices.head.index.load(Ordering::Acquire);
        let mut tail = memory.indices.tail.index.load(Ordering::Acquire);
        if tail.wrapping_sub(head) > mask + 1 {
            // No run of pushes and pops leads here; what is in the slots means nothing.
            tail = head;
            memory.indices.tail.index.store(tail, Ordering::Release);
        }
        Self { memory, mask, tail, head, marker: PhantomData }
    }

    /// Appends a message; `false`, counted, if the ring is full.
    #[inline]
    pub fn push(&mut self, message: &M) -> bool {
        self.push_batch(core::slice::from_ref(message)) == 1
    }

    /// Appends as many messages as there is room for, from the first on; all of them become visible at once. Returns how many;
    /// the rest is counted as refused.
    pub fn push_batch(&mut self, messages: &[M]) -> usize {
        let mut room = self.room_seen();
        if room < messages.len() {
            room = self.room();
        }
        let count = room.min(messages.len());
        for (offset, message) in messages[..count].iter().enumerate() {
            self.write(self.tail.wrapping_add(offset as u64), message);
        }
        if count > 0 {
            self.tail = self.tail.wrapping_add(count as u64);
            self.memory.indices.tail.index.store(self.tail, Ordering::Release);
        }
        if count < messages.len() {
            let refused = &self.memory.indices.tail.refused;
            let total = refused.load(Ordering::Relaxed).wrapping_add((messages.len() - count) as u64);
            refused.store(total, Ordering::Relaxed);
        }
        count
    }

    /// Messages that fit now.
    pub fn room(&mut self) -> usize {
        self.head = self.memory.indices.head.index.load(Ordering::Acquire);
        self.room_seen()
    }

    /// Messages that were pushed and not yet popped, as far as is known without asking the consumer's line again.
    pub fn len(&self) -> usize {
        let head = self.memory.indices.head.index.load(Ordering::Relaxed);
        self.tail.wrapping_sub(head).min(self.mask + 1) as usize
    }

    /// Whether every message was popped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots of the ring.
    pub fn capacity(&self) -> usize {
        (self.mask + 1) as usize
    }

    /// Messages refused since the ring exists.
    pub fn refused(&self) -> u64 {
        self.memory.indices.tail.refused.load(Ordering::Relaxed)
    }

    /// A head that is ahead of the tail, or too far behind, can only be nonsense: then there is no room.
    #[inline]
    fn room_seen(&self) -> usize {
        (self.mask + 1).saturating_sub(self.tail.wrapping_sub(self.head)) as usize
    }

    #[inline]
    fn write(&self, index: u64, message: &M) {
        let wire = message.to_wire();
        let slot = self.memory.slot::<M>(index, self.mask);
        for (word, bytes) in slot.iter().zip(wire.as_bytes().as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }
}

/// The reading end. Exactly one exists per ring.
#[derive(Debug)]
pub struct Consumer<M: Message> {
    memory: RingMemory,
    mask: u64,
    head: u64,
    /// The tail as last seen: read again only when the ring looks empty.
    tail: u64,
    rejected: u64,
    marker: PhantomData<fn() -> M>,
}

impl<M: Message> Consumer<M> {
    /// Takes up the reading end where the last consumer left it.
    pub(crate) fn attach(memory: RingMemory) -> Self {
        let mask = memory.slots::<M>() - 1;
        let head = memory.indices.head.index.load(Ordering::Acquire);
        Self { memory, mask, head, tail: head, rejected: 0, marker: PhantomData }
    }

    /// The oldest message. One that cannot be decoded is skipped and counted by [`Consumer::rejected`].
    #[inline]
    pub fn pop(&mut self) -> Option<M> {
        let mut popped = None;
        // At most one ring full of nonsense is skipped in one call, however fast the other side writes it.
        for _ in 0..=self.mask {
            if self.pop_batch(1, |message| popped = Some(message)) == 0 || popped.is_some() {
                break;
            }
        }
        popped
    }

    /// Takes up to `most` messages and frees their slots at once. Returns how many slots were freed, which counts those that could
    /// not be decoded.
    pub fn pop_batch(&mut self, most: usize, mut take: impl FnMut(M)) -> usize {
        let count = self.ready().min(most);
        for offset in 0..count {
            match self.read(self.head.wrapping_add(offset as u64)) {
                Some(message) => take(message),
                None => self.rejected += 1,
            }
        }
        if count > 0 {
            self.free_to(self.head.wrapping_add(count as u64));
        }
        count
    }

    /// Forgets every message that is in the ring now. Returns how many.
    pub fn drain(&mut self) -> usize {
        self.tail = self.memory.indices.tail.index.load(Ordering::Acquire);
        let count = self.tail.wrapping_sub(self.head).min(self.mask + 1) as usize;
        self.free_to(self.tail);
        count
    }

    /// Messages that are waiting.
    pub fn len(&self) -> usize {
        let tail = self.memory.indices.tail.index.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head).min(self.mask + 1) as usize
    }

    /// Whether no message is waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots of the ring.
    pub fn capacity(&self) -> usize {
        (self.mask + 1) as usize
    }

    /// Messages that this consumer could not decode, and times that the tail made no sense.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Messages that the producer found no room for since the ring exists.
    pub fn refused(&self) -> u64 {
        self.memory.indices.tail.refused.load(Ordering::Relaxed)
    }

    /// How many messages can be read, asking the producer's line only when none is known of.
    fn ready(&mut self) -> usize {
        if self.tail == self.head {
            self.tail = self.memory.indices.tail.index.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head) > self.mask + 1 {
                // No honest producer is more than a ring ahead: take up its index and wait for what comes.
                self.rejected += 1;
                self.free_to(self.tail);
            }
        }
        self.tail.wrapping_sub(self.head) as usize
    }

    #[inline]
    fn read(&self, index: u64) -> Option<M> {
        let mut wire = M::Wire::new_zeroed();
        let slot = self.memory.slot::<M>(index, self.mask);
        for (bytes, word) in wire.as_mut_bytes().as_chunks_mut::<8>().0.iter_mut().zip(slot) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        M::from_wire(&wire).ok()
    }

    #[inline]
    fn free_to(&mut self, head: u64) {
        self.head = head;
        self.memory.indices.head.index.store(head, Ordering::Release);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
