//! The memory limit under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::yardstick::{Walk, Yardstick};
use sluice_benches::{Arrival, Meter, SIZES};

fn yardstick(c: &mut Criterion) {
    let mut group = common::group(c, "engine.yardstick");
    let mut meter = Meter::new();
    for sessions in SIZES {
        let mut table = Yardstick::new(sessions);
        let mut walk = Walk::new(Arrival::Uniform);
        group.bench_function(BenchmarkId::from_parameter(sessions), |bencher| {
            common::rings(bencher, &mut meter, &mut walk, &mut table);
        });
    }
    group.finish();
}

criterion_group!(benches, yardstick);
criterion_main!(benches);
