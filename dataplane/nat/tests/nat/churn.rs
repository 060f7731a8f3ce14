//! Everything at once, at random: traffic, deletions, changes of configuration. What must hold always is checked often,
//! and when all has ended, nothing may be left behind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sluice_nat::*;

use crate::common::*;
use Protocol::{Icmp, Tcp, Udp};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % u64::from(sides)) as u32
    }
}

fn random_spec(dice: &mut Dice) -> Spec {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let mut made = spec();
    made.log.sessions = true;
    let sizes = [64, 128, 256];
    let filters = [EndpointIndependent, AddressDependent, AddressAndPortDependent];
    made.pools[0] = PoolSpec {
        prefixes: vec![(POOL + 4 * dice.roll(2), 30)],
        port_min: [1, 1024][dice.roll(2) as usize],
        port_max: 2047,
        block_size: sizes[dice.roll(3) as usize],
        hold_down: [0, 60, 120][dice.roll(3) as usize],
        deterministic: (dice.roll(4) == 0).then_some(DeterministicSpec {
            inside: (0x0a00_0000, 28),
            dynamic: 1,
            algorithm: [Algorithm::Sequential, Algorithm::Random([3, 4])][dice.roll(2) as usize],
        }),
        ..pool("first", 0, 0)
    };
    made.pools.push(PoolSpec { port_max: 1500, block_size: 64, ..pool("second", 0xcb00_7180, 31) });
    made.rules.push(RuleSpec { pool: dice.roll(2) as u16, ..nat64(P2) });
    for rule in &mut made.rules {
        rule.filtering = [(); 3].map(|()| filters[dice.roll(3) as usize]);
    }
    if dice.roll(4) == 0 {
        made.rules[1].sources = vec![(HOST, 32)];
    }
    if dice.roll(4) == 0 {
        made.rules.swap(0, 2);
    }
    if dice.roll(5) == 0 {
        made.rules.remove(dice.roll(3) as usize);
    }
    made.timers = Timers {
        udp: 120 + dice.roll(300),
        tcp_opening: 1 + dice.roll(300),
        tcp_transitory: 1 + dice.roll(300),
        udp_inbound_refresh: dice.roll(2) == 0,
        ..Timers::default()
    };
    made.limits = Limits {
        max_sessions: 20 + dice.roll(100),
        max_port_blocks: 1 + dice.roll(3) as u16,
        new_sessions_per_second: [0, 50][dice.roll(2) as usize],
        max_mappings: [Limits::NONE, 5 + dice.roll(50), Limits::NONE],
        max_subscribers: [Limits::NONE, 2][dice.roll(2) as usize],
        ..made.limits
    };
    made.statics = (0..dice.roll(4) as u16)
        .map(|n| {
            let rule = dice.roll(made.rules.len() as u32) as u16;
            let v4 = made.rules[usize::from(rule)].kind == Kind::Nat44;
            StaticSpec {
                rule,
                protocol: [Udp, Tcp][dice.roll(2) as usize],
                inside: if v4 { HOST } else { H } + u128::from(dice.roll(3)),
                inside_port: 1000 + n,
                external: POOL + dice.roll(8),
                external_port: 1024 + n,
            }
        })
        .collect();
    made
}

/// What holds at any moment.
fn check(shared: &Shared, engines: &[Engine], now: Tick) {
    let mut externals: HashMap<(u8, u32, u16), (KindRealm, u128, u16)> = HashMap::new();
    let mut live = vec![0; engines.len()];
    for (number, session) in shared.sessions().iter().enumerate() {
        let Some(view) = session.read() else { continue };
        let fixed = view.fixed;
        live[usize::from(fixed.owner)] += 1;
        assert!(view.hot.timer_class != 0 && now.since(view.hot.last_seen) <= 7200 * TICKS_PER_SECOND + 1);
        let tuple = OutboundTuple {
            kind_realm: fixed.kind_realm,
            protocol: Protocol::from_number(fixed.protocol).expect("known"),
            inside: fixed.inside,
            inside_port: fixed.inside_port,
            remote: fixed.remote,
            remote_port: fixed.remote_port,
            prefix64: fixed.prefix64,
        };
        let engine = &engines[usize::from(fixed.owner)];
        let mut found = [SessionIndex::NONE];
        engine.find_outbound(&[tuple], &mut found);
        assert_eq!(found[0].0 as usize, number);
        // Sessions of an older generation may wait for the sweep while their port was given to a static binding.
        if view.route.rule_generation == engine.config().generation() {
            let inside = (fixed.kind_realm, fixed.inside, fixed.inside_port);
            let external = (fixed.protocol, fixed.external, fixed.external_port);
            assert_eq!(*externals.entry(external).or_insert(inside), inside, "a port of two hosts");
        }
    }
    for (engine, live) in engines.iter().zip(live) {
        assert_eq!(engine.stats().sessions, live);
    }
}

fn random_outbound(dice: &mut Dice, protocol: Protocol) -> OutboundTuple {
    let (host, port) = (u128::from(dice.roll(12)), 1000 + dice.roll(60) as u16);
    let (remote, remote_port) = (S + dice.roll(4), 80 + dice.roll(3) as u16);
    match dice.roll(3) {
        0 => out44(protocol, HOST + host, port, remote, remote_port),
        prefix => OutboundTuple {
            prefix64: prefix as u8,
            ..out64(protocol, H + (host << 64), port, remote, remote_port)
        },
    }
}

fn churn(seed: u64, workers: u8) {
    let mut dice = Dice(seed);
    let shared = shared(16_384 + 100, workers);
    let mut given = random_spec(&mut dice);
    while shared.compile(&given, 1, None).is_err() {
        given = random_spec(&mut dice);
    }
    let mut config = Arc::new(shared.compile(&given, 1, None).expect("valid"));
    let mut engines: Vec<Engine> = (0..workers)
        .map(|worker| Engine::new(Arc::clone(&shared), WorkerId(worker), Arc::clone(&config)))
        .collect();
    let mut now = Tick(u32::MAX - 5_000);
    let mut made: Vec<Flow> = Vec::new();
    let mut events: (Vec<Event>, Vec<Fixed>) = Default::default();
    let mut prepared = vec![Vec::new(); usize::from(workers)];
    for step in 0..40_000 {
        let protocol = [Udp, Tcp, Icmp][dice.roll(3) as usize];
        let flags = [SYN, SYN, SYN | ACK, ACK, FIN | ACK, RST][dice.roll(6) as usize];
        let worker = match dice.roll(20) {
            0..9 => {
                let tuple = random_outbound(&mut dice, protocol);
                let worker = shared.subscriber_worker(&config, tuple.kind_realm, tuple.inside);
                let engine = &mut engines[usize::from(worker.0)];
                let prepared = &mut prepared[usize::from(worker.0)];
                prepared.push(tuple);
                // Some are prepared together, and not all at once afterwards: time, other packets and configurations may lie
                // between, and what was prepared twice or in another order.
                if dice.roll(3) == 0 {
                    engine.prepare_outbound(prepared, now);
                }
                for _ in 0..dice.roll(4).min(prepared.len() as u32) {
                    let at = if dice.roll(8) == 0 { prepared.len() - 1 } else { 0 };
                    made.extend(engine.new_outbound(&prepared.remove(at), 0, flags, now, &mut events));
                }
                worker.0
            }
            9..18 if !made.is_empty() => {
                let flow = made[dice.roll(made.len() as u32) as usize];
                let tuple = back(&flow.fixed, S + dice.roll(6), 80 + dice.roll(3) as u16);
                let owner =
                    shared.external_owner(&config, tuple.protocol, tuple.external, tuple.external_port);
                if let ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) = owner {
                    let engine = &mut engines[usize::from(worker.0)];
                    made.extend(engine.new_inbound(&tuple, flags, now, &mut events));
                }
                flow.fixed.owner
            }
            18 if !made.is_empty() => {
                let flow = made.swap_remove(dice.roll(made.len() as u32) as usize);
                if dice.roll(4) == 0 && flow.session.is_some() {
                    engines[usize::from(flow.fixed.owner)].delete(flow.session, now, &mut events);
                }
                flow.fixed.owner
            }
            _ => {
                now = now.after([0, 1, 7, 100][dice.roll(4) as usize]);
                dice.roll(u32::from(workers)) as u8
            }
        };
        engines[usize::from(worker)].expire(now, dice.roll(40) as usize, &mut events);
        if dice.roll(1000) == 0
            && let Ok(next) = shared.compile(&random_spec(&mut dice), config.generation() + 1, Some(&config))
        {
            config = Arc::new(next);
            engines.iter_mut().for_each(|engine| engine.set_config(Arc::clone(&config)));
        }
        if step % 1000 == 0 {
            for engine in &mut engines {
                while engine.expire(now, 500, &mut events) == 500 {}
            }
            check(&shared, &engines, now);
        }
        made.truncate(3000);
    }
    // Once all is over, everything is free: only static bindings and their subscribers remain.
    for _ in 0..40 {
        now = now.after(2_000);
        for engine in &mut engines {
            while engine.expire(now, 500, &mut events) == 500 {}
        }
    }
    check(&shared, &engines, now);
    let sum = |of: fn(EngineStats) -> u32| engines.iter().map(|engine| of(engine.stats())).sum::<u32>();
    assert_eq!((sum(|s| s.sessions), sum(|s| s.port_blocks)), (0, 0));
    let statics = sum(|s| s.bindings);
    assert!(statics < 4 && sum(|s| s.subscribers) <= statics && sum(|s| s.statics_failed) == 0);
    // The log tells the same: what was made was taken back, once.
    let mut blocks = HashSet::new();
    let mut bindings = HashSet::new();
    // Two that differ in their prefix alone look the same in the log.
    let mut sessions = HashMap::new();
    let key = |session: &SessionEnds| {
        let SessionEnds { protocol, external, external_port, remote, remote_port, .. } = *session;
        (protocol, (external, external_port), (remote, remote_port), (session.inside, session.inside_port))
    };
    for event in &events.0 {
        match *event {
            Event::BlockAllocated { external, first, last, .. } => {
                assert!(blocks.insert((external, first, last)))
            }
            Event::BlockReleased { external, first, last, .. } => {
                assert!(blocks.remove(&(external, first, last)))
            }
            Event::BindingCreated { protocol, external, external_port, .. } => {
                assert!(bindings.insert((protocol, external, external_port)));
            }
            Event::BindingDeleted { protocol, external, external_port, .. } => {
                assert!(bindings.remove(&(protocol, external, external_port)));
            }
            Event::SessionCreated(session) => *sessions.entry(key(&session)).or_insert(0) += 1,
            Event::SessionDeleted(session) => *sessions.entry(key(&session)).or_insert(0) -= 1,
            Event::AddressesExhausted { .. }
            | Event::PortsExhausted { .. }
            | Event::QuotaExceeded { .. }
            | Event::FragmentsPending { .. }
            | Event::ChecksumMissing(_)
            | Event::Refused { .. } => {}
        }
    }
    assert!(
        blocks.is_empty()
            && bindings.is_empty()
            && sessions.values().all(|left| *left == 0)
            && events.0.len() > 1000
    );
}

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_is_left() {
    //= conformance MAP-02, MAP-16, PORT-01, PORT-15, LIM-09
    for seed in 1..20 {
        churn(seed * 7919, 1 + (seed % 3) as u8);
    }
}
