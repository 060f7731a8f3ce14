//! Errors of the gateway's own.

use super::*;
use crate::link;
use crate::testing::*;

const GATEWAY6: u128 = R6;
const GATEWAY4: u128 = 0xc000_02fe;

fn allowed(datagram: &[u8], message: IcmpMessage) -> bool {
    let frame = ethernet(None, datagram);
    let (link, meta) = read(&frame);
    may_report(&frame, &meta, &link, message)
}

fn made(datagram: &[u8], message: IcmpMessage, source: u128) -> Vec<u8> {
    let offending = ethernet(Some(5), datagram);
    let (_, meta) = read(&offending);
    let mut buffer = vec![0xa5; 1400];
    let mut out = Frame::new(&mut buffer, 64, 0);
    assert!(make_error(&mut out, &offending, &meta, message, source));
    let bytes = out.bytes().to_vec();
    assert_valid(&bytes);
    assert_eq!(bytes[..12], [0; 12]);
    assert_eq!(read(&bytes).1.end as usize, bytes.len());
    bytes[14..].to_vec()
}

fn v4_udp(source: u128, destination: u128) -> Vec<u8> {
    v4(source, destination, 17, &udp(53, 4000, b"data"))
}

fn v6_udp(source: u128, destination: u128) -> Vec<u8> {
    v6(source, destination, 17, &udp(5000, 53, b"data"))
}

//= conformance ICMP-104
#[test]
fn no_icmpv4_error_about_these() {
    let ttl = IcmpMessage::v4_ttl();
    assert!(allowed(&v4_udp(S, T), ttl));
    assert!(allowed(&v4(S, T, 1, &echo(8, 1, b"")), ttl));
    assert!(allowed(&v4(S, T, 1, &icmp(13, 0, 0, &[0; 12])), ttl));
    let mut later = v4_udp(S, T);
    later[7] = 8;
    seal_v4(&mut later);
    for (name, datagram) in [
        ("an error", v4(S, T, 1, &icmp(3, 1, 0, &v4_udp(T, S)))),
        ("a redirect", v4(S, T, 1, &icmp(5, 1, 0, &v4_udp(T, S)))),
        ("multicast", v4_udp(S, 0xe000_0001)),
        ("broadcast", v4_udp(S, 0xffff_ffff)),
        ("source 0.0.0.0", v4_udp(0, T)),
        ("source 127.0.0.1", v4_udp(0x7f00_0001, T)),
        ("source multicast", v4_udp(0xe000_0001, T)),
        ("a later fragment", later),
    ] {
        assert!(!allowed(&datagram, ttl), "{name}");
    }
}

//= conformance ICMP-105
#[test]
fn no_icmpv6_error_about_these() {
    let hop_limit = IcmpMessage::v6_hop_limit();
    let multicast = a6("ff0e::1");
    assert!(allowed(&v6_udp(H, PREFIX | S), hop_limit));
    for (name, datagram) in [
        ("an error", v6(H, S, 58, &icmp(1, 4, 0, &v6_udp(S, H)))),
        ("an unknown error", v6(H, S, 58, &icmp(100, 0, 0, b""))),
        ("a redirect", v6(H, S, 58, &icmp(137, 0, 0, &[0; 32]))),
        ("multicast", v6_udp(H, multicast)),
        ("source ::", v6_udp(0, S)),
        ("source multicast", v6_udp(multicast, S)),
    ] {
        assert!(!allowed(&datagram, hop_limit), "{name}");
    }
    assert!(allowed(&v6_udp(H, multicast), IcmpMessage::packet_too_big(1280)));
    assert!(allowed(&v6_udp(H, multicast), IcmpMessage::v6_parameter_problem(2, 40)));
    assert!(!allowed(&v6_udp(H, multicast), IcmpMessage::v6_parameter_problem(0, 40)));
}

//= conformance ICMP-104, ICMP-105
#[test]
fn no_error_about_link_groups() {
    for (datagram, message, expected) in [
        (v4_udp(S, T), IcmpMessage::v4_ttl(), false),
        (v6_udp(H, S), IcmpMessage::v6_hop_limit(), false),
        (v6_udp(H, S), IcmpMessage::packet_too_big(1280), true),
    ] {
        let mut frame = ethernet(None, &datagram);
        frame[0] = 0xff;
        let (_, meta) = read(&frame);
        assert_eq!(may_report(&frame, &meta, &link(&frame).unwrap(), message), expected);
    }
}

//= conformance ICMP-106, N64-ICMP-13
#[test]
fn echoes_hear_of_routing_and_not_of_policy() {
    let echo = v6(H, PREFIX | S, 58, &echo(128, 1, b""));
    for (message, expected) in [
        (IcmpMessage::v6_hop_limit(), true),
        (IcmpMessage::packet_too_big(1280), true),
        (IcmpMessage::v6_address_unreachable(), true),
        (IcmpMessage::v6_admin(), false),
        (IcmpMessage::v6_no_route(), false),
        (IcmpMessage::v6_port_unreachable(), false),
    ] {
        assert_eq!(allowed(&echo, message), expected, "{message:?}");
        assert!(allowed(&v6_udp(H, PREFIX | S), message));
    }
}

//= conformance ICMP-107, ICMP-110
#[test]
fn as_much_as_fits_is_quoted() {
    for (len, total) in [(4, 40 + 8 + 52), (1184, 1280), (1452, 1280)] {
        let datagram = v6(H, PREFIX | S, 17, &udp(5000, 53, &vec![7; len]));
        let out = made(&datagram, IcmpMessage::packet_too_big(1420), GATEWAY6);
        assert_eq!(out.len(), total);
        assert_eq!((out[6], out[7], out[40], out[41], &out[44..48]), (58, 64, 2, 0, &[0, 0, 5, 0x8c][..]));
        assert_eq!((&out[8..24], &out[24..40]), (&GATEWAY6.to_be_bytes()[..], &H.to_be_bytes()[..]));
        assert_eq!(quote_of(&out), &datagram[..datagram.len().min(1232)]);
    }
    for (len, total) in [(4, 20 + 8 + 32), (520, 576), (1472, 576)] {
        let datagram = v4(S, T, 17, &udp(53, 4000, &vec![7; len]));
        let out = made(&datagram, IcmpMessage::fragmentation_needed(1480), GATEWAY4);
        assert_eq!(out.len(), total);
        assert_eq!((out[8], out[9], out[20], out[21], &out[24..28]), (64, 1, 3, 4, &[0, 0, 5, 0xc8][..]));
        assert_eq!(out[12..20], [192, 0, 2, 254, 198, 51, 100, 9]);
        assert_eq!(quote_of(&out), &datagram[..datagram.len().min(548)]);
    }
}

//= conformance ICMP-108
#[test]
fn the_class_of_the_offender_is_copied() {
    let mut datagram = v6_udp(H, S);
    (datagram[0], datagram[1]) = (0x6b, 0xb0);
    let out = made(&datagram, IcmpMessage::v6_hop_limit(), GATEWAY6);
    assert_eq!(out[..4], [0x6b, 0x80, 0, 0], "0xbb without its two ECN bits");
    let mut datagram = v4_udp(S, T);
    datagram[1] = 0xb9;
    seal_v4(&mut datagram);
    assert_eq!(made(&datagram, IcmpMessage::v4_ttl(), GATEWAY4)[1], 0xb8);
}

#[test]
fn without_room_nothing_is_made() {
    let offending = ethernet(None, &v6_udp(H, S));
    let (_, meta) = read(&offending);
    for room in [0, 14, 14 + 40 + 8 + 51] {
        let mut buffer = vec![0; room];
        let mut out = Frame::new(&mut buffer, 0, 0);
        assert!(!make_error(&mut out, &offending, &meta, IcmpMessage::v6_hop_limit(), GATEWAY6));
    }
    // A meta that is not that of the packet.
    let mut buffer = vec![0; 1400];
    let mut out = Frame::new(&mut buffer, 0, 0);
    assert!(!make_error(&mut out, &offending[..40], &meta, IcmpMessage::v6_hop_limit(), GATEWAY6));
}

#[test]
fn a_refused_source_route_can_be_reported() {
    let offending = ethernet(None, &v4_options(S, T, &[131, 7, 4, 1, 2, 3, 4, 0], 17, &udp(53, 4000, b"")));
    let link = link(&offending).unwrap();
    let malformed = crate::parse(&offending, &link).unwrap_err();
    let message = malformed.report.unwrap();
    assert!(may_report(&offending, &malformed.meta, &link, message));
    let mut buffer = vec![0; 1400];
    let mut out = Frame::new(&mut buffer, 0, 0);
    assert!(make_error(&mut out, &offending, &malformed.meta, message, GATEWAY4));
    assert_eq!((out.bytes()[34], out.bytes()[35], out.bytes().len()), (3, 5, 14 + 28 + 36));
    assert_valid(out.bytes());
}
