//! TCP segments without data that the gateway makes itself, as if from the remote host: probes and resets.

use sluice_packet::{Family, Frame, checksum, ethernet, ipv4, ipv6, tcp};
use sluice_shm::Counter;

use super::Worker;

const TCP_LEN: usize = 20;
const LINK_LEN: usize = 14;
const HOP_LIMIT: u8 = 64;

/// What is in a segment. IPv4 addresses are in the low 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub family: Family,
    pub source: u128,
    pub destination: u128,
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
}

impl Worker {
    /// Sends a segment on its way. One that finds no buffer is not sent: it never was a packet.
    pub(super) fn send_segment(&mut self, segment: &Segment, interface: u16) {
        let Some(mut mbuf) = self.mempool.alloc() else { return };
        if mbuf.with_frame(|frame| segment.write(frame)) {
            self.sight.counters.add(Counter::Generated, 1);
            self.originate(mbuf, interface, segment.family, segment.destination);
        }
    }
}

impl Segment {
    /// Writes a whole frame whose MAC addresses are zero, for the sender to fill in. False without room.
    pub(super) fn write(&self, frame: &mut Frame<'_>) -> bool {
        let header = match self.family {
            Family::V6 => 40,
            Family::V4 => 20,
        };
        if !frame.set_len(LINK_LEN + header + TCP_LEN) {
            return false;
        }
        let tcp = self.tcp();
        let (link, packet) = frame.bytes_mut().split_at_mut(LINK_LEN);
        let (ip, payload) = packet.split_at_mut(header);
        let mut ethernet = ethernet::Header::zeroed();
        match self.family {
            Family::V6 => {
                ethernet.set_ether_type(ethernet::IPV6);
                let fields = ipv6::Fields {
                    traffic_class: 0,
                    payload_length: TCP_LEN as u16,
                    next_header: tcp::PROTOCOL,
                    hop_limit: HOP_LIMIT,
                    source: self.source,
                    destination: self.destination,
                };
                ip.copy_from_slice(&fields.header());
            }
            Family::V4 => {
                ethernet.set_ether_type(ethernet::IPV4);
                let fields = ipv4::Fields {
                    tos: 0,
                    total_length: (20 + TCP_LEN) as u16,
                    identification: 0,
                    flags_offset: ipv4::DONT_FRAGMENT,
                    ttl: HOP_LIMIT,
                    protocol: tcp::PROTOCOL,
                    source: self.source as u32,
                    destination: self.destination as u32,
                };
                ip.copy_from_slice(&fields.header());
            }
        }
        link.copy_from_slice(ethernet.bytes());
        payload.copy_from_slice(&tcp);
        true
    }

    /// The TCP header, with its checksum.
    fn tcp(&self) -> [u8; TCP_LEN] {
        let mut header = tcp::Header::zeroed();
        header.set_source_port(self.source_port);
        header.set_destination_port(self.destination_port);
        header.set_sequence(self.sequence);
        header.set_acknowledgement(self.acknowledgement);
        header.set_data_offset(5 << 4);
        header.set_flags(self.flags);
        let sum = sum(self.family, self.source, self.destination, header.bytes());
        header.set_checksum(sum);
        *header.bytes()
    }
}

/// The checksum of a TCP segment; 0 of one that has it in place.
pub(super) fn sum(family: Family, source: u128, destination: u128, segment: &[u8]) -> u16 {
    match family {
        Family::V6 => checksum::transport_v6(source, destination, tcp::PROTOCOL, segment),
        Family::V4 => checksum::transport_v4(source as u32, destination as u32, tcp::PROTOCOL, segment),
    }
}
