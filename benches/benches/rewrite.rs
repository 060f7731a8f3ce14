//! Rewrite and checksums alone under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_benches::checksum::FullChecksum;
use sluice_benches::flows::{DIRECTIONS, KINDS, direction_name};
use sluice_benches::rewrite::{DeltaAlone, RewriteAlone};
use sluice_benches::{Flows, Meter, Population, SIZES};

fn rewrite(c: &mut Criterion) {
    let mut group = common::group(c, "engine");
    let mut meter = Meter::new();
    for kind in KINDS {
        let mut population = Population::new(Flows::udp(kind, SIZES[0])).expect("the engine has room");
        for direction in DIRECTIONS {
            let name = format!("{kind}.{}", direction_name(direction));
            let mut alone = RewriteAlone::new(direction);
            group.bench_function(format!("rewrite.{name}"), |bencher| {
                common::rings(bencher, &mut meter, &mut alone, &mut population);
            });
            let mut delta = DeltaAlone::new(direction);
            group.bench_function(format!("checksum.delta.{name}"), |bencher| {
                common::rings(bencher, &mut meter, &mut delta, &mut population);
            });
        }
    }
    let mut population = Population::new(Flows::udp(KINDS[0], SIZES[0])).expect("the engine has room");
    for len in [46, 1500] {
        let mut full = FullChecksum::new(len);
        group.bench_function(format!("checksum.full.{len}"), |bencher| {
            common::rings(bencher, &mut meter, &mut full, &mut population);
        });
    }
    group.finish();
}

criterion_group!(benches, rewrite);
criterion_main!(benches);
