//! Loads two tables the size of the Internet's and measures: time to load, memory, and time per lookup.
//!
//! `cargo run --release -p sluice-fib --example load [IPv4 routes] [IPv6 routes]`, 1,000,000 and 200,000 if not given,
//! each once with small and once with huge pages.
//!
//! The prefixes are synthetic: lengths in the proportions of the public tables, addresses drawn from a fixed seed, IPv6
//! ones clustered below allocations as they are in reality. Lookups go to random addresses inside random routes, which is
//! harsher than traffic: it has favourites, this has none. Each figure is given for the fastest tenth of the measured slices, and for the median.

use std::collections::HashSet;
use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use sluice_fib::{Address, Config, Fib, Prefix, Target, Writer};

/// Addresses asked in a round; with their answers they outgrow the second-level cache, as a packet buffer does.
const ASKED: usize = 1 << 20;
const ROUNDS: usize = 9;
/// Addresses between two looks at the clock.
const SLICE: usize = 1 << 13;

/// Routes per thousand by length, IPv4: six in ten are /24.
const LENGTHS_4: &[(u8, u32)] = &[
    (8, 1),
    (10, 1),
    (11, 1),
    (12, 1),
    (13, 1),
    (14, 2),
    (15, 2),
    (16, 14),
    (17, 9),
    (18, 15),
    (19, 26),
    (20, 45),
    (21, 53),
    (22, 117),
    (23, 102),
    (24, 600),
    (28, 3),
    (30, 2),
    (32, 5),
];
/// Routes per thousand by length, IPv6: nearly half are /48.
const LENGTHS_6: &[(u8, u32)] = &[
    (20, 1),
    (24, 1),
    (28, 3),
    (29, 25),
    (32, 120),
    (33, 25),
    (34, 20),
    (35, 15),
    (36, 45),
    (37, 5),
    (38, 10),
    (39, 5),
    (40, 100),
    (41, 5),
    (42, 20),
    (43, 5),
    (44, 95),
    (45, 10),
    (46, 25),
    (47, 15),
    (48, 440),
    (56, 2),
    (64, 5),
    (128, 3),
];

/// SplitMix64: the same routes on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn length(&mut self, lengths: &[(u8, u32)]) -> u8 {
        let mut at = self.below(lengths.iter().map(|(_, weight)| *weight as usize).sum());
        for &(len, weight) in lengths {
            match at.checked_sub(weight as usize) {
                Some(rest) => at = rest,
                None => return len,
            }
        }
        24
    }
}

/// Unicast IPv4 space, 1.0.0.0 to 223.255.255.255.
fn address4(random: &mut Random) -> u32 {
    (1 << 24) + random.below(223 << 24) as u32
}

/// Global unicast IPv6 space below one of 40,000 allocations of /32, themselves in some three hundred /20.
fn address6(random: &mut Random) -> u128 {
    let allocation = random.below(40_000) as u64;
    let mut place = Random(allocation);
    let block = Random(place.next() % 300).next() >> 44;
    let bits = u128::from((block & 0x1_ffff) << 12 | place.next() & 0xfff);
    (1 << 125) | bits << 96 | random.wide() >> 32
}

/// `count` different routes in the order in which a peer might send them.
fn routes<A: Address>(
    count: usize,
    random: &mut Random,
    lengths: &[(u8, u32)],
    address: fn(&mut Random) -> A,
) -> Result<Vec<Prefix<A>>, Box<dyn Error>> {
    let mut seen = HashSet::with_capacity(count);
    let mut routes = Vec::with_capacity(count);
    while routes.len() < count {
        let prefix = Prefix::truncated(address(random), random.length(lengths))?;
        if seen.insert(prefix) {
            routes.push(prefix);
        }
    }
    Ok(routes)
}

/// Resident memory of this process in MiB; zero where there is no procfs.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Runs `lookup` over all addresses, slice by slice, [`ROUNDS`] times; nanoseconds each, the fastest tenth of slices and
/// the median. Slices are shorter than a scheduler's turn, so other work on the machine spoils some, not all.
fn measure(mut lookup: impl FnMut(Range<usize>)) -> (f64, f64) {
    let mut times: Vec<f64> = (0..ASKED * ROUNDS)
        .step_by(SLICE)
        .map(|at| {
            let start = Instant::now();
            lookup(at % ASKED..at % ASKED + SLICE);
            start.elapsed().as_secs_f64() * 1e9 / SLICE as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 10], times[times.len() / 2])
}

fn table<A: Address>(
    name: &str,
    huge_pages: bool,
    count: usize,
    lengths: &[(u8, u32)],
    address: fn(&mut Random) -> A,
    inside: fn(Prefix<A>, &mut Random) -> A,
) -> Result<(), Box<dyn Error>> {
    let mut random = Random(0x51ce);
    let routes = routes(count, &mut random, lengths, address)?;
    let target = |number: usize| Target::new(number as u32 % 1024).ok_or("more than 30 bits");

    let before = resident();
    let start = Instant::now();
    let mut writer = Writer::new(Fib::<A>::new(Config { huge_pages, ..Config::default() }));
    for (number, prefix) in routes.iter().enumerate() {
        writer.insert(*prefix, target(number)?)?;
    }
    let loaded = start.elapsed();
    let memory = resident() - before;
    let fib = writer.fib();
    let (pages, used) = (if huge_pages { "huge" } else { "small" }, writer.stats().chunks_used);
    println!("{name}: {count} routes, {used} chunks used of {}, {pages} pages", fib.config().chunks);
    println!(
        "  load         {:8.2} s, {:.0} routes/s",
        loaded.as_secs_f64(),
        count as f64 / loaded.as_secs_f64()
    );
    println!("  memory       {memory:8.1} MiB resident, writer and table");

    let asked: Vec<A> = (0..ASKED).map(|_| inside(routes[random.below(count)], &mut random)).collect();
    let mut answers = vec![None; ASKED];
    let nothing = black_box(0_usize);
    let (best, median) = measure(|slice| {
        for (address, answer) in asked[slice.clone()].iter().zip(&mut answers[slice]) {
            *answer = fib.lookup(*address);
        }
        black_box(&mut answers);
    });
    println!("  single       {best:8.1} ns fastest tenth, {median:.1} median");
    let (best, median) = measure(|slice| {
        // Each address waits for the answer before it: what one packet alone costs.
        let mut wait = 0;
        for number in slice {
            wait = fib.lookup(asked[number ^ wait]).map_or(0, Target::get) as usize & nothing;
        }
        black_box(wait);
    });
    println!("  one by one   {best:8.1} ns fastest tenth, {median:.1} median");
    for burst in [8, 32, 256] {
        let (best, median) = measure(|slice| {
            for (addresses, answers) in
                asked[slice.clone()].chunks(burst).zip(answers[slice].chunks_mut(burst))
            {
                fib.lookup_batch(addresses, answers);
            }
            black_box(&mut answers);
        });
        println!("  burst {burst:3}    {best:8.1} ns fastest tenth, {median:.1} median");
    }
    assert!(answers.iter().all(Option::is_some), "every address asked is inside of a route");

    let start = Instant::now();
    for prefix in &routes[..count / 10] {
        writer.remove(*prefix);
    }
    writer.reclaim();
    for (number, prefix) in routes[..count / 10].iter().enumerate() {
        writer.insert(*prefix, target(number)?)?;
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / (count / 10 * 2) as f64;
    println!("  change       {each:8.0} ns, a tenth of the routes withdrawn and announced again");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut counts = std::env::args().skip(1).map(|count| count.replace('_', "").parse::<usize>());
    let v4 = counts.next().transpose()?.unwrap_or(1_000_000);
    let v6 = counts.next().transpose()?.unwrap_or(200_000);
    for huge_pages in [false, true] {
        table::<u32>("IPv4", huge_pages, v4, LENGTHS_4, address4, |prefix, random| {
            prefix.address() | (random.next() as u32).checked_shr(prefix.len().into()).unwrap_or(0)
        })?;
        table::<u128>("IPv6", huge_pages, v6, LENGTHS_6, address6, |prefix, random| {
            prefix.address() | random.wide().checked_shr(prefix.len().into()).unwrap_or(0)
        })?;
    }
    Ok(())
}
