//! Hand-off between workers: a packet that another worker owns goes there once, and is never looked at twice here.

use sluice_packet::ethernet;
use sluice_shm::{Counter, Stage as TraceStage};

use super::batch::Packet;
use super::{BURST, Worker};
use crate::parcel::{Parcel, Stage};

/// Most bursts that are taken from a ring in a loop.
const BURSTS: usize = 4;

impl Worker {
    /// Gives a packet to its owner.
    pub(super) fn hand_off(&mut self, packet: Packet, worker: u8, stage: Stage) {
        self.mark(&packet, TraceStage::HandOff, u32::from(worker));
        let stage = if packet.hairpinned { Stage::Hairpin } else { stage };
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
        let mut batch = std::mem::take(&mut self.scratch.batch);
        for _ in 0..waiting {
            let Some(Some(Ok(parcel))) =
                self.links.handoff_in.get_mut(worker).map(|ring| ring.as_mut().map(|ring| ring.pop()))
            else {
                break;
            };
            self.sight.counters.add(Counter::HandoffIn, 1);
            match parcel.stage {
                Stage::Transmit { port, interface } => self.send(parcel.mbuf, port, interface, parcel.hops),
                stage @ (Stage::Enter | Stage::Hairpin) => match ethernet::link(parcel.mbuf.data()) {
                    Ok(link) => {
                        let hairpinned = stage == Stage::Hairpin;
                        self.enter(parcel.mbuf, link, parcel.interface, parcel.hops, hairpinned, &mut batch);
                    }
                    Err(reason) => self.count_drop(Some(parcel.interface), reason),
                },
            }
        }
        self.process(&mut batch);
        self.scratch.batch = batch;
        waiting
    }
}
