//! What only the whole file can tell: overlaps, duplicates, names that collide.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use sluice_nat::Deterministic;

use super::compile::pool_spec;
use super::model::{Config, Interface, Target};
use super::problem::{Located, Mark, Problem};
use super::reader::Sink;
use super::rules::well_known;

/// Addresses that the engine has room for in all pools together.
const MAX_POOL_ADDRESSES: u64 = 4096;
/// DPDK ports in the region's arrays.
const MAX_PORTS: usize = 32;
/// Prefix ids are one byte of a session record.
const MAX_PREFIXES: usize = 255;
/// Interfaces that may share one table of counters; rule ids are 16 bits of a session record.
const MAX_RULES: usize = 65_535;

pub(crate) fn check(config: &Config, sink: &Sink) {
    devices(config, sink);
    addresses(config, sink);
    pools(config, sink);
    deterministic(config, sink);
    prefixes(config, sink);
    statics(config, sink);
    routes(config, sink);
    idle(config, sink);
}

fn devices(config: &Config, sink: &Sink) {
    let mut seen: HashMap<(&str, Option<u16>), &Interface> = HashMap::new();
    for (position, interface) in config.interfaces.iter().enumerate() {
        let key = (interface.device.as_str(), interface.vlan);
        if !key.0.is_empty()
            && let Some(other) = seen.insert(key, interface)
        {
            let what = match interface.vlan {
                Some(vlan) => format!("VLAN {vlan} of `{}`", interface.device.value),
                None => format!("`{}` untagged", interface.device.value),
            };
            sink.push(
                Problem::new(
                    interface.device.at,
                    format!("interfaces.{}.device", interface.name.value),
                    format!(
                        "interfaces.{}: {what} is already interface `{}` (line {})",
                        interface.name.value, other.name.value, other.device.at.line
                    ),
                )
                .hint("give one of them a `vlan` of its own, or another device"),
            );
        }
        // VLANs share a port by naming the same device; the same interface in other words would be a second port on it.
        let rival = config.interfaces[..position].iter().find(|other| {
            interface.device.lower().is_some()
                && other.device.lower() == interface.device.lower()
                && other.device.as_str() != interface.device.as_str()
        });
        if let Some(other) = rival {
            sink.push(
                Problem::new(
                    interface.device.at,
                    format!("interfaces.{}.device", interface.name.value),
                    format!(
                        "interfaces.{}: `{}` and `{}` of interface `{}` (line {}) are the same kernel interface",
                        interface.name.value,
                        interface.device.value,
                        other.device.value,
                        other.name.value,
                        other.device.at.line
                    ),
                )
                .hint("write the device the same way in both, options included"),
            );
        }
        // The TAP twin has the interface's name, so no kernel interface below may have it.
        for other in &config.interfaces {
            let below = other.device.lower().or_else(|| other.device.as_str().strip_prefix("tap:"));
            if below == Some(interface.name.as_str()) {
                sink.push(
                    Problem::new(
                        interface.name.at,
                        format!("interfaces.{}", interface.name.value),
                        format!(
                            "interface `{}` would get a TAP twin of the same name as the device `{}`",
                            interface.name.value, other.device.value
                        ),
                    )
                    .hint("give the interface a name of its own, such as `inside` or `outside`"),
                );
            }
        }
    }
    let mut ports: Vec<&str> = config.interfaces.iter().map(|i| i.device.as_str()).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.len() > MAX_PORTS {
        sink.push(Problem::new(
            Mark::START,
            "interfaces",
            format!("expected at most {MAX_PORTS} devices, found {}", ports.len()),
        ));
    }
    if config.nat64.len() + config.nat44.len() > MAX_RULES {
        sink.push(Problem::new(
            Mark::START,
            "",
            format!("expected at most {MAX_RULES} rules in nat64 and nat44"),
        ));
    }
}

fn addresses(config: &Config, sink: &Sink) {
    let mut seen: Vec<(&Interface, &Located<IpNet>)> = Vec::new();
    for interface in &config.interfaces {
        for address in &interface.addresses {
            let path = format!("interfaces.{}.addresses", interface.name.value);
            for (other, theirs) in &seen {
                let same = theirs.addr() == address.addr();
                // Two links with one subnet: the box could not tell on which a neighbour is.
                let shared = other.name.value != interface.name.value
                    && (theirs.contains(&address.value) || address.contains(&theirs.value))
                    && !link_local(address.addr());
                if same && !(link_local(address.addr()) && other.name.value != interface.name.value) || shared
                {
                    sink.push(
                        Problem::new(
                            address.at,
                            &path,
                            format!(
                                "{path}: {} overlaps {} of interface `{}` (line {})",
                                address.value, theirs.value, other.name.value, theirs.at.line
                            ),
                        )
                        .hint("every subnet is on one interface; use another address or a longer prefix"),
                    );
                }
            }
            seen.push((interface, address));
        }
    }
}

fn link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

fn pools(config: &Config, sink: &Sink) {
    let mut seen: Vec<(&str, &Located<Ipv4Net>)> = Vec::new();
    let mut total = 0u64;
    for pool in &config.pools {
        let path = format!("pools.{}.prefixes", pool.name.value);
        for prefix in &pool.prefixes {
            total += 1u64 << (32 - prefix.prefix_len());
            if total > MAX_POOL_ADDRESSES {
                sink.push(
                    Problem::new(
                        prefix.at,
                        &path,
                        format!(
                            "{path}: the pools have more than {MAX_POOL_ADDRESSES} addresses with {}",
                            prefix.value
                        ),
                    )
                    .hint("use fewer or longer prefixes"),
                );
                return;
            }
            for (name, other) in &seen {
                if overlap(prefix, other) {
                    sink.push(
                        Problem::new(
                            prefix.at,
                            &path,
                            format!(
                                "{path}: {} overlaps {} of pool `{name}` (line {})",
                                prefix.value, other.value, other.at.line
                            ),
                        )
                        .hint("an external address belongs to one pool"),
                    );
                }
            }
            seen.push((&pool.name, prefix));
            pool_and_interfaces(config, &path, prefix, sink);
        }
    }
}

/// The variables of deterministic pools make ranges, and somebody has them.
fn deterministic(config: &Config, sink: &Sink) {
    for (number, pool) in config.pools.iter().enumerate() {
        let Some(variables) = &pool.deterministic else { continue };
        let path = format!("pools.{}.deterministic", pool.name.value);
        if let Err(error) = Deterministic::of(&pool_spec(pool)) {
            let hint = "use more external addresses, a longer `inside` prefix or a smaller `dynamic`";
            sink.push(Problem::new(variables.at, &path, format!("{path}: {error}")).hint(hint));
            continue;
        }
        let (first, length) = variables.inside;
        let inside = Ipv4Net::new(Ipv4Addr::from_bits(first), length).unwrap_or_default();
        let served = config.nat44.iter().filter(|rule| rule.pool == number);
        if !served.flat_map(|rule| &rule.sources).any(|source| overlap(source, &inside)) {
            sink.warn(
                Problem::new(
                    variables.at,
                    &path,
                    format!("{path}: no nat44 rule with this pool serves hosts of {inside}"),
                )
                .hint("ranges are for the hosts of `inside`; everybody else has dynamic blocks"),
            );
        }
    }
}

/// A pool may be an interface's own address, if that is what it names; it may not swallow one by accident.
fn pool_and_interfaces(config: &Config, path: &str, prefix: &Located<Ipv4Net>, sink: &Sink) {
    for interface in &config.interfaces {
        for address in &interface.addresses {
            let IpNet::V4(own) = address.value else { continue };
            if prefix.contains(&own.addr()) {
                if prefix.prefix_len() < 32 {
                    sink.push(
                        Problem::new(
                            prefix.at,
                            path,
                            format!(
                                "{path}: {} contains {}, the address of interface `{}` (line {})",
                                prefix.value,
                                own.addr(),
                                interface.name.value,
                                address.at.line
                            ),
                        )
                        .hint(format!(
                            "leave the address out; to share it with the box on purpose, name exactly `{}/32`",
                            own.addr()
                        )),
                    );
                }
            } else if !interface.proxy_neighbours && overlap(prefix, &own.trunc()) {
                sink.warn(
                    Problem::new(
                        prefix.at,
                        path,
                        format!("{path}: {} is in the subnet of interface `{}`", prefix.value, interface.name.value),
                    )
                    .hint("`proxy-neighbours: false` answers no ARP for pool addresses: the routers on that link need a route to them via this box"),
                );
            }
        }
    }
}

fn prefixes(config: &Config, sink: &Sink) {
    let mut distinct: Vec<&Located<ipnet::Ipv6Net>> = Vec::new();
    for (n, rule) in config.nat64.iter().enumerate() {
        let path = format!("nat64[{}].prefix", n + 1);
        if distinct.iter().any(|other| other.value == rule.prefix.value) {
            continue;
        }
        for other in &distinct {
            if other.contains(&rule.prefix.value) || rule.prefix.contains(&other.value) {
                sink.push(
                    Problem::new(
                        rule.prefix.at,
                        &path,
                        format!(
                            "{path}: {} overlaps {} (line {})",
                            rule.prefix.value, other.value, other.at.line
                        ),
                    )
                    .hint("an IPv6 destination must name one IPv4 address; use prefixes that do not overlap"),
                );
            }
        }
        distinct.push(&rule.prefix);
        for interface in &config.interfaces {
            for address in &interface.addresses {
                if matches!(address.addr(), IpAddr::V6(a) if rule.prefix.contains(&a)) {
                    sink.push(Problem::new(
                        address.at,
                        format!("interfaces.{}.addresses", interface.name.value),
                        format!(
                            "interfaces.{}.addresses: {} is inside the translation prefix {}",
                            interface.name.value, address.value, rule.prefix.value
                        ),
                    ).hint("addresses under a translation prefix stand for IPv4 addresses; use another address"));
                }
            }
        }
    }
    if distinct.len() > MAX_PREFIXES {
        sink.push(Problem::new(
            Mark::START,
            "nat64",
            format!("expected at most {MAX_PREFIXES} translation prefixes, found {}", distinct.len()),
        ));
    }
}

fn statics(config: &Config, sink: &Sink) {
    let mut externals = HashMap::new();
    let mut insides = HashMap::new();
    for (n, binding) in config.static_bindings.iter().enumerate() {
        let path = format!("static-bindings[{}]", n + 1);
        let clash = |at: Mark, side: &str, text: String, other: Mark| {
            sink.push(
                Problem::new(
                    at,
                    format!("{path}.{side}"),
                    format!(
                        "{path}.{side}: {} {text} already has a static binding (line {})",
                        binding.protocol, other.line
                    ),
                )
                .hint("a binding joins one inside endpoint to one external endpoint"),
            );
        };
        let (address, port) = binding.external.value;
        if let Some(other) = externals.insert((binding.protocol, binding.external.value), binding.external.at)
        {
            clash(binding.external.at, "external", format!("{address}:{port}"), other);
        }
        let (address, port) = binding.inside.value;
        if let Some(other) = insides.insert((binding.protocol, binding.inside.value), binding.inside.at) {
            clash(binding.inside.at, "inside", format!("{address} {port}"), other);
        }
        if let IpAddr::V6(inside) = binding.inside.0
            && let Some(rule) = config.nat64.iter().find(|rule| rule.prefix.contains(&inside))
        {
            sink.push(Problem::new(
                binding.inside.at,
                format!("{path}.inside"),
                format!("{path}.inside: {inside} is inside the translation prefix {}", rule.prefix.value),
            ));
        }
        let external = binding.external.0;
        if !sluice_packet::is_routable_unicast_v4(external.to_bits()) {
            sink.push(Problem::new(
                binding.external.at,
                format!("{path}.external"),
                format!("{path}.external: expected a unicast address, found `{external}`"),
            ));
        }
    }
}

fn routes(config: &Config, sink: &Sink) {
    let mut seen: HashMap<IpNet, Mark> = HashMap::new();
    let connected: HashMap<IpNet, &Interface> = config
        .interfaces
        .iter()
        .flat_map(|i| i.addresses.iter().map(move |a| (a.value.trunc(), i)))
        .collect();
    for (n, route) in config.routes.iter().enumerate() {
        let path = format!("routes[{}].to", n + 1);
        if let Some(other) = seen.insert(route.to.value, route.to.at) {
            sink.push(
                Problem::new(
                    route.to.at,
                    &path,
                    format!("{path}: there is already a route to {} (line {})", route.to.value, other.line),
                )
                .hint("this release has one next hop a route; remove one of them"),
            );
        }
        if let Some(interface) = connected.get(&route.to.value) {
            sink.push(
                Problem::new(
                    route.to.at,
                    &path,
                    format!(
                        "{path}: {} is the subnet of interface `{}`",
                        route.to.value, interface.name.value
                    ),
                )
                .hint("connected subnets have their route by themselves; remove this one"),
            );
        }
        if matches!(route.target, Target::Interface(_)) && route.to.prefix_len() == 0 {
            sink.warn(
                Problem::new(
                    route.to.at,
                    &path,
                    format!("{path}: the default route leads to an interface instead of a router"),
                )
                .hint("every destination is then asked for by ARP or neighbour discovery; use `via` unless the link is meant so"),
            );
        }
    }
}

/// Things that are allowed and most likely not meant.
fn idle(config: &Config, sink: &Sink) {
    for (n, pool) in config.pools.iter().enumerate() {
        let used = config.nat64.iter().any(|r| r.pool == n) || config.nat44.iter().any(|r| r.pool == n);
        if !used {
            sink.warn(
                Problem::new(
                    pool.name.at,
                    "pools",
                    format!("pool `{}` is not used by any rule", pool.name.value),
                )
                .hint(format!("add a `nat64` or `nat44` rule; the default NAT64 prefix is {}", well_known())),
            );
        }
    }
}
