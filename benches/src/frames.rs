//! Packets of flows: Ethernet frames with UDP or TCP over IPv4 or IPv6, all checksums right.
//!
//! Each carries so much that the IPv4 frame is the smallest that Ethernet has, 64 bytes with its FCS. A frame
//! begins on a cache line behind 128 bytes of headroom, as it does in an mbuf; all headers are in that line, but for the end
//! of TCP over IPv6.

use sluice_nat::{Direction, Kind, Protocol};
use sluice_packet::{Family, checksum, ethernet, ipv4, ipv6, tcp};

use crate::Population;
use crate::flows::PREFIX;
use crate::hardware::prefetch;

/// Bytes before a frame.
pub const HEADROOM: usize = 128;
/// Bytes of a link header.
pub const LINK: usize = 14;
/// Length of a UDP datagram or a TCP segment, header included.
const L4: usize = 26;
/// Length of an IPv4 frame without FCS.
const V4: usize = 14 + 20 + L4;
/// Length of an IPv6 frame without FCS.
const V6: usize = 14 + 40 + L4;

// The smallest frame, and all headers of UDP in the line that it begins on.
const _: () = assert!(V4 + 4 == 64 && HEADROOM.is_multiple_of(64) && 14 + 40 + 8 <= 64);

/// Room for a packet.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Buffer(pub [u8; 256]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Buffer {
    /// The frame, of a known length.
    #[inline(always)]
    pub fn frame(&self, len: usize) -> &[u8] {
        &self.0[HEADROOM..HEADROOM + len]
    }

    /// Asks for the lines of the headers.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch(&self.0[HEADROOM]);
        prefetch(&self.0[HEADROOM + 64]);
    }
}

/// A link header for packets that go out.
pub fn header(family: Family) -> [u8; LINK] {
    let [high, low] = match family {
        Family::V4 => ethernet::IPV4.to_be_bytes(),
        Family::V6 => ethernet::IPV6.to_be_bytes(),
    };
    [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, high, low]
}

/// Family of the packets that come in a direction.
pub fn family(kind: Kind, direction: Direction) -> Family {
    match (kind, direction) {
        (Kind::Nat64, Direction::Outbound) => Family::V6,
        _ => Family::V4,
    }
}

/// Length of a frame of a family.
pub fn len(family: Family) -> usize {
    match family {
        Family::V4 => V4,
        Family::V6 => V6,
    }
}

/// Who sends what, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Source address; IPv4 in the low 32 bits.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Flags, if it is TCP.
    pub flags: u8,
}

/// Writes a packet of a flow into a buffer. Segments of TCP are in the middle of a connection.
pub fn write(population: &Population, direction: Direction, flow: u32, buffer: &mut Buffer) {
    let family = family(population.flows.kind, direction);
    write_between(family, &ends(population, direction, flow), buffer);
}

/// Who sends the packets of a flow in a direction, and to whom.
pub fn ends(population: &Population, direction: Direction, flow: u32) -> Ends {
    let protocol = population.flows.protocol;
    let flags = if protocol == Protocol::Tcp { tcp::ACK } else { 0 };
    match direction {
        Direction::Outbound => {
            let tuple = population.outbound(flow);
            Ends {
                source: tuple.inside,
                destination: match population.flows.kind {
                    Kind::Nat64 => PREFIX.embed(tuple.remote),
                    Kind::Nat44 => tuple.remote.into(),
                },
                source_port: tuple.inside_port,
                destination_port: tuple.remote_port,
                protocol,
                flags,
            }
        }
        Direction::Inbound => {
            let tuple = population.inbound(flow);
            Ends {
                source: tuple.remote.into(),
                destination: tuple.external.into(),
                source_port: tuple.remote_port,
                destination_port: tuple.external_port,
                protocol,
                flags,
            }
        }
    }
}

/// Writes a packet of anybody into a buffer.
pub fn write_between(family: Family, ends: &Ends, buffer: &mut Buffer) {
    let frame = &mut buffer.0[HEADROOM..];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    match family {
        Family::V6 => v6(frame, ends),
        Family::V4 => v4(frame, ends),
    }
}

fn v6(frame: &mut [u8], ends: &Ends) {
    frame[12..14].copy_from_slice(&ethernet::IPV6.to_be_bytes());
    let header = ipv6::Fields {
        traffic_class: 0,
        payload_length: L4 as u16,
        next_header: ends.protocol as u8,
        hop_limit: 64,
        source: ends.source,
        destination: ends.destination,
    };
    frame[14..54].copy_from_slice(&header.header());
    let payload = &mut frame[54..V6];
    transport_header(payload, ends);
    let sum = checksum::transport_v6(ends.source, ends.destination, ends.protocol as u8, payload);
    seal(payload, ends.protocol, sum);
}

fn v4(frame: &mut [u8], ends: &Ends) {
    let (source, destination) = (ends.source as u32, ends.destination as u32);
    frame[12..14].copy_from_slice(&ethernet::IPV4.to_be_bytes());
    let header = ipv4::Fields {
        tos: 0,
        total_length: (20 + L4) as u16,
        identification: 0xbeef,
        flags_offset: 0,
        ttl: 64,
        protocol: ends.protocol as u8,
        source,
        destination,
    };
    frame[14..34].copy_from_slice(&header.header());
    let payload = &mut frame[34..V4];
    transport_header(payload, ends);
    let sum = checksum::transport_v4(source, destination, ends.protocol as u8, payload);
    seal(payload, ends.protocol, sum);
}

/// Writes a checksum. Zero would mean to UDP that there is none.
fn seal(payload: &mut [u8], protocol: Protocol, sum: u16) {
    if protocol == Protocol::Tcp {
        payload[16..18].copy_from_slice(&sum.to_be_bytes());
    } else {
        let field = if sum == 0 { 0xffff } else { sum };
        payload[6..8].copy_from_slice(&u16::to_be_bytes(field));
    }
}

/// A header whose checksum is still zero, and data.
fn transport_header(payload: &mut [u8], ends: &Ends) {
    payload.fill(0);
    payload[..2].copy_from_slice(&ends.source_port.to_be_bytes());
    payload[2..4].copy_from_slice(&ends.destination_port.to_be_bytes());
    if ends.protocol == Protocol::Tcp {
        payload[12] = 5 << 4;
        payload[13] = ends.flags;
    } else {
        payload[4..6].copy_from_slice(&(L4 as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flows;
    use crate::flows::{DIRECTIONS, KINDS};
    use sluice_packet::{Transport, link, parse};

    #[test]
    fn frames_parse_as_what_is_looked_up() {
        let transports = [(Protocol::Udp, Transport::Udp, 0), (Protocol::Tcp, Transport::Tcp, tcp::ACK)];
        for (kind, (protocol, transport, flags)) in
            KINDS.into_iter().flat_map(|kind| transports.map(|transport| (kind, transport)))
        {
            let population = Population::new(Flows::new(kind, protocol, 100)).unwrap();
            for (direction, flow) in DIRECTIONS.into_iter().flat_map(|d| (0..100).map(move |n| (d, n))) {
                let mut buffer = Buffer::default();
                write(&population, direction, flow, &mut buffer);
                let family = family(kind, direction);
                let frame = buffer.frame(len(family));
                let meta = parse(frame, &link(frame).unwrap()).unwrap();
                assert_eq!((meta.family, meta.transport, meta.tcp_flags), (family, transport, flags));
                assert_eq!(usize::from(meta.end), frame.len());
                assert!(checksum_is_right(&meta, frame));
                match direction {
                    Direction::Outbound => {
                        let tuple = population.outbound(flow);
                        assert_eq!((meta.source, meta.source_port), (tuple.inside, tuple.inside_port));
                        assert_eq!(
                            (meta.destination as u32, meta.destination_port),
                            (tuple.remote, tuple.remote_port)
                        );
                    }
                    Direction::Inbound => {
                        let tuple = population.inbound(flow);
                        assert_eq!((meta.source as u32, meta.source_port), (tuple.remote, tuple.remote_port));
                        let external = (meta.destination as u32, meta.destination_port);
                        assert_eq!(external, (tuple.external, tuple.external_port));
                    }
                }
            }
        }
    }

    fn checksum_is_right(meta: &sluice_packet::Meta, frame: &[u8]) -> bool {
        let payload = &frame[usize::from(meta.l4)..];
        let sum = match meta.family {
            Family::V6 => checksum::transport_v6(meta.source, meta.destination, meta.protocol, payload),
            Family::V4 => {
                checksum::transport_v4(meta.source as u32, meta.destination as u32, meta.protocol, payload)
            }
        };
        sum == 0
    }
}
