//! What is translated is cut, and fragments are translated: their parts are where they belong.

use sluice_packet::cut::Cut;
use sluice_packet::{
    Family, Fragment, Frame, Meta, Rewrite, Transport, four_to_four, four_to_six, link, parse, six_to_four,
};

const ROOM: usize = 1500;

/// Translates, cuts what comes out, and puts it together again.
pub(super) fn check(frame: &[u8], meta: &Meta, rewrite: &Rewrite, target: Family, mtu: u16) {
    let mut meta = *meta;
    if target == Family::V6 && meta.is_whole() {
        // As the first fragment of itself, it has the header that its pieces need.
        meta.fragment = Fragment::First;
    }
    let mut buffer = vec![0; ROOM];
    buffer.extend(frame);
    buffer.extend([0; ROOM]);
    let mut view = Frame::new(&mut buffer, ROOM, frame.len());
    let made = match (meta.family, target) {
        (Family::V6, _) => six_to_four(&mut view, &meta, rewrite),
        (Family::V4, Family::V6) => four_to_six(&mut view, &meta, rewrite),
        (Family::V4, Family::V4) => four_to_four(&mut view, &meta, rewrite),
    };
    let Ok(made) = made else { return };
    let bytes = view.bytes().to_vec();
    let (l4, end) = (usize::from(made.l4), usize::from(made.end));
    let before = &frame[usize::from(meta.l4)..usize::from(meta.end)];
    // Ports and checksum, or type, checksum and identifier, are in the first alone.
    let head = match (meta.fragment, meta.transport) {
        (Fragment::Later, _) => 0,
        (_, Transport::Tcp) => 18,
        _ => 8,
    };
    assert_eq!(bytes[l4..end].len(), before.len());
    assert_eq!(bytes[l4 + head..end], before[head..], "{meta:?}");
    assert_eq!((made.fragment_offset, made.more_fragments), (meta.fragment_offset, meta.more_fragments));

    let Some(cut) = Cut::new(&made, mtu) else { return };
    let mut joined: Vec<u8> = Vec::new();
    for number in 0..cut.pieces() {
        let mut buffer = vec![0; ROOM + bytes.len()];
        buffer[ROOM..].copy_from_slice(&bytes);
        let room = if number == 0 { bytes.len() } else { 0 };
        let mut out = Frame::new(&mut buffer, ROOM, room);
        let cut_out = match number {
            0 => cut.first(&mut out, &made),
            number => cut.piece(&bytes, &made, number, &mut out),
        };
        assert!(cut_out, "{made:?}");
        let around = link(out.bytes()).expect("a link header");
        let piece = match parse(out.bytes(), &around) {
            Ok(piece) => piece,
            // The first may be too short for its header, later ones may look like attacks; port 0 is nobody's.
            Err(malformed) => malformed.meta,
        };
        assert!(piece.ip_len() <= mtu, "{piece:?}");
        assert_eq!(
            usize::from(piece.fragment_offset) * 8,
            usize::from(made.fragment_offset) * 8 + joined.len()
        );
        assert_eq!(piece.more_fragments, made.more_fragments || number + 1 < cut.pieces());
        joined.extend(&out.bytes()[usize::from(piece.l4)..usize::from(piece.end)]);
    }
    assert_eq!(joined, bytes[l4..end]);
}
