//! The reference NAT: bindings and sessions in maps, looked through from end to end where that is the plainest.
//!
//! It decides everything but what is left to the engine: which port, which block, and when records of deleted sessions are
//! free again. There it takes over what the engine did, and asserts that it was allowed.

use sluice_nat::{Direction, Filtering, Kind, KindRealm, Protocol, RuleSpec, Spec, TcpState, Tick};
use sluice_packet::DropReason;

use crate::hash::HashMap;
use crate::ports::{Blocks, Claim, has, is_static};
use crate::rules::{PrefixNumber, Rules};
use crate::tcp;

/// An inside address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inside {
    /// Kind and realm.
    pub kind_realm: KindRealm,
    /// Transport.
    pub protocol: Protocol,
    /// Address.
    pub address: u128,
    /// Port or identifier.
    pub port: u16,
}

/// An external address and port.
pub type External = (Protocol, u32, u16);
/// A remote address and port.
pub type Remote = (u32, u16);
/// A subscriber: kind, realm, and masked address.
pub type Owner = (KindRealm, u128);
/// What a session is known by from inside.
pub type Key = (Inside, PrefixNumber, Remote);

/// An external address and port for an inside one.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Inside.
    pub inside: Inside,
    /// Outside.
    pub external: External,
    /// Its pool and block; none of a static binding.
    pub home: Option<(String, u64)>,
    /// What strangers come under.
    pub prefix: PrefixNumber,
    /// No longer found: it waits for its last session.
    pub retired: bool,
    sessions: u32,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Number of its binding.
    pub binding: u64,
    /// TCP state.
    pub state: TcpState,
    /// The last packet that counted.
    pub last: Tick,
    /// Opened from outside.
    pub from_outside: bool,
    /// Under which configuration it was last looked at.
    generation: u64,
    /// Known to the address-dependent filter.
    permits: bool,
}

#[derive(Clone, Debug)]
struct Subscriber {
    sessions: u32,
    statics: u32,
    /// Quarters of sessions that may be opened, outbound and inbound.
    tokens: [u32; 2],
    filled: Tick,
}

/// What a packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its inside.
    pub inside: Inside,
    /// Its external address and port.
    pub external: External,
    /// Its remote address and port.
    pub remote: Remote,
    /// The prefix under which the inside sees the remote.
    pub prefix: PrefixNumber,
    /// Whether there is a session; else the packet passes and leaves nothing behind.
    pub session: bool,
}

/// What the engine did where the choice was its own.
#[derive(Clone, Debug)]
pub struct Choice {
    /// External address and port, or the refusal.
    pub made: Result<(u32, u16), DropReason>,
    /// Blocks claimed meanwhile.
    pub claims: Vec<Claim>,
}

/// The NAT.
#[derive(Debug, Default)]
pub struct Nat {
    /// What it is told.
    pub rules: Rules,
    /// Bindings, by a number of their own.
    pub bindings: HashMap<u64, Binding>,
    /// Sessions.
    pub sessions: HashMap<Key, Session>,
    /// Port blocks.
    pub blocks: Blocks,
    by_inside: HashMap<(Inside, Option<String>), u64>,
    by_external: HashMap<External, u64>,
    /// Who gets what comes from outside: of sessions that differ in their prefix alone, the one opened last.
    replies: HashMap<(External, Remote), Key>,
    subscribers: HashMap<Owner, Subscriber>,
    generation: u64,
    next: u64,
    now: Tick,
    /// Sessions that there is room for.
    room: usize,
    /// Until when records of sessions that did not end by their timer may be occupied.
    ghosts: Vec<Tick>,
    haunted: Tick,
}

/// Ticks after which any record has been looked at.
const HORIZON: u32 = 4096;

impl Nat {
    /// With room for so many sessions.
    pub fn new(spec: Spec, room: usize, now: Tick) -> Self {
        // As an engine, it is made before it is told the time.
        let mut nat = Self { room, ..Self::default() };
        nat.reload(spec);
        (nat.now, nat.haunted) = (now, now.after(2 * HORIZON));
        nat
    }

    /// Subscribers that there are.
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    // Configuration.

    /// Another specification. Static bindings change at once; sessions are judged when they are next looked at.
    pub fn reload(&mut self, spec: Spec) {
        let ends = |rules: &Rules| -> Vec<_> {
            let all = rules.spec.statics.iter().map(|made| {
                let (inside, rule) = rules.static_ends(made);
                let external = (made.protocol, made.external, made.external_port);
                let pool = rules.spec.pools[usize::from(rule.pool)].name.clone();
                (inside, external, rules.number(rule), pool)
            });
            all.collect()
        };
        let before = ends(&self.rules);
        self.rules.change(spec);
        self.generation += 1;
        self.haunted = self.now.after(2 * HORIZON);
        let after = ends(&self.rules);
        for (_, external, ..) in before.iter().filter(|made| !after.contains(made)) {
            let number = self.by_external[external];
            let binding = self.retire(number);
            let (inside, sessions) = (binding.inside, binding.sessions);
            if sessions == 0 {
                self.bindings.remove(&number);
            }
            let owner = self.owner(&inside);
            self.subscribers.get_mut(&owner).expect("has a static binding").statics -= 1;
            self.drop_if_idle(owner);
        }
        for &(inside, external, prefix, _) in after.iter().filter(|made| !before.contains(made)) {
            if let Some(&dynamic) = self.by_external.get(&external) {
                self.retire(dynamic);
            }
            let owner = self.owner(&inside);
            self.subscriber(owner).statics += 1;
            self.bind(Binding { inside, external, home: None, prefix, retired: false, sessions: 0 });
        }
    }

    fn bind(&mut self, binding: Binding) -> u64 {
        self.next += 1;
        let pool = binding.home.as_ref().map(|home| home.0.clone());
        self.by_inside.insert((binding.inside, pool), self.next);
        self.by_external.insert(binding.external, self.next);
        self.bindings.insert(self.next, binding);
        self.next
    }

    /// Takes a binding out of sight.
    fn retire(&mut self, number: u64) -> &Binding {
        let binding = self.bindings.get_mut(&number).expect("is there");
        if !std::mem::replace(&mut binding.retired, true) {
            let pool = binding.home.as_ref().map(|home| home.0.clone());
            self.by_inside.remove(&(binding.inside, pool));
            self.by_external.remove(&binding.external);
        }
        binding
    }

    /// Whether a dynamic binding could be made today.
    fn fits(&self, binding: &Binding) -> bool {
        let (protocol, external, port) = binding.external;
        let pool = binding
            .home
            .as_ref()
            .and_then(|home| self.rules.spec.pools.iter().find(|pool| pool.name == home.0));
        pool.is_some_and(|pool| has(pool, external) && (pool.port_min..=pool.port_max).contains(&port))
            && !is_static(&self.rules, protocol, external, port)
    }

    /// The rule that serves a session of a binding, if the binding stands.
    fn rule_of(&self, binding: &Binding, prefix: PrefixNumber, remote: u32) -> Option<&RuleSpec> {
        let inside = &binding.inside;
        if binding.retired {
            return None;
        }
        let Some((pool, _)) = &binding.home else {
            let v4 = inside.kind_realm.kind() == Some(Kind::Nat44);
            return self.static_rule(binding).filter(|_| v4 || self.rules.prefix(prefix).is_some());
        };
        let rule = self.rules.rule(inside.kind_realm, prefix, inside.address, remote, None)?;
        (self.rules.spec.pools[usize::from(rule.pool)].name == *pool && self.fits(binding)).then_some(rule)
    }

    fn static_rule(&self, binding: &Binding) -> Option<&RuleSpec> {
        let made = self.rules.spec.statics.iter();
        let mut made =
            made.filter(|made| (made.protocol, made.external, made.external_port) == binding.external);
        made.next().map(|made| self.rules.static_ends(made).1)
    }

    fn filters_by_address(&self, protocol: Protocol) -> bool {
        let kind = |rule: &RuleSpec| rule.filtering[protocol.index()];
        self.rules.spec.rules.iter().any(|rule| kind(rule) == Filtering::AddressDependent)
    }

    /// Looks at a session made under an older configuration: whether it stands under this one.
    fn stands(&mut self, key: &Key) -> bool {
        let session = &self.sessions[key];
        if session.generation == self.generation {
            return true;
        }
        let (inside, prefix, (remote, _)) = *key;
        let rule = self.rule_of(&self.bindings[&session.binding], prefix, remote);
        let served = rule.is_some_and(|rule| self.rules.may_reach(rule, prefix, remote));
        let translated =
            session.from_outside || self.rules.still_translates(inside.kind_realm, inside.address, remote);
        if !(served && translated) {
            return false;
        }
        let permits = session.permits || self.filters_by_address(inside.protocol);
        let session = self.sessions.get_mut(key).expect("is there");
        (session.generation, session.permits) = (self.generation, permits);
        true
    }

    // Subscribers.

    fn owner(&self, inside: &Inside) -> Owner {
        let bits = u32::from(self.rules.spec.limits.ipv6_prefix_length);
        let mask =
            if inside.kind_realm.kind() == Some(Kind::Nat64) { u128::MAX << (128 - bits) } else { u128::MAX };
        (inside.kind_realm, inside.address & mask)
    }

    fn subscriber(&mut self, owner: Owner) -> &mut Subscriber {
        let burst = self.rules.spec.limits.new_sessions_per_second * 4;
        let filled = self.now;
        let new = || Subscriber { sessions: 0, statics: 0, tokens: [burst; 2], filled };
        self.subscribers.entry(owner).or_insert_with(new)
    }

    fn drop_if_idle(&mut self, owner: Owner) {
        if let Some(known) = self.subscribers.get(&owner)
            && known.sessions == 0
            && known.statics == 0
            && self.blocks.of(owner) == 0
        {
            self.subscribers.remove(&owner);
        }
    }

    /// Whether a subscriber may open a session: its number, its rate, and room for all.
    fn admit(&mut self, owner: Owner, direction: Direction, choice: &Choice) -> Result<(), DropReason> {
        let (limits, now) = (self.rules.spec.limits, self.now);
        let subscriber = self.subscriber(owner);
        if subscriber.sessions >= limits.max_sessions {
            return Err(DropReason::SubscriberSessions);
        }
        if limits.new_sessions_per_second > 0 {
            let burst = limits.new_sessions_per_second * 4;
            let gained = now.since(subscriber.filled).saturating_mul(limits.new_sessions_per_second);
            if gained > 0 {
                subscriber.tokens = subscriber.tokens.map(|tokens| tokens.saturating_add(gained).min(burst));
                subscriber.filled = now;
            }
            if subscriber.tokens[direction as usize] < 4 {
                return Err(DropReason::SubscriberRate);
            }
        }
        let full = choice.made == Err(DropReason::SessionTableFull);
        self.ghosts.retain(|until| until.since(now) > 0);
        if self.sessions.len() >= self.room || full && self.sessions.len() + self.ghosts.len() >= self.room {
            return Err(DropReason::SessionTableFull);
        }
        Ok(())
    }

    // Packets.

    /// A packet from inside that [`Rules`] would have translated.
    pub fn outbound(
        &mut self,
        key: Key,
        interface: u16,
        flags: u8,
        choice: &Choice,
    ) -> Result<Flow, DropReason> {
        let (inside, prefix, remote) = key;
        let is_tcp = inside.protocol == Protocol::Tcp;
        if let Some(known) = self.known(&key, Direction::Outbound, flags) {
            return known;
        }
        if is_tcp && tcp::is_illegal(flags) {
            return Err(DropReason::TcpFlagsIllegal);
        }
        let (rule, bound) = self.serve(&key, interface)?;
        let flow = |external| Flow { inside, external, remote, prefix, session: true };
        if is_tcp && !tcp::opens(flags) {
            let bound = bound.ok_or(DropReason::TcpNoSession)?;
            return Ok(Flow { session: false, ..flow(self.bindings[&bound].external) });
        }
        let owner = self.owner(&inside);
        self.subscriber(owner);
        let made = self.admit(owner, Direction::Outbound, choice).and_then(|()| match bound {
            Some(bound) => Ok(bound),
            None => self.allot(&rule, owner, inside, prefix, choice),
        });
        if let Ok(bound) = made {
            if self.rules.prefix(self.bindings[&bound].prefix).is_none() {
                self.bindings.get_mut(&bound).expect("is there").prefix = prefix;
            }
            self.open(key, bound, Direction::Outbound);
        }
        self.drop_if_idle(owner);
        made.map(|bound| flow(self.bindings[&bound].external))
    }

    /// A packet of a session; `None` if there is no such session, or none that still stands.
    fn known(&mut self, key: &Key, direction: Direction, flags: u8) -> Option<Result<Flow, DropReason>> {
        let (inside, prefix, remote) = *key;
        self.sessions.get(key)?;
        if !self.stands(key) {
            self.close(key, true);
            return None;
        }
        let (now, refreshes) = (self.now, self.rules.spec.timers.udp_inbound_refresh);
        let session = self.sessions.get_mut(key)?;
        if inside.protocol == Protocol::Tcp && tcp::is_illegal(flags) {
            return Some(Err(DropReason::TcpFlagsIllegal));
        }
        let (state, mut counts) = tcp::step(session.state, direction, flags);
        if inside.protocol == Protocol::Udp && direction == Direction::Inbound {
            counts = refreshes;
        }
        session.state = state;
        if counts {
            session.last = now;
        }
        let external = self.bindings[&session.binding].external;
        Some(Ok(Flow { inside, external, remote, prefix, session: true }))
    }

    /// Rule and binding for a new flow from inside.
    fn serve(&mut self, key: &Key, interface: u16) -> Result<(RuleSpec, Option<u64>), DropReason> {
        let &(inside, prefix, (remote, _)) = key;
        let fixed = self.by_inside.get(&(inside, None)).copied();
        let rule = match fixed {
            Some(number) => self.static_rule(&self.bindings[&number]),
            None => self.rules.rule(inside.kind_realm, prefix, inside.address, remote, Some(interface)),
        };
        let rule = rule.ok_or(DropReason::NoRule)?.clone();
        if !self.rules.may_reach(&rule, prefix, remote) {
            return Err(DropReason::WellKnownPrefixNonGlobal);
        }
        let pool = self.rules.spec.pools[usize::from(rule.pool)].name.clone();
        let mut bound = fixed.or_else(|| self.by_inside.get(&(inside, Some(pool))).copied());
        if fixed.is_none()
            && let Some(number) = bound
            && !self.fits(&self.bindings[&number])
        {
            self.retire(number);
            bound = None;
        }
        Ok((rule, bound))
    }

    /// A new binding, with the port that the engine chose.
    fn allot(
        &mut self,
        rule: &RuleSpec,
        owner: Owner,
        inside: Inside,
        prefix: PrefixNumber,
        choice: &Choice,
    ) -> Result<u64, DropReason> {
        let pool = &self.rules.spec.pools[usize::from(rule.pool)];
        let most = self.rules.spec.limits.max_port_blocks;
        for &claim in &choice.claims {
            self.blocks.claim(claim, owner, pool, most, self.now);
        }
        let (external, port) = match choice.made {
            Ok(chosen) => chosen,
            Err(_) => {
                let none = self.blocks.none_left(&self.rules, owner, pool, &inside, self.now);
                assert!(
                    none,
                    "{inside:?} was refused a port ({choice:?}), and there are some of {pool:?}: {:#?}",
                    self.blocks.describe(owner)
                );
                let own = self.blocks.of(owner) >= usize::from(most);
                return Err(if own { DropReason::SubscriberPorts } else { DropReason::PoolExhausted });
            }
        };
        assert!(!self.by_external.contains_key(&(inside.protocol, external, port)), "a port of two hosts");
        let block = self.blocks.take(&self.rules, owner, pool, &inside, (external, port), self.now);
        let home = Some((pool.name.clone(), block));
        let external = (inside.protocol, external, port);
        Ok(self.bind(Binding { inside, external, home, prefix, retired: false, sessions: 0 }))
    }

    fn open(&mut self, key: Key, binding: u64, direction: Direction) {
        let (inside, _, remote) = key;
        let session = Session {
            binding,
            state: tcp::initial(inside.protocol, direction),
            last: self.now,
            from_outside: direction == Direction::Inbound,
            generation: self.generation,
            permits: self.filters_by_address(inside.protocol),
        };
        self.sessions.insert(key, session);
        let bound = self.bindings.get_mut(&binding).expect("is there");
        bound.sessions += 1;
        self.replies.insert((bound.external, remote), key);
        let owner = self.owner(&inside);
        let subscriber = self.subscribers.get_mut(&owner).expect("was admitted");
        subscriber.sessions += 1;
        let tokens = &mut subscriber.tokens[direction as usize];
        *tokens = tokens.saturating_sub(4);
    }

    /// A packet to an external address.
    pub fn inbound(
        &mut self,
        external: External,
        remote: Remote,
        flags: u8,
        choice: &Choice,
    ) -> Result<Flow, DropReason> {
        let is_tcp = external.0 == Protocol::Tcp;
        if let Some(key) = self.replies.get(&(external, remote)).copied()
            && let Some(known) = self.known(&key, Direction::Inbound, flags)
        {
            return known;
        }
        if is_tcp && tcp::is_illegal(flags) {
            return Err(DropReason::TcpFlagsIllegal);
        }
        let unknown = match (is_tcp, tcp::opens(flags)) {
            (true, true) => DropReason::UnsolicitedSyn,
            (true, false) => DropReason::TcpNoSession,
            _ => DropReason::NoBinding,
        };
        let number = *self.by_external.get(&external).ok_or(unknown)?;
        let (inside, prefix) = (self.bindings[&number].inside, self.bindings[&number].prefix);
        // A session under another prefix gets what the one under the last prefix no longer does.
        let others: Vec<_> =
            self.rules.prefixes().into_iter().filter_map(|prefix| self.rules.named(prefix)).collect();
        for other in others.iter().filter(|_| inside.kind_realm.kind() == Some(Kind::Nat64)) {
            let key = (inside, *other, remote);
            if self
                .sessions
                .get(&key)
                .is_some_and(|session| self.bindings[&session.binding].external == external)
            {
                self.replies.insert((external, remote), key);
                return self.known(&key, Direction::Inbound, flags).unwrap_or(Err(DropReason::NoRule));
            }
        }
        let rule = self.rule_of(&self.bindings[&number], prefix, remote.0).ok_or(unknown)?;
        let filtering = rule.filtering[external.0.index()];
        if !self.rules.may_reach(rule, prefix, remote.0) {
            return Err(DropReason::WellKnownPrefixNonGlobal);
        }
        let mut sessions = self.sessions.iter();
        let allowed = match filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => {
                sessions.any(|(key, known)| known.binding == number && key.2.0 == remote.0 && known.permits)
            }
            Filtering::AddressAndPortDependent => false,
        };
        if !allowed {
            return Err(DropReason::Filtered);
        }
        let flow = Flow { inside, external, remote, prefix, session: true };
        if is_tcp && !tcp::opens(flags) {
            return Ok(Flow { session: false, ..flow });
        }
        self.admit(self.owner(&inside), Direction::Inbound, choice)?;
        self.open((inside, prefix, remote), number, Direction::Inbound);
        Ok(flow)
    }

    // Ends.

    /// Time has passed, and the engine had time to look at everything. Returns how many sessions are to be probed.
    pub fn pass(&mut self, now: Tick) -> usize {
        self.now = now;
        let timers = self.rules.spec.timers;
        let mut probed = 0;
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            if !self.stands(&key) {
                self.close(&key, true);
                continue;
            }
            let session = self.sessions.get_mut(&key).expect("is there");
            if now.since(session.last) < tcp::life(key.0.protocol, session.state, &timers) {
                continue;
            }
            if session.state == TcpState::Established {
                (session.state, session.last) = (TcpState::Transitory, now);
                probed += 1;
            } else {
                self.close(&key, false);
            }
        }
        probed
    }

    /// The operator deletes a session.
    pub fn delete(&mut self, key: &Key) {
        self.close(key, true);
    }

    /// The engine gave a block back.
    pub fn released(&mut self, claim: Claim) {
        let owner = self.blocks.release(claim, self.now);
        self.drop_if_idle(owner);
    }

    /// A session ends, and with the last one its binding. `early`: its record may be occupied until its timer has run.
    fn close(&mut self, key: &Key, early: bool) {
        let session = self.sessions.remove(key).expect("is there");
        let number = session.binding;
        let binding = self.bindings.get_mut(&number).expect("outlives its sessions");
        let reply = (binding.external, key.2);
        if self.replies.get(&reply) == Some(key) {
            self.replies.remove(&reply);
        }
        binding.sessions -= 1;
        let owner = self.owner(&key.0);
        self.subscribers.get_mut(&owner).expect("has a session").sessions -= 1;
        let binding = &self.bindings[&number];
        if binding.sessions == 0 && (binding.home.is_some() || binding.retired) {
            self.retire(number);
            let over = self.bindings.remove(&number).expect("is there");
            if let Some((_, block)) = over.home {
                self.blocks.give_back(block, over.external.0, over.external.2, self.now);
            }
        }
        if early || self.haunted.since(self.now) > 0 {
            self.ghosts.push(self.now.after(HORIZON));
        }
        self.drop_if_idle(owner);
    }
}
