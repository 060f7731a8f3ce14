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
