//! Configurations: what is refused, how packets are classified, and what a change of generation does.

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

fn compile(spec: &Spec) -> Result<Config, ConfigError> {
    shared(100, 1).compile(spec, 1, None)
}

#[test]
fn every_invalid_specification_is_named() {
    //= conformance ADDR-07, ADDR-09, ADDR-12, ADDR-24, N64-UDP-05, N64-TCP-34, N64-ICMP-05, N44-10, N44-12
    type Change = fn(&mut Spec);
    let made = |rule: u16, inside: u128, external: u32, port: u16| StaticSpec {
        rule,
        protocol: Udp,
        inside,
        inside_port: 22,
        external,
        external_port: port,
    };
    let cases: &[(&str, Change)] = &[
        ("Prefix64Invalid", |s| s.rules[0].prefix64 = Some((P, 72))),
        ("Prefix64Invalid", |s| s.rules[0].prefix64 = Some((P | 0xab << 56, 96))),
        ("Prefix64Invalid", |s| s.rules[0].prefix64 = Some((0x0064_ff9b << 96, 64))),
        ("Prefix64Missing", |s| s.rules[0].prefix64 = None),
        ("Prefix64OnNat44", |s| s.rules[1].prefix64 = Some((P, 96))),
        ("Realm", |s| s.rules[0].realm = 64),
        ("PoolUnknown", |s| s.rules[0].pool = 1),
        ("Source", |s| s.rules[0].sources = vec![(H, 64)]),
        ("Source", |s| s.rules[1].sources = vec![(H, 128)]),
        ("Source", |s| s.rules[1].sources = vec![(0, 33)]),
        ("Exception", |s| s.rules[1].except = vec![(S, 24)]),
        ("ExceptionOnNat64", |s| s.rules[0].except = vec![(S, 32)]),
        ("PoolEmpty", |s| s.pools[0].prefixes.clear()),
        ("PoolPrefix", |s| s.pools[0].prefixes = vec![(T, 24)]),
        ("PoolPrefix", |s| s.pools[0].prefixes = vec![(0xe000_0001, 32)]),
        ("PoolOverlap", |s| s.pools.push(pool("other", T, 32))),
        ("PoolOverlap", |s| s.pools[0].prefixes.push((T, 32))),
        ("PortRange", |s| s.pools[0].port_min = 0),
        ("PortRange", |s| s.pools[0].port_max = 1023),
        ("BlockSize", |s| s.pools[0].block_size = 100),
        ("BlockSize", |s| s.pools[0].block_size = 32),
        ("BlockSize", |s| s.pools[0].block_size = 8192),
        ("HoldDown", |s| s.pools[0].hold_down = 241),
        ("ReservedPorts", |s| s.pools[0].reserved = vec![(4500, 4500), (0, 5)]),
        ("ReservedPorts", |s| s.pools[0].reserved = vec![(5061, 5060)]),
        ("NothingLeft", |s| s.pools[0].reserved = vec![(2000, 65_535), (1, 1999)]),
        ("TooManyAddresses", |s| s.pools[0].prefixes = vec![(0xc000_0200, 24)]),
        ("TooManyAddresses", |s| s.pools[0].prefixes = vec![(0x0800_0000, 5)]),
        ("Timer", |s| s.timers.udp = 119),
        ("Timer", |s| s.timers.tcp_established = 7199),
        ("Timer", |s| s.timers.icmp = 59),
        ("Timer", |s| s.timers.tcp_opening = 0),
        ("Timer", |s| s.timers.tcp_transitory = u32::MAX),
        ("SubscriberPrefix", |s| s.limits.ipv6_prefix_length = 47),
        ("SubscriberPrefix", |s| s.limits.ipv6_prefix_length = 129),
        ("Limit", |s| s.limits.max_sessions = 0),
        ("Limit", |s| s.limits.max_port_blocks = 0),
    ];
    for (number, (name, change)) in cases.iter().enumerate() {
        let mut wrong = spec();
        change(&mut wrong);
        let error = compile(&wrong).expect_err(name);
        assert!(format!("{error:?}").starts_with(name), "case {number}: {name}, got {error:?}");
        assert!(!error.to_string().is_empty());
    }
    for (name, statics) in [
        ("StaticRule", vec![made(2, H, T, 22)]),
        ("StaticAddress", vec![made(1, H, T, 22)]),
        ("StaticAddress", vec![made(0, H, T, 0)]),
        ("StaticAddress", vec![made(0, H, 0xe000_0001, 22)]),
        ("StaticTwice", vec![made(0, H, T, 22), made(0, H2, T, 22)]),
        ("StaticTwice", vec![made(0, H, T, 22), made(0, H, T, 23)]),
    ] {
        let error = compile(&Spec { statics, ..spec() }).expect_err(name);
        assert!(format!("{error:?}").starts_with(name), "{name}, got {error:?}");
    }
    assert!(compile(&spec()).is_ok());
    assert!(compile(&Spec::default()).is_ok(), "an empty configuration translates nothing");
}

#[test]
fn ipv6_packets_are_classified_by_their_destination() {
    //= conformance XLT-03, ADDR-11, ADDR-13, ADDR-14, ADDR-15, ADDR-19, DISC-06
    const WKP: u128 = 0x0064_ff9b << 96;
    let mut all = spec();
    all.rules.push(RuleSpec { prefix64: Some((WKP, 96)), ..nat64(P) });
    all.rules.push(RuleSpec {
        prefix64: Some((0x2001_0db8_0064_0064 << 64, 64)),
        interfaces: vec![3],
        ..nat64(P)
    });
    let config = compile(&all).expect("valid");
    let to = |destination| config.outbound_v6(H, destination, 0);
    let translated =
        |id, remote| Outbound::Translate { kind_realm: KindRealm::new(Kind::Nat64, 0), prefix64: id, remote };
    assert_eq!(to(H2), Outbound::Native);
    assert_eq!(to(P | u128::from(S)), translated(1, S));
    assert_eq!(to(P | 0x0a00_0001), translated(1, 0x0a00_0001));
    assert_eq!(to(WKP | 0x0808_0808), translated(2, 0x0808_0808));
    assert_eq!(to(WKP | 0x0a00_0001), Outbound::Drop(DropReason::WellKnownPrefixNonGlobal));
    assert_eq!(to(P | 0x7f00_0001), Outbound::Drop(DropReason::EmbeddedAddressIllegal));
    assert_eq!(to(P | 0xe000_0001), Outbound::Drop(DropReason::EmbeddedAddressIllegal));
    let source = P2 ^ (P ^ P2) | u128::from(S);
    assert_eq!(config.outbound_v6(source, P | u128::from(S), 0), Outbound::Drop(DropReason::SourceInPref64));
    let short = 0x2001_0db8_0064_0064 << 64 | u128::from(S) << 24;
    assert_eq!(config.outbound_v6(H, short, 3), translated(3, S));
    assert_eq!(config.outbound_v6(H, short | 1 << 56, 3), Outbound::Drop(DropReason::EmbeddedAddressIllegal));
    assert_eq!(config.outbound_v6(H, short, 4), Outbound::Drop(DropReason::NoRule));
    // The rule that allows it is asked again when the session is made.
    all.rules.push(RuleSpec {
        prefix64: Some((WKP, 96)),
        wkp_allow_non_global: true,
        sources: vec![],
        ..nat64(P)
    });
    let mut bench = Bench::new(&all);
    let tuple = OutboundTuple { prefix64: 2, ..out64(Udp, H, 1, 0x0a00_0001, 1) };
    assert!(matches!(bench.engine.config().outbound_v6(H, WKP | 0x0a00_0001, 0), Outbound::Translate { .. }));
    assert_eq!(bench.out(tuple, 0), Err(DropReason::WellKnownPrefixNonGlobal));
    assert!(bench.out(OutboundTuple { inside: 1 << 126, ..tuple }, 0).is_ok());
    let fixed = bench.out(OutboundTuple { remote: 0x0808_0808, ..tuple }, 0).expect("global");
    assert_eq!(bench.inn(back(&fixed, 0x0a00_0001, 1), 0), Err(DropReason::WellKnownPrefixNonGlobal));
}

#[test]
fn a_route_to_part_of_a_prefix_keeps_that_part_native() {
    //= conformance XLT-42
    let mut given = spec();
    let mut bench = Bench::new(&given);
    let [goes, stays] =
        [S, S2].map(|remote| bench.out_flow(out64(Udp, H, 5000, remote, 53), 0).expect("made"));
    given.native = vec![(P | u128::from(S & !0xff), 120), (P2 | u128::from(S & !0xff), 120)];
    // As long as the prefix, or shorter: the prefix wins.
    given.native.extend([(P, 96), (P >> 64 << 64, 64), (0x2001_0db8 << 96, 32)]);
    bench.apply(&given);
    let config = bench.engine.config();
    let to = |remote: u32| config.outbound_v6(H, P | u128::from(remote), 0);
    assert_eq!((to(S), to(S | 0xff)), (Outbound::Native, Outbound::Native));
    assert!(
        matches!(to(S2), Outbound::Translate { .. }) && matches!(to(S + 0x100), Outbound::Translate { .. })
    );
    assert_eq!(config.candidate_v6(P | u128::from(S), 0), None, "the fast path knows it too");
    assert!(config.candidate_v6(P | u128::from(S2), 0).is_some());
    bench.settle();
    assert!(!bench.engine.session(goes.session).is_live(), "its packets are no longer translated");
    assert!(bench.engine.session(stays.session).is_live());
    given.native = vec![(P | 1, 120)];
    assert!(compile(&given).is_err(), "host bits");
}

#[test]
fn ipv4_packets_are_translated_from_inside_to_outside_only() {
    //= conformance N44-18, N44-21
    let mut some = spec();
    some.rules[1].except = vec![(S2 & !0xff, 24)];
    some.rules[1].interfaces = vec![1];
    let config = compile(&some).expect("valid");
    let nat44 = KindRealm::new(Kind::Nat44, 0);
    let host = HOST as u32;
    let translated = Outbound::Translate { kind_realm: nat44, prefix64: 0, remote: S };
    assert_eq!(config.outbound_v4(host, S, 1), translated);
    assert_eq!(config.outbound_v4(host, S, 2), Outbound::Native);
    assert_eq!(config.outbound_v4(host, S2, 1), Outbound::Native);
    assert_eq!(config.outbound_v4(host, HOST2 as u32, 1), Outbound::Native);
    assert_eq!(config.outbound_v4(S2, S, 1), Outbound::Native);
    for (address, external) in [(T - 1, true), (T + 2, true), (T + 3, false), (T - 2, false)] {
        assert_eq!(config.is_external(address), external);
    }
}

#[test]
fn sessions_of_a_removed_rule_go_and_the_others_stay() {
    //= conformance MAP-16
    let mut bench = Bench::new(&spec());
    let stays = bench.out_flow(out64(Udp, H, 5000, S, 53), 0).expect("made");
    let goes = bench.out_flow(out44(Udp, HOST, 5000, S, 53), 0).expect("made");
    let unseen = bench.out_flow(out44(Udp, HOST2, 5000, S, 53), 0).expect("made");
    let mut less = spec();
    less.rules.remove(1);
    less.rules.insert(0, RuleSpec { realm: 5, ..nat44() });
    bench.apply(&less);
    assert_eq!(bench.out(out64(Udp, H, 5000, S, 53), 0), Ok(stays.fixed));
    assert_eq!(bench.inn(back(&stays.fixed, S, 53), 0), Ok(stays.fixed));
    assert_eq!(bench.out(out44(Udp, HOST, 5000, S, 53), 0), Err(DropReason::NoRule));
    assert!(!bench.engine.session(goes.session).is_live());
    assert_eq!(bench.inn(back(&goes.fixed, S, 53), 0), Err(DropReason::NoBinding));
    bench.settle();
    assert!(!bench.engine.session(unseen.session).is_live(), "the sweep finds what no packet touches");
    let heard = bench.heard();
    assert_eq!(heard.iter().filter(|event| matches!(event, Event::BindingDeleted { .. })).count(), 2);
    assert_eq!(bench.engine.stats().sessions, 1);
    assert_eq!(bench.engine.config().rule_position(stays.fixed.rule), Some(1), "ids stay with their rules");
    bench.pass(299.0);
    assert!(bench.engine.session(stays.session).is_live());
}

#[test]
fn a_source_that_is_no_longer_served_loses_its_sessions() {
    let mut bench = Bench::new(&spec());
    let one = bench.out_flow(out64(Udp, H, 5000, S, 53), 0).expect("made");
    let two = bench.out_flow(out64(Udp, H2, 5000, S, 53), 0).expect("made");
    let mut narrow = spec();
    narrow.rules[0].sources = vec![(H2 & !0xff, 120)];
    bench.apply(&narrow);
    bench.settle();
    assert!(!bench.engine.session(one.session).is_live());
    assert!(bench.engine.session(two.session).is_live());
    let stranger = bench.inn(back(&two.fixed, S2, 53), 0).expect("made");
    assert_eq!(stranger.inside, H2);
}

#[test]
fn another_pool_means_another_address_and_the_old_one_rests() {
    let mut bench = Bench::new(&spec());
    let tuple = out64(Udp, H, 5000, S, 53);
    let old = bench.out_flow(tuple, 0).expect("made");
    let mut moved = spec();
    moved.pools.push(pool("new", 0xcb00_7180, 28));
    moved.rules[0].pool = 1;
    bench.apply(&moved);
    assert_eq!(bench.out(tuple, 0), Err(DropReason::NoRule), "the packet that finds out");
    let new = bench.out(tuple, 0).expect("made");
    assert_eq!(new.external & !0xf, 0xcb00_7180);
    assert!(!bench.engine.session(old.session).is_live());
    // Removed addresses and a new range work alike.
    let changes: [fn(&mut Spec); 2] =
        [|s| s.pools[1].prefixes = vec![(0xcb00_7190, 28)], |s| s.pools[1].port_max = 1100];
    for change in changes {
        let before = bench.out(tuple, 0).expect("made");
        change(&mut moved);
        bench.apply(&moved);
        bench.settle();
        let after = bench.out(tuple, 0).expect("made");
        assert_eq!(after, bench.out(tuple, 0).expect("known"));
        let pool = &moved.pools[1];
        assert!(after.external & !0xf == pool.prefixes[0].0 && after.external_port <= pool.port_max);
        assert_eq!(bench.engine.stats().bindings, 1);
        let _ = before;
    }
    bench.pass(130.0);
    assert_eq!(bench.engine.stats().port_blocks, 1);
}

#[test]
fn a_new_block_size_leaves_sessions_alone_and_never_gives_a_port_twice() {
    //= conformance MAP-16, PORT-01
    let mut given = spec();
    given.pools[0] = PoolSpec { block_size: 64, port_max: 1024 + 4095, ..pool("one", T, 32) };
    given.limits.max_port_blocks = 1024;
    let mut bench = Bench::new(&given);
    let mut ports = std::collections::HashSet::new();
    for (round, size) in [64, 1024, 128, 4096, 64].into_iter().enumerate() {
        given.pools[0].block_size = size;
        bench.apply(&given);
        bench.settle();
        for n in 0..150u16 {
            let inside = H + ((u128::from(n % 3) + 10 * round as u128) << 64);
            if let Ok(fixed) = bench.out(out64(Udp, inside, n + 1, S, 53), 0) {
                assert!(ports.insert(fixed.external_port));
            }
        }
        assert_eq!(bench.engine.stats().sessions as usize, ports.len());
    }
    assert!(ports.len() > 400, "{}", ports.len());
    bench.pass(301.0);
    bench.pass(121.0);
    assert_eq!(bench.engine.stats().port_blocks, 0);
}

#[test]
fn filtering_that_becomes_stricter_knows_the_sessions_that_exist() {
    let mut bench = Bench::new(&spec());
    let fixed = bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    bench.apply(&with_filtering(Filtering::AddressDependent));
    bench.settle();
    assert!(bench.inn(back(&fixed, S, 99), 0).is_ok());
    assert_eq!(bench.inn(back(&fixed, S2, 99), 0), Err(DropReason::Filtered));
    bench.pass(301.0);
    assert_eq!(bench.engine.stats().sessions, 0);
}

#[test]
fn addresses_keep_their_places_and_places_are_used_again() {
    let shared = shared(1000, 1);
    let mut config: Option<Config> = None;
    for round in 0..300u32 {
        let mut next = spec();
        next.pools[0] = pool("moving", 0x0b00_0000 + round * 32, 27);
        next.pools.push(pool("fixed", POOL, 30));
        config = Some(shared.compile(&next, round as u16, config.as_ref()).expect("room for 64 addresses"));
    }
}

#[test]
fn the_place_of_an_address_is_not_given_away_while_its_blocks_are_in_use() {
    let mut bench = Bench::new(&spec());
    let used = bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    let full = |start: u32| Spec { pools: vec![pool("a", start, 27), pool("b", start + 32, 27)], ..spec() };
    bench.apply(&full(0x0b00_0000));
    let config = std::sync::Arc::clone(bench.engine.config());
    let next = |config: &Config| bench.shared.compile(&full(0x0c00_0000), 9, Some(config));
    // 128 places, 64 in use by the current configuration, one by the session.
    assert_eq!(next(&config).err(), Some(ConfigError::AddressesResting));
    bench.pass(2.0);
    assert!(bench.inn(back(&used, S, 53), 0).is_err());
    bench.pass(121.0);
    assert!(bench.shared.compile(&full(0x0c00_0000), 9, Some(&config)).is_ok());
}

fn ssh(inside: u128, external: u32) -> StaticSpec {
    StaticSpec { rule: 0, protocol: Tcp, inside, inside_port: 22, external, external_port: 2222 }
}

#[test]
fn static_bindings_work_from_both_sides_and_never_expire() {
    //= conformance MAP-10, N64-UDP-08, N64-ICMP-12, N44-29, PORT-08
    let mut fixed = spec();
    fixed.statics = vec![
        ssh(H, T),
        StaticSpec { protocol: Icmp, inside_port: 1, external_port: 1, ..ssh(H, 0x0909_0909) },
        StaticSpec { rule: 1, inside: HOST, ..ssh(H, T + 1) },
    ];
    let mut bench = Bench::new(&fixed);
    bench.pass(100_000.0);
    let probe = InboundTuple { protocol: Tcp, external: T, external_port: 2222, remote: S, remote_port: 9 };
    let made = bench.inn_flow(probe, SYN).expect("from outside");
    assert_eq!((made.fixed.inside, made.fixed.inside_port, made.fixed.prefix64), (H, 22, 1));
    let ping =
        InboundTuple { protocol: Icmp, external: 0x0909_0909, external_port: 1, remote: S, remote_port: 0 };
    assert_eq!(bench.inn(ping, 0).expect("from outside").inside_port, 1);
    let four = InboundTuple { external: T + 1, ..probe };
    assert_eq!(bench.inn(four, SYN).expect("from outside").inside, HOST);
    let out = bench.out(out64(Tcp, H, 22, S2, 80), SYN).expect("from inside");
    assert_eq!((out.external, out.external_port), (T, 2222));
    bench.pass(10_000.0);
    assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (0, 3));
    assert_eq!(bench.heard(), []);
    //= conformance MAP-16
    fixed.pools[0].prefixes.push((0x0b00_0000, 30));
    bench.apply(&fixed);
    assert!(bench.inn(probe, SYN).is_ok());
    // Taken away, it is gone with its sessions.
    fixed.statics.remove(0);
    bench.apply(&fixed);
    bench.settle();
    assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (0, 2));
    assert_eq!(bench.inn(probe, SYN), Err(DropReason::UnsolicitedSyn));
}

#[test]
fn the_port_of_a_static_binding_is_never_given_out_and_taken_back_if_it_was() {
    //= conformance PORT-08
    let mut tight = spec();
    tight.pools[0] = PoolSpec { port_min: 2176, port_max: 2239, block_size: 64, ..pool("tight", T, 32) };
    let mut with = tight.clone();
    with.statics = vec![ssh(H2, T)];
    let fill = |bench: &mut Bench| {
        (1..=64)
            .filter_map(|port| bench.out(out64(Tcp, H, port, S, 80), SYN).ok())
            .map(|fixed| fixed.external_port)
            .collect::<Vec<u16>>()
    };
    let mut bench = Bench::new(&with);
    let ports = fill(&mut bench);
    assert!(ports.len() == 63 && !ports.contains(&2222));
    // Once the operator has no use for it, it is one like the others, though its block is the same.
    bench.apply(&tight);
    assert!(fill(&mut bench).contains(&2222));
    let mut bench = Bench::new(&tight);
    assert!(fill(&mut bench).contains(&2222));
    bench.apply(&with);
    bench.settle();
    assert_eq!(bench.engine.stats().sessions, 63);
    let probe = InboundTuple { protocol: Tcp, external: T, external_port: 2222, remote: S2, remote_port: 9 };
    assert_eq!(bench.inn(probe, SYN).expect("the operator's").inside, H2);
    let config = bench.engine.config();
    let owner = |protocol, port| bench.shared.external_owner(config, protocol, T, port);
    assert_eq!(owner(Tcp, 2222), ExternalOwner::Static(WorkerId(0)));
    assert_eq!(owner(Udp, 2222), ExternalOwner::Worker(WorkerId(0)));
    assert_eq!(owner(Udp, 22), ExternalOwner::Kernel);
    assert_eq!(bench.shared.external_owner(config, Udp, S, 22), ExternalOwner::NotExternal);
}
