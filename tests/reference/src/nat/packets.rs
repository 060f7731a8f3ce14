//! What becomes of a packet.

use sluice_nat::{Direction, Filtering, Kind, Protocol, RuleSpec};
use sluice_packet::DropReason;

use super::{Binding, Choice, External, Flow, Inside, Key, Nat, Owner, Remote, Session};
use crate::rules::PrefixNumber;
use crate::tcp;

impl Nat {
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
        Ok(self.bind(Binding::new(inside, external, home, prefix)))
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
        let before = self.sessions.insert(key, session);
        assert!(before.is_none(), "{key:?} twice");
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
        // Of another binding of the same inside: one of the two can answer.
        let key = (inside, prefix, remote);
        if self.sessions.contains_key(&key) {
            self.close(&key, true);
        }
        self.open(key, number, Direction::Inbound);
        Ok(flow)
    }
}
