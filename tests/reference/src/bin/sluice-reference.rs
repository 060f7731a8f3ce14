//! Plays games between the engine and the reference NAT until so many packets have passed. `scripts/reference` starts it.

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use sluice_reference::play::Tally;
use sluice_reference::run;

/// Compares the engine with the reference NAT on random traffic.
#[derive(Parser)]
struct Options {
    /// Packets in all.
    #[arg(long, default_value_t = 10_000_000, env = "SLUICE_REFERENCE_PACKETS")]
    packets: u64,
    /// Seed of the first game; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Packets of a game.
    #[arg(long, default_value_t = run::PACKETS, value_parser = clap::value_parser!(u64).range(1..))]
    game: u64,
    /// Threads; one a core if not given.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Seconds between two lines of progress.
    #[arg(long, default_value_t = 10)]
    every: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZero::<usize>::MIN);
    println!(
        "seed {}, {} packets in games of {}, {threads} threads",
        options.seed, options.packets, options.game
    );
    let start = Instant::now();
    let said = Mutex::new(Instant::now());
    let progress = |tally: &Tally| {
        let Ok(mut said) = said.lock() else { return };
        if said.elapsed() < Duration::from_secs(options.every) {
            return;
        }
        *said = Instant::now();
        let rate = tally.packets as f64 / start.elapsed().as_secs_f64();
        let left = options.packets.saturating_sub(tally.packets) as f64 / rate;
        println!(
            "{:>5.1} % {} packets, {rate:.0} a second, {left:.0} s left",
            100.0 * tally.packets as f64 / options.packets as f64,
            tally.packets
        );
    };
    match run::games(options.seed, options.packets, options.game, threads, progress) {
        Ok(tally) => {
            let seconds = start.elapsed().as_secs_f64();
            println!("{tally:#?}");
            let weeks = tally.seconds as f64 / 604_800.0;
            println!(
                "the engine and the reference agree: {} packets, {weeks:.0} simulated weeks, in {seconds:.0} s",
                tally.packets
            );
            ExitCode::SUCCESS
        }
        Err(seed) => {
            eprintln!("error: they disagree in the game with seed {seed}");
            ExitCode::FAILURE
        }
    }
}
