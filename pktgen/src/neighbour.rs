//! ARP and neighbour discovery, as much as a tester needs: it answers for its own addresses and asks for one.

use sluice_packet::{Family, arp, checksum, ethernet, icmpv6, ipv6};

const BROADCAST: [u8; 6] = [0xff; 6];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Solicited and Override.
const ANSWER_FLAGS: u32 = 0x6000_0000;

/// A solicitation or advertisement.
struct Discovery<'a> {
    kind: u8,
    mac_source: [u8; 6],
    source: u128,
    target: u128,
    options: &'a [u8],
}

/// The answer to a request for one of the addresses that `holds` knows; `None` if the frame is none.
pub fn answer(frame: &[u8], mac: [u8; 6], holds: impl Fn(Family, u128) -> bool) -> Option<Vec<u8>> {
    if let Some(request) = read_arp(frame) {
        let asked = request.operation() == arp::REQUEST && holds(Family::V4, request.target_ip().into());
        return asked.then(|| {
            let asker = (request.sender_mac(), request.sender_ip());
            arp_frame(arp::REPLY, request.sender_mac(), (mac, request.target_ip()), asker)
        });
    }
    let request = read_discovery(frame)?;
    // A probe for duplicates has no source; nobody else should want these addresses.
    if request.kind != SOLICITATION || request.source == 0 || !holds(Family::V6, request.target) {
        return None;
    }
    let message = discovery(ADVERTISEMENT, ANSWER_FLAGS, request.target, TARGET_LINK_ADDRESS, mac);
    Some(ipv6_frame(request.mac_source, mac, request.target, request.source, message))
}

/// A request for the MAC address of `target`.
pub fn request(family: Family, mac: [u8; 6], address: u128, target: u128) -> Vec<u8> {
    match family {
        Family::V4 => arp_frame(arp::REQUEST, BROADCAST, (mac, address as u32), ([0; 6], target as u32)),
        Family::V6 => {
            let [.., a, b, c] = target.to_be_bytes();
            // Solicited-node multicast (RFC 4291, 2.7.1), and its Ethernet form (RFC 2464, 7).
            let group = 0xff02 << 112 | 0x1_ff00_0000 | (target & 0xff_ffff);
            let message = discovery(SOLICITATION, 0, target, SOURCE_LINK_ADDRESS, mac);
            ipv6_frame([0x33, 0x33, 0xff, a, b, c], mac, address, group, message)
        }
    }
}

/// The MAC address of `address`, if the frame is the answer that tells it.
pub fn learn(frame: &[u8], family: Family, address: u128) -> Option<[u8; 6]> {
    match family {
        Family::V4 => {
            let reply = read_arp(frame)?;
            let told = reply.operation() == arp::REPLY && u128::from(reply.sender_ip()) == address;
            told.then(|| reply.sender_mac())
        }
        Family::V6 => {
            let answer = read_discovery(frame)?;
            if answer.kind != ADVERTISEMENT || answer.target != address {
                return None;
            }
            let mut options = answer.options;
            while let [kind, units, ..] = *options {
                if units == 0 {
                    return None;
                }
                if kind == TARGET_LINK_ADDRESS {
                    return options.get(2..)?.first_chunk().copied();
                }
                options = options.get(usize::from(units) * 8..)?;
            }
            // The option may be left out in answer to a unicast request.
            Some(answer.mac_source)
        }
    }
}

fn read_arp(frame: &[u8]) -> Option<arp::Packet<&[u8; 28]>> {
    let link = ethernet::Header::new_checked(frame)?;
    let packet = arp::Packet::new_checked(frame.get(14..)?)?;
    (link.ether_type() == ethernet::ARP && packet.is_ipv4_over_ethernet()).then_some(packet)
}

fn read_discovery(frame: &[u8]) -> Option<Discovery<'_>> {
    let link = ethernet::Header::new_checked(frame)?;
    let header = ipv6::Header::new_checked(frame.get(14..)?)?;
    // A hop limit of 255 shows that no router has passed it on (RFC 4861, 7.1).
    if link.ether_type() != ethernet::IPV6
        || header.next_header() != icmpv6::PROTOCOL
        || header.hop_limit() != 255
    {
        return None;
    }
    let message = frame.get(54..54 + usize::from(header.payload_length()))?;
    let sum = checksum::transport_v6(header.source(), header.destination(), icmpv6::PROTOCOL, message);
    let &[kind @ (SOLICITATION | ADVERTISEMENT), 0, ..] = message else { return None };
    let target = u128::from_be_bytes(*message.get(8..)?.first_chunk()?);
    (sum == 0).then(|| Discovery {
        kind,
        mac_source: link.source(),
        source: header.source(),
        target,
        options: message.get(24..).unwrap_or_default(),
    })
}

fn ethernet_header(destination: [u8; 6], source: [u8; 6], ether_type: u16) -> [u8; 14] {
    let mut header = ethernet::Header::zeroed();
    header.set_destination(destination);
    header.set_source(source);
    header.set_ether_type(ether_type);
    *header.bytes()
}

fn arp_frame(operation: u16, to: [u8; 6], sender: ([u8; 6], u32), target: ([u8; 6], u32)) -> Vec<u8> {
    let mut packet = arp::Packet::zeroed();
    packet.set_hardware_type(1);
    packet.set_protocol_type(ethernet::IPV4);
    packet.set_hardware_len(6);
    packet.set_protocol_len(4);
    packet.set_operation(operation);
    packet.set_sender_mac(sender.0);
    packet.set_sender_ip(sender.1);
    packet.set_target_mac(target.0);
    packet.set_target_ip(target.1);
    let mut frame = ethernet_header(to, sender.0, ethernet::ARP).to_vec();
    frame.extend(packet.bytes());
    // No Ethernet frame is shorter.
    frame.resize(60, 0);
    frame
}

fn discovery(kind: u8, flags: u32, target: u128, option: u8, mac: [u8; 6]) -> Vec<u8> {
    let mut header = icmpv6::Header::zeroed();
    header.set_kind(kind);
    header.set_rest(flags);
    let mut message = header.bytes().to_vec();
    message.extend(target.to_be_bytes());
    message.extend([option, 1]);
    message.extend(mac);
    message
}

fn ipv6_frame(to: [u8; 6], mac: [u8; 6], source: u128, destination: u128, mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum::transport_v6(source, destination, icmpv6::PROTOCOL, &message);
    if let Some(mut header) = icmpv6::Header::new_checked_mut(&mut message) {
        header.set_checksum(sum);
    }
    let mut frame = ethernet_header(to, mac, ethernet::IPV6).to_vec();
    frame.extend(
        ipv6::Fields {
            traffic_class: 0,
            payload_length: message.len() as u16,
            next_header: icmpv6::PROTOCOL,
            hop_limit: 255,
            source,
            destination,
        }
        .header(),
    );
    frame.extend(message);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_request_is_answered_and_the_answer_understood() {
        for (family, mine, theirs) in [
            (Family::V4, 0xc612_0002, 0xc612_0001),
            (Family::V6, 0x2001_0002 << 96 | 2, 0x2001_0002 << 96 | 0x00ab_cdef),
        ] {
            let asked = request(family, ME, mine, theirs);
            assert_eq!(answer(&asked, PEER, |_, _| false), None);
            let reply = answer(&asked, PEER, |f, address| (f, address) == (family, theirs)).unwrap();
            assert_eq!(reply[..6], ME);
            assert_eq!(learn(&reply, family, theirs), Some(PEER));
            assert_eq!(learn(&reply, family, mine), None);
            assert_eq!(learn(&asked, family, theirs), None);
            assert_eq!(answer(&reply, ME, |_, _| true), None, "an answer is not answered");
            for len in 0..reply.len() {
                let _ = (
                    learn(&reply[..len], family, theirs),
                    answer(&asked[..len.min(asked.len())], PEER, |_, _| true),
                );
            }
        }
    }

    #[test]
    fn solicitations_go_to_the_group_of_the_target() {
        let asked = request(Family::V6, ME, 2, 0x2001_0002 << 96 | 0x12ab_cdef);
        assert_eq!(asked[..6], [0x33, 0x33, 0xff, 0xab, 0xcd, 0xef]);
        assert_eq!(asked[38..54], [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xab, 0xcd, 0xef]);
    }

    #[test]
    fn what_crossed_a_router_or_is_broken_is_not_believed() {
        let asked = request(Family::V6, ME, 2, 1 << 64);
        for (at, value) in [(21, 254), (56, 0x55), (62, 9)] {
            let mut bad = asked.clone();
            bad[at] = value;
            assert_eq!(answer(&bad, PEER, |_, _| true), None, "{at}");
        }
        let probe = request(Family::V6, ME, 0, 1 << 64);
        assert_eq!(answer(&probe, PEER, |_, _| true), None, "duplicate address detection");
    }
}
