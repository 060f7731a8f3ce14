//! One configuration generation as the workers use it: immutable, behind an `Arc`.
//!
//! The main thread builds it from a snapshot and sends it to every worker through a ring of its own; a worker swaps it in
//! between two batches and sends the old one back, so that nothing is ever freed in a poll loop.

use std::sync::Arc;

use sluice_nat::{Config, RuleSpec};
use sluice_packet::Remark;
use sluice_shm::snapshot::{
    Checksums, IcmpErrors, InterfaceSpec, MAX_ICMP_SOURCES, MssClamp, Snapshot, Unsolicited,
};

use crate::router::Routes;
use crate::worker::Policy;

/// A logical interface.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Name, also that of the TAP twin.
    pub name: String,
    /// Port, by position.
    pub port: u16,
    /// VLAN tag that its frames carry.
    pub vlan: Option<u16>,
    /// IP MTU.
    pub mtu: u16,
    /// Link-layer address: the port's.
    pub mac: [u8; 6],
    /// Source of IPv4 errors sent from here.
    pub ipv4: Option<u32>,
    /// Source of IPv6 errors sent from here.
    pub ipv6: Option<u128>,
    /// TCP MSS clamping.
    pub mss_clamp: MssClamp,
    /// Whether Time Exceeded is sent for packets that arrived here (ICMP-109).
    pub time_exceeded: bool,
    /// Subnets in which pool addresses are answered for (ADDR-25); address and mask.
    proxied_v4: Vec<(u32, u32)>,
    /// Subnets in which translation prefixes are answered for.
    proxied_v6: Vec<(u128, u128)>,
}

impl Interface {
    /// Whether an external address in question is one of this link.
    pub fn answers_v4(&self, address: u32) -> bool {
        self.proxied_v4.iter().any(|&(own, mask)| (own ^ address) & mask == 0)
    }

    /// Whether an address of a translation prefix is one of this link.
    pub fn answers_v6(&self, address: u128) -> bool {
        self.proxied_v6.iter().any(|&(own, mask)| (own ^ address) & mask == 0)
    }
}

/// Which interface a frame of a port belongs to.
#[derive(Debug, Clone, Default)]
pub struct PortInterfaces {
    /// Address of the port, and of all its interfaces.
    pub mac: [u8; 6],
    untagged: Option<u16>,
    tagged: Vec<(u16, u16)>,
}

impl PortInterfaces {
    /// The interface of a frame that came in; `None` if no interface has its tag.
    #[inline]
    pub fn of(&self, vlan: Option<u16>) -> Option<u16> {
        match vlan {
            None => self.untagged,
            Some(vlan) => self.tagged.iter().find(|&&(tag, _)| tag == vlan).map(|&(_, interface)| interface),
        }
    }
}

/// A configuration generation.
#[derive(Debug)]
pub struct Setup {
    /// Number of the snapshot.
    pub generation: u64,
    /// Translation.
    pub nat: Arc<Config>,
    /// Interfaces, by position.
    pub interfaces: Vec<Interface>,
    ports: Vec<PortInterfaces>,
    /// Routes and neighbours.
    pub routes: Routes,
    /// ICMP errors a second and worker (ICMP-103).
    pub icmp_errors_per_second: IcmpErrors,
    /// Addresses that stand for routers without one in errors from IPv6 to IPv4 (RFC 6791).
    icmp_sources: Vec<u32>,
    /// What becomes of the DSCP of packets that change family.
    pub to_ipv4: Remark,
    /// As for IPv4.
    pub to_ipv6: Remark,
    /// What becomes of the DSCP of a packet in an ICMP error about it.
    pub to_error: Remark,
    /// What becomes of packets that belong to nothing.
    pub unsolicited: Unsolicited,
    /// What becomes of packets whose checksums are missing or wrong.
    pub checksums: Checksums,
    /// What workers do without packets.
    pub idle: Policy,
    /// Any IPv4 address of the box, for errors from an interface without one.
    pub any_ipv4: Option<u32>,
    /// Any IPv6 address of the box.
    pub any_ipv6: Option<u128>,
    local4: Vec<u32>,
}

impl Setup {
    /// Puts a generation together. `macs` holds the address of each port.
    pub fn new(snapshot: &Snapshot, macs: &[[u8; 6]], nat: Arc<Config>, routes: Routes) -> Self {
        let mac = |port: usize| macs.get(port).copied().unwrap_or_default();
        let mut ports: Vec<_> = (0..snapshot.ports.len())
            .map(|port| PortInterfaces { mac: mac(port), ..PortInterfaces::default() })
            .collect();
        for (position, interface) in snapshot.interfaces.iter().enumerate() {
            let Some(port) = ports.get_mut(usize::from(interface.port)) else { continue };
            match interface.vlan {
                None => port.untagged = Some(position as u16),
                Some(vlan) => port.tagged.push((vlan, position as u16)),
            }
        }
        let interfaces: Vec<Interface> =
            snapshot.interfaces.iter().map(|spec| interface(spec, macs)).collect();
        let mut local4: Vec<u32> = snapshot
            .interfaces
            .iter()
            .flat_map(|spec| spec.ipv4.iter().map(|&(address, _)| address))
            .collect();
        local4.sort_unstable();
        Self {
            generation: snapshot.generation,
            nat,
            any_ipv4: interfaces.iter().find_map(|interface| interface.ipv4),
            any_ipv6: interfaces.iter().find_map(|interface| interface.ipv6),
            interfaces,
            ports,
            routes,
            icmp_errors_per_second: snapshot.icmp_errors_per_second,
            icmp_sources: icmp_sources(&snapshot.icmp_sources),
            to_ipv4: remark(snapshot.dscp.to_ipv4),
            to_ipv6: remark(snapshot.dscp.to_ipv6),
            to_error: remark(snapshot.dscp.icmp_errors),
            unsolicited: snapshot.unsolicited,
            checksums: snapshot.checksums,
            idle: Policy::of(snapshot),
            local4,
        }
    }

    /// An address for an ICMP error of a router that has none: any of the pool, as `draw` says (ICMP-94).
    pub fn icmp_source(&self, draw: impl FnOnce() -> u64) -> Option<u32> {
        let count = self.icmp_sources.len() as u64;
        if count == 0 {
            return None;
        }
        self.icmp_sources.get((draw() % count) as usize).copied()
    }

    /// The interfaces of a port.
    #[inline]
    pub fn port(&self, port: u16) -> Option<&PortInterfaces> {
        self.ports.get(usize::from(port))
    }

    /// The interface at a position.
    #[inline]
    pub fn interface(&self, position: u16) -> Option<&Interface> {
        self.interfaces.get(usize::from(position))
    }

    /// Whether the box itself has an IPv4 address.
    pub fn is_local_v4(&self, address: u32) -> bool {
        self.local4.binary_search(&address).is_ok()
    }
}

fn remark(dscp: Option<u8>) -> Remark {
    dscp.map_or(Remark::COPY, Remark::to)
}

/// The addresses of some prefixes, as many as there may be.
fn icmp_sources(prefixes: &[(u32, u8)]) -> Vec<u32> {
    let addresses = |&(first, len): &(u32, u8)| {
        let last = first | u32::MAX.checked_shr(len.into()).unwrap_or(0);
        first..=last
    };
    prefixes.iter().flat_map(addresses).take(MAX_ICMP_SOURCES).collect()
}

fn interface(spec: &InterfaceSpec, macs: &[[u8; 6]]) -> Interface {
    Interface {
        name: spec.name.clone(),
        port: spec.port,
        vlan: spec.vlan,
        mtu: spec.mtu,
        mac: macs.get(usize::from(spec.port)).copied().unwrap_or_default(),
        ipv4: spec.ipv4.first().map(|&(address, _)| address),
        ipv6: spec.ipv6.iter().map(|&(address, _)| address).find(|address| address >> 118 != 0xfe80 >> 6),
        mss_clamp: spec.mss_clamp,
        time_exceeded: spec.time_exceeded,
        proxied_v4: proxied(spec, &spec.ipv4)
            .map(|&(own, length)| (own, u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)))
            .collect(),
        proxied_v6: proxied(spec, &spec.ipv6)
            .map(|&(own, length)| (own, u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)))
            .collect(),
    }
}

/// The addresses in whose subnets others are answered for.
fn proxied<'a, A>(spec: &InterfaceSpec, addresses: &'a [A]) -> std::slice::Iter<'a, A> {
    if spec.proxy_neighbours { addresses.iter() } else { [].iter() }
}

/// Whether moving from one snapshot to another needs ports and threads to be built anew.
pub fn needs_rebuild(old: &Snapshot, new: &Snapshot) -> bool {
    let place = |snapshot: &Snapshot| -> Vec<(String, u16, Option<u16>)> {
        snapshot.interfaces.iter().map(|spec| (spec.name.clone(), spec.port, spec.vlan)).collect()
    };
    let length = |snapshot: &Snapshot| snapshot.nat.limits.ipv6_prefix_length;
    let room = |snapshot: &Snapshot| (snapshot.nat.fragments.datagrams, snapshot.nat.fragments.waiting);
    old.ports != new.ports
        || room(old) != room(new)
        || old.cores != new.cores
        || place(old) != place(new)
        || old.cores.len() > 1 && length(old) != length(new)
}

/// Interfaces that rules name must exist.
pub fn rules_fit(rules: &[RuleSpec], interfaces: usize) -> bool {
    rules.iter().all(|rule| rule.interfaces.iter().all(|&interface| usize::from(interface) < interfaces))
}

#[cfg(test)]
mod tests {
    use super::*;

    //= conformance ICMP-94
    #[test]
    fn every_address_of_the_pool_is_drawn() {
        let prefixes = [(0xc633_6440, 31), (0xcb00_7107, 32)];
        assert_eq!(icmp_sources(&prefixes), [0xc633_6440, 0xc633_6441, 0xcb00_7107]);
        assert_eq!(icmp_sources(&[(0, 0)]).len(), MAX_ICMP_SOURCES);
    }
}
