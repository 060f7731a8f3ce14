//! Several engines over one region, in one thread.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Protocol::{Tcp, Udp};

struct Farm {
    shared: Arc<Shared>,
    config: Arc<Config>,
    engines: Vec<Engine>,
    now: Tick,
}

impl Farm {
    fn new(workers: u8, records: usize, spec: &Spec) -> Self {
        let shared = shared(records, workers);
        let config = Arc::new(shared.compile(spec, 1, None).expect("valid"));
        let engine = |worker| Engine::new(Arc::clone(&shared), WorkerId(worker), Arc::clone(&config));
        Self { engines: (0..workers).map(engine).collect(), shared, config, now: Tick(77) }
    }

    /// An outbound packet at the worker of its subscriber.
    fn out(&mut self, tuple: &OutboundTuple, flags: u8) -> Result<Fixed, DropReason> {
        let worker = self.shared.subscriber_worker(&self.config, tuple.kind_realm, tuple.inside);
        let engine = &mut self.engines[usize::from(worker.0)];
        let mut found = [SessionIndex::NONE];
        engine.find_outbound(&[*tuple], &mut found);
        if found[0].is_some() {
            engine.established(found[0], Direction::Outbound, flags, self.now)?;
            return Ok(engine.session(found[0]).fixed());
        }
        let made = engine.new_outbound(tuple, 0, flags, self.now, &mut ()).map(|flow| flow.fixed);
        made.inspect(|fixed| assert_eq!(fixed.owner, worker.0))
    }

    fn owner(&self, fixed: &Fixed) -> ExternalOwner {
        let protocol = Protocol::from_number(fixed.protocol).expect("known");
        self.shared.external_owner(&self.config, protocol, fixed.external, fixed.external_port)
    }

    fn sessions(&self) -> u32 {
        self.engines.iter().map(|engine| engine.stats().sessions).sum()
    }

    fn settle(&mut self) {
        for engine in &mut self.engines {
            while engine.expire(self.now, 1000, &mut ()) == 1000 {}
        }
    }
}

fn host(n: u32) -> u128 {
    H + (u128::from(n) << 64)
}

#[test]
fn whoever_makes_a_session_is_named_as_the_owner_of_its_port() {
    //= conformance MAP-13, MAP-02, PORT-01
    for workers in [1, 2, 4, 7] {
        let mut farm = Farm::new(workers, 100_000, &spec());
        let mut externals = HashMap::new();
        for n in 0..20_000u32 {
            let protocol = if n % 3 == 0 { Tcp } else { Udp };
            let tuple = out64(protocol, host(n % 500), (n / 500) as u16 + 1, S, 53);
            let fixed = farm.out(&tuple, SYN).expect("room");
            assert_eq!(farm.owner(&fixed), ExternalOwner::Worker(WorkerId(fixed.owner)));
            let external = (fixed.protocol, fixed.external, fixed.external_port);
            let inside = (fixed.inside, fixed.inside_port);
            assert_eq!(*externals.entry(external).or_insert(inside), inside, "a port of two hosts");
            // The reply finds the session at the owner and nowhere else.
            let reply = back(&fixed, S, 53);
            for (number, engine) in farm.engines.iter().enumerate() {
                let mut found = [SessionIndex::NONE];
                engine.find_inbound(&[reply], &mut found);
                assert_eq!(found[0].is_some(), number == usize::from(fixed.owner));
            }
        }
        let busy = farm.engines.iter().filter(|engine| engine.stats().sessions > 0).count();
        assert_eq!(busy, usize::from(workers), "subscribers are spread");
        assert_eq!(farm.sessions(), 20_000);
        let seen = farm.shared.sessions().iter().filter_map(Session::read).count();
        assert_eq!(seen, 20_000, "what another process sees");
    }
}

#[test]
fn everything_one_worker_frees_another_may_use() {
    // Two extents for two workers: each fills the region in turn.
    let mut wide = spec();
    wide.limits.max_port_blocks = 1024;
    let mut farm = Farm::new(2, 8192, &wide);
    let of = |farm: &Farm, worker: u8| -> Vec<u128> {
        let kind = KindRealm::new(Kind::Nat64, 0);
        let own = |inside: &u128| farm.shared.subscriber_worker(&farm.config, kind, *inside).0 == worker;
        (0..200).map(host).filter(own).take(64).collect()
    };
    for round in 0..4u8 {
        let hosts = of(&farm, round % 2);
        for n in 0..8192u32 {
            let inside = hosts[n as usize % hosts.len()];
            farm.out(&out64(Udp, inside, 7, S + n, 53), 0).expect("the whole region");
        }
        assert_eq!(farm.out(&out64(Udp, hosts[0], 8, S, 53), 0), Err(DropReason::SessionTableFull));
        let other = of(&farm, 1 - round % 2)[0];
        assert_eq!(farm.out(&out64(Udp, other, 7, S, 53), 0), Err(DropReason::SessionTableFull));
        farm.now = farm.now.after(301 * TICKS_PER_SECOND);
        farm.settle();
        assert_eq!(farm.sessions(), 0);
        farm.now = farm.now.after(121 * TICKS_PER_SECOND);
        farm.settle();
        let blocks: u32 = farm.engines.iter().map(|engine| engine.stats().port_blocks).sum();
        assert_eq!(blocks, 0);
    }
}

#[test]
fn all_blocks_of_a_pool_can_be_had_by_any_worker() {
    //= conformance PORT-14, PORT-22
    let mut small = spec();
    small.pools[0] = PoolSpec { port_max: 1024 + 64 * 64 - 1, block_size: 64, ..pool("small", T, 32) };
    let mut farm = Farm::new(4, 20_000, &small);
    let mut ports = HashSet::new();
    let mut hosts = 0;
    // One block a subscriber, until none is left; 64 in all, whoever takes them.
    while let Ok(fixed) = farm.out(&out64(Udp, host(hosts), 1, S, 53), 0) {
        assert!(ports.insert(fixed.external_port / 64));
        hosts += 1;
    }
    assert_eq!(ports.len(), 64);
    assert_eq!(farm.out(&out64(Udp, host(hosts), 1, S, 53), 0), Err(DropReason::PoolExhausted));
}

#[test]
fn a_static_binding_is_at_the_worker_of_its_subscriber() {
    let mut fixed = spec();
    fixed.statics = (0..40u16)
        .map(|n| StaticSpec {
            rule: 0,
            protocol: Tcp,
            inside: host(n.into()),
            inside_port: 22,
            external: T,
            external_port: 2000 + n,
        })
        .collect();
    let mut farm = Farm::new(4, 20_000, &fixed);
    let mut owners = HashSet::new();
    for n in 0..40u16 {
        let tuple =
            InboundTuple { protocol: Tcp, external: T, external_port: 2000 + n, remote: S, remote_port: 9 };
        let owner = farm.shared.external_owner(&farm.config, Tcp, T, 2000 + n);
        let ExternalOwner::Static(worker) = owner else { panic!("{owner:?}") };
        let flow = farm.engines[usize::from(worker.0)].new_inbound(&tuple, SYN, farm.now, &mut ());
        assert_eq!(flow.expect("is bound").fixed.inside, host(n.into()));
        let reply = out64(Tcp, host(n.into()), 22, S, 9);
        let reply = farm.out(&reply, SYN | ACK).expect("known");
        assert_eq!((reply.owner, reply.external_port), (worker.0, 2000 + n));
        owners.insert(worker);
    }
    assert_eq!(owners.len(), 4);
    assert_eq!(farm.sessions(), 40);
}

#[test]
fn hosts_of_one_prefix_are_at_one_worker() {
    //= conformance MAP-05
    let farm = Farm::new(4, 5_000, &spec());
    let kind = KindRealm::new(Kind::Nat64, 0);
    let worker = |inside| farm.shared.subscriber_worker(&farm.config, kind, inside);
    for n in 0..100u32 {
        assert!((0..50).all(|low| worker(host(n) ^ low << 40) == worker(host(n))));
    }
}

#[test]
fn workers_in_threads_of_their_own_never_share_a_port_or_a_record() {
    //= conformance PORT-01, MAP-02
    let mut small = spec();
    small.pools[0].block_size = 64;
    let farm = Farm::new(4, 40_000, &small);
    let (shared, config) = (&farm.shared, &farm.config);
    let kind = KindRealm::new(Kind::Nat64, 0);
    let made: Vec<Flow> = std::thread::scope(|scope| {
        let work = |mut engine: Engine, worker: u8| {
            let own = (0..4000u32).filter(|n| shared.subscriber_worker(config, kind, host(*n)).0 == worker);
            let mut made = Vec::new();
            for (round, n) in own.enumerate() {
                let now = Tick(100 + round as u32);
                for port in 1..=8 {
                    made.extend(engine.new_outbound(&out64(Udp, host(n), port, S, 53), 0, 0, now, &mut ()));
                }
            }
            made
        };
        let engines = farm.engines.into_iter().zip(0..);
        let threads: Vec<_> =
            engines.map(|(engine, worker)| scope.spawn(move || work(engine, worker))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let ports: HashSet<(u32, u16)> =
        made.iter().map(|flow| (flow.fixed.external, flow.fixed.external_port)).collect();
    let records: HashSet<SessionIndex> = made.iter().map(|flow| flow.session).collect();
    assert!(made.len() > 30_000, "{}", made.len());
    assert_eq!((ports.len(), records.len()), (made.len(), made.len()));
    for flow in &made {
        let owner = shared.external_owner(config, Udp, flow.fixed.external, flow.fixed.external_port);
        assert_eq!(owner, ExternalOwner::Worker(WorkerId(flow.fixed.owner)));
        let view = shared.sessions()[flow.session.0 as usize].read();
        assert_eq!(view.map(|view| view.fixed), Some(flow.fixed));
    }
}
