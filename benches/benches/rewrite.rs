//! Rewrite and checksums alone under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_benches::checksum::FullChecksum;
use sluice_benches::rewrite::{DeltaAlone, RewriteAlone};
use sluice_benches::suite::{DIRECTIONS, KINDS};
use sluice_benches::{Meter, Population, SIZES};

fn rewrite(c: &mut Criterion) {
    let mut group = common::group(c, "rewrite");
    let mut meter = Meter::new();
    for kind in KINDS {
        let mut population = Population::new(kind, SIZES[0]).expect("the engine has room");
        for direction in DIRECTIONS {
            let mut alone = RewriteAlone::new(direction);
            group.bench_function(population.row("rewrite", direction), |bencher| {
                common::rings(bencher, &mut meter, &mut alone, &mut population);
            });
            let mut delta = DeltaAlone::new(direction);
            group.bench_function(population.row("delta", direction), |bencher| {
                common::rings(bencher, &mut meter, &mut delta, &mut population);
            });
        }
    }
    let mut population = Population::new(KINDS[0], SIZES[0]).expect("the engine has room");
    for len in [46, 1500] {
        let mut full = FullChecksum::new(len);
        group.bench_function(format!("full checksum {len} bytes"), |bencher| {
            common::rings(bencher, &mut meter, &mut full, &mut population);
        });
    }
    group.finish();
}

criterion_group!(benches, rewrite);
criterion_main!(benches);
