//! Rings between threads and processes: a burst of messages is pushed and popped again, both ends on one core. What a ring costs
//! across cores comes on top.

use std::hint::black_box;

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_nat::{Event, Kind, KindRealm, Protocol, Tick};
use sluice_shm::Notice;

use crate::Error;
use crate::meter::{BATCH, RING, Workload};
use crate::notices::Notices;

/// Slots of the ring between workers.
const SLOTS: usize = 1024;

/// The ring to control: notices in shared memory, encoded and decoded.
pub struct ShmRing {
    notices: Notices,
    messages: Vec<Notice>,
}

impl ShmRing {
    /// A ring in shared memory.
    ///
    /// # Errors
    /// Of the run directory.
    pub fn new() -> Result<Self, Error> {
        let message = |n: u32| {
            let event = Event::BindingCreated {
                kind_realm: KindRealm::new(Kind::Nat64, 0),
                protocol: Protocol::Udp,
                inside: n.into(),
                inside_port: n as u16,
                external: n,
                external_port: !n as u16,
            };
            Notice::Nat { time_ns: 0, event }
        };
        Ok(Self { notices: Notices::new()?, messages: (0..RING as u32).map(message).collect() })
    }
}

impl Workload for ShmRing {
    type State = ();

    fn fill(&mut self, (): &()) {}

    fn pass(&mut self, (): &mut (), _: Tick) -> u64 {
        let (producer, consumer) = self.notices.ends();
        let mut popped = 0;
        for burst in self.messages.as_chunks::<BATCH>().0 {
            producer.push_batch(burst);
            consumer.pop_batch(BATCH, |message| {
                black_box(message);
                popped += 1;
            });
        }
        popped
    }
}

/// As large as a packet on its way to another worker: pointer, interface, hops, stage.
type Parcel = [u64; 3];

/// The ring between workers.
pub struct WorkerRing {
    producer: Producer<Parcel>,
    consumer: Consumer<Parcel>,
}

impl Default for WorkerRing {
    fn default() -> Self {
        let (producer, consumer) = RingBuffer::new(SLOTS);
        Self { producer, consumer }
    }
}

impl Workload for WorkerRing {
    type State = ();

    fn fill(&mut self, (): &()) {}

    fn pass(&mut self, (): &mut (), _: Tick) -> u64 {
        let mut popped = 0;
        for first in (0..RING as u64).step_by(BATCH) {
            let Ok(burst) = self.producer.write_chunk_uninit(BATCH) else { break };
            burst.fill_from_iter((first..).map(|n| black_box([n, n, n])));
            let Ok(burst) = self.consumer.read_chunk(self.consumer.slots().min(BATCH)) else { break };
            popped +=
                burst.into_iter().map(|parcel| black_box(parcel)[0]).filter(|&n| n >= first).count() as u64;
        }
        popped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_messages_arrive() {
        let mut ring = ShmRing::new().unwrap();
        assert_eq!(ring.pass(&mut (), Tick(1)), RING as u64);
        let mut ring = WorkerRing::default();
        assert_eq!(ring.pass(&mut (), Tick(1)), RING as u64);
        assert_eq!(ring.pass(&mut (), Tick(1)), RING as u64);
    }
}
