//! Lifetimes of UDP and ICMP, and the wheel under load.

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Udp};

fn live(bench: &Bench, flow: &Flow) -> bool {
    bench.engine.session(flow.session).is_live()
}

#[test]
fn a_session_ends_after_its_idle_time_and_no_earlier() {
    //= conformance N64-UDP-04, N64-UDP-08, N64-ICMP-05, N64-ICMP-11, N44-10, N44-12, MAP-17
    for (protocol, seconds) in [(Udp, 300.0), (Icmp, 60.0)] {
        for offset in 0..9 {
            let mut bench = Bench::new(&spec());
            bench.now = bench.now.after(offset);
            let flow = bench.out_flow(out64(protocol, H, 5000, S, 53), 0).expect("made");
            bench.pass(seconds - 0.25);
            assert!(live(&bench, &flow));
            bench.pass(1.0);
            assert!(!live(&bench, &flow));
            assert!(bench.inn(back(&flow.fixed, S, 53), 0).is_err());
            assert!(bench.heard().iter().any(|event| matches!(event, Event::BindingDeleted { .. })));
        }
    }
}

#[test]
fn packets_of_either_direction_refresh() {
    //= conformance N64-UDP-06, N64-ICMP-09, N44-11
    for (protocol, step) in [(Udp, 299.0), (Icmp, 59.0)] {
        let mut bench = Bench::new(&spec());
        let tuple = out44(protocol, HOST, 5000, S, 53);
        let first = bench.out(tuple, 0).expect("made");
        for round in 0..10 {
            bench.pass(step);
            let again = if round % 2 == 0 { bench.inn(back(&first, S, 53), 0) } else { bench.out(tuple, 0) };
            assert_eq!(again, Ok(first));
        }
        assert_eq!(bench.engine.stats().sessions, 1);
    }
}

#[test]
fn inbound_refresh_of_udp_can_be_off() {
    //= conformance N64-UDP-07
    let mut off = spec();
    off.timers.udp_inbound_refresh = false;
    let mut bench = Bench::new(&off);
    let udp = bench.out_flow(out64(Udp, H, 5000, S, 53), 0).expect("made");
    for _ in 0..2 {
        bench.pass(100.0);
        assert!(bench.inn(back(&udp.fixed, S, 53), 0).is_ok());
    }
    bench.pass(101.0);
    assert!(!live(&bench, &udp));
    let icmp = bench.out_flow(out64(Icmp, H, 5000, S, 0), 0).expect("made");
    for _ in 0..10 {
        bench.pass(50.0);
        assert!(bench.inn(back(&icmp.fixed, S, 0), 0).is_ok(), "queries are refreshed all the same");
    }
}

#[test]
fn a_million_sessions_that_end_together_end_within_budget_and_all_of_them() {
    const SESSIONS: u32 = 1_000_000;
    let mut wide = spec();
    wide.limits.max_sessions = u32::MAX;
    let mut bench = Bench::with_records(&wide, SESSIONS as usize);
    for n in 0..SESSIONS {
        // 1000 hosts with one port each, to 1000 servers.
        let tuple = out64(Udp, H + (u128::from(n % 1000) << 64), 7, S + n / 1000, 53);
        bench.engine.new_outbound(&tuple, 0, 0, bench.now, &mut bench.events).expect("room");
    }
    assert_eq!(bench.engine.stats().sessions, SESSIONS);
    assert!(bench.engine.new_outbound(&out64(Udp, H, 9, 1 << 27, 53), 0, 0, bench.now, &mut ()).is_err());
    bench.now = bench.now.after(300 * TICKS_PER_SECOND + 1);
    let mut calls = 0;
    loop {
        let before = bench.engine.stats().sessions;
        let used = bench.engine.expire(bench.now, 256, &mut bench.events);
        let ended = before - bench.engine.stats().sessions;
        assert!(used <= 256 && ended as usize <= used);
        calls += 1;
        if used < 256 {
            break;
        }
    }
    assert!(calls >= SESSIONS / 256);
    let stats = bench.engine.stats();
    assert_eq!((stats.sessions, stats.bindings), (0, 0));
    assert!(bench.shared.sessions().iter().all(|session| !session.is_live()));
    // Everything can be used again at once.
    for n in 0..SESSIONS {
        let tuple = out64(Udp, H + (u128::from(n % 1000) << 64), 8, S + n / 1000, 53);
        bench.engine.new_outbound(&tuple, 0, 0, bench.now, &mut ()).expect("room");
    }
}

#[test]
fn time_may_leap_by_years() {
    let mut bench = Bench::new(&spec());
    for year in 0..20 {
        let flow = bench.out_flow(out64(Udp, H, 5000, S, 53), 0).expect("made");
        bench.now = bench.now.after(365 * 86_400 * TICKS_PER_SECOND);
        bench.settle();
        assert!(!live(&bench, &flow), "year {year}");
        assert_eq!(bench.engine.stats().sessions, 0);
    }
}

#[test]
fn a_deleted_session_is_gone_at_once_and_its_record_comes_back() {
    //= conformance MAP-15
    let mut bench = Bench::with_records(&spec(), 1);
    let flow = bench.out_flow(out64(Udp, H, 5000, S, 53), 0).expect("made");
    bench.engine.delete(flow.session, bench.now, &mut bench.events);
    bench.engine.delete(flow.session, bench.now, &mut bench.events);
    assert!(!live(&bench, &flow));
    assert!(bench.inn(back(&flow.fixed, S, 53), 0).is_err());
    assert!(bench.engine.established(flow.session, Direction::Outbound, 0, bench.now).is_err());
    assert_eq!(bench.engine.stats().bindings, 0);
    assert!(bench.out(out64(Udp, H, 5000, S, 53), 0).is_err(), "its record still stands in the wheel");
    bench.pass(301.0);
    assert!(bench.out(out64(Udp, H, 5000, S, 53), 0).is_ok());
}

#[test]
fn shorter_timers_hold_for_sessions_that_exist() {
    //= conformance MAP-17, MAP-16
    let mut given = spec();
    let mut bench = Bench::new(&given);
    let udp = bench.out_flow(out64(Udp, H, 5000, S, 53), 0).expect("made");
    let open = bench.out_flow(out64(Protocol::Tcp, H, 5000, S, 80), SYN).expect("made");
    let kept = out64(Udp, H, 5001, S, 53);
    bench.out(kept, 0).expect("made");
    bench.pass(20.0);
    given.timers = Timers { udp: 120, tcp_opening: 40, ..given.timers };
    bench.apply(&given);
    bench.pass(19.5);
    assert!(live(&bench, &open));
    bench.pass(2.0);
    assert!(!live(&bench, &open));
    bench.out(kept, 0).expect("lives");
    bench.pass(78.0);
    assert!(live(&bench, &udp));
    bench.pass(2.0);
    assert!(!live(&bench, &udp));
    assert_eq!(bench.engine.stats().sessions, 1);
    bench.pass(2000.0);
    assert_eq!(bench.engine.stats().sessions, 0);
}

#[test]
fn well_known_ports_may_have_a_shorter_timer_in_nat44() {
    //= conformance N64-UDP-16
    let mut given = spec();
    assert!(given.timers.udp_short_ports.is_empty(), "off by default");
    given.timers.udp_short = 30;
    assert!(given.timers.udp_short_ports.insert(53) && !given.timers.udp_short_ports.insert(5353));
    let mut bench = Bench::new(&given);
    let short = bench.out(out44(Udp, HOST, 5000, S, 53), 0).expect("made");
    bench.out(out44(Udp, HOST, 5001, S, 54), 0).expect("made");
    bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    bench.pass(29.0);
    // It counts from the last packet, of either direction.
    bench.inn(back(&short, S, 53), 0).expect("alive");
    bench.pass(29.5);
    assert_eq!(bench.engine.stats().sessions, 3);
    bench.pass(1.0);
    assert_eq!(bench.engine.stats().sessions, 2);
    assert_eq!(bench.inn(back(&short, S, 53), 0), Err(DropReason::NoBinding));
    // A stranger's source port is no destination.
    let fixed = bench.out(out44(Udp, HOST, 5001, S, 54), 0).expect("alive");
    bench.inn(back(&fixed, S2, 53), 0).expect("made");
    bench.pass(100.0);
    assert_eq!(bench.engine.stats().sessions, 3);
    // Configured no more: sessions under it live as long as others.
    bench.out(out44(Udp, HOST, 5002, S, 53), 0).expect("made");
    given.timers.udp_short_ports = PortSet::default();
    bench.apply(&given);
    bench.pass(60.0);
    assert!(bench.out(out44(Udp, HOST, 5002, S, 53), 0).is_ok());
    assert_eq!(bench.engine.stats().sessions, 4);
}

#[test]
fn a_shorter_timer_is_shorter() {
    let mut given = spec();
    given.timers.udp_short_ports.insert(53);
    for (time, good) in [(0, false), (1, true), (300, true), (301, false)] {
        given.timers.udp_short = time;
        assert_eq!(shared(100, 1).compile(&given, 1, None).is_ok(), good, "{time}");
    }
}
