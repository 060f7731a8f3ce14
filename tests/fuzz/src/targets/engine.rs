//! The engine against the reference NAT: the bytes are all the dice of a game.

use std::cell::OnceCell;

use sluice_nat::{Session, TICKS_PER_SECOND, Tick};
use sluice_reference::dice::{Dice, Script};
use sluice_reference::play::{Game, Stakes, region};

const RECORDS: usize = 256;
/// Packets of a game at most, so that no input is slow.
const PACKETS: u64 = 1000;

thread_local! {
    static REGION: OnceCell<&'static [Session]> = const { OnceCell::new() };
}

/// Plays a game.
pub fn run(data: &[u8]) {
    let records = REGION.with(|region_of| *region_of.get_or_init(|| region(RECORDS)));
    let mut script = Script(data);
    let full = script.one_in(4);
    let stakes = Stakes {
        // Several workers share extents of 4096 records, of which there is one here.
        workers: 1,
        records: if full { 40 } else { RECORDS },
        bytes_every: 4,
        compare_every: 50,
        begin: Tick(1000 * TICKS_PER_SECOND),
    };
    let mut game = Game::new(&mut script, stakes, &records[..stakes.records]);
    game.play(PACKETS);
}
