//! Which refusals are reported: never each, or a flood of packets would be a flood of events (LOG-25).
//!
//! What concerns one subscriber is reported once a second for it, and no more than [`PER_USER`] times a second for all. What
//! concerns everyone is reported once a second for its kind. The rest is counted ([`Events::suppressed`]).

use sluice_packet::DropReason;

use crate::config::Config;
use crate::event::{Event, Events, Quota};
use crate::spec::Limits;
use crate::tables::Tables;
use crate::types::{KindRealm, Protocol, TICKS_PER_SECOND, Tick};

/// Reports a second about subscribers at limits of their own.
const PER_USER: u32 = 64;
/// Kinds of reports that are told apart: those of [`Reports::slot`], and pools by position.
const SLOTS: usize = 64;
const POOLS: usize = 8;

/// A refused session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) kind_realm: KindRealm,
    pub(crate) inside: u128,
    pub(crate) protocol: Protocol,
    /// Position of the pool that would have served it.
    pub(crate) pool: u16,
    /// The subscriber, if there is one.
    pub(crate) subscriber: Option<u32>,
}

/// When what was last reported.
#[derive(Debug)]
pub(crate) struct Reports {
    last: [Option<Tick>; SLOTS],
    /// Reports about subscribers in the second that began at the tick.
    users: (Tick, u32),
}

impl Default for Reports {
    fn default() -> Self {
        Self { last: [None; SLOTS], users: (Tick(0), 0) }
    }
}

impl Reports {
    /// Place of a report that concerns everyone; `None` for those that concern one subscriber.
    fn slot(event: &Event) -> Option<usize> {
        match event {
            Event::AddressesExhausted { pool } => Some(POOLS + usize::from(*pool) % (SLOTS - POOLS)),
            Event::PortsExhausted { protocol, .. } => Some(protocol.index()),
            Event::QuotaExceeded { quota: Quota::Sessions, .. } => Some(3),
            Event::QuotaExceeded { quota: Quota::Bindings, .. } => Some(4),
            Event::QuotaExceeded { quota: Quota::Subscribers, .. } => Some(5),
            _ => None,
        }
    }

    fn may_report(&mut self, slot: usize, now: Tick) -> bool {
        let may = self.last[slot].is_none_or(|last| now.since(last) >= TICKS_PER_SECOND);
        if may {
            self.last[slot] = Some(now);
        }
        may
    }

    fn may_report_user(&mut self, now: Tick) -> bool {
        if now.since(self.users.0) >= TICKS_PER_SECOND {
            self.users = (now, 0);
        }
        let may = self.users.1 < PER_USER;
        self.users.1 += u32::from(may);
        may
    }
}

impl Tables {
    /// Reports a refusal, unless its like was just reported.
    //= conformance LIM-08, LOG-25
    #[cold]
    pub(crate) fn report(&mut self, config: &Config, refusal: &Refusal, now: Tick, events: &mut impl Events) {
        let event = self.refused(config, refusal);
        let may = match (Reports::slot(&event), refusal.subscriber) {
            (Some(slot), _) => self.reports.may_report(slot, now),
            (None, Some(number)) => {
                self.subscribers.get_mut(number).may_report(now) && self.reports.may_report_user(now)
            }
            (None, None) => self.reports.may_report_user(now),
        };
        if may { events.event(event) } else { events.suppressed() }
    }

    /// What the log calls a refusal.
    fn refused(&self, config: &Config, refusal: &Refusal) -> Event {
        let Refusal { reason, kind_realm, inside, protocol, pool, subscriber } = *refusal;
        let quota = |quota, limit| Event::QuotaExceeded { quota, limit, kind_realm, inside };
        let limits = &config.limits;
        match reason {
            //= conformance LOG-13
            DropReason::SessionTableFull => quota(Quota::Sessions, self.max_sessions),
            //= conformance LOG-14
            DropReason::BindingTableFull => quota(Quota::Bindings, self.bindings.capacity()),
            //= conformance LOG-15
            DropReason::SubscriberSessions => quota(Quota::PerUser, limits.max_sessions),
            DropReason::SubscriberMappings => quota(Quota::PerUser, limits.max_mappings[protocol.index()]),
            DropReason::SubscriberPorts => {
                let block = 1 << config.pools[usize::from(pool)].shift;
                quota(Quota::PerUser, u32::from(limits.max_port_blocks) * block)
            }
            //= conformance LOG-16
            DropReason::SubscriberTableFull if limits.max_subscribers != Limits::NONE => {
                quota(Quota::Subscribers, limits.max_subscribers)
            }
            DropReason::SubscriberTableFull => quota(Quota::Subscribers, self.subscribers.capacity()),
            //= conformance PORT-22, LOG-10, LOG-11
            DropReason::PoolExhausted => {
                let first = subscriber.map(|number| self.subscribers.get(number).first_block);
                let paired =
                    first.and_then(|block| self.next_own(config, &config.pools[usize::from(pool)], block));
                match paired {
                    Some(block) => {
                        Event::PortsExhausted { protocol, external: self.blocks.get(block).address }
                    }
                    None => Event::AddressesExhausted { pool },
                }
            }
            _ => Event::Refused { reason, kind_realm, inside },
        }
    }
}
