//! From inside to inside over external addresses.

use sluice_dpdk::Eal;
use sluice_nat::Filtering;
use sluice_packet::DropReason;
use sluice_shm::Counter;

use super::*;

/// NAT64 and NAT44: each sees the other's external address, and the hop limit goes down once.
//= conformance HAIR-01, HAIR-07, HAIR-09, ADDR-21
pub(in super::super) fn both_hosts_see_external_addresses(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(H, 5000, S);
    let seen = scene.back(INSIDE, &v6(H2, p(external), UDP, udp((6000, port), b"over")));
    let (their, their_port) = ((seen.source ^ P) as u32, seen.ports().0);
    assert!((POOL..POOL + 4).contains(&their), "{seen:02x?}");
    assert_eq!((seen.destination, seen.ports().1, seen.hop_limit), (H, 5000, 63));
    assert_eq!(&seen.payload[8..], b"over");
    let answer = scene.back(INSIDE, &v6(H, p(their), UDP, udp((5000, their_port), b"back")));
    assert_eq!((answer.source, answer.destination), (p(external), H2));
    assert_eq!((answer.ports(), answer.hop_limit), ((port, 6000), 63));

    let (external, port) = scene.open(HOST.into(), 5000, S);
    let seen = scene.back(INSIDE, &v4(HOST2, external, UDP, udp((6000, port), b"over")));
    assert!((POOL..POOL + 4).contains(&(seen.source as u32)));
    assert_eq!((seen.destination, seen.ports().1, seen.hop_limit), (HOST.into(), 5000, 63));

    // An echo has one identifier, which the first half makes that of the sender's mapping: the second half cannot know whom
    // it was for (docs/conformance-gaps.md, HAIR-06). It must not reach anybody else.
    let ping = scene.pass(INSIDE, &v6(H, p(S), ICMPV6, echo(128, 77)));
    let (external, identifier) = (ping.source as u32, ping.identifier());
    let over = v6(H2, p(external), ICMPV6, echo(128, identifier));
    scene.dies(INSIDE, &over, DropReason::HairpinNoBinding);
}

/// The second half is filtered as anything from outside: nobody's port is nobody's, and who was not spoken to may not speak.
//= conformance HAIR-03, HAIR-04
pub(in super::super) fn without_binding_or_leave_nothing_comes_back(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(H, 5000, S);
    let nobody = v6(H2, p(external), UDP, udp((6000, port ^ 1), b""));
    scene.dies(INSIDE, &nobody, DropReason::HairpinNoBinding);
    let (external, port) = scene.open(HOST.into(), 5000, S);
    let nobody = v4(HOST2, external, UDP, udp((6000, port ^ 1), b""));
    scene.dies(INSIDE, &nobody, DropReason::HairpinNoBinding);

    let mut scene = Scene::with(eal, 1, |spec, _| {
        spec.rules.iter_mut().for_each(|rule| rule.filtering = [Filtering::AddressDependent; 3]);
    });
    for (host, other) in [(H, H2), (HOST.into(), HOST2.into())] {
        let (external, port) = scene.open(host, 5000, S);
        let (their, their_port) = scene.open(other, 6000, S);
        let send = |from: u128, to: u32, ports| match u32::try_from(from) {
            Ok(from) => v4(from, to, UDP, udp(ports, b"")),
            Err(_) => v6(from, p(to), UDP, udp(ports, b"")),
        };
        scene.dies(INSIDE, &send(other, external, (6000, port)), DropReason::Filtered);
        // Who was spoken to may answer, and that opens the way back.
        let answer = scene.back(INSIDE, &send(host, their, (5000, their_port)));
        assert_eq!(answer.destination, other);
        let passed = scene.back(INSIDE, &send(other, external, (6000, port)));
        assert_eq!(passed.destination, host);
    }
}

/// Both an error of the host and one of a router in front of it go to the sender, and quote what it sent.
//= conformance HAIR-05, N44-14
pub(in super::super) fn errors_go_back_to_the_sender(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(HOST.into(), 5000, S);
    let got = scene.back(INSIDE, &v4(HOST2, external, UDP, udp((6000, port), b"over")));
    let (their, ports) = (got.source as u32, got.ports());
    let quote = v4(their, HOST, UDP, udp(ports, b"over"));
    for router in [HOST, 0x0a00_0001] {
        let error = scene.back(INSIDE, &v4(router, their, ICMP, icmp(3, 3, 0, &quote)));
        assert_eq!((error.source, error.destination), (external.into(), HOST2.into()));
        assert_eq!(error.message(), (3, 3));
        assert_eq!(error.quoted(), (HOST2.into(), external.into(), (6000, port)));
    }
    assert_eq!(scene.drops(), []);
}

/// Whatever addresses say, a packet is one packet at most.
//= conformance HAIR-08, XLT-03
pub(in super::super) fn nothing_goes_round(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(H, 5000, S);
    let before = scene.count(Counter::Hairpins);
    // From under the prefix.
    let packet = v6(p(external), p(external), UDP, udp((port, port), b""));
    scene.dies(INSIDE, &packet, DropReason::SourceInPref64);
    // To oneself: it comes as from outside.
    let oneself = scene.back(INSIDE, &v6(H, p(external), UDP, udp((5000, port), b"me")));
    assert_eq!((oneself.source, oneself.destination), (p(external), H));
    assert_eq!(oneself.ports(), (port, 5000));
    assert_eq!(scene.count(Counter::Hairpins) - before, 1);
    // From outside, in the name of the address itself.
    let spoofed = scene.send(OUTSIDE, &v4(external, external, UDP, udp((port, port), b"spoofed")));
    assert!(spoofed.len() <= 1, "{spoofed:02x?}");
    assert_eq!(scene.count(Counter::Hairpins) - before, 1);
}

/// One packet is a sign of life of both.
//= conformance HAIR-11
pub(in super::super) fn both_sessions_are_refreshed(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(H, 5000, S);
    let packet = v6(H2, p(external), UDP, udp((6000, port), b"over"));
    scene.back(INSIDE, &packet);
    let before = scene.sessions();
    // To the server, from H2, and from outside to H.
    assert_eq!(before.len(), 3);
    scene.tick();
    scene.back(INSIDE, &packet);
    let after = scene.sessions();
    let refreshed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!((after.len(), refreshed), (3, 2));
}
