//! Clamping: what is lowered, and all that is left alone.

use proptest::prelude::*;

use super::*;
use crate::testing::*;

/// Clamps a segment with these options and returns whether it changed, and the options after.
fn clamped(flags: u8, options: &[u8], max: u16) -> (bool, Vec<u8>) {
    let mut out = None;
    for datagram in [
        v4(S, T, 6, &tcp(80, 4000, flags, options, b"data")),
        v6(H, PREFIX | S, 6, &tcp(80, 4000, flags, options, b"data")),
    ] {
        let bytes = ethernet(None, &datagram);
        let (_, meta) = read(&bytes);
        let mut buffer = Buffer::new(&bytes);
        let mut frame = buffer.frame();
        let changed = clamp_mss(&mut frame, &meta, max);
        // etherparse parses no options here: it verifies the checksum over whatever they are.
        assert_valid(frame.bytes());
        assert_eq!(changed, frame.bytes() != bytes);
        let at = usize::from(meta.l4) + 20;
        let after = (changed, frame.bytes()[at..at + options.len()].to_vec());
        assert!(out.is_none() || out.as_ref() == Some(&after), "both families alike");
        out = Some(after);
    }
    out.unwrap()
}

const MSS_1460: [u8; 4] = [2, 4, 5, 0xb4];
const MSS_1440: [u8; 4] = [2, 4, 5, 0xa0];

//= conformance MSS-01, MSS-02, MSS-08
#[test]
fn syn_and_syn_ack_are_lowered() {
    for flags in [tcp::SYN, tcp::SYN | tcp::ACK] {
        assert_eq!(clamped(flags, &MSS_1460, 1440), (true, MSS_1440.to_vec()));
    }
}

//= conformance MSS-03
#[test]
fn never_raised() {
    assert_eq!(clamped(tcp::SYN, &[2, 4, 2, 0x18], 1440), (false, vec![2, 4, 2, 0x18]));
    assert_eq!(clamped(tcp::SYN, &MSS_1440, 1440), (false, MSS_1440.to_vec()));
}

//= conformance MSS-04
#[test]
fn never_added() {
    assert_eq!(clamped(tcp::SYN, &[], 1440), (false, vec![]));
    assert_eq!(clamped(tcp::SYN, &[1, 1, 4, 2], 1440), (false, vec![1, 1, 4, 2]));
}

//= conformance MSS-05
#[test]
fn only_syn_segments() {
    for flags in [tcp::ACK, tcp::ACK | tcp::PSH, tcp::RST, tcp::FIN | tcp::ACK] {
        assert_eq!(clamped(flags, &MSS_1460, 1440), (false, MSS_1460.to_vec()));
    }
}

//= conformance MSS-06
#[test]
fn damaged_options_are_left_alone() {
    for options in [
        [2, 3, 5, 0xb4],
        [2, 0, 5, 0xb4],
        [2, 1, 5, 0xb4],
        [2, 5, 5, 0xb4],
        [8, 40, 5, 0xb4],
        [1, 1, 1, 2],
        [0, 2, 4, 5],
    ] {
        assert_eq!(clamped(tcp::SYN, &options, 1), (false, options.to_vec()));
    }
    // Damage behind the MSS counts as well, damage behind the end of the list does not.
    let behind = [&MSS_1460[..], &[8, 0, 0, 0]].concat();
    assert_eq!(clamped(tcp::SYN, &behind, 1440), (false, behind));
    let (changed, after) = clamped(tcp::SYN, &[&MSS_1460[..], &[0, 8, 0, 0]].concat(), 1440);
    assert_eq!((changed, &after[..4]), (true, &MSS_1440[..]));
}

//= conformance MSS-07
#[test]
fn odd_offsets_keep_the_checksum_right() {
    let (changed, after) = clamped(tcp::SYN, &[1, 2, 4, 5, 0xb4, 1, 1, 0], 1440);
    assert_eq!((changed, after), (true, vec![1, 2, 4, 5, 0xa0, 1, 1, 0]));
}

#[test]
fn the_longest_change_is_seen_as_one() {
    // 65535 and 0 are the same to a checksum, not to a peer.
    assert_eq!(clamped(tcp::SYN, &[2, 4, 0xff, 0xff], 0), (true, vec![2, 4, 0, 0]));
}

proptest! {
    #[test]
    fn any_options_stay_valid(options in prop::collection::vec(prop_oneof![0..9u8, any::<u8>()], 40), max: u16) {
        clamped(tcp::SYN, &options, max);
    }
}
