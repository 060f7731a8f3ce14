//! Mapping and filtering: who gets which external address and port, and who may send there.

use sluice_nat::*;
use sluice_packet::{Delta, DropReason, Prefix64};

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

#[test]
fn a_host_keeps_its_port_whatever_the_destination() {
    //= conformance N64-UDP-01, N64-UDP-02, N64-UDP-03, N44-01, N44-02, N64-ICMP-04, MAP-01, ADDR-22
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        for make in [out64, out44] {
            let mut bench = Bench::new(&spec());
            let inside = if make(protocol, H, 0, S, 0).prefix64 == 1 { H } else { HOST };
            let first = bench.out(make(protocol, inside, 5000, S, 53), flags).expect("made");
            let second = bench.out(make(protocol, inside, 5000, S2, 99), flags).expect("made");
            assert_eq!((first.external, first.external_port), (second.external, second.external_port));
            assert_eq!((first.inside, first.inside_port, first.remote), (inside, 5000, S));
            let stats = bench.engine.stats();
            assert_eq!((stats.sessions, stats.bindings, stats.subscribers, stats.port_blocks), (2, 1, 1, 1));
            let reply = bench.inn(back(&first, S, 53), SYN | ACK).expect("known");
            assert_eq!(reply, first);
            assert_eq!(bench.engine.stats().sessions, 2, "a reply makes nothing");
        }
    }
}

#[test]
fn the_delta_of_a_session_is_what_a_full_recomputation_gives() {
    //= conformance N44-03, ADDR-21
    let mut bench = Bench::new(&spec());
    let fixed = bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    let remote = Prefix64::new(P, 96).expect("valid").embed(S);
    let wanted = Delta::ZERO
        .remove_u128(H)
        .remove_u128(remote)
        .remove_u16(5000)
        .add_u32(fixed.external)
        .add_u32(S)
        .add_u16(fixed.external_port);
    assert_eq!(fixed.delta % 0xffff, wanted.raw() % 0xffff);
    let fixed = bench.out(out44(Tcp, HOST, 5000, S, 80), SYN).expect("made");
    let wanted = Delta::ZERO
        .remove_u32(HOST as u32)
        .remove_u16(5000)
        .add_u32(fixed.external)
        .add_u16(fixed.external_port);
    assert_eq!(fixed.delta % 0xffff, wanted.raw() % 0xffff);
    let fixed = bench.out(out64(Icmp, H, 7, S, 0), 0).expect("made");
    let wanted = Delta::ZERO.remove_u16(7).add_u16(fixed.external_port);
    assert_eq!(fixed.delta % 0xffff, wanted.raw() % 0xffff);
}

#[test]
fn a_subscriber_has_one_external_address_for_all_its_hosts_and_protocols() {
    //= conformance MAP-04, MAP-05, N64-ICMP-02, DISC-07
    let mut bench = Bench::new(&spec());
    let external = bench.out(out64(Udp, H, 1, S, 1), 0).expect("made").external;
    for host in 0..600 {
        let fixed = bench.out(out64(Udp, H + host, 2000, S, 1), 0).expect("made");
        assert_eq!(fixed.external, external);
    }
    assert_eq!(bench.out(out64(Tcp, H + 3, 9, S, 1), SYN).expect("made").external, external);
    assert_eq!(bench.out(out64(Icmp, H + 4, 9, S, 1), 0).expect("made").external, external);
    assert_eq!(bench.engine.stats().subscribers, 1);
    let used: std::collections::HashSet<u32> = (0..40u128)
        .map(|net| bench.out(out64(Udp, H + (net << 64), 1, S, 1), 0).expect("made").external)
        .collect();
    assert_eq!(used.len(), 4, "subscribers are spread over the pool");
}

#[test]
fn anyone_may_send_to_a_binding_with_endpoint_independent_filtering() {
    //= conformance N64-UDP-10, N64-ICMP-08, N64-TCP-07, MAP-07, N64-UDP-09, N64-ICMP-06, N64-TCP-02, N64-TCP-40, MAP-03
    let mut bench = Bench::new(&spec());
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        let fixed = bench.out(out64(protocol, H, 5000, S, 53), flags).expect("made");
        let before = bench.engine.stats().sessions;
        let stranger = bench.inn(back(&fixed, S2, 7), flags).expect("allowed");
        assert_eq!((stranger.inside, stranger.inside_port, stranger.remote), (H, 5000, S2));
        assert_eq!(bench.engine.stats().sessions, before + 1);
        let mut unused = back(&fixed, S2, 7);
        unused.external_port ^= 1;
        let reason = if protocol == Tcp { DropReason::UnsolicitedSyn } else { DropReason::NoBinding };
        assert_eq!(bench.inn(unused, flags), Err(reason));
    }
}

#[test]
fn address_dependent_filtering_ignores_the_port_and_lasts_as_long_as_a_session_to_the_address() {
    //= conformance N64-UDP-11, N64-ICMP-07, N64-TCP-06, MAP-08, N64-UDP-14, MAP-20
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        let mut bench = Bench::new(&with_filtering(Filtering::AddressDependent));
        let fixed = bench.out(out64(protocol, H, 5000, S, 53), flags).expect("made");
        assert_eq!(bench.inn(back(&fixed, S2, 53), flags), Err(DropReason::Filtered));
        assert!(bench.inn(back(&fixed, S, 9999), flags).is_ok());
        bench.pass(40.0);
        assert!(bench.out(out64(protocol, H, 5000, S2, 1), flags).is_ok());
        assert!(bench.inn(back(&fixed, S2, 53), flags).is_ok());
        bench.pass(20.0);
        let mut seconds = 60;
        // Refused packets keep nothing alive.
        while bench.engine.stats().bindings > 0 {
            bench.pass(30.0);
            seconds += 30;
            let _ = bench.inn(back(&fixed, 0x0101_0101, 53), flags);
            assert!(seconds < 400, "{protocol}");
        }
        assert_eq!(bench.engine.stats().sessions, 0);
    }
}

#[test]
fn who_was_spoken_to_may_answer_until_the_session_with_it_ends() {
    //= conformance MAP-08, N64-UDP-11
    let mut bench = Bench::new(&with_filtering(Filtering::AddressDependent));
    let [one, two] = [S, S2].map(|remote| bench.out_flow(out64(Udp, H, 5000, remote, 53), 0).expect("made"));
    let from = |bench: &mut Bench, remote| bench.inn(back(&one.fixed, remote, 9), 0);
    // A second session to the address, from outside: either keeps the leave.
    let also = bench.inn_flow(back(&one.fixed, S, 7), 0).expect("allowed");
    bench.engine.delete(one.session, bench.now, &mut bench.events);
    let last = bench.inn_flow(back(&also.fixed, S, 9), 0).expect("still allowed");
    for session in [also.session, last.session] {
        bench.engine.delete(session, bench.now, &mut bench.events);
    }
    assert_eq!(from(&mut bench, S), Err(DropReason::Filtered));
    assert!(from(&mut bench, S2).is_ok(), "the other has not ended");
    assert!(bench.engine.session(two.session).is_live());
}

#[test]
fn a_binding_of_one_protocol_opens_nothing_for_another() {
    //= conformance MAP-03
    let all = [(Udp, 0), (Tcp, SYN), (Icmp, 0)];
    for (bound, flags) in all {
        let mut bench = Bench::new(&spec());
        let fixed = bench.out(out64(bound, H, 5000, S, 53), flags).expect("made");
        for (protocol, flags) in all.into_iter().filter(|&(protocol, _)| protocol != bound) {
            let other = InboundTuple { protocol, ..back(&fixed, S, 53) };
            assert!(bench.inn(other, flags).is_err(), "{bound} opened {protocol}");
        }
        assert_eq!(bench.inn(back(&fixed, S, 53), ACK), Ok(fixed));
    }
}

#[test]
fn load_changes_neither_mapping_nor_filtering() {
    //= conformance N44-20
    let mut narrow = spec();
    narrow.pools[0] = PoolSpec { port_min: 2048, port_max: 2303, block_size: 64, ..pool("one", T, 32) };
    let mut bench = Bench::new(&narrow);
    // With so many of the pool's ports in use: the same port whatever the destination, and open to anybody.
    for used in [0, 192, 240] {
        for n in bench.engine.stats().bindings..used {
            bench.out(out44(Udp, HOST, 1000 + n as u16, S, 53), 0).expect("room");
        }
        let probe = |remote| out44(Udp, HOST, 60_000 + used as u16, remote, 53);
        let [one, two] = [S, S2].map(|remote| bench.out(probe(remote), 0).expect("room"));
        assert_eq!((one.external, one.external_port), (two.external, two.external_port), "{used} in use");
        let stranger = bench.inn(back(&one, S2 + 1, 7), 0).expect("allowed");
        assert_eq!((stranger.inside, stranger.inside_port), (HOST, 60_000 + used as u16), "{used} in use");
    }
    assert!(bench.engine.stats().bindings * 100 >= 256 * 94);
}

#[test]
fn two_hosts_with_one_identifier_are_told_apart() {
    //= conformance N64-ICMP-03
    let mut bench = Bench::new(&spec());
    let identifiers: std::collections::HashSet<(u32, u16)> = (0..64)
        .map(|host| bench.out(out64(Icmp, H + host, 7, S, 0), 0).expect("made"))
        .map(|fixed| (fixed.external, fixed.external_port))
        .collect();
    assert_eq!(identifiers.len(), 64);
}

#[test]
fn address_and_port_dependent_filtering_wants_both() {
    //= conformance MAP-09
    let mut bench = Bench::new(&with_filtering(Filtering::AddressAndPortDependent));
    let fixed = bench.out(out44(Udp, HOST, 5000, S, 53), 0).expect("made");
    assert_eq!(bench.inn(back(&fixed, S, 54), 0), Err(DropReason::Filtered));
    assert_eq!(bench.inn(back(&fixed, S2, 53), 0), Err(DropReason::Filtered));
    assert!(bench.inn(back(&fixed, S, 53), 0).is_ok());
}

#[test]
fn replies_come_under_the_prefix_that_the_session_was_made_with() {
    //= conformance ADDR-18
    let mut two = spec();
    two.rules.push(nat64(P2));
    let mut bench = Bench::new(&two);
    let first = out64(Udp, H, 5000, S, 53);
    let second = OutboundTuple { prefix64: 2, ..first };
    let one = bench.out(first, 0).expect("made");
    assert_eq!(bench.inn(back(&one, S, 53), 0).expect("known").prefix64, 1);
    let two = bench.out(second, 0).expect("made");
    assert_eq!((one.external, one.external_port), (two.external, two.external_port));
    assert_eq!(bench.inn(back(&one, S, 53), 0).expect("known").prefix64, 2, "the one opened last");
    assert_eq!(
        bench.inn(back(&one, S2, 53), 0).expect("made").prefix64,
        1,
        "from outside: the binding's first"
    );
    // The older session is still there, and gets the replies once the younger is gone.
    let session = bench.out_flow(second, 0).expect("known").session;
    let now = bench.now;
    bench.engine.delete(session, now, &mut ());
    assert_eq!(bench.inn(back(&one, S, 53), 0).expect("known").prefix64, 1);
    assert_eq!(bench.engine.stats().sessions, 2);
}

#[test]
fn a_binding_outlives_the_session_that_made_it() {
    //= conformance MAP-01, MAP-07
    for (make, inside) in [(out64 as fn(_, _, _, _, _) -> _, H), (out44, HOST)] {
        for closes_last in [1, 2, 3] {
            let mut bench = Bench::new(&spec());
            let tuple = |remote| make(Udp, inside, 5000, remote, 53);
            let first = bench.out_flow(tuple(S), 0).expect("made");
            let second = bench.out_flow(tuple(S2), 0).expect("made");
            let external = (first.fixed.external, first.fixed.external_port);
            bench.heard();
            bench.engine.delete(first.session, bench.now, &mut bench.events);
            // Until its record is free again, and somebody else's.
            for _ in 0..2 {
                bench.pass(200.0);
                assert_eq!(bench.out_flow(tuple(S2), 0).expect("known"), second);
            }
            let other = bench.out_flow(make(Udp, inside + 1, 6000, S, 53), 0).expect("made");
            assert_eq!(other.session, first.session);
            let third = bench.out_flow(tuple(S + 1), 0).expect("made");
            let stranger = bench.inn_flow(back(&first.fixed, S2 + 9, 7), 0).expect("allowed");
            for made in [&third, &stranger] {
                assert_eq!((made.fixed.external, made.fixed.external_port), external);
                assert_eq!((made.fixed.inside, made.fixed.inside_port), (inside, 5000));
            }
            assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (4, 2));
            bench.heard();
            let mut open = [second, third, stranger];
            open.rotate_left(closes_last);
            for (n, flow) in open.iter().enumerate() {
                assert_eq!(bench.heard(), [], "{n}");
                bench.engine.delete(flow.session, bench.now, &mut bench.events);
            }
            let deleted = Event::BindingDeleted {
                kind_realm: first.fixed.kind_realm,
                protocol: Udp,
                inside,
                inside_port: 5000,
                external: external.0,
                external_port: external.1,
            };
            assert_eq!(bench.heard(), [deleted]);
            assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (1, 1));
            assert_eq!(bench.inn(back(&first.fixed, S2, 53), 0), Err(DropReason::NoBinding));
        }
    }
}

#[test]
fn a_batch_finds_what_single_look_ups_find() {
    let mut wide = spec();
    wide.limits.max_port_blocks = 1024;
    let mut bench = Bench::with_records(&wide, 9_000);
    let tuple = |n: u32| out64(Udp, H + (u128::from(n % 50) << 64), 100 + (n / 50) as u16, S, 53);
    let made: Vec<Fixed> = (0..9_000).map(|n| bench.out(tuple(n), 0).expect("room")).collect();
    for length in [1, 31, 64, 65, 200] {
        for start in (0..18_000u32).step_by(1_777) {
            let tuples: Vec<OutboundTuple> = (start..start + length).map(tuple).collect();
            let mut found = vec![SessionIndex(5); tuples.len()];
            bench.engine.prepare_outbound(&tuples, bench.now);
            bench.engine.find_outbound(&tuples, &mut found);
            for (n, found) in (start..).zip(&found) {
                assert_eq!(found.is_some(), n < 9_000);
                assert!(n >= 9_000 || bench.engine.session(*found).fixed() == made[n as usize]);
            }
            let known = made.iter().skip(start as usize).take(length as usize);
            let tuples: Vec<InboundTuple> = known.clone().map(|fixed| back(fixed, S, 53)).collect();
            let mut found = vec![SessionIndex::NONE; tuples.len()];
            bench.engine.find_inbound(&tuples, &mut found);
            for (fixed, found) in known.zip(&found) {
                assert_eq!(bench.engine.session(*found).fixed(), *fixed);
            }
        }
    }
}

#[test]
fn bindings_of_the_three_protocols_are_independent() {
    //= conformance MAP-02, PORT-21
    let mut narrow = spec();
    narrow.pools[0] = PoolSpec { port_min: 2048, port_max: 2048, block_size: 64, ..pool("one", T, 32) };
    let mut bench = Bench::new(&narrow);
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        let fixed = bench.out(out64(protocol, H, 5001, S, 53), flags).expect("made");
        assert_eq!((fixed.external, fixed.external_port), (T, 2048));
        assert_eq!(bench.inn(back(&fixed, S, 53), SYN | ACK).expect("known"), fixed);
    }
    assert_eq!(bench.out(out64(Udp, H, 5002, S, 53), 0), Err(DropReason::PoolExhausted));
}
