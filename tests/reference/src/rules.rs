//! Which packets are translated, by which rule: read from the specification, rule by rule, for every packet anew.

use sluice_nat::{Kind, KindRealm, RuleSpec, Spec, StaticSpec};
use sluice_packet::{DropReason, is_global_v4};

use crate::hash::HashMap;
use crate::nat::Inside;

/// A translation prefix of a configuration. The number tells a prefix from the same one that came back after it had been
/// taken out: sessions do not survive that. 0 is NAT44's, which has none.
pub type PrefixNumber = u32;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not the translator's.
    Native,
    /// Dropped.
    Drop(DropReason),
    /// From inside.
    Outbound {
        /// Kind and realm of the source.
        kind_realm: KindRealm,
        /// Prefix of the destination.
        prefix: PrefixNumber,
        /// The IPv4 destination.
        remote: u32,
    },
    /// To an external address.
    Inbound,
}

/// A specification, and the numbers of its prefixes.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// As given.
    pub spec: Spec,
    numbers: HashMap<(u128, u8), PrefixNumber>,
    last_number: PrefixNumber,
}

const WELL_KNOWN: (u128, u8) = (0x64_ff9b << 96, 96);

fn within(address: u128, (prefix, len): (u128, u8), bits: u8) -> bool {
    len == 0 || (address ^ prefix) >> (bits - len) == 0
}

fn in_v4(address: u32, &(prefix, len): &(u32, u8)) -> bool {
    within(address.into(), (prefix.into(), len), 32)
}

/// The IPv4 address of RFC 6052, section 2.2: four octets behind the prefix, of which octet 8 is none and has to be zero.
fn embedded(address: u128, len: u8) -> Option<u32> {
    let octets = address.to_be_bytes();
    let mut own = (usize::from(len / 8)..16).filter(|&at| at != 8).map(|at| octets[at]);
    let four = [own.next()?, own.next()?, own.next()?, own.next()?];
    (octets[8] == 0).then(|| u32::from_be_bytes(four))
}

/// The other way round.
pub fn embed((prefix, len): (u128, u8), address: u32) -> u128 {
    let mut octets = prefix.to_be_bytes();
    let places = (usize::from(len / 8)..16).filter(|&at| at != 8);
    for (at, octet) in places.zip(address.to_be_bytes()) {
        octets[at] = octet;
    }
    u128::from_be_bytes(octets)
}

fn illegal(address: u32) -> bool {
    let [first, second, ..] = address.to_be_bytes();
    first == 0 || first == 127 || first >= 224 || (first, second) == (169, 254)
}

fn on(rule: &RuleSpec, interface: Option<u16>) -> bool {
    rule.interfaces.is_empty() || interface.is_none_or(|number| rule.interfaces.contains(&number))
}

fn lists(rule: &RuleSpec, inside: u128) -> bool {
    let bits = if rule.kind == Kind::Nat64 { 128 } else { 32 };
    rule.sources.iter().any(|&source| within(inside, source, bits))
}

fn serves(rule: &RuleSpec, inside: u128) -> bool {
    rule.sources.is_empty() || lists(rule, inside)
}

impl Rules {
    /// Another specification takes over.
    pub fn change(&mut self, spec: Spec) {
        let prefixes: Vec<_> = spec.rules.iter().filter_map(|rule| rule.prefix64).collect();
        self.numbers.retain(|prefix, _| prefixes.contains(prefix));
        for prefix in prefixes {
            self.numbers.entry(prefix).or_insert_with(|| {
                self.last_number += 1;
                self.last_number
            });
        }
        self.spec = spec;
    }

    /// The number of a rule's prefix.
    pub fn number(&self, rule: &RuleSpec) -> PrefixNumber {
        rule.prefix64.map_or(0, |prefix| self.numbers[&prefix])
    }

    /// The prefix with a number, if it is there still.
    pub fn prefix(&self, number: PrefixNumber) -> Option<(u128, u8)> {
        self.numbers.iter().find(|known| *known.1 == number).map(|known| *known.0)
    }

    /// The number of a prefix.
    pub fn named(&self, prefix: (u128, u8)) -> Option<PrefixNumber> {
        self.numbers.get(&prefix).copied()
    }

    /// Prefixes in the order in which a destination is compared with them: the longest first.
    pub fn prefixes(&self) -> Vec<(u128, u8)> {
        let mut all: Vec<_> = self.spec.rules.iter().filter_map(|rule| rule.prefix64).collect();
        all.sort_by_key(|prefix| std::cmp::Reverse(prefix.1));
        all
    }

    /// Whether an address is the gateway's: of a pool or of a static binding.
    pub fn is_external(&self, address: u32) -> bool {
        let pools = self.spec.pools.iter().flat_map(|pool| &pool.prefixes);
        pools.into_iter().any(|prefix| in_v4(address, prefix))
            || self.spec.statics.iter().any(|made| made.external == address)
    }

    /// What to do with an IPv6 packet.
    pub fn class_v6(&self, source: u128, destination: u128, interface: u16) -> Class {
        let mut ours: Vec<&RuleSpec> =
            self.spec.rules.iter().filter(|rule| rule.kind == Kind::Nat64).collect();
        ours.sort_by_key(|rule| std::cmp::Reverse(rule.prefix64.map(|prefix| prefix.1)));
        let to = |rule: &&&RuleSpec| rule.prefix64.is_some_and(|prefix| within(destination, prefix, 128));
        if !ours.iter().any(|rule| to(&rule)) {
            return Class::Native;
        }
        let Some(first) = ours.iter().filter(to).find(|rule| on(rule, Some(interface))) else {
            return Class::Drop(DropReason::NoRule);
        };
        if ours.iter().any(|rule| rule.prefix64.is_some_and(|prefix| within(source, prefix, 128))) {
            return Class::Drop(DropReason::SourceInPref64);
        }
        let len = first.prefix64.map_or(96, |prefix| prefix.1);
        let Some(remote) = embedded(destination, len).filter(|&remote| !illegal(remote)) else {
            return Class::Drop(DropReason::EmbeddedAddressIllegal);
        };
        // Rules of one prefix, realm and set of interfaces are judged together here, and alone when a session is made.
        let like = |rule: &&&RuleSpec| {
            (rule.prefix64, rule.realm, &rule.interfaces) == (first.prefix64, first.realm, &first.interfaces)
        };
        let any = ours.iter().filter(like).any(|rule| rule.wkp_allow_non_global);
        if first.prefix64 == Some(WELL_KNOWN) && !any && !is_global_v4(remote) {
            return Class::Drop(DropReason::WellKnownPrefixNonGlobal);
        }
        let kind_realm = KindRealm::new(Kind::Nat64, first.realm);
        Class::Outbound { kind_realm, prefix: self.number(first), remote }
    }

    /// What to do with an IPv4 packet.
    pub fn class_v4(&self, source: u32, destination: u32, interface: u16) -> Class {
        let ours = self.spec.rules.iter().filter(|rule| rule.kind == Kind::Nat44);
        let excepted = |rule: &RuleSpec| rule.except.iter().any(|prefix| in_v4(destination, prefix));
        let serving =
            |rule: &&RuleSpec| on(rule, Some(interface)) && serves(rule, source.into()) && !excepted(rule);
        match ours.into_iter().find(serving) {
            Some(rule) if !self.is_inside(destination) => {
                let kind_realm = KindRealm::new(Kind::Nat44, rule.realm);
                Class::Outbound { kind_realm, prefix: 0, remote: destination }
            }
            _ if self.is_external(destination) => Class::Inbound,
            _ => Class::Native,
        }
    }

    /// Whether NAT44 translates packets of an address, so that packets to it are not.
    fn is_inside(&self, address: u32) -> bool {
        self.spec.rules.iter().any(|rule| rule.kind == Kind::Nat44 && lists(rule, address.into()))
    }

    /// The first rule that serves a flow.
    pub fn rule(
        &self,
        kind_realm: KindRealm,
        prefix: PrefixNumber,
        inside: u128,
        remote: u32,
        interface: Option<u16>,
    ) -> Option<&RuleSpec> {
        self.spec.rules.iter().find(|rule| {
            KindRealm::new(rule.kind, rule.realm) == kind_realm
                && self.number(rule) == prefix
                && on(rule, interface)
                && serves(rule, inside)
                && !rule.except.iter().any(|prefix| in_v4(remote, prefix))
        })
    }

    /// Whether packets of a session from inside would still be translated.
    pub fn still_translates(&self, kind_realm: KindRealm, inside: u128, remote: u32) -> bool {
        if kind_realm.kind() == Some(Kind::Nat44) {
            return !self.is_inside(remote);
        }
        !self.prefixes().iter().any(|&prefix| within(inside, prefix, 128))
    }

    /// The well-known prefix stands for global addresses only.
    pub fn may_reach(&self, rule: &RuleSpec, prefix: PrefixNumber, remote: u32) -> bool {
        self.prefix(prefix) != Some(WELL_KNOWN) || rule.wkp_allow_non_global || is_global_v4(remote)
    }

    /// The inside end and the rule of a static binding.
    pub fn static_ends(&self, made: &StaticSpec) -> (Inside, &RuleSpec) {
        let rule = &self.spec.rules[usize::from(made.rule)];
        let kind_realm = KindRealm::new(rule.kind, rule.realm);
        (Inside { kind_realm, protocol: made.protocol, address: made.inside, port: made.inside_port }, rule)
    }
}
