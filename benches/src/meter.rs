//! What a workload is, and how one is measured.
//!
//! Packets come in rings of 1024, as from a receive queue. A ring is filled without being measured, and then handled in
//! batches of 32 while the counter runs: what stands in a packet costs nothing, that it stands in a cache line of its own
//! does. One reading of the counter per 1024 packets adds less than 0.1 cycles to each.
//!
//! **Time.** The coarse clock of the engine moves four times a second; here it moves once a run, every 2.56 million packets,
//! which is a worker at 10 million packets a second. So the share of packets that have to write last-seen is the same on
//! any machine, whatever its speed, and the same for the yardstick and for what is compared with it.
//!
//! **Interruptions.** A ring takes microseconds, a task that the kernel puts in between takes milliseconds. Rings that took
//! four times as long as the fastest tenth of their run are left out, and counted. On a machine that is busy half of the
//! rings may be such, so that their median would say nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sluice_nat::Tick;

use crate::Error;
use crate::hardware::cycles;

/// Packets handled together.
pub const BATCH: usize = 32;
/// Packets between two readings of the counter.
pub const RING: usize = 1024;
/// Rings of a run, all under one tick.
const RINGS: usize = 2500;
/// Packets of a run.
pub const PACKETS_PER_RUN: usize = RINGS * RING;
/// Rings handled before a run is measured, so that it does not pay for what ran before it.
const WARM_UP: usize = 64;
/// Rings that took this many times as long as the fastest tenth were interrupted.
const INTERRUPTED: u64 = 4;
/// The tick at which sessions are made; all runs come later.
pub const START: Tick = Tick::from_secs(1000);

/// Something that handles packets.
pub trait Workload {
    /// What it works on; several workloads take turns on one, so that a machine need not hold a million sessions for each.
    type State;

    /// Puts [`RING`] other packets into the ring. Not measured.
    fn fill(&mut self, state: &Self::State);

    /// Handles the ring in batches of [`BATCH`], once after each [`Workload::fill`]. Measured. Returns how many packets
    /// were handled well, which must be all.
    fn pass(&mut self, state: &mut Self::State, now: Tick) -> u64;
}

/// One measurement of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Mean over the rings that were not interrupted; unit: [`crate::hardware::UNIT`].
    pub cycles_per_packet: f64,
    /// Rings left out, and of how many.
    pub interrupted: usize,
    /// See [`Run::interrupted`].
    pub rings: usize,
}

/// Keeps time for all workloads of a process.
#[derive(Debug)]
pub struct Meter {
    now: Tick,
    rings: usize,
    samples: Vec<u64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// A meter. One a process, so that no session ever sees time go back.
    pub fn new() -> Self {
        Self { now: START.after(1), rings: 0, samples: Vec::with_capacity(RINGS) }
    }

    /// One run.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn run<W: Workload + ?Sized>(
        &mut self,
        workload: &mut W,
        state: &mut W::State,
    ) -> Result<Run, Error> {
        for _ in 0..WARM_UP {
            workload.fill(state);
            check(workload.pass(state, self.now))?;
        }
        self.tick();
        self.samples.clear();
        for _ in 0..RINGS {
            workload.fill(state);
            let before = cycles();
            let handled = black_box(workload.pass(state, self.now));
            self.samples.push(cycles() - before);
            check(handled)?;
        }
        Ok(summary(&mut self.samples, RING))
    }

    /// One ring, for a harness that has statistics of its own. The clock moves as in a run.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn ring<W: Workload + ?Sized>(
        &mut self,
        workload: &mut W,
        state: &mut W::State,
    ) -> Result<Duration, Error> {
        if self.rings == RINGS {
            self.tick();
        }
        self.rings += 1;
        workload.fill(state);
        let before = Instant::now();
        let handled = black_box(workload.pass(state, self.now));
        let elapsed = before.elapsed();
        check(handled)?;
        Ok(elapsed)
    }

    fn tick(&mut self) {
        self.now = self.now.after(1);
        self.rings = 0;
    }
}

fn check(handled: u64) -> Result<(), Error> {
    let expected = RING as u64;
    if handled == expected { Ok(()) } else { Err(Error::Lost { handled, expected }) }
}

/// What the times of a run say, each of which was for `packets` packets.
pub fn summary(samples: &mut [u64], packets: usize) -> Run {
    samples.sort_unstable();
    let limit = samples.get(samples.len() / 10).map_or(0, |quiet| quiet * INTERRUPTED);
    let kept = samples.partition_point(|&sample| sample <= limit);
    let sum: u64 = samples[..kept].iter().sum();
    Run {
        cycles_per_packet: sum as f64 / (kept.max(1) * packets) as f64,
        interrupted: samples.len() - kept,
        rings: samples.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was told, and how it was called.
    struct Fake {
        handled: u64,
        ticks: Vec<Tick>,
        filled: usize,
    }

    impl Workload for Fake {
        type State = ();

        fn fill(&mut self, (): &()) {
            self.filled += 1;
        }

        fn pass(&mut self, (): &mut (), now: Tick) -> u64 {
            self.ticks.push(now);
            self.handled
        }
    }

    #[test]
    fn interrupted_rings_are_left_out_and_counted() {
        let mut samples = vec![RING as u64 * 10; 99];
        samples.push(RING as u64 * 100_000);
        assert_eq!(summary(&mut samples, RING), Run { cycles_per_packet: 10.0, interrupted: 1, rings: 100 });
        // Most rings may be interrupted.
        let mut busy = vec![RING as u64 * 10; 20];
        busy.resize(100, RING as u64 * 100_000);
        assert_eq!(summary(&mut busy, RING), Run { cycles_per_packet: 10.0, interrupted: 80, rings: 100 });
        // The slower half of a run that is merely uneven stays in.
        let mut uneven: Vec<u64> = (0..100).map(|n| RING as u64 * (10 + n % 2 * 20)).collect();
        assert_eq!(summary(&mut uneven, RING), Run { cycles_per_packet: 20.0, interrupted: 0, rings: 100 });
    }

    #[test]
    fn a_run_is_one_tick_and_each_ring_is_filled_once() {
        let mut fake = Fake { handled: RING as u64, ticks: Vec::new(), filled: 0 };
        let mut meter = Meter::new();
        meter.run(&mut fake, &mut ()).unwrap();
        meter.run(&mut fake, &mut ()).unwrap();
        assert_eq!(fake.filled, 2 * (RINGS + WARM_UP));
        let measured = &fake.ticks[WARM_UP..][..RINGS];
        assert!(measured.iter().all(|&tick| tick == measured[0] && tick != fake.ticks[0]));
        assert_eq!(fake.ticks.last().unwrap().since(measured[0]), 1);
    }

    #[test]
    fn single_rings_move_the_clock_as_runs_do() {
        let mut fake = Fake { handled: RING as u64, ticks: Vec::new(), filled: 0 };
        let mut meter = Meter::new();
        for _ in 0..2 * RINGS {
            meter.ring(&mut fake, &mut ()).unwrap();
        }
        let (first, second) = fake.ticks.split_at(RINGS);
        assert!(first.iter().all(|&tick| tick == first[0]));
        assert!(second.iter().all(|&tick| tick == first[0].after(1)));
    }

    #[test]
    fn a_lost_packet_is_an_error() {
        let mut fake = Fake { handled: RING as u64 - 1, ticks: Vec::new(), filled: 0 };
        let lost = Meter::new().run(&mut fake, &mut ());
        assert!(matches!(lost, Err(Error::Lost { handled: 1023, expected: 1024 })));
    }
}
