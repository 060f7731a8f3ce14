//! Ten million random packets, and what they have to have met.

use std::num::NonZero;

use sluice_reference::play::{Game, Stakes, region};
use sluice_reference::{dice, run};

/// As many as a test command has time for. `scripts/reference` plays more.
const PACKETS: u64 = 10_000_000;
/// Every run of the tests plays the same games; the long run plays others.
const SEED: u64 = 1;

#[test]
fn the_engine_agrees_with_the_reference_for_ten_million_packets() {
    let threads = NonZero::new(2).expect("two");
    let tally = run::games(SEED, PACKETS, run::PACKETS, threads, |_| ()).unwrap_or_else(|seed| {
        panic!("seed {seed}: scripts/reference --seed {seed} --packets {0} --game {0}", run::PACKETS)
    });
    println!("{tally:#?}");
    assert_eq!(tally.packets, PACKETS);
    // Games in which nothing happens would agree as well.
    assert!(
        tally.translated > PACKETS / 2 && tally.sessions > PACKETS / 10 && tally.hairpins > PACKETS / 100
    );
    assert!(tally.rewritten > PACKETS / 20 && tally.reloads > 1000 && tally.restarts > 100);
    assert!(tally.seconds > 52 * 604_800, "simulated years, not {} s", tally.seconds);
}

#[test]
fn a_game_without_dice_is_a_short_one() {
    let stakes = Stakes { records: 100, ..run::stakes(1) };
    let mut script = dice::Script(&[]);
    let mut game = Game::new(&mut script, stakes, region(100));
    game.play(1000);
    assert_eq!(game.tally.packets, 0);
}
