//! Fixtures of the conformance table, and a harness around one engine or several.

use std::sync::Arc;

use sluice_nat::*;
use sluice_packet::DropReason;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// `P` of the conformance table, a /96.
pub(crate) const P: u128 = 0x2001_0db8_0064 << 80;
/// A second prefix.
pub(crate) const P2: u128 = 0x2001_0db8_0065 << 80;
/// Inside hosts in different /64.
pub(crate) const H: u128 = 0x2001_0db8_0001 << 80 | 0x10;
pub(crate) const H2: u128 = 0x2001_0db8_0002 << 80 | 0x20;
/// NAT44 hosts 10.0.0.10 and 10.0.0.11.
pub(crate) const HOST: u128 = 0x0a00_000a;
pub(crate) const HOST2: u128 = 0x0a00_000b;
/// First pool address, 192.0.2.1 (the pool is 192.0.2.0/30).
pub(crate) const T: u32 = 0xc000_0201;
pub(crate) const POOL: u32 = 0xc000_0200;
/// Servers.
pub(crate) const S: u32 = 0xc633_6409;
pub(crate) const S2: u32 = 0xcb00_7107;

pub(crate) fn pool(name: &str, address: u32, length: u8) -> PoolSpec {
    PoolSpec {
        name: name.into(),
        prefixes: vec![(address, length)],
        port_min: 1024,
        port_max: 65_535,
        block_size: 256,
        hold_down: 120,
        max_resting: PoolSpec::ALL,
        parity: true,
        reserved: vec![],
        pairing: Pairing::Strict,
        deterministic: None,
    }
}

pub(crate) fn nat64(prefix: u128) -> RuleSpec {
    RuleSpec {
        kind: Kind::Nat64,
        realm: 0,
        prefix64: Some((prefix, 96)),
        sources: vec![(0x2001_0db8 << 96, 32)],
        except: vec![],
        interfaces: vec![],
        pool: 0,
        filtering: [Filtering::EndpointIndependent; 3],
        wkp_allow_non_global: false,
    }
}

pub(crate) fn nat44() -> RuleSpec {
    RuleSpec { kind: Kind::Nat44, prefix64: None, sources: vec![(0x0a00_0000, 8)], ..nat64(P) }
}

/// NAT64 under `P` and NAT44 from 10/8, both to 192.0.2.0/30; no rate limit.
pub(crate) fn spec() -> Spec {
    Spec {
        pools: vec![pool("public", POOL, 30)],
        rules: vec![nat64(P), nat44()],
        limits: Limits { new_sessions_per_second: 0, max_sessions: 1_000_000, ..Limits::default() },
        ..Spec::default()
    }
}

pub(crate) fn with_filtering(filtering: Filtering) -> Spec {
    let mut spec = spec();
    spec.rules.iter_mut().for_each(|rule| rule.filtering = [filtering; 3]);
    spec
}

pub(crate) fn region(records: usize) -> &'static [Session] {
    Box::leak((0..records).map(|_| Session::default()).collect())
}

pub(crate) fn shared(records: usize, workers: u8) -> Arc<Shared> {
    let geometry = Geometry { workers, max_addresses: 64, seed: [1, 2, 3, 4] };
    Shared::new(region(records), geometry)
}

/// One engine with a clock and an ear.
pub(crate) struct Bench {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Engine,
    pub(crate) now: Tick,
    pub(crate) events: (Vec<Event>, Vec<Fixed>),
}

impl Bench {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self::with_records(spec, 20_000)
    }

    pub(crate) fn with_records(spec: &Spec, records: usize) -> Self {
        let shared = shared(records, 1);
        let config = Arc::new(shared.compile(spec, 1, None).expect("valid"));
        let engine = Engine::new(Arc::clone(&shared), WorkerId(0), config);
        Self { shared, engine, now: Tick::from_secs(1_000), events: Default::default() }
    }

    /// Applies a specification as the next generation.
    pub(crate) fn apply(&mut self, spec: &Spec) {
        let before = Arc::clone(self.engine.config());
        let config = self.shared.compile(spec, before.generation() + 1, Some(&before)).expect("valid");
        self.engine.set_config(Arc::new(config));
    }

    /// Lets time pass in quarter seconds or larger steps, with housekeeping after each.
    pub(crate) fn pass(&mut self, seconds: f64) {
        let end = self.now.after((seconds * f64::from(TICKS_PER_SECOND)) as u32);
        while end.since(self.now) > 0 {
            self.now = self.now.after(end.since(self.now).min(40));
            self.settle();
        }
    }

    /// Housekeeping until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        while self.engine.expire(self.now, 10_000, &mut self.events) == 10_000 {}
    }

    pub(crate) fn out(&mut self, tuple: OutboundTuple, flags: u8) -> Result<Fixed, DropReason> {
        self.out_flow(tuple, flags).map(|flow| flow.fixed)
    }

    /// As the dataplane does it: look up, then take note or make new.
    pub(crate) fn out_flow(&mut self, tuple: OutboundTuple, flags: u8) -> Result<Flow, DropReason> {
        let mut found = [SessionIndex::NONE];
        self.engine.find_outbound(&[tuple], &mut found);
        if !found[0].is_some() {
            return self.engine.new_outbound(&tuple, 0, flags, self.now, &mut self.events);
        }
        self.engine.established(found[0], Direction::Outbound, flags, self.now)?;
        Ok(Flow { session: found[0], fixed: self.engine.session(found[0]).fixed() })
    }

    pub(crate) fn inn(&mut self, tuple: InboundTuple, flags: u8) -> Result<Fixed, DropReason> {
        self.inn_flow(tuple, flags).map(|flow| flow.fixed)
    }

    pub(crate) fn inn_flow(&mut self, tuple: InboundTuple, flags: u8) -> Result<Flow, DropReason> {
        let mut found = [SessionIndex::NONE];
        self.engine.find_inbound(&[tuple], &mut found);
        if !found[0].is_some() {
            return self.engine.new_inbound(&tuple, flags, self.now, &mut self.events);
        }
        self.engine.established(found[0], Direction::Inbound, flags, self.now)?;
        Ok(Flow { session: found[0], fixed: self.engine.session(found[0]).fixed() })
    }

    /// Events since the last call.
    pub(crate) fn heard(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events.0)
    }

    /// Sessions that were to be probed since the last call.
    pub(crate) fn probed(&mut self) -> Vec<Fixed> {
        std::mem::take(&mut self.events.1)
    }
}

/// An outbound NAT64 tuple.
pub(crate) fn out64(
    protocol: Protocol,
    inside: u128,
    port: u16,
    remote: u32,
    remote_port: u16,
) -> OutboundTuple {
    OutboundTuple {
        kind_realm: KindRealm::new(Kind::Nat64, 0),
        protocol,
        inside,
        inside_port: port,
        remote,
        remote_port: if protocol == Protocol::Icmp { 0 } else { remote_port },
        prefix64: 1,
    }
}

/// An outbound NAT44 tuple.
pub(crate) fn out44(
    protocol: Protocol,
    inside: u128,
    port: u16,
    remote: u32,
    remote_port: u16,
) -> OutboundTuple {
    OutboundTuple {
        kind_realm: KindRealm::new(Kind::Nat44, 0),
        prefix64: 0,
        ..out64(protocol, inside, port, remote, remote_port)
    }
}

/// A packet from `remote` to the external side of a session.
pub(crate) fn back(fixed: &Fixed, remote: u32, remote_port: u16) -> InboundTuple {
    let protocol = Protocol::from_number(fixed.protocol).expect("known");
    InboundTuple {
        protocol,
        external: fixed.external,
        external_port: fixed.external_port,
        remote,
        remote_port: if protocol == Protocol::Icmp { 0 } else { remote_port },
    }
}
