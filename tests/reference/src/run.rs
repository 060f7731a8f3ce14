//! Many games, each known by its seed.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_nat::{Session, Tick};

use crate::dice::{Dice, Seeded};
use crate::play::{Game, Stakes, Tally, region};

/// Records that any game needs: ten extents, so that no worker of a farm is ever without.
pub const RECORDS: usize = 40_960;
/// Packets of a game, unless somebody says otherwise.
pub const PACKETS: u64 = 250_000;

/// The stakes of a seed: a table that is often full, one worker, or several; a clock that is about to wrap, or not.
pub fn stakes(seed: u64) -> Stakes {
    let mut dice = Seeded::new(!seed);
    let (workers, records) = match seed % 4 {
        0 => (1, 60 + dice.roll(300) as usize),
        1 => (1, 20_000),
        _ => (2 + dice.roll(6) as u8, RECORDS),
    };
    let begin =
        if dice.one_in(4) { Tick(u32::MAX - dice.roll(1_000_000)) } else { Tick(dice.roll(1_000_000)) };
    Stakes { workers, records, bytes_every: 8, compare_every: 4096, begin }
}

/// Plays the game of a seed. Says which it was if it panics.
pub fn game(seed: u64, packets: u64, records: &'static [Session]) -> Tally {
    struct Named(u64, u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Self(seed, packets) = *self;
                eprintln!("The game with seed {seed} was lost. To play it again:");
                eprintln!("    scripts/reference --seed {seed} --packets {packets} --game {packets}");
            }
        }
    }
    let _named = Named(seed, packets);
    let stakes = stakes(seed);
    let mut dice = Seeded::new(seed);
    let mut game = Game::new(&mut dice, stakes, &records[..stakes.records]);
    game.play(packets);
    game.tally
}

/// Games of successive seeds on all threads, until so many packets were played or one is lost. `progress` hears of each.
///
/// # Errors
/// The seed of a game that was lost.
pub fn games(
    first: u64,
    packets: u64,
    each: u64,
    threads: NonZero<usize>,
    progress: impl Fn(&Tally) + Sync,
) -> Result<Tally, u64> {
    let (next, lost) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcome: Mutex<(Tally, Option<u64>)> = Mutex::default();
    let count = packets.div_ceil(each.max(1));
    let work = || {
        let records = region(RECORDS);
        while !lost.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let (seed, share) = (first.wrapping_add(number), each.min(packets - number * each));
            let played = catch_unwind(AssertUnwindSafe(|| game(seed, share, records)));
            let mut outcome = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match played {
                Ok(tally) => {
                    outcome.0.add(&tally);
                    progress(&outcome.0);
                }
                Err(_) => {
                    outcome.1 = Some(seed);
                    lost.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..threads.get()).for_each(|_| drop(scope.spawn(work))));
    match outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        (tally, None) => Ok(tally),
        (_, Some(seed)) => Err(seed),
    }
}
