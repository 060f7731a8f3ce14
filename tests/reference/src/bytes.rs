//! Packets as bytes: built by hand, translated by hand, and every checksum computed from all that it covers.

use sluice_nat::{Config, Direction, Fixed, Kind, Protocol};
use sluice_packet::{
    Delta, Endpoints, Family, Fragment, Frame, Meta, Rewrite, Transport, four_to_four, four_to_six, link,
    parse, six_to_four, translated_len, transport_delta,
};

use crate::dice::Dice;
use crate::traffic::Packet;

/// Room before and behind a frame under translation.
const ROOM: usize = 64;

/// The one's-complement sum of RFC 1071, a byte pair at a time.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

/// Whether two sums stand for the same number: zero has two forms.
fn same(one: u16, other: u16) -> bool {
    one % 0xffff == other % 0xffff
}

/// The pseudo-header of a transport.
pub fn pseudo(v6: bool, source: u128, destination: u128, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    if v6 {
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
    } else if protocol != 1 {
        bytes.extend((source as u32).to_be_bytes());
        bytes.extend((destination as u32).to_be_bytes());
    } else {
        return bytes;
    }
    bytes.extend((len as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// Where a transport has its checksum.
fn checksum_at(protocol: u8) -> usize {
    match protocol {
        6 => 16,
        17 => 6,
        _ => 2,
    }
}

/// Writes the right checksum into a transport header.
pub fn seal(pseudo: &[u8], protocol: u8, payload: &mut [u8]) {
    let at = checksum_at(protocol);
    payload[at..at + 2].fill(0);
    let mut checksum = !sum(&[pseudo, payload]);
    if protocol == 17 && checksum == 0 {
        checksum = 0xffff;
    }
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// An IPv4 header without options.
#[expect(clippy::too_many_arguments, reason = "the fields of the header, in their order")]
pub fn ipv4(
    source: u32,
    destination: u32,
    protocol: u8,
    ttl: u8,
    tos: u8,
    id: u16,
    flags: u16,
    payload: usize,
) -> Vec<u8> {
    let mut header = vec![0x45, tos];
    header.extend((20 + payload as u16).to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend(flags.to_be_bytes());
    header.extend([ttl, protocol, 0, 0]);
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    let checksum = !sum(&[&header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// An IPv6 header.
pub fn ipv6(source: u128, destination: u128, next: u8, hops: u8, class: u8, payload: usize) -> Vec<u8> {
    let mut header = (6u32 << 28 | u32::from(class) << 20).to_be_bytes().to_vec();
    header.extend((payload as u16).to_be_bytes());
    header.extend([next, hops]);
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header
}

/// A frame of a packet, with `data` bytes behind its transport header.
pub fn build(packet: &Packet, hops: u8, class: u8, data: &[u8], dice: &mut impl Dice) -> Vec<u8> {
    let v6 = packet.v6;
    let protocol = match packet.protocol {
        Protocol::Icmp if v6 => 58,
        other => other as u8,
    };
    let ports = [packet.source_port.to_be_bytes(), packet.destination_port.to_be_bytes()].concat();
    let mut payload = match packet.protocol {
        Protocol::Udp => [&ports[..], &(8 + data.len() as u16).to_be_bytes(), &[0, 0]].concat(),
        Protocol::Tcp => [
            &ports[..],
            &dice.roll(u32::MAX).to_be_bytes(),
            &[0, 0, 0, 7, 0x50, packet.flags, 2, 0, 0, 0, 0, 0],
        ]
        .concat(),
        Protocol::Icmp => {
            let request = packet.interface != crate::traffic::OUTSIDE;
            let kind = [[0u8, 8], [129, 128]][usize::from(v6)][usize::from(request)];
            [&[kind, 0, 0, 0][..], &packet.source_port.to_be_bytes(), &[0, 9]].concat()
        }
    };
    payload.extend(data);
    let whole = pseudo(v6, packet.source, packet.destination, protocol, payload.len());
    seal(&whole, protocol, &mut payload);
    match (packet.protocol, dice.roll(8)) {
        // No checksum, which IPv4 allows.
        (Protocol::Udp, 0) if !v6 => payload[6..8].fill(0),
        // A wrong one stays as wrong as it is.
        (_, 1) => {
            let at = checksum_at(protocol);
            payload[at] ^= 0x55;
        }
        _ => {}
    }
    let header = if v6 {
        ipv6(packet.source, packet.destination, protocol, hops, class, payload.len())
    } else {
        let (source, destination) = (packet.source as u32, packet.destination as u32);
        ipv4(source, destination, protocol, hops, class, dice.roll(1 << 16) as u16, 0x4000, payload.len())
    };
    let kind: u16 = if v6 { 0x86dd } else { 0x0800 };
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &kind.to_be_bytes()[..], &header, &payload].concat()
}

/// Makes a packet of a flow, has it translated as the data plane does, and compares.
pub fn check_flow(
    packet: &Packet,
    fixed: &Fixed,
    config: &Config,
    direction: Direction,
    dice: &mut impl Dice,
) {
    let data: Vec<u8> = (0..dice.roll(64)).map(|n| (n as u8).wrapping_mul(31)).collect();
    let data = if dice.one_in(16) { vec![0xa5; 1300] } else { data };
    let (hops, class) = (2 + dice.roll(254) as u8, dice.roll(256) as u8);
    let frame = build(packet, hops, class, &data, dice);
    let link = link(&frame).expect("a link header");
    let zero = packet.protocol != Protocol::Icmp && (packet.source_port == 0 || packet.destination_port == 0);
    let meta = match parse(&frame, &link) {
        Ok(meta) => meta,
        // It never comes as far as the engine.
        Err(malformed) => {
            assert!(
                zero && malformed.reason == sluice_packet::DropReason::PortZero,
                "{packet:?}: {malformed:?}"
            );
            return;
        }
    };
    let got = (meta.source, meta.source_port, meta.destination, meta.destination_port, meta.tcp_flags);
    let flags = if packet.protocol == Protocol::Tcp { packet.flags } else { 0 };
    let sent = (packet.source, packet.source_port, packet.destination, packet.destination_port, flags);
    assert!(!zero && got == sent, "{packet:?} was read as {meta:?}");
    let remote_inside = match fixed.kind_realm.kind() {
        Some(Kind::Nat64) => {
            let prefix = config.prefix64(fixed.prefix64).expect("in use");
            crate::rules::embed((prefix.address(), prefix.len()), fixed.remote)
        }
        _ => fixed.remote.into(),
    };
    let query = packet.protocol == Protocol::Icmp;
    let (to, v6) = match direction {
        Direction::Outbound => {
            let destination_port = if query { fixed.external_port } else { fixed.remote_port };
            let ends = (fixed.external.into(), fixed.remote.into());
            (
                Endpoints {
                    source: ends.0,
                    destination: ends.1,
                    source_port: fixed.external_port,
                    destination_port,
                },
                false,
            )
        }
        Direction::Inbound => {
            let source_port = if query { fixed.inside_port } else { fixed.remote_port };
            let to = Endpoints {
                source: remote_inside,
                destination: fixed.inside,
                source_port,
                destination_port: fixed.inside_port,
            };
            (to, fixed.kind_realm.kind() == Some(Kind::Nat64))
        }
    };
    // The session's own delta belongs to one form of the remote address.
    let exact = direction == Direction::Inbound || !packet.v6 || packet.destination == remote_inside;
    let delta = match (exact, direction) {
        (false, _) => transport_delta(meta.transport, &Endpoints::of(&meta), &to),
        (true, Direction::Outbound) => Delta::from_raw(fixed.delta),
        (true, Direction::Inbound) => Delta::from_raw(fixed.delta).inverse(),
    };
    let identification = dice.roll(1 << 16) as u16;
    let rewrite = Rewrite { to, delta, identification, decrement: dice.one_in(2), allow_zero: false };
    let target = if v6 { Family::V6 } else { Family::V4 };
    check_translation(&frame, &meta, &rewrite, target);
}

/// Translates a frame with the real code, and compares what comes out with what is composed here. What the real code refuses
/// is compared with why it might.
pub fn check_translation(frame: &[u8], meta: &Meta, rewrite: &Rewrite, target: Family) {
    // A fragment has a part of what is summed.
    if !meta.is_whole() {
        return;
    }
    let mut buffer = vec![0; ROOM];
    buffer.extend(frame);
    buffer.extend([0; ROOM]);
    let mut view = Frame::new(&mut buffer, ROOM, frame.len());
    let made = match (meta.family, target) {
        (Family::V6, _) => six_to_four(&mut view, meta, rewrite),
        (Family::V4, Family::V6) => four_to_six(&mut view, meta, rewrite),
        (Family::V4, Family::V4) => four_to_four(&mut view, meta, rewrite),
    };
    let wanted = translate(frame, meta, rewrite, target);
    let (Ok(made), Some(wanted)) = (made, &wanted) else {
        assert!(made.is_err() && wanted.is_none(), "{made:?}, but {wanted:?} for {meta:?}");
        return;
    };
    let bytes = view.bytes();
    assert_eq!(
        bytes.len() - usize::from(made.l3),
        translated_len(meta, target).into(),
        "as long as promised"
    );
    // The checksum of the transport may have two right forms, so it is judged and not compared.
    let l4 = usize::from(made.l4);
    let at = l4 + checksum_at(made.protocol);
    let (mut got, mut want) = (bytes.to_vec(), wanted.clone());
    got[at..at + 2].fill(0);
    want[at..at + 2].fill(0);
    assert_eq!(got, want, "{meta:?} to {rewrite:?}");
    let before = transport_sum(meta, &frame[meta.l4.into()..meta.end.into()]);
    let after = transport_sum(&made, &bytes[l4..]);
    match before {
        // What was right is right, and what was wrong is as wrong as it was.
        Some(before) => assert!(after.is_some_and(|after| same(after, before)), "{meta:?} to {rewrite:?}"),
        None if target == Family::V4 => assert_eq!(after, None, "no checksum stays none"),
        None => assert_eq!(after, Some(0xffff), "IPv6 has a checksum always"),
    }
    let link = link(bytes).expect("a link header");
    let read = parse(bytes, &link);
    match read {
        Ok(read) => {
            assert_eq!(Meta { more_fragments: false, ..made }, Meta { more_fragments: false, ..read })
        }
        Err(malformed) => {
            assert!(rewrite.to.source_port == 0 || rewrite.to.destination_port == 0, "{malformed:?}")
        }
    }
}

/// The sum that a transport checksum makes 0xffff; `None` without one.
fn transport_sum(meta: &Meta, payload: &[u8]) -> Option<u16> {
    let v6 = meta.family == Family::V6;
    let payload = match meta.transport {
        Transport::Udp if payload[6..8] == [0, 0] => return None,
        // What lies behind the datagram is not summed.
        Transport::Udp => &payload[..usize::from(u16::from_be_bytes([payload[4], payload[5]]))],
        _ => payload,
    };
    Some(sum(&[&pseudo(v6, meta.source, meta.destination, meta.protocol, payload.len()), payload]))
}

/// The translation by hand. Its transport checksum is right whether or not the packet's was. `None`: this is no packet for it.
pub fn translate(frame: &[u8], meta: &Meta, r: &Rewrite, target: Family) -> Option<Vec<u8>> {
    let (l3, l4, end) = (usize::from(meta.l3), usize::from(meta.l4), usize::from(meta.end));
    let (from_v6, to_v6) = (meta.family == Family::V6, target == Family::V6);
    if from_v6 && to_v6 {
        return None;
    }
    let mut payload = frame[l4..end].to_vec();
    let mut protocol = meta.protocol;
    let mut summed = payload.len();
    match meta.transport {
        Transport::Tcp | Transport::Udp => {
            payload[..2].copy_from_slice(&r.to.source_port.to_be_bytes());
            payload[2..4].copy_from_slice(&r.to.destination_port.to_be_bytes());
        }
        Transport::IcmpQuery => {
            payload[4..6].copy_from_slice(&r.to.source_port.to_be_bytes());
            if from_v6 != to_v6 {
                (protocol, payload[0]) = match payload[0] {
                    8 => (58, 128),
                    0 => (58, 129),
                    128 => (1, 8),
                    _ => (1, 0),
                };
            }
        }
        _ => return None,
    }
    if meta.transport == Transport::Udp {
        summed = u16::from_be_bytes([payload[4], payload[5]]).into();
    }
    let none = meta.transport == Transport::Udp && payload[6..8] == [0, 0];
    if none && from_v6 && !r.allow_zero {
        return None;
    }
    if !none || to_v6 {
        let whole = pseudo(to_v6, r.to.source, r.to.destination, protocol, summed);
        seal(&whole, protocol, &mut payload[..summed]);
    }
    let hops = meta.hop_limit.saturating_sub(u8::from(r.decrement));
    let (source, destination) = (r.to.source, r.to.destination);
    let header = if to_v6 {
        ipv6(source, destination, protocol, hops, meta.tos, payload.len())
    } else if from_v6 {
        let length = 20 + payload.len();
        let (id, flags) = match meta.fragment {
            Fragment::Atomic => (meta.identification as u16, 0),
            _ if length > 1260 => (r.identification, 0x4000),
            _ => (r.identification, 0),
        };
        ipv4(source as u32, destination as u32, protocol, hops, meta.tos, id, flags, payload.len())
    } else {
        let mut header = frame[l3..l4].to_vec();
        header[4..6].copy_from_slice(&r.identification.to_be_bytes());
        header[8] = hops;
        header[12..16].copy_from_slice(&(source as u32).to_be_bytes());
        header[16..20].copy_from_slice(&(destination as u32).to_be_bytes());
        hide_route(&mut header[20..]);
        header[10..12].fill(0);
        let checksum = !sum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    };
    let mut link = frame[..l3].to_vec();
    let kind: u16 = if to_v6 { 0x86dd } else { 0x0800 };
    link[l3 - 2..].copy_from_slice(&kind.to_be_bytes());
    let whole = [link, header, payload].concat();
    (whole.len() <= usize::from(u16::MAX)).then_some(whole)
}

/// Options that record addresses become No Operation.
fn hide_route(options: &mut [u8]) {
    let mut at = 0;
    while at < options.len() && options[at] != 0 {
        let kind = options[at];
        let len = if kind == 1 { 1 } else { options.get(at + 1).map_or(0, |&len| usize::from(len)) };
        if len == 0 || at + len > options.len() {
            return;
        }
        if matches!(kind, 7 | 68) {
            options[at..at + len].fill(1);
        }
        at += len;
    }
}
