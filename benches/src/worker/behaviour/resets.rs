//! Segments from inside that belong to no connection.

use sluice_dpdk::Eal;
use sluice_packet::{DropReason, tcp};
use sluice_shm::Counter;
use sluice_shm::snapshot::IcmpErrors;

use super::*;

/// A segment with data.
fn segment(host: u128, port: u16, flags: u8, sequence: u32) -> Vec<u8> {
    let payload = [tcp((port, 80), flags, sequence), b"data".to_vec()].concat();
    match u32::try_from(host) {
        Ok(host) => v4(host, S, TCP, payload),
        Err(_) => v6(host, p(S), TCP, payload),
    }
}

/// Sequence, acknowledgement and flags.
fn numbers(seen: &Seen) -> (u32, u32, u8) {
    let word = |at: usize| seen.payload[at..at + 4].iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
    (word(4), word(8), seen.payload[13])
}

/// In silence, or with a RST that the host takes for its peer's: dropped and counted either way, and no session comes of it.
//= conformance N64-TCP-44
pub(in super::super) fn unknown_segments_are_answered_if_that_is_configured(eal: &Eal) {
    for answered in [false, true] {
        let mut scene = Scene::with(eal, 1, |_, snapshot| snapshot.unsolicited.reset_inside = answered);
        for (host, remote) in [(H, p(S)), (HOST.into(), S.into())] {
            for (flags, numbers_wanted) in [
                (tcp::ACK, (9, 0, tcp::RST)),
                (tcp::ACK | tcp::FIN, (9, 0, tcp::RST)),
                (tcp::FIN, (0, 1005, tcp::RST | tcp::ACK)),
            ] {
                let sent = segment(host, 4000, flags, 1000);
                if answered {
                    let reset = scene.back(INSIDE, &sent);
                    assert_eq!((reset.source, reset.destination, reset.ports()), (remote, host, (80, 4000)));
                    assert_eq!(numbers(&reset), numbers_wanted);
                    assert_eq!(scene.drops(), [(DropReason::TcpNoSession, 1)]);
                } else {
                    scene.dies(INSIDE, &sent, DropReason::TcpNoSession);
                }
            }
            scene.dies(INSIDE, &segment(host, 4000, tcp::RST, 1000), DropReason::TcpNoSession);
            let mut damaged = segment(host, 4000, tcp::ACK, 1000);
            *damaged.last_mut().expect("data") ^= 1;
            scene.dies(INSIDE, &damaged, DropReason::TcpNoSession);
        }
        assert_eq!(scene.count(Counter::Generated), if answered { 6 } else { 0 });
        assert_eq!(scene.sessions(), []);
        // From outside nobody hears anything, and a connection that is there is left alone.
        scene.dies(OUTSIDE, &v4(S, POOL + 1, TCP, tcp((80, 4000), tcp::ACK, 1)), DropReason::TcpNoSession);
        scene.pass(INSIDE, &v6(H, p(S), TCP, tcp((4000, 80), tcp::SYN, 1)));
        assert_eq!(scene.pass(INSIDE, &segment(H, 4000, tcp::ACK, 2)).destination, S.into());
        // With a binding, a segment to another server is translated without a session.
        let other = v6(H, p(S2), TCP, tcp((4000, 80), tcp::ACK, 1));
        assert_eq!(scene.pass(INSIDE, &other).destination, S2.into());
    }
}

/// By the rate of errors of the family.
//= conformance N64-TCP-44
pub(in super::super) fn no_more_of_them_than_of_errors(eal: &Eal) {
    let mut scene = Scene::with(eal, 1, |_, snapshot| {
        snapshot.unsolicited.reset_inside = true;
        snapshot.icmp_errors_per_second = IcmpErrors { ipv4: 0, ipv6: 5 };
    });
    let mut send = |host: u128| -> usize {
        (0..20).map(|port| scene.send(INSIDE, &segment(host, 4000 + port, tcp::ACK, 1)).len()).sum()
    };
    let (six, four) = (send(H), send(HOST.into()));
    // A tick may pass meanwhile.
    assert!((5..=7).contains(&six) && four == 0, "{six} {four}");
    assert_eq!(scene.count(Counter::Generated), six as u64);
    assert_eq!(scene.count(Counter::IcmpErrorsSuppressed), 40 - six as u64);
    assert_eq!(scene.drops(), [(DropReason::TcpNoSession, 40)]);
}
