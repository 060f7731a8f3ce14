//! What whole workers do with single packets, told as a table of behaviours tells it: a packet in, packets out, and which
//! counters change. Worker, tables and ports are the real ones; addresses are those of [`super::packets`].

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_dpdk::Eal;
use sluice_nat::{Engine, Geometry, Hot, Kind, Limits, PoolSpec, RuleSpec, Session, Shared, Spec, WorkerId};
use sluice_packet::{DropReason, tcp};
use sluice_shm::Counter;
use sluice_shm::snapshot::{IcmpErrors, RouteSpec, Snapshot};

use super::packets::*;
use super::rig::{self, Rig};
use crate::meter::START;
use crate::random::mix;

mod checksums;
mod errors;
mod hairpins;
mod resets;

/// The ports of the gateway.
const INSIDE: usize = 0;
const OUTSIDE: usize = 1;
/// The pool: 192.0.2.0/30.
const POOL: u32 = 0xc000_0200;
/// The gateway's own addresses on the two links.
const GATEWAY4: [u32; 2] = [0xac10_0001, 0xac10_0101];
const GATEWAY6: u128 = 0xfd00 << 112 | 1;

/// A behaviour with its name.
type Behaviour = (&'static str, fn(&Eal));

/// All of them. DPDK starts once in a process, so they are called from one test.
pub(super) const ALL: &[Behaviour] = &[
    ("only what is for a prefix or a pool is translated", only_what_is_addressed_to_us_is_translated),
    ("other transports", other_transports_are_refused_and_their_senders_told),
    ("ICMP without counterpart", queries_without_counterpart_die_silently),
    ("hop limit", a_hop_limit_of_one_is_told_to_the_sender),
    ("RST", resets_are_not_judged_by_their_sequence),
    ("resets: unknown", resets::unknown_segments_are_answered_if_that_is_configured),
    ("resets: rate", resets::no_more_of_them_than_of_errors),
    ("order", a_flow_leaves_in_the_order_in_which_it_came),
    ("exhausted pool", who_gets_no_port_is_told_and_never_leaves_untranslated),
    ("checksums: to IPv6", checksums::udp_without_one_gets_one_or_is_reported),
    ("checksums: to IPv4", checksums::udp_without_one_stays_without_if_allowed),
    ("errors: off and on", errors_can_be_switched_off_for_each_family),
    ("errors: class", errors::they_have_the_class_of_the_packet_or_one_of_their_own),
    ("errors: sessions", errors::they_leave_sessions_alone),
    ("errors: unknown", errors::about_no_session_they_die_silently),
    ("errors: altered quotes", errors::altered_quotes_are_believed_if_that_is_configured),
    ("errors: outside", errors::they_come_from_whom_they_should),
    ("errors: inbound sessions", errors::about_sessions_from_outside_too),
    ("errors: size", errors::what_is_too_big_is_told_with_clamping_on),
    ("hairpin: both ways", hairpins::both_hosts_see_external_addresses),
    ("hairpin: nobody", hairpins::without_binding_or_leave_nothing_comes_back),
    ("hairpin: errors", hairpins::errors_go_back_to_the_sender),
    ("hairpin: loops", hairpins::nothing_goes_round),
    ("hairpin: timers", hairpins::both_sessions_are_refreshed),
];

/// A gateway of some workers.
pub(super) struct Scene {
    pub(super) rig: Rig,
    shared: Arc<Shared>,
    workers: usize,
    before: BTreeMap<DropReason, u64>,
}

/// NAT64 under `P` and NAT44 from 10/8, both to 192.0.2.0/30.
fn spec() -> Spec {
    let nat64 = RuleSpec {
        kind: Kind::Nat64,
        realm: 0,
        prefix64: Some((P, 96)),
        sources: vec![(0x2001_0db8 << 96, 32)],
        except: vec![],
        interfaces: vec![],
        pool: 0,
        filtering: Default::default(),
        wkp_allow_non_global: false,
    };
    let nat44 =
        RuleSpec { kind: Kind::Nat44, prefix64: None, sources: vec![(0x0a00_0000, 8)], ..nat64.clone() };
    let pool = PoolSpec {
        name: "public".into(),
        prefixes: vec![(POOL, 30)],
        port_min: 1024,
        port_max: 65_535,
        block_size: 256,
        hold_down: 120,
        max_resting: PoolSpec::ALL,
        parity: true,
        reserved: vec![],
        pairing: sluice_nat::Pairing::Strict,
        deterministic: None,
    };
    let limits = Limits { new_sessions_per_second: 0, ..Limits::default() };
    Spec { pools: vec![pool], rules: vec![nat64, nat44], limits, ..Spec::default() }
}

impl Scene {
    fn new(eal: &Eal) -> Self {
        Self::with(eal, 1, |_, _| ())
    }

    /// With other rules, interfaces or routes.
    pub(super) fn with(eal: &Eal, workers: usize, change: impl FnOnce(&mut Spec, &mut Snapshot)) -> Self {
        let (mut spec, mut snapshot) = (spec(), rig::snapshot());
        change(&mut spec, &mut snapshot);
        // Workers take records by the extent.
        let records: &'static [Session] =
            Box::leak((0..4096 * workers).map(|_| Session::default()).collect());
        let geometry = Geometry { workers: workers as u8, max_addresses: 64, seed: [1, 2, 3, 4].map(mix) };
        let shared = Shared::new(records, geometry);
        let config = Arc::new(shared.compile(&spec, 1, None).expect("valid"));
        let engine = |worker| Engine::new(Arc::clone(&shared), WorkerId(worker as u8), Arc::clone(&config));
        let engines = (0..workers).map(engine).collect();
        let rig = Rig::under(eal, &shared, &config, engines, 1, START, &snapshot).expect("a rig");
        Self { rig, shared, workers, before: BTreeMap::new() }
    }

    /// Puts a packet into a port, and returns what comes out: of which port, and what it is.
    fn send(&mut self, port: usize, packet: &[u8]) -> Vec<(usize, Seen)> {
        self.send_frame(port, &frame(packet))
    }

    fn send_frame(&mut self, port: usize, frame: &[u8]) -> Vec<(usize, Seen)> {
        let out = self.rig.one(port, frame);
        out.into_iter().map(|(port, frame)| (port, Seen::of(&frame))).collect()
    }

    /// Puts a packet into a port, and returns the one that comes out of the other.
    #[track_caller]
    fn pass(&mut self, port: usize, packet: &[u8]) -> Seen {
        self.one(port, packet, 1 - port)
    }

    /// Puts a packet into a port, and returns the one that comes out of it.
    #[track_caller]
    fn back(&mut self, port: usize, packet: &[u8]) -> Seen {
        self.one(port, packet, port)
    }

    #[track_caller]
    fn one(&mut self, port: usize, packet: &[u8], to: usize) -> Seen {
        match <[_; 1]>::try_from(self.send(port, packet)) {
            Ok([(from, seen)]) if from == to => seen,
            other => panic!("{packet:02x?}: {other:02x?}, dropped {:?}", self.drops()),
        }
    }

    /// Puts a packet into a port, of which nothing comes, dropped for one reason.
    #[track_caller]
    fn dies(&mut self, port: usize, packet: &[u8], reason: DropReason) {
        self.drops();
        assert_eq!(self.send(port, packet), [], "{packet:02x?}");
        assert_eq!(self.drops(), [(reason, 1)], "{packet:02x?}");
    }

    /// Opens a UDP flow from inside, and returns its external address and port.
    #[track_caller]
    fn open(&mut self, host: u128, port: u16, remote: u32) -> (u32, u16) {
        let datagram = udp((port, 53), b"open");
        let packet = match u32::try_from(host) {
            Ok(host) => v4(host, remote, UDP, datagram),
            Err(_) => v6(host, p(remote), UDP, datagram),
        };
        let seen = self.pass(INSIDE, &packet);
        assert_eq!((seen.destination, seen.ports().1), (remote.into(), 53));
        (seen.source as u32, seen.ports().0)
    }

    /// What was dropped since the last call.
    fn drops(&mut self) -> Vec<(DropReason, u64)> {
        let of = |reason: DropReason| {
            (0..self.workers).map(|worker| self.rig.counters(worker).drops(reason)).sum::<u64>()
        };
        let now: BTreeMap<_, _> = DropReason::ALL.iter().map(|&reason| (reason, of(reason))).collect();
        let before = std::mem::replace(&mut self.before, now.clone());
        let since = |(reason, count): (DropReason, u64)| {
            (reason, count - before.get(&reason).copied().unwrap_or_default())
        };
        now.into_iter().map(since).filter(|&(_, count)| count > 0).collect()
    }

    fn count(&self, counter: Counter) -> u64 {
        (0..self.workers).map(|worker| self.rig.counters(worker).get(counter)).sum()
    }

    /// The changing word of every live session, in the order of their records.
    fn sessions(&self) -> Vec<Hot> {
        self.shared.sessions().iter().filter(|session| session.is_live()).map(Session::hot).collect()
    }

    /// Waits until the worker's clock has gone on.
    fn tick(&mut self) {
        std::thread::sleep(std::time::Duration::from_millis(300));
        self.rig.turn();
    }
}

/// A packet to the last 32 bits of a prefix is none to the prefix; a neighbour of the pool is not in it; a more specific
/// route is followed; groups go nowhere.
//= conformance XLT-01, XLT-02, XLT-42, XLT-43
pub(super) fn only_what_is_addressed_to_us_is_translated(eal: &Eal) {
    let part = p(0xcb00_7100);
    let mut scene = Scene::with(eal, 1, |spec, snapshot| {
        spec.native.push((part, 120));
        let via = snapshot.routes[2].via.clone();
        snapshot.routes.push(RouteSpec { ipv6: true, prefix: part, len: 120, via });
    });
    for destination in [0x2001_0db8_0009 << 80 | u128::from(S), (P | 1 << 32) | u128::from(S), part | 7] {
        let seen = scene.back(INSIDE, &v6(H, destination, UDP, udp((5000, 53), b"data")));
        assert_eq!((seen.source, seen.destination, seen.hop_limit), (H, destination, 63));
    }
    for destination in [0xc000_02c8, POOL - 1, POOL + 4] {
        let seen = scene.back(OUTSIDE, &v4(S, destination, UDP, udp((53, 5000), b"data")));
        assert_eq!((seen.source, seen.destination, seen.hop_limit), (S.into(), destination.into(), 63));
    }
    scene.dies(INSIDE, &v6(H, p(0xe000_0001), UDP, udp((5000, 53), b"")), DropReason::EmbeddedAddressIllegal);
    // To a group of the link.
    let mut group = frame(&v6(H, p(S), UDP, udp((5000, 53), b"")));
    group[0] = 1;
    assert_eq!(scene.send_frame(INSIDE, &group), []);
    assert_eq!(scene.drops(), [(DropReason::NotUnicast, 1)]);
    assert_eq!(scene.count(Counter::SessionsCreated), 0);
    scene.open(H, 5000, S);
}

/// Only TCP, UDP and ICMP have ports to be mapped. IPsec in UDP is UDP.
//= conformance XLT-04, XLT-05, XLT-44, N44-26, N44-28, ICMP-110
pub(super) fn other_transports_are_refused_and_their_senders_told(eal: &Eal) {
    const GRE: u8 = 47;
    const ESP: u8 = 50;
    const AH: u8 = 51;
    const DCCP: u8 = 33;
    const SCTP: u8 = 132;
    let mut scene = Scene::new(eal);
    let (external, _) = scene.open(H, 4500, S);
    for protocol in [GRE, ESP, AH, DCCP, SCTP] {
        let error = scene.back(INSIDE, &v6(H, p(S), protocol, vec![1; 40]));
        assert_eq!((error.source, error.destination, error.message()), (GATEWAY6, H, (1, 4)), "{protocol}");
        let own = GATEWAY4.map(u128::from);
        let error = scene.back(INSIDE, &v4(HOST, S, protocol, vec![1; 40]));
        let expected = (own[INSIDE], HOST.into(), (3, 2));
        assert_eq!((error.source, error.destination, error.message()), expected, "{protocol}");
        let error = scene.back(OUTSIDE, &v4(S, external, protocol, vec![1; 40]));
        let expected = (own[OUTSIDE], S.into(), (3, 2));
        assert_eq!((error.source, error.destination, error.message()), expected, "{protocol}");
    }
    assert_eq!(scene.drops(), [(DropReason::ProtocolUnsupported, 15)]);
    let encapsulated = scene.pass(INSIDE, &v6(H, p(S), UDP, udp((4500, 4500), &[7; 60])));
    assert_eq!((encapsulated.ports().1, &encapsulated.payload[8..]), (4500, &[7; 60][..]));
}

/// No error answers them either.
//= conformance ICMP-03, ICMP-04, ICMP-05, ICMP-06, ICMP-07, ICMP-08, ICMP-09, ICMP-42, ICMP-43, ICMP-44
pub(super) fn queries_without_counterpart_die_silently(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let (external, _) = scene.open(H, 5000, S);
    for kind in [9, 10, 13, 14, 15, 16, 17, 18, 42, 200] {
        let packet = v4(S, external, ICMP, icmp(kind, 0, 0, &[0; 12]));
        scene.dies(OUTSIDE, &packet, DropReason::IcmpUntranslatable);
    }
    const IGMP: u8 = 2;
    let report = v4(S, external, IGMP, vec![0x22, 0, 0, 0, 0, 0, 0, 0]);
    scene.dies(OUTSIDE, &report, DropReason::ProtocolUnsupported);
    for kind in [130, 131, 132, 143, 133, 134, 135, 136, 137, 139, 200] {
        for hop_limit in [64, 255] {
            let packet = v6_with(H, p(S), (ICMPV6, hop_limit), icmp(kind, 0, 0, &[0; 20]));
            scene.dies(INSIDE, &packet, DropReason::IcmpUntranslatable);
        }
    }
}

/// In both directions, from the address on the side of the sender; not where it is switched off.
//= conformance ICMP-109, XLT-14, XLT-25, N44-05
pub(super) fn a_hop_limit_of_one_is_told_to_the_sender(eal: &Eal) {
    for told in [true, false] {
        let mut scene = Scene::with(eal, 1, |_, snapshot| {
            snapshot.interfaces.iter_mut().for_each(|interface| interface.time_exceeded = told);
        });
        let (external, port) = scene.open(H, 5000, S);
        let [six, four] = [(INSIDE, GATEWAY6), (OUTSIDE, GATEWAY4[1].into())];
        let host = (INSIDE, GATEWAY4[0].into());
        for ((side, own), sender, message, packet) in [
            (six, H, (3, 0), v6_with(H, p(S), (UDP, 1), udp((5000, 53), b""))),
            (six, H, (3, 0), v6_with(H, p(S), (ICMPV6, 1), echo(128, 9))),
            (host, HOST.into(), (11, 0), v4_with(HOST, S, (UDP, 1, 0), udp((5000, 53), b""))),
            (four, S.into(), (11, 0), v4_with(S, external, (UDP, 1, 0), udp((53, port), b""))),
        ] {
            if told {
                let error = scene.back(side, &packet);
                assert_eq!((error.source, error.destination, error.message()), (own, sender, message));
            } else {
                scene.dies(side, &packet, DropReason::HopLimitExceeded);
            }
        }
    }
}

/// A RST of any sequence number is forwarded and shortens the timer; the next segment makes it long again.
//= conformance N64-TCP-41, N64-TCP-42
pub(super) fn resets_are_not_judged_by_their_sequence(eal: &Eal) {
    let mut scene = Scene::new(eal);
    let segment = |flags, sequence| v6(H, p(S), TCP, tcp((4000, 80), flags, sequence));
    let opened = scene.pass(INSIDE, &segment(tcp::SYN, 1));
    let (external, port) = (opened.source as u32, opened.ports().0);
    let answer = |flags, sequence| v4(S, external, TCP, tcp((80, port), flags, sequence));
    scene.pass(OUTSIDE, &answer(tcp::SYN | tcp::ACK, 1000));
    let established = scene.sessions()[0].tcp_state;
    for sequence in [0, 0x7fff_ffff, 0xdead_beef] {
        let reset = scene.pass(OUTSIDE, &answer(tcp::RST, sequence));
        assert_eq!((reset.destination, reset.payload[13]), (H, tcp::RST));
        assert_ne!(scene.sessions()[0].tcp_state, established);
        scene.pass(INSIDE, &segment(tcp::ACK, 2));
        assert_eq!(scene.sessions()[0].tcp_state, established);
    }
}

/// Numbered packets of a flow, from its first on, also where every packet comes to the wrong worker.
//= conformance XLT-39, MAP-13
pub(super) fn a_flow_leaves_in_the_order_in_which_it_came(eal: &Eal) {
    for workers in [1, 2, 4] {
        let mut scene = Scene::with(eal, workers, |_, _| ());
        let mut handed = 0;
        for host in 0..8u128 {
            let mut next = 0u32;
            let packet = |n: u32| frame(&v6(H + (host << 64), p(S), UDP, udp((5000, 53), &n.to_be_bytes())));
            for burst in 0..40u32 {
                let frames: Vec<_> = (0..50).map(|n| packet(burst * 50 + n)).collect();
                scene.rig.put(INSIDE, 0, frames.iter().map(Vec::as_slice));
                while scene.rig.turn() > 0 {}
                for (port, frame) in scene.rig.take() {
                    let number = Seen::of(&frame).payload[8..].try_into().ok().map(u32::from_be_bytes);
                    assert_eq!((port, number), (OUTSIDE, Some(next)), "{workers} workers, host {host}");
                    next += 1;
                }
            }
            assert_eq!(next, 2000, "{workers} workers, host {host}: {:?}", scene.drops());
        }
        handed += scene.count(Counter::HandoffIn);
        assert_eq!(handed > 0, workers > 1);
    }
}

/// A refusal for want of ports: address unreachable for IPv6, host unreachable for IPv4.
//= conformance LIM-06, LIM-07, N44-27, N64-UDP-13, N64-TCP-43, N64-ICMP-13
pub(super) fn who_gets_no_port_is_told_and_never_leaves_untranslated(eal: &Eal) {
    let mut scene = Scene::with(eal, 1, |spec, _| {
        spec.pools[0].prefixes = vec![(POOL, 32)];
        (spec.pools[0].port_min, spec.pools[0].port_max, spec.pools[0].block_size) = (2048, 2111, 64);
    });
    scene.open(H, 5000, S);
    for (protocol, payload) in
        [(UDP, udp((5000, 53), b"")), (TCP, tcp((5000, 80), tcp::SYN, 1)), (ICMPV6, echo(128, 7))]
    {
        let error = scene.back(INSIDE, &v6(H2, p(S), protocol, payload));
        assert_eq!((error.source, error.destination, error.message()), (GATEWAY6, H2, (1, 3)));
    }
    for (protocol, payload) in
        [(UDP, udp((5000, 53), b"")), (TCP, tcp((5000, 80), tcp::SYN, 1)), (ICMP, echo(8, 7))]
    {
        let error = scene.back(INSIDE, &v4(HOST2, S, protocol, payload));
        assert_eq!((error.destination, error.message()), (HOST2.into(), (3, 1)));
    }
    assert_eq!(scene.drops(), [(DropReason::PoolExhausted, 6)]);
}

/// Never, seldom or often, for each family by itself; policy is told as such.
//= conformance ICMP-101, ICMP-102, ICMP-103, LIM-13
pub(super) fn errors_can_be_switched_off_for_each_family(eal: &Eal) {
    for (ipv4, ipv6) in [(0, 5), (5, 0), (1000, 1000)] {
        let mut scene = Scene::with(eal, 1, |spec, snapshot| {
            spec.rules[0].sources = vec![(H & !0xffff, 112)];
            snapshot.icmp_errors_per_second = IcmpErrors { ipv4, ipv6 };
        });
        let stranger = v6(H2, p(S), UDP, udp((5000, 53), b""));
        let told: Vec<_> = (0..20).flat_map(|_| scene.send(INSIDE, &stranger)).collect();
        assert!(told.iter().all(|(_, error)| error.message() == (1, 1) && error.destination == H2));
        // A tick may pass meanwhile.
        let allowed = |rate: u32, told: usize| (rate.min(20)..=rate.min(18) + 2).contains(&(told as u32));
        assert!(allowed(ipv6, told.len()) || ipv6 == 0 && told.is_empty(), "{ipv6}: {}", told.len());
        let gre = v4(HOST, S, 47, vec![0; 20]);
        let told = (0..20).map(|_| scene.send(INSIDE, &gre).len()).sum();
        assert!(allowed(ipv4, told) || ipv4 == 0 && told == 0, "{ipv4}: {told}");
        let kept = scene.count(Counter::IcmpErrorsSuppressed) + scene.count(Counter::Generated);
        assert_eq!(kept, 40);
    }
}
