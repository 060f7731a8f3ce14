//! Mappings that the operator takes away (MAP-15).
//!
//! No list leads from an inside address to its sessions, and for so rare a wish none is kept: the records of the worker are
//! looked through, some at a time. A mapping is out of the indexes as soon as the first of its sessions is met, and none is added to
//! it any more. One that was added before, to a record that has been passed, is met by whoever looks through them once more.

use crate::event::Events;
use crate::record::Fixed;
use crate::shared::EXTENT;
use crate::tables::Tables;
use crate::types::{Kind, Protocol, Tick};

/// Looks at records that cost as much as the deletion of one session.
const DELETION: usize = 8;

/// Which mappings are to go: those of an inside address, or of these only that have the port and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Kind of the mapping, and with it the family of the inside address.
    pub kind: Kind,
    /// Inside address; IPv4 in the low 32 bits.
    pub inside: u128,
    /// Inside port or identifier.
    pub port: Option<u16>,
    /// Transport.
    pub protocol: Option<Protocol>,
}

impl Removal {
    /// Whether a session is of such a mapping.
    fn takes(&self, fixed: &Fixed) -> bool {
        fixed.inside == self.inside
            && fixed.kind_realm.kind() == Some(self.kind)
            && self.port.is_none_or(|port| port == fixed.inside_port)
            && self.protocol.is_none_or(|protocol| protocol as u8 == fixed.protocol)
    }
}

/// What a part of a removal has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Sessions that were deleted.
    pub sessions: u32,
    /// The record to go on with; none if all have been looked at.
    pub next: Option<u32>,
}

impl Tables {
    /// Deletes sessions, looking at records from `from` on, as many as the budget lets. Static mappings stay.
    //= conformance MAP-15
    pub(crate) fn remove_some(
        &mut self,
        removal: &Removal,
        from: u32,
        mut budget: usize,
        now: Tick,
        events: &mut impl Events,
    ) -> Removed {
        self.now = now;
        self.flush(events);
        let end = self.sessions.len() as u32;
        let (mut number, mut sessions) = (from, 0);
        while budget > 0 && number < end {
            budget -= 1;
            if !self.records.owns(number) {
                number = (number / EXTENT + 1).saturating_mul(EXTENT);
                continue;
            }
            let record = self.record(number);
            if record.is_live() && removal.takes(&record.fixed()) {
                let binding = self.bindings.of_session(number);
                if !binding.is_static() {
                    self.bindings.revoke(binding.number);
                }
                self.close(number, now, events);
                sessions += 1;
                budget = budget.saturating_sub(DELETION);
            }
            number += 1;
        }
        Removed { sessions, next: (number < end).then_some(number) }
    }
}
