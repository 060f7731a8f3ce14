//! What the engine reports, on its way to control.

use sluice_nat::{Event, Events, Fixed};
use sluice_shm::{Counter, Notice};

use super::Sight;

/// Puts events on the notice ring and collects the probes that the worker has to send. A full ring loses the event and
/// counts it; it never holds up a packet.
pub(super) struct Sink<'a> {
    sight: &'a mut Sight,
    probes: &'a mut Vec<Fixed>,
    /// When, for the log.
    time_ns: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(sight: &'a mut Sight, probes: &'a mut Vec<Fixed>, time_ns: u64) -> Self {
        Self { sight, probes, time_ns }
    }
}

impl Events for Sink<'_> {
    fn event(&mut self, event: Event) {
        if !self.sight.notices.push(&Notice::Nat { time_ns: self.time_ns, event }) {
            self.sight.counters.add(Counter::EventsLost, 1);
        }
    }

    fn suppressed(&mut self) {
        self.sight.counters.add(Counter::EventsSuppressed, 1);
    }

    fn probe(&mut self, session: &Fixed) {
        // One loop expires no more sessions than there is room for.
        if self.probes.len() < self.probes.capacity() {
            self.probes.push(*session);
        }
    }
}
