//! The configuration as typed values: what the file says, with every default filled in and every name checked.
//!
//! Places are kept where a later check has to point at the file; they take no part in comparisons.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use sluice_nat::{DeterministicSpec, Filtering, FragmentSpec, Limits, Pairing, Protocol, Timers};
use sluice_shm::snapshot::{Checksums, Dscp, IcmpErrors, IdleMode, MssClamp, Unsolicited};

use super::device::Device;
use super::logging::Logging;
use super::problem::Located;

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Logical interfaces in the order of the file; their position is their number.
    pub interfaces: Vec<Interface>,
    /// The workers.
    pub workers: Workers,
    /// Pools in the order of the file; their position is their number.
    pub pools: Vec<Pool>,
    /// NAT64 rules, first match wins.
    pub nat64: Vec<Nat64>,
    /// NAT44 rules, first match wins.
    pub nat44: Vec<Nat44>,
    /// Static bindings.
    pub static_bindings: Vec<StaticBinding>,
    /// Limits of every subscriber.
    pub subscribers: Limits,
    /// Idle timers.
    pub timers: Timers,
    /// What becomes of fragments.
    pub fragments: FragmentSpec,
    /// Static routes.
    pub routes: Vec<Route>,
    /// ICMP errors a second and worker, by family; 0 for none.
    pub icmp_errors_per_second: IcmpErrors,
    /// Source addresses of ICMP errors from IPv6 routers (RFC 6791).
    pub icmp_sources: Vec<Located<Ipv4Net>>,
    /// DSCP of packets that change family, and of ICMP errors.
    pub dscp: Dscp,
    /// What becomes of packets that belong to nothing.
    pub unsolicited: Unsolicited,
    /// What becomes of packets whose checksums are missing or wrong.
    pub checksums: Checksums,
    /// Capacity of the session table.
    pub sessions: u32,
    /// What is logged, and to whom.
    pub logging: Logging,
}

/// The workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Workers {
    /// Their cores; empty for one worker that is not pinned.
    pub cores: Vec<u16>,
    /// What they do without packets.
    pub idle: IdleMode,
}

/// A logical interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// Name, also of the TAP twin.
    pub name: Located<String>,
    /// DPDK port.
    pub device: Located<Device>,
    /// VLAN id, or untagged.
    pub vlan: Option<u16>,
    /// Addresses of the box.
    pub addresses: Vec<Located<IpNet>>,
    /// IP MTU.
    pub mtu: u16,
    /// TCP MSS clamping.
    pub mss_clamp: MssClamp,
    /// Time Exceeded is sent for packets that arrive here.
    pub time_exceeded: bool,
    /// Pool addresses and translation prefixes in its subnets are answered for (ADDR-25).
    pub proxy_neighbours: bool,
}

/// A pool of external addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pool {
    /// Name.
    pub name: Located<String>,
    /// Addresses, all of them used.
    pub prefixes: Vec<Located<Ipv4Net>>,
    /// First and last port.
    pub ports: (u16, u16),
    /// Ports a block.
    pub block_size: u16,
    /// Seconds that a freed UDP port or ICMP identifier rests.
    pub hold_down: u32,
    /// Ports of a block, of each protocol, that rest at a time at most.
    pub hold_down_ports: u16,
    /// Parity of UDP ports is kept if possible.
    pub parity: bool,
    /// Ports that are not given out dynamically, in order.
    pub reserved_ports: Vec<PortRange>,
    /// What becomes of a subscriber whose address has no port left.
    pub pairing: Pairing,
    /// Inside hosts have port ranges that follow from their addresses (RFC 7422).
    pub deterministic: Option<Located<DeterministicSpec>>,
}

/// Some ports: one, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// First of them.
    pub first: u16,
    /// Last of them.
    pub last: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// As in the file.
impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A NAT64 rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Nat64 {
    /// Translation prefix.
    pub prefix: Located<Ipv6Net>,
    /// Inside sources; empty for all.
    pub sources: Vec<Ipv6Net>,
    /// Pool, by position.
    pub pool: usize,
    /// Filtering by [`Protocol::index`].
    pub filtering: [Filtering; 3],
    /// Interfaces on which inside packets arrive, by position; empty for all.
    pub interfaces: Vec<u16>,
    /// Non-global IPv4 addresses may be reached through the well-known prefix (ADDR-14).
    pub allow_non_global: bool,
}

/// A NAT44 rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Nat44 {
    /// Inside sources.
    pub sources: Vec<Located<Ipv4Net>>,
    /// Pool, by position.
    pub pool: usize,
    /// Destinations that are routed untranslated (N44-18).
    pub except: Vec<Ipv4Net>,
    /// Interfaces on which inside packets arrive, by position; empty for all.
    pub interfaces: Vec<u16>,
    /// Filtering by [`Protocol::index`].
    pub filtering: [Filtering; 3],
}

/// A static binding.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StaticBinding {
    /// Transport.
    pub protocol: Protocol,
    /// Inside address and port or identifier.
    pub inside: Located<(IpAddr, u16)>,
    /// External address and port or identifier.
    pub external: Located<(Ipv4Addr, u16)>,
    /// Rule that it belongs to: a position in `nat64` for an IPv6 inside address, else in `nat44`.
    pub rule: usize,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// Destination.
    pub to: Located<IpNet>,
    /// Where to.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// To a router on an interface, by position.
    Gateway {
        /// The router.
        address: IpAddr,
        /// The interface.
        interface: u16,
    },
    /// The destination is on this interface's link.
    Interface(u16),
    /// Nowhere.
    Blackhole,
}

impl Config {
    /// An interface by its number.
    pub fn interface(&self, number: u16) -> Option<&Interface> {
        self.interfaces.get(usize::from(number))
    }

    /// The number of an interface.
    pub fn number(&self, name: &str) -> Option<u16> {
        self.interfaces.iter().position(|interface| interface.name.value == name).map(|number| number as u16)
    }

    /// Routers that routes lead to, with the names of their interfaces, each once.
    pub fn gateways(&self) -> Vec<(String, IpAddr)> {
        let mut gateways = Vec::new();
        for route in &self.routes {
            if let Target::Gateway { address, interface } = route.target
                && let Some(interface) = self.interface(interface)
            {
                let gateway = (interface.name.value.clone(), address);
                if !gateways.contains(&gateway) {
                    gateways.push(gateway);
                }
            }
        }
        gateways
    }
}
