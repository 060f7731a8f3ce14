//! Frames of flows: made from a template of which only the changing fields are written, and looked at when they come back.
//!
//! Behind the UDP header each says which flow it is of, so that a translated frame can be held to what it was.
//! Checksums are sums of 32-bit words that are folded at the end (RFC 1071): the sum of all that never changes is part of the
//! template.

use sluice_nat::{Direction, Kind};
use sluice_packet::{Family, checksum, ethernet, ipv4, ipv6, link, parse};

use crate::flows::{Flows, POOL, PREFIX};
use crate::frames;

/// Room for the longest frame.
pub const ROOM: usize = 80;
/// A frame as it is written.
pub type Room = [u8; ROOM];

/// Addresses of the generator's two ports and of those that it sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// Of the generator.
    pub source: [u8; 6],
    /// Of the device under test.
    pub destination: [u8; 6],
}

const UDP: u8 = 17;
const LINK: usize = 14;
/// What frames of the generator carry first.
const MAGIC: u16 = 0x51ce;
/// The smallest IPv4 datagram that fills an Ethernet frame leaves so much for UDP.
const UDP_LEN: usize = 26;

/// Who sends, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Family of the packet.
    pub family: Family,
    /// Source address; of IPv4 in the last four bytes.
    pub source: u128,
    /// Destination address; likewise.
    pub destination: u128,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Ends {
    /// Of a packet of a flow as it is sent outbound.
    #[inline]
    pub fn outbound(flows: &Flows, flow: u32) -> Self {
        let tuple = flows.outbound(flow, 0);
        let (family, destination) = match flows.kind {
            Kind::Nat64 => (Family::V6, PREFIX.embed(tuple.remote)),
            Kind::Nat44 => (Family::V4, tuple.remote.into()),
        };
        Self {
            family,
            source: tuple.inside,
            destination,
            source_port: tuple.inside_port,
            destination_port: tuple.remote_port,
        }
    }

    /// Of a packet of a flow as it is sent inbound, to an external address.
    #[inline]
    pub fn inbound(flows: &Flows, flow: u32, external: External) -> Self {
        let tuple = flows.outbound(flow, 0);
        Self {
            family: Family::V4,
            source: tuple.remote.into(),
            destination: external.address().into(),
            source_port: tuple.remote_port,
            destination_port: external.port(),
        }
    }

    /// Of the answer.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

/// External address and port of a flow: sixteen bits of offset in the pool, sixteen of port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct External(u32);

impl External {
    /// Not known yet: no pool has port 0.
    pub const UNKNOWN: Self = Self(0);

    /// An address of a pool and a port; `None` for another address.
    pub fn new(flows: &Flows, address: u128, port: u16) -> Option<Self> {
        let offset = u32::try_from(address).ok()?.checked_sub(POOL)?;
        (offset < flows.addresses && port != 0).then_some(Self(offset << 16 | u32::from(port)))
    }

    /// Whether it is known.
    #[inline]
    pub fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }

    fn address(self) -> u32 {
        POOL + (self.0 >> 16)
    }

    fn port(self) -> u16 {
        self.0 as u16
    }
}

/// A frame of which everything but addresses, ports and flow is in place.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Room,
    family: Family,
    /// Sum of what is in place in the IPv4 header, and in the pseudo header and the datagram.
    header: u64,
    datagram: u64,
}

impl Template {
    /// A template of a family's frames between two stations.
    pub fn new(family: Family, macs: Macs) -> Self {
        let mut bytes = [0; ROOM];
        bytes[..6].copy_from_slice(&macs.destination);
        bytes[6..12].copy_from_slice(&macs.source);
        let ether_type = if family == Family::V6 { ethernet::IPV6 } else { ethernet::IPV4 };
        bytes[12..LINK].copy_from_slice(&ether_type.to_be_bytes());
        let udp = match family {
            Family::V6 => {
                let fields = ipv6::Fields {
                    traffic_class: 0,
                    payload_length: UDP_LEN as u16,
                    next_header: UDP,
                    hop_limit: 64,
                    source: 0,
                    destination: 0,
                };
                bytes[LINK..LINK + 40].copy_from_slice(&fields.header());
                LINK + 40
            }
            Family::V4 => {
                let fields = ipv4::Fields {
                    tos: 0,
                    total_length: (20 + UDP_LEN) as u16,
                    identification: 0,
                    flags_offset: ipv4::DONT_FRAGMENT,
                    ttl: 64,
                    protocol: UDP,
                    source: 0,
                    destination: 0,
                };
                bytes[LINK..LINK + 20].copy_from_slice(&fields.header());
                LINK + 20
            }
        };
        bytes[udp + 4..udp + 6].copy_from_slice(&(UDP_LEN as u16).to_be_bytes());
        bytes[udp + 8..udp + 10].copy_from_slice(&MAGIC.to_be_bytes());
        let header = match family {
            Family::V4 => u64::from(!checksum::ipv4_header(&{
                let mut header = bytes[LINK..LINK + 20].to_vec();
                header[10..12].fill(0);
                header
            })),
            Family::V6 => 0,
        };
        // Twice its length: in the pseudo header as well.
        let datagram = u64::from(UDP) + 2 * UDP_LEN as u64 + u64::from(MAGIC);
        Self { bytes, family, header, datagram }
    }

    /// Bytes of a frame.
    #[inline]
    pub fn len(&self) -> usize {
        frames::len(self.family)
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the frame of a flow. `ends` are of the template's family.
    #[inline(always)]
    pub fn write(&self, room: &mut Room, ends: &Ends, flow: u32) {
        *room = self.bytes;
        let ports = u32::from(ends.source_port) << 16 | u32::from(ends.destination_port);
        let udp = match self.family {
            Family::V6 => {
                room[22..38].copy_from_slice(&ends.source.to_be_bytes());
                room[38..54].copy_from_slice(&ends.destination.to_be_bytes());
                54
            }
            Family::V4 => {
                let (source, destination) = (ends.source as u32, ends.destination as u32);
                let sum = self.header + u64::from(source) + u64::from(destination);
                room[24..26].copy_from_slice(&(!fold(sum)).to_be_bytes());
                room[26..30].copy_from_slice(&source.to_be_bytes());
                room[30..34].copy_from_slice(&destination.to_be_bytes());
                34
            }
        };
        let sum =
            self.datagram + words(ends.source) + words(ends.destination) + u64::from(ports) + u64::from(flow);
        // Zero would mean "none" (RFC 768).
        let sum = match !fold(sum) {
            0 => u16::MAX,
            sum => sum,
        };
        room[udp..udp + 4].copy_from_slice(&ports.to_be_bytes());
        room[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
        room[udp + 10..udp + 14].copy_from_slice(&flow.to_be_bytes());
    }
}

/// Sum of the 32-bit words of an address. Its 16-bit words have the same sum, as 65536 is 1 modulo 65535.
#[inline(always)]
fn words(address: u128) -> u64 {
    let (high, low) = ((address >> 64) as u64, address as u64);
    (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
}

/// A sum in sixteen bits.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Addresses and ports.
    pub ends: Ends,
    /// The flow that it says it is of.
    pub flow: u32,
}

/// What a frame that came back is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A packet of the generator, whole and with right checksums.
    Ours(Seen),
    /// A packet of the generator that is broken.
    Broken(&'static str),
    /// Neighbour discovery and the like.
    Other,
}

/// Reads a frame without trust: lengths are checked and checksums summed over all bytes.
pub fn read(frame: &[u8]) -> Reading {
    let Ok(link) = link(frame) else { return Reading::Other };
    if !matches!(link.ether_type, ethernet::IPV4 | ethernet::IPV6) {
        return Reading::Other;
    }
    let Ok(meta) = parse(frame, &link) else { return Reading::Broken("its headers cannot be read") };
    let Some(datagram) = frame.get(usize::from(meta.l4)..usize::from(meta.end)) else {
        return Reading::Broken("it is cut off");
    };
    let mark = datagram.get(8..).and_then(|payload| payload.first_chunk::<6>());
    let Some(&[m, n, a, b, c, d]) = mark.filter(|_| meta.protocol == UDP) else { return Reading::Other };
    if u16::from_be_bytes([m, n]) != MAGIC {
        return Reading::Other;
    }
    let sum = match meta.family {
        Family::V4 => {
            let header = frame.get(LINK..LINK + 20).unwrap_or_default();
            if checksum::of(header) != 0 {
                return Reading::Broken("the checksum of its IPv4 header is wrong");
            }
            checksum::transport_v4(meta.source as u32, meta.destination as u32, UDP, datagram)
        }
        Family::V6 => checksum::transport_v6(meta.source, meta.destination, UDP, datagram),
    };
    if sum != 0 {
        return Reading::Broken("its UDP checksum is wrong");
    }
    let ends = Ends {
        family: meta.family,
        source: meta.source,
        destination: meta.destination,
        source_port: meta.source_port,
        destination_port: meta.destination_port,
    };
    Reading::Ours(Seen { ends, flow: u32::from_be_bytes([a, b, c, d]) })
}

/// What the device under test does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Translates them.
    Translate,
    /// Passes them on as they are.
    Pass,
}

/// What a packet of a flow that was sent in a direction should look like behind the device. Of a translated outbound packet
/// the source is not known before the first has come: then it may be any of the pool.
pub fn expected(
    duty: Duty,
    flows: &Flows,
    direction: Direction,
    seen: &Seen,
    external: External,
) -> Option<Ends> {
    let sent = match direction {
        Direction::Outbound => Ends::outbound(flows, seen.flow),
        Direction::Inbound => Ends::inbound(flows, seen.flow, external),
    };
    match (duty, direction) {
        (Duty::Pass, _) => Some(sent),
        (Duty::Translate, Direction::Inbound) => Some(Ends::outbound(flows, seen.flow).reversed()),
        (Duty::Translate, Direction::Outbound) => {
            let found = External::new(flows, seen.ends.source, seen.ends.source_port)?;
            let external = if external.is_known() { external } else { found };
            Some(Ends::inbound(flows, seen.flow, external).reversed())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{DIRECTIONS, KINDS};

    const MACS: Macs = Macs { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };

    fn frame(ends: &Ends, flow: u32) -> Vec<u8> {
        let template = Template::new(ends.family, MACS);
        let mut room = [0xaa; ROOM];
        template.write(&mut room, ends, flow);
        room[..template.len()].to_vec()
    }

    fn external(flows: &Flows, flow: u32) -> External {
        External::new(flows, (POOL + flow % flows.addresses).into(), 1024 + (flow % 60_000) as u16).unwrap()
    }

    /// `read` sums every byte, so it shares nothing with the sums of the template.
    #[test]
    fn every_frame_has_right_checksums_and_says_what_it_was_given() {
        for flows in KINDS.map(|kind| Flows::udp(kind, 1 << 20)) {
            for flow in (0..1 << 20).step_by(101) {
                for ends in
                    [Ends::outbound(&flows, flow), Ends::inbound(&flows, flow, external(&flows, flow))]
                {
                    let frame = frame(&ends, flow);
                    assert_eq!(read(&frame), Reading::Ours(Seen { ends, flow }), "{frame:02x?}");
                    assert_eq!((&frame[..6], &frame[6..12]), (&MACS.destination[..], &MACS.source[..]));
                }
            }
        }
    }

    #[test]
    fn ipv4_frames_are_the_smallest_that_ethernet_has() {
        assert_eq!([Family::V4, Family::V6].map(|family| Template::new(family, MACS).len()), [60, 80]);
    }

    #[test]
    fn checksums_that_would_be_zero_are_sent_as_ones() {
        let flows = Flows::udp(Kind::Nat44, 1 << 18);
        let found = (0..1 << 18).map(|flow| frame(&Ends::outbound(&flows, flow), flow));
        let fields: Vec<_> = found.map(|frame| u16::from_be_bytes([frame[40], frame[41]])).collect();
        assert!(!fields.contains(&0) && fields.contains(&u16::MAX));
    }

    #[test]
    fn a_changed_bit_is_seen() {
        for flows in KINDS.map(|kind| Flows::udp(kind, 1024)) {
            let ends = Ends::outbound(&flows, 77);
            let good = frame(&ends, 77);
            for bit in 12 * 8..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let reading = read(&bad);
                // IPv6 has no checksum over traffic class, flow label and hop limit.
                assert!(
                    reading != Reading::Ours(Seen { ends, flow: 77 })
                        || ends.family == Family::V6 && bit < 22 * 8,
                    "bit {bit}: {bad:02x?}"
                );
            }
            for length in 0..good.len() {
                assert!(!matches!(read(&good[..length]), Reading::Ours(_)), "{length}");
            }
        }
    }

    #[test]
    fn translated_frames_are_held_to_the_flow() {
        for flows in KINDS.map(|kind| Flows::udp(kind, 1024)) {
            let (flow, external) = (5, external(&flows, 5));
            let out = Seen { ends: Ends::inbound(&flows, flow, external).reversed(), flow };
            for known in [External::UNKNOWN, external] {
                let wanted = expected(Duty::Translate, &flows, Direction::Outbound, &out, known);
                assert_eq!(wanted, Some(out.ends));
            }
            let other = External::new(&flows, POOL.into(), 9999).unwrap();
            let wanted = expected(Duty::Translate, &flows, Direction::Outbound, &out, other);
            assert_ne!(wanted, Some(out.ends), "the mapping has changed");
            let stray = Seen { ends: Ends { source: 7, ..out.ends }, flow };
            let wanted = expected(Duty::Translate, &flows, Direction::Outbound, &stray, External::UNKNOWN);
            assert_eq!(wanted, None, "not of the pool");
            let back = Seen { ends: Ends::outbound(&flows, flow).reversed(), flow };
            let wanted = expected(Duty::Translate, &flows, Direction::Inbound, &back, external);
            assert_eq!(wanted, Some(back.ends));
            for direction in DIRECTIONS {
                let sent = match direction {
                    Direction::Outbound => Ends::outbound(&flows, flow),
                    Direction::Inbound => Ends::inbound(&flows, flow, external),
                };
                let seen = Seen { ends: sent, flow };
                assert_eq!(expected(Duty::Pass, &flows, direction, &seen, external), Some(sent));
            }
        }
    }
}
