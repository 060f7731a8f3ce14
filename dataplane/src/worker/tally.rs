//! What a loop counts.

use sluice_shm::{Counter, WorkerCounters};

/// Counts of a loop, written to the counters once at its end.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) established: u64,
    /// Packets and bytes that came in on an interface, as long as it is the same one.
    interface: u16,
    packets: u64,
    bytes: u64,
}

impl Tally {
    /// A packet came in on an interface.
    #[inline(always)]
    pub(super) fn receive(&mut self, counters: &WorkerCounters, interface: u16, bytes: usize) {
        if interface != self.interface {
            self.settle(counters);
            self.interface = interface;
        }
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Writes what was counted.
    #[inline]
    pub(super) fn settle(&mut self, counters: &WorkerCounters) {
        if self.packets > 0 {
            counters.interface(usize::from(self.interface)).add_rx(self.packets, self.bytes);
        }
        if self.established > 0 {
            counters.add(Counter::Established, self.established);
        }
        *self = Self { interface: self.interface, ..Self::default() };
    }
}
