//! Frames of any bytes: headers, options, extension chains, ARP and neighbour discovery; and what is made of what was read.

use sluice_packet::{
    DropReason, Family, Frame, IcmpMessage, Link, Meta, Plain, Transport, arp, clamp_mss, icmpv6, ipv4, ipv6,
    link, make_error, may_report, parse, quoted, tcp, translated_len, udp,
};
use sluice_reference::bytes;

/// Address of the gateway in its own errors.
const GATEWAY: u128 = 0xc000_02fe;

/// Reads a frame, and everything that may lie in it.
pub fn run(data: &[u8]) {
    views(data);
    let Ok(link) = link(data) else { return };
    let meta = match parse(data, &link) {
        Ok(meta) => meta,
        Err(malformed) => {
            if let Some(message) = malformed.report {
                report(data, &malformed.meta, &link, message);
            }
            return;
        }
    };
    check(data, &link, &meta);
    clamp(data, &meta);
    let _ = quoted(data, &meta, true);
    for family in [Family::V4, Family::V6] {
        assert!(usize::from(translated_len(&meta, family)) <= data.len() + 40);
    }
    let messages = match meta.family {
        Family::V4 => {
            [IcmpMessage::v4_ttl(), IcmpMessage::v4_admin(), IcmpMessage::fragmentation_needed(1280)]
        }
        Family::V6 => {
            [IcmpMessage::v6_admin(), IcmpMessage::packet_too_big(1280), IcmpMessage::v6_hop_limit()]
        }
    };
    messages.into_iter().for_each(|message| report(data, &meta, &link, message));
}

/// Views take any bytes that are enough.
fn views(data: &[u8]) {
    for at in [0, 14, 18].into_iter().filter_map(|at| data.get(at..)) {
        if let Some(packet) = arp::Packet::new_checked(at) {
            let _ =
                (packet.is_ipv4_over_ethernet(), packet.operation(), packet.sender_mac(), packet.target_ip());
        }
        if let Some(header) = icmpv6::Header::new_checked(at) {
            let _ = (icmpv6::is_error(header.kind()), header.identifier());
        }
        let _ = udp::Header::new_checked(at).map(|header| header.length());
        let _ = tcp::Header::new_checked(at).map(|header| header.header_len());
        let _ = ipv4::options(at);
        for next in [0, 43, 44, 60, 17] {
            if let Ok(chain) = ipv6::chain(next, at) {
                assert!(chain.len <= at.len(), "a chain of {} bytes in {}", chain.len, at.len());
            }
        }
    }
}

/// What a meta says lies in its frame, and is there.
fn check(data: &[u8], link: &Link, meta: &Meta) {
    let (l3, l4, end) = (usize::from(meta.l3), usize::from(meta.l4), usize::from(meta.end));
    assert!(l3 == usize::from(link.len) && l3 < l4 && l4 <= end && end <= data.len(), "{meta:?} of {link:?}");
    let whole = meta.is_whole();
    if whole && meta.transport != Transport::Other {
        assert!(end - l4 >= 8, "{meta:?}");
    }
    if matches!(meta.transport, Transport::Tcp | Transport::Udp) && whole {
        assert_eq!(meta.source_port.to_be_bytes(), data[l4..l4 + 2]);
        assert!(meta.source_port != 0 && meta.destination_port != 0);
    }
    // The short way for plain packets says nothing else.
    match meta.family {
        Family::V4 => {
            assert_eq!(bytes::sum(&[&data[l3..l4]]), 0xffff, "the header's checksum");
            if let Some((plain, source, destination)) = Plain::read_v4(data, link.len) {
                let ends = (u128::from(source), u128::from(destination));
                agrees(&plain, ends, meta);
            }
        }
        Family::V6 => {
            if let Some((plain, source, destination)) = Plain::read_v6(data, link.len) {
                agrees(&plain, (source, destination), meta);
            }
        }
    }
}

fn agrees(plain: &Plain, ends: (u128, u128), meta: &Meta) {
    assert!(!meta.options && meta.is_whole(), "{plain:?} of {meta:?}");
    let read = (plain.source_port, plain.destination_port, plain.protocol, plain.hop_limit, plain.tcp_flags);
    let known = (meta.source_port, meta.destination_port, meta.protocol, meta.hop_limit, meta.tcp_flags);
    assert_eq!((read, ends), (known, (meta.source, meta.destination)));
}

/// The clamp lowers an option or leaves a packet alone; its checksum stays as right or wrong as it was.
fn clamp(data: &[u8], meta: &Meta) {
    let mut clamped = data.to_vec();
    let len = clamped.len();
    let changed = clamp_mss(&mut Frame::new(&mut clamped, 0, len), meta, 1200);
    assert_eq!(changed, clamped != data);
    if changed {
        let segment = |data: &[u8]| bytes::sum(&[&data[meta.l4.into()..meta.end.into()]]) % 0xffff;
        assert_eq!(segment(data), segment(&clamped), "{meta:?}");
        assert!(!clamp_mss(&mut Frame::new(&mut clamped, 0, len), meta, 1200), "twice");
    }
}

/// An error is one that nobody reports on, and is no longer than allowed.
fn report(data: &[u8], meta: &Meta, about: &Link, message: IcmpMessage) {
    if !may_report(data, meta, about, message) {
        return;
    }
    let mut buffer = [0; 1294];
    let mut out = Frame::new(&mut buffer, 0, 0);
    assert!(make_error(&mut out, data, meta, message, GATEWAY), "1294 bytes always suffice");
    let made = out.bytes();
    let around = link(made).expect("a link header");
    let read = parse(made, &around);
    assert!(!matches!(read, Err(ref malformed) if malformed.reason != DropReason::PortZero), "{read:?}");
    if let Ok(read) = read {
        assert_eq!(read.transport, Transport::IcmpError);
        assert!(!may_report(made, &read, &around, message));
    }
}
