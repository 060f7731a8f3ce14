//! Bindings, and whether they and their sessions stand under a configuration.

use sluice_nat::{Filtering, Kind, PoolSpec, Protocol, RuleSpec, Spec};

use super::{Binding, HORIZON, Key, Nat};
use crate::ports::{has, is_reserved, is_static};
use crate::rules::{PrefixNumber, Rules};

impl Nat {
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
            self.bind(Binding::new(inside, external, None, prefix));
        }
    }

    pub(super) fn bind(&mut self, binding: Binding) -> u64 {
        self.next += 1;
        let pool = binding.home.as_ref().map(|home| home.0.clone());
        self.by_inside.insert((binding.inside, pool), self.next);
        self.by_external.insert(binding.external, self.next);
        self.bindings.insert(self.next, binding);
        self.next
    }

    /// Takes a binding out of sight.
    pub(super) fn retire(&mut self, number: u64) -> &Binding {
        let binding = self.bindings.get_mut(&number).expect("is there");
        if !std::mem::replace(&mut binding.retired, true) {
            let pool = binding.home.as_ref().map(|home| home.0.clone());
            self.by_inside.remove(&(binding.inside, pool));
            self.by_external.remove(&binding.external);
        }
        binding
    }

    /// Whether a dynamic binding could be made today.
    pub(super) fn fits(&self, binding: &Binding) -> bool {
        let (protocol, external, port) = binding.external;
        let pool = binding
            .home
            .as_ref()
            .and_then(|home| self.rules.spec.pools.iter().find(|pool| pool.name == home.0));
        let offers =
            |pool: &PoolSpec| (pool.port_min..=pool.port_max).contains(&port) && !is_reserved(pool, port);
        pool.is_some_and(|pool| has(pool, external) && offers(pool))
            && !is_static(&self.rules, protocol, external, port)
    }

    /// The rule that serves a session of a binding, if the binding stands.
    pub(super) fn rule_of(&self, binding: &Binding, prefix: PrefixNumber, remote: u32) -> Option<&RuleSpec> {
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

    pub(super) fn static_rule(&self, binding: &Binding) -> Option<&RuleSpec> {
        let made = self.rules.spec.statics.iter();
        let mut made =
            made.filter(|made| (made.protocol, made.external, made.external_port) == binding.external);
        made.next().map(|made| self.rules.static_ends(made).1)
    }

    pub(super) fn filters_by_address(&self, protocol: Protocol) -> bool {
        let kind = |rule: &RuleSpec| rule.filtering[protocol.index()];
        self.rules.spec.rules.iter().any(|rule| kind(rule) == Filtering::AddressDependent)
    }

    /// Looks at a session made under an older configuration: whether it stands under this one.
    pub(super) fn stands(&mut self, key: &Key) -> bool {
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
}
