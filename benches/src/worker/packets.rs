//! IP packets as tests write and read them: addresses and ports in, checksums right.

use sluice_packet::{Family, checksum};

/// Addresses of the conformance table: prefix, hosts, servers, routers.
pub(super) const P: u128 = 0x2001_0db8_0064 << 80;
pub(super) const H: u128 = 0x2001_0db8_0001 << 80 | 0x10;
pub(super) const H2: u128 = 0x2001_0db8_0002 << 80 | 0x20;
pub(super) const HOST: u32 = 0x0a00_000a;
pub(super) const HOST2: u32 = 0x0a00_000b;
pub(super) const S: u32 = 0xc633_6409;
pub(super) const S2: u32 = 0xcb00_7107;
pub(super) const R4: u32 = 0xc633_6401;
pub(super) const R6: u128 = 0x2001_0db8_0001 << 80 | 1;

pub(super) const UDP: u8 = 17;
pub(super) const TCP: u8 = 6;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

/// `P:a`, the IPv6 representation of an IPv4 address.
pub(super) fn p(address: u32) -> u128 {
    P | u128::from(address)
}

/// A UDP datagram, its checksum still to be made.
pub(super) fn udp(ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let words = [ports.0, ports.1, length, 0].map(u16::to_be_bytes);
    [words.as_flattened(), data].concat()
}

/// A TCP segment without options.
pub(super) fn tcp(ports: (u16, u16), flags: u8, sequence: u32) -> Vec<u8> {
    let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 9, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    segment
}

/// An ICMP or ICMPv6 message: type, code, bytes 4 to 7, and what follows.
pub(super) fn icmp(kind: u8, code: u8, rest: u32, body: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0][..], &rest.to_be_bytes(), body].concat()
}

/// An echo.
pub(super) fn echo(kind: u8, identifier: u16) -> Vec<u8> {
    icmp(kind, 0, u32::from(identifier) << 16 | 7, b"echo")
}

/// An IPv4 packet with a TTL of 64.
pub(super) fn v4(source: u32, destination: u32, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    v4_with(source, destination, (protocol, 64, 0), payload)
}

/// An IPv4 packet: protocol, TTL, and flags with fragment offset.
pub(super) fn v4_with(
    source: u32,
    destination: u32,
    (protocol, ttl, flags): (u8, u8, u16),
    mut payload: Vec<u8>,
) -> Vec<u8> {
    let sum = |payload: &[u8]| match protocol {
        ICMP => checksum::of(payload),
        _ => checksum::transport_v4(source, destination, protocol, payload),
    };
    seal(protocol, &mut payload, sum);
    let mut header = vec![0x45, 0];
    header.extend(((20 + payload.len()) as u16).to_be_bytes());
    header.extend([0xbe, 0xef]);
    header.extend(flags.to_be_bytes());
    header.extend([ttl, protocol, 0, 0]);
    header.extend([source.to_be_bytes(), destination.to_be_bytes()].as_flattened());
    let sum = checksum::ipv4_header(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

/// An IPv6 packet with a hop limit of 64.
pub(super) fn v6(source: u128, destination: u128, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    v6_with(source, destination, (protocol, 64), payload)
}

/// An IPv6 packet: protocol and hop limit.
pub(super) fn v6_with(
    source: u128,
    destination: u128,
    (protocol, hop_limit): (u8, u8),
    mut payload: Vec<u8>,
) -> Vec<u8> {
    let sum = |payload: &[u8]| checksum::transport_v6(source, destination, protocol, payload);
    seal(protocol, &mut payload, sum);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([protocol, hop_limit]);
    packet.extend([source.to_be_bytes(), destination.to_be_bytes()].as_flattened());
    packet.extend(payload);
    packet
}

/// Writes the checksum of a transport that has one, unless there is one already.
fn seal(protocol: u8, payload: &mut [u8], sum: impl Fn(&[u8]) -> u16) {
    let at = match protocol {
        UDP => 6,
        TCP => 16,
        ICMP | ICMPV6 => 2,
        _ => return,
    };
    if payload[at..at + 2] == [0, 0] {
        let sum = sum(payload);
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// An Ethernet frame to the gateway.
pub(super) fn frame(packet: &[u8]) -> Vec<u8> {
    let family = if packet[0] >> 4 == 6 { Family::V6 } else { Family::V4 };
    [&super::rig::MAC[..], &[4, 0, 0, 0, 0, 9], &crate::frames::header(family)[12..], packet].concat()
}

/// What an IP packet is, as far as tests ask. All its checksums have to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) source: u128,
    pub(super) destination: u128,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    /// From the transport header to the end of the packet.
    pub(super) payload: Vec<u8>,
}

impl Seen {
    /// Of a frame, without what pads it. IPv4 addresses are in the low 32 bits.
    pub(super) fn of(frame: &[u8]) -> Self {
        let packet = &frame[14..];
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (length, header, six) = match packet[0] >> 4 {
            6 => (40 + usize::from(word(4)), 40, true),
            _ => (usize::from(word(2)), usize::from(packet[0] & 15) * 4, false),
        };
        let mut seen = Self {
            source: address(packet, if six { 8..24 } else { 12..16 }),
            destination: address(packet, if six { 24..40 } else { 16..20 }),
            protocol: packet[if six { 6 } else { 9 }],
            hop_limit: packet[if six { 7 } else { 8 }],
            payload: packet[header..length].to_vec(),
        };
        assert!(six || checksum::of(&packet[..header]) == 0, "{packet:02x?}");
        let (source, destination) = (seen.source, seen.destination);
        if matches!(seen.protocol, UDP | TCP | ICMP | ICMPV6) {
            let sum = match (six, seen.protocol) {
                (true, protocol) => checksum::transport_v6(source, destination, protocol, &seen.payload),
                (false, ICMP) => checksum::of(&seen.payload),
                // UDP over IPv4 may do without.
                (false, UDP) if seen.payload[6..8] == [0, 0] => 0,
                (false, protocol) => {
                    checksum::transport_v4(source as u32, destination as u32, protocol, &seen.payload)
                }
            };
            assert_eq!(sum, 0, "{packet:02x?}");
        }
        // So that a test that compares does not have to know what the checksum came to be.
        if let Some(at) = [(UDP, 6), (TCP, 16), (ICMP, 2), (ICMPV6, 2)]
            .iter()
            .find_map(|&(protocol, at)| (protocol == seen.protocol).then_some(at))
        {
            seen.payload[at..at + 2].fill(0);
        }
        seen
    }

    /// Source and destination port.
    pub(super) fn ports(&self) -> (u16, u16) {
        (self.word(0), self.word(2))
    }

    /// The identifier of an echo.
    pub(super) fn identifier(&self) -> u16 {
        self.word(4)
    }

    /// Type and code of an ICMP message.
    pub(super) fn message(&self) -> (u8, u8) {
        (self.payload[0], self.payload[1])
    }

    /// Bytes 4 to 7 of an ICMP message.
    pub(super) fn rest(&self) -> u32 {
        u32::from(self.word(4)) << 16 | u32::from(self.word(6))
    }

    /// The packet that an ICMP error quotes: addresses and ports.
    pub(super) fn quoted(&self) -> (u128, u128, (u16, u16)) {
        let quote = &self.payload[8..];
        let six = quote[0] >> 4 == 6;
        let at = if six { 40 } else { usize::from(quote[0] & 15) * 4 };
        let word = |at: usize| u16::from_be_bytes([quote[at], quote[at + 1]]);
        (
            address(quote, if six { 8..24 } else { 12..16 }),
            address(quote, if six { 24..40 } else { 16..20 }),
            (word(at), word(at + 2)),
        )
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.payload[at], self.payload[at + 1]])
    }
}

fn address(packet: &[u8], at: std::ops::Range<usize>) -> u128 {
    packet[at].iter().fold(0, |address, &byte| address << 8 | u128::from(byte))
}
