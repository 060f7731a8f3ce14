//! The engines of several workers over one region, driven as the data plane drives them: a worker looks in its own index, and
//! what it does not find goes to the worker that owns it.

use std::sync::Arc;

use sluice_nat::config::Outbound;
use sluice_nat::{
    Config, Direction, Engine, Event, Events, ExternalOwner, Fixed, Flow, Geometry, InboundTuple,
    OutboundTuple, Removal, Session, SessionIndex, Shared, Spec, Tick, WorkerId,
};
use sluice_packet::DropReason;

use crate::dice::Dice;
use crate::traffic::Packet;

/// What the engines told.
#[derive(Debug, Default)]
pub struct Ear {
    /// Events.
    pub events: Vec<Event>,
    /// Sessions to be probed.
    pub probes: usize,
}

impl Events for Ear {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn probe(&mut self, _: &Fixed) {
        self.probes += 1;
    }
}

/// Engines of all workers.
#[derive(Debug)]
pub struct Rig {
    /// What they share.
    pub shared: Arc<Shared>,
    /// Under what they work.
    pub config: Arc<Config>,
    /// One a worker.
    pub engines: Vec<Engine>,
    /// What they told since somebody asked last.
    pub ear: Ear,
    /// The time.
    pub now: Tick,
}

impl Rig {
    /// New engines over free records. `None` if the specification is not valid.
    pub fn new(
        records: &'static [Session],
        workers: u8,
        seed: [u64; 4],
        spec: &Spec,
        now: Tick,
    ) -> Option<Self> {
        let geometry = Geometry { workers, max_addresses: 32, seed };
        let shared = Shared::new(records, geometry);
        let config = Arc::new(shared.compile(spec, 1, None).ok()?);
        let engine = |worker| Engine::new(Arc::clone(&shared), WorkerId(worker), Arc::clone(&config));
        let engines = (0..workers).map(engine).collect();
        Some(Self { engines, shared, config, ear: Ear::default(), now })
    }

    /// Changes to another specification, if it is valid.
    pub fn reload(&mut self, spec: &Spec) -> bool {
        let generation = self.config.generation().wrapping_add(1);
        let Ok(config) = self.shared.compile(spec, generation, Some(&self.config)) else { return false };
        self.config = Arc::new(config);
        self.engines.iter_mut().for_each(|engine| engine.set_config(Arc::clone(&self.config)));
        true
    }

    /// Lets all engines do what there is to do.
    pub fn settle(&mut self) {
        for engine in &mut self.engines {
            while engine.expire(self.now, 1000, &mut self.ear) == 1000 {}
        }
    }

    /// Takes mappings away, a few records at a time. Returns how many sessions they had.
    pub fn remove(&mut self, removal: &Removal) -> u64 {
        let mut sessions = 0;
        for engine in &mut self.engines {
            let mut next = Some(0);
            while let Some(from) = next {
                let removed = engine.remove(removal, from, 100, self.now, &mut self.ear);
                sessions += u64::from(removed.sessions);
                next = removed.next;
            }
        }
        sessions
    }

    /// What a packet of either family is to the gateway.
    pub fn classify(&self, packet: &Packet) -> (Outbound, bool) {
        if packet.is_v6() {
            return (self.config.outbound_v6(packet.source, packet.destination, packet.interface), false);
        }
        let (source, destination) = (packet.source as u32, packet.destination as u32);
        let class = self.config.outbound_v4(source, destination, packet.interface);
        (class, self.config.is_external(destination))
    }

    /// A packet of a session that was found; `None` if it is a new flow's after all.
    fn established(
        engine: &mut Engine,
        found: SessionIndex,
        direction: Direction,
        flags: u8,
        now: Tick,
    ) -> Option<Result<Flow, DropReason>> {
        if !found.is_some() {
            return None;
        }
        match engine.established(found, direction, flags, now) {
            Ok(()) => Some(Ok(Flow { session: found, fixed: engine.session(found).fixed() })),
            Err(DropReason::NoRule | DropReason::NoBinding) => None,
            Err(reason) => Some(Err(reason)),
        }
    }

    /// A packet from inside, arriving at any worker.
    pub fn outbound(
        &mut self,
        tuple: &OutboundTuple,
        interface: u16,
        flags: u8,
        dice: &mut impl Dice,
    ) -> Result<Flow, DropReason> {
        let owner = self.shared.subscriber_worker(&self.config, tuple.kind_realm, tuple.inside);
        self.elsewhere(owner, dice, |engine, found| engine.find_outbound(&[*tuple], found));
        let engine = &mut self.engines[usize::from(owner.0)];
        let mut found = [SessionIndex::NONE];
        engine.find_outbound(&[*tuple], &mut found);
        if let Some(known) = Self::established(engine, found[0], Direction::Outbound, flags, self.now) {
            return known;
        }
        if dice.one_in(2) {
            engine.prepare_outbound(&[*tuple], self.now);
        }
        engine.new_outbound(tuple, interface, flags, self.now, &mut self.ear)
    }

    /// A packet to an external address, arriving at any worker.
    pub fn inbound(
        &mut self,
        tuple: &InboundTuple,
        flags: u8,
        dice: &mut impl Dice,
    ) -> Result<Flow, DropReason> {
        let at = (tuple.external, tuple.external_port);
        let owner = match self.shared.external_owner(&self.config, tuple.protocol, at.0, at.1) {
            ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) => worker,
            // Whoever gets the packet says that nobody has the port.
            _ => WorkerId(dice.roll(self.engines.len() as u32) as u8),
        };
        self.elsewhere(owner, dice, |engine, found| engine.find_inbound(&[*tuple], found));
        let engine = &mut self.engines[usize::from(owner.0)];
        let mut found = [SessionIndex::NONE];
        engine.find_inbound(&[*tuple], &mut found);
        match Self::established(engine, found[0], Direction::Inbound, flags, self.now) {
            Some(known) => known,
            None => engine.new_inbound(tuple, flags, self.now, &mut self.ear),
        }
    }

    /// A worker that does not own a flow does not find it, unless what it finds is from before the last change.
    fn elsewhere(&self, owner: WorkerId, dice: &mut impl Dice, find: impl Fn(&Engine, &mut [SessionIndex])) {
        let arrival = dice.roll(self.engines.len() as u32) as u8;
        if arrival == owner.0 {
            return;
        }
        let mut found = [SessionIndex::NONE];
        let engine = &self.engines[usize::from(arrival)];
        find(engine, &mut found);
        if found[0].is_some() {
            let generation = engine.session(found[0]).route().rule_generation;
            assert_ne!(generation, self.config.generation(), "a session at a worker that does not own it");
        }
    }

    /// Sum over all engines: sessions, bindings, subscribers, port blocks.
    pub fn totals(&self) -> [usize; 4] {
        let stats = self.engines.iter().map(Engine::stats);
        stats.fold([0; 4], |sum, one| {
            let one = [one.sessions, one.bindings, one.subscribers, one.port_blocks];
            std::array::from_fn(|n| sum[n] + one[n] as usize)
        })
    }
}
