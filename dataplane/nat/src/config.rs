//! A compiled configuration: immutable, one a generation, read by all workers.

use sluice_packet::{DropReason, Prefix64, is_global_v4, is_routable_unicast_v4};

use crate::deterministic::Deterministic;
use crate::ranges::RangeSet;
use crate::reserved::Reserved;
use crate::spec::{Filtering, FragmentSpec, Limits, LogSpec, Pairing, Timers};
use crate::types::{Kind, KindRealm, Protocol};

/// What is to be done with a packet from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Routed as it is.
    Native,
    /// Translated: what its [`crate::OutboundTuple`] needs beside the packet's own fields.
    Translate {
        /// Kind and realm.
        kind_realm: KindRealm,
        /// Translation prefix; 0 for NAT44.
        prefix64: u8,
        /// IPv4 destination.
        remote: u32,
    },
    /// Dropped.
    Drop(DropReason),
}

/// Whose session a packet is, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// One that is looked up from inside.
    Outbound(KindRealm),
    /// One that is looked up from outside.
    Inbound,
    /// It cannot be told without looking closer.
    Unknown,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: u16,
    pub(crate) kind_realm: KindRealm,
    pub(crate) prefix64: u8,
    pub(crate) sources: Sources,
    pub(crate) except: RangeSet<u32>,
    pub(crate) interfaces: Vec<u16>,
    pub(crate) pool: u16,
    pub(crate) filtering: [Filtering; 3],
    /// Non-global addresses may be reached through the rule's prefix.
    pub(crate) any_remote: bool,
}

/// Whom a rule serves.
#[derive(Clone, Debug)]
pub(crate) enum Sources {
    All,
    V4(RangeSet<u32>),
    V6(RangeSet<u128>),
}

impl Sources {
    #[inline]
    fn contain(&self, inside: u128) -> bool {
        match self {
            Self::All => true,
            Self::V4(set) => set.contains(inside as u32),
            Self::V6(set) => set.contains(inside),
        }
    }
}

impl Rule {
    #[inline]
    fn on(&self, interface: Option<u16>) -> bool {
        self.interfaces.is_empty() || interface.is_none_or(|number| self.interfaces.contains(&number))
    }
}

/// A destination prefix of some NAT64 rules, for one realm and set of interfaces.
#[derive(Clone, Debug)]
pub(crate) struct PrefixEntry {
    pub(crate) prefix: Prefix64,
    pub(crate) id: u8,
    pub(crate) realm: u8,
    pub(crate) interfaces: Vec<u16>,
    pub(crate) any_remote: bool,
    /// Bits of an address that the prefix has.
    pub(crate) mask: u128,
    /// Destinations of the prefix that are routed untranslated.
    pub(crate) native: RangeSet<u128>,
}

/// A compiled pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Stable over generations.
    pub(crate) id: u16,
    pub(crate) name: String,
    /// Addresses with their slots, sorted.
    pub(crate) addresses: Vec<(u32, u32)>,
    /// Of each address, units that were claimed outside of the range when this was compiled.
    pub(crate) beyond: Vec<u32>,
    pub(crate) port_min: u16,
    pub(crate) port_max: u16,
    /// Logarithm of the block size.
    pub(crate) shift: u8,
    /// Ticks.
    pub(crate) hold: u32,
    pub(crate) max_resting: u16,
    pub(crate) parity: bool,
    pub(crate) reserved: Reserved,
    /// Blocks of an address that have a port to give out.
    pub(crate) blocks: u32,
    pub(crate) pairing: Pairing,
    pub(crate) deterministic: Option<Deterministic>,
}

impl Pool {
    /// Whether a port may be given out dynamically.
    #[inline]
    pub(crate) fn offers(&self, port: u16) -> bool {
        (self.port_min..=self.port_max).contains(&port) && !self.reserved.contains(port)
    }

    /// Whether a block, by its number within an address, has a port that may be given out.
    pub(crate) fn has_block(&self, number: u32) -> bool {
        let start = number << self.shift;
        let first = start.max(self.port_min.into());
        let last = (start + (1 << self.shift) - 1).min(self.port_max.into());
        first <= last && !self.reserved.covers(first as u16, last as u16)
    }
}

/// A run of pool addresses.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) pool: u16,
    /// Position of the first address in [`Pool::addresses`].
    pub(crate) start: u32,
}

/// A compiled static binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Static {
    pub(crate) protocol: Protocol,
    pub(crate) external: u32,
    pub(crate) external_port: u16,
    pub(crate) kind_realm: KindRealm,
    pub(crate) inside: u128,
    pub(crate) inside_port: u16,
    pub(crate) rule: u16,
    pub(crate) prefix64: u8,
    pub(crate) worker: u8,
}

impl Static {
    pub(crate) fn key(&self) -> (u32, u16, Protocol) {
        (self.external, self.external_port, self.protocol)
    }
}

/// A compiled configuration. Built by [`crate::Shared::compile`].
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) generation: u16,
    pub(crate) limits: Limits,
    pub(crate) timers: Timers,
    pub(crate) fragments: FragmentSpec,
    pub(crate) log: LogSpec,
    /// Bits of an IPv6 address that make a subscriber.
    pub(crate) subscriber_mask: u128,
    /// Longest prefix first.
    pub(crate) prefixes: Vec<PrefixEntry>,
    /// By id; id 0 is never a prefix.
    pub(crate) prefix_ids: Vec<Option<Prefix64>>,
    pub(crate) rules: Vec<Rule>,
    /// By [`Protocol::index`]: some rule filters by address. Then all sessions are known to the filter, whatever their own
    /// rule does: a binding has sessions of several rules, and strangers are judged by one of them.
    pub(crate) by_address: [bool; 3],
    /// Sources of all NAT44 rules that list some.
    pub(crate) nat44_inside: RangeSet<u32>,
    /// Sources of all NAT44 rules, and the kind and realm of all of them; none if rules differ in realm, or look at the
    /// interface.
    pub(crate) nat44_sources: RangeSet<u32>,
    pub(crate) nat44_uniform: Option<KindRealm>,
    pub(crate) pools: Vec<Pool>,
    /// Pool addresses, sorted.
    pub(crate) spans: Vec<Span>,
    pub(crate) external: RangeSet<u32>,
    /// Sorted by [`Static::key`].
    pub(crate) statics: Vec<Static>,
    pub(crate) static_addresses: RangeSet<u32>,
    /// Where the search for unused ids goes on: rules, pools, prefixes. Ids are given out in turn so that one is not
    /// given again while a session may still carry it.
    pub(crate) next_ids: [u16; 3],
}

impl Config {
    /// Its generation.
    pub fn generation(&self) -> u16 {
        self.generation
    }

    /// Limits of a subscriber.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Timers.
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// What becomes of fragments.
    #[inline]
    pub fn fragments(&self) -> &FragmentSpec {
        &self.fragments
    }

    /// The translation prefix with an id. An id stays with its prefix over generations.
    #[inline]
    pub fn prefix64(&self, id: u8) -> Option<&Prefix64> {
        self.prefix_ids.get(usize::from(id))?.as_ref()
    }

    /// Position in [`crate::Spec::rules`] of the rule with an id, as in a session record.
    pub fn rule_position(&self, id: u16) -> Option<usize> {
        self.rules.iter().position(|rule| rule.id == id)
    }

    /// What to do with an IPv6 packet from inside. Cheap: no walk over rules or sources.
    #[inline]
    pub fn outbound_v6(&self, source: u128, destination: u128, interface: u16) -> Outbound {
        let mut inside_some = false;
        for entry in &self.prefixes {
            if !entry.prefix.contains(destination) {
                continue;
            }
            //= conformance XLT-42
            if entry.native.contains(destination) {
                return Outbound::Native;
            }
            inside_some = true;
            if !entry.interfaces.is_empty() && !entry.interfaces.contains(&interface) {
                continue;
            }
            return self.to_prefix(entry, source, destination);
        }
        if inside_some { Outbound::Drop(DropReason::NoRule) } else { Outbound::Native }
    }

    #[inline]
    fn to_prefix(&self, entry: &PrefixEntry, source: u128, destination: u128) -> Outbound {
        //= conformance XLT-03
        if self.prefixes.iter().any(|other| other.prefix.contains(source)) {
            return Outbound::Drop(DropReason::SourceInPref64);
        }
        //= conformance ADDR-11
        let remote = match entry.prefix.extract(destination) {
            Ok(remote) => remote,
            Err(reason) => return Outbound::Drop(reason),
        };
        //= conformance ADDR-19
        if !is_routable_unicast_v4(remote) {
            return Outbound::Drop(DropReason::EmbeddedAddressIllegal);
        }
        //= conformance ADDR-13, ADDR-14
        if entry.prefix.is_well_known() && !entry.any_remote && !is_global_v4(remote) {
            return Outbound::Drop(DropReason::WellKnownPrefixNonGlobal);
        }
        Outbound::Translate {
            kind_realm: KindRealm::new(Kind::Nat64, entry.realm),
            prefix64: entry.id,
            remote,
        }
    }

    /// Whether packets to an IPv6 address are for some translation prefix.
    pub fn translates_to(&self, destination: u128) -> bool {
        let takes =
            |entry: &PrefixEntry| entry.prefix.contains(destination) && !entry.native.contains(destination);
        self.prefixes.iter().any(takes)
    }

    /// What to do with an IPv4 packet whose destination is no external address.
    //= conformance N44-18, N44-21
    #[inline]
    pub fn outbound_v4(&self, source: u32, destination: u32, interface: u16) -> Outbound {
        for rule in &self.rules {
            if rule.kind_realm.kind() == Some(Kind::Nat44)
                && rule.on(Some(interface))
                && rule.sources.contain(u128::from(source))
                && !rule.except.contains(destination)
            {
                if self.nat44_inside.contains(destination) {
                    return Outbound::Native;
                }
                return Outbound::Translate { kind_realm: rule.kind_realm, prefix64: 0, remote: destination };
            }
        }
        Outbound::Native
    }

    /// Kind, prefix and IPv4 destination of the session that an IPv6 packet is of, if there is one. A session stands only as
    /// long as its packets would be translated, so that nothing but its identity is looked at here; [`Config::outbound_v6`]
    /// judges those that have none. None too for a destination that a session knows in another form (ADDR-10).
    #[inline(always)]
    pub fn candidate_v6(&self, destination: u128, interface: u16) -> Option<(KindRealm, u8, u32)> {
        let entry = self.prefixes.iter().find(|entry| {
            (destination ^ entry.prefix.address()) & entry.mask == 0
                && (entry.interfaces.is_empty() || entry.interfaces.contains(&interface))
        })?;
        if entry.native.contains(destination) {
            return None;
        }
        let remote = if entry.prefix.len() == 96 {
            destination as u32
        } else {
            entry.prefix.extract(destination).ok().filter(|&to| entry.prefix.embed(to) == destination)?
        };
        Some((KindRealm::new(Kind::Nat64, entry.realm), entry.id, remote))
    }

    /// Whose session an IPv4 packet is, if there is one; [`Config::outbound_v4`] judges those that have none.
    #[inline(always)]
    pub fn candidate_v4(&self, source: u32, destination: u32, interface: u16) -> Candidate {
        let external = self.external.contains(destination);
        match self.nat44_uniform {
            Some(kind_realm) => match (external, self.nat44_sources.contains(source)) {
                (true, false) => Candidate::Inbound,
                (false, true) => Candidate::Outbound(kind_realm),
                _ => Candidate::Unknown,
            },
            None => match self.outbound_v4(source, destination, interface) {
                Outbound::Native if external => Candidate::Inbound,
                Outbound::Translate { kind_realm, .. } if !external => Candidate::Outbound(kind_realm),
                _ => Candidate::Unknown,
            },
        }
    }

    /// Whether packets of a session from inside would still be translated, as far as its addresses say: what
    /// [`Config::outbound_v6`] and [`Config::outbound_v4`] ask of packets.
    pub(crate) fn still_translates(
        &self,
        kind_realm: KindRealm,
        inside: u128,
        (prefix64, remote): (u8, u32),
    ) -> bool {
        let native =
            |entry: &PrefixEntry| entry.id == prefix64 && entry.native.contains(entry.prefix.embed(remote));
        match kind_realm.kind() {
            Some(Kind::Nat64) => {
                !self.prefixes.iter().any(|entry| entry.prefix.contains(inside) || native(entry))
            }
            _ => !self.nat44_inside.contains(remote),
        }
    }

    /// Whether an address is a pool address or the external side of a static binding.
    #[inline]
    pub fn is_external(&self, address: u32) -> bool {
        self.external.contains(address)
    }

    /// The first rule that serves a flow. Without interface, any will do.
    pub(crate) fn rule(
        &self,
        kind_realm: KindRealm,
        prefix64: u8,
        inside: u128,
        remote: u32,
        interface: Option<u16>,
    ) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.kind_realm == kind_realm
                && rule.prefix64 == prefix64
                && rule.on(interface)
                && rule.sources.contain(inside)
                && !rule.except.contains(remote)
        })
    }

    pub(crate) fn rule_by_id(&self, id: u16) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The part of an inside address that makes the subscriber (MAP-05).
    //= conformance MAP-05
    pub(crate) fn subscriber(&self, kind_realm: KindRealm, inside: u128) -> u128 {
        match kind_realm.kind() {
            Some(Kind::Nat64) => inside & self.subscriber_mask,
            _ => inside,
        }
    }

    /// Pool and slot of an address.
    #[inline]
    pub(crate) fn locate(&self, address: u32) -> Option<(&Pool, u32)> {
        let after = self.spans.partition_point(|span| span.first <= address);
        let span = self.spans.get(after.checked_sub(1)?)?;
        if address > span.last {
            return None;
        }
        let pool = &self.pools[usize::from(span.pool)];
        Some((pool, pool.addresses[(span.start + (address - span.first)) as usize].1))
    }

    /// The static binding at an external address and port.
    #[inline]
    pub(crate) fn static_at(&self, protocol: Protocol, external: u32, port: u16) -> Option<&Static> {
        if !self.static_addresses.contains(external) {
            return None;
        }
        let at = self.statics.binary_search_by_key(&(external, port, protocol), Static::key).ok()?;
        Some(&self.statics[at])
    }

    /// Those among 64 ports of an address that static bindings have.
    //= conformance PORT-08
    #[inline]
    pub(crate) fn static_run(&self, protocol: Protocol, external: u32, run: u32) -> u64 {
        if !self.static_addresses.contains(external) {
            return 0;
        }
        let before = |made: &Static| (made.external, u32::from(made.external_port / 64)) < (external, run);
        let here = self.statics[self.statics.partition_point(before)..]
            .iter()
            .take_while(|made| made.external == external && u32::from(made.external_port / 64) == run);
        here.filter(|made| made.protocol == protocol)
            .fold(0, |mask, made| mask | 1 << (made.external_port % 64))
    }
}
