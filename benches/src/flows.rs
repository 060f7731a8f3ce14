//! What the flows of a benchmark are: everything about them but their external addresses and ports follows from a number.
//!
//! 64 bindings a subscriber, each of one inside port, to servers in 198.18.0.0/15. So making the packet of a flow does not touch
//! the tables that are to be measured.

use sluice_nat::{
    Direction, Filtering, Kind, KindRealm, Limits, OutboundTuple, PoolSpec, Protocol, RuleSpec, Spec,
};
use sluice_packet::Prefix64;

use crate::random::mix;

/// Bindings of a subscriber, and ports of a block.
pub const BINDINGS: u32 = 64;
/// First inside port of a subscriber.
const FIRST_PORT: u16 = 20_000;
/// 2001:db8:64::/96, the translation prefix of NAT64.
pub const PREFIX: Prefix64 = match Prefix64::new(0x2001_0db8_0064 << 80, 96) {
    Ok(prefix) => prefix,
    Err(_) => panic!(),
};
/// 2001:db8:1::10, the first host.
pub const INSIDE: u128 = 0x2001_0db8_0001 << 80 | 0x10;
/// 100.64.0.0: pools begin here, in space that is shared and never public.
pub const POOL: u32 = 0x6440_0000;
/// First port of a pool.
const FIRST_POOL_PORT: u16 = 1024;
/// Ports of a pool address.
pub const PORTS: u32 = 65_536 - FIRST_POOL_PORT as u32;
/// The smallest pool: 64 addresses, four million ports.
const LEAST_ADDRESSES: u32 = 64;
/// 198.18.0.0/15, for benchmarks by RFC 2544.
pub const SERVERS: u32 = 0xc612_0000;
/// The most flows of a binding.
const MAX_SHARING: u32 = 8;

/// All kinds of translation.
pub const KINDS: [Kind; 2] = [Kind::Nat64, Kind::Nat44];
/// Both directions.
pub const DIRECTIONS: [Direction; 2] = [Direction::Outbound, Direction::Inbound];

/// Name of a direction in the names of rows.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
    }
}

/// Flows, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// What translates them.
    pub kind: Kind,
    /// Their transport.
    pub protocol: Protocol,
    /// How many there are.
    pub count: u32,
    /// Flows of a binding, a power of two up to 8.
    pub sharing: u32,
    /// Addresses of the pool, a power of two.
    pub addresses: u32,
    /// Seconds that a freed port rests.
    pub rest: u32,
}

impl Flows {
    /// Flows with a binding each, and a pool of which at most half is used.
    pub fn new(kind: Kind, protocol: Protocol, count: u32) -> Self {
        let addresses = count.div_ceil(PORTS / 2).next_power_of_two().max(LEAST_ADDRESSES);
        Self { kind, protocol, count, sharing: 1, addresses, rest: 120 }
    }

    /// Flows of UDP.
    pub fn udp(kind: Kind, count: u32) -> Self {
        Self::new(kind, Protocol::Udp, count)
    }

    /// Flows of TCP.
    pub fn tcp(kind: Kind, count: u32) -> Self {
        Self::new(kind, Protocol::Tcp, count)
    }

    /// What an outbound packet of a flow is looked up by.
    #[inline]
    pub fn outbound(&self, flow: u32, prefix64: u8) -> OutboundTuple {
        let binding = flow / self.sharing;
        let subscriber = u128::from(binding / BINDINGS);
        let spread = mix(flow.into());
        OutboundTuple {
            kind_realm: KindRealm::new(self.kind, 0),
            protocol: self.protocol,
            inside: match self.kind {
                // One /64 a subscriber.
                Kind::Nat64 => INSIDE + (subscriber << 64),
                Kind::Nat44 => 0x0a00_0001 + subscriber,
            },
            inside_port: FIRST_PORT + (binding % BINDINGS) as u16,
            // Flows of one binding go to different servers.
            remote: SERVERS | spread as u32 & 0x1_ffff & !(MAX_SHARING - 1) | flow & (MAX_SHARING - 1),
            remote_port: if spread >> 63 == 0 { 53 } else { 443 },
            prefix64,
        }
    }

    /// `nat64.outbound.udp`: how rows about these flows are called.
    pub fn name(&self, direction: Direction) -> String {
        format!("{}.{}.{}", self.kind, direction_name(direction), self.protocol)
    }

    /// What the engine is told.
    pub fn spec(&self) -> Spec {
        let (prefix64, sources) = match self.kind {
            Kind::Nat64 => (Some((PREFIX.address(), PREFIX.len())), (0x2001_0db8 << 96, 32)),
            Kind::Nat44 => (None, (0x0a00_0000, 8)),
        };
        Spec {
            pools: vec![PoolSpec {
                name: "bench".into(),
                prefixes: vec![(POOL, 32 - self.addresses.trailing_zeros() as u8)],
                port_min: FIRST_POOL_PORT,
                port_max: 65_535,
                block_size: BINDINGS as u16,
                hold_down: self.rest,
                max_resting: PoolSpec::ALL,
                parity: false,
                reserved: vec![],
                pairing: sluice_nat::Pairing::Strict,
                deterministic: None,
            }],
            rules: vec![RuleSpec {
                kind: self.kind,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn flows_of_a_binding_share_its_inside_and_differ_in_their_servers() {
        let flows = Flows { sharing: 8, ..Flows::udp(Kind::Nat64, 8000) };
        let tuples: Vec<_> = (0..8000).map(|flow| flows.outbound(flow, 1)).collect();
        let inside: HashSet<_> = tuples.iter().map(|tuple| (tuple.inside, tuple.inside_port)).collect();
        assert_eq!(inside.len(), 1000);
        let all: HashSet<_> =
            tuples.iter().map(|t| (t.inside, t.inside_port, t.remote, t.remote_port)).collect();
        assert_eq!(all.len(), 8000);
    }

    #[test]
    fn at_most_half_of_a_pool_is_used() {
        for shift in [10, 16, 20, 22, 24] {
            let flows = Flows::udp(Kind::Nat44, 1 << shift);
            assert!(u64::from(flows.addresses) * u64::from(PORTS) / 2 >= 1 << shift, "{shift}");
        }
        assert_eq!(Flows::udp(Kind::Nat44, 1 << 20).addresses, 64);
        assert_eq!(Flows::tcp(Kind::Nat64, 10).name(Direction::Inbound), "nat64.inbound.tcp");
    }
}
