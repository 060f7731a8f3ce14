//! ICMP errors: what is read from their quotes, and what they become.

use proptest::prelude::*;

use super::*;
use crate::testing::*;

mod extension;

const MTU: u16 = 1500;

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// What `H`:5000 → `P:S`:53 looks like outside, and what the server's side quotes.
fn sent_v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4(T, S, protocol, payload)
}

/// `H`:5000 → `P:S`:53 as the host sent it.
fn sent_v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v6(H, PREFIX | S, protocol, payload)
}

/// Inbound error: from `R4` to `T`, to become one from `P:R4` to `H`.
fn to_v6(datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    run_ip(datagram, |frame, meta| {
        let quoted = quoted(frame.bytes(), meta, true)?;
        let port = if quoted.transport == Transport::IcmpQuery { 5000 } else { quoted.destination_port };
        let r = ErrorRewrite {
            outer_source: PREFIX | meta.source,
            outer_destination: H,
            quoted: endpoints(H, 5000, PREFIX | S, port),
            mtu_v4: MTU,
            mtu_v6: MTU,
            decrement: true,
            origin: None,
        };
        error_four_to_six(frame, meta, &r)
    })
}

/// Outbound error: from `R6` or `H` to `P:S` about `P:S` → `H`, to become one from `T` about `S` → `T`.
fn to_v4(datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    run_ip(datagram, |frame, meta| {
        let quoted = quoted(frame.bytes(), meta, true)?;
        let port = if quoted.transport == Transport::IcmpQuery { 40000 } else { quoted.source_port };
        let r = ErrorRewrite {
            outer_source: T,
            outer_destination: S,
            quoted: endpoints(S, port, T, 40000),
            mtu_v4: MTU,
            mtu_v6: MTU,
            decrement: true,
            origin: None,
        };
        error_six_to_four(frame, meta, &r)
    })
}

fn from_r4(kind: u8, code: u8, rest: u32, quote: &[u8]) -> Vec<u8> {
    error(Family::V4, R4, T, kind, code, rest, quote)
}

fn from_r6(kind: u8, code: u8, rest: u32, quote: &[u8]) -> Vec<u8> {
    error(Family::V6, R6, PREFIX | S, kind, code, rest, quote)
}

fn read_quote(datagram: &[u8]) -> Result<Quoted, DropReason> {
    let frame = ethernet(None, datagram);
    let (_, meta) = read(&frame);
    quoted(&frame, &meta, true)
}

//= conformance ICMP-74, ICMP-80
#[test]
fn quotes_are_read() {
    let plain = sent_v4(17, &udp(40000, 53, b"data"));
    let options = v4_options(T, S, &[148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0], 17, &udp(40000, 53, b"data"));
    for quote in [&plain[..28], &plain, &options[..40]] {
        let quoted = read_quote(&from_r4(3, 3, 0, quote)).unwrap();
        let expected = Quoted {
            family: Family::V4,
            transport: Transport::Udp,
            protocol: 17,
            source: T,
            destination: S,
            source_port: 40000,
            destination_port: 53,
            icmp_type: 0,
        };
        assert_eq!(quoted, expected);
    }
    let chained = v6_chain(PREFIX | S, H, 60, &[6, 0, 1, 4, 0, 0, 0, 0], 6, &tcp(53, 5000, 2, &[], b""));
    let quoted = read_quote(&from_r6(1, 0, 0, &chained[..56])).unwrap();
    assert_eq!((quoted.transport, quoted.source_port, quoted.destination), (Transport::Tcp, 53, H));
    let quoted = read_quote(&from_r4(3, 1, 0, &sent_v4(1, &echo(8, 77, b"")))).unwrap();
    assert_eq!((quoted.transport, quoted.source_port, quoted.icmp_type), (Transport::IcmpQuery, 77, 8));
}

#[test]
//= conformance ICMP-72, ICMP-74, ICMP-79, N44-24
fn quotes_are_refused() {
    let udp_quote = sent_v4(17, &udp(40000, 53, b"data"));
    let mut later = udp_quote.clone();
    later[7] = 1;
    seal_v4(&mut later);
    let mut bad_header = udp_quote.clone();
    bad_header[8] ^= 1;
    let source_route = v4_options(T, S, &[131, 7, 4, 1, 2, 3, 4, 0], 17, &udp(40000, 53, b""));
    for (id, kind, quote, reason) in [
        ("ICMP-72", 3, sent_v4(1, &icmp(11, 0, 0, &udp_quote)), DropReason::IcmpQuoteMalformed),
        ("ICMP-74", 3, udp_quote[..22].to_vec(), DropReason::IcmpQuoteMalformed),
        ("ICMP-74", 3, udp_quote[..27].to_vec(), DropReason::IcmpQuoteMalformed),
        ("ICMP-74", 3, udp_quote[..19].to_vec(), DropReason::IcmpQuoteMalformed),
        ("ICMP-74", 3, vec![], DropReason::IcmpQuoteMalformed),
        ("ICMP-74, not the first fragment", 3, later, DropReason::IcmpQuoteMalformed),
        ("ICMP-79", 3, bad_header, DropReason::IcmpChecksum),
        ("N44-24", 3, source_route, DropReason::Ipv4SourceRoute),
        ("ICMP-29", 4, udp_quote.clone(), DropReason::IcmpUntranslatable),
        ("ICMP-30", 5, udp_quote.clone(), DropReason::IcmpUntranslatable),
        ("a quoted timestamp", 3, sent_v4(1, &icmp(13, 0, 0, &[0; 12])), DropReason::IcmpUntranslatable),
        ("a quoted protocol without ports", 3, sent_v4(47, &[0; 8]), DropReason::ProtocolUnsupported),
        ("the other family", 3, sent_v6(17, &udp(5000, 53, b"")), DropReason::IcmpQuoteMalformed),
    ] {
        assert_eq!(read_quote(&from_r4(kind, 0, 0, &quote)), Err(reason), "{id}");
    }
    let quote = v6(PREFIX | S, H, 17, &udp(53, 5000, b""));
    for (id, kind, quote, reason) in [
        ("ICMP-72", 1, v6(PREFIX | S, H, 58, &icmp(3, 0, 0, &quote)), DropReason::IcmpQuoteMalformed),
        ("ICMP-74", 1, quote[..47].to_vec(), DropReason::IcmpQuoteMalformed),
        ("ICMP-60", 100, quote.clone(), DropReason::IcmpUntranslatable),
        ("discovery", 1, v6(PREFIX | S, H, 58, &icmp(135, 0, 0, &[0; 16])), DropReason::IcmpUntranslatable),
    ] {
        assert_eq!(read_quote(&from_r6(kind, 0, 0, &quote)), Err(reason), "{id}");
    }
}

//= conformance ICMP-78
#[test]
fn a_bad_checksum_is_refused() {
    for datagram in [
        from_r4(3, 3, 0, &sent_v4(17, &udp(40000, 53, b"data"))),
        from_r6(1, 4, 0, &v6(PREFIX | S, H, 17, &udp(53, 5000, b"data"))),
    ] {
        let mut datagram = datagram;
        *datagram.last_mut().unwrap() ^= 1;
        assert_eq!(read_quote(&datagram), Err(DropReason::IcmpChecksum));
    }
}

//= conformance ICMP-70, ICMP-71, ICMP-75, ICMP-81, ICMP-82, ICMP-92, ICMP-96
#[test]
fn the_host_sees_the_packet_it_sent() {
    for (protocol, payload4, payload6) in [
        (17, udp(40000, 53, b"data"), udp(5000, 53, b"data")),
        (6, tcp(40000, 53, 2, &[2, 4, 5, 0xb4], b""), tcp(5000, 53, 2, &[2, 4, 5, 0xb4], b"")),
        (1, echo(8, 40000, b"data"), echo(128, 5000, b"data")),
    ] {
        let mut quote = sent_v4(protocol, &payload4);
        quote[8] = 1;
        seal_v4(&mut quote);
        let out = to_v6(&from_r4(11, 0, 0, &quote)).unwrap();
        assert_eq!(out[8..24], (PREFIX | R4).to_be_bytes());
        assert_eq!(out[24..40], H.to_be_bytes());
        assert_eq!((out[6], out[7], out[40], out[41]), (58, 63, 3, 0));
        let mut expected = sent_v6(if protocol == 1 { 58 } else { protocol }, &payload6);
        expected[7] = 1;
        assert_eq!(quote_of(&out), expected);
    }
}

//= conformance ICMP-73, ICMP-93, ICMP-97
#[test]
fn the_server_sees_the_packet_it_sent() {
    for (protocol, payload6, payload4) in [
        (17, udp(53, 5000, b"data"), udp(53, 40000, b"data")),
        (6, tcp(53, 5000, 0x12, &[], b""), tcp(53, 40000, 0x12, &[], b"")),
        (58, echo(129, 5000, b"data"), echo(0, 40000, b"data")),
    ] {
        let quote = v6(PREFIX | S, H, protocol, &payload6);
        let out = to_v4(&from_r6(1, 4, 0, &quote)).unwrap();
        assert_eq!(out[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
        assert_eq!((out[8], out[9], out[20], out[21]), (63, 1, 3, 3));
        let mut expected = v4(S, T, if protocol == 58 { 1 } else { protocol }, &payload4);
        expected[4..6].fill(0);
        seal_v4(&mut expected);
        assert_eq!(quote_of(&out), expected);
    }
}

//= conformance ICMP-82
#[test]
fn eight_bytes_of_transport_are_enough() {
    let quote = sent_v4(6, &tcp(40000, 53, 2, &[], b""));
    let out = to_v6(&from_r4(3, 1, 0, &quote[..28])).unwrap();
    assert_eq!(quote_of(&out)[40..], sent_v6(6, &tcp(5000, 53, 2, &[], b""))[40..48]);
    // The checksum is adjusted from the first byte count at which there is one.
    for len in [37, 38, 39] {
        let out = to_v6(&from_r4(3, 1, 0, &quote[..len])).unwrap();
        let original = sent_v6(6, &tcp(5000, 53, 2, &[], b""));
        let upto = if len == 37 { 36 + 20 } else { len + 20 };
        assert_eq!(quote_of(&out)[..upto], original[..upto]);
    }
}

#[test]
fn a_quoted_missing_udp_checksum_stays_missing() {
    let mut quote = sent_v4(17, &udp(40000, 53, b"data"));
    quote[26..28].fill(0);
    assert_eq!(word(quote_of(&to_v6(&from_r4(3, 3, 0, &quote)).unwrap()), 46), 0);
}

//= conformance ICMP-83
#[test]
fn quoted_lengths_are_those_of_the_original() {
    let quote = sent_v4(17, &udp(40000, 53, &[0; 1472]));
    let out = to_v6(&from_r4(3, 3, 0, &quote[..28])).unwrap();
    assert_eq!((word(quote_of(&out), 4), out.len()), (1480, 40 + 8 + 48));
    let quote = v6(PREFIX | S, H, 17, &udp(53, 5000, &[0; 1452]));
    let out = to_v4(&from_r6(1, 4, 0, &quote[..60])).unwrap();
    //= conformance XLT-12
    assert_eq!((word(quote_of(&out), 2), word(quote_of(&out), 6)), (1480, 0x4000));
}

//= conformance ICMP-84
#[test]
fn quoted_fragments_keep_their_place() {
    let mut quote = sent_v4(17, &udp(40000, 53, &[0; 24]));
    quote[6] = 0x20;
    seal_v4(&mut quote);
    let out = to_v6(&from_r4(11, 1, 0, &quote)).unwrap();
    let inner = quote_of(&out);
    assert_eq!((word(inner, 4), inner[6]), (40, 44));
    assert_eq!(inner[40..48], [17, 0, 0, 1, 0, 0, 0xbe, 0xef]);

    let header = [17, 0, 0, 1, 0x12, 0x34, 0x56, 0x78];
    let quote = v6_chain(PREFIX | S, H, 44, &header, 17, &udp(53, 5000, &[0; 24]));
    let out = to_v4(&from_r6(3, 1, 0, &quote)).unwrap();
    let inner = quote_of(&out);
    assert_eq!((word(inner, 2), word(inner, 4), word(inner, 6)), (52, 0x5678, 0x2000));
    let out = to_v4(&from_r6(2, 0, 1400, &quote)).unwrap();
    assert_eq!(word(&out, 26), 1372, "ICMP-52");
}

//= conformance ICMP-85
#[test]
fn results_stay_within_the_limits_of_their_family() {
    let quote = v6(PREFIX | S, H, 17, &udp(53, 5000, &[0; 1400]));
    let out = to_v4(&from_r6(1, 4, 0, &quote[..1232])).unwrap();
    assert_eq!(out.len(), 576);
    let quote = sent_v4(17, &udp(40000, 53, &[0; 1400]));
    let out = to_v6(&from_r4(3, 3, 0, &quote)).unwrap();
    assert_eq!(out.len(), 1280);
}

#[test]
fn untranslatable_errors_are_refused() {
    let quote = sent_v4(17, &udp(40000, 53, b"data"));
    for (kind, code, rest) in [(3, 14, 0), (3, 16, 0), (12, 1, 0), (12, 0, 4 << 24)] {
        assert_eq!(to_v6(&from_r4(kind, code, rest, &quote)), Err(DropReason::IcmpUntranslatable));
    }
    let quote = v6(PREFIX | S, H, 17, &udp(53, 5000, b"data"));
    for (kind, code, rest) in [(1, 5, 0), (4, 2, 40), (4, 0, 3)] {
        assert_eq!(to_v4(&from_r6(kind, code, rest, &quote)), Err(DropReason::IcmpUntranslatable));
    }
}

//= conformance ICMP-14, ICMP-15, ICMP-51, ICMP-53
#[test]
fn mtus_are_translated() {
    let quote = sent_v4(17, &udp(40000, 53, &[0; 1472]));
    for (mtu, told) in [(1400u32, 1420u32), (1000, 1280), (9000, 1500), (0, 1500)] {
        let out = to_v6(&from_r4(3, 4, mtu, &quote[..548])).unwrap();
        assert_eq!((out[40], &out[44..48]), (2, &told.to_be_bytes()[..]));
    }
    let quote = v6(PREFIX | S, H, 17, &udp(53, 5000, &[0; 1452]));
    for (mtu, told) in [(1400, 1380), (600, 1260), (9000, 1480)] {
        let out = to_v4(&from_r6(2, 0, mtu, &quote[..500])).unwrap();
        assert_eq!((out[20], out[21], word(&out, 26)), (3, 4, told));
    }
}

fn nat44(
    datagram: &[u8],
    source: u128,
    destination: u128,
    quoted: crate::Endpoints,
) -> Result<Vec<u8>, DropReason> {
    run_ip(datagram, |frame, meta| {
        super::quoted(frame.bytes(), meta, true)?;
        let r = ErrorRewrite {
            outer_source: source,
            outer_destination: destination,
            quoted,
            mtu_v4: MTU,
            mtu_v6: MTU,
            decrement: true,
            origin: None,
        };
        error_four_to_four(frame, meta, &r)
    })
}

//= conformance N44-13, N44-16, N44-17
#[test]
fn nat44_errors_from_outside() {
    for (protocol, outside, inside) in [
        (17, udp(40000, 53, b"data"), udp(5000, 53, b"data")),
        (6, tcp(40000, 53, 2, &[], b""), tcp(5000, 53, 2, &[], b"")),
        (1, echo(8, 40000, b"data"), echo(8, 5000, b"data")),
    ] {
        let quote = sent_v4(protocol, &outside);
        let port = if protocol == 1 { 5000 } else { 53 };
        let quoted = endpoints(INSIDE, 5000, S, port);
        let out = nat44(&from_r4(3, 4, 1300, &quote), R4, INSIDE, quoted).unwrap();
        assert_eq!((out[20], out[21], word(&out, 26), out[8]), (3, 4, 1300, 63));
        assert_eq!(out[12..20], [198, 51, 100, 1, 10, 0, 0, 10]);
        assert_eq!(quote_of(&out), v4(INSIDE, S, protocol, &inside));
    }
}

/// A host that counted the TTL of what it got down before it quoted it: the checksum is as wrong behind the gateway as before.
//= conformance ICMP-79
#[test]
fn altered_headers_may_be_believed() {
    let mut quote = sent_v4(17, &udp(40000, 53, b"data"));
    quote[8] -= 1;
    let datagram = from_r4(3, 3, 0, &quote);
    let frame = ethernet(None, &datagram);
    let (_, meta) = read(&frame);
    assert_eq!(quoted(&frame, &meta, true), Err(DropReason::IcmpChecksum));
    assert!(
        quoted(&frame, &meta, false).is_ok_and(|quoted| (quoted.source, quoted.source_port) == (T, 40000))
    );
    let r = ErrorRewrite {
        outer_source: R4,
        outer_destination: INSIDE,
        quoted: endpoints(INSIDE, 5000, S, 53),
        mtu_v4: MTU,
        mtu_v6: MTU,
        decrement: true,
        origin: None,
    };
    let mut buffer = Buffer::new(&frame);
    let mut within = buffer.frame();
    error_four_to_four(&mut within, &meta, &r).unwrap();
    let mut shown = quote_of(&within.bytes()[14..]).to_vec();
    assert_ne!(naive_sum(&[&shown[..20]]), 0xffff);
    shown[8] += 1;
    assert_eq!(shown, v4(INSIDE, S, 17, &udp(5000, 53, b"data")));
    let r = ErrorRewrite {
        outer_source: PREFIX | R4,
        outer_destination: H,
        quoted: endpoints(H, 5000, PREFIX | S, 53),
        ..r
    };
    let mut buffer = Buffer::new(&frame);
    let mut across = buffer.frame();
    error_four_to_six(&mut across, &meta, &r).unwrap();
    let mut shown = quote_of(&across.bytes()[14..]).to_vec();
    shown[7] += 1;
    assert_eq!(shown, sent_v6(17, &udp(5000, 53, b"data")));
}

//= conformance N44-14
#[test]
fn nat44_errors_from_inside() {
    let quote = v4(S, INSIDE, 17, &udp(53, 5000, b"data"));
    let datagram = error(Family::V4, 0x0a00_0001, S, 3, 1, 0, &quote);
    let out = nat44(&datagram, T, S, endpoints(S, 53, T, 40000)).unwrap();
    assert_eq!(out[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
    assert_eq!(quote_of(&out), v4(S, T, 17, &udp(53, 40000, b"data")));
}

//= conformance HAIR-05
#[test]
fn hairpinned_ipv6_errors() {
    // `H2` sent to `P:T`:40000, which is `H`:5000; `H` answers with an error about what it got.
    for (protocol, got, sent) in [
        (17, udp(41000, 5000, b"data"), udp(6000, 40000, b"data")),
        (6, tcp(41000, 5000, 2, &[], b""), tcp(6000, 40000, 2, &[], b"")),
    ] {
        let quote = v6(PREFIX | 0xc000_0202, H, protocol, &got);
        let datagram = error(Family::V6, H, PREFIX | 0xc000_0202, 1, 4, 0, &quote);
        let out = run_ip(&datagram, |frame, meta| {
            let r = ErrorRewrite {
                outer_source: PREFIX | T,
                outer_destination: H2,
                quoted: endpoints(H2, 6000, PREFIX | T, 40000),
                mtu_v4: MTU,
                mtu_v6: MTU,
                decrement: true,
                origin: None,
            };
            error_six_to_six(frame, meta, &r)
        })
        .unwrap();
        assert_eq!((out[40], out[41], out[7]), (1, 4, 63));
        assert_eq!(out[24..40], H2.to_be_bytes());
        assert_eq!(quote_of(&out), v6(H2, PREFIX | T, protocol, &sent));
    }
}

//= conformance FRAG-26
#[test]
fn fragmented_errors_are_refused() {
    let mut datagram = from_r4(3, 3, 0, &sent_v4(17, &udp(40000, 53, b"data")));
    datagram[6] = 0x20;
    seal_v4(&mut datagram);
    assert_eq!(read_quote(&datagram), Err(DropReason::Fragment));
}

#[test]
fn growth_uses_whichever_room_there_is() {
    let bytes = ethernet(Some(9), &from_r4(3, 3, 0, &sent_v4(17, &udp(40000, 53, b"data"))));
    let (_, meta) = read(&bytes);
    let r = ErrorRewrite {
        outer_source: PREFIX | R4,
        outer_destination: H,
        quoted: endpoints(H, 5000, PREFIX | S, 53),
        mtu_v4: MTU,
        mtu_v6: MTU,
        decrement: true,
        origin: None,
    };
    for (head, tail) in [(40, 0), (0, 40), (25, 15), (20, 19)] {
        let mut buffer = [&vec![0; head][..], &bytes, &vec![0; tail]].concat();
        let mut frame = Frame::new(&mut buffer, head, bytes.len());
        let outcome = error_four_to_six(&mut frame, &meta, &r);
        if head + tail < 40 {
            assert_eq!(outcome, Err(DropReason::NoMbuf));
        } else {
            assert_eq!(outcome, Ok(read(frame.bytes()).1));
            assert_eq!(frame.bytes()[..16], bytes[..16]);
            assert_valid(frame.bytes());
        }
    }
}

proptest! {
    /// Whatever the error quotes and however it is cut, the result is valid and shows the session's other side.
    #[test]
    fn translated_errors_are_right(
        data in prop::collection::vec(any::<u8>(), 0..1300), cut in 0..1400usize, tcp_or_udp: bool, tos: u8,
        attribute in 0..=255u32,
    ) {
        let payload = |s, d| if tcp_or_udp { (6, tcp(s, d, 0x10, &[], &data)) } else { (17, udp(s, d, &data)) };
        let (protocol, bytes) = payload(40000, 53);
        let quote = sent_v4(protocol, &bytes);
        let mut datagram = from_r4(11, 0, attribute << 16, &quote[..quote.len().min(28 + cut)]);
        datagram[1] = tos;
        seal_v4(&mut datagram);
        // An attribute may leave less than the ports of the quote.
        match to_v6(&datagram) {
            Ok(out) => {
                prop_assert!(out.len() <= 1280);
                let original = sent_v6(protocol, &payload(5000, 53).1);
                let shown = quote_of(&out);
                prop_assert_eq!(&shown[..48], &original[..48]);
            }
            Err(reason) => {
                prop_assert!((1..7).contains(&attribute));
                prop_assert_eq!(reason, DropReason::IcmpQuoteMalformed);
            }
        }
        let quote = v6(PREFIX | S, H, protocol, &payload(53, 5000).1);
        let datagram = from_r6(3, 0, attribute << 24, &quote[..quote.len().min(48 + cut)]);
        match to_v4(&datagram) {
            Ok(out) => {
                prop_assert!(out.len() <= 576);
                let original = v4(S, T, protocol, &payload(53, 40000).1);
                let shown = quote_of(&out);
                prop_assert_eq!(&shown[12..28], &original[12..28]);
                prop_assert_eq!(naive_sum(&[&shown[..20]]), 0xffff);
            }
            Err(reason) => {
                prop_assert!((1..6).contains(&attribute));
                prop_assert_eq!(reason, DropReason::IcmpQuoteMalformed);
            }
        }
    }
}
