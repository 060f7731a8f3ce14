//! A received frame, read without trust: every length checked, every checksum summed over all bytes.
//!
//! It leans on the header views and on nothing else of `sluice-packet`, so that the tester does not share a mistake with a
//! gateway built from the same crate.

use sluice_packet::{Endpoints, Family, checksum, ethernet, icmpv6, ipv4, ipv6, udp};

use crate::fault::{Fault, FaultKind};

/// What a frame is.
#[derive(Debug)]
pub enum Reading<'a> {
    /// A UDP datagram.
    Udp(Datagram<'a>),
    /// Said to be UDP, and broken.
    Broken(Fault),
    /// An ICMP error: the device under test explains something.
    IcmpError {
        /// Family.
        family: Family,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// ARP.
    Arp,
    /// Neighbour discovery.
    Nd,
    /// None of the tester's business.
    Other,
}

/// A UDP datagram. Checksums may be wrong; lengths are right.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Destination MAC address.
    pub mac_destination: [u8; 6],
    /// Source MAC address.
    pub mac_source: [u8; 6],
    /// Family.
    pub family: Family,
    /// Addresses and ports.
    pub ends: Endpoints,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// What is behind the UDP header.
    pub payload: &'a [u8],
    /// The checksum that is wrong, IPv4 header first.
    pub checksum_fault: Option<Fault>,
}

/// Reads a frame.
pub fn read(frame: &[u8]) -> Reading<'_> {
    let Some(link) = ethernet::Header::new_checked(frame) else { return Reading::Other };
    let packet = frame.get(14..).unwrap_or_default();
    let read = match link.ether_type() {
        ethernet::IPV4 => read_v4(packet),
        ethernet::IPV6 => read_v6(packet),
        ethernet::ARP => return Reading::Arp,
        _ => return Reading::Other,
    };
    match read {
        Reading::Udp(datagram) => Reading::Udp(Datagram {
            mac_destination: link.destination(),
            mac_source: link.source(),
            ..datagram
        }),
        other => other,
    }
}

fn read_v4(packet: &[u8]) -> Reading<'_> {
    let Some(header) = ipv4::Header::new_checked(packet) else { return Reading::Other };
    let (header_len, total) = (header.header_len(), usize::from(header.total_length()));
    match header.protocol() {
        udp::PROTOCOL => {}
        1 => return icmp_error(Family::V4, packet.get(header_len..)),
        _ => return Reading::Other,
    }
    if header.version_ihl() != 0x45 {
        return broken(
            FaultKind::Length,
            "an IPv4 header of 20 bytes",
            format!("first byte {:#04x}", header.version_ihl()),
        );
    }
    if header.flags_offset() & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) != 0 {
        return broken(FaultKind::Fragment, "a whole datagram", "a fragment");
    }
    let Some(transport) = packet.get(20..total) else {
        return broken(
            FaultKind::Length,
            format!("{total} bytes of IPv4"),
            format!("{} bytes", packet.len()),
        );
    };
    let computed = checksum::ipv4_header(header.bytes());
    let fault = (computed != header.checksum()).then(|| {
        Fault::new(FaultKind::IpChecksum, format!("{computed:#06x}"), format!("{:#06x}", header.checksum()))
    });
    let (source, destination) = (header.source(), header.destination());
    let sum = checksum::transport_v4(source, destination, udp::PROTOCOL, transport);
    datagram(Family::V4, (source.into(), destination.into()), header.ttl(), transport, sum, fault)
}

fn read_v6(packet: &[u8]) -> Reading<'_> {
    let Some(header) = ipv6::Header::new_checked(packet) else { return Reading::Other };
    let length = usize::from(header.payload_length());
    let payload = packet.get(40..40 + length);
    match header.next_header() {
        udp::PROTOCOL => {}
        ipv6::FRAGMENT if packet.get(40) == Some(&udp::PROTOCOL) => {
            return broken(FaultKind::Fragment, "a whole datagram", "a fragment header");
        }
        icmpv6::PROTOCOL => return icmp_error(Family::V6, packet.get(40..)),
        _ => return Reading::Other,
    }
    if header.version() != 6 {
        return broken(FaultKind::Length, "version 6", format!("version {}", header.version()));
    }
    let Some(transport) = payload else {
        return broken(
            FaultKind::Length,
            format!("{length} bytes behind the IPv6 header"),
            format!("{} bytes", packet.len() - 40),
        );
    };
    let (source, destination) = (header.source(), header.destination());
    let sum = checksum::transport_v6(source, destination, udp::PROTOCOL, transport);
    datagram(Family::V6, (source, destination), header.hop_limit(), transport, sum, None)
}

/// `sum` is the checksum over everything, the field included: zero if the field is right.
fn datagram(
    family: Family,
    (source, destination): (u128, u128),
    hop_limit: u8,
    transport: &[u8],
    sum: u16,
    fault: Option<Fault>,
) -> Reading<'_> {
    let Some(header) = udp::Header::new_checked(transport) else {
        return broken(FaultKind::Length, "8 bytes of UDP header", format!("{} bytes", transport.len()));
    };
    if usize::from(header.length()) != transport.len() {
        return broken(FaultKind::Length, format!("UDP length {}", transport.len()), header.length());
    }
    let fault = fault.or_else(|| {
        if header.checksum() == 0 {
            return Some(Fault::new(FaultKind::UdpChecksum, "a checksum", "none"));
        }
        (sum != 0).then(|| {
            // The field is what the sum is short of, end-around carry included.
            let expected = checksum::Delta::ZERO.remove_u16(header.checksum()).apply(sum);
            Fault::new(
                FaultKind::UdpChecksum,
                format!("{expected:#06x}"),
                format!("{:#06x}", header.checksum()),
            )
        })
    });
    Reading::Udp(Datagram {
        mac_destination: [0; 6],
        mac_source: [0; 6],
        family,
        ends: Endpoints {
            source,
            destination,
            source_port: header.source_port(),
            destination_port: header.destination_port(),
        },
        hop_limit,
        payload: transport.get(8..).unwrap_or_default(),
        checksum_fault: fault,
    })
}

fn icmp_error(family: Family, message: Option<&[u8]>) -> Reading<'_> {
    match (family, message) {
        (Family::V4, Some([kind @ (3 | 4 | 11 | 12), code, ..])) => {
            Reading::IcmpError { family, kind: *kind, code: *code }
        }
        (Family::V6, Some([kind, code, ..])) if icmpv6::is_error(*kind) => {
            Reading::IcmpError { family, kind: *kind, code: *code }
        }
        (Family::V6, Some([135 | 136, ..])) => Reading::Nd,
        _ => Reading::Other,
    }
}

fn broken(
    kind: FaultKind,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> Reading<'static> {
    Reading::Broken(Fault::new(kind, expected, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Direction, Signature};
    use crate::template::Template;

    fn frame(family: Family) -> Vec<u8> {
        let template = Template::new(family, [2; 6], [4; 6], 100);
        let mut frame = vec![0; 100];
        let ends =
            Endpoints { source: 0x0a00_0001, destination: 0x0a00_0002, source_port: 5, destination_port: 6 };
        let signature = Signature { direction: Direction::Outbound, run: 1, flow: 2, sequence: 3, time: 4 };
        assert!(template.write(&mut frame, &ends, &signature));
        frame
    }

    fn fault(frame: &[u8]) -> Option<FaultKind> {
        match read(frame) {
            Reading::Udp(datagram) => datagram.checksum_fault.map(|fault| fault.kind),
            Reading::Broken(fault) => Some(fault.kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_flipped_bit_behind_the_addresses_is_a_fault() {
        for (family, udp_at) in [(Family::V4, 34), (Family::V6, 54)] {
            let good = frame(family);
            assert_eq!(fault(&good), None);
            for bit in udp_at * 8..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(fault(&bad).is_some(), "{family:?} bit {bit}");
            }
        }
    }

    #[test]
    fn a_wrong_checksum_names_the_right_one() {
        for (family, at) in [(Family::V4, 40), (Family::V6, 60), (Family::V4, 24)] {
            let good = frame(family);
            let right = format!("0x{:02x}{:02x}", good[at], good[at + 1]);
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let Reading::Udp(datagram) = read(&bad) else { panic!() };
            assert_eq!(datagram.checksum_fault.unwrap().expected, right);
        }
    }

    #[test]
    fn lengths_fragments_and_missing_checksums() {
        let mut cut = frame(Family::V4);
        cut.truncate(99);
        assert_eq!(fault(&cut), Some(FaultKind::Length));
        let mut cut = frame(Family::V6);
        cut.truncate(99);
        assert_eq!(fault(&cut), Some(FaultKind::Length));
        let mut padded = frame(Family::V4);
        padded.extend([0; 6]);
        assert_eq!(fault(&padded), None, "Ethernet pads short frames");
        let mut fragment = frame(Family::V4);
        fragment[20] = 0x20;
        assert_eq!(fault(&fragment), Some(FaultKind::Fragment));
        let mut none = frame(Family::V4);
        none[40..42].fill(0);
        assert_eq!(fault(&none), Some(FaultKind::UdpChecksum));
    }

    #[test]
    fn no_bytes_panic() {
        for family in [Family::V4, Family::V6] {
            let good = frame(family);
            for len in 0..good.len() {
                read(&good[..len]);
            }
            for at in 0..good.len() {
                for value in [0, 1, 58, 0x7f, 0xff] {
                    let mut bad = good.clone();
                    bad[at] = value;
                    read(&bad);
                }
            }
        }
    }
}
