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
    spent: [u64; STAGES.len()],
    packets: u64,
}

/// The stages, by the counter that they are charged to.
const STAGES: [Counter; 8] = [
    Counter::CyclesReceive,
    Counter::CyclesParse,
    Counter::CyclesLookUp,
    Counter::CyclesRoute,
    Counter::CyclesTranslate,
    Counter::CyclesTransmit,
    Counter::CyclesGeneral,
    Counter::CyclesUpkeep,
];

/// Position of a stage among [`STAGES`].
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
        Self { sampling: false, since: 0, spent: [0; STAGES.len()], packets: 0 }
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

    /// Packets came in.
    #[inline(always)]
    pub(super) fn count(&mut self, packets: usize) {
        self.packets += packets as u64;
    }

    /// A loop ends. What a loop without packets cost is no packet's.
    #[inline(always)]
    pub(super) fn end(&mut self, busy: bool, counters: &WorkerCounters) {
        if self.sampling {
            self.settle(busy, counters);
        }
        self.packets = 0;
    }

    #[inline(never)]
    fn settle(&mut self, busy: bool, counters: &WorkerCounters) {
        self.charge(Stage::Upkeep);
        if busy {
            for (counter, spent) in STAGES.into_iter().zip(self.spent) {
                counters.add(counter, spent);
            }
            counters.add(Counter::SampledPackets, self.packets);
        }
        self.spent = [0; STAGES.len()];
        self.sampling = false;
    }
}
