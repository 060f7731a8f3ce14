//! Where the cycles of a worker go: how many in all, and in one loop of sixteen how many in each stage.
//!
//! A reading of the counter is about as dear as parsing a packet, and there is one between any two stages: sampled, they cost
//! a third of a cycle a packet and can stay on.

use sluice_dpdk::cycles;
use sluice_shm::{Counter, WorkerCounters};

/// One loop of so many is looked at closely.
const SAMPLE: u32 = 16;

/// A worker's stop watch.
pub(super) struct Stages {
    sampling: bool,
    /// When the stage under way began.
    since: u64,
    spent: [u64; Counter::STAGES.len()],
}

/// Position of a stage among [`Counter::STAGES`].
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Receive,
    Parse,
    LookUp,
    Route,
    Translate,
    Transmit,
    /// What packets cost that the express lane is not for, new sessions among them.
    General,
    /// Orders, clock, timers, counters, hand-off.
    Upkeep,
}

impl Stages {
    pub(super) fn new() -> Self {
        Self { sampling: false, since: 0, spent: [0; Counter::STAGES.len()] }
    }

    /// A loop begins.
    #[inline(always)]
    pub(super) fn begin(&mut self, number: u32, now: u64) {
        self.sampling = number.is_multiple_of(SAMPLE);
        self.since = now;
    }

    /// What was done since the last call is charged to a stage.
    #[inline(always)]
    pub(super) fn charge(&mut self, stage: Stage) {
        if self.sampling {
            let now = cycles();
            self.spent[stage as usize] += now.wrapping_sub(self.since);
            self.since = now;
        }
    }

    /// A loop ends that had so many packets, received or handed in. What a loop without packets cost is no packet's.
    #[inline(always)]
    pub(super) fn end(&mut self, packets: usize, counters: &WorkerCounters) {
        if self.sampling {
            self.settle(packets, counters);
        }
    }

    #[inline(never)]
    fn settle(&mut self, packets: usize, counters: &WorkerCounters) {
        self.charge(Stage::Upkeep);
        if packets > 0 {
            for (counter, spent) in Counter::STAGES.into_iter().zip(self.spent) {
                counters.add(counter, spent);
            }
            counters.add(Counter::SampledPackets, packets as u64);
        }
        self.spent = [0; Counter::STAGES.len()];
        self.sampling = false;
    }
}
