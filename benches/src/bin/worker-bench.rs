//! Temporary.
use sluice_benches::{Population, worker::Bench};
use sluice_dpdk::{Eal, EalArgs};
use sluice_nat::{Direction, Kind};
fn main() {
    core_affinity::set_for_current(core_affinity::CoreId { id: 1 });
    let eal = Eal::init(&EalArgs { memory_mb: 512, ..EalArgs::default() }).unwrap();
    let only = std::env::args().nth(1).map(|n| n.parse::<u32>().unwrap());
    let rounds = std::env::args().nth(2).map_or(2000, |n| n.parse::<usize>().unwrap());
    let mut all = sluice_benches::worker::driver(&eal, 5000);
    all.sort_unstable();
    println!("driver {:.1}", all[all.len() / 2] as f64 / 512.0);
    for sessions in [1024u32, 65536, 1 << 20] {
        if only.is_some_and(|o| o != sessions) {
            continue;
        }
        {
            use sluice_benches::{Meter, Yardstick, yardstick::Walk};
            let mut table = Yardstick::new(sessions);
            let mut walk = Walk::new(sluice_benches::population::Arrival::Uniform);
            let mut meter = Meter::new();
            let runs: Vec<f64> =
                (0..3).map(|_| meter.run(&mut walk, &mut table).unwrap().cycles_per_packet).collect();
            println!("{sessions:8} yardstick {runs:.1?}");
        }
        for kind in [Kind::Nat64, Kind::Nat44] {
            let mut bench =
                Bench::new(&eal, Population::new(sluice_benches::flows::Flows::udp(kind, sessions)).unwrap());
            println!("empty loop {:.1} {:.1}", bench.empty(), bench.empty());
            for direction in [Direction::Outbound, Direction::Inbound] {
                bench.warm_up(direction);
                let mut all: Vec<u64> = (0..rounds).map(|_| bench.round(direction)).collect();
                all.sort_unstable();
                let per = |n: usize| all[n * (all.len() - 1) / 100] as f64 / 512.0;
                println!(
                    "{sessions:8} {kind:?} {direction:?}: p10 {:.1} median {:.1} p90 {:.1}",
                    per(10),
                    per(50),
                    per(90)
                );
            }
        }
    }
}
