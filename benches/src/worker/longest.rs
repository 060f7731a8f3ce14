//! The longest turn of a worker that is full of packets, while sessions end or begin by the million.

use sluice_dpdk::Eal;
use sluice_nat::{Direction, Kind};
use sluice_shm::Counter;

use super::rig::{BURST, Rig};
use super::write;
use crate::flows::Flows;
use crate::hardware::{cycles, release_free_memory};
use crate::least::Least;
use crate::meter::START;
use crate::setup::LIFE;
use crate::{Error, Population, Random};

/// One session of so many goes on.
const STAYING: u32 = 8;
/// Records that a loop looks at, at least: in so many turns less all have ended.
const PACE: u32 = 16;

/// Seven eighths of all sessions end in the same tick. A full burst comes from either side in each turn.
///
/// # Errors
/// Of engine and DPDK, [`Error::Left`], [`Error::Lost`].
pub(super) fn end(eal: &Eal, sessions: u32, runs: usize) -> Result<Least, Error> {
    let mut least = Least::default();
    for _ in 0..runs {
        release_free_memory();
        let mut population = Population::new(Flows::udp(Kind::Nat64, sessions))?;
        let (staying, now) = (sessions / STAYING, START.after(LIFE));
        population.engine.expire(START, usize::MAX, &mut ());
        population.touch(staying, now);
        let mut rig = Rig::over(eal, &mut population, now)?;
        let mut random = Random::new(0x656e_6473);
        let mut took = Vec::new();
        for _ in 0..sessions.div_ceil(PACE) {
            for direction in [Direction::Outbound, Direction::Inbound] {
                rig.fill(direction, |buffer| {
                    write(&population, direction, population.nth(random.below(staying)), buffer)
                });
            }
            took.push(turn(&mut rig, 2 * BURST)?);
        }
        rig.rest();
        let found = rig.counters(0).get(Counter::Sessions) as u32;
        if found != staying {
            return Err(Error::Left { expected: staying, found });
        }
        least.add(took)?;
    }
    Ok(least)
}

/// An empty table is filled: every packet is the first of a flow, a full burst in each turn.
///
/// # Errors
/// As [`end`].
pub(super) fn new(eal: &Eal, sessions: u32, runs: usize) -> Result<Least, Error> {
    let mut least = Least::default();
    for _ in 0..runs {
        release_free_memory();
        let mut population = Population::empty(Flows::udp(Kind::Nat64, sessions), sessions)?.shuffled();
        let mut rig = Rig::over(eal, &mut population, START)?;
        let mut took = Vec::new();
        for first in (0..sessions).step_by(BURST) {
            let mut flows = (first..first + BURST as u32).map(|n| population.nth(n));
            rig.fill(Direction::Outbound, |buffer| {
                write(&population, Direction::Outbound, flows.next().unwrap_or(0), buffer)
            });
            took.push(turn(&mut rig, BURST)?);
        }
        least.add(took)?;
    }
    Ok(least)
}

/// A turn, and what it took. All packets have to come out.
fn turn(rig: &mut Rig, expected: usize) -> Result<u64, Error> {
    let before = cycles();
    rig.turn();
    let took = cycles() - before;
    let handled = rig.empty();
    if handled == expected {
        Ok(took)
    } else {
        Err(Error::Lost { handled: handled as u64, expected: expected as u64 })
    }
}
