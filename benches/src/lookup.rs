//! The index and the session alone: a batch is looked up, and each packet is taken note of.

use std::hint::black_box;

use sluice_nat::{Direction, InboundTuple, OutboundTuple, SessionIndex, Tick};
use sluice_packet::tcp;

use crate::Population;
use crate::meter::{BATCH, RING, Workload};
use crate::population::{Arrival, Draw};

/// Looks flows up in one direction. The tuples stand ready, one after the other: reading them is the header line.
#[derive(Debug)]
pub struct Lookup {
    direction: Direction,
    outbound: Vec<OutboundTuple>,
    inbound: Vec<InboundTuple>,
    draw: Draw,
}

impl Lookup {
    /// Lookups of a direction.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            outbound: Vec::with_capacity(RING),
            inbound: Vec::with_capacity(RING),
            draw: Draw::new(0x6c6f_6f6b, Arrival::Uniform),
        }
    }
}

impl Workload for Lookup {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        let draw = &mut self.draw;
        let flows = std::iter::repeat_with(|| draw.flow(population)).take(RING);
        match self.direction {
            Direction::Outbound => {
                self.outbound.clear();
                self.outbound.extend(flows.map(|flow| population.outbound(flow)));
            }
            Direction::Inbound => {
                self.inbound.clear();
                self.inbound.extend(flows.map(|flow| population.inbound(flow)));
            }
        }
    }

    fn pass(&mut self, population: &mut Population, now: Tick) -> u64 {
        let mut found = [SessionIndex::NONE; BATCH];
        let mut handled = 0;
        match self.direction {
            Direction::Outbound => {
                for batch in self.outbound.as_chunks::<BATCH>().0 {
                    population.engine.find_outbound(batch, &mut found);
                    handled += note(population, &found, Direction::Outbound, now);
                }
            }
            Direction::Inbound => {
                for batch in self.inbound.as_chunks::<BATCH>().0 {
                    population.engine.find_inbound(batch, &mut found);
                    handled += note(population, &found, Direction::Inbound, now);
                }
            }
        }
        handled
    }
}

/// Takes note of a batch. Returns how many packets had a session and may go on.
#[inline(always)]
fn note(population: &mut Population, found: &[SessionIndex], direction: Direction, now: Tick) -> u64 {
    let mut handled = 0;
    for &session in black_box(found) {
        if session.is_some() && population.engine.established(session, direction, tcp::ACK, now).is_ok() {
            handled += 1;
        }
    }
    handled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flows;
    use crate::flows::KINDS;
    use crate::meter::START;

    #[test]
    fn all_packets_have_sessions_and_are_seen() {
        for kind in KINDS {
            let mut population = Population::new(Flows::udp(kind, 2048)).unwrap();
            for (direction, now) in
                [(Direction::Outbound, START.after(3)), (Direction::Inbound, START.after(4))]
            {
                let mut lookup = Lookup::new(direction);
                lookup.fill(&population);
                assert_eq!(lookup.pass(&mut population, now), RING as u64);
                let seen = (0..2048)
                    .filter(|&n| population.engine.session(SessionIndex(n)).hot().last_seen == now)
                    .count();
                // 1024 draws of 2048 flows meet about 806 of them.
                assert!((700..900).contains(&seen), "{seen}");
            }
        }
    }
}
