//! Engine and rewrite on whole packets under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::suite::{DIRECTIONS, KINDS};
use sluice_benches::whole::Whole;
use sluice_benches::{Meter, Population, SIZES};

fn whole(c: &mut Criterion) {
    let mut group = common::group(c, "whole");
    let mut meter = Meter::new();
    for (kind, sessions) in KINDS.into_iter().flat_map(|kind| SIZES.map(|sessions| (kind, sessions))) {
        let mut population = Population::new(kind, sessions).expect("the engine has room");
        for direction in DIRECTIONS {
            let mut whole = Whole::new(direction);
            let name = population.row("translated", direction);
            group.bench_function(BenchmarkId::new(name, sessions), |bencher| {
                common::rings(bencher, &mut meter, &mut whole, &mut population);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
