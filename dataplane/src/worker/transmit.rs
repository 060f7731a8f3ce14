//! The ends of a packet: transmit, punt, drop.

use rtrb::PushError;
use sluice_dpdk::{Burst, Mbuf, TxQueue};
use sluice_packet::{DropReason, Family, Frame, Link, PuntReason, ethernet};
use sluice_shm::{Counter, Stage as TraceStage, WorkerCounters};

use super::batch::Packet;
use super::departure::Macs;
use super::{BURST, Links, Sight, Transmit, Worker};
use crate::nexthop::{AdjacencyIndex, State};
use crate::parcel::{MAX_HOPS, Parcel, Punt, Stage};

/// A transmit queue and what is to be sent through it, filled up to a burst.
pub struct Outbox {
    queue: TxQueue,
    pending: Burst<BURST>,
    /// Of each pending packet, the interface that counts it and its length: the driver takes the packets themselves.
    notes: [(u16, u16); BURST],
}

impl Outbox {
    /// An empty one.
    pub fn new(queue: TxQueue) -> Self {
        Self { queue, pending: Burst::new(), notes: [(0, 0); BURST] }
    }

    /// The queue; what is pending is dropped.
    pub fn into_queue(self) -> TxQueue {
        self.queue
    }

    #[inline(always)]
    fn push(&mut self, mbuf: Mbuf, interface: u16, counters: &WorkerCounters) {
        if self.pending.is_full() {
            self.flush(counters);
        }
        self.notes[self.pending.len()] = (interface, mbuf.len() as u16);
        // There is room.
        let _ = self.pending.push(mbuf);
    }

    /// Sends what is pending; what the queue does not take is dropped by name, for a worker waits for nobody.
    #[inline(never)]
    fn flush(&mut self, counters: &WorkerCounters) {
        let offered = self.pending.len();
        let sent = self.queue.tx(&mut self.pending);
        let mut bytes = 0;
        for run in self.notes[..sent].chunk_by(|one, next| one.0 == next.0) {
            let of_run = run.iter().map(|&(_, length)| u64::from(length)).sum();
            counters.interface(usize::from(run[0].0)).add_tx(run.len() as u64, of_run);
            bytes += of_run;
        }
        counters.add(Counter::TxPackets, sent as u64);
        counters.add(Counter::TxBytes, bytes);
        if sent < offered {
            counters.add_drop(DropReason::TxFull, (offered - sent) as u64);
            self.pending.clear();
        }
    }
}

impl Worker {
    /// Writes the link header for the next hop and queues the packet on its port.
    pub(super) fn transmit(&mut self, mut packet: Packet, adjacency: AdjacencyIndex) {
        let neighbour = self.setup.routes.adjacencies.get(adjacency);
        // A cached next hop may have gone within this very loop.
        if neighbour.state != State::Resolved {
            return self.drop_packet(packet, DropReason::NeighbourUnresolved);
        }
        let position = u16::from(neighbour.interface);
        let Some(interface) = self.setup.interface(position) else {
            return self.drop_packet(packet, DropReason::InterfaceGone);
        };
        let port = interface.port;
        let header = LinkHeader {
            destination: neighbour.mac,
            source: interface.mac,
            vlan: interface.vlan,
            ether_type: ether_type(packet.meta.family),
        };
        let l3 = usize::from(packet.meta.l3);
        if !packet.mbuf.with_frame(|frame| header.write(frame, l3)) {
            return self.drop_packet(packet, DropReason::NoMbuf);
        }
        if packet.is_traced() {
            self.finish_transmit(&packet, position);
        }
        self.send(packet.mbuf, port, position, packet.hops);
    }

    /// Queues a complete frame on a port.
    pub(super) fn send(&mut self, mbuf: Mbuf, port: u16, interface: u16, hops: u8) {
        self.exits().send(mbuf, port, interface, hops);
    }

    /// The ways out.
    #[inline(always)]
    pub(super) fn exits(&mut self) -> Exits<'_> {
        Exits { transmit: &mut self.transmit, links: &mut self.links, sight: &self.sight }
    }

    /// Sends what is queued on every port.
    pub(super) fn flush(&mut self) {
        for transmit in &mut self.transmit {
            if let Transmit::Own(outbox) = transmit
                && !outbox.pending.is_empty()
            {
                outbox.flush(self.sight.counters);
            }
        }
    }

    /// Gives a packet to the kernel.
    pub(super) fn punt(&mut self, mut packet: Packet, reason: PuntReason) {
        // Who cannot resolve neighbours cannot be reached at all: those messages are never policed away.
        let vital = matches!(reason, PuntReason::Arp | PuntReason::NeighbourDiscovery);
        if !vital && !self.police.take(self.now) {
            return self.drop_packet(packet, DropReason::PuntPoliced);
        }
        self.mark(&packet, TraceStage::Punt, reason.index() as u32);
        // Tags end here, priority tags (VLAN 0) included.
        if packet.link.len > 14 {
            let Link { destination, source, ether_type, len, .. } = packet.link;
            let header = LinkHeader { destination, source, vlan: None, ether_type };
            let stripped = packet.mbuf.with_frame(|frame| header.write(frame, usize::from(len)));
            debug_assert!(stripped, "cutting a tag needs no room");
        }
        if packet.is_traced() {
            self.finish_punt(&packet, reason);
        }
        let interface = packet.interface;
        match self.links.punt.push(Punt { mbuf: packet.mbuf, interface }) {
            Ok(()) => self.sight.counters.add_punt(reason, 1),
            Err(_full) => self.count_drop(Some(interface), DropReason::PuntFull),
        }
    }

    /// Drops a packet by name.
    pub(super) fn drop_packet(&mut self, packet: Packet, reason: DropReason) {
        if packet.is_traced() {
            self.finish_drop(&packet, reason);
        }
        self.count_drop(Some(packet.interface), reason);
    }

    /// Counts a drop.
    #[inline]
    pub(super) fn count_drop(&mut self, interface: Option<u16>, reason: DropReason) {
        self.sight.counters.add_drop(reason, 1);
        if let Some(interface) = interface {
            self.sight.counters.interface(usize::from(interface)).add_drops(1);
        }
    }

    /// Sends packets of the kernel out of their interfaces.
    pub(super) fn inject(&mut self) -> usize {
        let mut packets = 0;
        while packets < BURST {
            let Ok(injection) = self.links.inject.pop() else { break };
            packets += 1;
            self.sight.counters.add(Counter::Injected, 1);
            let mut mbuf = injection.mbuf;
            let Some(interface) = self.setup.interface(injection.interface) else {
                self.count_drop(None, DropReason::InterfaceGone);
                continue;
            };
            let (port, vlan) = (interface.port, interface.vlan);
            if vlan.is_some() {
                let link = match ethernet::link(mbuf.data()) {
                    Ok(link) => link,
                    Err(reason) => {
                        self.count_drop(Some(injection.interface), reason);
                        continue;
                    }
                };
                let Link { destination, source, ether_type, len, .. } = link;
                let header = LinkHeader { destination, source, vlan, ether_type };
                if !mbuf.with_frame(|frame| header.write(frame, usize::from(len))) {
                    self.count_drop(Some(injection.interface), DropReason::NoMbuf);
                    continue;
                }
            }
            self.send(mbuf, port, injection.interface, 0);
        }
        packets
    }
}

/// Where complete frames leave a worker.
pub(super) struct Exits<'a> {
    pub(super) transmit: &'a mut [Transmit],
    pub(super) links: &'a mut Links,
    pub(super) sight: &'a Sight,
}

impl Exits<'_> {
    /// Queues a complete frame on a port: of this worker, or of the worker that has the port's queue.
    #[inline(always)]
    pub(super) fn send(&mut self, mbuf: Mbuf, port: u16, interface: u16, hops: u8) {
        match self.transmit.get_mut(usize::from(port)) {
            Some(Transmit::Own(outbox)) => outbox.push(mbuf, interface, self.sight.counters),
            Some(&mut Transmit::Via(worker)) => {
                let stage = Stage::Transmit { port, interface };
                self.hand_off(worker, Parcel { mbuf, interface, hops: hops + 1, stage });
            }
            None => self.lose(interface, mbuf, DropReason::InterfaceGone),
        }
    }

    /// Puts a parcel on the ring to a worker.
    pub(super) fn hand_off(&mut self, worker: u8, parcel: Parcel) {
        let interface = parcel.interface;
        if parcel.hops > MAX_HOPS {
            return self.lose(interface, parcel.mbuf, DropReason::HandoffHops);
        }
        let ring = self.links.handoff_out.get_mut(usize::from(worker)).and_then(Option::as_mut);
        let pushed = match ring {
            Some(ring) => ring.push(parcel).map_err(|PushError::Full(parcel)| parcel),
            None => Err(parcel),
        };
        match pushed {
            Ok(()) => self.sight.counters.add(Counter::HandoffOut, 1),
            Err(parcel) => self.lose(interface, parcel.mbuf, DropReason::HandoffFull),
        }
    }

    /// Drops a frame by name.
    #[cold]
    pub(super) fn lose(&mut self, interface: u16, mbuf: Mbuf, reason: DropReason) {
        drop(mbuf);
        self.sight.counters.add_drop(reason, 1);
        self.sight.counters.interface(usize::from(interface)).add_drops(1);
    }
}

/// A link header to be written.
#[derive(Clone, Copy)]
pub(super) struct LinkHeader {
    pub(super) destination: [u8; 6],
    pub(super) source: [u8; 6],
    pub(super) vlan: Option<u16>,
    pub(super) ether_type: u16,
}

impl LinkHeader {
    /// Writes the header so that it ends where the network header begins. False without room.
    pub(super) fn write(&self, frame: &mut Frame<'_>, l3: usize) -> bool {
        let length = if self.vlan.is_some() { 18 } else { 14 };
        let room = if length > l3 { frame.push_front(length - l3) } else { frame.pull_front(l3 - length) };
        if !room {
            return false;
        }
        let bytes = frame.bytes_mut();
        let macs = Macs::new(self.destination, self.source);
        match self.vlan {
            None => bytes[..14].copy_from_slice(&macs.untagged(self.ether_type)),
            Some(vlan) => bytes[..18].copy_from_slice(&macs.tagged(vlan, self.ether_type)),
        }
        ethernet::pad(frame);
        true
    }
}

/// EtherType of a family.
#[inline(always)]
pub(super) fn ether_type(family: Family) -> u16 {
    match family {
        Family::V4 => ethernet::IPV4,
        Family::V6 => ethernet::IPV6,
    }
}
