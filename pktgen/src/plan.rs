//! What is sent and what is expected: addresses, ports, sizes and times of one measurement.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sluice_packet::{Endpoints, Family, Prefix64};

use crate::hosts::Hosts;
use crate::template::{self, FCS};

/// Ports that flows come from.
//= conformance BENCH-07
const FIRST_PORT: u16 = 1024;
const PORTS: u32 = 65536 - FIRST_PORT as u32;

/// The largest frame, FCS included: one that fits an MTU of 1500.
pub const LARGEST: usize = 1518;
/// Most flows: each takes some 250 bytes here.
pub const MOST_FLOWS: u32 = 1 << 20;

/// What the device under test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// IPv6 inside, IPv4 outside, and the prefix under which IPv4 is found inside.
    Nat64(Prefix64),
    /// IPv4 on both sides.
    Nat44,
    /// There is no device: the two ports are connected to each other.
    Nothing(Family),
}

/// The tester's place on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Family of the link.
    pub family: Family,
    /// The tester's address.
    pub address: u128,
    /// The device's address on the link, whose MAC address all frames go to.
    pub gateway: u128,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What happens to frames on their way.
    pub translation: Translation,
    /// The inside link.
    pub inside: Station,
    /// The outside link.
    pub outside: Station,
    /// The inside addresses that flows come from.
    pub hosts: Hosts,
    /// The responder's address, in the family of the outside.
    pub remote: u128,
    /// The responder's port.
    pub port: u16,
    /// Number of flows.
    pub flows: u32,
    /// Size of an inside frame in bytes, FCS included.
    //= conformance BENCH-02
    pub size: usize,
    /// Frames a second, all flows together; `None` for as fast as possible.
    pub rate: Option<u64>,
    /// Frames a second while flows are opened.
    pub open_rate: u64,
    /// How long frames are sent.
    pub duration: Duration,
    /// How long to wait for the last ones.
    pub linger: Duration,
    /// Frames of strangers a second, from inside and from outside (see [`crate::strangers`]): none, or so many, or, without a
    /// number, as many as there is room for.
    pub strangers: [Option<Option<u64>>; 2],
    /// Where source ports begin and how they are spread.
    pub seed: u64,
    /// Number of the run, 7 bits.
    pub run: u8,
}

/// Why there is no such measurement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Sizes.
    #[error(
        "--size {size}: a frame with UDP and a signature has {least} to {LARGEST} bytes with FCS on an {family} link"
    )]
    Size {
        /// What was asked.
        size: usize,
        /// The smallest possible.
        least: usize,
        /// Where.
        family: &'static str,
    },
    /// More flows than source ports.
    #[error("--flows {flows}: {hosts} hosts have ports for {most} flows; give more --hosts")]
    Flows {
        /// What was asked.
        flows: u32,
        /// Hosts.
        hosts: u32,
        /// What is possible.
        most: u64,
    },
    /// Hosts that run over the end.
    #[error("--hosts {count}: {first} and the addresses after it are not that many{within}")]
    Hosts {
        /// What was asked.
        count: u32,
        /// The first of them.
        first: IpAddr,
        /// The prefix that they have to stay in.
        within: String,
    },
    /// An address that has two owners.
    #[error("{address} is both {one} and {other}")]
    Twice {
        /// The address.
        address: IpAddr,
        /// One owner.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// An address that no host has.
    #[error(
        "{address} cannot be {what}: a unicast address is needed that is neither loopback nor link-local"
    )]
    NotUnicast {
        /// The address.
        address: IpAddr,
        /// What it was meant for.
        what: &'static str,
    },
}

impl Plan {
    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// With the first that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        let family = self.inside.family;
        let least = self.smallest();
        if !(least..=LARGEST).contains(&self.size) {
            return Err(PlanError::Size { size: self.size, least, family: family_name(family) });
        }
        let most = u64::from(self.hosts.count) * u64::from(PORTS);
        if u64::from(self.flows) > most.min(MOST_FLOWS.into()) {
            return Err(PlanError::Flows {
                flows: self.flows,
                hosts: self.hosts.count,
                most: most.min(MOST_FLOWS.into()),
            });
        }
        let Some(last) = self.hosts.last() else {
            let first = ip(family, self.hosts.first);
            return Err(PlanError::Hosts { count: self.hosts.count, first, within: String::new() });
        };
        let outside = self.outside.family;
        for (family, address, what) in [
            (family, self.inside.address, "the inside address"),
            (family, self.inside.gateway, "the inside gateway"),
            (family, self.hosts.first, "a host's address"),
            (family, last, "a host's address"),
            (outside, self.outside.address, "the outside address"),
            (outside, self.outside.gateway, "the outside gateway"),
            (outside, self.remote, "the responder's address"),
        ] {
            let address = ip(family, address);
            if !is_unicast(address) {
                return Err(PlanError::NotUnicast { address, what });
            }
        }
        self.check_owners()
    }

    fn check_owners(&self) -> Result<(), PlanError> {
        let (inside, outside) = (self.inside, self.outside);
        let twice =
            |family, address, one, other| Err(PlanError::Twice { address: ip(family, address), one, other });
        if inside.address == inside.gateway {
            return twice(inside.family, inside.address, "the inside address", "the inside gateway");
        }
        if outside.address == outside.gateway {
            return twice(outside.family, outside.address, "the outside address", "the outside gateway");
        }
        if self.hosts.contains(inside.family, inside.gateway) {
            return twice(inside.family, inside.gateway, "the inside gateway", "one of the hosts");
        }
        if self.remote == outside.gateway && self.translation.is_device() {
            return twice(outside.family, self.remote, "the responder's address", "the outside gateway");
        }
        if self.hosts.contains(outside.family, self.remote) {
            return twice(outside.family, self.remote, "the responder's address", "one of the hosts");
        }
        Ok(())
    }

    /// The smallest frame on the inside, FCS included.
    pub fn smallest(&self) -> usize {
        template::least(self.inside.family) + FCS
    }

    /// Bytes of an inside frame as DPDK counts them.
    pub fn inside_len(&self) -> usize {
        self.size - FCS
    }

    /// Bytes of an outside frame as DPDK counts them.
    pub fn outside_len(&self) -> usize {
        self.inside_len() + template::ip_header(self.outside.family) - template::ip_header(self.inside.family)
    }

    /// Address and port that a flow comes from.
    ///
    /// Flows are dealt to hosts in turn. The ports of a host are all of its range in pseudorandom order, none twice.
    //= conformance BENCH-07, BENCH-09, BENCH-62
    pub fn source(&self, flow: u32) -> (u128, u16) {
        let (host, turn) = (flow % self.hosts.count, flow / self.hosts.count);
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ self.seed;
        // Every factor without a prime of PORTS (2, 3 and 7) gives a permutation.
        let factor = (0..)
            .map(|step| (seed >> 32) % 60_000 + 1021 + step)
            .find(|n| n % 2 != 0 && n % 3 != 0 && n % 7 != 0);
        let offset = seed % u64::from(PORTS);
        let place = (u64::from(turn) * factor.unwrap_or(1) + offset) % u64::from(PORTS);
        (self.hosts.address(host), FIRST_PORT + place as u16)
    }

    /// The responder's address as the inside sees it.
    pub fn remote_inside(&self) -> u128 {
        match self.translation {
            Translation::Nat64(prefix) => prefix.embed(self.remote as u32),
            Translation::Nat44 | Translation::Nothing(_) => self.remote,
        }
    }

    /// Addresses and ports of a flow's frames as the initiator sends them.
    pub fn ends(&self, flow: u32) -> Endpoints {
        let (source, source_port) = self.source(flow);
        Endpoints { source, destination: self.remote_inside(), source_port, destination_port: self.port }
    }

    /// Whether the tester answers for an address on the inside link.
    pub fn holds_inside(&self, family: Family, address: u128) -> bool {
        (family, address) == (self.inside.family, self.inside.address) || self.hosts.contains(family, address)
    }

    /// Whether the tester answers for an address on the outside link.
    pub fn holds_outside(&self, family: Family, address: u128) -> bool {
        family == self.outside.family && (address == self.outside.address || address == self.remote)
    }

    /// What a careful person should know before the run.
    //= conformance BENCH-11
    pub fn hint(&self) -> Option<String> {
        match self.translation {
            Translation::Nat64(prefix)
                if prefix.is_well_known() && !sluice_packet::is_global_v4(self.remote as u32) =>
            {
                Some(format!(
                    "{prefix} may not carry {} (RFC 6052, 3.1): a conforming NAT64 drops every frame; \
                     use a prefix of your own, as in --nat64 2001:2:0:64::/96",
                    Ipv4Addr::from_bits(self.remote as u32)
                ))
            }
            _ => None,
        }
    }
}

impl Translation {
    /// Whether there is a device between the ports.
    pub fn is_device(self) -> bool {
        !matches!(self, Self::Nothing(_))
    }

    /// Families of the inside and the outside.
    pub fn families(self) -> (Family, Family) {
        match self {
            Self::Nat64(_) => (Family::V6, Family::V4),
            Self::Nat44 => (Family::V4, Family::V4),
            Self::Nothing(family) => (family, family),
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat64(_) => "nat64",
            Self::Nat44 => "nat44",
            Self::Nothing(_) => "selftest",
        }
    }
}

/// An address as people write it.
pub fn ip(family: Family, address: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(address as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(address).into(),
    }
}

/// A family as people write it.
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => sluice_packet::is_routable_unicast_v4(v4.to_bits()),
        IpAddr::V6(v6) => !sluice_packet::source_illegal_v6(v6.to_bits()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::HashSet;

    pub(crate) const A4: u128 = 0xc612_0002;
    pub(crate) const R4: u128 = 0xc613_0002;
    pub(crate) const A6: u128 = 0x2001_0002 << 96 | 2;

    /// A plan of the defaults.
    pub(crate) fn plan(translation: Translation, flows: u32) -> Plan {
        let (inside, outside) = translation.families();
        let pick = |family, v4, v6| if family == Family::V4 { v4 } else { v6 };
        let address = pick(inside, A4, A6);
        let remote = pick(outside, R4, A6 + (1 << 64));
        Plan {
            translation,
            inside: Station { family: inside, address, gateway: address - 1 },
            outside: Station { family: outside, address: remote, gateway: remote - 1 },
            hosts: Hosts::one(address, inside),
            remote,
            port: 5001,
            flows,
            size: template::least(inside) + FCS,
            rate: None,
            open_rate: 400,
            duration: Duration::from_secs(1),
            linger: Duration::from_secs(2),
            strangers: [None; 2],
            seed: 1,
            run: 5,
        }
    }

    pub(crate) fn nat64() -> Translation {
        Translation::Nat64(Prefix64::new(0x2001_0002_0000_0064 << 64, 96).unwrap())
    }

    //= conformance BENCH-02
    #[test]
    fn sizes_are_those_of_the_inside() {
        let plan64 = plan(nat64(), 1);
        assert_eq!((plan64.size, plan64.inside_len(), plan64.outside_len()), (84, 80, 60));
        assert_eq!(plan64.check(), Ok(()));
        let plan44 = plan(Translation::Nat44, 1);
        assert_eq!((plan44.size, plan44.inside_len(), plan44.outside_len()), (64, 60, 60));
        for (size, good) in [(83, false), (84, true), (1518, true), (1519, false)] {
            assert_eq!(Plan { size, ..plan64.clone() }.check().is_ok(), good, "{size}");
        }
    }

    //= conformance BENCH-07, BENCH-62
    #[test]
    fn every_flow_has_a_source_of_its_own() {
        for seed in 0..20 {
            let mut plan = Plan { seed, ..plan(Translation::Nat44, 2 * PORTS) };
            plan.hosts.count = 2;
            assert_eq!(plan.check(), Ok(()));
            let sources: HashSet<_> = (0..plan.flows).map(|flow| plan.source(flow)).collect();
            assert_eq!(sources.len(), plan.flows as usize);
            assert!(
                sources
                    .iter()
                    .all(|(address, port)| *port >= 1024 && plan.holds_inside(Family::V4, *address))
            );
            plan.flows += 1;
            assert!(matches!(plan.check(), Err(PlanError::Flows { most: 129_024, .. })));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = plan(Translation::Nat44, 4);
        let error = |change: &dyn Fn(&mut Plan)| {
            let mut plan = good.clone();
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert!(error(&|plan| plan.inside.gateway = A4).contains("198.18.0.2 is both the inside address"));
        assert!(error(&|plan| plan.outside.gateway = R4).contains("outside gateway"));
        assert!(error(&|plan| plan.remote = A4).contains("one of the hosts"));
        assert!(
            error(&|plan| plan.remote = 0xe000_0001).contains("224.0.0.1 cannot be the responder's address")
        );
        assert!(error(&|plan| plan.hosts.count = u32::MAX).contains("198.18.0.2"));
        assert_eq!(good.check(), Ok(()));
    }

    //= conformance BENCH-11
    #[test]
    fn the_well_known_prefix_gets_a_hint() {
        assert_eq!(plan(nat64(), 1).hint(), None);
        let mut well_known = plan(Translation::Nat64(Prefix64::WELL_KNOWN), 1);
        assert!(well_known.hint().unwrap().contains("198.19.0.2"));
        well_known.remote = 0x0808_0808;
        assert_eq!(well_known.hint(), None);
    }
}
