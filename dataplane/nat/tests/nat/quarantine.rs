//! A new life beside what the last one had in use: the blocks of its sessions rest.

use std::collections::HashSet;
use std::sync::Arc;

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

const SINCE: Tick = Tick::from_secs(1_000);

/// One address, ports 2048 to 2559 in eight blocks of 64, one of them for each subscriber.
fn small() -> Spec {
    let mut small = spec();
    small.pools[0] = PoolSpec { port_min: 2048, port_max: 2559, block_size: 64, ..pool("small", T, 32) };
    small.limits.max_port_blocks = 1;
    small
}

fn host(n: u32) -> u128 {
    H + (u128::from(n) << 64)
}

/// What is left of a life, as far as a new one with `spec` cares.
fn remains<'a>(spec: &Spec, sessions: impl IntoIterator<Item = &'a Session>) -> Remains {
    let mut remains = Remains::new(spec, 64);
    sessions.into_iter().filter_map(Session::read).for_each(|session| remains.add(&session.fixed));
    remains
}

/// A session that an engine never made.
fn record(protocol: u8, external: u32, external_port: u16) -> Fixed {
    Fixed {
        kind_realm: KindRealm::new(Kind::Nat64, 0),
        protocol,
        inside_port: 1,
        inside: H,
        remote: S,
        external,
        remote_port: 53,
        external_port,
        delta: 0,
        rule: 0,
        binding: 0,
        owner: 0,
        prefix64: 1,
    }
}

/// A life with one worker that begins after another.
struct Life {
    bench: Bench,
    quarantine: Quarantine,
}

impl Life {
    fn new(spec: &Spec, records: &[Fixed]) -> Self {
        let mut remains = Remains::new(spec, 64);
        records.iter().for_each(|record| remains.add(record));
        let bench = Bench::new(spec);
        let quarantine = Quarantine::new(&bench.shared, bench.engine.config(), &remains, SINCE);
        Self { bench, quarantine }
    }

    fn apply(&mut self, spec: &Spec) {
        self.bench.apply(spec);
        self.quarantine.set_config(&self.bench.shared, self.bench.engine.config());
    }

    /// A block for each new subscriber until there is none: how many, and that no port is of `resting`.
    fn fill(&mut self, resting: &[u16]) -> usize {
        let mut count = 0;
        for n in 0..2000 {
            match self.bench.out(out64(Udp, host(n), 5000, S, 53), 0) {
                Ok(made) => {
                    assert!(!resting.contains(&(made.external_port / 64 * 64)), "{}", made.external_port);
                    count += 1;
                }
                Err(reason) => {
                    assert_eq!(reason, DropReason::PoolExhausted);
                    return count;
                }
            }
        }
        panic!("a pool without end");
    }
}

#[test]
fn blocks_of_the_last_life_are_nobodys_until_they_have_rested() {
    //= conformance PORT-13, PORT-22
    for workers in [1, 2, 4] {
        let old = shared(20_000, workers);
        let spec = small();
        let config = Arc::new(old.compile(&spec, 1, None).expect("valid"));
        let mut used = HashSet::new();
        for (n, protocol) in (0..5).zip([Udp, Tcp, Icmp].into_iter().cycle()) {
            let tuple = out64(protocol, host(n), 5000, S, 53);
            let worker = old.subscriber_worker(&config, tuple.kind_realm, tuple.inside);
            let mut engine = Engine::new(Arc::clone(&old), worker, Arc::clone(&config));
            let made = engine.new_outbound(&tuple, 0, SYN, Tick(7), &mut ()).expect("room");
            used.insert(made.fixed.external_port / 64);
        }
        assert_eq!(used.len(), 5);

        let shared = shared(20_000, workers);
        let config = Arc::new(shared.compile(&spec, 1, None).expect("valid"));
        let mut quarantine = Quarantine::new(&shared, &config, &remains(&spec, old.sessions()), SINCE);
        assert_eq!((quarantine.blocks(), quarantine.left(SINCE.after(40))), (5, 480 - 40));
        let mut engines: Vec<Engine> = (0..workers)
            .map(|worker| Engine::new(Arc::clone(&shared), WorkerId(worker), Arc::clone(&config)))
            .collect();
        let mut new_block = |n: u32| {
            let tuple = out64(Udp, host(n), 5000, S, 53);
            let worker = shared.subscriber_worker(&config, tuple.kind_realm, tuple.inside);
            let made = engines[usize::from(worker.0)].new_outbound(&tuple, 0, 0, SINCE, &mut ());
            made.map(|flow| flow.fixed.external_port / 64)
        };
        for &block in &used {
            assert_eq!(shared.external_owner(&config, Udp, T, block * 64), ExternalOwner::Free);
        }
        // Others than before come first, and find three blocks.
        let mut given = HashSet::new();
        for n in 100..103 {
            assert!(given.insert(new_block(n).expect("three are left")));
        }
        assert!(given.is_disjoint(&used));
        quarantine.release(&shared, SINCE.after(120 * TICKS_PER_SECOND));
        for n in 103..110 {
            assert_eq!(new_block(n), Err(DropReason::PoolExhausted), "before 120 s are over");
        }
        quarantine.release(&shared, SINCE.after(120 * TICKS_PER_SECOND + 1));
        assert!(quarantine.is_over());
        for n in 110..115 {
            assert!(given.insert(new_block(n).expect("rested")));
        }
        assert_eq!(given.len(), 8);
        assert_eq!(new_block(115), Err(DropReason::PoolExhausted));
    }
}

#[test]
fn a_pool_of_which_all_rests_refuses_and_recovers() {
    //= conformance PORT-13, PORT-22
    let all: Vec<Fixed> = (0..8).map(|block| record(17, T, 2048 + 64 * block)).collect();
    let mut life = Life::new(&small(), &all);
    assert_eq!((life.quarantine.blocks(), life.fill(&[])), (8, 0));
    life.quarantine.release(&life.bench.shared, SINCE.after(120 * TICKS_PER_SECOND + 1));
    assert_eq!(life.fill(&[]), 8);
    // No rest at all if the operator wants none; a changed hold-down counts from the beginning.
    let mut spec = small();
    spec.pools[0].hold_down = 0;
    assert!(Life::new(&spec, &all).quarantine.is_over());
    let mut life = Life::new(&small(), &all);
    spec.pools[0].hold_down = 10;
    life.apply(&spec);
    life.quarantine.release(&life.bench.shared, SINCE.after(10 * TICKS_PER_SECOND + 1));
    assert_eq!((life.quarantine.is_over(), life.fill(&[])), (true, 8));
}

#[test]
fn blocks_of_several_lives_rest_each_for_its_own_time() {
    //= conformance PORT-13
    let spec = small();
    let mut lives = [vec![2048, 2112], vec![2112, 2176]].map(|ports| {
        let mut noted = Remains::new(&spec, 64);
        ports.into_iter().for_each(|port| noted.add(&record(17, T, port)));
        // As it comes back from where it was written down.
        let mut remains = Remains::new(&spec, 64);
        noted.units().for_each(|(external, units)| remains.add_units(external, units));
        remains
    });
    lives[0].add_units(T + 1, [u64::MAX; 16]);
    let bench = Bench::new(&spec);
    let rest = |remains, since| Quarantine::new(&bench.shared, bench.engine.config(), remains, since);
    let later = SINCE.after(60 * TICKS_PER_SECOND);
    let mut last = rest(&lives[1], later);
    let mut first = rest(&lives[0], SINCE);
    assert_eq!((first.blocks(), last.blocks()), (1, 2));
    let over = SINCE.after(120 * TICKS_PER_SECOND + 1);
    first.release(&bench.shared, over);
    last.release(&bench.shared, over);
    assert_eq!((first.is_over(), last.left(over)), (true, 60 * TICKS_PER_SECOND - 1));
    let mut life = Life { bench, quarantine: last };
    assert_eq!(life.fill(&[2112, 2176]), 6);
}

#[test]
fn a_block_rests_as_a_whole_and_other_sizes_find_what_is_left() {
    //= conformance PORT-13
    let mut spec = small();
    spec.pools[0].block_size = 128;
    let mut life = Life::new(&spec, &[record(6, T, 2048 + 70), record(6, T, 2048 + 1), record(1, T, 2559)]);
    assert_eq!(life.quarantine.blocks(), 2);
    assert_eq!(life.fill(&[2048, 2112, 2432, 2496]), 2);
}

#[test]
fn ports_that_belong_to_somebody_anyway_do_not_rest() {
    //= conformance PORT-12, PORT-13
    let mut spec = small();
    spec.statics = vec![StaticSpec {
        rule: 0,
        protocol: Tcp,
        inside: H2,
        inside_port: 22,
        external: T,
        external_port: 2050,
    }];
    let mut life = Life::new(&spec, &[record(6, T, 2050)]);
    assert_eq!((life.quarantine.blocks(), life.fill(&[])), (0, 8));
    // Another protocol at the same port is no static binding.
    let mut life = Life::new(&spec, &[record(17, T, 2050)]);
    assert_eq!((life.quarantine.blocks(), life.fill(&[2048])), (1, 7));
    let ssh = InboundTuple { protocol: Tcp, external: T, external_port: 2050, remote: S, remote_port: 9 };
    assert_eq!(life.bench.inn(ssh, SYN).expect("is bound").inside, H2);

    // Deterministic: 14 hosts with 4032 ports each from 1024 on, and blocks of 256 from 57600 on.
    const INSIDE: u32 = 0x0a00_0000;
    let variables = DeterministicSpec { inside: (INSIDE, 28), dynamic: 2, algorithm: Algorithm::Sequential };
    let mut fixed = self::spec();
    fixed.pools[0] = PoolSpec { deterministic: Some(variables), ..pool("fixed", T, 32) };
    let before: Vec<Fixed> = [5056, 9087, 57_600, 65_535].map(|port| record(17, T, port)).into();
    let mut life = Life::new(&fixed, &before);
    assert_eq!(life.quarantine.blocks(), 2, "the blocks of the overflow");
    for n in 0..4032 {
        let made = life.bench.out(out44(Udp, u128::from(INSIDE) + 2, 10_000 + n, S, 53), 0);
        assert!((5056..=9087).contains(&made.expect("in the range").external_port));
    }
    // A pool that becomes deterministic meanwhile has its ranges at once.
    let dynamic = Spec { pools: vec![pool("plain", T, 32)], ..fixed.clone() };
    let mut life = Life::new(&dynamic, &before);
    assert_eq!(life.quarantine.blocks(), 4);
    life.apply(&fixed);
    for n in 0..4032 {
        let made = life.bench.out(out44(Udp, u128::from(INSIDE) + 2, 10_000 + n, S, 53), 0);
        assert!((5056..=9087).contains(&made.expect("in the range").external_port));
    }
}

#[test]
fn an_address_that_goes_keeps_its_place_until_it_has_rested() {
    //= conformance PORT-13
    let spec = |address: u32| {
        let mut spec = small();
        spec.pools[0].prefixes = vec![(address, 32)];
        spec
    };
    let before = [record(17, T, 2048)];
    let mut life = Life::new(&spec(T), &before);
    // Others come and go in its place, without its mark.
    for n in 1..200 {
        life.apply(&spec(T + n));
        assert_eq!(life.fill(&[]), 8, "of {n}");
        life.bench.pass(600.0);
    }
    life.apply(&spec(T));
    assert_eq!(life.fill(&[2048]), 7);
    life.quarantine.release(&life.bench.shared, SINCE.after(120 * TICKS_PER_SECOND + 1));
    life.bench.pass(600.0);
    assert_eq!(life.fill(&[]), 8);
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    //= conformance PORT-13
    let mut spec = small();
    spec.pools[0].prefixes = vec![(POOL, 24)];
    spec.pools[0].prefixes.push((T, 33));
    let mut bounded = Remains::new(&spec, 2);
    for n in 0..=255 {
        bounded.add(&record(n as u8, T + 4, 2048));
        bounded.add(&Fixed { kind_realm: KindRealm(n as u8 & !3), ..record(17, T + 5, 2048) });
        bounded.add(&record(17, u32::MAX - n, 2048));
    }
    for n in 0..200 {
        bounded.add(&record(17, T + 4 + n, n as u16 * 300));
    }
    spec.pools[0].prefixes = vec![(POOL, 26)];
    let bench = Bench::new(&spec);
    // Two addresses at most, and of these only blocks that the pool has.
    let quarantine = Quarantine::new(&bench.shared, bench.engine.config(), &bounded, SINCE);
    assert_eq!(quarantine.blocks(), 1);
    assert!(Remains::new(&Spec::default(), 2).is_empty());
}
