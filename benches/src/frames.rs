//! Packets of flows: Ethernet frames with UDP over IPv4 or IPv6, all checksums right.
//!
//! Each carries 18 bytes, so that the IPv4 frame is the smallest that Ethernet has, 64 bytes with its FCS. A frame
//! begins on a cache line behind 128 bytes of headroom, as it does in an mbuf; all its headers are in that line.

use sluice_nat::{Direction, Kind};
use sluice_packet::{Family, checksum, ethernet, ipv4, ipv6, udp};

use crate::Population;
use crate::population::PREFIX;

/// Bytes before a frame.
pub const HEADROOM: usize = 128;
/// Bytes that a packet carries.
const DATA: usize = 18;
/// Length of a UDP datagram, header included.
const UDP: usize = 8 + DATA;
/// Length of an IPv4 frame without FCS.
const V4: usize = 14 + 20 + UDP;
/// Length of an IPv6 frame without FCS.
const V6: usize = 14 + 40 + UDP;

// The smallest frame, and all headers in the line that it begins on.
const _: () = assert!(V4 + 4 == 64 && HEADROOM.is_multiple_of(64) && V6 - DATA <= 64);

/// Room for a packet.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Buffer(pub [u8; 256]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; 256])
    }
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

/// Who sends, and to whom.
#[derive(Clone, Copy)]
struct Ends {
    source: u128,
    destination: u128,
    source_port: u16,
    destination_port: u16,
}

/// Writes a packet of a flow into a buffer.
pub fn write(population: &Population, direction: Direction, flow: u32, buffer: &mut Buffer) {
    let ends = match direction {
        Direction::Outbound => {
            let tuple = population.outbound(flow);
            Ends {
                source: tuple.inside,
                destination: match population.kind {
                    Kind::Nat64 => PREFIX.embed(tuple.remote),
                    Kind::Nat44 => tuple.remote.into(),
                },
                source_port: tuple.inside_port,
                destination_port: tuple.remote_port,
            }
        }
        Direction::Inbound => {
            let tuple = population.inbound(flow);
            Ends {
                source: tuple.remote.into(),
                destination: tuple.external.into(),
                source_port: tuple.remote_port,
                destination_port: tuple.external_port,
            }
        }
    };
    let frame = &mut buffer.0[HEADROOM..];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    match family(population.kind, direction) {
        Family::V6 => v6(frame, &ends),
        Family::V4 => v4(frame, &ends),
    }
}

fn v6(frame: &mut [u8], ends: &Ends) {
    frame[12..14].copy_from_slice(&ethernet::IPV6.to_be_bytes());
    let header = ipv6::Fields {
        traffic_class: 0,
        payload_length: UDP as u16,
        next_header: udp::PROTOCOL,
        hop_limit: 64,
        source: ends.source,
        destination: ends.destination,
    };
    frame[14..54].copy_from_slice(&header.header());
    let payload = &mut frame[54..V6];
    udp_header(payload, ends);
    seal(payload, checksum::transport_v6(ends.source, ends.destination, udp::PROTOCOL, payload));
}

fn v4(frame: &mut [u8], ends: &Ends) {
    let (source, destination) = (ends.source as u32, ends.destination as u32);
    frame[12..14].copy_from_slice(&ethernet::IPV4.to_be_bytes());
    let header = ipv4::Fields {
        tos: 0,
        total_length: (20 + UDP) as u16,
        identification: 0xbeef,
        flags_offset: 0,
        ttl: 64,
        protocol: udp::PROTOCOL,
        source,
        destination,
    };
    frame[14..34].copy_from_slice(&header.header());
    let payload = &mut frame[34..V4];
    udp_header(payload, ends);
    seal(payload, checksum::transport_v4(source, destination, udp::PROTOCOL, payload));
}

/// Writes the checksum of a UDP datagram. Zero would mean that there is none.
fn seal(payload: &mut [u8], sum: u16) {
    let field = if sum == 0 { 0xffff } else { sum };
    payload[6..8].copy_from_slice(&u16::to_be_bytes(field));
}

/// A UDP header whose checksum is still zero, and data.
fn udp_header(payload: &mut [u8], ends: &Ends) {
    payload[..2].copy_from_slice(&ends.source_port.to_be_bytes());
    payload[2..4].copy_from_slice(&ends.destination_port.to_be_bytes());
    payload[4..6].copy_from_slice(&(UDP as u16).to_be_bytes());
    payload[6..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_packet::{Transport, link, parse};

    #[test]
    fn frames_parse_as_what_is_looked_up() {
        for kind in [Kind::Nat64, Kind::Nat44] {
            let population = Population::new(kind, 100).unwrap();
            for (direction, flow) in [Direction::Outbound, Direction::Inbound]
                .into_iter()
                .flat_map(|d| (0..100).map(move |n| (d, n)))
            {
                let mut buffer = Buffer::default();
                write(&population, direction, flow, &mut buffer);
                let family = family(kind, direction);
                let frame = &buffer.0[HEADROOM..][..len(family)];
                let meta = parse(frame, &link(frame).unwrap()).unwrap();
                assert_eq!((meta.family, meta.transport), (family, Transport::Udp));
                assert_eq!(usize::from(meta.end), frame.len());
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
}
