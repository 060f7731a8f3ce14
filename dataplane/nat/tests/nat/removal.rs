//! Mappings that the operator takes away (MAP-15).

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

fn removal(inside: u128, port: Option<u16>, protocol: Option<Protocol>) -> Removal {
    let kind = if inside >> 32 == 0 { Kind::Nat44 } else { Kind::Nat64 };
    Removal { kind, inside, port, protocol }
}

/// Removes with a budget of some records at a time. Returns how many sessions there were.
fn remove(bench: &mut Bench, removal: &Removal) -> u32 {
    let (mut next, mut sessions) = (Some(0), 0);
    while let Some(from) = next {
        let removed = bench.engine.remove(removal, from, 64, bench.now, &mut bench.events);
        assert!(removed.sessions <= 8, "bounded");
        sessions += removed.sessions;
        next = removed.next;
    }
    sessions
}

/// One address, 64 ports in one block.
fn tight() -> Spec {
    let mut tight = spec();
    tight.pools[0] = PoolSpec { port_min: 2048, port_max: 2111, block_size: 64, ..pool("tight", T, 32) };
    tight
}

#[test]
fn sessions_go_at_once_and_the_port_rests_in_every_protocol() {
    //= conformance MAP-15
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        let mut bench = Bench::new(&tight());
        let made: Vec<Fixed> =
            (1..=64).map(|port| bench.out(out64(protocol, H, port, S, 80), flags).expect("room")).collect();
        for remote in 0..5 {
            bench.out(out64(protocol, H, 7, S2 + remote, 80), flags).expect("of the same mapping");
        }
        bench.heard();
        assert_eq!(remove(&mut bench, &removal(H, Some(7), Some(protocol))), 6);
        assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (63, 63));
        assert!(matches!(bench.heard()[..], [Event::BindingDeleted { inside_port: 7, .. }]));
        let gone = made[6];
        let refusal = match protocol {
            Tcp => DropReason::UnsolicitedSyn,
            _ => DropReason::NoBinding,
        };
        assert_eq!(bench.inn(back(&gone, S, 80), flags), Err(refusal));
        // All other ports are in use, so that the freed one would be the one to get.
        for wait in [0.0, 30.0, 29.5, 30.0, 29.5] {
            bench.pass(wait);
            assert_eq!(
                bench.out(out64(protocol, H, 99, S, 80), flags),
                Err(DropReason::PoolExhausted),
                "{protocol}"
            );
            for port in (1..=64).filter(|port| *port != 7) {
                bench.out(out64(protocol, H, port, S, 80), flags).expect("lives");
            }
        }
        bench.pass(6.0);
        let again = bench.out(out64(protocol, H, 99, S, 80), flags).expect("has rested");
        assert_eq!(again.external_port, gone.external_port, "{protocol}");
    }
}

#[test]
fn a_tcp_port_that_ends_by_itself_still_needs_no_rest_and_a_block_waits_for_one_that_does() {
    //= conformance MAP-15, PORT-11
    let mut bench = Bench::new(&tight());
    bench.out(out64(Tcp, H, 1, S, 80), SYN).expect("room");
    bench.pass(240.5);
    assert_eq!(bench.engine.stats().port_blocks, 0, "back at once");
    bench.out(out64(Tcp, H, 1, S, 80), SYN).expect("room");
    assert_eq!(remove(&mut bench, &removal(H, None, None)), 1);
    bench.pass(119.0);
    assert_eq!(bench.engine.stats().port_blocks, 1, "rests");
    assert_eq!(bench.out(out64(Tcp, H2, 1, S, 80), SYN), Err(DropReason::PoolExhausted));
    bench.pass(6.0);
    assert_eq!(bench.engine.stats().port_blocks, 0);
    // Without a hold-down nothing rests.
    let mut none = tight();
    none.pools[0].hold_down = 0;
    let mut bench = Bench::new(&none);
    bench.out(out64(Tcp, H, 1, S, 80), SYN).expect("room");
    remove(&mut bench, &removal(H, None, None));
    bench.settle();
    assert_eq!(bench.engine.stats().port_blocks, 0);
}

#[test]
fn only_what_is_named_is_removed() {
    //= conformance MAP-15
    let mut bench = Bench::new(&spec());
    for (protocol, flags) in [(Udp, 0), (Tcp, SYN), (Icmp, 0)] {
        for port in [100, 200] {
            for tuple in [
                out64(protocol, H, port, S, 80),
                out64(protocol, H + 1, port, S, 80),
                out44(protocol, HOST, port, S, 80),
            ] {
                bench.out(tuple, flags).expect("room");
            }
        }
    }
    assert_eq!(bench.engine.stats().sessions, 18);
    for (wanted, sessions) in [
        (removal(H, Some(100), Some(Udp)), 1),
        (removal(H, Some(100), Some(Udp)), 0),
        (removal(H, Some(100), None), 2),
        (removal(H, None, Some(Tcp)), 1),
        (removal(H, None, None), 2),
        (removal(HOST, None, None), 6),
        (removal(HOST2, None, None), 0),
        // The same number, but no address of that kind.
        (Removal { kind: Kind::Nat44, ..removal(H + 1, None, None) }, 0),
        (removal(H + 1, None, None), 6),
    ] {
        assert_eq!(remove(&mut bench, &wanted), sessions, "{wanted:?}");
    }
    assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (0, 0));
}

#[test]
fn nothing_is_added_to_a_mapping_that_is_being_removed() {
    //= conformance MAP-15
    let mut bench = Bench::new(&spec());
    let made = bench.out(out64(Udp, H, 5000, S, 53), 0).expect("room");
    for remote in 0..200 {
        bench.out(out64(Udp, H, 5000, S2 + remote, 53), 0).expect("room");
    }
    let wanted = removal(H, None, None);
    let first = bench.engine.remove(&wanted, 0, 64, bench.now, &mut bench.events);
    assert!(first.sessions > 0 && first.next.is_some());
    // Whoever sends now has a mapping of its own, and strangers find none.
    let other = bench.out(out64(Udp, H, 5000, S - 1, 53), 0).expect("room");
    assert_ne!(other.external_port, made.external_port);
    assert_eq!(bench.inn(back(&made, S - 2, 53), 0), Err(DropReason::NoBinding));
    remove(&mut bench, &wanted);
    assert!(bench.engine.stats().sessions <= 1);
}

#[test]
fn of_a_static_mapping_the_sessions_go_and_it_stays() {
    //= conformance MAP-15
    let mut with = spec();
    let (inside_port, external_port) = (22, 2222);
    with.statics =
        vec![StaticSpec { rule: 0, protocol: Tcp, inside: H, inside_port, external: T, external_port }];
    let mut bench = Bench::new(&with);
    let probe = InboundTuple { protocol: Tcp, external: T, external_port, remote: S, remote_port: 9 };
    bench.inn(probe, SYN).expect("bound");
    assert_eq!(remove(&mut bench, &removal(H, Some(22), None)), 1);
    assert_eq!((bench.engine.stats().sessions, bench.engine.stats().bindings), (0, 1));
    assert_eq!(bench.inn(probe, ACK).map(|fixed| fixed.inside), Ok(H), "translated without state");
    assert!(bench.inn(probe, SYN).is_ok());
}
