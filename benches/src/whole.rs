//! The engine on packets: read the headers, classify, look up, take note, translate.
//!
//! What a worker does besides is left out: source checks, routes, MTU, counters, and the driver.

use std::hint::black_box;

use sluice_nat::{Direction, InboundTuple, Outbound, OutboundTuple, SessionIndex, Tick};
use sluice_packet::{Family, Meta, link, parse};

use crate::frames::{self, Buffer};
use crate::meter::{BATCH, RING, Workload};
use crate::population::{Arrival, Draw};
use crate::{Population, established};

/// Translates packets of one direction.
#[derive(Debug)]
pub struct Whole {
    direction: Direction,
    ring: Vec<Buffer>,
    scratch: Scratch,
    draw: Draw,
}

/// Kept between batches, as a worker keeps it.
#[derive(Debug)]
struct Scratch {
    metas: Vec<Meta>,
    outbound: Vec<OutboundTuple>,
    inbound: Vec<InboundTuple>,
    identification: u16,
}

impl Whole {
    /// Packets of a direction.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            ring: vec![Buffer::default(); RING],
            scratch: Scratch {
                metas: Vec::with_capacity(BATCH),
                outbound: Vec::with_capacity(BATCH),
                inbound: Vec::with_capacity(BATCH),
                identification: 0,
            },
            draw: Draw::new(0x7768_6f6c, Arrival::Uniform),
        }
    }
}

impl Workload for Whole {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        for buffer in &mut self.ring {
            let flow = self.draw.flow(population);
            frames::write(population, self.direction, flow, buffer);
        }
    }

    fn pass(&mut self, population: &mut Population, now: Tick) -> u64 {
        let len = frames::len(frames::family(population.flows.kind, self.direction));
        let mut handled = 0;
        for batch in self.ring.as_chunks_mut::<BATCH>().0 {
            batch.iter().for_each(Buffer::prefetch);
            handled += match self.direction {
                Direction::Outbound => outbound(population, batch, len, &mut self.scratch, now),
                Direction::Inbound => inbound(population, batch, len, &mut self.scratch, now),
            };
        }
        handled
    }
}

/// Handles a batch from inside. Stops at a packet that it cannot classify: there is none, and the meter would see it.
#[inline(always)]
fn outbound(
    population: &mut Population,
    batch: &mut [Buffer; BATCH],
    len: usize,
    scratch: &mut Scratch,
    now: Tick,
) -> u64 {
    scratch.metas.clear();
    scratch.outbound.clear();
    let protocol = population.flows.protocol;
    for buffer in batch.iter() {
        let frame = buffer.frame(len);
        let Ok(link) = link(frame) else { return 0 };
        let Ok(meta) = parse(frame, &link) else { return 0 };
        let class = match meta.family {
            Family::V6 => population.config.outbound_v6(meta.source, meta.destination, 0),
            Family::V4 => population.config.outbound_v4(meta.source as u32, meta.destination as u32, 0),
        };
        let Outbound::Translate { kind_realm, prefix64, remote } = class else { return 0 };
        scratch.outbound.push(OutboundTuple {
            kind_realm,
            protocol,
            inside: meta.source,
            inside_port: meta.source_port,
            remote,
            remote_port: meta.destination_port,
            prefix64,
        });
        scratch.metas.push(meta);
    }
    let mut found = [SessionIndex::NONE; BATCH];
    population.engine.find_outbound(&scratch.outbound, &mut found);
    established::outbound(population, batch, &scratch.metas, &found, &mut scratch.identification, now)
}

/// Handles a batch from outside.
#[inline(always)]
fn inbound(
    population: &mut Population,
    batch: &mut [Buffer; BATCH],
    len: usize,
    scratch: &mut Scratch,
    now: Tick,
) -> u64 {
    scratch.metas.clear();
    scratch.inbound.clear();
    let protocol = population.flows.protocol;
    for buffer in batch.iter() {
        let frame = buffer.frame(len);
        let Ok(link) = link(frame) else { return 0 };
        let Ok(meta) = parse(frame, &link) else { return 0 };
        let external = meta.destination as u32;
        if !population.config.is_external(external) {
            return 0;
        }
        scratch.inbound.push(InboundTuple {
            protocol,
            external,
            external_port: meta.destination_port,
            remote: meta.source as u32,
            remote_port: meta.source_port,
        });
        scratch.metas.push(meta);
    }
    let mut found = [SessionIndex::NONE; BATCH];
    population.engine.find_inbound(&scratch.inbound, &mut found);
    established::inbound(population, batch, &scratch.metas, &found, now)
}

/// Reads headers and nothing else: the part that [`Whole`] has before the engine.
#[derive(Debug)]
pub struct Parse(Whole);

impl Parse {
    /// Packets of a direction.
    pub fn new(direction: Direction) -> Self {
        Self(Whole::new(direction))
    }
}

impl Workload for Parse {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        self.0.fill(population);
    }

    fn pass(&mut self, population: &mut Population, _: Tick) -> u64 {
        let len = frames::len(frames::family(population.flows.kind, self.0.direction));
        let metas = &mut self.0.scratch.metas;
        let mut handled = 0;
        for batch in self.0.ring.as_chunks::<BATCH>().0 {
            batch.iter().for_each(Buffer::prefetch);
            metas.clear();
            for buffer in batch {
                let frame = buffer.frame(len);
                let Ok(link) = link(frame) else { return 0 };
                let Ok(meta) = parse(frame, &link) else { return 0 };
                metas.push(meta);
            }
            handled += black_box(&*metas).len() as u64;
        }
        handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flows;
    use crate::flows::{DIRECTIONS, KINDS};
    use crate::meter::START;

    #[test]
    fn all_packets_are_parsed() {
        for kind in KINDS {
            let mut population = Population::new(Flows::udp(kind, 3000)).unwrap();
            let mut parse = Parse::new(Direction::Outbound);
            parse.fill(&population);
            assert_eq!(parse.pass(&mut population, START), RING as u64);
        }
    }

    #[test]
    fn all_packets_are_translated() {
        for flows in KINDS.into_iter().flat_map(|kind| [Flows::udp(kind, 3000), Flows::tcp(kind, 3000)]) {
            let mut population = Population::new(flows).unwrap();
            for direction in DIRECTIONS {
                let mut whole = Whole::new(direction);
                whole.fill(&population);
                assert_eq!(whole.pass(&mut population, START.after(1)), RING as u64);
                // A ring that was handled holds other packets until it is filled again.
                let again = whole.pass(&mut population, START.after(1));
                assert_ne!(again, RING as u64);
            }
        }
    }
}
