//! Extensions of ICMP errors (RFC 4884) through translation.

use super::*;
use crate::IcmpMessage;

/// An extension structure: version 2, no checksum, one object with an MPLS label.
const EXTENSION: [u8; 12] = [0x20, 0, 0, 0, 0, 8, 1, 1, 0xde, 0xad, 0xbe, 0xef];

/// A quote padded to `len`, with the extension behind it.
fn extended(quote: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = quote.to_vec();
    bytes.resize(len, 0);
    bytes.extend(EXTENSION);
    bytes
}

//= conformance ICMP-86, ICMP-87, ICMP-91
#[test]
fn extensions_are_carried_and_lengths_recomputed() {
    let full = sent_v4(17, &udp(40000, 53, &[7; 200]));
    let out = to_v6(&from_r4(11, 0, 32 << 16, &extended(&full[..128], 128))).unwrap();
    assert_eq!((out[44], &out[45..48]), (19, &[0, 0, 0][..]));
    assert_eq!(out.len(), 48 + 152 + 12);
    assert_eq!((&out[48 + 148..48 + 152], &out[48 + 152..]), (&[0; 4][..], &EXTENSION[..]));

    let full = v6(PREFIX | S, H, 17, &udp(53, 5000, &[7; 200]));
    let out = to_v4(&from_r6(3, 0, 16 << 24, &extended(&full[..128], 128))).unwrap();
    assert_eq!(out[24..28], [0, 32, 0, 0]);
    assert_eq!(out.len(), 28 + 128 + 12);
    assert_eq!((&out[28 + 108..28 + 128], &out[28 + 128..]), (&[0; 20][..], &EXTENSION[..]));
}

//= conformance ICMP-87
#[test]
fn a_short_packet_is_padded_to_128() {
    let short = sent_v4(17, &udp(40000, 53, b"data"));
    let out = to_v6(&from_r4(11, 0, 32 << 16, &extended(&short, 128))).unwrap();
    assert_eq!((out[44], out.len()), (16, 48 + 128 + 12));
    assert_eq!(out[48..100], sent_v6(17, &udp(5000, 53, b"data")));
    assert_eq!((&out[100..176], &out[176..]), (&[0; 76][..], &EXTENSION[..]));
}

//= conformance ICMP-88
#[test]
fn extensions_are_stripped_where_they_may_not_be() {
    let quote = sent_v4(17, &udp(40000, 53, b"data"));
    for (code, rest, kind) in [(4, 1400, 2), (2, 0, 4)] {
        let out = to_v6(&from_r4(3, code, 32 << 16 | rest, &extended(&quote, 128))).unwrap();
        assert_eq!((out[40], out.len()), (kind, 48 + 52));
    }
    let out = to_v6(&from_r4(3, 4, 32 << 16 | 1400, &extended(&quote, 128))).unwrap();
    assert_eq!(out[44..48], 1420u32.to_be_bytes(), "the length attribute is not taken for MTU");
    let out = to_v6(&from_r4(12, 0, 8 << 24 | 32 << 16, &extended(&quote, 128))).unwrap();
    assert_eq!((out[40], &out[44..48], out.len()), (4, &[0, 0, 0, 7][..], 48 + 52));
}

//= conformance ICMP-89
#[test]
fn length_attributes_are_read_liberally() {
    let quote = sent_v4(17, &udp(40000, 53, &[7; 100]));
    let out = to_v6(&from_r4(11, 0, 17 << 16, &extended(&quote[..68], 68))).unwrap();
    assert_eq!((out[44], &out[out.len() - 12..]), (16, &EXTENSION[..]));
    let out = to_v6(&from_r4(11, 0, 8 << 16, &extended(&quote[..32], 32))).unwrap();
    assert_eq!((out[44], &out[out.len() - 12..]), (16, &EXTENSION[..]));
    // An attribute that overruns the packet: all of it is quote.
    let out = to_v6(&from_r4(11, 0, 255 << 16, &quote)).unwrap();
    assert_eq!((out[44], out.len()), (0, 48 + quote.len() + 20));
}

//= conformance ICMP-90
#[test]
fn the_quote_gives_way_to_the_extension() {
    let full = sent_v4(17, &udp(40000, 53, &[7; 1400]));
    let long = &full[..1020];
    let mut bytes = extended(long, 1020);
    bytes.resize(1020 + 400, 0x5a);
    let out = to_v6(&from_r4(11, 0, 255 << 16, &bytes)).unwrap();
    assert_eq!((out.len(), usize::from(out[44]) * 8), (1280, 1280 - 48 - 400));
    assert_eq!(out[out.len() - 400..], bytes[1020..]);
    // An extension that leaves no 128 bytes is dropped.
    let mut bytes = extended(long, 1020);
    bytes.resize(1020 + 1200, 0x5a);
    let out = to_v6(&from_r4(11, 0, 255 << 16, &bytes)).unwrap();
    assert_eq!((out.len(), out[44]), (48 + 1040, 0));
}

#[test]
fn nat44_keeps_extensions_and_length() {
    let quote = sent_v4(17, &udp(40000, 53, &[7; 200]));
    let datagram = from_r4(11, 0, 32 << 16, &extended(&quote[..128], 128));
    let out = nat44(&datagram, R4, INSIDE, endpoints(INSIDE, 5000, S, 53)).unwrap();
    assert_eq!((out.len(), &out[24..28]), (datagram.len(), &datagram[24..28]));
    assert_eq!(out[28 + 28..], datagram[28 + 28..]);
}

#[test]
fn an_errors_head_is_kept_without_its_length() {
    let icmp = icmp(12, 0, 8 << 24 | 32 << 16, &[0; 200]);
    let parts = quote::split(Family::V4, &icmp).unwrap();
    assert_eq!(parts.message, IcmpMessage::new(12, 0, 8 << 24));
    assert_eq!((parts.quote.len(), parts.extension.len()), (128, 72));
}

/// As [`to_v4`], with the address of the router in an extension.
fn to_v4_from(origin: u128, datagram: &[u8]) -> Vec<u8> {
    run_ip(datagram, |frame, meta| {
        let r = ErrorRewrite {
            outer_source: T,
            outer_destination: S,
            quoted: endpoints(S, 53, T, 40000),
            mtu_v4: MTU,
            mtu_v6: MTU,
            decrement: true,
            origin: Some(origin),
        };
        error_six_to_four(frame, meta, &r)
    })
    .unwrap()
}

/// The object that names a router.
fn interface_object(source: u128) -> Vec<u8> {
    [&[0, 24, 2, 4, 0, 2, 0, 0][..], &source.to_be_bytes()].concat()
}

//= conformance ICMP-95
#[test]
fn an_error_of_a_router_names_it() {
    let short = v6(PREFIX | S, H, 17, &udp(53, 5000, b"data"));
    let long = v6(PREFIX | S, H, 17, &udp(53, 5000, &[7; 1000]));
    for (quote, words) in [(&short[..], 32), (&long[..1000], (548 - 28) / 4)] {
        let out = to_v4_from(R6, &from_r6(3, 0, 0, quote));
        assert_eq!((out[20], usize::from(out[25])), (11, words));
        let (structure, at) = (&out[out.len() - 28..], 28 + 4 * words);
        assert_eq!(out.len(), at + 28);
        assert_eq!((structure[0], &structure[4..]), (0x20, &interface_object(R6)[..]));
        assert_eq!((crate::checksum::of(structure), crate::checksum::of(&out[20..])), (0, 0));
        assert!(out.len() <= 576);
    }
}

//= conformance ICMP-95
#[test]
fn an_object_more_continues_the_extension_and_its_checksum() {
    let full = v6(PREFIX | S, H, 17, &udp(53, 5000, &[7; 200]));
    let with = |structure: &[u8]| {
        let quote = [&full[..128], structure].concat();
        to_v4_from(R6, &from_r6(1, 0, 16 << 24, &quote))
    };
    // Without a checksum it stays without.
    let out = with(&EXTENSION);
    assert_eq!(out[out.len() - 36..], [&EXTENSION[..], &interface_object(R6)].concat());
    // A right one stays right, a wrong one wrong.
    let mut sealed = EXTENSION;
    let sum = crate::checksum::of(&sealed).to_be_bytes();
    sealed[2..4].copy_from_slice(&sum);
    let out = with(&sealed);
    assert_eq!(crate::checksum::of(&out[out.len() - 36..]), 0);
    sealed[3] ^= 1;
    let out = with(&sealed);
    assert_ne!(crate::checksum::of(&out[out.len() - 36..]), 0);
    // What is no structure of version 2, or leaves no room, passes as it came.
    let other = [0x30, 0, 0, 0, 0, 4, 1, 1];
    assert!(with(&other).ends_with(&other));
    let large = [&EXTENSION[..4], &[0x5a; 548 - 128 - 4]].concat();
    assert!(with(&large).ends_with(&large));
}
