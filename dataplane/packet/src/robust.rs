//! No input panics: every function runs on whatever the parser accepts, and on metas that are not the frame's.
//!
//! [`exercise`] takes plain bytes, so it serves a fuzzer as it serves the properties below.

use proptest::prelude::*;

use crate::testing::*;
use crate::*;

/// Runs everything that takes a packet.
fn exercise(bytes: &[u8]) {
    let Ok(link) = link(bytes) else { return };
    let meta = match parse(bytes, &link) {
        Ok(meta) => meta,
        Err(malformed) => {
            if let Some(message) = malformed.report {
                report(bytes, &malformed.meta, &link, message);
            }
            return;
        }
    };
    rewrite_all(bytes, &meta);
    let messages = match meta.family {
        Family::V4 => {
            [IcmpMessage::v4_ttl(), IcmpMessage::v4_admin(), IcmpMessage::fragmentation_needed(1280)]
        }
        Family::V6 => {
            [IcmpMessage::v6_admin(), IcmpMessage::packet_too_big(1280), IcmpMessage::v6_hop_limit()]
        }
    };
    for message in messages {
        report(bytes, &meta, &link, message);
    }
}

fn report(bytes: &[u8], meta: &Meta, link: &Link, message: IcmpMessage) {
    if may_report(bytes, meta, link, message) {
        let mut buffer = [0; 1294];
        let mut out = Frame::new(&mut buffer, 0, 0);
        assert!(make_error(&mut out, bytes, meta, message, GATEWAY), "1294 bytes always suffice");
        let (link, made) = read(out.bytes());
        assert!(made.transport == Transport::IcmpError && !may_report(out.bytes(), &made, &link, message));
    }
}

const GATEWAY: u128 = 0xc000_02fe;

type Translate = fn(&mut Frame, &Meta) -> Result<Meta, DropReason>;

const DATA: [Translate; 3] = [
    |frame, meta| six_to_four(frame, meta, &data(meta)),
    |frame, meta| four_to_six(frame, meta, &data(meta)),
    |frame, meta| four_to_four(frame, meta, &data(meta)),
];

const ERRORS: [Translate; 4] = [
    |frame, meta| error_six_to_four(frame, meta, &ERROR),
    |frame, meta| error_four_to_six(frame, meta, &ERROR),
    |frame, meta| error_four_to_four(frame, meta, &ERROR),
    |frame, meta| error_six_to_six(frame, meta, &ERROR),
];

const ERROR: ErrorRewrite = ErrorRewrite {
    outer_source: GATEWAY,
    outer_destination: S,
    quoted: endpoints(S, 53, T, 40000),
    mtu_v4: 0,
    mtu_v6: u16::MAX,
    decrement: true,
    origin: Some(0x2001_0db8 << 96 | 1),
};

fn data(meta: &Meta) -> Rewrite {
    let to = endpoints(T, 40000, S, if meta.transport == Transport::IcmpQuery { 40000 } else { 53 });
    let delta = transport_delta(meta.transport, &Endpoints::of(meta), &to);
    Rewrite { to, delta, identification: 7, decrement: true, allow_zero: true }
}

/// Every translation on its own copy of the frame. What succeeds must be readable again.
fn rewrite_all(bytes: &[u8], meta: &Meta) {
    for translate in DATA.into_iter().chain(ERRORS) {
        let mut buffer = Buffer::new(bytes);
        let mut frame = buffer.frame();
        if let Ok(after) = translate(&mut frame, meta) {
            assert_eq!(frame.len(), usize::from(after.end));
            assert!(after.l3 < after.l4 && after.l4 <= after.end);
        }
        // The same without any room around the frame.
        let mut tight = bytes.to_vec();
        let len = tight.len();
        let _ = translate(&mut Frame::new(&mut tight, 0, len), meta);
    }
    let mut buffer = Buffer::new(bytes);
    clamp_mss(&mut buffer.frame(), meta, 1);
    let _ = quoted(bytes, meta, true);
    for family in [Family::V4, Family::V6] {
        translated_len(meta, family);
    }
}

/// Packets of every kind, in frames with and without tag.
fn packets() -> Vec<Vec<u8>> {
    let udp4 = v4(S, T, 17, &udp(53, 4000, b"data"));
    let udp6 = v6(H, PREFIX | S, 17, &udp(5000, 53, b"data"));
    let mut quote = udp4.clone();
    quote.resize(128, 0);
    quote.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 1, 2, 3, 4]);
    let chain = [60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9];
    let syn = tcp(4000, 80, 2, &[1, 2, 4, 5, 0xb4, 1, 1, 0], b"");
    let datagrams = [
        udp4.clone(),
        udp6.clone(),
        v4(S, T, 6, &syn),
        v6(H, PREFIX | S, 6, &syn),
        v4(S, T, 1, &echo(8, 9, b"data")),
        v6(H, PREFIX | S, 58, &echo(128, 9, b"data")),
        v4_options(S, T, &[7, 7, 4, 0, 0, 0, 0, 68, 4, 5, 0, 0], 17, &udp(53, 4000, b"")),
        v4_options(S, T, &[131, 7, 4, 0, 0, 0, 0, 0], 6, &syn),
        v6_chain(H, PREFIX | S, 0, &chain, 17, &udp(5000, 53, b"data")),
        v6_chain(H, PREFIX | S, 43, &[17, 0, 0, 1, 0, 0, 0, 0], 17, &udp(5000, 53, b"")),
        error(Family::V4, R4, T, 3, 4, 1400, &udp4),
        error(Family::V4, R4, T, 11, 0, 32 << 16, &quote),
        error(Family::V4, R4, T, 12, 0, 8 << 24, &v4(T, S, 1, &echo(8, 9, b""))),
        error(Family::V6, R6, PREFIX | S, 2, 0, 1400, &udp6),
        error(
            Family::V6,
            R6,
            PREFIX | S,
            3,
            0,
            10 << 24,
            &v6_chain(H, S, 0, &chain, 17, &udp(5000, 53, &[0; 90])),
        ),
        error(Family::V6, R6, PREFIX | S, 1, 4, 0, &v6(PREFIX | S, H, 6, &syn)),
    ];
    datagrams.iter().flat_map(|datagram| [ethernet(None, datagram), ethernet(Some(9), datagram)]).collect()
}

/// Makes checksums right again where a mutation broke them, so that it reaches the code behind the check.
fn reseal(frame: &mut [u8]) {
    let Ok(link) = link(frame) else { return };
    let l3 = usize::from(link.len);
    let header_len = frame.get(l3).map_or(0, |first| usize::from(first & 0xf) * 4);
    if link.ether_type == ethernet::IPV4 && header_len >= 20 && frame.len() >= l3 + header_len {
        seal_v4(&mut frame[l3..]);
    }
    let Ok(meta) = parse(frame, &link) else { return };
    if meta.transport != Transport::IcmpError {
        return;
    }
    let (l4, end) = (usize::from(meta.l4), usize::from(meta.end));
    let quote = l4 + 8;
    let inner_len = frame.get(quote).map_or(0, |first| usize::from(first & 0xf) * 4);
    if meta.family == Family::V4 && inner_len >= 20 && end >= quote + inner_len {
        seal_v4(&mut frame[quote..end]);
    }
    frame[l4 + 2..l4 + 4].fill(0);
    let checksum = match meta.family {
        Family::V4 => checksum::of(&frame[l4..end]),
        Family::V6 => checksum::transport_v6(meta.source, meta.destination, 58, &frame[l4..end]),
    };
    frame[l4 + 2..l4 + 4].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn every_kind_of_packet_at_every_length() {
    for packet in packets() {
        for len in 0..=packet.len() {
            exercise(&packet[..len]);
        }
    }
}

#[test]
fn every_byte_at_its_extremes() {
    for packet in packets() {
        for at in 12..packet.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, packet[at] ^ 1, packet[at].wrapping_add(1)] {
                let mut changed = packet.clone();
                changed[at] = value;
                exercise(&changed);
                reseal(&mut changed);
                exercise(&changed);
            }
        }
    }
}

#[test]
fn frames_too_long_for_a_meta_are_refused() {
    for vlan in [None, Some(9)] {
        let mut datagram = v4(S, T, 17, &udp(53, 4000, b""));
        datagram[2..4].fill(0xff);
        seal_v4(&mut datagram);
        let mut frame = ethernet(vlan, &datagram);
        frame.resize(70_000, 0);
        assert_eq!(parse(&frame, &link(&frame).unwrap()).unwrap_err().reason, DropReason::Ipv4Malformed);
        let mut datagram = v6(H, S, 17, &udp(53, 4000, b""));
        datagram[4..6].fill(0xff);
        let mut frame = ethernet(vlan, &datagram);
        frame.resize(70_000, 0);
        assert_eq!(parse(&frame, &link(&frame).unwrap()).unwrap_err().reason, DropReason::Ipv6Malformed);
    }
}

#[test]
fn the_longest_datagrams_are_translated() {
    // 65535 bytes of frame: what grows beyond that has no place in a meta and is refused.
    for (len, fits) in [(65535 - 14 - 40 - 8, true), (65535 - 14 - 40 - 8 + 1, false)] {
        let frame = ethernet(None, &v4(S, T, 17, &udp(53, 4000, &vec![7; len])));
        let (_, meta) = read(&frame);
        let mut buffer = Buffer::new(&frame);
        assert_eq!(four_to_six(&mut buffer.frame(), &meta, &data(&meta)).is_ok(), fits);
        exercise(&frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200), v6: bool, tag: bool) {
        exercise(&bytes);
        // Random bytes rarely have the EtherType and version that let them in.
        let l3 = if tag { 18 } else { 14 };
        if bytes.len() > l3 {
            let (kind, version) = if v6 { (0x86dd, 0x60) } else { (0x0800, 0x45) };
            if tag {
                bytes[12..14].copy_from_slice(&[0x81, 0]);
            }
            bytes[l3 - 2..l3].copy_from_slice(&u16::to_be_bytes(kind));
            bytes[l3] = version;
            exercise(&bytes);
            reseal(&mut bytes);
            exercise(&bytes);
        }
    }

    #[test]
    fn mutated_packets(
        which in 0..32usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(), cuts: bool,
    ) {
        let mut packet = packets().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if cuts {
            packet.truncate(cut.index(packet.len()));
        }
        exercise(&packet);
        reseal(&mut packet);
        exercise(&packet);
    }

    /// A meta that belongs to another frame, or to none, is refused or does harm to nothing but the frame.
    #[test]
    fn foreign_metas(which in 0..32usize, offsets: [u16; 3], v6: bool, kind in 0..6usize, fragment in 0..4usize, other: u8) {
        let meta = Meta {
            l3: offsets[0] % 100,
            l4: offsets[1] % 200,
            end: offsets[2] % 300,
            transport: [Transport::Tcp, Transport::Udp, Transport::IcmpQuery, Transport::IcmpError, Transport::IcmpOther,
                Transport::Other][kind],
            fragment: [Fragment::No, Fragment::Atomic, Fragment::First, Fragment::Later][fragment],
            protocol: other,
            icmp_type: if other & 1 == 0 { 8 } else { 128 },
            tcp_flags: other,
            hop_limit: other,
            ..Meta::blank(if v6 { Family::V6 } else { Family::V4 }, 0)
        };
        let packet = packets().swap_remove(which);
        rewrite_all_lenient(&packet, &meta);
        rewrite_all_lenient(&packet, &Meta { l3: offsets[0], l4: offsets[1], end: offsets[2], ..meta });
    }
}

fn rewrite_all_lenient(bytes: &[u8], meta: &Meta) {
    for translate in DATA.into_iter().chain(ERRORS) {
        let _ = translate(&mut Buffer::new(bytes).frame(), meta);
    }
    clamp_mss(&mut Buffer::new(bytes).frame(), meta, 1);
    let _ = quoted(bytes, meta, true);
    let link = link(bytes).unwrap();
    let mut buffer = [0; 1294];
    let message = IcmpMessage::v6_hop_limit();
    may_report(bytes, meta, &link, message);
    make_error(&mut Frame::new(&mut buffer, 0, 0), bytes, meta, message, GATEWAY);
    for family in [Family::V4, Family::V6] {
        translated_len(meta, family);
    }
}
