//! ICMP errors of others, and those that the gateway makes.

use sluice_dpdk::Eal;
use sluice_packet::{DropReason, checksum, tcp};
use sluice_shm::Counter;

use super::*;

/// An error quotes at least so much of IPv4 and IPv6 packets.
const QUOTE4: usize = 28;
const QUOTE6: usize = 48;

fn from_outside(router: u32, about: &[u8], kind: u8, code: u8) -> Vec<u8> {
    let to = u32::from_be_bytes([about[12], about[13], about[14], about[15]]);
    v4(router, to, ICMP, icmp(kind, code, 0, &about[..QUOTE4]))
}

/// Not made, refreshed, shortened or ended: the words of sessions stay as they are whatever errors say, and packets pass
/// afterwards as before.
//= conformance ICMP-77, MAP-11, N64-TCP-45, N64-UDP-15
pub(in super::super) fn they_leave_sessions_alone(eal: &Eal) {
    for (protocol, host) in [(UDP, H), (TCP, H), (UDP, HOST.into()), (TCP, HOST.into())] {
        let mut scene = Scene::new(eal);
        let four = u32::try_from(host).ok();
        let payload = |ports: (u16, u16), flags: u8| match protocol {
            TCP => tcp(ports, flags, 1),
            _ => udp(ports, b"data"),
        };
        let out = |flags| match four {
            Some(host) => v4(host, S, protocol, payload((4000, 80), flags)),
            None => v6(host, p(S), protocol, payload((4000, 80), flags)),
        };
        let opened = scene.pass(INSIDE, &out(tcp::SYN));
        let (external, port) = (opened.source as u32, opened.ports().0);
        let answer = |flags| v4(S, external, protocol, payload((80, port), flags));
        let inside = scene.pass(OUTSIDE, &answer(tcp::SYN | tcp::ACK));
        let before = scene.sessions();
        assert_eq!(before.len(), 1);

        scene.tick();
        let sent = v4(external, S, protocol, payload((port, 80), tcp::ACK));
        for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 10), (11, 0), (12, 0)] {
            let error = scene.pass(OUTSIDE, &from_outside(R4, &sent, kind, code));
            assert_eq!(error.destination, host);
        }
        let got = match four {
            Some(host) => v4(S, host, protocol, payload(inside.ports(), tcp::ACK)),
            None => v6(p(S), host, protocol, payload(inside.ports(), tcp::ACK)),
        };
        let error = match four {
            Some(host) => v4(host, S, ICMP, icmp(3, 3, 0, &got[..QUOTE4])),
            None => v6(host, p(S), ICMPV6, icmp(1, 4, 0, &got[..QUOTE6])),
        };
        let error = scene.pass(INSIDE, &error);
        assert_eq!((error.destination, error.message()), (S.into(), (3, 3)));
        assert_eq!(scene.sessions(), before, "an error changed the session");

        // The clock has gone on: a data packet leaves its mark.
        scene.pass(INSIDE, &out(tcp::ACK));
        assert_ne!(scene.sessions(), before);
        scene.pass(OUTSIDE, &answer(tcp::ACK));
        assert_eq!(scene.sessions().len(), 1);
    }
}

/// About what no session knows, what cannot be read, and what quotes an error itself.
//= conformance ICMP-72, ICMP-74, ICMP-76, ICMP-79, N44-15
pub(in super::super) fn about_no_session_they_die_silently(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(H, 5000, S);
    let sent = |port: u16| v4(external, S, UDP, udp((port, 53), b"open"));
    let error = scene.pass(OUTSIDE, &from_outside(R4, &sent(port), 3, 3));
    assert_eq!(error.destination, H);
    scene.dies(OUTSIDE, &from_outside(R4, &sent(port ^ 1), 3, 3), DropReason::IcmpNoSession);
    let mut damaged = sent(port);
    damaged[8] ^= 1;
    scene.dies(OUTSIDE, &from_outside(R4, &damaged, 3, 3), DropReason::IcmpChecksum);
    let nested = from_outside(external, &sent(port), 11, 0);
    scene.dies(OUTSIDE, &v4(R4, external, ICMP, icmp(3, 1, 0, &nested)), DropReason::IcmpQuoteMalformed);
    let cut = v4(R4, external, ICMP, icmp(3, 1, 0, &sent(port)[..22]));
    scene.dies(OUTSIDE, &cut, DropReason::IcmpQuoteMalformed);
    // From inside, about packets that nobody sent.
    let got = v6(p(S), H, UDP, udp((54, 5000), b""));
    scene.dies(INSIDE, &v6(H, p(S), ICMPV6, icmp(1, 4, 0, &got)), DropReason::IcmpNoSession);
    let got = v4(S, HOST, UDP, udp((53, 5000), b""));
    scene.dies(INSIDE, &v4(HOST, S, ICMP, icmp(3, 3, 0, &got)), DropReason::IcmpNoSession);
}

/// In both families; ECN is the packet's own, never the error's.
//= conformance ICMP-108
pub(in super::super) fn they_have_the_class_of_the_packet_or_one_of_their_own(eal: &Eal) {
    for (configured, expected) in [(None, 0xb8), (Some(48), 0xc0), (Some(0), 0)] {
        let mut scene = Scene::with(eal, 1, |_, snapshot| snapshot.dscp.icmp_errors = configured);
        let mut packet = v6_with(H, p(S), (UDP, 1), udp((5000, 53), b""));
        (packet[0], packet[1]) = (0x6b, 0xb0);
        let out = scene.rig.one(INSIDE, &frame(&packet));
        let [(INSIDE, error)] = &out[..] else { panic!("{out:02x?}") };
        assert_eq!((error[14] << 4 | error[15] >> 4, Seen::of(error).message()), (expected, (3, 0)));
        let mut packet = v4_with(HOST, S, (UDP, 1, 0), udp((5000, 53), b""));
        packet[1] = 0xbb;
        packet[10..12].fill(0);
        let sum = checksum::ipv4_header(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let out = scene.rig.one(INSIDE, &frame(&packet));
        let [(INSIDE, error)] = &out[..] else { panic!("{out:02x?}") };
        assert_eq!((error[15], Seen::of(error).message()), (expected, (11, 0)));
    }
}

/// Of both families' hosts: a quoted header that was altered, with the checksum that it had.
//= conformance ICMP-79
pub(in super::super) fn altered_quotes_are_believed_if_that_is_configured(eal: &Eal) {
    for ignore_quoted in [false, true] {
        let mut scene = Scene::with(eal, 1, |_, snapshot| snapshot.checksums.ignore_quoted = ignore_quoted);
        for host in [H, HOST.into()] {
            let (external, port) = scene.open(host, 5000, S);
            let mut sent = v4(external, S, UDP, udp((port, 53), b"open"));
            sent[8] -= 1;
            let error = from_outside(R4, &sent, 3, 3);
            if ignore_quoted {
                let error = scene.pass(OUTSIDE, &error);
                assert_eq!((error.destination, error.quoted().2), (host, (5000, 53)));
            } else {
                scene.dies(OUTSIDE, &error, DropReason::IcmpChecksum);
            }
        }
        // From inside, about what the server sent.
        let mut got = v4(S, HOST, UDP, udp((53, 5000), b"data"));
        got[8] -= 1;
        let error = v4(HOST, S, ICMP, icmp(3, 3, 0, &got[..QUOTE4]));
        if ignore_quoted {
            assert_eq!(scene.pass(INSIDE, &error).destination, S.into());
        } else {
            scene.dies(INSIDE, &error, DropReason::IcmpChecksum);
        }
    }
}

/// Outside of an IPv6 host, a router's own address under the prefix, private ones as well; of an IPv4 server, the address of
/// the session: not that of the host or router inside, and not just any address of the pool.
//= conformance XLT-27, ICMP-92, ICMP-93, ICMP-96
pub(in super::super) fn they_come_from_whom_they_should(eal: &Eal) {
    // 10.9.9.9 is an address that NAT44 serves, too: what its error is about tells on which side it is.
    let mut scene = Scene::new(eal);
    // A subscriber whose address is not the pool's first.
    let found = (0..16u128).map(|net| H + (net << 64)).find_map(|host| {
        let (external, port) = scene.open(host, 5000, S);
        (external != POOL).then_some((host, external, port))
    });
    let (host, external, port) = found.expect("subscribers are spread over the pool");
    let sent = v4(external, S, UDP, udp((port, 53), b"open"));
    for router in [R4, S2, 0x0a09_0909, 0x6440_0001] {
        let error = scene.pass(OUTSIDE, &from_outside(router, &sent, 11, 0));
        assert_eq!((error.source, error.destination, error.message()), (p(router), host, (3, 0)));
        assert_eq!(error.quoted(), (host, p(S), (5000, 53)));
    }
    for router in [0x7f00_0001, 0xe000_0001, 0] {
        scene.dies(OUTSIDE, &from_outside(router, &sent, 11, 0), DropReason::SourceIllegal);
    }
    let got = v6(p(S), host, UDP, udp((53, 5000), b""));
    for inside in [host, R6] {
        let error = scene.pass(INSIDE, &v6(inside, p(S), ICMPV6, icmp(1, 0, 0, &got)));
        assert_eq!((error.source, error.destination), (external.into(), S.into()));
        assert_eq!((error.message(), error.quoted()), ((3, 1), (S.into(), external.into(), (53, port))));
    }
}

/// A session that a stranger opened has errors too.
//= conformance ICMP-97
pub(in super::super) fn about_sessions_from_outside_too(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, port) = scene.open(H, 5000, S);
    let sent = v4(S2, external, UDP, udp((999, port), b"stranger"));
    let got = scene.pass(OUTSIDE, &sent);
    assert_eq!((got.source, got.destination, got.ports()), (p(S2), H, (999, 5000)));
    let quote = v6(p(S2), H, UDP, udp((999, 5000), b"stranger"));
    let error = scene.pass(INSIDE, &v6(H, p(S2), ICMPV6, icmp(1, 4, 0, &quote)));
    assert_eq!((error.source, error.destination, error.message()), (external.into(), S2.into(), (3, 3)));
    assert_eq!(error.quoted(), (S2.into(), external.into(), (999, port)));
    // And from its side.
    let answer = v4(external, S2, UDP, udp((port, 999), b"answer"));
    let error = scene.pass(OUTSIDE, &from_outside(R4, &answer, 3, 1));
    assert_eq!((error.destination, error.quoted()), (H, (H, p(S2), (5000, 999))));
}

/// Clamping is on in this rig, and takes nothing from path MTU discovery: both senders are told what fits.
//= conformance MSS-09, XLT-49, FRAG-04, FRAG-13
pub(in super::super) fn what_is_too_big_is_told_with_clamping_on(eal: &Eal) {
    const DONT_FRAGMENT: u16 = 0x4000;
    let mut scene = Scene::with(eal, 1, |_, snapshot| {
        assert_eq!(snapshot.interfaces[0].mss_clamp, sluice_shm::snapshot::MssClamp::Auto);
        snapshot.interfaces[1].mtu = 1400;
    });
    let opened = scene.pass(INSIDE, &v6(H, p(S), TCP, tcp((4000, 80), tcp::SYN, 1)));
    let (external, port) = (opened.source as u32, opened.ports().0);
    scene.pass(OUTSIDE, &v4(S, external, TCP, tcp((80, port), tcp::SYN | tcp::ACK, 1)));
    let segment = |ports, length: usize| [tcp(ports, tcp::ACK, 2), vec![7; length - 20]].concat();
    // 1500 bytes of IPv6 are 1480 of IPv4.
    let error = scene.back(INSIDE, &v6(H, p(S), TCP, segment((4000, 80), 1460)));
    assert_eq!((error.source, error.message(), error.rest()), (GATEWAY6, (2, 0), 1420));
    let fits = scene.pass(INSIDE, &v6(H, p(S), TCP, segment((4000, 80), 1380)));
    assert_eq!(fits.payload.len(), 1380);
    let from = |length: usize| v4_with(S, external, (TCP, 64, DONT_FRAGMENT), segment((80, port), length));
    let error = scene.back(OUTSIDE, &from(1480));
    assert_eq!((error.message(), error.rest()), ((3, 4), 1480));
    assert_eq!(scene.pass(OUTSIDE, &from(1460)).payload.len(), 1460);
    assert_eq!(scene.drops(), [(DropReason::PacketTooBig, 2)]);
    assert_eq!(scene.count(Counter::Generated), 2);
}
