//! Static bindings: made by the operator, owned by the worker of their subscriber, kept until the operator removes them.

use crate::binding::{Ends, ExternalKey};
use crate::config::{Config, Static};
use crate::spec::Limits;
use crate::tables::Tables;
use crate::tcp::Lifetimes;
use crate::wheel::Wheel;

impl Tables {
    /// Takes a new configuration over: static bindings at once, sessions when they are next looked at.
    //= conformance MAP-10, N64-ICMP-12, N44-29
    pub(crate) fn set_config(&mut self, before: Option<&Config>, config: &Config) {
        self.picks.forget();
        self.exhausted.forget();
        let worker = self.worker.0;
        let has = |config: &Config, made: &Static| {
            config.static_at(made.protocol, made.external, made.external_port) == Some(made)
        };
        let mine = |made: &&Static| made.worker == worker;
        for made in before.iter().flat_map(|before| &before.statics).filter(mine) {
            if !has(config, made) {
                self.remove_static(made);
            }
        }
        self.statics_failed = 0;
        for made in config.statics.iter().filter(mine) {
            // One for which there was no room before is tried again.
            if !before.is_some_and(|before| has(before, made)) || !self.has_static(made) {
                self.add_static(config, made);
            }
        }
        self.generation = config.generation;
        let lifetimes = Lifetimes::new(&config.timers);
        if lifetimes.is_shorter_than(&self.lifetimes) {
            self.patrol = Some(self.now.after(Wheel::HORIZON));
        }
        self.lifetimes = lifetimes;
        self.udp_inbound_refresh = config.timers.udp_inbound_refresh;
        self.log = config.log;
        (self.sweep, self.swept) = (0, self.now);
    }

    fn add_static(&mut self, config: &Config, made: &Static) {
        let ends = Ends {
            inside: made.inside,
            external: made.external,
            inside_port: made.inside_port,
            external_port: made.external_port,
            kind_realm: made.kind_realm,
            protocol: made.protocol,
        };
        if let Some(dynamic) = self.bindings.by_external(&ends.external_key()) {
            // The operator's wish goes first; the sessions of the dynamic one go when they are looked at.
            self.bindings.retire(dynamic);
        }
        let prefix = config.subscriber(made.kind_realm, made.inside);
        // What the operator binds is served beyond the limit of subscribers.
        let rate = config.limits.new_sessions_per_second;
        let Some(subscriber) =
            self.subscribers.find_or_add(made.kind_realm, prefix, rate, Limits::NONE, self.now)
        else {
            self.statics_failed += 1;
            return;
        };
        if !self.bindings.add_static(&ends, subscriber, made.prefix64) {
            self.statics_failed += 1;
            self.subscribers.drop_if_idle(subscriber);
            return;
        }
        self.subscribers.get_mut(subscriber).statics += 1;
        self.statics += 1;
    }

    fn has_static(&self, made: &Static) -> bool {
        let known = self.bindings.by_external(&external_key(made));
        known.is_some_and(|number| self.bindings.get(number).is_static())
    }

    fn remove_static(&mut self, made: &Static) {
        let Some(number) = self.bindings.by_external(&external_key(made)) else { return };
        let binding = self.bindings.get(number);
        if !binding.is_static() {
            return;
        }
        self.bindings.retire(number);
        if binding.sessions == 0 {
            self.bindings.remove(number);
        }
        self.statics -= 1;
        self.subscribers.get_mut(binding.home).statics -= 1;
        self.subscribers.drop_if_idle(binding.home);
    }
}

fn external_key(made: &Static) -> ExternalKey {
    ExternalKey { protocol: made.protocol, external: made.external, external_port: made.external_port }
}
