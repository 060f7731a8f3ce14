//! The ends of a packet: transmit, punt, drop.

use sluice_dpdk::{Burst, Mbuf, TxQueue};
use sluice_packet::{DropReason, Family, PuntReason};
use sluice_shm::{Counter, Stage as TraceStage, WorkerCounters};

use super::batch::Packet;
use super::{BURST, Transmit, Worker};
use crate::nexthop::{AdjacencyIndex, State};
use crate::parcel::{Parcel, Punt, Stage};

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

    #[inline]
    fn push(&mut self, mbuf: Mbuf, interface: u16, counters: &WorkerCounters) {
        if self.pending.is_full() {
            self.flush(counters);
        }
        self.notes[self.pending.len()] = (interface, mbuf.len() as u16);
        // There is room.
        let _ = self.pending.push(mbuf);
    }

    /// Sends what is pending; what the queue does not take is dropped by name, for a worker waits for nobody.
    fn flush(&mut self, counters: &WorkerCounters) {
        let offered = self.pending.len();
        let sent = self.queue.tx(&mut self.pending);
        let mut bytes = 0;
        for &(interface, length) in &self.notes[..sent] {
            bytes += u64::from(length);
            counters.interface(usize::from(interface)).add_tx(1, length.into());
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
        let ether_type: u16 = match packet.meta.family {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        };
        let (port, mac, vlan) = (interface.port, interface.mac, interface.vlan);
        if !write_link(&mut packet.mbuf, usize::from(packet.meta.l3), neighbour.mac, mac, vlan, ether_type) {
            return self.drop_packet(packet, DropReason::NoMbuf);
        }
        if packet.is_traced() {
            self.finish_transmit(&packet, position);
        }
        self.send(packet.mbuf, port, position, packet.hops);
    }

    /// Queues a complete frame on a port: of this worker, or of the worker that has the port's queue.
    pub(super) fn send(&mut self, mbuf: Mbuf, port: u16, interface: u16, hops: u8) {
        match self.transmit.get_mut(usize::from(port)) {
            Some(Transmit::Own(outbox)) => outbox.push(mbuf, interface, self.sight.counters),
            Some(&mut Transmit::Via(worker)) => {
                let stage = Stage::Transmit { port, interface };
                self.hand_off_parcel(worker, Parcel { mbuf, interface, hops: hops + 1, stage });
            }
            None => {
                drop(mbuf);
                self.count_drop(Some(interface), DropReason::InterfaceGone);
            }
        }
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
            let link = packet.link;
            let stripped = write_link(
                &mut packet.mbuf,
                usize::from(link.len),
                link.destination,
                link.source,
                None,
                link.ether_type,
            );
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
                let link = match sluice_packet::ethernet::link(mbuf.data()) {
                    Ok(link) => link,
                    Err(reason) => {
                        self.count_drop(Some(injection.interface), reason);
                        continue;
                    }
                };
                let (destination, source) = (link.destination, link.source);
                if !write_link(&mut mbuf, usize::from(link.len), destination, source, vlan, link.ether_type) {
                    self.count_drop(Some(injection.interface), DropReason::NoMbuf);
                    continue;
                }
            }
            self.send(mbuf, port, injection.interface, 0);
        }
        packets
    }
}

/// Shortest Ethernet frame without its check sequence.
const SHORTEST: usize = 60;

/// Pads a short frame with zeros: software ports and their peers do not (XLT-45).
//= conformance XLT-45
#[inline]
fn pad(frame: &mut sluice_packet::Frame<'_>) {
    let length = frame.len();
    if length < SHORTEST && frame.set_len(SHORTEST) {
        frame.bytes_mut()[length..].fill(0);
    }
}

/// Writes a link header that ends where the network header begins. False without room.
fn write_link(
    mbuf: &mut Mbuf,
    l3: usize,
    destination: [u8; 6],
    source: [u8; 6],
    vlan: Option<u16>,
    ether_type: u16,
) -> bool {
    let length = if vlan.is_some() { 18 } else { 14 };
    mbuf.with_frame(|frame| {
        let room = if length > l3 { frame.push_front(length - l3) } else { frame.pull_front(l3 - length) };
        if !room {
            return false;
        }
        let bytes = frame.bytes_mut();
        bytes[0..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&source);
        if let Some(vlan) = vlan {
            bytes[12..14].copy_from_slice(&0x8100u16.to_be_bytes());
            bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
        }
        bytes[length - 2..length].copy_from_slice(&ether_type.to_be_bytes());
        pad(frame);
        true
    })
}
