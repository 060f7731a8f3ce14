//! Hand-off between workers: a packet that another worker owns goes there once, and is never looked at twice here.

use sluice_dpdk::{Burst, Mbuf};
use sluice_packet::ethernet;
use sluice_shm::{Counter, Stage as TraceStage};

use super::batch::{Entry, Packet};
use super::express::Origin;
use super::stages::Stage as Charge;
use super::{BATCH, BURST, Worker};
use crate::parcel::{Parcel, Stage};

/// Most bursts that are taken from a ring in a loop.
const BURSTS: usize = 4;

impl Worker {
    /// Gives a packet to its owner.
    pub(super) fn hand_off(&mut self, packet: Packet, worker: u8, stage: Stage) {
        self.mark(&packet, TraceStage::HandOff, u32::from(worker));
        let stage = match packet.entry().head {
            Some(head) => Stage::Fragment { head, hairpin: packet.hairpinned },
            None if packet.hairpinned => Stage::Hairpin,
            None => stage,
        };
        if packet.is_traced() {
            self.finish_hand_off(&packet, worker);
        }
        let parcel = Parcel { mbuf: packet.mbuf, interface: packet.interface, hops: packet.hops + 1, stage };
        self.exits().hand_off(worker, parcel);
    }

    /// Takes what another worker handed over: more than a burst if there is more, for these packets have waited already. Not
    /// so many that new flows among them would be more than a loop makes.
    pub(super) fn accept_all(&mut self, worker: usize) -> usize {
        let mut packets = 0;
        for _ in 0..BURSTS {
            let taken = self.accept(worker);
            packets += taken;
            if taken < BURST || self.misses_left < BURST {
                break;
            }
        }
        packets
    }

    /// Takes a burst of what another worker handed over. Returns how many packets there were.
    fn accept(&mut self, worker: usize) -> usize {
        let Some(ring) = &mut self.links.handoff_in[worker] else { return 0 };
        let waiting = ring.slots().min(BURST);
        if waiting == 0 {
            return 0;
        }
        let Ok(parcels) = ring.read_chunk(waiting) else { return 0 };
        let mut burst = Burst::<BURST>::new();
        let mut origins = [Origin::default(); BURST];
        // What is no burst of newcomers: complete frames, and the second halves of hairpins.
        let mut others = [const { None }; BURST];
        let mut count = 0;
        for parcel in parcels {
            if parcel.stage == Stage::Enter {
                parcel.mbuf.prefetch_descriptor();
                origins[burst.len()] = Origin { interface: parcel.interface, hops: parcel.hops };
                // There is room for all that wait.
                let _ = burst.push(parcel.mbuf);
            } else {
                others[count] = Some(parcel);
                count += 1;
            }
        }
        burst.iter().for_each(Mbuf::prefetch);
        self.sight.counters.add(Counter::HandoffIn, waiting as u64);
        self.stages.charge(Charge::Upkeep);
        let left = self.express_handed(&mut burst, &origins);
        let mut batch = std::mem::take(&mut self.scratch.batch);
        let places = (0..BURST).filter(|place| left.positions >> place & 1 == 1);
        for (mbuf, place) in burst.drain().zip(places) {
            let Origin { interface, hops } = origins[place];
            let entry = Entry { interface, hops, hairpinned: false, head: None };
            self.enter_again(mbuf, entry, &mut batch);
            if batch.len() == BATCH {
                self.process(&mut batch);
            }
        }
        for Parcel { mbuf, interface, hops, stage } in others.into_iter().take(count).flatten() {
            let (hairpinned, head) = match stage {
                Stage::StoredSyn { since, hairpinned } => {
                    self.accept_stored_syn(mbuf, interface, hairpinned, since);
                    continue;
                }
                Stage::Transmit { port, interface } => {
                    self.send(mbuf, port, interface, hops);
                    continue;
                }
                Stage::Fragment { head, hairpin } => (hairpin, Some(head)),
                Stage::Enter => (false, None),
                Stage::Hairpin => (true, None),
            };
            self.enter_again(mbuf, Entry { interface, hops, hairpinned, head }, &mut batch);
            if batch.len() == BATCH {
                self.process(&mut batch);
            }
        }
        self.process(&mut batch);
        self.scratch.batch = batch;
        self.stages.charge(Charge::General);
        waiting
    }

    /// Reads the headers of a packet that another worker has read before.
    fn enter_again(&mut self, mbuf: Mbuf, entry: Entry, batch: &mut Vec<Packet>) {
        match ethernet::link(mbuf.data()) {
            Ok(link) => self.enter(mbuf, link, entry, batch),
            Err(reason) => self.count_drop(Some(entry.interface), reason),
        }
    }
}
