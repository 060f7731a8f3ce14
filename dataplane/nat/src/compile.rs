//! From a [`Spec`] to a [`Config`]: everything is checked, everything invalid is named, nothing is half applied.

use std::collections::HashSet;

use sluice_packet::{Prefix64, is_routable_unicast_v4};

use crate::config::{Config, Pool, PrefixEntry, Rule, Sources, Span, Static};
use crate::deterministic::Deterministic;
use crate::error::ConfigError;
use crate::ranges::{Address, RangeSet};
use crate::reserved::Reserved;
use crate::shared::Shared;
use crate::spec::{Filtering, FragmentSpec, Limits, PoolSpec, RuleSpec, Spec, Timers};
use crate::types::{Kind, KindRealm, TICKS_PER_SECOND};

impl Shared {
    /// Checks and compiles a specification. Ids of rules, pools and prefixes and the places of addresses stay those of
    /// `previous`, the configuration that it replaces. Generations of successive configurations differ.
    ///
    /// # Errors
    /// The first thing that is wrong with the specification.
    pub fn compile(
        &self,
        spec: &Spec,
        generation: u16,
        previous: Option<&Config>,
    ) -> Result<Config, ConfigError> {
        check_timers(&spec.timers)?;
        check_limits(&spec.limits)?;
        check_fragments(&spec.fragments)?;
        let mut ids = Ids::new(previous);
        let (pools, spans) = self.compile_pools(&spec.pools, previous, &mut ids)?;
        let mut prefix_ids = vec![None; 256];
        let mut prefixes = Vec::new();
        let mut rules: Vec<Rule> = Vec::with_capacity(spec.rules.len());
        for (position, rule) in spec.rules.iter().enumerate() {
            if usize::from(rule.pool) >= pools.len() {
                return Err(ConfigError::PoolUnknown { rule: position, pool: rule.pool });
            }
            let prefix = check_rule(position, rule)?;
            let prefix64 = match prefix {
                Some(prefix) => ids.prefix(&mut prefix_ids, previous, prefix)?,
                None => 0,
            };
            let compiled = compile_rule(position, rule, prefix64)?;
            if let Some(prefix) = prefix {
                add_prefix(&mut prefixes, prefix, &compiled);
            }
            rules.push(compiled);
        }
        add_native(&mut prefixes, &spec.native)?;
        ids.rules(&mut rules, &pools, previous)?;
        prefixes.sort_by_key(|entry| core::cmp::Reverse(entry.prefix.len()));
        let nat44 = rules.iter().flat_map(|rule| match &rule.sources {
            Sources::V4(set) => set.ranges(),
            _ => &[],
        });
        let ours: Vec<&Rule> =
            rules.iter().filter(|rule| rule.kind_realm.kind() == Some(Kind::Nat44)).collect();
        let uniform = |first: &&Rule| {
            ours.iter().all(|rule| rule.kind_realm == first.kind_realm && rule.interfaces.is_empty())
        };
        // Without rules any realm will do, for there are no sources.
        let nat44_uniform = match ours.first() {
            None => Some(KindRealm::new(Kind::Nat44, 0)),
            Some(first) => Some(first.kind_realm).filter(|_| uniform(first)),
        };
        let all = ours.iter().any(|rule| matches!(rule.sources, Sources::All));
        let nat44_sources = if all {
            RangeSet::new(vec![(0, u32::MAX)])
        } else {
            RangeSet::new(nat44.clone().copied().collect())
        };
        let by_address = [0, 1, 2]
            .map(|protocol| rules.iter().any(|rule| rule.filtering[protocol] == Filtering::AddressDependent));
        let mut config = Config {
            generation,
            by_address,
            nat44_sources,
            nat44_uniform,
            limits: spec.limits,
            timers: spec.timers,
            fragments: spec.fragments,
            log: spec.log,
            subscriber_mask: u128::MAX << (128 - spec.limits.ipv6_prefix_length),
            prefixes,
            prefix_ids,
            nat44_inside: RangeSet::new(nat44.copied().collect()),
            rules,
            pools,
            external: RangeSet::default(),
            spans,
            statics: Vec::new(),
            static_addresses: RangeSet::default(),
            next_ids: ids.next,
        };
        self.compile_statics(spec, &mut config)?;
        let own = config.spans.iter().map(|span| (span.first, span.last));
        config.external =
            RangeSet::new(own.chain(config.static_addresses.ranges().iter().copied()).collect());
        Ok(config)
    }

    //= conformance PORT-09
    fn compile_pools(
        &self,
        specs: &[PoolSpec],
        previous: Option<&Config>,
        ids: &mut Ids,
    ) -> Result<(Vec<Pool>, Vec<Span>), ConfigError> {
        let mut spans: Vec<Span> = Vec::new();
        let mut total = 0u64;
        for (position, spec) in specs.iter().enumerate() {
            for (first, last) in check_pool(position, spec)? {
                total += u64::from(last - first) + 1;
                spans.push(Span { first, last, pool: position as u16, start: 0 });
            }
        }
        if total > u64::from(self.max_addresses()) {
            return Err(ConfigError::TooManyAddresses { max: self.max_addresses() });
        }
        if specs.len() > usize::from(u16::MAX) {
            return Err(ConfigError::TooManyRules);
        }
        spans.sort_by_key(|span| span.first);
        if let Some(pair) = spans.windows(2).find(|pair| pair[0].last >= pair[1].first) {
            return Err(ConfigError::PoolOverlap { pool: pair[0].pool.into(), other: pair[1].pool.into() });
        }
        let wanted: Vec<u32> = spans.iter().flat_map(|span| span.first..=span.last).collect();
        let slots = self.assign_slots(&wanted, previous)?;
        let mut pools = specs.iter().enumerate().map(compile_pool).collect::<Result<Vec<_>, _>>()?;
        let mut slots = slots.into_iter();
        for span in &mut spans {
            let addresses = &mut pools[usize::from(span.pool)].addresses;
            span.start = addresses.len() as u32;
            addresses.extend((span.first..=span.last).zip(slots.by_ref()));
        }
        for pool in &mut pools {
            pool.beyond = pool.addresses.iter().map(|&(_, slot)| self.claimed_beyond(slot, pool)).collect();
        }
        ids.pools(&mut pools, previous)?;
        Ok((pools, spans))
    }

    fn compile_statics(&self, spec: &Spec, config: &mut Config) -> Result<(), ConfigError> {
        let (mut inside, mut external) = (HashSet::new(), HashSet::new());
        let mut statics = Vec::with_capacity(spec.statics.len());
        for (binding, wanted) in spec.statics.iter().enumerate() {
            let rule =
                config.rules.get(usize::from(wanted.rule)).ok_or(ConfigError::StaticRule { binding })?;
            let v4 = rule.kind_realm.kind() == Some(Kind::Nat44);
            let ports = wanted.inside_port != 0 && wanted.external_port != 0;
            if v4 && wanted.inside >> 32 != 0
                || !is_routable_unicast_v4(wanted.external)
                || !ports && wanted.protocol != crate::types::Protocol::Icmp
            {
                return Err(ConfigError::StaticAddress { binding });
            }
            let made = Static {
                protocol: wanted.protocol,
                external: wanted.external,
                external_port: wanted.external_port,
                kind_realm: rule.kind_realm,
                inside: wanted.inside,
                inside_port: wanted.inside_port,
                rule: rule.id,
                prefix64: rule.prefix64,
                worker: self.subscriber_worker(config, rule.kind_realm, wanted.inside).0,
            };
            if !external.insert(made.key())
                || !inside.insert((made.kind_realm, made.protocol, made.inside, made.inside_port))
            {
                return Err(ConfigError::StaticTwice { binding });
            }
            statics.push(made);
        }
        statics.sort_by_key(Static::key);
        config.static_addresses =
            RangeSet::new(statics.iter().map(|made| (made.external, made.external)).collect());
        config.statics = statics;
        Ok(())
    }
}

fn check_timers(timers: &Timers) -> Result<(), ConfigError> {
    //= conformance N64-UDP-05, N64-TCP-34, N64-ICMP-05, N44-10, N44-12
    for (timer, min, found) in [
        ("udp", 120, timers.udp),
        ("tcp-established", 7200, timers.tcp_established),
        ("tcp-opening", 1, timers.tcp_opening),
        ("tcp-transitory", 1, timers.tcp_transitory),
        ("icmp", 60, timers.icmp),
    ] {
        if !(min..=ConfigError::TIMER_MAX).contains(&found) {
            return Err(ConfigError::Timer { timer, min, found });
        }
    }
    let found = timers.udp_short;
    if !timers.udp_short_ports.is_empty() && !(1..=timers.udp).contains(&found) {
        return Err(ConfigError::Timer { timer: "udp-short", min: 1, found });
    }
    Ok(())
}

/// The most datagrams and waiting fragments of a worker that make sense: 40 MiB, and half of a large pool of buffers.
const MAX_DATAGRAMS: u32 = 1 << 16;
const MAX_WAITING: u32 = 1 << 15;

fn check_fragments(fragments: &FragmentSpec) -> Result<(), ConfigError> {
    let checks = [
        ("timeout", 2, 600, fragments.timeout),
        ("datagrams", 0, MAX_DATAGRAMS, fragments.datagrams),
        ("waiting", 0, MAX_WAITING, fragments.waiting),
        //= conformance FRAG-02
        ("lowest-ipv6-mtu", 1280, 65_535, fragments.lowest_ipv6_mtu.into()),
    ];
    for (name, least, most, found) in checks {
        if !(least..=most).contains(&found) {
            return Err(ConfigError::Fragments { name, least, most, found });
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Result<(), ConfigError> {
    if !(48..=128).contains(&limits.ipv6_prefix_length) {
        return Err(ConfigError::SubscriberPrefix { found: limits.ipv6_prefix_length });
    }
    if limits.max_sessions == 0 {
        return Err(ConfigError::Limit { limit: "max-sessions" });
    }
    if !(1..=1024).contains(&limits.max_port_blocks) {
        return Err(ConfigError::Limit { limit: "max-port-blocks" });
    }
    if limits.max_mappings.contains(&0) {
        return Err(ConfigError::Limit { limit: "max-mappings" });
    }
    if limits.max_subscribers == 0 {
        return Err(ConfigError::Limit { limit: "max-subscribers" });
    }
    Ok(())
}

/// The ranges of a pool.
fn check_pool(pool: usize, spec: &PoolSpec) -> Result<Vec<(u32, u32)>, ConfigError> {
    //= conformance ADDR-24
    if spec.prefixes.is_empty() {
        return Err(ConfigError::PoolEmpty { pool });
    }
    if spec.port_min == 0 || spec.port_min > spec.port_max {
        return Err(ConfigError::PortRange { pool });
    }
    if !spec.block_size.is_power_of_two() || !(64..=4096).contains(&spec.block_size) {
        return Err(ConfigError::BlockSize { pool });
    }
    if spec.hold_down > ConfigError::HOLD_DOWN_MAX {
        return Err(ConfigError::HoldDown { pool });
    }
    if spec.reserved.iter().any(|&(first, last)| first == 0 || first > last) {
        return Err(ConfigError::ReservedPorts { pool });
    }
    let mut ranges = Vec::with_capacity(spec.prefixes.len());
    for (prefix, &(address, length)) in spec.prefixes.iter().enumerate() {
        match address.range(length) {
            Some((first, last)) if is_routable_unicast_v4(first) && is_routable_unicast_v4(last) => {
                ranges.push((first, last));
            }
            _ => return Err(ConfigError::PoolPrefix { pool, prefix }),
        }
    }
    Ok(ranges)
}

fn compile_pool((pool, spec): (usize, &PoolSpec)) -> Result<Pool, ConfigError> {
    let wrong = |error| ConfigError::Deterministic { pool, error };
    let mut compiled = Pool {
        id: 0,
        name: spec.name.clone(),
        addresses: Vec::new(),
        beyond: Vec::new(),
        port_min: spec.port_min,
        port_max: spec.port_max,
        shift: spec.block_size.trailing_zeros() as u8,
        hold: spec.hold_down * TICKS_PER_SECOND,
        max_resting: spec.max_resting,
        parity: spec.parity,
        reserved: Reserved::new(&spec.reserved),
        blocks: 0,
        pairing: spec.pairing,
        deterministic: Deterministic::of(spec).map_err(wrong)?,
    };
    let all = 0..=u32::from(u16::MAX) >> compiled.shift;
    compiled.blocks = all.filter(|&number| compiled.has_block(number)).count() as u32;
    if compiled.blocks == 0 {
        return Err(ConfigError::NothingLeft { pool });
    }
    Ok(compiled)
}

/// The rule's translation prefix.
fn check_rule(rule: usize, spec: &RuleSpec) -> Result<Option<Prefix64>, ConfigError> {
    if spec.realm > 63 {
        return Err(ConfigError::Realm { rule });
    }
    match (spec.kind, spec.prefix64) {
        (Kind::Nat64, None) => Err(ConfigError::Prefix64Missing { rule }),
        (Kind::Nat64, Some(_)) if !spec.except.is_empty() => Err(ConfigError::ExceptionOnNat64 { rule }),
        //= conformance ADDR-07, ADDR-09, ADDR-12
        (Kind::Nat64, Some((address, length))) => match Prefix64::new(address, length) {
            Ok(prefix) => Ok(Some(prefix)),
            Err(error) => Err(ConfigError::Prefix64Invalid { rule, what: error.to_string() }),
        },
        (Kind::Nat44, Some(_)) => Err(ConfigError::Prefix64OnNat44 { rule }),
        (Kind::Nat44, None) => Ok(None),
    }
}

fn compile_rule(rule: usize, spec: &RuleSpec, prefix64: u8) -> Result<Rule, ConfigError> {
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    for (source, &(address, length)) in spec.sources.iter().enumerate() {
        let wrong = ConfigError::Source { rule, source };
        match spec.kind {
            Kind::Nat64 => v6.push(address.range(length).ok_or(wrong)?),
            Kind::Nat44 => {
                let address = u32::try_from(address).map_err(|_| wrong.clone())?;
                v4.push(address.range(length).ok_or(wrong)?);
            }
        }
    }
    let mut except = Vec::with_capacity(spec.except.len());
    for (position, &(address, length)) in spec.except.iter().enumerate() {
        except.push(address.range(length).ok_or(ConfigError::Exception { rule, except: position })?);
    }
    Ok(Rule {
        id: 0,
        kind_realm: KindRealm::new(spec.kind, spec.realm),
        prefix64,
        sources: match spec.kind {
            _ if spec.sources.is_empty() => Sources::All,
            Kind::Nat64 => Sources::V6(RangeSet::new(v6)),
            Kind::Nat44 => Sources::V4(RangeSet::new(v4)),
        },
        except: RangeSet::new(except),
        interfaces: spec.interfaces.clone(),
        pool: spec.pool,
        filtering: spec.filtering,
        any_remote: spec.wkp_allow_non_global,
    })
}

/// Rules that share prefix, realm and interfaces share an entry.
fn add_prefix(prefixes: &mut Vec<PrefixEntry>, prefix: Prefix64, rule: &Rule) {
    let realm = rule.kind_realm.realm();
    let same = prefixes
        .iter_mut()
        .find(|entry| entry.prefix == prefix && entry.realm == realm && entry.interfaces == rule.interfaces);
    match same {
        Some(entry) => entry.any_remote |= rule.any_remote,
        None => prefixes.push(PrefixEntry {
            prefix,
            id: rule.prefix64,
            realm,
            interfaces: rule.interfaces.clone(),
            any_remote: rule.any_remote,
            mask: u128::MAX << (128 - prefix.len()),
            native: RangeSet::default(),
        }),
    }
}

/// Destinations that are routed untranslated, to the prefixes that they are parts of.
fn add_native(prefixes: &mut [PrefixEntry], natives: &[(u128, u8)]) -> Result<(), ConfigError> {
    let mut ranges = Vec::with_capacity(natives.len());
    for (native, &(address, length)) in natives.iter().enumerate() {
        ranges.push((length, address.range(length).ok_or(ConfigError::Native { native })?));
    }
    for entry in prefixes {
        let parts = ranges
            .iter()
            .filter(|(length, (first, _))| *length > entry.prefix.len() && entry.prefix.contains(*first));
        entry.native = RangeSet::new(parts.map(|&(_, range)| range).collect());
    }
    Ok(())
}

/// The ids that records carry.
struct Ids {
    next: [u16; 3],
}

impl Ids {
    fn new(previous: Option<&Config>) -> Self {
        Self { next: previous.map_or([0, 0, 1], |config| config.next_ids) }
    }

    /// The next id of a kind that nobody has; ids run in turn below `end`.
    fn fresh(&mut self, kind: usize, end: u16, taken: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in 0..=end {
            let id = self.next[kind];
            self.next[kind] = if id + 1 >= end { 0 } else { id + 1 };
            if !taken(id) {
                return Some(id);
            }
        }
        None
    }

    fn prefix(
        &mut self,
        ids: &mut [Option<Prefix64>],
        previous: Option<&Config>,
        prefix: Prefix64,
    ) -> Result<u8, ConfigError> {
        let position = |ids: &[Option<Prefix64>]| ids.iter().position(|known| *known == Some(prefix));
        let before = previous.map_or(&[][..], |config| &config.prefix_ids);
        if let Some(id) = position(ids).or_else(|| position(before)) {
            ids[id] = Some(prefix);
            return Ok(id as u8);
        }
        let taken = |id: u16| {
            id == 0
                || ids[usize::from(id)].is_some()
                || before.get(usize::from(id)).is_some_and(Option::is_some)
        };
        let id = self.fresh(2, 256, taken).ok_or(ConfigError::TooManyPrefixes)?;
        ids[usize::from(id)] = Some(prefix);
        Ok(id as u8)
    }

    /// A pool keeps its id by its name, unless its ports follow other rules than before: sessions that do not follow them end,
    /// so that what is computed is true of all there are.
    fn pools(&mut self, pools: &mut [Pool], previous: Option<&Config>) -> Result<(), ConfigError> {
        let before = previous.map_or(&[][..], |config| &config.pools);
        let mut taken: HashSet<u16> = before.iter().map(|pool| pool.id).collect();
        let mut kept = HashSet::new();
        for pool in pools {
            let same = before.iter().find(|old| {
                old.name == pool.name && old.deterministic == pool.deterministic && !kept.contains(&old.id)
            });
            pool.id = match same {
                Some(old) => old.id,
                None => self.fresh(1, u16::MAX, |id| taken.contains(&id)).ok_or(ConfigError::TooManyRules)?,
            };
            kept.insert(pool.id);
            taken.insert(pool.id);
        }
        Ok(())
    }

    /// A rule keeps its id by kind, realm, prefix and pool.
    fn rules(
        &mut self,
        rules: &mut [Rule],
        pools: &[Pool],
        previous: Option<&Config>,
    ) -> Result<(), ConfigError> {
        let before = previous.map_or(&[][..], |config| &config.rules);
        let pool_before = |rule: &Rule| previous.map(|config| config.pools[usize::from(rule.pool)].id);
        let mut taken: HashSet<u16> = before.iter().map(|rule| rule.id).collect();
        let mut kept = HashSet::new();
        for rule in rules {
            let same = before.iter().find(|old| {
                old.kind_realm == rule.kind_realm
                    && old.prefix64 == rule.prefix64
                    && pool_before(old) == Some(pools[usize::from(rule.pool)].id)
                    && !kept.contains(&old.id)
            });
            rule.id = match same {
                Some(old) => old.id,
                None => self.fresh(0, u16::MAX, |id| taken.contains(&id)).ok_or(ConfigError::TooManyRules)?,
            };
            kept.insert(rule.id);
            taken.insert(rule.id);
        }
        Ok(())
    }
}
