//! How often limits that are reached, and datagrams that are refused, are logged: each once in a while, and all together a few a second (LOG-25).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sluice_nat::{Event, Kind, KindRealm, Protocol, Quota};
use sluice_packet::DropReason;

use crate::config::logging::LimitEvents;

/// Limits that are remembered. A subscriber's is one, so there could be millions; with more at once the per-second limit has
/// long been the narrower one.
const MAX_KNOWN: usize = 4096;

/// What makes two events the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Same {
    Addresses(u16),
    Ports(Protocol, u32),
    Quota(Quota),
    User((u8, u128)),
    Fragments,
    /// External and remote endpoint of a flow.
    Checksum((u32, u16), (u32, u16)),
    Refused(DropReason, (u8, u128)),
}

#[derive(Debug)]
pub(crate) struct Gate {
    limits: LimitEvents,
    /// Bits of an IPv6 address that make a subscriber.
    subscriber_mask: u128,
    known: HashMap<Same, Instant>,
    /// Records of the second that began then.
    second: (Instant, u32),
    suppressed: u64,
}

impl Gate {
    pub(crate) fn new(limits: LimitEvents, now: Instant) -> Self {
        Self { limits, subscriber_mask: u128::MAX, known: HashMap::new(), second: (now, 0), suppressed: 0 }
    }

    /// Other limits, and another length of the prefixes that are subscribers, from now on.
    pub(crate) fn set(&mut self, limits: LimitEvents, subscriber_length: u8) {
        self.limits = limits;
        let host_bits = 128 - u32::from(subscriber_length.min(128));
        self.subscriber_mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    }

    /// Events that were kept back.
    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Whether an event may be logged. Those of which there is one for each thing that happened may.
    //= conformance LOG-25
    pub(crate) fn admits(&mut self, event: &Event, now: Instant) -> bool {
        let Some(same) = self.same(event) else { return true };
        let admitted = self.decide(same, now);
        self.suppressed += u64::from(!admitted);
        admitted
    }

    fn decide(&mut self, same: Same, now: Instant) -> bool {
        let interval = Duration::from_secs(self.limits.interval.into());
        let recent = |at: &Instant| now.duration_since(*at) < interval;
        if self.known.get(&same).is_some_and(recent) {
            return false;
        }
        if now.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        if self.second.1 >= self.limits.per_second {
            return false;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, at| recent(at));
            if self.known.len() >= MAX_KNOWN {
                return false;
            }
        }
        self.known.insert(same, now);
        self.second.1 += 1;
        true
    }

    /// `None` for what is never kept back.
    fn same(&self, event: &Event) -> Option<Same> {
        let user = |kind_realm: KindRealm, inside: u128| match kind_realm.kind() {
            Some(Kind::Nat64) => (kind_realm.0, inside & self.subscriber_mask),
            _ => (kind_realm.0, inside),
        };
        match *event {
            Event::AddressesExhausted { pool } => Some(Same::Addresses(pool)),
            Event::PortsExhausted { protocol, external } => Some(Same::Ports(protocol, external)),
            Event::QuotaExceeded { quota: Quota::PerUser, kind_realm, inside, .. } => {
                Some(Same::User(user(kind_realm, inside)))
            }
            Event::QuotaExceeded { quota, .. } => Some(Same::Quota(quota)),
            Event::FragmentsPending { .. } => Some(Same::Fragments),
            Event::ChecksumMissing(session) => Some(Same::Checksum(
                (session.external, session.external_port),
                (session.remote, session.remote_port),
            )),
            Event::Refused { reason, kind_realm, inside } => {
                Some(Same::Refused(reason, user(kind_realm, inside)))
            }
            _ => None,
        }
    }
}
