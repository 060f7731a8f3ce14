//! Intake: from a queue to a parsed packet on an interface.

use sluice_dpdk::{Burst, Mbuf};
use sluice_packet::{DropReason, Link, PuntReason, ethernet, parse};
use sluice_shm::{Counter, Stage};

use super::batch::{Entry, NO_TRACE, Packet};
use super::stages::Stage as Charge;
use super::trace::Seen;
use super::{BATCH, BURST, Worker};

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

impl Worker {
    /// Receives a burst from one of the queues and takes it to its ends. Returns how many packets there were.
    pub(super) fn receive_burst(&mut self, queue: usize) -> usize {
        let mut burst = Burst::<BURST>::new();
        let receive = &mut self.receive[queue];
        let port = receive.port;
        let packets = receive.queue.rx(&mut burst);
        if packets == 0 {
            self.stages.charge(Charge::Receive);
            return 0;
        }
        for mbuf in burst.iter() {
            mbuf.prefetch();
        }
        self.stages.charge(Charge::Receive);
        let bytes = self.express(&mut burst, port).bytes;
        if !burst.is_empty() {
            let mut batch = std::mem::take(&mut self.scratch.batch);
            for mbuf in burst.drain() {
                self.intake(mbuf, port, &mut batch);
                if batch.len() == BATCH {
                    self.process(&mut batch);
                }
            }
            self.process(&mut batch);
            self.scratch.batch = batch;
            self.stages.charge(Charge::General);
        }
        let counters = self.sight.counters;
        counters.add(Counter::RxPackets, packets as u64);
        counters.add(Counter::RxBytes, bytes);
        packets
    }

    /// Reads the link header, finds the interface and goes on with [`Worker::enter`].
    fn intake(&mut self, mbuf: Mbuf, port: u16, batch: &mut Vec<Packet>) {
        if mbuf.segments() != 1 {
            return self.count_drop(None, DropReason::MbufSegmented);
        }
        let link = match ethernet::link(mbuf.data()) {
            Ok(link) => link,
            Err(reason) => return self.count_drop(None, reason),
        };
        let Some(interface) = self.setup.port(port).and_then(|port| port.of(link.vlan)) else {
            return self.count_drop(None, DropReason::VlanUnknown);
        };
        let counters = self.sight.counters.interface(usize::from(interface));
        counters.add_rx(1, mbuf.len() as u64);
        if !link.is_group() && self.setup.interfaces[usize::from(interface)].mac != link.destination {
            return self.count_drop(Some(interface), DropReason::NotForUs);
        }
        let entry = Entry { interface, hops: 0, hairpinned: false, head: None };
        self.enter(mbuf, link, entry, batch);
    }

    /// Parses a frame whose interface is known and puts it into the batch, unless it ends here.
    pub(super) fn enter(
        &mut self,
        mbuf: Mbuf,
        link: Link,
        Entry { interface, hops, hairpinned, head }: Entry,
        batch: &mut Vec<Packet>,
    ) {
        let mut packet = Packet {
            meta: sluice_packet::Meta::blank(sluice_packet::Family::V4, u16::from(link.len)),
            mbuf,
            link,
            interface,
            hops,
            attached: head.is_some(),
            hairpinned,
            trace: NO_TRACE,
        };
        if link.ether_type == ARP {
            if let Some(packet) = self.answer_arp(packet) {
                self.punt(packet, PuntReason::Arp);
            }
            return;
        }
        if link.ether_type != IPV4 && link.ether_type != IPV6 {
            return self.punt(packet, PuntReason::OtherProtocol);
        }
        let parsed = parse(packet.mbuf.data(), &link);
        packet.meta = match &parsed {
            Ok(meta) => *meta,
            Err(malformed) => malformed.meta,
        };
        if let Some(head) = head {
            packet.meta.adopt(head);
        }
        // A packet that has waited was traced until then, and counted.
        if self.tracer.is_active()
            && self.retrying.is_none()
            && self.tracer.wants(&Seen::of(&packet.meta), interface)
        {
            let stage = if hairpinned { Stage::Hairpin } else { Stage::Receive };
            packet.trace = self.tracer.begin(&packet, stage, self.clock.now_ns());
        }
        match parsed {
            Ok(_) => batch.push(packet),
            Err(malformed) => match malformed.report {
                Some(message) => self.refuse(packet, malformed.reason, message),
                None => self.drop_packet(packet, malformed.reason),
            },
        }
    }
}
