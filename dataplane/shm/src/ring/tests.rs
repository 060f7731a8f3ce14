use proptest::prelude::*;

use super::*;
use crate::mapping::{Access, Mapping};
use crate::messages::MessageError;

/// A message of two words that must belong together; torn ones are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair(u64);

impl Message for Pair {
    type Wire = [u64; 2];

    fn to_wire(&self) -> [u64; 2] {
        [self.0, !self.0]
    }

    fn from_wire(wire: &[u64; 2]) -> Result<Self, MessageError> {
        if wire[0] == !wire[1] { Ok(Self(wire[0])) } else { Err(MessageError::Kind(0)) }
    }
}

/// A ring in a mapped file, as it is in production.
fn memory(slots: usize) -> RingMemory {
    let file = tempfile::tempfile().unwrap();
    let bytes = ring_bytes::<Pair>(slots);
    file.set_len(bytes as u64).unwrap();
    let mapping = Mapping::new(&file, bytes, Access::ReadWrite).unwrap();
    RingMemory { indices: mapping.at(0), words: mapping.slice_at(size_of::<RingIndices>(), slots * 2) }
}

fn ring(slots: usize) -> (Producer<Pair>, Consumer<Pair>, RingMemory) {
    let memory = memory(slots);
    (Producer::attach(memory.clone()), Consumer::attach(memory.clone()), memory)
}

#[test]
fn what_goes_in_comes_out_in_order_and_a_full_ring_refuses_and_counts() {
    let (mut producer, mut consumer, _) = ring(4);
    assert_eq!(consumer.pop(), None);
    for round in 0..10 {
        for n in 0..4 {
            assert!(producer.push(&Pair(round * 10 + n)));
        }
        assert!(!producer.push(&Pair(99)));
        assert_eq!((producer.len(), consumer.len(), producer.room()), (4, 4, 0));
        for n in 0..4 {
            assert_eq!(consumer.pop(), Some(Pair(round * 10 + n)));
        }
        assert!(consumer.is_empty() && producer.is_empty());
    }
    assert_eq!((producer.refused(), consumer.refused(), consumer.rejected()), (10, 10, 0));
}

#[test]
fn a_batch_goes_in_as_far_as_there_is_room() {
    let (mut producer, mut consumer, _) = ring(4);
    assert_eq!(producer.push_batch(&[Pair(1)]), 1);
    assert_eq!(producer.push_batch(&[Pair(2), Pair(3), Pair(4), Pair(5), Pair(6)]), 3);
    assert_eq!(producer.refused(), 2);
    let mut got = Vec::new();
    assert_eq!(consumer.pop_batch(3, |m| got.push(m)), 3);
    assert_eq!(consumer.pop_batch(3, |m| got.push(m)), 1);
    assert_eq!(consumer.pop_batch(3, |m| got.push(m)), 0);
    assert_eq!(got, [Pair(1), Pair(2), Pair(3), Pair(4)]);
}

#[test]
fn either_side_takes_up_where_a_dead_one_left_off() {
    let (mut producer, mut consumer, memory) = ring(8);
    producer.push_batch(&[Pair(1), Pair(2), Pair(3)]);
    assert_eq!(consumer.pop(), Some(Pair(1)));
    // Killed after writing a slot and before moving the tail: nobody sees the slot.
    producer.write(producer.tail, &Pair(77));
    // Killed after reading a slot and before moving the head: it is read again.
    assert_eq!(consumer.read(consumer.head), Some(Pair(2)));
    let mut producer = Producer::<Pair>::attach(memory.clone());
    let mut consumer = Consumer::<Pair>::attach(memory.clone());
    producer.push(&Pair(4));
    let rest: Vec<_> = core::iter::from_fn(|| consumer.pop()).collect();
    assert_eq!(rest, [Pair(2), Pair(3), Pair(4)]);
    producer.push_batch(&[Pair(5), Pair(6)]);
    let mut consumer = Consumer::<Pair>::attach(memory);
    assert_eq!(consumer.drain(), 2);
    assert_eq!(consumer.pop(), None);
    producer.push(&Pair(7));
    assert_eq!(consumer.pop(), Some(Pair(7)));
}

#[test]
fn a_million_messages_between_threads_arrive_whole_and_in_order() {
    const MESSAGES: u64 = 1_000_000;
    let (mut producer, mut consumer, _) = ring(256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0;
            while next < MESSAGES {
                let batch: [Pair; 16] = core::array::from_fn(|i| Pair(next + i as u64));
                let most = batch.len().min((MESSAGES - next) as usize);
                let pushed = producer.push_batch(&batch[..most]) as u64;
                next += pushed;
                if pushed == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            let got = consumer.pop_batch(32, |Pair(n)| {
                assert_eq!(n, expected);
                expected += 1;
            });
            if got == 0 {
                std::thread::yield_now();
            }
        }
        assert_eq!((consumer.pop(), consumer.rejected()), (None, 0));
    });
}

#[test]
fn a_slot_overwritten_by_the_other_side_is_skipped_and_counted() {
    let (mut producer, mut consumer, memory) = ring(4);
    producer.push_batch(&[Pair(1), Pair(2), Pair(3)]);
    memory.words[0].store(5, Ordering::Relaxed);
    memory.words[2].store(5, Ordering::Relaxed);
    assert_eq!(consumer.pop(), Some(Pair(3)));
    assert_eq!(consumer.rejected(), 2);
}

#[test]
fn a_tail_that_makes_no_sense_costs_its_messages_and_not_the_ring() {
    let (mut producer, mut consumer, memory) = ring(4);
    memory.indices.tail.index.store(1 << 60, Ordering::Relaxed);
    assert_eq!((consumer.len(), consumer.pop(), consumer.rejected()), (4, None, 1));
    // The producer, still alive, goes on from its own index, and the consumer follows.
    assert!(producer.push(&Pair(1)));
    assert_eq!(consumer.pop(), None);
    producer.room();
    let mut producer = Producer::<Pair>::attach(memory);
    assert!(producer.push(&Pair(2)));
    assert_eq!(consumer.pop(), Some(Pair(2)));
}

#[test]
fn indices_wrap_around() {
    let (_, _, memory) = ring(4);
    memory.indices.tail.index.store(u64::MAX - 1, Ordering::Relaxed);
    memory.indices.head.index.store(u64::MAX - 1, Ordering::Relaxed);
    let (mut producer, mut consumer) =
        (Producer::<Pair>::attach(memory.clone()), Consumer::<Pair>::attach(memory));
    assert_eq!(producer.push_batch(&[Pair(1), Pair(2), Pair(3), Pair(4), Pair(5)]), 4);
    for n in 1..=4 {
        assert_eq!(consumer.pop(), Some(Pair(n)));
    }
    assert_eq!((consumer.pop(), producer.room()), (None, 4));
}

#[derive(Clone, Debug)]
enum Act {
    Push(u8),
    Pop(u8),
    Tail(u64),
    Head(u64),
    Word(u8, u64),
    AttachProducer,
    AttachConsumer,
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    let index = prop_oneof![any::<u64>(), 0..20_u64, u64::MAX - 20..=u64::MAX];
    prop_oneof![
        4 => (0..12_u8).prop_map(Act::Push),
        4 => (0..12_u8).prop_map(Act::Pop),
        1 => index.clone().prop_map(Act::Tail),
        1 => index.prop_map(Act::Head),
        1 => (0..16_u8, any::<u64>()).prop_map(|(slot, word)| Act::Word(slot, word)),
        1 => Just(Act::AttachProducer),
        1 => Just(Act::AttachConsumer),
        1 => Just(Act::Drain),
    ]
}

proptest! {
    #[test]
    fn a_hostile_peer_never_makes_an_end_panic_or_overrun(acts in prop::collection::vec(act(), 1..60)) {
        let (mut producer, mut consumer, memory) = ring(8);
        for act in acts {
            match act {
                Act::Push(n) => {
                    let batch = vec![Pair(7); n.into()];
                    prop_assert!(producer.push_batch(&batch) <= 8);
                }
                Act::Pop(n) => prop_assert!(consumer.pop_batch(n.into(), |_| ()) <= 8),
                Act::Tail(index) => memory.indices.tail.index.store(index, Ordering::Relaxed),
                Act::Head(index) => memory.indices.head.index.store(index, Ordering::Relaxed),
                Act::Word(slot, word) => memory.words[usize::from(slot)].store(word, Ordering::Relaxed),
                Act::AttachProducer => producer = Producer::attach(memory.clone()),
                Act::AttachConsumer => consumer = Consumer::attach(memory.clone()),
                Act::Drain => prop_assert!(consumer.drain() <= 8),
            }
            prop_assert!(producer.len() <= 8 && consumer.len() <= 8 && producer.room() <= 8);
            consumer.pop();
        }
        // Whatever happened, a ring that both sides attach to anew works.
        let (mut producer, mut consumer) = (Producer::attach(memory.clone()), Consumer::attach(memory));
        consumer.drain();
        prop_assert!(producer.push(&Pair(42)));
        prop_assert_eq!(consumer.pop(), Some(Pair(42)));
    }
}
