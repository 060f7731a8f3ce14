//! Every check of the parser, by name.

use proptest::prelude::*;

use super::*;
use crate::link;
use crate::testing::*;

fn parsed(datagram: &[u8]) -> Result<Meta, Malformed> {
    let frame = ethernet(None, datagram);
    parse(&frame, &link(&frame).unwrap())
}

fn refused(datagram: &[u8]) -> (DropReason, Option<IcmpMessage>) {
    let malformed = parsed(datagram).unwrap_err();
    (malformed.reason, malformed.report)
}

fn plain_v4() -> Vec<u8> {
    v4(S, T, 17, &udp(53, 4000, b"data"))
}

fn plain_v6() -> Vec<u8> {
    v6(H, PREFIX | S, 17, &udp(5000, 53, b"data"))
}

#[test]
fn facts_of_a_packet() {
    let mut datagram = v4(S, T, 6, &tcp(80, 4000, tcp::SYN | tcp::ACK, &[], b""));
    datagram[1] = 0xb9;
    datagram[6] = 0x40;
    seal_v4(&mut datagram);
    let meta = parsed(&datagram).unwrap();
    let expected = Meta {
        source: S,
        destination: T,
        source_port: 80,
        destination_port: 4000,
        identification: 0xbeef,
        l4: 34,
        end: 54,
        transport: Transport::Tcp,
        protocol: 6,
        hop_limit: 64,
        tos: 0xb9,
        tcp_flags: 0x12,
        dont_fragment: true,
        ..Meta::blank(Family::V4, 14)
    };
    assert_eq!(meta, expected);
    assert_eq!((meta.ip_len(), meta.is_whole()), (40, true));
}

#[test]
fn offsets_count_from_the_frame() {
    let frame = ethernet(Some(100), &plain_v6());
    let meta = parse(&frame, &link(&frame).unwrap()).unwrap();
    assert_eq!((meta.l3, meta.l4, meta.end), (18, 58, 70));
    assert_eq!((meta.source, meta.destination), (H, PREFIX | S));
}

//= conformance XLT-45
#[test]
fn padding_is_beyond_the_end() {
    let mut frame = ethernet(None, &plain_v4());
    frame.resize(60, 0);
    let meta = parse(&frame, &link(&frame).unwrap()).unwrap();
    assert_eq!((meta.end, meta.ip_len()), (46, 32));
}

//= conformance XLT-37
#[test]
fn ipv4_headers_are_checked() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, bool); 7] = [
        ("version 5", |d| d[0] = 0x55, true),
        ("header of 16 bytes", |d| d[0] = 0x44, true),
        ("total length below the header", |d| d[3] = 19, true),
        ("total length beyond the frame", |d| d[3] += 1, true),
        ("header cut short", |d| d.truncate(19), false),
        ("header beyond the packet", |d| d[0] = 0x4f, true),
        ("one bit flipped", |d| d[8] ^= 1, false),
    ];
    for (name, change, reseal) in cases {
        let mut datagram = plain_v4();
        change(&mut datagram);
        if reseal && datagram[0] & 0xf >= 5 && datagram[0] != 0x4f {
            seal_v4(&mut datagram);
        }
        let mut frame = ethernet(None, &datagram);
        frame[12..14].copy_from_slice(&[8, 0]);
        let malformed = parse(&frame, &link(&frame).unwrap()).unwrap_err();
        assert_eq!((malformed.reason, malformed.report), (DropReason::Ipv4Malformed, None), "{name}");
    }
}

//= conformance XLT-29, N44-24
#[test]
fn source_routes_are_reported() {
    let payload = udp(53, 4000, b"");
    let unexpired = v4_options(S, T, &[131, 7, 4, 1, 2, 3, 4, 0], 17, &payload);
    let malformed = parsed(&unexpired).unwrap_err();
    assert_eq!(malformed.reason, DropReason::Ipv4SourceRoute);
    assert_eq!(malformed.report, Some(IcmpMessage::v4_source_route_failed()));
    assert_eq!((malformed.meta.source, malformed.meta.transport), (S, Transport::Udp));
    let expired = v4_options(S, T, &[131, 7, 8, 1, 2, 3, 4, 0], 17, &payload);
    assert!(parsed(&expired).unwrap().options);
    let damaged = v4_options(S, T, &[131, 40, 4, 0], 17, &payload);
    assert_eq!(refused(&damaged), (DropReason::Ipv4Malformed, None));
    let mut corrupt = expired;
    corrupt[24] ^= 1;
    assert_eq!(refused(&corrupt), (DropReason::Ipv4Malformed, None));
}

#[test]
fn ipv6_headers_are_checked() {
    let mut version = plain_v6();
    version[0] = 0x70;
    let mut frame = ethernet(None, &version);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(parse(&frame, &link(&frame).unwrap()).unwrap_err().reason, DropReason::Ipv6Malformed);
    let mut long = plain_v6();
    long[5] += 1;
    assert_eq!(refused(&long), (DropReason::Ipv6Malformed, None));
    assert_eq!(refused(&plain_v6()[..39]), (DropReason::Ipv6Malformed, None));
}

//= conformance XLT-15, XLT-17
#[test]
fn extension_headers_are_stepped_over() {
    let chain = [60, 0, 0, 0, 0, 0, 0, 0, 43, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    let datagram = v6_chain(H, PREFIX | S, 0, &chain, 6, &tcp(4000, 80, tcp::SYN, &[], b""));
    let meta = parsed(&datagram).unwrap();
    assert_eq!((meta.protocol, meta.transport, meta.options), (6, Transport::Tcp, true));
    assert_eq!((meta.l4, meta.tcp_flags, meta.source_port), (14 + 40 + 24, tcp::SYN, 4000));
}

//= conformance XLT-18
#[test]
fn segments_left_are_reported() {
    let header = [17, 0, 0, 1, 0, 0, 0, 0];
    let datagram = v6_chain(H, PREFIX | S, 43, &header, 17, &udp(5000, 53, b""));
    let report = Some(IcmpMessage::v6_parameter_problem(0, 43));
    assert_eq!(refused(&datagram), (DropReason::Ipv6RoutingHeader, report));
    // What lies behind is known, so that no error answers an error.
    let header = [58, 0, 0, 1, 0, 0, 0, 0];
    let datagram = v6_chain(H, PREFIX | S, 43, &header, 58, &icmp(1, 0, 0, &plain_v6()));
    assert_eq!(parsed(&datagram).unwrap_err().meta.transport, Transport::IcmpError);
}

//= conformance XLT-46
#[test]
fn jumbograms_are_refused() {
    let mut datagram = v6_chain(H, PREFIX | S, 0, &[17, 0, 0xc2, 4, 0, 1, 0, 0], 17, &udp(5000, 53, b""));
    datagram[4..6].fill(0);
    assert_eq!(refused(&datagram), (DropReason::Ipv6Jumbogram, None));
}

//= conformance XLT-48
#[test]
fn long_chains_are_refused() {
    let chain: Vec<u8> = (0..20).flat_map(|_| [60, 0, 0, 0, 0, 0, 0, 0]).collect();
    let datagram = v6_chain(H, PREFIX | S, 60, &chain, 17, &udp(5000, 53, b""));
    assert_eq!(refused(&datagram), (DropReason::Ipv6ExtensionChain, Some(IcmpMessage::v6_admin())));
    let cut = v6_chain(H, PREFIX | S, 60, &[17, 9, 0, 0, 0, 0, 0, 0], 17, &udp(5000, 53, b""));
    assert_eq!(refused(&cut), (DropReason::Ipv6ExtensionChain, None));
}

#[test]
fn fragments_are_told_apart() {
    for (offset_more, fragment) in
        [(0, Fragment::Atomic), (1, Fragment::First), (0x04d1, Fragment::Later), (0x04d0, Fragment::Later)]
    {
        let mut header = vec![17, 0];
        header.extend(u16::to_be_bytes(offset_more));
        header.extend([0x12, 0x34, 0x56, 0x78]);
        let meta = parsed(&v6_chain(H, PREFIX | S, 44, &header, 17, &udp(5000, 53, b"")[..8])).unwrap();
        assert_eq!((meta.fragment, meta.identification), (fragment, 0x1234_5678));
        assert_eq!((meta.fragment_offset, meta.more_fragments), (offset_more >> 3, offset_more & 1 != 0));
        assert_eq!(meta.transport, Transport::Udp);
        assert_eq!(meta.source_port, if fragment == Fragment::Later { 0 } else { 5000 });
    }
    for (flags, fragment) in [
        (0x4000u16, Fragment::No),
        (0x2000, Fragment::First),
        (0x20b9, Fragment::Later),
        (0x00b9, Fragment::Later),
    ] {
        let mut datagram = v4(S, T, 17, &udp(53, 40000, &[0; 8]));
        datagram[6..8].copy_from_slice(&flags.to_be_bytes());
        seal_v4(&mut datagram);
        let meta = parsed(&datagram).unwrap();
        assert_eq!((meta.fragment, meta.fragment_offset), (fragment, flags & 0x1fff));
        assert_eq!(meta.is_whole(), fragment == Fragment::No);
    }
}

//= conformance FRAG-21, FRAG-27, FRAG-28, FRAG-29
#[test]
fn fragments_that_cannot_be_are_refused() {
    let six = |protocol, offset_more: u16, payload: &[u8]| {
        let header = [&[protocol, 0][..], &offset_more.to_be_bytes(), &[0, 0, 0, 7]].concat();
        v6_chain(H, PREFIX | S, 44, &header, 253, payload)
    };
    let problem = |code, pointer| Some(IcmpMessage::v6_parameter_problem(code, pointer));
    let bad = DropReason::FragmentMalformed;
    assert_eq!(refused(&six(17, 9, &[0; 13])), (bad, problem(0, 4)), "no multiple of 8, and more to come");
    assert!(parsed(&six(17, 8, &[0; 13])).is_ok(), "the last may have any length");
    assert_eq!(refused(&six(17, 8190 << 3, &[0; 100])), (bad, problem(0, 42)), "beyond 65535");
    assert_eq!(refused(&six(17, 8, &[])), (bad, None), "nothing in it");
    assert_eq!(refused(&six(6, 9, &[0; 16])), (bad, None), "flags of TCP would come from it");
    let headless = (DropReason::TransportMalformed, problem(3, 0));
    assert_eq!(refused(&six(17, 1, &[0; 0])), (bad, None));
    assert_eq!(refused(&six(6, 1, &[0; 16])), headless, "a header chain that goes on in the next fragment");
    assert_eq!(
        refused(&six(6, 0, &[0; 16])),
        (DropReason::TransportMalformed, None),
        "an atomic one is whole"
    );

    let four = |protocol, flags: u16, payload: &[u8]| {
        let mut datagram = v4(S, T, 253, payload);
        datagram[6..8].copy_from_slice(&flags.to_be_bytes());
        datagram[9] = protocol;
        seal_v4(&mut datagram);
        datagram
    };
    assert_eq!(refused(&four(17, 0x2001, &[0; 13])), (bad, None));
    assert_eq!(refused(&four(17, 8190, &[0; 100])), (bad, None), "the ping of death");
    assert_eq!(refused(&four(6, 1, &[0; 16])), (bad, None));
    assert!(parsed(&four(6, 2, &[0; 16])).is_ok());
    assert_eq!(
        refused(&four(6, 0x2000, &[0; 8])),
        (DropReason::TransportMalformed, None),
        "tiny first fragment"
    );
}

//= conformance XLT-38, FRAG-20
#[test]
fn transport_headers_are_checked() {
    let mut short_offset = tcp(1, 2, 0, &[], b"");
    short_offset[12] = 3 << 4;
    let mut long_offset = tcp(1, 2, 0, &[], b"");
    long_offset[12] = 6 << 4;
    let mut short_udp = udp(1, 2, b"");
    short_udp[5] = 7;
    let mut long_udp = udp(1, 2, b"");
    long_udp[5] = 9;
    for (name, protocol, payload) in [
        ("data offset 3", 6, short_offset),
        ("data offset beyond the end", 6, long_offset),
        ("19 bytes of TCP", 6, tcp(1, 2, 0, &[], b"")[..19].to_vec()),
        ("UDP length 7", 17, short_udp),
        ("UDP length beyond the end", 17, long_udp),
        ("7 bytes of UDP", 17, udp(1, 2, b"")[..7].to_vec()),
    ] {
        for datagram in [v4(S, T, protocol, &payload), v6(H, PREFIX | S, protocol, &payload)] {
            assert_eq!(refused(&datagram), (DropReason::TransportMalformed, None), "{name}");
        }
    }
    for datagram in [v4(S, T, 1, &[8, 0, 0, 0, 0, 0, 0]), v6(H, PREFIX | S, 58, &[128, 0, 0, 0, 0, 0, 0])] {
        assert_eq!(refused(&datagram), (DropReason::TransportMalformed, None), "7 bytes of ICMP");
    }
}

//= conformance N44-22
#[test]
fn port_zero_is_refused() {
    for (source, destination) in [(0, 53), (5000, 0)] {
        assert_eq!(refused(&v4(S, T, 17, &udp(source, destination, b""))).0, DropReason::PortZero);
        assert_eq!(refused(&v6(H, S, 6, &tcp(source, destination, 2, &[], b""))).0, DropReason::PortZero);
    }
}

#[test]
fn transports_are_classified() {
    for (protocol, payload, transport) in [
        (1, echo(8, 77, b""), Transport::IcmpQuery),
        (1, echo(0, 77, b""), Transport::IcmpQuery),
        (1, icmp(3, 1, 0, b""), Transport::IcmpError),
        (1, icmp(5, 1, 0, b""), Transport::IcmpError),
        (1, icmp(13, 0, 0, b""), Transport::IcmpOther),
        (58, icmp(128, 0, 0, b""), Transport::Other),
        (47, vec![0; 4], Transport::Other),
    ] {
        assert_eq!(parsed(&v4(S, T, protocol, &payload)).unwrap().transport, transport);
    }
    for (protocol, payload, transport) in [
        (58, echo(128, 77, b""), Transport::IcmpQuery),
        (58, echo(129, 77, b""), Transport::IcmpQuery),
        (58, icmp(1, 4, 0, b""), Transport::IcmpError),
        (58, icmp(100, 0, 0, b""), Transport::IcmpError),
        (58, icmp(135, 0, 0, b""), Transport::IcmpOther),
        (58, icmp(143, 0, 0, b""), Transport::IcmpOther),
        (1, icmp(8, 0, 0, b""), Transport::Other),
        (132, vec![0; 12], Transport::Other),
        (59, vec![], Transport::Other),
    ] {
        let meta = parsed(&v6(H, PREFIX | S, protocol, &payload)).unwrap();
        assert_eq!(meta.transport, transport);
        if transport == Transport::IcmpQuery {
            assert_eq!((meta.source_port, meta.destination_port), (77, 77));
        }
    }
}

proptest! {
    /// The common case is a short cut, not another parser.
    #[test]
    fn the_short_cut_leads_to_the_same_place(
        six: bool, is_tcp: bool, data in prop::collection::vec(any::<u8>(), 0..40),
        changes in prop::collection::vec((14..90usize, any::<u8>()), 0..4), reseal: bool,
    ) {
        let (protocol, payload) =
            if is_tcp { (6, tcp(80, 4000, 2, &[], &data)) } else { (17, udp(53, 4000, &data)) };
        let datagram = if six { v6(H, PREFIX | S, protocol, &payload) } else { v4(S, T, protocol, &payload) };
        let mut frame = ethernet(None, &datagram);
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if !six && reseal && (5..=8).contains(&(frame[14] & 0xf)) {
            seal_v4(&mut frame[14..]);
        }
        let (common, full) = if six {
            (common_v6(&frame, 14), parse_v6(&frame, 14))
        } else {
            (common_v4(&frame, 14), parse_v4(&frame, 14))
        };
        if let Some(common) = common {
            prop_assert_eq!(Ok(common), full);
        } else if let Ok(meta) = full {
            let unusual = meta.options || meta.fragment != Fragment::No || !matches!(meta.protocol, 6 | 17);
            prop_assert!(unusual, "{:?}", meta);
        }
    }
}
