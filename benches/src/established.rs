//! The engine: packets whose headers have been read are looked up, taken note of, and translated.

use std::hint::black_box;

use sluice_nat::{Direction, Fixed, InboundTuple, OutboundTuple, SessionIndex, Tick};
use sluice_packet::{Family, Meta, Rewrite, link, parse};

use crate::frames::{self, Buffer};
use crate::meter::{BATCH, RING, Workload};
use crate::population::{Arrival, Draw};
use crate::{Population, rewrite};

/// Translates packets of one direction. What is known of their headers stands ready; reading it is part of the measurement.
#[derive(Debug)]
pub struct Established {
    direction: Direction,
    ring: Vec<Buffer>,
    metas: Vec<Meta>,
    outbound: Vec<OutboundTuple>,
    inbound: Vec<InboundTuple>,
    identification: u16,
    draw: Draw,
}

impl Established {
    /// Packets of a direction.
    pub fn new(direction: Direction, arrival: Arrival) -> Self {
        Self {
            direction,
            ring: vec![Buffer::default(); RING],
            metas: Vec::with_capacity(RING),
            outbound: Vec::with_capacity(RING),
            inbound: Vec::with_capacity(RING),
            identification: 0,
            draw: Draw::new(0x656e_6769, arrival),
        }
    }
}

impl Workload for Established {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        let len = frames::len(frames::family(population.flows.kind, self.direction));
        self.metas.clear();
        self.outbound.clear();
        self.inbound.clear();
        for buffer in &mut self.ring {
            let flow = self.draw.flow(population);
            frames::write(population, self.direction, flow, buffer);
            let frame = buffer.frame(len);
            self.metas.extend(link(frame).ok().and_then(|link| parse(frame, &link).ok()));
            match self.direction {
                Direction::Outbound => self.outbound.push(population.outbound(flow)),
                Direction::Inbound => self.inbound.push(population.inbound(flow)),
            }
        }
    }

    fn pass(&mut self, population: &mut Population, now: Tick) -> u64 {
        let mut handled = 0;
        let mut found = [SessionIndex::NONE; BATCH];
        let metas = self.metas.chunks_exact(BATCH);
        let (batches, _) = self.ring.as_chunks_mut::<BATCH>();
        for (at, (batch, metas)) in batches.iter_mut().zip(metas).enumerate() {
            batch.iter().for_each(Buffer::prefetch);
            handled += match self.direction {
                Direction::Outbound => {
                    let tuples = &self.outbound[at * BATCH..][..BATCH];
                    population.engine.find_outbound(tuples, &mut found);
                    outbound(population, batch, metas, black_box(&found), &mut self.identification, now)
                }
                Direction::Inbound => {
                    let tuples = &self.inbound[at * BATCH..][..BATCH];
                    population.engine.find_inbound(tuples, &mut found);
                    inbound(population, batch, metas, black_box(&found), now)
                }
            };
        }
        handled
    }
}

/// Translates outbound packets that were looked up. Returns how many had a session and were translated.
#[inline(never)]
pub fn outbound(
    population: &mut Population,
    batch: &mut [Buffer],
    metas: &[Meta],
    found: &[SessionIndex],
    identification: &mut u16,
    now: Tick,
) -> u64 {
    each(population, batch, metas, found, Direction::Outbound, now, |config, meta, fixed| {
        *identification = identification.wrapping_add(1);
        rewrite::outbound(config, meta, fixed, *identification)
    })
}

/// Translates inbound packets that were looked up.
#[inline(never)]
pub fn inbound(
    population: &mut Population,
    batch: &mut [Buffer],
    metas: &[Meta],
    found: &[SessionIndex],
    now: Tick,
) -> u64 {
    each(population, batch, metas, found, Direction::Inbound, now, |config, _, fixed| {
        rewrite::inbound(config, fixed)
    })
}

#[inline(always)]
fn each(
    population: &mut Population,
    batch: &mut [Buffer],
    metas: &[Meta],
    found: &[SessionIndex],
    direction: Direction,
    now: Tick,
    mut decide: impl FnMut(&sluice_nat::Config, &Meta, &Fixed) -> Option<Rewrite>,
) -> u64 {
    let to: Family = rewrite::family_after(population.flows.kind, direction);
    let mut handled = 0;
    for ((buffer, meta), &session) in batch.iter_mut().zip(metas).zip(found) {
        if !session.is_some()
            || population.engine.established(session, direction, meta.tcp_flags, now).is_err()
        {
            continue;
        }
        let fixed = population.engine.session(session).fixed();
        let Some(rewrite) = decide(&population.config, meta, &fixed) else { continue };
        handled += u64::from(rewrite::translate(buffer, meta, to, &rewrite));
    }
    handled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flows;
    use crate::flows::{DIRECTIONS, KINDS};
    use crate::meter::START;

    #[test]
    fn all_packets_are_translated() {
        for flows in KINDS.into_iter().flat_map(|kind| [Flows::udp(kind, 3000), Flows::tcp(kind, 3000)]) {
            let mut population = Population::new(flows).unwrap();
            for (direction, arrival) in DIRECTIONS
                .into_iter()
                .flat_map(|direction| [(direction, Arrival::Uniform), (direction, Arrival::Zipf)])
            {
                let mut engine = Established::new(direction, arrival);
                engine.fill(&population);
                assert_eq!(engine.pass(&mut population, START.after(1)), RING as u64);
            }
        }
    }
}
