//! Time for the dataplane: `CLOCK_BOOTTIME`, and between two readings of it the time stamp counter.
//!
//! A reading goes through the vDSO, so it is no system call; below the poll loop everything gets time as an argument. Ticks
//! count from the clock base in the state region, so that they mean the same to whoever maps it.

use sluice_dpdk::cycles;
use sluice_nat::{TICKS_PER_SECOND, Tick};

/// A clock with the region's base.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ns: u64,
}

impl Clock {
    /// A clock whose tick 0 is at `base_ns` of `CLOCK_BOOTTIME`.
    pub const fn new(base_ns: u64) -> Self {
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

/// How long the time stamp counter is trusted.
const SPAN_NS: u64 = 1_000_000;

/// Cycles between readings of the two clocks, above which somebody else had the core in between: they do not belong together.
const APART: u64 = 1 << 16;

/// A thread's own clock: nanoseconds since boot for the price of the time stamp counter.
///
/// Every millisecond it looks at the real clock, takes its time, and learns how fast the counter runs. Where that is not what
/// it was (the machine slept, or was moved) it starts to learn anew, and has the time from the real clock meanwhile. It never
/// goes back.
#[derive(Clone, Copy, Debug)]
pub struct Interpolator {
    base_cycles: u64,
    base_ns: u64,
    /// Nanoseconds in 2^32 cycles; 0 while that is not known.
    rate: u64,
    /// Cycles after which to look at the clock; 0 while the rate is not known.
    span: u64,
    latest_ns: u64,
}

impl Default for Interpolator {
    fn default() -> Self {
        let read = || {
            let (base_cycles, base_ns) = (cycles(), sluice_shm::clock::now_ns());
            (base_cycles, base_ns, cycles().wrapping_sub(base_cycles))
        };
        let mut readings = (0..8).map(|_| read());
        let together = readings.find(|&(.., between)| between <= APART);
        let (base_cycles, base_ns, _) = together.unwrap_or_else(read);
        Self { base_cycles, base_ns, rate: 0, span: 0, latest_ns: base_ns }
    }
}

impl Interpolator {
    /// The time at a reading of [`cycles()`] of this moment.
    #[inline]
    pub fn at(&mut self, now_cycles: u64) -> u64 {
        let elapsed = now_cycles.wrapping_sub(self.base_cycles);
        if elapsed >= self.span {
            let now_ns = sluice_shm::clock::now_ns();
            return self.look(now_cycles, now_ns, cycles().wrapping_sub(now_cycles));
        }
        self.latest_ns = self.latest_ns.max(self.base_ns + ((elapsed * self.rate) >> 32));
        self.latest_ns
    }

    /// Cycles in a microsecond, once that is known.
    pub fn cycles_per_microsecond(&self) -> Option<u64> {
        (self.rate != 0).then(|| (1000 << 32) / self.rate)
    }

    /// Takes note of what the real clock says, read so many cycles after the counter. Readings that do not belong together say
    /// the time, and nothing about the counter.
    #[cold]
    fn look(&mut self, now_cycles: u64, now_ns: u64, between: u64) -> u64 {
        let elapsed = now_cycles.wrapping_sub(self.base_cycles);
        let passed = now_ns.saturating_sub(self.base_ns);
        self.latest_ns = self.latest_ns.max(now_ns);
        if between > APART || (passed < SPAN_NS && self.span == 0) {
            return self.latest_ns;
        }
        // Within 2^32 cycles the product above fits, at a nanosecond a cycle and far beyond.
        let rate = (u128::from(passed) << 32).checked_div(elapsed.into()).unwrap_or(0);
        let rate = u64::try_from(rate).unwrap_or(0);
        let steady = self.rate == 0 || rate.abs_diff(self.rate) <= self.rate / 8;
        let usable = steady && (1 << 26..1 << 36).contains(&rate);
        self.rate = if usable { rate } else { 0 };
        self.span = if usable { ((SPAN_NS << 32) / rate).max(1) } else { 0 };
        (self.base_cycles, self.base_ns) = (now_cycles, now_ns);
        self.latest_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpolator() -> Interpolator {
        Interpolator { base_cycles: 0, base_ns: 5_000, rate: 0, span: 0, latest_ns: 5_000 }
    }

    #[test]
    fn it_learns_the_rate_and_then_needs_no_clock() {
        let mut clock = interpolator();
        assert_eq!(clock.look(1000, 5_400, 100), 5_400);
        assert_eq!(clock.cycles_per_microsecond(), None);
        // 2.5 cycles a nanosecond.
        assert_eq!(clock.look(2_500_000, 1_005_000, 100), 1_005_000);
        assert!(clock.cycles_per_microsecond().unwrap().abs_diff(2500) <= 1);
        for cycles in [0, 10, 1000, 1_000_000, 2_400_000] {
            let expected = 1_005_000 + cycles * 2 / 5;
            assert!(clock.at(2_500_000 + cycles).abs_diff(expected) <= 1, "{cycles}");
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = interpolator();
        clock.look(2_500_000, 1_005_000, 100);
        let ahead = clock.at(4_900_000);
        // The real clock is slower than was thought.
        assert_eq!(clock.look(5_100_000, 1_960_000, 100), ahead);
        assert_eq!(clock.at(5_100_001), ahead);
    }

    /// The core was taken away between the two readings, and for a millisecond time was wrong by as much.
    #[test]
    fn readings_far_apart_do_not_spoil_the_rate() {
        let mut clock = interpolator();
        assert_eq!(clock.look(2_500_000, 1_805_000, APART + 1), 1_805_000);
        assert_eq!(clock.cycles_per_microsecond(), None);
        clock.look(5_000_000, 2_005_000, 100);
        assert!(clock.cycles_per_microsecond().unwrap().abs_diff(2500) <= 1);
    }

    #[test]
    fn after_a_leap_it_learns_anew() {
        let mut clock = interpolator();
        clock.look(2_500_000, 1_005_000, 100);
        // An hour passed, and the counter stood still.
        let later = 3_600_000_000_000;
        assert_eq!(clock.look(5_000_000, later, 100), later);
        assert_eq!(clock.cycles_per_microsecond(), None);
        assert_eq!(clock.look(5_001_000, later + 400, 100), later + 400);
        clock.look(7_500_000, later + 1_000_000, 100);
        assert!(clock.cycles_per_microsecond().unwrap().abs_diff(2500) <= 1);
    }

    #[test]
    fn it_agrees_with_the_real_clock() {
        let mut clock = Interpolator::default();
        let until = sluice_shm::clock::now_ns() + 20_000_000;
        loop {
            let before = sluice_shm::clock::now_ns();
            let now = clock.at(cycles());
            let after = sluice_shm::clock::now_ns();
            // A thread that is put aside between two readings is no error of the clock; what it says lies between them.
            assert!(now + 200_000 >= before && now <= after + 200_000, "{before} {now} {after}");
            if after > until {
                break;
            }
        }
    }
}
