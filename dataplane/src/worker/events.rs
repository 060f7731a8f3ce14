//! What the engine reports, on its way to control.

use sluice_nat::{Event, Events, Fixed};
use sluice_shm::{Counter, Notice};

use super::Sight;

/// Puts events on the notice ring and collects the probes that the worker has to send. A full ring loses the event and
/// counts it; it never holds up a packet.
pub(super) struct Sink<'a> {
    sight: &'a mut Sight,
    probes: &'a mut Vec<Fixed>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(sight: &'a mut Sight, probes: &'a mut Vec<Fixed>) -> Self {
        Self { sight, probes }
    }
}

impl Events for Sink<'_> {
    fn event(&mut self, event: Event) {
        if !self.sight.notices.push(&Notice::Nat(event)) {
            self.sight.counters.add(Counter::EventsLost, 1);
        }
    }

    fn probe(&mut self, session: &Fixed) {
        // One loop expires no more sessions than there is room for.
        if self.probes.len() < self.probes.capacity() {
            self.probes.push(*session);
        }
    }
}
