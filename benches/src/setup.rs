//! New sessions: what one costs, with its events logged, and what a flood of them does to the established ones.
//!
//! A table is filled from 40 to 80 % of its room, flows in a shuffled order; then time leaps, the new sessions expire, and it
//! is filled again. Only the filling is measured.

use sluice_nat::{Kind, SessionIndex, TICKS_PER_SECOND, Tick};
use sluice_packet::Plain;

use crate::flows::Flows;
use crate::frames::{self, Buffer};
use crate::hardware::{cycles, reading};
use crate::meter::{BATCH, Run, START, summary};
use crate::notices::Notices;
use crate::population::{Arrival, Draw};
use crate::{Error, Population, established};

/// Sessions between two readings of the counter: twelve batches, which also a table of 1024 has room for.
const CHUNK: u32 = 12 * BATCH as u32;
/// Sessions of a run.
pub const SESSIONS_PER_RUN: u32 = 680 * CHUNK;
/// Until a session of UDP is over, and until its port may be used again.
pub const LIFE: u32 = 302 * TICKS_PER_SECOND;
/// See [`LIFE`].
pub const REST: u32 = 130 * TICKS_PER_SECOND;

/// A table that is filled.
pub struct Filling {
    population: Population,
    notices: Notices,
    now: Tick,
    /// Sessions that stay, those that are there now, and the most.
    base: u32,
    next: u32,
    top: u32,
}

impl Filling {
    /// A table with room for all flows, filled `chunk` sessions at a time.
    ///
    /// # Errors
    /// Of engine and notice ring.
    pub fn new(flows: Flows, chunk: u32) -> Result<Self, Error> {
        let mut population = Population::empty(flows, flows.count)?.shuffled();
        let base = flows.count / 5 * 2;
        let top = base + (base / chunk).max(1) * chunk;
        population.open_to(base, START)?;
        Ok(Self { population, notices: Notices::new()?, now: START, base, next: base, top })
    }

    /// Makes sessions and says what one took.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Left`].
    pub fn run(&mut self) -> Result<Run, Error> {
        let mut samples = Vec::new();
        let mut tuples = Vec::with_capacity(CHUNK as usize);
        for _ in 0..SESSIONS_PER_RUN / CHUNK {
            let first = self.room_for(CHUNK)?;
            tuples.clear();
            tuples.extend((first..self.next).map(|n| self.population.outbound(self.population.nth(n))));
            let before = cycles();
            for batch in tuples.as_chunks::<BATCH>().0 {
                self.open(batch)?;
            }
            samples.push(cycles() - before);
        }
        Ok(summary(&mut samples, CHUNK as usize))
    }

    /// Sees to it that there is room for more sessions, in the table and in the notice ring. Returns the first of them.
    fn room_for(&mut self, chunk: u32) -> Result<u32, Error> {
        self.notices.drain();
        self.now = self.now.after(1);
        if self.next + chunk > self.top {
            self.start_again()?;
        }
        let first = self.next;
        self.next += chunk;
        Ok(first)
    }

    /// Ends all sessions but those that stay.
    fn start_again(&mut self) -> Result<(), Error> {
        self.now = self.now.after(LIFE);
        self.population.touch(self.base, self.now);
        self.population.engine.expire(self.now, usize::MAX, &mut ());
        self.population.ended_to(self.base)?;
        self.now = self.now.after(REST);
        self.population.engine.expire(self.now, usize::MAX, &mut ());
        self.next = self.base;
        Ok(())
    }

    /// A batch of new sessions, as the worker makes them.
    #[inline(always)]
    fn open(&mut self, batch: &[sluice_nat::OutboundTuple]) -> Result<(), Error> {
        let engine = &mut self.population.engine;
        engine.prepare_outbound(batch, self.now);
        for tuple in batch {
            let made = engine.new_outbound(tuple, 0, 0, self.now, &mut self.notices);
            made.map_err(|reason| Error::Refused { opened: self.next, wanted: self.top, reason })?;
        }
        Ok(())
    }
}

/// Packets of each kind in a batch of established and new ones.
const HALF: usize = BATCH / 2;
/// Packets of each kind between two fillings of the rings.
pub const RING: usize = 1024;

/// Established packets in whose batches every second one opens a session.
pub struct Beside {
    filling: Filling,
    draw: Draw,
    ring: Vec<Buffer>,
    plains: Vec<Plain>,
    /// An established packet, a new one, and so on.
    tuples: Vec<sluice_nat::OutboundTuple>,
    identification: u16,
    reading: u64,
}

impl Beside {
    /// A table of NAT64 with room for so many sessions.
    ///
    /// # Errors
    /// Of engine and notice ring.
    pub fn new(sessions: u32) -> Result<Self, Error> {
        Ok(Self {
            filling: Filling::new(Flows::udp(Kind::Nat64, sessions), RING as u32)?,
            draw: Draw::new(0x6265_7369, Arrival::Uniform),
            ring: vec![Buffer::default(); RING],
            plains: Vec::with_capacity(RING),
            tuples: Vec::with_capacity(2 * RING),
            identification: 0,
            reading: reading(),
        })
    }

    /// What an established packet takes: its share of the look-up of its batch, and all that follows.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Left`], [`Error::Lost`].
    pub fn run(&mut self) -> Result<Run, Error> {
        let mut samples = Vec::new();
        for _ in 0..SESSIONS_PER_RUN / RING as u32 {
            let first = self.filling.room_for(RING as u32)?;
            self.fill(first);
            samples.push(self.pass()?);
        }
        Ok(summary(&mut samples, RING))
    }

    fn fill(&mut self, first: u32) {
        let population = &self.filling.population;
        let (kind, direction) = (population.flows.kind, sluice_nat::Direction::Outbound);
        let family = frames::family(kind, direction);
        let len = frames::len(family);
        self.plains.clear();
        self.tuples.clear();
        for (buffer, new) in self.ring.iter_mut().zip(first..) {
            let flow = self.draw.flow(population);
            frames::write(population, direction, flow, buffer);
            self.plains.extend(established::read(buffer.frame(len), family));
            self.tuples.push(population.outbound(flow));
            self.tuples.push(population.outbound(population.nth(new)));
        }
    }

    /// Cycles of the ring's established packets.
    fn pass(&mut self) -> Result<u64, Error> {
        let (mut spent, mut handled) = (0, 0);
        let (mut found, mut known) = ([SessionIndex::NONE; BATCH], [SessionIndex::NONE; HALF]);
        let mut new = Vec::with_capacity(HALF);
        let batches = self.tuples.as_chunks::<BATCH>().0.iter().zip(self.ring.as_chunks_mut::<HALF>().0);
        let plains = self.plains.as_chunks::<HALF>().0;
        for ((tuples, batch), plains) in batches.zip(plains) {
            let start = cycles();
            batch.iter().for_each(Buffer::prefetch);
            self.filling.population.engine.find_outbound(tuples, &mut found);
            let looked_up = cycles();
            known.iter_mut().zip(found.iter().step_by(2)).for_each(|(known, found)| *known = *found);
            let population = &mut self.filling.population;
            for ((buffer, plain), &session) in batch.iter_mut().zip(plains).zip(&known) {
                self.identification = self.identification.wrapping_add(1);
                let (identification, now) = (self.identification, self.filling.now);
                let done =
                    established::translate_outbound(population, session, plain, buffer, identification, now);
                handled += u64::from(done);
            }
            let end = cycles();
            spent += (looked_up - start).saturating_sub(self.reading) / 2;
            spent += (end - looked_up).saturating_sub(self.reading);
            new.clear();
            new.extend(tuples.iter().skip(1).step_by(2).copied());
            self.filling.open(&new)?;
        }
        let expected = RING as u64;
        if handled == expected { Ok(spent) } else { Err(Error::Lost { handled, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_filled_to_four_fifths_again_and_again_and_all_is_logged() {
        let mut filling = Filling::new(Flows::udp(Kind::Nat44, 1024), CHUNK).unwrap();
        assert_eq!((filling.base, filling.top), (408, 792));
        for _ in 0..5 {
            let first = filling.room_for(CHUNK).unwrap();
            assert_eq!(first, 408);
            let of = |n| filling.population.outbound(filling.population.nth(n));
            let tuples: Vec<_> = (first..filling.next).map(of).collect();
            filling.open(&tuples).unwrap();
            assert_eq!(filling.population.engine.stats().sessions, 792);
            assert!(filling.notices.drain() >= CHUNK as usize);
        }
        assert_eq!(filling.notices.lost(), 0);
    }

    #[test]
    fn half_of_the_packets_are_established_and_half_make_sessions() {
        let mut beside = Beside::new(8192).unwrap();
        for round in 0..5 {
            let first = beside.filling.room_for(RING as u32).unwrap();
            beside.fill(first);
            beside.pass().unwrap();
            let made = (round % 3 + 1) * RING as u32;
            assert_eq!(beside.filling.population.engine.stats().sessions, beside.filling.base + made);
        }
    }
}
