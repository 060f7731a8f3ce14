//! From the typed configuration to the snapshot that the dataplane reads.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sluice_nat::{Kind, PoolSpec, RuleSpec, Spec, StaticSpec};
use sluice_shm::snapshot::{InterfaceSpec, PortSpec, RouteSpec, Snapshot, Via};

use super::model::{Config, Interface, Target};

/// Records are dealt to workers in extents of this many, so a capacity that is no multiple would waste the rest.
const EXTENT: u32 = 4096;

/// Makes the snapshot of a configuration. `generation` is counted up by the caller and never 0.
pub fn compile(config: &Config, generation: u64) -> Snapshot {
    let mut ports: Vec<PortSpec> = Vec::new();
    let interfaces =
        config.interfaces.iter().map(|interface| interface_spec(interface, &mut ports)).collect();
    Snapshot {
        generation,
        cores: config.workers.cores.clone(),
        idle: config.workers.idle,
        ports,
        interfaces,
        nat: Spec {
            pools: config.pools.iter().map(pool_spec).collect(),
            rules: rules(config),
            statics: statics(config),
            native: native(config),
            limits: config.subscribers,
            fragments: config.fragments,
            timers: config.timers,
            log: config.logging.spec(),
        },
        routes: connected(config).chain(configured(config)).collect(),
        icmp_errors_per_second: config.icmp_errors_per_second,
        icmp_sources: config.icmp_sources.iter().map(|net| pair4(net)).collect(),
        dscp: config.dscp,
        unsolicited: config.unsolicited,
        checksums: config.checksums,
        sessions: config.sessions.next_multiple_of(EXTENT),
    }
}

fn interface_spec(interface: &Interface, ports: &mut Vec<PortSpec>) -> InterfaceSpec {
    let device = interface.device.as_str();
    let port = ports.iter().position(|port| port.device == device).unwrap_or_else(|| {
        ports.push(PortSpec { device: device.to_owned(), mtu: interface.mtu });
        ports.len() - 1
    });
    ports[port].mtu = ports[port].mtu.max(interface.mtu);
    let mut spec = InterfaceSpec {
        name: interface.name.value.clone(),
        port: port as u16,
        vlan: interface.vlan,
        mtu: interface.mtu,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        mss_clamp: interface.mss_clamp,
        time_exceeded: interface.time_exceeded,
        proxy_neighbours: interface.proxy_neighbours,
    };
    for address in &interface.addresses {
        match address.value {
            IpNet::V4(net) => spec.ipv4.push((net.addr().to_bits(), net.prefix_len())),
            IpNet::V6(net) => spec.ipv6.push((net.addr().to_bits(), net.prefix_len())),
        }
    }
    spec
}

/// A pool as the engine knows it.
pub(crate) fn pool_spec(pool: &super::model::Pool) -> PoolSpec {
    PoolSpec {
        name: pool.name.value.clone(),
        prefixes: pool.prefixes.iter().map(|net| pair4(net)).collect(),
        port_min: pool.ports.0,
        port_max: pool.ports.1,
        block_size: pool.block_size,
        hold_down: pool.hold_down,
        max_resting: pool.hold_down_ports,
        parity: pool.parity,
        reserved: pool.reserved_ports.iter().map(|range| (range.first, range.last)).collect(),
        pairing: pool.pairing,
        deterministic: pool.deterministic.as_ref().map(|variables| variables.value),
    }
}

fn pair4(net: &Ipv4Net) -> (u32, u8) {
    (net.network().to_bits(), net.prefix_len())
}

/// NAT64 rules first, then NAT44: their order among each other does not matter, because a packet is of one family.
fn rules(config: &Config) -> Vec<RuleSpec> {
    let nat64 = config.nat64.iter().map(|rule| RuleSpec {
        kind: Kind::Nat64,
        realm: 0,
        prefix64: Some((rule.prefix.network().to_bits(), rule.prefix.prefix_len())),
        sources: rule.sources.iter().map(|net| (net.network().to_bits(), net.prefix_len())).collect(),
        except: Vec::new(),
        interfaces: rule.interfaces.clone(),
        pool: rule.pool as u16,
        filtering: rule.filtering,
        wkp_allow_non_global: rule.allow_non_global,
    });
    let nat44 = config.nat44.iter().map(|rule| RuleSpec {
        kind: Kind::Nat44,
        realm: 0,
        prefix64: None,
        sources: rule
            .sources
            .iter()
            .map(|net| (u128::from(net.network().to_bits()), net.prefix_len()))
            .collect(),
        except: rule.except.iter().map(pair4).collect(),
        interfaces: rule.interfaces.clone(),
        pool: rule.pool as u16,
        filtering: rule.filtering,
        wkp_allow_non_global: false,
    });
    nat64.chain(nat44).collect()
}

/// Routes to parts of a translation prefix: what they lead to is not translated.
fn native(config: &Config) -> Vec<(u128, u8)> {
    let part = |net: &Ipv6Net| {
        config
            .nat64
            .iter()
            .any(|rule| net.prefix_len() > rule.prefix.prefix_len() && rule.prefix.contains(&net.network()))
    };
    let configured = config.routes.iter().map(|route| route.to.value.trunc());
    let all = configured.chain(subnets(config).map(|(_, net)| net));
    all.filter_map(|net| match net {
        IpNet::V6(net) if part(&net) => Some((net.network().to_bits(), net.prefix_len())),
        _ => None,
    })
    .collect()
}

fn statics(config: &Config) -> Vec<StaticSpec> {
    config
        .static_bindings
        .iter()
        .map(|binding| {
            let first = if binding.inside.0.is_ipv6() { 0 } else { config.nat64.len() };
            StaticSpec {
                rule: (first + binding.rule) as u16,
                protocol: binding.protocol,
                inside: bits(binding.inside.0),
                inside_port: binding.inside.1,
                external: binding.external.0.to_bits(),
                external_port: binding.external.1,
            }
        })
        .collect()
}

/// IPv4 in the low 32 bits.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn route(to: IpNet, via: Via) -> RouteSpec {
    let to = to.trunc();
    RouteSpec { ipv6: to.addr().is_ipv6(), prefix: bits(to.addr()), len: to.prefix_len(), via }
}

/// The subnets of the interfaces' addresses. A /32 or /128 has nobody else on it; link-local destinations are never routed.
fn connected(config: &Config) -> impl Iterator<Item = RouteSpec> + '_ {
    subnets(config).map(|(number, net)| route(net, Via::Connected { interface: number }))
}

fn subnets(config: &Config) -> impl Iterator<Item = (u16, IpNet)> + '_ {
    (0u16..).zip(&config.interfaces).flat_map(|(number, interface)| {
        let mut subnets: Vec<IpNet> = interface.addresses.iter().map(|a| a.value.trunc()).collect();
        subnets.retain(|net| net.prefix_len() < net.max_prefix_len());
        subnets.retain(|net| !matches!(net.addr(), IpAddr::V6(a) if a.is_unicast_link_local()));
        subnets.sort_unstable();
        subnets.dedup();
        subnets.into_iter().map(move |net| (number, net))
    })
}

fn configured(config: &Config) -> impl Iterator<Item = RouteSpec> + '_ {
    config.routes.iter().map(|entry| {
        let via = match entry.target {
            Target::Gateway { address, interface } => {
                Via::Gateway { interface, ipv6: address.is_ipv6(), address: bits(address) }
            }
            Target::Interface(interface) => Via::Connected { interface },
            Target::Blackhole => Via::Blackhole,
        };
        route(entry.to.value, via)
    })
}
