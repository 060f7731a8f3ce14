//! What the log is told: sessions when asked for, limits when they are reached, and no more of them than anyone reads.

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

/// Counts what was reported and what was not.
#[derive(Default)]
struct Ear {
    events: Vec<Event>,
    suppressed: usize,
}

impl Events for Ear {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn suppressed(&mut self) {
        self.suppressed += 1;
    }

    fn probe(&mut self, _: &Fixed) {}
}

fn nat64_of_h() -> KindRealm {
    KindRealm::new(Kind::Nat64, 0)
}

/// Only limits.
fn silent(limits: Limits) -> Spec {
    let log = LogSpec { blocks: false, bindings: false, sessions: false };
    Spec { limits: Limits { new_sessions_per_second: 0, ..limits }, log, ..spec() }
}

#[test]
fn sessions_are_reported_when_asked_for_with_both_their_ends() {
    //= conformance LOG-07, LOG-08, LOG-22
    let mut bench = Bench::new(&spec());
    let quiet = bench.out(out64(Udp, H2, 1, S, 53), 0).expect("made");
    assert!(!bench.heard().iter().any(|event| matches!(event, Event::SessionCreated(_))));
    let log = LogSpec { blocks: false, bindings: false, sessions: true };
    bench.apply(&Spec { log, ..spec() });
    for (tuple, flags) in
        [(out64(Udp, H, 5000, S, 53), 0), (out44(Tcp, HOST, 80, S, 443), SYN), (out64(Icmp, H, 9, S, 0), 0)]
    {
        let fixed = bench.out(tuple, flags).expect("made");
        let session = SessionEnds {
            kind_realm: tuple.kind_realm,
            protocol: tuple.protocol,
            inside: tuple.inside,
            inside_port: tuple.inside_port,
            external: fixed.external,
            external_port: fixed.external_port,
            remote: S,
            remote_port: tuple.remote_port,
        };
        assert_eq!(bench.heard(), [Event::SessionCreated(session)]);
        // From outside, to the same binding.
        if tuple.protocol == Udp {
            bench.inn(back(&fixed, S2, 9), 0).expect("endpoint-independent");
            let from_outside = SessionEnds { remote: S2, remote_port: 9, ..session };
            assert_eq!(bench.heard(), [Event::SessionCreated(from_outside)]);
            bench.pass(301.0);
            let gone = bench.heard();
            for session in [session, from_outside] {
                assert!(gone.contains(&Event::SessionDeleted(session)), "{gone:?}");
            }
            assert_eq!(gone.len(), 3, "and the one from before");
            assert!(gone.iter().any(
                |event| matches!(event, Event::SessionDeleted(s) if s.external_port == quiet.external_port)
            ));
        }
    }
}

#[test]
fn what_is_switched_off_is_not_reported() {
    //= conformance LOG-23
    let mut bench = Bench::new(&silent(Limits::default()));
    bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    bench.pass(600.0);
    assert_eq!((bench.heard(), bench.engine.stats().port_blocks), (vec![], 0));
    bench.apply(&Spec { log: LogSpec { blocks: true, bindings: false, sessions: false }, ..spec() });
    bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    assert!(matches!(bench.heard()[..], [Event::BlockAllocated { .. }]));
}

#[test]
fn a_million_refusals_are_a_few_reports_and_all_of_them_are_counted() {
    //= conformance LIM-08, LOG-15, LOG-25
    let mut bench = Bench::new(&silent(Limits { max_sessions: 4, ..Limits::default() }));
    for n in 0..4 {
        bench.out(out64(Udp, H, 5000, S + n, 1), 0).expect("made");
    }
    let mut ear = Ear::default();
    let tuple = out64(Udp, H, 5000, S2, 1);
    for n in 0..1_000_000 {
        if n % 100_000 == 0 {
            bench.now = bench.now.after(1);
        }
        let refused = bench.engine.new_outbound(&tuple, 0, 0, bench.now, &mut ear);
        assert_eq!(refused, Err(DropReason::SubscriberSessions));
    }
    let event = Event::QuotaExceeded { quota: Quota::PerUser, limit: 4, kind_realm: nat64_of_h(), inside: H };
    assert_eq!(ear.events, [event; 3], "two and a half seconds");
    assert_eq!(ear.suppressed, 1_000_000 - 3);
}

#[test]
fn many_subscribers_at_their_limits_share_what_is_reported() {
    //= conformance LOG-25
    let mut bench = Bench::new(&silent(Limits { max_sessions: 1, ..Limits::default() }));
    let mut ear = Ear::default();
    for n in 0..500 {
        let host = H + (n << 64);
        bench.out(out64(Udp, host, 5000, S, 1), 0).expect("made");
        let more = bench.engine.new_outbound(&out64(Udp, host, 5000, S2, 1), 0, 0, bench.now, &mut ear);
        assert_eq!(more, Err(DropReason::SubscriberSessions));
    }
    assert_eq!((ear.events.len(), ear.suppressed), (64, 436));
}

#[test]
fn full_tables_are_reported_with_their_size() {
    //= conformance LOG-13
    let mut bench = Bench::with_records(&silent(Limits::default()), 100);
    for n in 0..100 {
        bench.out(out64(Udp, H, 5000, S + n, 1), 0).expect("room");
    }
    for n in 0..50 {
        let host = H2 + (n << 64);
        assert_eq!(bench.out(out64(Udp, host, 1, S, 1), 0), Err(DropReason::SessionTableFull));
    }
    let event =
        Event::QuotaExceeded { quota: Quota::Sessions, limit: 100, kind_realm: nat64_of_h(), inside: H2 };
    assert_eq!(bench.heard(), [event], "one for all subscribers");
    bench.pass(1.0);
    assert_eq!(bench.out(out64(Udp, H2, 1, S, 1), 0), Err(DropReason::SessionTableFull));
    assert_eq!(bench.heard(), [event]);
}

#[test]
fn a_full_table_of_bindings_is_reported_with_its_size() {
    //= conformance LOG-14
    let mut crowded = silent(Limits::default());
    // A small region has room for 1024 bindings, and static ones take it.
    crowded.statics = (0..1024)
        .map(|n| StaticSpec {
            rule: 0,
            protocol: Udp,
            inside: H,
            inside_port: 1 + n,
            external: T,
            external_port: 2000 + n,
        })
        .collect();
    let mut bench = Bench::with_records(&crowded, 100);
    assert_eq!(bench.engine.stats().statics_failed, 0);
    assert_eq!(bench.out(out64(Udp, H2, 1, S, 1), 0), Err(DropReason::BindingTableFull));
    let event =
        Event::QuotaExceeded { quota: Quota::Bindings, limit: 1024, kind_realm: nat64_of_h(), inside: H2 };
    assert_eq!(bench.heard(), [event]);
}

#[test]
fn the_number_of_subscribers_may_be_limited_for_all_workers_together() {
    //= conformance LIM-14, LOG-16
    let limited = silent(Limits { max_subscribers: 2, ..Limits::default() });
    let shared = shared(20_000, 2);
    let config = std::sync::Arc::new(shared.compile(&limited, 1, None).expect("valid"));
    let mut engines = [0, 1].map(|n| Engine::new(shared.clone(), WorkerId(n), config.clone()));
    let now = Tick::from_secs(1000);
    let mut ear = Ear::default();
    // Which worker a subscriber belongs to is the data plane's business: any will do here.
    let of = |n: u128| out64(Udp, H + (n << 64), 5000, S, 1);
    for (n, engine) in engines.iter_mut().enumerate() {
        engine.new_outbound(&of(n as u128), 0, 0, now, &mut ear).expect("served");
    }
    for engine in &mut engines {
        assert_eq!(engine.new_outbound(&of(2), 0, 0, now, &mut ear), Err(DropReason::SubscriberTableFull));
    }
    let inside = H + (2 << 64);
    let event =
        Event::QuotaExceeded { quota: Quota::Subscribers, limit: 2, kind_realm: nat64_of_h(), inside };
    assert_eq!(ear.events, [event; 2], "one a worker");
    // Who is served goes on being served.
    engines[0].new_outbound(&of(0), 0, 0, now, &mut ear).expect("known");
    let mut later = now;
    for _ in 0..100 {
        later = later.after(10 * TICKS_PER_SECOND);
        engines[0].expire(later, 10_000, &mut ear);
    }
    assert_eq!(engines[0].stats().subscribers, 0);
    engines[1].new_outbound(&of(2), 0, 0, later, &mut ear).expect("there is room for one");
    assert_eq!(engines[1].new_outbound(&of(3), 0, 0, later, &mut ear), Err(DropReason::SubscriberTableFull));
}

#[test]
fn a_pool_without_a_free_block_is_exhausted_and_an_address_without_a_free_port_by_protocol() {
    //= conformance PORT-22, LOG-10, LOG-11
    let mut small = silent(Limits { max_port_blocks: 8, ..Limits::default() });
    small.pools[0] = PoolSpec {
        prefixes: vec![(T, 32)],
        port_min: 1024,
        port_max: 1151,
        block_size: 64,
        ..pool("public", T, 32)
    };
    let mut bench = Bench::new(&small);
    for n in 0..128 {
        bench.out(out64(Udp, H, 5000 + n, S, 1), 0).expect("a port");
    }
    for n in 0..100 {
        assert_eq!(bench.out(out64(Udp, H, 6000 + n, S, 1), 0), Err(DropReason::PoolExhausted));
    }
    assert_eq!(bench.heard(), [Event::PortsExhausted { protocol: Udp, external: T }]);
    // The ports of other protocols are there still.
    bench.out(out64(Tcp, H, 6000, S, 1), SYN).expect("a port");
    for n in 0..100 {
        let host = H2 + (n << 64);
        assert_eq!(bench.out(out64(Udp, host, 6000, S, 1), 0), Err(DropReason::PoolExhausted));
    }
    assert_eq!(bench.heard(), [Event::AddressesExhausted { pool: 0 }]);
    // A bench of one worker tells once a second.
    bench.pass(1.0);
    assert_eq!(bench.out(out44(Udp, HOST, 6000, S, 1), 0), Err(DropReason::PoolExhausted));
    assert_eq!(bench.heard(), [Event::AddressesExhausted { pool: 0 }]);
}

#[test]
fn a_rate_that_is_exceeded_is_no_quota_but_is_reported() {
    //= conformance LIM-08
    let mut limited = silent(Limits::default());
    limited.limits.new_sessions_per_second = 2;
    let mut bench = Bench::new(&limited);
    let made = (0..10).filter(|n| bench.out(out64(Udp, H, 5000, S + n, 1), 0).is_ok()).count();
    assert_eq!(made, 2);
    let reason = DropReason::SubscriberRate;
    assert_eq!(bench.heard(), [Event::Refused { reason, kind_realm: nat64_of_h(), inside: H }]);
}

#[test]
fn a_static_binding_without_room_is_counted_as_long_as_it_is_missing_and_tried_again() {
    //= conformance MAP-10
    let of = |range: std::ops::Range<u16>| {
        let made = |port| StaticSpec {
            rule: 0,
            protocol: Tcp,
            inside: H,
            inside_port: port,
            external: T,
            external_port: port,
        };
        Spec { statics: range.map(made).collect(), ..spec() }
    };
    let mut bench = Bench::with_records(&of(1024..9024), 64);
    let (bound, failed) = (bench.engine.stats().bindings, bench.engine.stats().statics_failed);
    assert!(failed > 100 && bound + failed == 8000, "{bound} bound, {failed} not");
    bench.apply(&of(1024..9024));
    assert_eq!((bench.engine.stats().bindings, bench.engine.stats().statics_failed), (bound, failed));
    bench.apply(&of(8924..9024));
    assert_eq!((bench.engine.stats().bindings, bench.engine.stats().statics_failed), (100, 0));
}
