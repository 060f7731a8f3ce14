//! Questions of the link for addresses that are ours though no interface has them: pool addresses and translation prefixes
//! inside a connected subnet (RFC 3022, 6.2). The kernel answers for its own addresses alone, and could not hold an entry
//! for each address of a prefix, so the worker answers, as its configuration says.

use sluice_packet::proxy;
use sluice_shm::Counter;

use super::Worker;
use super::batch::Packet;
use super::transmit::LinkHeader;
use crate::setup::Interface;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

impl Worker {
    /// Answers an ARP request for an external address. Gives back what is for the kernel.
    #[cold]
    pub(super) fn answer_arp(&mut self, mut packet: Packet) -> Option<Packet> {
        let l3 = usize::from(packet.link.len);
        let asked = proxy::asked_v4(packet.mbuf.data(), l3).filter(|&address| {
            self.setup.interface(packet.interface).is_some_and(|interface| interface.answers_v4(address))
                && self.setup.nat.is_external(address)
                && !self.setup.is_local_v4(address)
        });
        //= conformance ADDR-25
        let Some((_, interface)) = asked.zip(self.setup.interface(packet.interface)) else {
            return Some(packet);
        };
        let (header, port) = header(interface, ARP);
        match proxy::answer_v4(packet.mbuf.data_mut(), l3, interface.mac) {
            Some(destination) => self.answer(packet, LinkHeader { destination, ..header }, port, l3),
            None => return Some(packet),
        }
        None
    }

    /// Answers a neighbour solicitation for an address of a translation prefix. Gives back what is for the kernel.
    #[cold]
    pub(super) fn answer_solicitation(&mut self, mut packet: Packet) -> Option<Packet> {
        let meta = packet.meta;
        let asked = proxy::asked_v6(packet.mbuf.data(), &meta)
            .filter(|&address| self.answers_v6(packet.interface, address));
        //= conformance ADDR-25
        let Some((target, interface)) = asked.zip(self.setup.interface(packet.interface)) else {
            return Some(packet);
        };
        let (header, port) = header(interface, IPV6);
        let (mac, asker) = (interface.mac, packet.link.source);
        let made = packet.mbuf.with_frame(|frame| proxy::answer_v6(frame, &meta, target, mac, asker));
        match made {
            Some(destination) => {
                self.answer(packet, LinkHeader { destination, ..header }, port, usize::from(meta.l3));
            }
            None => return Some(packet),
        }
        None
    }

    /// Whether solicitations of an interface for an address are answered here.
    pub(super) fn answers_v6(&self, interface: u16, address: u128) -> bool {
        self.setup.interface(interface).is_some_and(|interface| interface.answers_v6(address))
            && self.setup.nat.translates_to(address)
    }

    fn answer(&mut self, mut packet: Packet, header: LinkHeader, port: u16, l3: usize) {
        use sluice_packet::DropReason;
        if !packet.mbuf.with_frame(|frame| header.write(frame, l3)) {
            return self.drop_packet(packet, DropReason::NoMbuf);
        }
        self.sight.counters.add(Counter::NeighbourAnswers, 1);
        if packet.is_traced() {
            self.finish_transmit(&packet, packet.interface);
        }
        self.send(packet.mbuf, port, packet.interface, packet.hops);
    }
}

/// The link header of an answer but for its destination, and the port it leaves through.
fn header(interface: &Interface, ether_type: u16) -> (LinkHeader, u16) {
    let (source, vlan) = (interface.mac, interface.vlan);
    (LinkHeader { destination: [0; 6], source, vlan, ether_type }, interface.port)
}
