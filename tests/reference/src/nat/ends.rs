//! The end of sessions: by time, by a configuration, by the operator.

use sluice_nat::{Removal, TcpState, Tick};

use super::{HORIZON, Inside, Key, Nat};
use crate::ports::Claim;
use crate::tcp;

impl Nat {
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

    /// The operator takes mappings away. Returns how many sessions they had.
    pub fn remove(&mut self, removal: &Removal) -> u64 {
        let taken = |inside: &Inside| {
            inside.kind_realm.kind() == Some(removal.kind)
                && inside.address == removal.inside
                && removal.port.is_none_or(|port| port == inside.port)
                && removal.protocol.is_none_or(|protocol| protocol == inside.protocol)
        };
        let keys: Vec<Key> = self.sessions.keys().filter(|key| taken(&key.0)).copied().collect();
        for key in &keys {
            let number = self.sessions[key].binding;
            if self.bindings[&number].home.is_some() {
                self.retire(number);
                self.bindings.get_mut(&number).expect("is there").revoked = true;
            }
            self.close(key, true);
        }
        keys.len() as u64
    }

    /// The engine gave a block back.
    pub fn released(&mut self, claim: Claim) {
        let owner = self.blocks.release(claim, self.now);
        self.drop_if_idle(owner);
    }

    /// A session ends, and with the last one its binding. `early`: its record may be occupied until its timer has run.
    pub(super) fn close(&mut self, key: &Key, early: bool) {
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
                self.blocks.give_back(block, over.external.0, over.external.2, over.revoked, self.now);
            }
        }
        if early || self.haunted.since(self.now) > 0 {
            self.ghosts.push(self.now.after(HORIZON));
        }
        self.drop_if_idle(owner);
    }
}
