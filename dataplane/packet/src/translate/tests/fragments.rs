//! Fragments: translated one by one, with what the first tells of all of them.

use super::*;
use crate::{Head, cut::Cut, parse::parse};

/// An IPv6 fragment of a datagram whose whole transport payload is given.
fn v6_fragment(payload: &[u8], protocol: u8, units: u16, more: bool, id: u32) -> Vec<u8> {
    let mut header = vec![protocol, 0];
    header.extend((units << 3 | u16::from(more)).to_be_bytes());
    header.extend(id.to_be_bytes());
    // Protocol 253 is nobody's: the builder seals no checksum.
    v6_chain(H, PREFIX | S, 44, &header, 253, payload)
}

fn v4_fragment(payload: &[u8], protocol: u8, units: u16, more: bool, id: u16) -> Vec<u8> {
    let mut datagram = v4(S, T, 253, payload);
    datagram[4..6].copy_from_slice(&id.to_be_bytes());
    datagram[6..8].copy_from_slice(&(units | if more { 0x2000 } else { 0 }).to_be_bytes());
    datagram[9] = protocol;
    seal_v4(&mut datagram);
    datagram
}

/// Translates the fragments of a datagram, cut at `at`, and puts the result together again.
fn in_two(
    payload: &[u8],
    at: usize,
    fragment: impl Fn(&[u8], u16, bool) -> Vec<u8>,
    header: usize,
    whole: u16,
    translate: impl Fn(&mut Frame, &Meta) -> Result<Meta, DropReason>,
) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut head = Head::default();
    let pieces: Vec<Vec<u8>> = [(0, true), (at / 8, false)]
        .into_iter()
        .map(|(units, more)| {
            let part = if more { &payload[..at] } else { &payload[at..] };
            run_ip(&fragment(part, units as u16, more), |frame, meta| {
                let mut meta = *meta;
                if meta.fragment == Fragment::First {
                    meta.whole = whole;
                    head = meta.head();
                } else {
                    meta.adopt(head);
                }
                translate(frame, &meta)
            })
            .unwrap()
        })
        .collect();
    let joined = pieces.iter().flat_map(|piece| piece[header..].to_vec()).collect();
    (pieces, joined)
}

//= conformance FRAG-08, FRAG-09, FRAG-10, FRAG-23, FRAG-24
#[test]
fn ipv6_fragments_become_ipv4_fragments() {
    let datagram = udp6(&[7; 1400]);
    let fragment = |part: &[u8], units, more| v6_fragment(part, 17, units, more, 0x1234_5678);
    let (pieces, joined) = in_two(&datagram[40..], 1232, fragment, 20, 0, |frame, meta| {
        six_to_four(frame, meta, &outbound(meta))
    });
    for (piece, flags) in pieces.iter().zip([0x2000, 154]) {
        assert_eq!((word(piece, 4), word(piece, 6), piece[9], piece[8]), (0x5678, flags, 17, 63));
        assert_eq!(piece[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
        assert_eq!(crate::checksum::of(&piece[..20]), 0);
    }
    // A long first fragment keeps DF clear too.
    assert_eq!(word(&pieces[0], 2), 1252);
    let whole = v4(T, S, 17, &udp(40000, 53, &[7; 1400]));
    assert_eq!(joined, whole[20..], "ports are in the first alone, the checksum is that of the whole");
}

//= conformance FRAG-05, FRAG-06, FRAG-23, FRAG-24
#[test]
fn ipv4_fragments_become_ipv6_fragments() {
    let datagram = udp4(&[9; 2000]);
    let fragment = |part: &[u8], units, more| v4_fragment(part, 17, units, more, 0xbeef);
    let (pieces, joined) = in_two(&datagram[20..], 1480, fragment, 48, 0, |frame, meta| {
        four_to_six(frame, meta, &inbound(meta))
    });
    for (piece, offset) in pieces.iter().zip([1, 185 << 3]) {
        assert_eq!((piece[6], piece[40], word(piece, 42)), (44, 17, offset));
        assert_eq!((piece[41], &piece[44..48]), (0, &[0, 0, 0xbe, 0xef][..]));
        assert_eq!(usize::from(word(piece, 4)), piece.len() - 40);
    }
    assert_eq!(joined, v6(PREFIX | S, H, 17, &udp(53, 5000, &[9; 2000]))[40..]);
}

//= conformance FRAG-26
#[test]
fn fragmented_echoes_need_the_length_of_the_whole() {
    let message = |kind, id| echo(kind, id, &[3; 2000]);
    let six = &v6(H, PREFIX | S, 58, &message(128, 5000))[40..];
    let fragment = |part: &[u8], units, more| v6_fragment(part, 58, units, more, 9);
    let (_, joined) = in_two(six, 1232, fragment, 20, six.len() as u16, |frame, meta| {
        six_to_four(frame, meta, &outbound(meta))
    });
    assert_eq!(joined, v4(T, S, 1, &message(8, 40000))[20..]);

    let four = &v4(S, T, 1, &message(0, 40000))[20..];
    let fragment = |part: &[u8], units, more| v4_fragment(part, 1, units, more, 9);
    let (pieces, joined) = in_two(four, 1480, fragment, 48, four.len() as u16, |frame, meta| {
        four_to_six(frame, meta, &inbound(meta))
    });
    assert!(pieces.iter().all(|piece| piece[40] == 58));
    assert_eq!(joined, v6(PREFIX | S, H, 58, &message(129, 5000))[40..]);
}

//= conformance XLT-33, FRAG-25
#[test]
fn a_missing_checksum_is_made_from_the_sum_of_all_fragments() {
    let mut datagram = udp4(&[0xab; 2001])[20..].to_vec();
    datagram[6..8].fill(0);
    let sum = naive_sum(&[&datagram]);
    let fragment = |part: &[u8], units, more| v4_fragment(part, 17, units, more, 1);
    let translate = |frame: &mut Frame, meta: &Meta| four_to_six(frame, meta, &inbound(meta));
    let (_, joined) = in_two(&datagram, 1480, fragment, 48, sum, translate);
    assert_eq!(joined, v6(PREFIX | S, H, 17, &udp(53, 5000, &[0xab; 2001]))[40..]);

    // Without that sum it cannot be made.
    let alone = run_ip(&v4_fragment(&datagram[..1480], 17, 0, true, 1), translate);
    assert_eq!(alone, Err(DropReason::UdpChecksumZero));
}

//= conformance XLT-33, FRAG-25, HAIR-01
#[test]
fn a_missing_checksum_is_made_behind_a_hairpin_that_changed_the_ports() {
    let mut datagram = v4(S, T, 17, &udp(9, 9, &[0xab; 2001]))[20..].to_vec();
    datagram[6..8].fill(0);
    let sum = naive_sum(&[&datagram]);
    let fragment = |part: &[u8], units, more| v4_fragment(part, 17, units, more, 1);
    let (_, joined) = in_two(&datagram, 1480, fragment, 48, sum, |frame, meta| {
        let between = four_to_four(frame, meta, &rewrite(meta, endpoints(S, 53, T, 40000)))?;
        four_to_six(frame, &between, &inbound(&between))
    });
    assert_eq!(joined, v6(PREFIX | S, H, 17, &udp(53, 5000, &[0xab; 2001]))[40..]);
}

//= conformance FRAG-33, FRAG-23, N44-30
#[test]
fn nat44_gives_all_fragments_of_a_datagram_another_identification() {
    let datagram = v4(INSIDE, S, 17, &udp(5000, 53, &[5; 2000]));
    let fragment = |part: &[u8], units, more| {
        let mut piece = v4_fragment(part, 17, units, more, 0xbeef);
        piece[12..20].copy_from_slice(&datagram[12..20]);
        seal_v4(&mut piece);
        piece
    };
    let (pieces, joined) = in_two(&datagram[20..], 1480, fragment, 20, 0, |frame, meta| {
        let to = Rewrite { identification: 0x4242, ..outbound(meta) };
        four_to_four(frame, meta, &to)
    });
    for (piece, flags) in pieces.iter().zip([0x2000, 185]) {
        assert_eq!((word(piece, 4), word(piece, 6)), (0x4242, flags));
        assert_eq!(crate::checksum::of(&piece[..20]), 0);
    }
    assert_eq!(joined, v4(T, S, 17, &udp(40000, 53, &[5; 2000]))[20..]);
}

/// Cuts what a translation yields.
fn cut(translated: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
    let frame = ethernet(None, translated);
    let link = crate::link(&frame).unwrap();
    let meta = parse(&frame, &link).unwrap();
    let cut = Cut::new(&meta, mtu)?;
    let mut pieces = vec![];
    for number in 1..cut.pieces() {
        let mut buffer = vec![0; 70_000];
        let mut out = Frame::new(&mut buffer, 128, 0);
        assert!(cut.piece(&frame, &meta, number, &mut out));
        pieces.push(out.bytes()[14..].to_vec());
    }
    let mut first = frame.clone();
    let len = first.len();
    let mut first = Frame::new(&mut first, 0, len);
    assert!(cut.first(&mut first, &meta));
    pieces.insert(0, first.bytes()[14..].to_vec());
    Some(pieces)
}

/// Translates a whole datagram as the first fragment of itself, and cuts it.
fn six_in_pieces(datagram: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let whole = run_ip(datagram, |frame, meta| {
        let whole = meta.fragment == Fragment::No;
        let meta = Meta { fragment: if whole { Fragment::First } else { meta.fragment }, ..*meta };
        four_to_six(frame, &meta, &inbound(&meta))
    });
    cut(&whole.unwrap(), mtu).unwrap()
}

//= conformance FRAG-01, FRAG-06
#[test]
fn large_ipv4_packets_leave_as_ipv6_fragments() {
    let mut datagram = udp4(&[1; 1472]);
    datagram[4..6].copy_from_slice(&[0xbe, 0xef]);
    seal_v4(&mut datagram);
    assert_eq!(datagram.len(), 1500);
    let pieces = six_in_pieces(&datagram, 1280);
    let shape: Vec<_> = pieces.iter().map(|p| (p.len(), word(p, 4), word(p, 42), word(p, 46))).collect();
    assert_eq!(shape, [(1280, 1240, 1, 0xbeef), (296, 256, 154 << 3, 0xbeef)]);
    let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece[48..].to_vec()).collect();
    assert_eq!(joined, v6(PREFIX | S, H, 17, &udp(53, 5000, &[1; 1472]))[40..]);
}

//= conformance FRAG-38
#[test]
fn ipv4_fragments_are_cut_again() {
    let first = &udp4(&[1; 2000])[20..1500];
    let pieces = six_in_pieces(&v4_fragment(first, 17, 0, true, 7), 1280);
    let shape: Vec<_> = pieces.iter().map(|piece| word(piece, 42)).collect();
    assert_eq!(shape, [1, 154 << 3 | 1], "offsets go on, and more follow both");
    let last = v4_fragment(&[1; 1480], 17, 185, false, 7);
    let shape: Vec<_> = six_in_pieces(&last, 1280).iter().map(|piece| word(piece, 42)).collect();
    assert_eq!(shape, [185 << 3 | 1, (185 + 154) << 3], "only the true last is the last");
}

//= conformance FRAG-12, FRAG-14
#[test]
fn packets_to_ipv4_are_cut_where_the_link_is_small() {
    let whole = to_v4(&udp6(&[2; 1232])).unwrap();
    assert_eq!((whole.len(), word(&whole, 6)), (1260, 0));
    let pieces = cut(&whole, 1000).unwrap();
    let shape: Vec<_> = pieces.iter().map(|p| (p.len(), word(p, 4), word(p, 6))).collect();
    assert_eq!(shape, [(996, OUTSIDE_ID, 0x2000), (284, OUTSIDE_ID, 122)]);
    let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece[20..].to_vec()).collect();
    assert_eq!(joined, whole[20..]);

    let fragment = run_ip(&v6_fragment(&[4; 1200], 17, 100, true, 7), |frame, meta| {
        six_to_four(frame, meta, &outbound(meta))
    });
    let shape: Vec<_> = cut(&fragment.unwrap(), 620).unwrap().iter().map(|p| word(p, 6)).collect();
    assert_eq!(shape, [0x2000 | 100, 0x2000 | 175]);
}

//= conformance FRAG-34, FRAG-35
#[test]
fn nat44_cuts_what_may_be_cut_and_nothing_else() {
    let options = [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
    let datagram = v4_options(INSIDE, S, &options, 17, &udp(5000, 53, &[6; 1460]));
    let out = nat44(&datagram).unwrap();
    let pieces = cut(&out, 1400).unwrap();
    assert_eq!(pieces.iter().map(|p| (p[0], word(p, 6))).collect::<Vec<_>>(), [(0x48, 0x2000), (0x46, 171)]);
    assert_eq!(pieces[1][20..24], options[..4], "options that every fragment carries");
    assert!(pieces.iter().all(
        |piece| piece.len() <= 1400 && crate::checksum::of(&piece[..usize::from(piece[0] & 15) * 4]) == 0
    ));
    let joined: Vec<u8> = pieces.iter().flat_map(|p| p[usize::from(p[0] & 15) * 4..].to_vec()).collect();
    assert_eq!(joined, out[32..]);

    let mut whole = datagram;
    whole[6] = 0x40;
    seal_v4(&mut whole);
    let out = nat44(&whole).unwrap();
    assert_eq!(word(&out, 6), 0x4000, "DF stays");
    assert_eq!(cut(&out, 1400), None, "and what has it is not cut");
}

proptest! {
    /// Whatever is cut, however small the link: the pieces fit, follow each other, and are the whole.
    #[test]
    fn pieces_are_the_whole(six: bool, len in 1..4000usize, mtu in 68..2000u16, units in 0..100u16, more: bool) {
        let len = if more { len.next_multiple_of(8) } else { len };
        let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let datagram = if six {
            v6_fragment(&payload, 17, units + 1, more, 7)
        } else {
            v4_fragment(&payload, 17, units + 1, more, 7)
        };
        let header = if six { 48 } else { 20 };
        let pieces = cut(&datagram, mtu).unwrap();
        let mut next = usize::from(units) + 1;
        for (number, piece) in pieces.iter().enumerate() {
            prop_assert!(piece.len() <= usize::from(mtu));
            let (offset, follows) = match six {
                true => (word(piece, 42) >> 3, word(piece, 42) & 1 != 0),
                false => (word(piece, 6) & 0x1fff, word(piece, 6) & 0x2000 != 0),
            };
            prop_assert_eq!(usize::from(offset), next);
            prop_assert_eq!(follows, more || number + 1 < pieces.len());
            next += (piece.len() - header) / 8;
        }
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece[header..].to_vec()).collect();
        prop_assert_eq!(joined, payload);
    }
}
