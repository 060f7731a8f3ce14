//! An engine full of sessions, one flow a number.

use std::sync::Arc;

use sluice_nat::{
    Config, Direction, Engine, Events, Flow, Geometry, InboundTuple, Kind, Outbound, OutboundTuple, Protocol,
    Session, SessionIndex, Shared, Tick, WorkerId,
};
use sluice_packet::tcp;

use crate::Error;
use crate::flows::{Flows, INSIDE, POOL, PREFIX, SERVERS};
use crate::meter::{BATCH, START};
use crate::random::{Random, Zipf, shuffled};
use crate::region::Region;

/// The least room that an engine is given.
const LEAST: u32 = 1024;
/// Fixed, so that two runs of a benchmark build the same tables.
pub const SEED: [u64; 4] = [1, 2, 3, 4];

/// An engine with sessions.
#[derive(Debug)]
pub struct Population {
    /// The engine.
    pub engine: Engine,
    /// What it shares with those of other workers.
    pub shared: Arc<Shared>,
    /// Its configuration.
    pub config: Arc<Config>,
    /// What its sessions are.
    pub flows: Flows,
    prefix_id: u8,
    /// External address and port of each flow: sixteen bits of offset in the pool, sixteen of port.
    external: Vec<u32>,
    /// Flows that have sessions, in the order of [`Population::nth`].
    live: u32,
    shuffled: bool,
    // Behind the engine: it goes later.
    _region: Option<Region>,
}

impl Population {
    /// An engine with room for all flows, and all of them established: its indexes are at their design load.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Refused`].
    pub fn new(flows: Flows) -> Result<Self, Error> {
        let mut population = Self::empty(flows, flows.count)?;
        population.open_to(flows.count, START)?;
        Ok(population)
    }

    /// An engine with room for `room` sessions, and none yet.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn empty(flows: Flows, room: u32) -> Result<Self, Error> {
        Self::within(Region::new(room.max(LEAST) as usize), flows)
    }

    /// The same in a region that was chosen for it.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn within(region: Region, flows: Flows) -> Result<Self, Error> {
        let mut population = Self::over(region.records(), flows)?;
        population._region = Some(region);
        Ok(population)
    }

    /// The same over records that lie elsewhere: in a region that other processes can read.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn over(records: &'static [Session], flows: Flows) -> Result<Self, Error> {
        Self::shared_by(records, flows, 1)
    }

    fn shared_by(records: &'static [Session], flows: Flows, workers: u8) -> Result<Self, Error> {
        let geometry = Geometry { workers, max_addresses: flows.addresses, seed: SEED };
        let shared = Shared::new(records, geometry);
        let config = Arc::new(shared.compile(&flows.spec(), 1, None)?);
        let engine = Engine::new(Arc::clone(&shared), WorkerId(0), Arc::clone(&config));
        let prefix_id = match config.outbound_v6(INSIDE, PREFIX.embed(SERVERS), 0) {
            Outbound::Translate { prefix64, .. } if flows.kind == Kind::Nat64 => prefix64,
            _ => 0,
        };
        let external = vec![0; flows.count as usize];
        Ok(Self {
            engine,
            shared,
            config,
            flows,
            prefix_id,
            external,
            live: 0,
            shuffled: false,
            _region: None,
        })
    }

    /// What so many workers share and how flows are configured, with an engine that is left empty.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn for_workers(flows: Flows, workers: u8) -> Result<Self, Error> {
        let region = Region::new(flows.count.max(LEAST) as usize * usize::from(workers));
        let mut population = Self::shared_by(region.records(), flows, workers)?;
        population._region = Some(region);
        Ok(population)
    }

    /// From now on flows are opened in a shuffled order, as subscribers do it who know nothing of each other.
    #[must_use]
    pub fn shuffled(mut self) -> Self {
        self.shuffled = true;
        self
    }

    /// Opens flows until `live` of them have sessions, a batch at a time as a worker does.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn open_to(&mut self, live: u32, now: Tick) -> Result<(), Error> {
        let mut tuples = Vec::with_capacity(BATCH);
        while self.live < live {
            let first = self.live;
            let last = live.min(first + BATCH as u32);
            tuples.clear();
            tuples.extend((first..last).map(|n| self.outbound(self.nth(n))));
            self.engine.prepare_outbound(&tuples, now);
            for (n, tuple) in (first..last).zip(&tuples) {
                let flow = self.nth(n);
                self.open(flow, tuple, now, &mut ())?;
                self.live += 1;
            }
        }
        Ok(())
    }

    /// Opens a flow; one of TCP up to the state in which data flows.
    ///
    /// # Errors
    /// [`Error::Refused`].
    #[inline]
    pub fn open(
        &mut self,
        flow: u32,
        tuple: &OutboundTuple,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, Error> {
        let is_tcp = self.flows.protocol == Protocol::Tcp;
        let flags = if is_tcp { tcp::SYN } else { 0 };
        let made = self.engine.new_outbound(tuple, 0, flags, now, events).and_then(|made| {
            if is_tcp {
                let answer = tcp::SYN | tcp::ACK;
                self.engine.established(made.session, Direction::Inbound, answer, now)?;
            }
            Ok(made)
        });
        let refused = |reason| Error::Refused { opened: self.live, wanted: self.flows.count, reason };
        let made = made.map_err(refused)?;
        let (address, port) = (made.fixed.external, made.fixed.external_port);
        self.external[flow as usize] = (address - POOL) << 16 | u32::from(port);
        Ok(made)
    }

    /// Takes note of it that only the first `live` flows have sessions any more.
    ///
    /// # Errors
    /// [`Error::Left`] if the engine has more or fewer.
    pub fn ended_to(&mut self, live: u32) -> Result<(), Error> {
        self.live = live;
        let found = self.engine.stats().sessions;
        if found == live { Ok(()) } else { Err(Error::Left { expected: live, found }) }
    }

    /// Flows that have sessions.
    #[inline]
    pub fn sessions(&self) -> u32 {
        self.live
    }

    /// The flow that is opened as the `n`th.
    #[inline]
    pub fn nth(&self, n: u32) -> u32 {
        if self.shuffled { shuffled(n, self.flows.count) } else { n }
    }

    /// What an outbound packet of a flow is looked up by.
    #[inline]
    pub fn outbound(&self, flow: u32) -> OutboundTuple {
        self.flows.outbound(flow, self.prefix_id)
    }

    /// What an inbound packet of a flow is looked up by.
    #[inline]
    pub fn inbound(&self, flow: u32) -> InboundTuple {
        let outbound = self.outbound(flow);
        let external = self.external[flow as usize];
        InboundTuple {
            protocol: self.flows.protocol,
            external: POOL + (external >> 16),
            external_port: external as u16,
            remote: outbound.remote,
            remote_port: outbound.remote_port,
        }
    }

    /// Takes note of a packet of each of the first `live` flows.
    pub fn touch(&mut self, live: u32, now: Tick) {
        let mut found = [SessionIndex::NONE; BATCH];
        let mut tuples = Vec::with_capacity(BATCH);
        for first in (0..live).step_by(BATCH) {
            tuples.clear();
            tuples.extend((first..live.min(first + BATCH as u32)).map(|n| self.outbound(self.nth(n))));
            let found = &mut found[..tuples.len()];
            self.engine.find_outbound(&tuples, found);
            for &session in found.iter().filter(|session| session.is_some()) {
                // A session that went meanwhile is missed by whoever counts what is left.
                let _ = self.engine.established(session, Direction::Outbound, tcp::ACK, now);
            }
        }
    }

    /// Bytes that the benchmark itself keeps of its flows.
    pub fn own_bytes(&self) -> usize {
        self.external.capacity() * size_of::<u32>()
    }
}

/// Which of the flows packets belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Any of them.
    Uniform,
    /// Few of them have most packets: Zipf's law with exponent 1.
    Zipf,
}

/// Draws flows.
#[derive(Debug)]
pub struct Draw {
    random: Random,
    arrival: Arrival,
    zipf: Option<(u32, Zipf)>,
}

impl Draw {
    /// Draws that are the same in every run.
    pub fn new(seed: u64, arrival: Arrival) -> Self {
        Self { random: Random::new(seed), arrival, zipf: None }
    }

    /// A number below `count`, which is not 0.
    #[inline]
    pub fn below(&mut self, count: u32) -> u32 {
        match self.arrival {
            Arrival::Uniform => self.random.below(count),
            Arrival::Zipf => {
                let (_, zipf) = match self.zipf {
                    Some(known) if known.0 == count => known,
                    _ => *self.zipf.insert((count, Zipf::new(count))),
                };
                // The busiest do not lie side by side.
                shuffled(zipf.draw(&mut self.random) - 1, count)
            }
        }
    }

    /// A flow of a population that has a session.
    #[inline]
    pub fn flow(&mut self, population: &Population) -> u32 {
        population.nth(self.below(population.sessions()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::KINDS;

    #[test]
    fn every_flow_is_found_in_both_directions_and_is_its_own() {
        for flows in KINDS.into_iter().flat_map(|kind| [Flows::udp(kind, 5000), Flows::tcp(kind, 5000)]) {
            let population = Population::new(flows).unwrap();
            assert_eq!(population.engine.stats().sessions, 5000);
            assert_eq!(population.engine.stats().bindings, 5000);
            let outbound: Vec<_> = (0..5000).map(|flow| population.outbound(flow)).collect();
            let inbound: Vec<_> = (0..5000).map(|flow| population.inbound(flow)).collect();
            let mut found = vec![SessionIndex::NONE; 5000];
            let mut found_in = found.clone();
            population.engine.find_outbound(&outbound, &mut found);
            population.engine.find_inbound(&inbound, &mut found_in);
            assert_eq!(found, found_in);
            let state = population.engine.session(found[7]).hot().tcp_state;
            let established = sluice_nat::TcpState::Established as u8;
            assert_eq!(state == established, flows.protocol == Protocol::Tcp);
            let mut numbers: Vec<_> = found.iter().map(|session| session.0).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..5000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_engine_is_full() {
        let population = Population::new(Flows::udp(Kind::Nat64, 1024)).unwrap();
        let stats = population.engine.stats();
        assert_eq!((stats.sessions, stats.session_capacity), (1024, 1024));
    }

    #[test]
    fn shared_bindings_have_eight_sessions_each() {
        let flows = Flows { sharing: 8, ..Flows::udp(Kind::Nat64, 8000) };
        let stats = Population::new(flows).unwrap().engine.stats();
        assert_eq!((stats.sessions, stats.bindings), (8000, 1000));
    }

    #[test]
    fn draws_are_of_flows_with_sessions_in_either_order() {
        for arrival in [Arrival::Uniform, Arrival::Zipf] {
            let mut population = Population::empty(Flows::udp(Kind::Nat44, 4000), 4000).unwrap().shuffled();
            population.open_to(1000, START).unwrap();
            let mut draw = Draw::new(1, arrival);
            let tuples: Vec<_> =
                (0..500).map(|_| draw.flow(&population)).map(|flow| population.inbound(flow)).collect();
            let mut found = vec![SessionIndex::NONE; 500];
            population.engine.find_inbound(&tuples, &mut found);
            assert!(found.iter().all(|session| session.is_some()));
            population.touch(1000, START.after(9));
            assert!(found.iter().all(|&s| population.engine.session(s).hot().last_seen == START.after(9)));
        }
    }
}
