//! What the reference NAT (`tests/reference`) found, each as small as it could be made.

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Tcp, Udp};

fn host(n: u32) -> u128 {
    H + (u128::from(n) << 64)
}

#[test]
fn blocks_outside_of_a_narrowed_range_do_not_count_against_it() {
    //= conformance PORT-22, MAP-16
    let mut given = spec();
    given.pools[0] = PoolSpec { block_size: 64, port_min: 40_000, ..pool("one", T, 32) };
    let mut bench = Bench::new(&given);
    for n in 0..8 {
        bench.out(out64(Udp, host(n), 5000, S, 53), 0).expect("made");
    }
    // Four blocks, all of them free: those of before are elsewhere, and rest.
    given.pools[0] = PoolSpec { port_min: 1024, port_max: 1279, ..given.pools[0].clone() };
    bench.apply(&given);
    bench.settle();
    assert_eq!((bench.engine.stats().sessions, bench.engine.stats().port_blocks), (0, 8));
    for n in 0..4 {
        let made = bench.out(out64(Udp, host(n + 20), 5000, S, 53), 0).expect("a free block");
        assert!((1024..1280).contains(&made.external_port));
    }
    assert_eq!(bench.out(out64(Udp, host(30), 5000, S, 53), 0), Err(DropReason::PoolExhausted));
}

#[test]
fn a_remote_address_is_known_to_the_filter_whichever_rule_its_session_is_of() {
    //= conformance MAP-08, N64-UDP-11
    let mut given = spec();
    given.rules.insert(1, nat64(P2));
    given.rules[0].filtering = [Filtering::AddressDependent; 3];
    let mut bench = Bench::new(&given);
    let first = bench.out(out64(Udp, H, 5000, S, 53), 0).expect("made");
    let second = bench.out(OutboundTuple { prefix64: 2, ..out64(Udp, H, 5000, S2, 53) }, 0).expect("made");
    assert_eq!((first.external, first.external_port), (second.external, second.external_port));
    // Strangers come under the first prefix, whose rule asks for a session to their address. There is one.
    assert!(bench.inn(back(&first, S2, 99), 0).is_ok());
    assert_eq!(bench.inn(back(&first, S2 + 1, 99), 0), Err(DropReason::Filtered));
}

#[test]
fn a_session_keeps_its_replies_when_the_other_prefix_goes() {
    //= conformance ADDR-18, MAP-16
    let mut given = spec();
    given.rules.insert(1, nat64(P2));
    given.rules[0].filtering = [Filtering::AddressAndPortDependent; 3];
    let mut bench = Bench::new(&given);
    let tuple = out64(Udp, H, 5000, S, 53);
    let first = bench.out_flow(tuple, 0).expect("made");
    bench.out(OutboundTuple { prefix64: 2, ..tuple }, 0).expect("made, and it gets the replies from now on");
    given.rules.remove(1);
    bench.apply(&given);
    bench.settle();
    assert_eq!(bench.engine.stats().sessions, 1);
    assert_eq!(bench.inn_flow(back(&first.fixed, S, 53), 0), Ok(first));
}

#[test]
fn a_shortened_timer_counts_at_once_though_the_other_one_became_longer() {
    //= conformance MAP-17, MAP-16
    let mut given = spec();
    (given.timers.tcp_opening, given.timers.tcp_transitory) = (300, 20);
    let mut bench = Bench::new(&given);
    let flow = bench.out_flow(out64(Tcp, H, 5000, S, 80), SYN).expect("made");
    // Just looked at, and filed for twenty seconds later.
    bench.pass(20.5);
    (given.timers.tcp_opening, given.timers.tcp_transitory) = (25, 300);
    bench.apply(&given);
    bench.pass(4.0);
    assert!(bench.engine.session(flow.session).is_live());
    bench.pass(2.0);
    assert!(!bench.engine.session(flow.session).is_live(), "a second late at most");
}

#[test]
fn of_two_sessions_that_one_packet_could_belong_to_the_later_one_stays() {
    //= conformance MAP-10, MAP-16
    let mut given = spec();
    let mut bench = Bench::new(&given);
    let tuple = out64(Udp, H, 5000, S, 53);
    let old = bench.out_flow(tuple, 0).expect("made");
    given.statics.push(StaticSpec {
        rule: 0,
        protocol: Udp,
        inside: H,
        inside_port: 5000,
        external: T + 1,
        external_port: 7000,
    });
    bench.apply(&given);
    bench.settle();
    assert_eq!(bench.out_flow(tuple, 0), Ok(old), "nothing ends because of the static binding");
    let asked =
        InboundTuple { protocol: Udp, external: T + 1, external_port: 7000, remote: S, remote_port: 53 };
    let new = bench.inn_flow(asked, 0).expect("the operator's");
    assert_eq!(bench.out_flow(tuple, 0), Ok(new), "the answer leaves from where it was asked for");
    assert!(!bench.engine.session(old.session).is_live());
    assert_eq!(bench.engine.stats().sessions, 1);
}
