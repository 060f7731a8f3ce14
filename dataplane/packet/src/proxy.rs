//! Answers of the link layer for addresses that are ours though no interface has them: pool addresses by ARP (RFC 826,
//! RFC 3022 6.2), translation prefixes by neighbour discovery (RFC 4861). A question becomes its answer in place.

use crate::checksum::transport_v6;
use crate::{Frame, Meta, Transport, arp, icmpv6, ipv6};

/// Type of a neighbour solicitation, and of the advertisement that answers it.
pub const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Neighbour discovery comes over one link only, which the hop limit shows.
const ONE_LINK: u8 = 255;
/// IPv6 header, ICMPv6 header, target, and the option with our MAC address.
const LENGTH: usize = 40 + 8 + 16 + 8;
/// Where the answer to a question from nobody goes: all nodes, and the MAC address that these have.
const ALL_NODES: u128 = 0xff02 << 112 | 1;
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// What an ARP request at `l3` asks for. `None` for what is no request for the address of another.
pub fn asked_v4(frame: &[u8], l3: usize) -> Option<u32> {
    let packet = arp::Packet::new_checked(frame.get(l3..)?)?;
    let asks = packet.is_ipv4_over_ethernet()
        && packet.operation() == arp::REQUEST
        && packet.sender_ip() != packet.target_ip()
        && packet.sender_mac()[0] & 1 == 0;
    asks.then(|| packet.target_ip())
}

/// Makes a request that [`asked_v4`] has read into its reply: `mac` has the address. Returns whom it goes to.
pub fn answer_v4(frame: &mut [u8], l3: usize, mac: [u8; 6]) -> Option<[u8; 6]> {
    let mut packet = arp::Packet::new_checked_mut(frame.get_mut(l3..)?)?;
    let (asker, asked) = (packet.sender_mac(), packet.target_ip());
    packet.set_operation(arp::REPLY);
    packet.set_target_mac(asker);
    packet.set_target_ip(packet.sender_ip());
    packet.set_sender_mac(mac);
    packet.set_sender_ip(asked);
    Some(asker)
}

/// What a neighbour solicitation asks for. `None` for what is none, or is damaged.
pub fn asked_v6(frame: &[u8], meta: &Meta) -> Option<u128> {
    if meta.transport != Transport::IcmpOther
        || meta.icmp_type != SOLICITATION
        || meta.hop_limit != ONE_LINK
        || !meta.is_whole()
    {
        return None;
    }
    let message = frame.get(usize::from(meta.l4)..usize::from(meta.end))?;
    let header = icmpv6::Header::new_checked(message)?;
    let target = u128::from_be_bytes(*message.get(8..)?.first_chunk()?);
    let sum = transport_v6(meta.source, meta.destination, icmpv6::PROTOCOL, message);
    (header.code() == 0 && sum == 0 && target >> 120 != 0xff).then_some(target)
}

/// Makes a solicitation that [`asked_v6`] has read into the advertisement of `target`, which ends the frame: `mac` has the
/// address. Returns whom it goes to; `asker` is who sent the frame. `None`, and nothing usable written, without room.
pub fn answer_v6(
    frame: &mut Frame<'_>,
    meta: &Meta,
    target: u128,
    mac: [u8; 6],
    asker: [u8; 6],
) -> Option<[u8; 6]> {
    let l3 = usize::from(meta.l3);
    if !frame.set_len(l3 + LENGTH) {
        return None;
    }
    // Who asks without an address of its own wants to know whether that one is taken: everybody hears that it is.
    let (destination, link, solicited) =
        if meta.source == 0 { (ALL_NODES, ALL_NODES_MAC, 0) } else { (meta.source, asker, 0x40) };
    let fields = ipv6::Fields {
        traffic_class: 0,
        payload_length: (LENGTH - 40) as u16,
        next_header: icmpv6::PROTOCOL,
        hop_limit: ONE_LINK,
        source: target,
        destination,
    };
    let (ip, message) = frame.bytes_mut().get_mut(l3..)?.split_at_mut_checked(40)?;
    ip.copy_from_slice(&fields.header());
    // A router, and the owner of the address: not a proxy of somebody who may answer as well (RFC 4861, 7.2.8).
    message[..8].copy_from_slice(&[ADVERTISEMENT, 0, 0, 0, 0x80 | solicited | 0x20, 0, 0, 0]);
    message[8..24].copy_from_slice(&target.to_be_bytes());
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..32].copy_from_slice(&mac);
    let sum = transport_v6(target, destination, icmpv6::PROTOCOL, message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    const US: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn request() -> Vec<u8> {
        let mut packet = arp::Packet::zeroed();
        packet.set_hardware_type(1);
        packet.set_protocol_type(0x0800);
        packet.set_hardware_len(6);
        packet.set_protocol_len(4);
        packet.set_operation(arp::REQUEST);
        packet.set_sender_mac(ASKER);
        packet.set_sender_ip(R4 as u32);
        packet.set_target_ip(T as u32);
        packet.bytes().to_vec()
    }

    //= conformance ADDR-25
    #[test]
    fn an_arp_request_becomes_its_reply() {
        let mut frame = request();
        assert_eq!(asked_v4(&frame, 0), Some(T as u32));
        assert_eq!(answer_v4(&mut frame, 0, US), Some(ASKER));
        let reply = arp::Packet::new_checked(&frame).unwrap();
        assert_eq!((reply.operation(), reply.sender_mac(), reply.target_mac()), (arp::REPLY, US, ASKER));
        assert_eq!((reply.sender_ip(), reply.target_ip()), (T as u32, R4 as u32));
        assert_eq!(asked_v4(&frame, 0), None, "a reply asks nothing");
        for (at, value) in [(1, 2), (2, 9), (7, 2), (8, 3)] {
            let mut other = request();
            other[at] = value;
            assert_eq!(asked_v4(&other, 0), None, "byte {at}");
        }
        let mut announced = request();
        announced.copy_within(24..28, 14);
        assert_eq!(asked_v4(&announced, 0), None, "who announces its own address asks nobody");
        assert_eq!(asked_v4(&request()[..27], 0), None);
    }

    fn solicitation(source: u128) -> Vec<u8> {
        let body = [&(PREFIX | S).to_be_bytes()[..], &[1, 1], &ASKER].concat();
        let body = if source == 0 { &body[..16] } else { &body };
        let group = 0xff02 << 112 | 1 << 32 | 0xff << 24 | S & 0xff_ffff;
        let mut datagram = v6(source, group, 58, &icmp(SOLICITATION, 0, 0, body));
        datagram[7] = 255;
        ethernet(None, &datagram)
    }

    //= conformance ADDR-25
    #[test]
    fn a_solicitation_becomes_an_advertisement() {
        for (source, to, link, flags) in [(H, H, ASKER, 0xe0), (0, ALL_NODES, ALL_NODES_MAC, 0xa0)] {
            let bytes = solicitation(source);
            let (_, meta) = read(&bytes);
            assert_eq!(asked_v6(&bytes, &meta), Some(PREFIX | S));
            let mut buffer = Buffer::new(&bytes);
            let mut frame = buffer.frame();
            assert_eq!(answer_v6(&mut frame, &meta, PREFIX | S, US, ASKER), Some(link));
            assert_valid(frame.bytes());
            let (_, meta) = read(frame.bytes());
            assert_eq!((meta.source, meta.destination, meta.hop_limit), (PREFIX | S, to, 255));
            let message = &frame.bytes()[54..];
            assert_eq!((message[0], message[1], message[4], message.len()), (ADVERTISEMENT, 0, flags, 32));
            assert_eq!(message[8..24], (PREFIX | S).to_be_bytes());
            assert_eq!(message[24..], [&[2, 1][..], &US].concat());
        }
    }

    #[test]
    fn what_is_damaged_or_from_afar_is_not_answered() {
        let good = solicitation(H);
        for (at, value) in [(14 + 7, 254), (14 + 41, 1), (14 + 60, 0xee), (14 + 40, 136)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let (_, meta) = read(&bytes);
            assert_eq!(asked_v6(&bytes, &meta), None, "byte {at}");
        }
        let (_, meta) = read(&good);
        let mut small = good.clone();
        let (room, len) = (small.len() - 1, small.len() - 1);
        let mut frame = Frame::new(&mut small[..room], 0, len);
        assert_eq!(answer_v6(&mut frame, &meta, PREFIX | S, US, ASKER), None);
    }
}
