//! The end of sessions: what one costs, and the longest call.
//!
//! All sessions of a table fall due in the same tick, while packets of others go on. A worker calls [`Engine::expire`] with a
//! bound each loop; here as well, with a batch of packets in between.
//!
//! [`Engine::expire`]: sluice_nat::Engine::expire

use sluice_nat::{Direction, Kind, SessionIndex, Tick};

use crate::flows::Flows;
use crate::hardware::{cycles, release_free_memory};
use crate::least::Least;
use crate::meter::{BATCH, START};
use crate::notices::Notices;
use crate::population::{Arrival, Draw};
use crate::setup::{LIFE, REST};
use crate::{Error, Population};

/// Records that a call may look at, as in a worker.
pub const BUDGET: usize = 32;
/// Ticks of the last step, in which all sessions fall due together.
const LEAP: u32 = 10;
/// One session of so many goes on.
const STAYING: u32 = 8;

/// What the longest calls are without interruptions: those in which sessions are filed again, and those in which they end.
///
/// # Errors
/// As [`Expiry::new`] and [`Expiry::round`].
pub fn least(sessions: u32, runs: usize) -> Result<[Least; 2], Error> {
    let mut least = [Least::default(), Least::default()];
    for _ in 0..runs {
        release_free_memory();
        let waves = Expiry::new(sessions)?.waves()?;
        for (least, (took, _)) in least.iter_mut().zip(waves) {
            least.add(took)?;
        }
    }
    Ok(least)
}

/// What the calls of one round took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calls {
    /// Cycles of all calls.
    pub cycles: u64,
    /// Cycles of the longest.
    pub longest: u64,
    /// Cycles that one call in a thousand exceeded.
    pub thousandth: u64,
    /// Records looked at.
    pub seen: usize,
}

impl Calls {
    fn of(mut took: Vec<u64>, seen: usize) -> Self {
        took.sort_unstable_by(|a, b| b.cmp(a));
        let at = |place: usize| took.get(place).copied().unwrap_or(0);
        Self { cycles: took.iter().sum(), longest: at(0), thousandth: at(took.len() / 1000), seen }
    }
}

/// What a round took.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// All sessions were seen lately: they are looked at, and filed again.
    pub refile: Calls,
    /// All but those that stay end.
    pub end: Calls,
    /// How many those were.
    pub ended: u32,
    /// A loop that does nothing, as often and as long as the calls in which sessions ended: how the machine interrupts.
    pub nothing: Calls,
}

/// A full table.
pub struct Expiry {
    population: Population,
    notices: Notices,
    draw: Draw,
    now: Tick,
}

impl Expiry {
    /// A full table of NAT64.
    ///
    /// # Errors
    /// Of engine and notice ring.
    pub fn new(sessions: u32) -> Result<Self, Error> {
        let flows = Flows::udp(Kind::Nat64, sessions);
        let mut population = Population::empty(flows, sessions)?.shuffled();
        population.open_to(sessions, START)?;
        // A new configuration is followed by a look at every record.
        population.engine.expire(START, usize::MAX, &mut ());
        let draw = Draw::new(0x6578_7069, Arrival::Uniform);
        Ok(Self { population, notices: Notices::new()?, draw, now: START })
    }

    /// Everything once. The table is full again afterwards.
    ///
    /// # Errors
    /// [`Error::Left`], [`Error::Refused`], [`Error::Lost`].
    pub fn round(&mut self) -> Result<Round, Error> {
        let all = self.population.sessions();
        let [refile, end] = self.waves()?.map(|(took, seen)| Calls::of(took, seen));
        let staying = self.population.sessions();
        self.wait(REST);
        self.population.touch(staying, self.now);
        self.population.open_to(all, self.now)?;
        let nothing = nothing(end.seen / BUDGET, end.cycles / (end.seen / BUDGET).max(1) as u64);
        Ok(Round { refile, end, ended: all - staying, nothing })
    }

    /// First no session ends and then most do. Returns cycles, call by call, and how many records were looked at.
    fn waves(&mut self) -> Result<[(Vec<u64>, usize); 2], Error> {
        let all = self.population.sessions();
        let staying = all / STAYING;
        self.wait(LIFE);
        self.population.touch(all, self.now);
        let refile = self.calls(all)?;
        self.population.ended_to(all)?;
        self.wait(LIFE);
        self.population.touch(staying, self.now);
        let end = self.calls(staying)?;
        self.population.ended_to(staying)?;
        Ok([refile, end])
    }

    /// Lets time pass as a worker sees it, up to a leap at the end in which what was filed falls due.
    fn wait(&mut self, ticks: u32) {
        for _ in LEAP..ticks {
            self.now = self.now.after(1);
            self.population.engine.expire(self.now, usize::MAX, &mut ());
        }
        self.now = self.now.after(LEAP);
    }

    /// Calls until there is nothing left to do, with packets of the first `live` flows in between.
    fn calls(&mut self, live: u32) -> Result<(Vec<u64>, usize), Error> {
        let (mut took, mut all) = (Vec::new(), 0);
        loop {
            self.packets(live)?;
            self.notices.drain();
            let before = cycles();
            let seen = self.population.engine.expire(self.now, BUDGET, &mut self.notices);
            took.push(cycles() - before);
            all += seen;
            if seen < BUDGET {
                return Ok((took, all));
            }
        }
    }

    /// A batch of packets of established sessions.
    fn packets(&mut self, live: u32) -> Result<(), Error> {
        let tuples: [_; BATCH] = std::array::from_fn(|_| {
            let n = self.draw.below(live);
            self.population.outbound(self.population.nth(n))
        });
        let mut found = [SessionIndex::NONE; BATCH];
        let engine = &mut self.population.engine;
        engine.find_outbound(&tuples, &mut found);
        let go_on = |session: &&SessionIndex| {
            session.is_some() && engine.established(**session, Direction::Outbound, 0, self.now).is_ok()
        };
        let handled = found.iter().filter(go_on).count() as u64;
        let expected = BATCH as u64;
        if handled == expected { Ok(()) } else { Err(Error::Lost { handled, expected }) }
    }
}

/// Waits for some cycles, again and again.
fn nothing(calls: usize, cycles_each: u64) -> Calls {
    let wait = || {
        let before = cycles();
        loop {
            let took = cycles() - before;
            if took >= cycles_each {
                return took;
            }
        }
    };
    Calls::of(std::iter::repeat_with(wait).take(calls).collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_summed_up_by_their_longest() {
        let calls = Calls::of((1..=2000).collect(), 7);
        assert_eq!((calls.cycles, calls.longest, calls.thousandth, calls.seen), (2_001_000, 2000, 1998, 7));
        assert_eq!(Calls::of(Vec::new(), 0), Calls::default());
    }

    #[test]
    fn a_round_refiles_all_ends_most_and_fills_the_table_again() {
        let mut expiry = Expiry::new(8000).unwrap();
        for _ in 0..2 {
            let round = expiry.round().unwrap();
            assert_eq!((round.refile.seen, round.end.seen), (8000, 8000));
            assert_eq!(round.ended, 7000);
            assert!(round.end.longest > 0 && round.end.longest <= round.end.cycles);
            assert!(round.nothing.thousandth > 0);
            assert_eq!(expiry.population.engine.stats().sessions, 8000);
            assert_eq!(expiry.notices.lost(), 0);
        }
    }

    #[test]
    fn runs_do_the_same_call_by_call() {
        let least = least(8000, 3).unwrap();
        assert!(least.iter().all(|least| least.longest() > 0 && least.interrupted().len() == 3));
    }
}
