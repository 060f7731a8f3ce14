//! An engine full of sessions, one flow a number.
//!
//! 64 UDP flows a subscriber, each with a port and thus a binding of its own, to servers in 198.18.0.0/15. Everything about
//! a flow but its external address and port follows from its number, so that making its packet does not touch the tables
//! that are to be measured: what the benchmark itself keeps is four bytes a flow.

use std::sync::Arc;

use sluice_nat::{
    Config, Direction, Engine, Filtering, Geometry, InboundTuple, Kind, KindRealm, Limits, Outbound,
    OutboundTuple, PoolSpec, Protocol, RuleSpec, Session, Shared, Spec, WorkerId,
};
use sluice_packet::Prefix64;

use crate::Error;
use crate::hardware::huge_vec;
use crate::meter::START;
use crate::random::mix;

/// Flows of a subscriber.
const FLOWS: u32 = 64;
/// First inside port of a subscriber.
const FIRST_PORT: u16 = 20_000;
/// 2001:db8:64::/96, the translation prefix of NAT64.
pub const PREFIX: Prefix64 = match Prefix64::new(0x2001_0db8_0064 << 80, 96) {
    Ok(prefix) => prefix,
    Err(_) => panic!(),
};
/// 2001:db8:1::10, the first host.
const INSIDE: u128 = 0x2001_0db8_0001 << 80 | 0x10;
/// 192.0.2.0/26, more than four million ports.
const POOL: u32 = 0xc000_0200;
const POOL_LEN: u8 = 26;
/// 198.18.0.0/15, for benchmarks by RFC 2544.
const SERVERS: u32 = 0xc612_0000;
/// The least room that an engine is given.
const LEAST: u32 = 1024;
/// Pool addresses that the engine has room for.
pub const MAX_ADDRESSES: u32 = 1 << (32 - POOL_LEN);
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
    pub kind: Kind,
    prefix_id: u8,
    /// External address and port of each flow: sixteen bits of offset in the pool, sixteen of port.
    external: Vec<u32>,
}

impl Population {
    /// An engine with room for `sessions` sessions, and all of them established: its indexes are at their design load.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Refused`].
    pub fn new(kind: Kind, sessions: u32) -> Result<Self, Error> {
        let room = sessions.max(LEAST) as usize;
        let mut region = huge_vec::<Session>(room);
        region.resize_with(room, Session::default);
        // The engine wants its region for ever, as a mapped one is.
        Self::over(region.leak(), kind, sessions)
    }

    /// The same over records that lie elsewhere: in a region that other processes can read.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Refused`].
    pub fn over(records: &'static [Session], kind: Kind, sessions: u32) -> Result<Self, Error> {
        let shared = Shared::new(records, Geometry { workers: 1, max_addresses: MAX_ADDRESSES, seed: SEED });
        let config = Arc::new(shared.compile(&spec(kind), 1, None)?);
        let engine = Engine::new(Arc::clone(&shared), WorkerId(0), Arc::clone(&config));
        let prefix_id = match config.outbound_v6(INSIDE, PREFIX.embed(SERVERS), 0) {
            Outbound::Translate { prefix64, .. } if kind == Kind::Nat64 => prefix64,
            _ => 0,
        };
        let external = Vec::with_capacity(sessions as usize);
        let mut population = Self { engine, shared, config, kind, prefix_id, external };
        for flow in 0..sessions {
            let tuple = population.outbound(flow);
            let made = population.engine.new_outbound(&tuple, 0, 0, START, &mut ());
            let made = made.map_err(|reason| Error::Refused { opened: flow, wanted: sessions, reason })?;
            let (address, port) = (made.fixed.external, made.fixed.external_port);
            population.external.push((address - POOL) << 16 | u32::from(port));
        }
        Ok(population)
    }

    /// Flows, each with a session.
    #[inline]
    pub fn sessions(&self) -> u32 {
        self.external.len() as u32
    }

    /// What an outbound packet of a flow is looked up by.
    #[inline]
    pub fn outbound(&self, flow: u32) -> OutboundTuple {
        let subscriber = u128::from(flow / FLOWS);
        let spread = mix(flow.into());
        OutboundTuple {
            kind_realm: KindRealm::new(self.kind, 0),
            protocol: Protocol::Udp,
            inside: match self.kind {
                // One /64 a subscriber.
                Kind::Nat64 => INSIDE + (subscriber << 64),
                Kind::Nat44 => 0x0a00_0001 + subscriber,
            },
            inside_port: FIRST_PORT + (flow % FLOWS) as u16,
            remote: SERVERS | spread as u32 & 0x1_ffff,
            remote_port: if spread >> 63 == 0 { 53 } else { 443 },
            prefix64: self.prefix_id,
        }
    }

    /// What an inbound packet of a flow is looked up by.
    #[inline]
    pub fn inbound(&self, flow: u32) -> InboundTuple {
        let outbound = self.outbound(flow);
        let external = self.external[flow as usize];
        InboundTuple {
            protocol: Protocol::Udp,
            external: POOL + (external >> 16),
            external_port: external as u16,
            remote: outbound.remote,
            remote_port: outbound.remote_port,
        }
    }

    /// Name of a row about this population: the workload, the kind of translation and the direction.
    pub fn row(&self, workload: &str, direction: Direction) -> String {
        let kind = match self.kind {
            Kind::Nat64 => "NAT64",
            Kind::Nat44 => "NAT44",
        };
        let direction = match direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
        };
        format!("{workload} {kind} {direction}")
    }
}

/// What the engine is told.
pub fn spec(kind: Kind) -> Spec {
    let (prefix64, sources) = match kind {
        Kind::Nat64 => (Some((PREFIX.address(), PREFIX.len())), (0x2001_0db8 << 96, 32)),
        Kind::Nat44 => (None, (0x0a00_0000, 8)),
    };
    Spec {
        pools: vec![PoolSpec {
            name: "bench".into(),
            prefixes: vec![(POOL, POOL_LEN)],
            port_min: 1024,
            port_max: 65_535,
            block_size: FLOWS as u16,
            hold_down: 120,
            parity: false,
        }],
        rules: vec![RuleSpec {
            kind,
            realm: 0,
            prefix64,
            sources: vec![sources],
            except: vec![],
            interfaces: vec![],
            pool: 0,
            filtering: [Filtering::EndpointIndependent; 3],
            wkp_allow_non_global: false,
        }],
        limits: Limits { new_sessions_per_second: 0, ..Limits::default() },
        ..Spec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_nat::SessionIndex;

    #[test]
    fn every_flow_is_found_in_both_directions_and_is_its_own() {
        for kind in [Kind::Nat64, Kind::Nat44] {
            let population = Population::new(kind, 5000).unwrap();
            assert_eq!(population.engine.stats().sessions, 5000);
            assert_eq!(population.engine.stats().bindings, 5000);
            let outbound: Vec<_> = (0..5000).map(|flow| population.outbound(flow)).collect();
            let inbound: Vec<_> = (0..5000).map(|flow| population.inbound(flow)).collect();
            let mut found = vec![SessionIndex::NONE; 5000];
            let mut found_in = found.clone();
            population.engine.find_outbound(&outbound, &mut found);
            population.engine.find_inbound(&inbound, &mut found_in);
            assert_eq!(found, found_in);
            let mut numbers: Vec<_> = found.iter().map(|session| session.0).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..5000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_engine_is_full() {
        let population = Population::new(Kind::Nat64, 1024).unwrap();
        let stats = population.engine.stats();
        assert_eq!((stats.sessions, stats.session_capacity), (1024, 1024));
    }
}
