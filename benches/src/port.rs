//! New bindings while most ports of the pool are taken.
//!
//! Subscribers have taken whole blocks, one after the other, until a share of all ports is in use. Then new ones come: each
//! claims a block and takes its ports one by one, in a shuffled order among them. What they took is given back, and others
//! come, so that the share stays.

use sluice_nat::{Kind, Tick};

use crate::flows::{BINDINGS, Flows, PORTS};
use crate::hardware::cycles;
use crate::meter::{BATCH, Run, START, summary};
use crate::notices::Notices;
use crate::random::shuffled;
use crate::{Error, Population};

/// Addresses of the pool: a million ports.
const ADDRESSES: u32 = 16;
/// Sessions that come and go together: those of 80 subscribers, half a hundredth of the pool.
const WAVE: u32 = 80 * BINDINGS;
/// Waves of a run.
const WAVES: u32 = 8;
/// Shares of the pool that are in use, in hundredths.
pub const SHARES: [u32; 3] = [50, 90, 99];

/// A pool that is nearly used up.
pub struct Pool {
    population: Population,
    notices: Notices,
    now: Tick,
}

impl Pool {
    /// A pool for so many runs, of which nothing is used.
    ///
    /// # Errors
    /// Of engine and notice ring.
    pub fn new(runs: usize) -> Result<Self, Error> {
        let count = ADDRESSES * PORTS;
        let flows = Flows { addresses: ADDRESSES, rest: 0, ..Flows::udp(Kind::Nat64, count) };
        // A record is not used again before its timer fires, which it does not do here.
        let population = Population::empty(flows, count + (SHARES.len() * runs) as u32 * WAVES * WAVE)?;
        Ok(Self { population, notices: Notices::new()?, now: START })
    }

    /// Ports of the pool.
    pub fn ports(&self) -> u32 {
        self.population.flows.count
    }

    /// Takes so many hundredths of the pool.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn use_up(&mut self, share: u32) -> Result<(), Error> {
        let wanted = (u64::from(self.ports()) * u64::from(share) / 100) as u32 - WAVE / 2;
        self.population.open_to(wanted / BINDINGS * BINDINGS, self.now)
    }

    /// Makes sessions and ends them, at the share that is in use. Says what making one took.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Left`].
    pub fn run(&mut self) -> Result<Run, Error> {
        let mut samples = Vec::new();
        for _ in 0..WAVES {
            self.wave(&mut samples)?;
        }
        Ok(summary(&mut samples, BATCH))
    }

    fn wave(&mut self, samples: &mut Vec<u64>) -> Result<(), Error> {
        let base = self.population.sessions();
        let mut made = Vec::with_capacity(WAVE as usize);
        for first in (0..WAVE).step_by(BATCH) {
            let flow = |n| base + shuffled(n, WAVE);
            let tuples: [_; BATCH] =
                std::array::from_fn(|at| self.population.outbound(flow(first + at as u32)));
            self.notices.drain();
            let engine = &mut self.population.engine;
            let before = cycles();
            engine.prepare_outbound(&tuples, self.now);
            for tuple in &tuples {
                match engine.new_outbound(tuple, 0, 0, self.now, &mut self.notices) {
                    Ok(flow) => made.push(flow.session),
                    Err(reason) => return Err(Error::Refused { opened: base, wanted: base + WAVE, reason }),
                }
            }
            samples.push(cycles() - before);
        }
        made.iter().for_each(|&session| self.population.engine.delete(session, self.now, &mut ()));
        self.population.engine.expire(self.now, usize::MAX, &mut ());
        self.population.ended_to(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_in_use_is_the_same_after_every_run() {
        let mut pool = Pool::new(2).unwrap();
        let mut blocks = Vec::new();
        for share in SHARES {
            pool.use_up(share).unwrap();
            let before = pool.population.engine.stats();
            let mut samples = Vec::new();
            (0..2).for_each(|_| pool.wave(&mut samples).unwrap());
            assert_eq!(pool.population.engine.stats(), before);
            assert_eq!(samples.len() as u32, 2 * WAVE / BATCH as u32);
            blocks.push(before.port_blocks);
        }
        // Of 16128 blocks, less half a wave.
        assert_eq!(blocks, [8024, 14_475, 15_926]);
    }
}
