//! Time for the dataplane: `CLOCK_BOOTTIME`, read once per loop.
//!
//! The read goes through the vDSO, so it is no system call; below it everything gets time as an argument. Ticks
//! count from the clock base in the state region, so that they mean the same to whoever maps it.

use sluice_nat::{TICKS_PER_SECOND, Tick};

/// A clock with the region's base.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ns: u64,
}

impl Clock {
    /// A clock whose tick 0 is at `base_ns` of `CLOCK_BOOTTIME`.
    pub fn new(base_ns: u64) -> Self {
        Self { base_ns }
    }

    /// Nanoseconds since boot.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        sluice_shm::clock::now_ns()
    }

    /// The coarse tick of this moment.
    #[inline]
    pub fn tick(&self) -> Tick {
        self.tick_at(self.now_ns())
    }

    /// The coarse tick of a moment.
    #[inline]
    pub fn tick_at(&self, now_ns: u64) -> Tick {
        const NS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND as u64;
        Tick((now_ns.saturating_sub(self.base_ns) / NS_PER_TICK) as u32)
    }
}
