//! Port blocks that rest after a loss of state (RFC 6888, REQ-8).
//!
//! A process that died took its sessions with it, but not those of their peers: a late packet of an old session must not meet
//! a new mapping. So what the records of the last life name as in use is given to nobody until the hold-down of its pool has
//! passed. No protocol is excepted: TCP ports need no rest only while somebody knows the state of their connections.
//!
//! Ports that belong to an inside host anyway do not rest: static bindings and deterministic ranges (PORT-12).
//!
//! The main thread does all of this. To workers a unit that rests is one that somebody else has.

use std::collections::{BTreeMap, HashSet};

use crate::config::{Config, Pool};
use crate::ranges::{Address, RangeSet};
use crate::record::Fixed;
use crate::shared::{Shared, UNIT_SHIFT, UNITS};
use crate::spec::Spec;
use crate::types::{Protocol, Tick};

/// A bit for each 64 ports of an address, as it is written down: port p is bit p / 64 % 64 of word p / 4096.
pub type UnitBits = [u64; UNITS / 64];

/// A set of units of an address.
#[derive(Clone, Debug, Default)]
struct Units(UnitBits);

impl Units {
    fn insert(&mut self, unit: usize) {
        self.0[unit / 64] |= 1 << (unit % 64);
    }

    fn contains(&self, unit: usize) -> bool {
        self.0[unit / 64] >> (unit % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..UNITS).filter(|&unit| self.contains(unit))
    }

    /// Takes out those that a condition names.
    fn extract(&mut self, condition: impl Fn(usize) -> bool) -> Self {
        let mut out = Self::default();
        self.iter().filter(|&unit| condition(unit)).for_each(|unit| out.insert(unit));
        self.0.iter_mut().zip(out.0).for_each(|(word, out)| *word &= !out);
        out
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; UNITS / 64]
    }
}

/// What the sessions of an earlier life had in use, as far as it is of a configuration's pools. Nothing that it is told is
/// believed: what makes no sense is passed over, and its size is bounded.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    pools: RangeSet<u32>,
    statics: HashSet<(Protocol, u32, u16)>,
    max_addresses: usize,
    units: BTreeMap<u32, Units>,
}

impl Remains {
    /// Nothing yet. At most `max_addresses` addresses will be remembered, 128 bytes each.
    pub fn new(spec: &Spec, max_addresses: u32) -> Self {
        let prefixes = spec.pools.iter().flat_map(|pool| &pool.prefixes);
        let statics = spec.statics.iter();
        Self {
            // A prefix that is none is for the compiler to refuse.
            pools: RangeSet::new(prefixes.filter_map(|(address, length)| address.range(*length)).collect()),
            statics: statics.map(|made| (made.protocol, made.external, made.external_port)).collect(),
            max_addresses: max_addresses as usize,
            units: BTreeMap::new(),
        }
    }

    /// Takes note of a session.
    pub fn add(&mut self, session: &Fixed) {
        let Fixed { external, external_port, .. } = *session;
        let Some(protocol) = Protocol::from_number(session.protocol) else { return };
        if session.kind_realm.kind().is_none()
            || self.statics.contains(&(protocol, external, external_port))
            || !self.has_room(external)
        {
            return;
        }
        self.units.entry(external).or_default().insert(usize::from(external_port >> UNIT_SHIFT));
    }

    /// Takes note of what somebody has written down of [`Remains::units`].
    pub fn add_units(&mut self, external: u32, units: UnitBits) {
        if self.has_room(external) {
            let known = &mut self.units.entry(external).or_default().0;
            known.iter_mut().zip(units).for_each(|(known, more)| *known |= more);
        }
    }

    /// What was in use, by address.
    pub fn units(&self) -> impl Iterator<Item = (u32, UnitBits)> {
        self.units.iter().map(|(&external, units)| (external, units.0))
    }

    fn has_room(&self, external: u32) -> bool {
        self.pools.contains(external)
            && (self.units.len() < self.max_addresses || self.units.contains_key(&external))
    }

    /// Whether nothing was in use.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }
}

/// What rests now.
#[derive(Debug)]
pub struct Quarantine {
    since: Tick,
    resting: Vec<Resting>,
}

/// Units of an address that rest.
#[derive(Debug)]
struct Resting {
    address: u32,
    slot: u32,
    units: Units,
    /// Blocks that these are of.
    blocks: u32,
    /// Ticks.
    hold: u32,
}

impl Quarantine {
    /// Lets rest what remains of an earlier life, from `since` on and as long as the hold-down of each pool. Before the first
    /// worker asks for a block. Of several lives the last goes first: a unit rests for one of them only.
    //= conformance PORT-12, PORT-13
    pub fn new(shared: &Shared, config: &Config, remains: &Remains, since: Tick) -> Self {
        let mut quarantine = Self { since, resting: Vec::new() };
        for (&address, units) in &remains.units {
            let Some((pool, slot)) = config.locate(address).filter(|(pool, _)| pool.hold > 0) else {
                continue;
            };
            // Whole blocks rest: the remainder of one could be given to nobody, and would make an address look free.
            let block = |unit: usize| unit >> (pool.shift - UNIT_SHIFT);
            let touched: HashSet<usize> = units.iter().map(block).collect();
            let mut rest = Units::default();
            (0..UNITS)
                .filter(|&unit| touched.contains(&block(unit)) && may_rest(pool, unit))
                .for_each(|unit| rest.insert(unit));
            let units = rest.extract(|unit| shared.rest_unit(slot, unit));
            if units.is_empty() {
                continue;
            }
            let blocks = units.iter().map(block).collect::<HashSet<usize>>().len() as u32;
            quarantine.resting.push(Resting { address, slot, units, blocks, hold: pool.hold });
        }
        quarantine
    }

    /// Port blocks that rest.
    pub fn blocks(&self) -> u32 {
        self.resting.iter().map(|resting| resting.blocks).sum()
    }

    /// Ticks until none of them does.
    pub fn left(&self, now: Tick) -> u32 {
        let longest = self.resting.iter().map(|resting| resting.hold).max().unwrap_or(0);
        longest.saturating_sub(now.since(self.since))
    }

    /// Whether nothing rests any more.
    pub fn is_over(&self) -> bool {
        self.resting.is_empty()
    }

    /// Takes a new configuration of the same tables over: another hold-down counts from the beginning, and what became part
    /// of deterministic ranges is free. An address that is gone keeps its place until it has rested.
    pub fn set_config(&mut self, shared: &Shared, config: &Config) {
        for resting in &mut self.resting {
            let Some((pool, _)) = config.locate(resting.address) else { continue };
            resting.hold = pool.hold;
            let dealt = resting.units.extract(|unit| is_dealt(pool, unit));
            dealt.iter().for_each(|unit| shared.wake_unit(resting.slot, unit));
        }
    }

    /// Frees what has rested.
    pub fn release(&mut self, shared: &Shared, now: Tick) {
        let rested = now.since(self.since);
        self.resting.retain(|resting| {
            let rests = resting.hold >= rested && !resting.units.is_empty();
            if !rests {
                resting.units.iter().for_each(|unit| shared.wake_unit(resting.slot, unit));
            }
            rests
        });
    }
}

/// Whether a unit is one that the pool gives out in blocks. Others nobody can claim, and they do not count as claimed.
fn may_rest(pool: &Pool, unit: usize) -> bool {
    pool.has_block((unit >> (pool.shift - UNIT_SHIFT)) as u32) && !is_dealt(pool, unit)
}

/// Whether a unit is of a deterministic range: whole units are.
fn is_dealt(pool: &Pool, unit: usize) -> bool {
    pool.deterministic.as_ref().is_some_and(|map| map.deals((unit << UNIT_SHIFT) as u16))
}
