//! The tables of RFC 7915, row by row, and that nothing else is translated.

use super::*;

const CONTEXT: MtuContext =
    MtuContext { mtu_v4: 1500, mtu_v6: 1500, quoted_len: 1500, quoted_fragment: false };

type Head = (u8, u8, u32);

fn v6_of((kind, code, rest): Head) -> Option<Head> {
    error_4_to_6(IcmpMessage::new(kind, code, rest), &CONTEXT).map(|to| (to.kind, to.code, to.rest))
}

fn v4_of((kind, code, rest): Head) -> Option<Head> {
    error_6_to_4(IcmpMessage::new(kind, code, rest), &CONTEXT).map(|to| (to.kind, to.code, to.rest))
}

#[test]
fn queries_v4_to_v6() {
    for kind in 0..=255 {
        let expected = match kind {
            8 => Some(128), //= conformance ICMP-01
            0 => Some(129), //= conformance ICMP-02
            _ => None,      //= conformance ICMP-03, ICMP-04, ICMP-05, ICMP-06, ICMP-07, ICMP-09
        };
        assert_eq!(query_4_to_6(kind), expected, "4:{kind}");
    }
}

#[test]
fn queries_v6_to_v4() {
    for kind in 0..=255 {
        let expected = match kind {
            128 => Some(8), //= conformance ICMP-40
            129 => Some(0), //= conformance ICMP-41
            _ => None,      //= conformance ICMP-42, ICMP-43, ICMP-44
        };
        assert_eq!(query_6_to_4(kind), expected, "6:{kind}");
    }
}

/// A row of a table: what it shows, input, output.
type Row = (&'static str, Head, Option<Head>);

const V4_TO_V6: &[Row] = &[
    ("ICMP-10", (3, 0, 0), Some((1, 0, 0))),
    ("ICMP-11", (3, 1, 0), Some((1, 0, 0))),
    ("ICMP-12", (3, 2, 0), Some((4, 1, 6))),
    ("ICMP-13", (3, 3, 0), Some((1, 4, 0))),
    ("ICMP-14", (3, 4, 1400), Some((2, 0, 1420))),
    ("ICMP-17", (3, 5, 0), Some((1, 0, 0))),
    ("ICMP-18", (3, 6, 0), Some((1, 0, 0))),
    ("ICMP-19", (3, 7, 0), Some((1, 0, 0))),
    ("ICMP-20", (3, 8, 0), Some((1, 0, 0))),
    ("ICMP-21", (3, 9, 0), Some((1, 1, 0))),
    ("ICMP-22", (3, 10, 0), Some((1, 1, 0))),
    ("ICMP-23", (3, 11, 0), Some((1, 0, 0))),
    ("ICMP-24", (3, 12, 0), Some((1, 0, 0))),
    ("ICMP-25", (3, 13, 0), Some((1, 1, 0))),
    ("ICMP-26", (3, 14, 0), None),
    ("ICMP-27", (3, 15, 0), Some((1, 1, 0))),
    ("ICMP-28", (3, 16, 0), None),
    ("ICMP-28", (3, 255, 0), None),
    ("ICMP-29", (4, 0, 0), None),
    ("ICMP-30", (5, 1, 0), None),
    ("ICMP-31", (6, 0, 0), None),
    ("ICMP-32", (11, 0, 0), Some((3, 0, 0))),
    ("ICMP-33", (11, 1, 0), Some((3, 1, 0))),
    ("ICMP-34", (12, 0, 8 << 24), Some((4, 0, 7))),
    ("ICMP-34", (12, 0, 4 << 24), None),
    ("ICMP-35", (12, 1, 8 << 24), None),
    ("ICMP-36", (12, 2, 2 << 24), Some((4, 0, 4))),
    ("ICMP-37", (12, 3, 8 << 24), None),
];

//= conformance ICMP-10, ICMP-11, ICMP-12, ICMP-13, ICMP-14, ICMP-17, ICMP-18, ICMP-19, ICMP-20, ICMP-21, ICMP-22
//= conformance ICMP-23, ICMP-24, ICMP-25, ICMP-26, ICMP-27, ICMP-28, ICMP-29, ICMP-30, ICMP-31, ICMP-32, ICMP-33
//= conformance ICMP-34, ICMP-35, ICMP-36, ICMP-37
#[test]
fn errors_v4_to_v6() {
    for &(id, from, to) in V4_TO_V6 {
        assert_eq!(v6_of(from), to, "{id}");
    }
    for kind in (0..=255).filter(|kind| ![3, 11, 12].contains(kind)) {
        assert_eq!(v6_of((kind, 0, 0)), None, "4:{kind}");
    }
}

const V6_TO_V4: &[Row] = &[
    ("ICMP-45", (1, 0, 0), Some((3, 1, 0))),
    ("ICMP-46", (1, 1, 0), Some((3, 10, 0))),
    ("ICMP-47", (1, 2, 0), Some((3, 1, 0))),
    ("ICMP-48", (1, 3, 0), Some((3, 1, 0))),
    ("ICMP-49", (1, 4, 0), Some((3, 3, 0))),
    ("ICMP-50", (1, 5, 0), None),
    ("ICMP-50", (1, 6, 0), None),
    ("ICMP-50", (1, 255, 0), None),
    ("ICMP-51", (2, 0, 1400), Some((3, 4, 1380))),
    ("ICMP-54", (3, 0, 0), Some((11, 0, 0))),
    ("ICMP-55", (3, 1, 0), Some((11, 1, 0))),
    ("ICMP-56", (4, 0, 7), Some((12, 0, 8 << 24))),
    ("ICMP-56", (4, 0, 3), None),
    ("ICMP-57", (4, 1, 6), Some((3, 2, 0))),
    ("ICMP-58", (4, 2, 40), None),
    ("ICMP-59", (4, 3, 0), None),
    ("ICMP-60", (5, 0, 0), None),
    ("ICMP-60", (100, 0, 0), None),
    ("ICMP-60", (127, 0, 0), None),
];

//= conformance ICMP-45, ICMP-46, ICMP-47, ICMP-48, ICMP-49, ICMP-50, ICMP-51, ICMP-54, ICMP-55, ICMP-56, ICMP-57
//= conformance ICMP-58, ICMP-59, ICMP-60
#[test]
fn errors_v6_to_v4() {
    for &(id, from, to) in V6_TO_V4 {
        assert_eq!(v4_of(from), to, "{id}");
    }
    for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
        assert_eq!(v4_of((kind, 0, 0)), None, "6:{kind}");
    }
}

//= conformance ICMP-P46-00, ICMP-P46-01, ICMP-P46-02, ICMP-P46-03, ICMP-P46-04, ICMP-P46-05, ICMP-P46-06
//= conformance ICMP-P46-07, ICMP-P46-08, ICMP-P46-09, ICMP-P46-10, ICMP-P46-11
#[test]
fn pointers_v4_to_v6() {
    let rows: &[(&str, core::ops::RangeInclusive<u8>, Option<u8>)] = &[
        ("ICMP-P46-00", 0..=0, Some(0)),
        ("ICMP-P46-01", 1..=1, Some(1)),
        ("ICMP-P46-02", 2..=3, Some(4)),
        ("ICMP-P46-03", 4..=5, None),
        ("ICMP-P46-04", 6..=6, None),
        ("ICMP-P46-05", 7..=7, None),
        ("ICMP-P46-06", 8..=8, Some(7)),
        ("ICMP-P46-07", 9..=9, Some(6)),
        ("ICMP-P46-08", 10..=11, None),
        ("ICMP-P46-09", 12..=15, Some(8)),
        ("ICMP-P46-10", 16..=19, Some(24)),
        ("ICMP-P46-11", 20..=255, None),
    ];
    for (id, pointers, to) in rows.iter().cloned() {
        for pointer in pointers {
            assert_eq!(pointer_4_to_6(pointer), to, "{id}: {pointer}");
        }
    }
}

//= conformance ICMP-P64-00, ICMP-P64-01, ICMP-P64-02, ICMP-P64-03, ICMP-P64-04, ICMP-P64-05, ICMP-P64-06
//= conformance ICMP-P64-07, ICMP-P64-08
#[test]
fn pointers_v6_to_v4() {
    let rows: &[(&str, core::ops::RangeInclusive<u32>, Option<u8>)] = &[
        ("ICMP-P64-00", 0..=0, Some(0)),
        ("ICMP-P64-01", 1..=1, Some(1)),
        ("ICMP-P64-02", 2..=3, None),
        ("ICMP-P64-03", 4..=5, Some(2)),
        ("ICMP-P64-04", 6..=6, Some(9)),
        ("ICMP-P64-05", 7..=7, Some(8)),
        ("ICMP-P64-06", 8..=23, Some(12)),
        ("ICMP-P64-07", 24..=39, Some(16)),
        ("ICMP-P64-08", 40..=300, None),
        ("ICMP-P64-08", u32::MAX..=u32::MAX, None),
    ];
    for (id, pointers, to) in rows.iter().cloned() {
        for pointer in pointers {
            assert_eq!(pointer_6_to_4(pointer), to, "{id}: {pointer}");
        }
    }
}

//= conformance ICMP-14, ICMP-15, ICMP-16
#[test]
fn mtus_v4_to_v6() {
    for (id, mtu, mtu_v4, mtu_v6, quoted_len, expected) in [
        ("ICMP-14", 1400, 1500, 1500, 1500, 1420),
        ("ICMP-14", 1000, 1500, 1500, 1500, 1280),
        ("ICMP-14", 9000, 1500, 1500, 9000, 1500),
        ("ICMP-14", 9000, 1500, 9000, 9000, 1520),
        ("ICMP-14", u16::MAX, u16::MAX, u16::MAX, 9000, 65535),
        ("ICMP-15", 0, 1500, 1500, 1500, 1500),
        ("ICMP-15", 0, 9000, 9000, 9000, 8186),
        ("ICMP-15", 0, 9000, 9000, 8166, 4372),
        ("ICMP-15", 0, 9000, 9000, 1493, 1512),
        ("ICMP-16", 0, 1500, 1500, 1400, 1280),
        ("ICMP-16", 0, 9000, 9000, 1492, 1280),
    ] {
        let context = MtuContext { mtu_v4, mtu_v6, quoted_len, quoted_fragment: false };
        assert_eq!(mtu_4_to_6(mtu, &context), expected, "{id}: {mtu}");
    }
}

//= conformance ICMP-51, ICMP-52, ICMP-53
#[test]
fn mtus_v6_to_v4() {
    for (id, mtu, mtu_v4, mtu_v6, quoted_fragment, expected) in [
        ("ICMP-51", 1400, 1500, 1500, false, 1380),
        ("ICMP-51", 9000, 1500, 1500, false, 1480),
        ("ICMP-51", 9000, 1500, 9000, false, 1500),
        ("ICMP-51", u32::MAX, u16::MAX, u16::MAX, false, 65515),
        ("ICMP-52", 1400, 1500, 1500, true, 1372),
        ("ICMP-53", 600, 1500, 1500, false, 1260),
        ("ICMP-53", 0, 1500, 1500, true, 1252),
    ] {
        let context = MtuContext { mtu_v4, mtu_v6, quoted_len: 1500, quoted_fragment };
        assert_eq!(mtu_6_to_4(mtu, &context), expected, "{id}: {mtu}");
    }
}
