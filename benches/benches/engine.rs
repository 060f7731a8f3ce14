//! Lookup and note of established sessions under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::lookup::Lookup;
use sluice_benches::suite::{DIRECTIONS, KINDS};
use sluice_benches::{Meter, Population, SIZES};

fn engine(c: &mut Criterion) {
    let mut group = common::group(c, "engine");
    let mut meter = Meter::new();
    for (kind, sessions) in KINDS.into_iter().flat_map(|kind| SIZES.map(|sessions| (kind, sessions))) {
        let mut population = Population::new(kind, sessions).expect("the engine has room");
        for direction in DIRECTIONS {
            let mut lookup = Lookup::new(direction);
            let name = population.row("established", direction);
            group.bench_function(BenchmarkId::new(name, sessions), |bencher| {
                common::rings(bencher, &mut meter, &mut lookup, &mut population);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
