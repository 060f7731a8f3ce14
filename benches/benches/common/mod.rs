//! Runs workloads under Criterion: an iteration is a ring, filled outside the measured time.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, Criterion, Throughput};
use sluice_benches::{Meter, RING, Workload};

/// A group whose throughput is in packets.
pub(crate) fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(RING as u64));
    group
}

/// Measures a workload.
pub(crate) fn rings<W: Workload + ?Sized>(
    bencher: &mut Bencher<'_>,
    meter: &mut Meter,
    workload: &mut W,
    state: &mut W::State,
) {
    bencher.iter_custom(|iterations| {
        let ring = |_| meter.ring(workload, state).expect("all packets are handled");
        (0..iterations).map(ring).sum::<Duration>()
    });
}
