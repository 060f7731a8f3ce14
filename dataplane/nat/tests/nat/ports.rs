//! Ports and blocks: allocation, exhaustion, rest, release.

use std::collections::HashSet;

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

/// One address, ports 2048 to 2303 in blocks of 64.
fn small() -> Spec {
    let mut small = spec();
    small.pools[0] = PoolSpec { port_min: 2048, port_max: 2303, block_size: 64, ..pool("small", T, 32) };
    small
}

#[test]
fn a_pool_is_filled_to_its_last_port_and_recovers_after_the_hold_down() {
    //= conformance PORT-01, PORT-10, PORT-14, PORT-15, PORT-22, N64-UDP-13, N64-ICMP-13, MAP-06, MAP-12
    for protocol in [Udp, Icmp] {
        let mut bench = Bench::new(&small());
        let mut ports = HashSet::new();
        for port in 1..=256 {
            let fixed = bench.out(out64(protocol, H, port, S, 53), 0).expect("a port is left");
            assert!((2048..=2303).contains(&fixed.external_port) && ports.insert(fixed.external_port));
        }
        bench.heard();
        assert_eq!(bench.out(out64(protocol, H, 300, S, 53), 0), Err(DropReason::PoolExhausted));
        assert_eq!(bench.engine.stats().bindings, 256);
        assert_eq!(bench.heard().len(), 1, "one report, no orphan");
        // What exists goes on.
        assert!(bench.out(out64(protocol, H, 1, S2, 53), 0).is_ok());
        let idle = if protocol == Udp { 300.0 } else { 60.0 };
        bench.pass(idle + 0.5);
        assert_eq!(bench.engine.stats().bindings, 0);
        // Other subscribers find no block, the same one no port, until all have rested.
        for wait in [0.0, 118.0] {
            bench.pass(wait);
            assert_eq!(bench.out(out64(protocol, H, 1, S, 53), 0), Err(DropReason::PoolExhausted));
            assert_eq!(bench.out(out64(protocol, H2, 1, S, 53), 0), Err(DropReason::PoolExhausted));
        }
        bench.heard();
        bench.pass(6.0);
        let released = bench.heard();
        assert_eq!(released.iter().filter(|event| matches!(event, Event::BlockReleased { .. })).count(), 4);
        assert_eq!((bench.engine.stats().port_blocks, bench.engine.stats().subscribers), (0, 0));
        for port in 1..=256 {
            assert!(bench.out(out64(protocol, H2, port, S, 53), 0).is_ok());
        }
    }
}

#[test]
fn tcp_ports_are_usable_again_at_once() {
    //= conformance PORT-11, N64-TCP-43
    let mut bench = Bench::new(&small());
    for port in 1..=256 {
        assert!(bench.out(out64(Tcp, H, port, S, 80), SYN).is_ok());
    }
    assert_eq!(bench.out(out64(Tcp, H, 300, S, 80), SYN), Err(DropReason::PoolExhausted));
    bench.pass(240.5);
    assert_eq!(bench.engine.stats().port_blocks, 0);
    for port in 1..=256 {
        assert!(bench.out(out64(Tcp, H2, port, S, 80), SYN).is_ok());
    }
}

#[test]
fn a_port_rests_while_its_block_lives_on() {
    //= conformance PORT-10
    let mut tight = small();
    tight.pools[0].port_max = 2048 + 63;
    let mut bench = Bench::new(&tight);
    let first = bench.out(out64(Udp, H, 1, S, 53), 0).expect("made");
    for port in 2..=64 {
        bench.out(out64(Udp, H, port, S, 53), 0).expect("made");
    }
    let keep = |bench: &mut Bench| {
        for port in 2..=64 {
            bench.out(out64(Udp, H, port, S, 53), 0).expect("lives");
        }
    };
    bench.pass(200.0);
    keep(&mut bench);
    bench.pass(100.5);
    assert_eq!(bench.engine.stats().bindings, 63);
    bench.pass(119.0);
    keep(&mut bench);
    assert_eq!(bench.out(out64(Udp, H, 99, S, 53), 0), Err(DropReason::PoolExhausted));
    bench.pass(6.0);
    let again = bench.out(out64(Udp, H, 99, S, 53), 0).expect("has rested");
    assert_eq!(again.external_port, first.external_port);
    // After minutes without any change the bytes have wrapped; nothing rests longer than it should.
    bench.pass(150.0);
    keep(&mut bench);
    bench.pass(160.0);
    for _ in 0..10 {
        bench.pass(100.0);
        keep(&mut bench);
    }
    assert_eq!(bench.engine.stats().bindings, 63);
    assert!(bench.out(out64(Udp, H, 100, S, 53), 0).is_ok());
}

#[test]
fn no_more_ports_rest_than_may() {
    //= conformance PORT-10
    let mut tight = small();
    tight.pools[0].port_max = 2048 + 63;
    tight.pools[0].max_resting = 16;
    for protocol in [Udp, Icmp] {
        let mut bench = Bench::new(&tight);
        assert_eq!(fill(&mut bench, protocol, 64).len(), 64);
        bench.pass(if protocol == Udp { 300.5 } else { 60.5 });
        assert_eq!(bench.engine.stats().bindings, 0);
        assert_eq!(fill(&mut bench, protocol, 400).len(), 48, "16 rest, and the others need not");
        bench.pass(126.0);
        assert_eq!(fill(&mut bench, protocol, 400).len(), 64, "all have rested");
    }
}

#[test]
fn the_port_of_a_deleted_mapping_rests() {
    //= conformance MAP-15
    let mut tight = small();
    tight.pools[0].port_max = 2048 + 63;
    let mut bench = Bench::new(&tight);
    let flows: Vec<Flow> =
        (1..=64).map(|port| bench.out_flow(out64(Udp, H, port, S, 53), 0).expect("room")).collect();
    bench.engine.delete(flows[0].session, bench.now, &mut bench.events);
    assert_eq!(bench.inn(back(&flows[0].fixed, S, 53), 0), Err(DropReason::NoBinding));
    for wait in [0.0, 119.0] {
        bench.pass(wait);
        assert_eq!(bench.out(out64(Udp, H, 99, S, 53), 0), Err(DropReason::PoolExhausted), "{wait}");
    }
    bench.pass(6.0);
    let again = bench.out(out64(Udp, H, 99, S, 53), 0).expect("has rested");
    assert_eq!(again.external_port, flows[0].fixed.external_port);
}

/// Mappings of `H` and as many external ports of a protocol as there are.
fn fill(bench: &mut Bench, protocol: Protocol, most: u16) -> HashSet<(u32, u16)> {
    let flags = if protocol == Tcp { SYN } else { 0 };
    let made = (1..=most).filter_map(|port| bench.out(out64(protocol, H, port, S, 80), flags).ok());
    made.map(|fixed| (fixed.external, fixed.external_port)).collect()
}

#[test]
fn reserved_ports_are_never_given_out_and_all_others_are() {
    //= conformance PORT-08, PORT-14
    // Single ports, the end of one block with the beginning of the next, and all of the last block but one port.
    let mut with = small();
    with.pools[0].reserved = vec![(2050, 2050), (2100, 2115), (2240, 2302)];
    let is_free = |port: u16| !matches!(port, 2050 | 2100..=2115 | 2240..=2302);
    let expected: HashSet<(u32, u16)> =
        (2048..=2303).filter(|&port| is_free(port)).map(|port| (T, port)).collect();
    for protocol in [Udp, Tcp, Icmp] {
        let mut bench = Bench::new(&with);
        assert_eq!(fill(&mut bench, protocol, 400), expected, "{protocol}");
    }
    // A block all of whose ports are reserved is claimed by nobody, and hides none that others could have.
    with.pools[0].reserved = vec![(2112, 2175)];
    let mut bench = Bench::new(&with);
    let ports = fill(&mut bench, Udp, 400);
    assert!(ports.len() == 192 && !ports.iter().any(|(_, port)| (2112..=2175).contains(port)));
    assert_eq!(bench.engine.stats().port_blocks, 3);
    let owner = |bench: &Bench, port| bench.shared.external_owner(bench.engine.config(), Udp, T, port);
    assert_eq!(owner(&bench, 2112), ExternalOwner::Kernel, "the box's own, if the address is");
    assert_eq!(owner(&bench, 2111), ExternalOwner::Worker(WorkerId(0)));
}

#[test]
fn a_reserved_port_may_be_bound_statically() {
    //= conformance PORT-08
    let mut with = small();
    with.pools[0].reserved = vec![(2100, 2100)];
    let ends = StaticSpec {
        rule: 0,
        protocol: Udp,
        inside: H2,
        inside_port: 4500,
        external: T,
        external_port: 2100,
    };
    with.statics = vec![ends];
    let mut bench = Bench::new(&with);
    let made = bench.out(out64(Udp, H2, 4500, S, 4500), 0).expect("bound");
    assert_eq!((made.external, made.external_port), (T, 2100));
    let owner = bench.shared.external_owner(bench.engine.config(), Udp, T, 2100);
    assert_eq!(owner, ExternalOwner::Static(WorkerId(0)));
    assert_eq!(fill(&mut bench, Udp, 400).len(), 255);
    // A block that has none but reserved and bound ports is no reason to refuse one of another.
    with.pools[0].reserved = vec![(2048, 2099), (2101, 2111)];
    let mut bench = Bench::new(&with);
    for port in 1..=192 {
        bench.out(out64(Udp, H, port, S, 80), 0).expect("of another block");
    }
}

#[test]
fn ports_are_reserved_and_given_out_again_by_a_change_of_configuration() {
    //= conformance PORT-08
    let mut with = small();
    let mut bench = Bench::new(&with);
    assert_eq!(fill(&mut bench, Tcp, 256).len(), 256);
    with.pools[0].reserved = vec![(2050, 2050), (2112, 2175)];
    bench.apply(&with);
    bench.settle();
    assert_eq!(bench.engine.stats().sessions, 256 - 65);
    let others = fill(&mut bench, Tcp, 400);
    assert!(others.len() == 256 - 65 && !others.contains(&(T, 2050)));
    // The block that gives nothing out any more does not make the address look full, or free.
    assert_eq!(bench.out(out64(Tcp, H2, 1, S, 80), SYN), Err(DropReason::PoolExhausted));
    with.pools[0].reserved.clear();
    bench.apply(&with);
    assert_eq!(fill(&mut bench, Tcp, 400).len(), 256);
}

#[test]
fn parity_and_rest_are_the_same_beside_reserved_ports() {
    //= conformance PORT-05, PORT-08, PORT-10
    let mut with = small();
    with.pools[0].port_max = 2048 + 63;
    with.pools[0].reserved = (0..16).map(|n| (2048 + 4 * n, 2048 + 4 * n)).collect();
    let mut bench = Bench::new(&with);
    for n in 0..16 {
        let port =
            bench.out(out64(Udp, H, 3000 + 2 * n, S, 53), 0).expect("even ports are left").external_port;
        assert_eq!(port % 4, 2);
    }
    let odd = bench.out(out64(Udp, H, 4000, S, 53), 0).expect("odd ports are left");
    assert_eq!(odd.external_port % 2, 1);
    assert_eq!(fill(&mut bench, Udp, 400).len(), 31);
    bench.pass(300.5);
    bench.pass(118.0);
    assert_eq!(bench.out(out64(Udp, H, 1, S, 53), 0), Err(DropReason::PoolExhausted));
    bench.pass(6.0);
    assert_eq!(fill(&mut bench, Udp, 400).len(), 48);
}

#[test]
fn a_deterministic_range_is_used_around_reserved_ports() {
    //= conformance PORT-08, PORT-17
    let inside = (0x0a00_0000, 28);
    let mut fixed = spec();
    let variables = DeterministicSpec { inside, dynamic: 2, algorithm: Algorithm::Sequential };
    fixed.pools[0] = PoolSpec { deterministic: Some(variables), ..pool("fixed", T, 32) };
    fixed.pools[0].reserved = vec![(5056, 5183), (5190, 5190)];
    let mut bench = Bench::new(&fixed);
    let made = |bench: &mut Bench, n: u16| {
        bench.out(out44(Udp, u128::from(inside.0) + 2, 10_000 + n, S, 53), 0).expect("room").external_port
    };
    let ports: HashSet<u16> = (0..4032 - 129).map(|n| made(&mut bench, n)).collect();
    assert!(ports.len() == 4032 - 129 && ports.iter().all(|port| (5184..=9087).contains(port)));
    assert!(!ports.contains(&5190));
    assert!(made(&mut bench, 5000) >= 57_472, "then of a block");
}

#[test]
fn softly_paired_subscribers_take_another_address_when_theirs_is_full() {
    //= conformance MAP-06
    let pools = |pairing| {
        let mut spec = spec();
        // 192.0.2.2 and .3 with 128 ports each.
        spec.pools[0] = PoolSpec { port_max: 1151, block_size: 64, pairing, ..pool("public", T + 1, 31) };
        spec
    };
    let mut strict = Bench::new(&pools(Pairing::Strict));
    let ports = fill(&mut strict, Udp, 400);
    assert!(ports.len() == 128 && ports.iter().map(|at| at.0).collect::<HashSet<_>>().len() == 1);
    assert_eq!(strict.out(out64(Udp, H, 999, S, 53), 0), Err(DropReason::PoolExhausted));

    let mut soft = Bench::new(&pools(Pairing::Soft));
    let external =
        |bench: &mut Bench, port| bench.out(out64(Udp, H, port, S, 53), 0).map(|made| made.external);
    let home = external(&mut soft, 1).expect("room");
    for port in 2..=128 {
        assert_eq!(external(&mut soft, port), Ok(home), "port {port}: its address is not full");
    }
    let other = external(&mut soft, 129).expect("another address");
    assert_ne!(other, home);
    let heard = soft.heard();
    let blocks = heard.iter().filter(|event| matches!(event, Event::BlockAllocated { .. })).count();
    assert_eq!(blocks, 3, "each is in the log");
    // What is bound stays where it is.
    assert_eq!(external(&mut soft, 1), Ok(home));
    assert_eq!(fill(&mut soft, Udp, 400).len(), 256);
    assert_eq!(external(&mut soft, 999), Err(DropReason::PoolExhausted));
    assert_eq!(soft.heard().iter().filter(|event| matches!(event, Event::PortsExhausted { .. })).count(), 1);
    // The limit of blocks is one, whatever the address.
    let mut limited = pools(Pairing::Soft);
    limited.limits.max_port_blocks = 2;
    let mut limited = Bench::new(&limited);
    assert_eq!(fill(&mut limited, Udp, 400).len(), 128);
    assert_eq!(external(&mut limited, 999), Err(DropReason::SubscriberPorts));
}

#[test]
fn a_range_that_is_only_preferred_is_no_reason_to_leave_the_address() {
    //= conformance MAP-06, PORT-03
    let mut edge = spec();
    edge.pools[0] = PoolSpec {
        port_min: 960,
        port_max: 1151,
        block_size: 64,
        pairing: Pairing::Soft,
        ..pool("edge", T + 1, 31)
    };
    let mut bench = Bench::new(&edge);
    let mut made = |port| bench.out(out64(Udp, H, port, S, 53), 0).expect("room");
    let home = made(1).external;
    for port in 2..=192 {
        assert_eq!(made(port).external, home, "port {port}");
    }
    let next = made(193);
    assert!(next.external != home && next.external_port < 1024, "{next:?}");
}

#[test]
fn blocks_are_reported_and_a_subscriber_gets_no_more_than_its_limit() {
    //= conformance PORT-15, LIM-01, LIM-08, LOG-12, LOG-15
    let mut limited = small();
    limited.limits.max_port_blocks = 2;
    let mut bench = Bench::new(&limited);
    for port in 1..=128 {
        bench.out(out64(Udp, H, port, S, 53), 0).expect("made");
    }
    let blocks: Vec<(u16, u16)> = bench
        .heard()
        .iter()
        .filter_map(|event| match event {
            Event::BlockAllocated { subscriber, external, first, last, .. } => {
                assert_eq!((*subscriber, *external), (H & !0xffff_ffff_ffff_ffff, T));
                Some((*first, *last))
            }
            _ => None,
        })
        .collect();
    assert_eq!(blocks.len(), 2);
    assert!(blocks.iter().all(|(first, last)| first % 64 == 0 && last - first == 63));
    assert_eq!(bench.out(out64(Udp, H, 200, S, 53), 0), Err(DropReason::SubscriberPorts));
    assert_eq!(
        bench.heard(),
        [Event::QuotaExceeded {
            quota: Quota::PerUser,
            limit: 128,
            kind_realm: KindRealm::new(Kind::Nat64, 0),
            inside: H
        }]
    );
    //= conformance LIM-10
    assert!(bench.out(out64(Udp, H2, 200, S, 53), 0).is_ok());
}

#[test]
fn ports_are_random_within_the_block_and_keep_parity_while_they_can() {
    //= conformance PORT-05, PORT-07, PORT-16
    let mut bench = Bench::new(&spec());
    let ports: Vec<u16> = (0..100)
        .map(|n| bench.out(out64(Udp, H, 3000 + 2 * n, S, 53), 0).expect("made").external_port)
        .collect();
    assert!(ports.iter().all(|port| port % 2 == 0));
    assert!(!ports.is_sorted() && !ports.iter().rev().is_sorted());
    assert_eq!(ports.iter().map(|port| port / 256).collect::<HashSet<_>>().len(), 1, "one block");
    for n in 100..128 {
        assert_eq!(bench.out(out64(Udp, H, 3000 + 2 * n, S, 53), 0).expect("made").external_port % 2, 0);
    }
    assert_eq!(bench.out(out64(Udp, H, 9000, S, 53), 0).expect("made").external_port % 2, 1);
    let mut off = spec();
    off.pools[0].parity = false;
    let mut bench = Bench::new(&off);
    let odd = (0..100)
        .filter(|n| bench.out(out64(Udp, H, 3000 + 2 * n, S, 53), 0).expect("made").external_port % 2 == 1);
    assert!(odd.count() > 20);
}

#[test]
fn another_seed_gives_other_ports_and_none_gives_them_in_order() {
    //= conformance PORT-07
    let ports = |seed| {
        let shared = Shared::new(region(1000), Geometry { workers: 1, max_addresses: 64, seed });
        let config = std::sync::Arc::new(shared.compile(&spec(), 1, None).expect("valid"));
        let mut engine = Engine::new(shared, WorkerId(0), config);
        let mut port = |n: u128| {
            let tuple = out64(Udp, H + (n << 64), 5000, S, 53);
            engine.new_outbound(&tuple, 0, 0, Tick(77), &mut ()).expect("room").fixed.external_port
        };
        (0..200).map(&mut port).collect::<Vec<u16>>()
    };
    let one = ports([1, 2, 3, 4]);
    assert_eq!(one, ports([1, 2, 3, 4]));
    for seed in [[1, 2, 3, 5], [9, 2, 3, 4], [11, 12, 13, 14]] {
        let same = one.iter().zip(ports(seed)).filter(|&(one, other)| *one == other).count();
        assert!(same < 5, "{same} of 200 ports are those of another seed");
        assert!(!ports(seed).is_sorted());
    }
}

#[test]
fn no_port_is_kept_for_the_second_of_a_pair() {
    //= conformance PORT-06
    let mut bench = Bench::new(&spec());
    let pair = |bench: &mut Bench, n: u16| {
        let port = |port| out64(Udp, H, port, S, 53);
        let first = bench.out(port(5004 + 2 * n), 0).expect("room").external_port;
        bench.out(port(5005 + 2 * n), 0).expect("room").external_port.wrapping_sub(first) == 1
    };
    let adjacent = (0..100).filter(|&n| pair(&mut bench, n)).count();
    assert!(adjacent < 30, "{adjacent} of 100 pairs are adjacent");
}

#[test]
fn low_inside_ports_get_low_external_ports_if_the_pool_has_them() {
    //= conformance PORT-03, PORT-04
    let mut low = spec();
    low.pools[0].port_min = 1;
    let mut bench = Bench::new(&low);
    for port in [123, 500, 1023] {
        assert!(bench.out(out64(Udp, H, port, S, 53), 0).expect("made").external_port < 1024);
    }
    for port in [1024, 5000, 65_535] {
        assert!(bench.out(out64(Udp, H, port, S, 53), 0).expect("made").external_port >= 1024);
    }
    let mut bench = Bench::new(&spec());
    assert!(bench.out(out64(Udp, H, 123, S, 53), 0).expect("made").external_port >= 1024);
    // Where only the other range is left, it is used.
    low.pools[0] = PoolSpec { port_min: 960, port_max: 1087, block_size: 64, ..pool("edge", T, 32) };
    let mut bench = Bench::new(&low);
    let made = (1..=128).filter(|&n| bench.out(out64(Udp, H, n, S, 53), 0).is_ok()).count();
    assert_eq!(made, 128);
}

#[test]
fn a_pool_of_several_ranges_uses_every_address() {
    //= conformance PORT-09
    let mut mixed = spec();
    mixed.pools[0].prefixes = vec![(T, 32), (0xcb00_7140, 30), (T + 6, 32)];
    let mut bench = Bench::new(&mixed);
    let used: HashSet<u32> = (0..200u128)
        .map(|net| bench.out(out64(Udp, H + (net << 64), 1, S, 1), 0).expect("made").external)
        .collect();
    assert_eq!(used, HashSet::from([T, T + 6, 0xcb00_7140, 0xcb00_7141, 0xcb00_7142, 0xcb00_7143]));
}

#[test]
fn seventy_thousand_inside_ports_on_one_address_are_refused_or_unique() {
    //= conformance PORT-01, PORT-02, PORT-14
    let mut one = spec();
    one.pools[0] = pool("one", T, 32);
    one.limits.max_port_blocks = 1024;
    let mut bench = Bench::with_records(&one, 70_000);
    let mut ports = HashSet::new();
    let mut refused = 0;
    for n in 0..70_000u32 {
        // To several servers: a port is not used twice even if destinations differ.
        match bench.out(out44(Udp, HOST + u128::from(n >> 12), n as u16 | 1 << 14, S + n % 7, 53), 0) {
            Ok(fixed) => assert!(ports.insert(fixed.external_port)),
            Err(reason) => {
                assert_eq!(reason, DropReason::PoolExhausted);
                refused += 1;
            }
        }
    }
    assert_eq!((ports.len(), refused), (64_512, 70_000 - 64_512));
}

#[test]
fn a_port_picked_ahead_is_forgotten_with_its_block() {
    let mut bench = Bench::new(&spec());
    bench.out(out64(Udp, H, 100, S, 53), 0).expect("the first takes a block");
    let later = [200, 201].map(|port| out64(Udp, H, port, S, 53));
    bench.engine.prepare_outbound(&later, bench.now);
    bench.heard();
    for _ in 0..20 {
        bench.pass(60.0);
    }
    assert!(bench.heard().iter().any(|event| matches!(event, Event::BlockReleased { .. })));
    bench.out(later[0], 0).expect("room");
    let heard = bench.heard();
    assert!(heard.iter().any(|event| matches!(event, Event::BlockAllocated { .. })), "{heard:?}");
}

#[test]
fn a_deterministic_range_is_used_up_before_blocks_are_logged() {
    //= conformance PORT-12, PORT-17, PORT-19
    const INSIDE: u32 = 0x0a00_0000;
    let mut fixed = spec();
    let variables = DeterministicSpec { inside: (INSIDE, 28), dynamic: 2, algorithm: Algorithm::Sequential };
    fixed.pools[0] = PoolSpec { deterministic: Some(variables), ..pool("fixed", T, 32) };
    fixed.limits.max_port_blocks = 1;
    let map = Deterministic::of(&fixed.pools[0]).expect("valid").expect("deterministic");
    let mut bench = Bench::new(&fixed);
    let host = u128::from(INSIDE) + 2;
    let mut ports = std::collections::BTreeSet::new();
    for n in 0..4032u16 {
        let made = bench.out(out44(Udp, host, 10_000 + n, S, 53), 0).expect("in the range");
        assert_eq!(map.inside(made.external, made.external_port), Some(INSIDE + 2));
        assert!(ports.insert(made.external_port));
    }
    assert_eq!((ports.first(), ports.last()), (Some(&5056), Some(&9087)));
    let blocks = |events: &[Event]| {
        let allocated = |event: &&Event| matches!(event, Event::BlockAllocated { .. });
        events.iter().filter(allocated).copied().collect::<Vec<_>>()
    };
    assert_eq!(blocks(&bench.heard()), []);
    // The next one is out of a block, which is logged and counts.
    let over = bench.out(out44(Udp, host, 9_000, S, 53), 0).expect("of a block");
    assert!(over.external_port >= 57_472, "{}", over.external_port);
    assert_eq!(map.inside(over.external, over.external_port), None);
    let heard = blocks(&bench.heard());
    assert!(
        matches!(heard[..], [Event::BlockAllocated { subscriber, first: 57_472.., .. }] if subscriber == host),
        "{heard:?}"
    );
    // Who has no range has blocks, and never a port of a range.
    let guest = bench.out(out44(Udp, u128::from(INSIDE) + 99, 5000, S, 53), 0).expect("of a block");
    assert!(guest.external_port >= 57_472);
    assert!(bench.out(out64(Udp, H, 5000, S, 53), 0).expect("of a block").external_port >= 57_472);
    // Another host's range is its own, whatever others do; its low ports are no other ones.
    let other = bench.out(out44(Udp, u128::from(INSIDE) + 1, 53, S, 53), 0).expect("in its range");
    assert!((1024..=5055).contains(&other.external_port));
    // Ports of a range need no rest.
    bench.pass(310.0);
    assert_eq!(bench.engine.stats().sessions, 0);
    for n in 0..4032u16 {
        let made = bench.out(out44(Udp, host, 10_000 + n, S, 53), 0).expect("in the range again");
        assert!((5056..=9087).contains(&made.external_port));
    }
    // Other variables: sessions that do not follow them end.
    fixed.pools[0].deterministic = Some(DeterministicSpec { dynamic: 3, ..variables });
    bench.apply(&fixed);
    bench.settle();
    assert_eq!(bench.engine.stats().sessions, 0);
    let map = Deterministic::of(&fixed.pools[0]).expect("valid").expect("deterministic");
    let made = bench.out(out44(Udp, host, 10_000, S, 53), 0).expect("in the new range");
    assert_eq!(map.inside(made.external, made.external_port), Some(INSIDE + 2));
}

#[test]
fn deterministic_ranges_are_the_same_on_any_number_of_workers() {
    //= conformance PORT-17, PORT-20
    let mut fixed = spec();
    let algorithm = Algorithm::Random([11, 12]);
    let variables = DeterministicSpec { inside: (0x0a00_0000, 24), dynamic: 1, algorithm };
    fixed.pools[0].deterministic = Some(variables);
    let map = Deterministic::of(&fixed.pools[0]).expect("valid").expect("deterministic");
    let shared = shared(20_000, 4);
    let config = std::sync::Arc::new(shared.compile(&fixed, 1, None).expect("valid"));
    let mut engines = [0, 1, 2, 3].map(|n| Engine::new(shared.clone(), WorkerId(n), config.clone()));
    for host in 1..=254u32 {
        let inside = 0x0a00_0000 + host;
        for port in 0..20 {
            let tuple = out44(Udp, inside.into(), 5000 + port, S, 53);
            let owner = shared.subscriber_worker(&config, tuple.kind_realm, tuple.inside);
            let engine = &mut engines[usize::from(owner.0)];
            let made = engine.new_outbound(&tuple, 0, 0, Tick(1), &mut ()).expect("in its range").fixed;
            assert_eq!(map.inside(made.external, made.external_port), Some(inside));
            let found = shared.external_owner(&config, Udp, made.external, made.external_port);
            assert_eq!(found, ExternalOwner::Worker(owner));
        }
    }
}
