//! The engine on packets that have to be read first, under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::flows::{DIRECTIONS, KINDS};
use sluice_benches::whole::Whole;
use sluice_benches::{Flows, Meter, Population, SIZES};

fn whole(c: &mut Criterion) {
    let mut group = common::group(c, "engine.whole");
    let mut meter = Meter::new();
    for (kind, sessions) in SIZES.into_iter().flat_map(|sessions| KINDS.map(|kind| (kind, sessions))) {
        let flows = Flows::udp(kind, sessions);
        let mut population = Population::new(flows).expect("the engine has room");
        for direction in DIRECTIONS {
            let mut whole = Whole::new(direction);
            group.bench_function(BenchmarkId::new(flows.name(direction), sessions), |bencher| {
                common::rings(bencher, &mut meter, &mut whole, &mut population);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
