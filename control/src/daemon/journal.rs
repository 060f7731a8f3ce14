//! What the dataplane's notices add up to.
//!
//! Events are counted here; those that collectors want go on to [`crate::logging`].

use std::collections::BTreeMap;

use sluice_nat::Event;

#[derive(Default)]
pub(crate) struct Journal {
    counts: BTreeMap<&'static str, u64>,
}

impl Journal {
    pub(crate) fn nat(&mut self, event: &Event) {
        let kind = match event {
            Event::BlockAllocated { .. } => "block_allocated",
            Event::BlockReleased { .. } => "block_released",
            Event::BindingCreated { .. } => "binding_created",
            Event::BindingDeleted { .. } => "binding_deleted",
            Event::SessionCreated(_) => "session_created",
            Event::SessionDeleted(_) => "session_deleted",
            Event::AddressesExhausted { .. } => "addresses_exhausted",
            Event::PortsExhausted { .. } => "ports_exhausted",
            Event::QuotaExceeded { .. } => "quota_exceeded",
            Event::FragmentsPending { .. } => "fragments_pending",
            Event::ChecksumMissing(_) => "checksum_missing",
            Event::Refused { .. } => "refused",
        };
        self.count(kind);
    }

    pub(crate) fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect()
    }
}
