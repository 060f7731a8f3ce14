//! The engine on packets of established sessions under Criterion.
#![allow(missing_docs, reason = "Criterion's macros make undocumented functions")]

mod common;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_benches::established::Established;
use sluice_benches::flows::{DIRECTIONS, KINDS};
use sluice_benches::lookup::Lookup;
use sluice_benches::{Arrival, Flows, Meter, Population, SIZES};

fn engine(c: &mut Criterion) {
    let mut group = common::group(c, "engine");
    let mut meter = Meter::new();
    let kinds = SIZES.into_iter().flat_map(|sessions| KINDS.map(|kind| (kind, sessions)));
    let flows = kinds.flat_map(|(kind, sessions)| [Flows::udp(kind, sessions), Flows::tcp(kind, sessions)]);
    for flows in flows {
        let mut population = Population::new(flows).expect("the engine has room");
        for direction in DIRECTIONS {
            let name = flows.name(direction);
            for (name, arrival) in [(name.clone(), Arrival::Uniform), (format!("{name}.zipf"), Arrival::Zipf)]
            {
                let mut engine = Established::new(direction, arrival);
                group.bench_function(BenchmarkId::new(name, flows.count), |bencher| {
                    common::rings(bencher, &mut meter, &mut engine, &mut population);
                });
            }
            let mut lookup = Lookup::new(direction);
            group.bench_function(BenchmarkId::new(format!("lookup.{name}"), flows.count), |bencher| {
                common::rings(bencher, &mut meter, &mut lookup, &mut population);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
