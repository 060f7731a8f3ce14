//! Limits of subscribers and of tables: new state is refused, nothing existing is harmed.

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

#[test]
fn sessions_of_a_subscriber_are_limited_and_its_binding_lives_on() {
    //= conformance LIM-04, LIM-05, LIM-10, LIM-15
    let mut limited = spec();
    limited.limits.max_sessions = 100;
    let mut bench = Bench::new(&limited);
    let first = bench.out(out64(Udp, H, 5000, S, 1), 0).expect("made");
    for n in 1..100 {
        bench.out(out64(Udp, H, 5000, S + n, 1), 0).expect("made");
    }
    bench.heard();
    for _ in 0..50 {
        assert_eq!(bench.out(out64(Udp, H, 5000, S2, 1), 0), Err(DropReason::SubscriberSessions));
        assert_eq!(bench.inn(back(&first, S2, 1), 0), Err(DropReason::SubscriberSessions));
    }
    assert_eq!(bench.heard().len(), 1, "refusals are reported once a second");
    assert!(bench.out(out64(Udp, H2, 5000, S2, 1), 0).is_ok());
    // A lower limit takes nothing away.
    limited.limits.max_sessions = 10;
    bench.apply(&limited);
    bench.settle();
    assert_eq!(bench.engine.stats().sessions, 101);
    for n in 1..100 {
        assert!(bench.out(out64(Udp, H, 5000, S + n, 1), 0).is_ok());
    }
    assert_eq!(bench.out(out64(Udp, H, 5000, S2, 1), 0), Err(DropReason::SubscriberSessions));
    assert_eq!(bench.heard().len(), 2, "the block and the binding of H2; the second is not over yet");
}

#[test]
fn sessions_from_outside_count_for_the_owner_of_the_binding() {
    //= conformance LIM-11
    let mut limited = spec();
    limited.limits.max_sessions = 50;
    let mut bench = Bench::new(&limited);
    let fixed = bench.out(out64(Udp, H, 5000, S, 1), 0).expect("made");
    let made = (0..1000).filter(|&n| bench.inn(back(&fixed, S2 + n, 9), 0).is_ok()).count();
    assert_eq!(made, 37, "with the first session three quarters of 50");
    assert_eq!(bench.inn(back(&fixed, S, 1), 0), Ok(fixed));
    // What strangers leave is the subscriber's own.
    let own = (0..1000).filter(|&n| bench.out(out64(Udp, H, 5001, S + n, 1), 0).is_ok()).count();
    assert_eq!(own, 12);
    assert_eq!(bench.inn(back(&fixed, S2 + 2000, 9), 0), Err(DropReason::SubscriberSessions));
}

#[test]
fn the_rate_of_new_sessions_is_limited_and_strangers_do_not_use_it_up() {
    //= conformance LIM-03
    let mut limited = spec();
    limited.limits.new_sessions_per_second = 100;
    let mut bench = Bench::new(&limited);
    let mut opened = 0;
    for quarter in 0..40u32 {
        for n in 0..250 {
            opened += u32::from(bench.out(out64(Tcp, H, 5000, S + quarter * 250 + n, 80), SYN).is_ok());
        }
        bench.pass(0.25);
    }
    assert_eq!(opened, 100 + 39 * 25);
    bench.pass(1.0);
    let fixed = bench.out(out64(Tcp, H, 5000, 1 << 27, 80), SYN).expect("has rested");
    let from_outside = (0..1000).filter(|&n| bench.inn(back(&fixed, S2 + n, 9), SYN).is_ok()).count();
    assert_eq!(from_outside, 100);
    assert!(bench.out(out64(Tcp, H, 5000, 1 << 26, 80), SYN).is_ok());
    assert_eq!(bench.inn(back(&fixed, S2 + 5000, 9), SYN), Err(DropReason::SubscriberRate));
}

#[test]
fn a_full_session_table_refuses_and_leaves_no_orphans() {
    //= conformance MAP-12, MAP-14, LIM-05, LIM-09
    let mut bench = Bench::with_records(&spec(), 100);
    for n in 0..100 {
        bench.out(out64(Udp, H, 5000, S + n, 1), 0).expect("room");
    }
    let stats = bench.engine.stats();
    for n in 0..1000 {
        assert_eq!(bench.out(out64(Udp, H, 5001 + n, S, 1), 0), Err(DropReason::SessionTableFull));
        assert_eq!(
            bench.out(out64(Udp, H2 + (u128::from(n) << 64), 1, S, 1), 0),
            Err(DropReason::SessionTableFull)
        );
    }
    assert_eq!(bench.engine.stats(), stats);
    for n in 0..100 {
        assert!(bench.out(out64(Udp, H, 5000, S + n, 1), 0).is_ok());
    }
    bench.pass(301.0);
    assert_eq!(bench.engine.stats().sessions, 0);
    for n in 0..100 {
        bench.out(out64(Udp, H2, 5000, S + n, 1), 0).expect("room again");
    }
}

/// With a seed that makes every hash the same, the index of bindings is full while there are records and ports.
#[test]
fn a_session_that_finds_no_place_leaves_no_binding_and_takes_no_port() {
    //= conformance MAP-14
    let shared = Shared::new(region(1000), Geometry { workers: 1, max_addresses: 64, seed: [0; 4] });
    let mut tight = spec();
    tight.pools[0] = PoolSpec { port_min: 2048, port_max: 2111, block_size: 64, ..pool("tight", T, 32) };
    let config = std::sync::Arc::new(shared.compile(&tight, 1, None).expect("valid"));
    let mut engine = Engine::new(shared, WorkerId(0), config);
    let mut open = |port: u16, remote: u32| {
        let made = engine.new_outbound(&out64(Udp, H, port, remote, 53), 0, 0, Tick(77), &mut ());
        (made.map(|flow| flow.fixed.external_port), engine.stats())
    };
    let mut made = 0;
    while open(5000 + made, S).0.is_ok() {
        made += 1;
        assert!(made < 64, "the index was to be full by now");
    }
    for port in 6000..6200 {
        let (refused, stats) = open(port, S);
        assert_eq!(refused, Err(DropReason::BindingTableFull), "{port}");
        let made = u32::from(made);
        assert_eq!((stats.sessions, stats.bindings, stats.subscribers), (made, made, 1), "{port}");
    }
}

#[test]
fn more_subscribers_than_there_is_room_for_are_refused() {
    //= conformance LIM-14
    let mut wide = spec();
    wide.pools[0].block_size = 64;
    let mut bench = Bench::with_records(&wide, 2048);
    let ping = |n: u32| out64(Protocol::Icmp, H + (u128::from(n) << 64), 1, S, 0);
    let room = bench.engine.stats().subscriber_capacity;
    let mut made = 0;
    // Sessions end after a minute, and their subscribers live on for as long as ports rest.
    while bench.out(ping(made), 0).is_ok() {
        made += 1;
        if made == 1500 {
            bench.pass(61.5);
            assert_eq!((bench.engine.stats().sessions, bench.engine.stats().subscribers), (0, 1500));
        }
        assert!(made <= room);
    }
    assert_eq!(bench.out(ping(made), 0), Err(DropReason::SubscriberTableFull));
    assert!(made > 1500 && bench.engine.stats().subscribers == made, "{made} of {room}");
    assert!(bench.out(ping(made - 1), 0).is_ok(), "who is there goes on");
    assert!(bench.out(ping(3), 0).is_ok(), "and may open more");
}

#[test]
fn a_flood_of_tuples_keeps_to_the_tables() {
    //= conformance LIM-09, LIM-10, N64-TCP-39
    let mut limited = spec();
    limited.limits = Limits { max_sessions: 1000, new_sessions_per_second: 500, ..limited.limits };
    let mut bench = Bench::with_records(&limited, 5_000);
    let tuple = out64(Tcp, H2, 4000, S, 80);
    let peer = bench.out(tuple, SYN).expect("made");
    for n in 0..300_000u32 {
        let _ = bench.out(out64(Udp, H, n as u16, S + (n >> 8), 1), 0);
        let _ = bench.inn(back(&peer, S2 + n, 9), SYN);
        if n % 1000 == 0 {
            bench.pass(0.25);
            assert!(bench.inn(back(&peer, S, 80), ACK).is_ok());
            assert!(bench.engine.stats().sessions <= 2000);
        }
    }
    bench.inn(back(&peer, S, 80), SYN | ACK).expect("unharmed");
}

#[test]
fn each_protocol_has_its_own_limit_of_mappings() {
    //= conformance LIM-02
    let mut limited = spec();
    limited.limits.max_mappings = [1, 5, 10];
    let mut bench = Bench::new(&limited);
    let mut open = |protocol, port, flags| bench.out(out64(protocol, H, port, S, 80), flags);
    for port in 0..10 {
        open(Udp, 5000 + port, 0).expect("of ten");
    }
    for port in 0..5 {
        open(Tcp, 5000 + port, SYN).expect("of five");
    }
    open(Icmp, 1, 0).expect("of one");
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        assert_eq!(open(protocol, 6000, flags), Err(DropReason::SubscriberMappings), "{protocol}");
    }
    // More sessions of a mapping are no more mappings, and others have theirs.
    assert!(bench.out(out64(Udp, H, 5000, S2, 80), 0).is_ok());
    assert!(bench.out(out64(Udp, H2, 6000, S, 80), 0).is_ok());
    //= conformance LOG-15
    let told = |event: &Event| matches!(event, Event::QuotaExceeded { quota: Quota::PerUser, limit: 10, .. });
    assert!(bench.heard().iter().any(told));
    // A lower limit takes nothing away, and what ends makes room.
    limited.limits.max_mappings = [1, 5, 2];
    bench.apply(&limited);
    bench.settle();
    assert_eq!(bench.engine.stats().sessions, 18);
    bench.pass(301.0);
    assert_eq!(bench.engine.stats().sessions, 0);
    for port in 0..2 {
        bench.out(out64(Udp, H, 7000 + port, S, 80), 0).expect("of two");
    }
    assert_eq!(bench.out(out64(Udp, H, 7002, S, 80), 0), Err(DropReason::SubscriberMappings));
}

#[test]
fn subscribers_of_all_workers_together_are_limited() {
    //= conformance LIM-14
    let mut limited = spec();
    limited.limits.max_subscribers = 2;
    let shared = shared(20_000, 2);
    let config = std::sync::Arc::new(shared.compile(&limited, 1, None).expect("valid"));
    let mut engines = [0, 1].map(|n| Engine::new(shared.clone(), WorkerId(n), config.clone()));
    let mut events = <(Vec<Event>, Vec<Fixed>)>::default();
    let mut open = |engines: &mut [Engine; 2], host: u128, now| {
        let tuple = out64(Udp, H + (host << 64), 5000, S, 1);
        let owner = shared.subscriber_worker(&config, tuple.kind_realm, tuple.inside);
        engines[usize::from(owner.0)].new_outbound(&tuple, 0, 0, now, &mut events).map(drop)
    };
    let start = Tick::from_secs(1000);
    // Of both workers: among so many there are some of each.
    let made: Vec<_> = (0..20).map(|host| open(&mut engines, host, start)).collect();
    assert_eq!(made[..2], [Ok(()), Ok(())]);
    assert!(made[2..].iter().all(|made| *made == Err(DropReason::SubscriberTableFull)), "{made:?}");
    // Who is there may go on; who has left makes room.
    assert!(open(&mut engines, 0, start).is_ok());
    let mut end = start;
    for _ in 0..2000 {
        end = end.after(TICKS_PER_SECOND);
        engines.iter_mut().for_each(|engine| {
            engine.expire(end, 10_000, &mut ());
        });
    }
    assert_eq!(engines.each_ref().map(|engine| engine.stats().subscribers), [0, 0]);
    let made = (20..40).filter(|&host| open(&mut engines, host, end).is_ok()).count();
    assert_eq!(made, 2);
}
