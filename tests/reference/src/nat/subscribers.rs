//! Subscribers: how many sessions they may have, and how fast they may open them.

use sluice_nat::{Direction, Kind};
use sluice_packet::DropReason;

use super::{Choice, Inside, Nat, Owner, Subscriber};

impl Nat {
    pub(super) fn owner(&self, inside: &Inside) -> Owner {
        let bits = u32::from(self.rules.spec.limits.ipv6_prefix_length);
        let mask =
            if inside.kind_realm.kind() == Some(Kind::Nat64) { u128::MAX << (128 - bits) } else { u128::MAX };
        (inside.kind_realm, inside.address & mask)
    }

    pub(super) fn subscriber(&mut self, owner: Owner) -> &mut Subscriber {
        let burst = self.rules.spec.limits.new_sessions_per_second * 4;
        let filled = self.now;
        let new = || Subscriber { sessions: 0, statics: 0, tokens: [burst; 2], filled };
        self.subscribers.entry(owner).or_insert_with(new)
    }

    pub(super) fn drop_if_idle(&mut self, owner: Owner) {
        if let Some(known) = self.subscribers.get(&owner)
            && known.sessions == 0
            && known.statics == 0
            && self.blocks.of(owner) == 0
        {
            self.subscribers.remove(&owner);
        }
    }

    /// Whether a subscriber may open a session: its number, its rate, and room for all.
    pub(super) fn admit(
        &mut self,
        owner: Owner,
        direction: Direction,
        choice: &Choice,
    ) -> Result<(), DropReason> {
        let (limits, now) = (self.rules.spec.limits, self.now);
        let subscriber = self.subscriber(owner);
        // Strangers leave a quarter to the subscriber.
        let most = match direction {
            Direction::Outbound => limits.max_sessions,
            Direction::Inbound => limits.max_sessions - limits.max_sessions / 4,
        };
        if subscriber.sessions >= most {
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
}
