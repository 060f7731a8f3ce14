//! The ring under every interleaving that the memory model allows:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-shm --release loom`

use std::sync::Arc;

use loom::thread;

use super::*;
use crate::messages::MessageError;

/// Two words that must belong together: a torn or stale message does not decode.
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

fn memory(slots: usize) -> RingMemory {
    let line = || Line { index: AtomicU64::new(0), refused: AtomicU64::new(0) };
    RingMemory {
        indices: Arc::new(RingIndices { tail: line(), head: line() }),
        words: (0..slots * 2).map(|_| AtomicU64::new(0)).collect(),
    }
}

/// More messages than slots: the ring runs full, empty and around.
#[test]
fn loom_messages_arrive_whole_and_in_order() {
    loom::model(|| {
        let memory = memory(2);
        let mut producer = Producer::<Pair>::attach(memory.clone());
        let mut consumer = Consumer::<Pair>::attach(memory);
        let writer = thread::spawn(move || {
            for n in 1..=3 {
                while !producer.push(&Pair(n)) {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 1;
        while expected <= 3 {
            match consumer.pop() {
                Some(Pair(n)) => {
                    assert_eq!(n, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        assert_eq!(consumer.rejected(), 0);
        writer.join().unwrap();
    });
}

/// A batch becomes visible as a whole.
#[test]
fn loom_a_batch_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let memory = memory(4);
        let mut producer = Producer::<Pair>::attach(memory.clone());
        let mut consumer = Consumer::<Pair>::attach(memory);
        let writer = thread::spawn(move || assert_eq!(producer.push_batch(&[Pair(1), Pair(2)]), 2));
        let mut got = Vec::new();
        let count = consumer.pop_batch(4, |Pair(n)| got.push(n));
        assert!(count == 0 && got.is_empty() || got == [1, 2], "{got:?}");
        assert_eq!(consumer.rejected(), 0);
        writer.join().unwrap();
    });
}

/// The consumer dies between reading a slot and freeing it; its successor attaches while the producer goes on.
#[test]
fn loom_a_successor_of_a_dead_consumer_loses_nothing() {
    loom::model(|| {
        let memory = memory(2);
        let mut producer = Producer::<Pair>::attach(memory.clone());
        let writer = thread::spawn(move || {
            for n in 1..=3 {
                while !producer.push(&Pair(n)) {
                    thread::yield_now();
                }
            }
        });
        let mut dead = Consumer::<Pair>::attach(memory.clone());
        if dead.ready() > 0 {
            assert_eq!(dead.read(dead.head), Some(Pair(1)));
        }
        drop(dead);
        let mut consumer = Consumer::<Pair>::attach(memory);
        let mut expected = 1;
        while expected <= 3 {
            match consumer.pop() {
                Some(Pair(n)) => {
                    assert_eq!(n, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        assert_eq!(consumer.rejected(), 0);
        writer.join().unwrap();
    });
}

/// The producer dies after half a message; its successor attaches while the consumer reads on.
#[test]
fn loom_half_a_message_of_a_dead_producer_is_never_seen() {
    loom::model(|| {
        let memory = memory(2);
        let mut consumer = Consumer::<Pair>::attach(memory.clone());
        let writer = thread::spawn(move || {
            let mut dead = Producer::<Pair>::attach(memory.clone());
            assert!(dead.push(&Pair(1)));
            memory.slot::<Pair>(1, 1)[0].store(99, Ordering::Relaxed);
            drop(dead);
            let mut producer = Producer::<Pair>::attach(memory);
            assert!(producer.push(&Pair(2)));
        });
        let mut expected = 1;
        while expected <= 2 {
            match consumer.pop() {
                Some(Pair(n)) => {
                    assert_eq!(n, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        assert_eq!(consumer.rejected(), 0);
        writer.join().unwrap();
    });
}
