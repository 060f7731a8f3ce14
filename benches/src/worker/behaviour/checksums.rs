//! UDP without checksum between families.

use sluice_dpdk::Eal;
use sluice_nat::{Event, KindRealm, Protocol, SessionEnds};
use sluice_packet::{DropReason, checksum};
use sluice_shm::Counter;

use super::*;

/// A UDP packet whose checksum is taken out.
fn unsummed(mut packet: Vec<u8>) -> Vec<u8> {
    let header = if packet[0] >> 4 == 6 { 40 } else { 20 };
    packet[header + 6..header + 8].fill(0);
    packet
}

/// The first and the last fragment of an IPv4 packet, the first with 16 bytes of payload.
fn halves(packet: &[u8]) -> [Vec<u8>; 2] {
    [(0x2000, &packet[20..36]), (2, &packet[36..])].map(|(flags, payload): (u16, &[u8])| {
        let mut half = [&packet[..20], payload].concat();
        let length = half.len() as u16;
        half[2..4].copy_from_slice(&length.to_be_bytes());
        half[6..8].copy_from_slice(&flags.to_be_bytes());
        let sum = checksum::ipv4_header(&half[..20]);
        half[10..12].copy_from_slice(&sum.to_be_bytes());
        half
    })
}

/// Towards IPv6 only, and only of whole datagrams: NAT44 passes them as they are, fragments are put together, and what has a
/// checksum is left alone. In the log there are addresses and ports, as often as a worker may say so.
//= conformance XLT-32, XLT-33, LOG-32
pub(in super::super) fn udp_without_one_gets_one_or_is_reported(eal: &Eal) {
    for dropped in [false, true] {
        let mut scene = Scene::with(eal, 1, |_, snapshot| snapshot.checksums.drop_zero_to_ipv6 = dropped);
        let (external, port) = scene.open(H, 5000, S);
        let answer = |data: &[u8]| v4(S, external, UDP, udp((53, port), data));
        assert_eq!(scene.pass(OUTSIDE, &answer(b"data")).destination, H);
        scene.rig.events();
        let bare = unsummed(answer(b"data"));
        if dropped {
            scene.dies(OUTSIDE, &bare, DropReason::UdpChecksumMissing);
            let ends = SessionEnds {
                kind_realm: KindRealm::new(Kind::Nat64, 0),
                protocol: Protocol::Udp,
                inside: H,
                inside_port: 5000,
                external,
                external_port: port,
                remote: S,
                remote_port: 53,
            };
            assert_eq!(scene.rig.events(), [Event::ChecksumMissing(ends)]);
            let reported = (0..200)
                .flat_map(|_| {
                    scene.dies(OUTSIDE, &bare, DropReason::UdpChecksumMissing);
                    scene.rig.events()
                })
                .count();
            assert_eq!(reported as u64 + scene.count(Counter::EventsSuppressed), 200);
            // A tick or two may pass meanwhile.
            assert!((63..110).contains(&reported), "{reported}");
        } else {
            assert_eq!(scene.pass(OUTSIDE, &bare).payload[8..], *b"data");
        }
        let whole = unsummed(answer(b"a datagram in two pieces"));
        let [first, last] = halves(&whole);
        assert_eq!(scene.send(OUTSIDE, &first), []);
        assert_eq!(scene.rig.one(OUTSIDE, &frame(&last)).len(), 2);

        let (external, port) = scene.open(HOST.into(), 5000, S);
        let bare = unsummed(v4(S, external, UDP, udp((53, port), b"data")));
        let seen = scene.pass(OUTSIDE, &bare);
        assert_eq!((seen.destination, scene.drops()), (HOST.into(), vec![]));
    }
}

/// As tunnels have it. Neither path makes a checksum out of none, and with one it is a flow like any.
//= conformance XLT-34
pub(in super::super) fn udp_without_one_stays_without_if_allowed(eal: &Eal) {
    for allowed in [false, true] {
        let mut scene = Scene::with(eal, 1, |_, snapshot| snapshot.checksums.allow_zero_to_ipv4 = allowed);
        let (external, port) = scene.open(H, 5000, S);
        let packet = v6(H, p(S), UDP, udp((5000, 53), b"data"));
        for _ in 0..2 {
            if allowed {
                let out = scene.rig.one(INSIDE, &frame(&unsummed(packet.clone())));
                let [(OUTSIDE, out)] = &out[..] else { panic!("{out:02x?}") };
                assert_eq!(
                    (&out[34..38], &out[40..42]),
                    (&[port.to_be_bytes(), [0, 53]].concat()[..], &[0, 0][..])
                );
                let seen = Seen::of(out);
                assert_eq!((seen.source, &seen.payload[8..]), (external.into(), &b"data"[..]));
            } else {
                scene.dies(INSIDE, &unsummed(packet.clone()), DropReason::UdpChecksumZero);
            }
            assert_eq!(scene.pass(INSIDE, &packet).ports(), (port, 53));
        }
        // To another inside host by its external address: it has a checksum again behind the second half.
        let (external2, port2) = scene.open(H2, 6000, S);
        let hairpin = unsummed(v6(H, p(external2), UDP, udp((5000, port2), b"data")));
        if allowed {
            let seen = scene.back(INSIDE, &hairpin);
            assert_eq!((seen.destination, seen.ports()), (H2, (port, 6000)));
        } else {
            scene.dies(INSIDE, &hairpin, DropReason::UdpChecksumZero);
        }
    }
}
