//! Any packet that is read, through all translations, beside one that composes the result by hand and sums all of it.
//!
//! The first byte says whether checksums are made right before: a mutation mostly breaks them, and what lies behind the
//! check is wanted too.

use sluice_packet::{
    DropReason, Endpoints, ErrorRewrite, Family, Frame, Meta, Rewrite, Transport, error_four_to_four,
    error_four_to_six, error_six_to_four, error_six_to_six, ethernet, link, parse, quoted, transport_delta,
};
use sluice_reference::bytes;

use super::pieces;

const H: u128 = 0x2001_0db8_0001 << 80 | 0x10;
const PREFIX: u128 = 0x2001_0db8_0064 << 80;
const T: u128 = 0xc000_0201;
const S: u128 = 0xc633_6409;
const ROOM: usize = 1500;

/// Translates.
pub fn run(data: &[u8]) {
    let Some((&how, frame)) = data.split_first() else { return };
    let mut frame = frame.to_vec();
    if how & 1 == 1 {
        reseal(&mut frame);
    }
    let Ok(link) = link(&frame) else { return };
    let Ok(meta) = parse(&frame, &link) else { return };
    for target in [Family::V4, Family::V6] {
        if (meta.family, target) != (Family::V6, Family::V6) {
            let rewrite = rewrite(&meta, target, how);
            if meta.is_whole() {
                bytes::check_translation(&frame, &meta, &rewrite, target);
            }
            pieces::check(&frame, &meta, &rewrite, target, 68 + 7 * u16::from(how));
        }
    }
    errors(&frame, &meta, how);
}

fn ends(target: Family) -> (u128, u128) {
    match target {
        Family::V4 => (T, S),
        Family::V6 => (PREFIX | S, H),
    }
}

fn rewrite(meta: &Meta, target: Family, how: u8) -> Rewrite {
    let (source, destination) = ends(target);
    let port = if meta.transport == Transport::IcmpQuery { 40_000 } else { 53 };
    let to = Endpoints { source, destination, source_port: 40_000, destination_port: port };
    let delta = transport_delta(meta.transport, &Endpoints::of(meta), &to);
    Rewrite { to, delta, identification: 0x1234, decrement: how & 2 == 0, allow_zero: how & 8 != 0 }
}

type Translate = fn(&mut Frame, &Meta, &ErrorRewrite) -> Result<Meta, DropReason>;

/// Errors: what comes out can be read, its checksum is right, and it quotes what it was told to.
fn errors(frame: &[u8], meta: &Meta, how: u8) {
    let known = quoted(frame, meta, how & 4 == 0);
    let all: [(Translate, Family, Family); 4] = [
        (error_six_to_four, Family::V6, Family::V4),
        (error_four_to_six, Family::V4, Family::V6),
        (error_four_to_four, Family::V4, Family::V4),
        (error_six_to_six, Family::V6, Family::V6),
    ];
    for (translate, from, target) in all {
        let (source, destination) = ends(target);
        let port = |query: bool| if query { 40_000 } else { 53 };
        let query = known.is_ok_and(|known| known.transport == Transport::IcmpQuery);
        let rewrite = ErrorRewrite {
            outer_source: source,
            outer_destination: destination,
            // A quote was sent the other way.
            quoted: Endpoints {
                source: destination,
                destination: source,
                source_port: 40_000,
                destination_port: port(query),
            },
            mtu_v4: 1400,
            mtu_v6: 1500,
            decrement: true,
            origin: None,
        };
        let mut buffer = vec![0; ROOM];
        buffer.extend(frame);
        buffer.extend([0; ROOM]);
        let mut view = Frame::new(&mut buffer, ROOM, frame.len());
        let Ok(made) = translate(&mut view, meta, &rewrite) else { continue };
        assert_eq!((meta.family, meta.transport), (from, Transport::IcmpError));
        let Ok(known) = known else { continue };
        let bytes = view.bytes();
        let around = link(bytes).expect("a link header");
        let read = parse(bytes, &around).unwrap_or_else(|malformed| panic!("{malformed:?} of {made:?}"));
        assert_eq!(Meta { options: read.options, dont_fragment: read.dont_fragment, ..made }, read);
        let limit = match (from, target) {
            (Family::V6, Family::V4) => 576,
            (Family::V4, Family::V6) => 1280,
            _ => usize::from(meta.end - meta.l3),
        };
        assert!(bytes.len() - usize::from(made.l3) <= limit, "longer than {limit}");
        let (l4, end) = (usize::from(read.l4), usize::from(read.end));
        let whole =
            bytes::pseudo(target == Family::V6, read.source, read.destination, read.protocol, end - l4);
        assert_eq!(bytes::sum(&[&whole, &bytes[l4..end]]), 0xffff, "the checksum of the error");
        let now =
            quoted(bytes, &read, how & 4 == 0).unwrap_or_else(|reason| panic!("{reason:?} of {made:?}"));
        let wanted =
            (known.transport, rewrite.quoted.source, rewrite.quoted.destination, 40_000, port(query));
        assert_eq!(
            (now.transport, now.source, now.destination, now.source_port, now.destination_port),
            wanted
        );
    }
}

/// Makes the checksums of headers and errors right, as far as they can be found.
pub fn reseal(frame: &mut [u8]) {
    let Ok(link) = link(frame) else { return };
    let l3 = usize::from(link.len);
    if link.ether_type == ethernet::IPV4 {
        seal_v4(frame, l3);
    }
    let Ok(meta) = parse(frame, &link) else { return };
    if !matches!(meta.transport, Transport::IcmpError | Transport::IcmpQuery) {
        return;
    }
    let (l4, end) = (usize::from(meta.l4), usize::from(meta.end));
    if meta.transport == Transport::IcmpError && meta.family == Family::V4 {
        seal_v4(&mut frame[..end], l4 + 8);
    }
    let whole =
        bytes::pseudo(meta.family == Family::V6, meta.source, meta.destination, meta.protocol, end - l4);
    bytes::seal(&whole, meta.protocol, &mut frame[l4..end]);
}

fn seal_v4(frame: &mut [u8], at: usize) {
    let Some(packet) = frame.get_mut(at..) else { return };
    let len = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if len >= 20
        && let Some(header) = packet.get_mut(..len)
    {
        header[10..12].fill(0);
        let checksum = !bytes::sum(&[header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}
