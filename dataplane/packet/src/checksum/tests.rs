//! Checksums: published examples, and incremental against full.

use proptest::prelude::*;

use super::*;
use crate::testing::naive_sum;

#[test]
fn published_examples() {
    // RFC 1071, section 3.
    assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    // RFC 1624, section 4: the case that the equation of RFC 1141 gets wrong.
    assert_eq!(Delta::ZERO.remove_u16(0x5555).add_u16(0x3285).apply(0xdd2f), 0x0000);
}

#[test]
fn a_header_with_its_checksum_sums_to_zero() {
    let mut header: Vec<u8> = (0x45..0x59).collect();
    let checksum = ipv4_header(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(of(&header), 0);
    assert_eq!(ipv4_header(&header), checksum, "the field itself does not count");
}

#[test]
fn nothing_is_short_enough_to_panic() {
    for len in 0..24 {
        let bytes = vec![0xff; len];
        let _ = (of(&bytes), ipv4_header(&bytes), transport_v4(1, 2, 3, &bytes));
    }
}

//= conformance XLT-31
#[test]
fn a_udp_checksum_is_never_sent_as_zero() {
    assert_eq!(udp_field(0), 0xffff);
    assert_eq!(udp_field(1), 1);
}

proptest! {
    #[test]
    fn full_checksum_equals_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(of(&bytes), !naive_sum(&[&bytes]));
    }

    #[test]
    fn pseudo_headers_are_those_of_the_rfcs(
        source: u128, destination: u128, protocol: u8, payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let v6 = naive_sum(&[
            &source.to_be_bytes(), &destination.to_be_bytes(), &(payload.len() as u32).to_be_bytes(),
            &[0, 0, 0, protocol], &payload,
        ]);
        prop_assert_eq!(transport_v6(source, destination, protocol, &payload), !v6);
        let (source, destination) = (source as u32, destination as u32);
        let v4 = naive_sum(&[
            &source.to_be_bytes(), &destination.to_be_bytes(), &[0, protocol],
            &(payload.len() as u16).to_be_bytes(), &payload,
        ]);
        prop_assert_eq!(transport_v4(source, destination, protocol, &payload), !v4);
    }

    //= conformance XLT-36
    #[test]
    fn incremental_equals_full(
        rest in prop::collection::vec(any::<u8>(), 1..40), old: u128, new: u128, old_word: u16, new_word: u16,
    ) {
        let full = |a: u128, w: u16| !naive_sum(&[&a.to_be_bytes(), &w.to_be_bytes(), &[0x45], &rest]);
        let delta = Delta::ZERO.remove_u128(old).remove_u16(old_word).add_u16(new_word).add_u128(new);
        prop_assert_eq!(delta.apply(full(old, old_word)), full(new, new_word));
        prop_assert_eq!(delta.inverse().apply(full(new, new_word)), full(old, old_word));
        prop_assert_eq!(Delta::from_raw(delta.raw()), delta);
    }

    #[test]
    fn widths_agree(value: u32, start: u16) {
        let start = Delta::from_raw(start);
        let wide = start.add_u32(value);
        prop_assert_eq!(wide, start.add_u16((value >> 16) as u16).add_u16(value as u16));
        prop_assert_eq!(wide, start.add_u128(value.into()));
        prop_assert_eq!(start.then(Delta::ZERO.add_u32(value)).apply(0x1234), wide.apply(0x1234));
    }
}
