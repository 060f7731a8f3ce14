//! What the dataplane's notices add up to.
//!
//! Events are counted, not kept: logging collectors are a later issue, and an unbounded list would be the first thing that a
//! scanning customer fills.

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
