//! The engine on packets: read the headers, look up, take note, translate, a batch at a time.
//!
//! What a worker does besides is left out: interfaces, routes, MTU, counters, and the driver.

use std::hint::black_box;

use sluice_nat::config::Candidate;
use sluice_nat::{Direction, InboundKey, InboundTuple, OutboundKey, OutboundTuple, Search, Tick};
use sluice_packet::{Family, Plain};

use crate::Population;
use crate::established::{read, translate_inbound, translate_outbound};
use crate::frames::{self, Buffer, LINK};
use crate::meter::{BATCH, RING, Workload};
use crate::population::{Arrival, Draw};

/// Translates packets of one direction.
#[derive(Debug)]
pub struct Whole {
    direction: Direction,
    ring: Vec<Buffer>,
    lanes: Vec<Lane>,
    identification: u16,
    draw: Draw,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug)]
struct Lane {
    plain: Plain,
    outbound: OutboundKey,
    inbound: InboundKey,
    search: Search,
}

const EMPTY: Lane =
    Lane { plain: Plain::NONE, outbound: OutboundKey::NONE, inbound: InboundKey::NONE, search: Search::NONE };

impl Whole {
    /// Packets of a direction.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            ring: vec![Buffer::default(); RING],
            lanes: vec![EMPTY; BATCH],
            identification: 0,
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
        let Self { direction, ring, lanes, identification, .. } = self;
        let mut handled = 0;
        for batch in ring.as_chunks_mut::<BATCH>().0 {
            batch.iter().for_each(Buffer::prefetch);
            handled += match direction {
                Direction::Outbound => outbound(population, batch, len, lanes, identification, now),
                Direction::Inbound => inbound(population, batch, len, lanes, now),
            };
        }
        handled
    }
}

/// What an outbound packet is looked up by.
#[inline(always)]
fn outbound_tuple(population: &Population, frame: &[u8]) -> Option<(Plain, OutboundTuple)> {
    let protocol = population.flows.protocol;
    let (plain, inside, (kind_realm, prefix64, remote)) = match Plain::read_v6(frame, LINK as u8) {
        Some((plain, source, destination)) => {
            (plain, source, population.config.candidate_v6(destination, 0)?)
        }
        None => {
            let (plain, source, destination) = Plain::read_v4(frame, LINK as u8)?;
            match population.config.candidate_v4(source, destination, 0) {
                Candidate::Outbound(kind_realm) => (plain, source.into(), (kind_realm, 0, destination)),
                _ => return None,
            }
        }
    };
    let (inside_port, remote_port) = (plain.source_port, plain.destination_port);
    Some((plain, OutboundTuple { kind_realm, protocol, inside, inside_port, remote, remote_port, prefix64 }))
}

/// Handles a batch from inside. Stops at a packet that it cannot classify: there is none, and the meter would see it.
#[inline(always)]
fn outbound(
    population: &mut Population,
    batch: &mut [Buffer; BATCH],
    len: usize,
    lanes: &mut [Lane],
    identification: &mut u16,
    now: Tick,
) -> u64 {
    for (buffer, lane) in batch.iter().zip(lanes.iter_mut()) {
        let Some((plain, tuple)) = outbound_tuple(population, buffer.frame(len)) else { return 0 };
        lane.plain = plain;
        lane.outbound = tuple.key();
        lane.search = population.engine.search_outbound(&tuple.key());
    }
    lanes.iter_mut().for_each(|lane| population.engine.scan_outbound(&mut lane.search));
    lanes.iter_mut().for_each(|lane| population.engine.scan_second_outbound(&mut lane.search));
    let mut handled = 0;
    for (buffer, lane) in batch.iter_mut().zip(lanes.iter()) {
        let session = population.engine.settle_outbound(&lane.outbound, &lane.search);
        *identification = identification.wrapping_add(1);
        let done = translate_outbound(population, session, &lane.plain, buffer, *identification, now);
        handled += u64::from(done);
    }
    handled
}

/// Handles a batch from outside.
#[inline(always)]
fn inbound(
    population: &mut Population,
    batch: &mut [Buffer; BATCH],
    len: usize,
    lanes: &mut [Lane],
    now: Tick,
) -> u64 {
    let protocol = population.flows.protocol;
    for (buffer, lane) in batch.iter().zip(lanes.iter_mut()) {
        let read = Plain::read_v4(buffer.frame(len), LINK as u8);
        let Some((plain, remote, external)) = read else { return 0 };
        if population.config.candidate_v4(remote, external, 0) != Candidate::Inbound {
            return 0;
        }
        let (external_port, remote_port) = (plain.destination_port, plain.source_port);
        let key = InboundTuple { protocol, external, external_port, remote, remote_port }.key();
        lane.plain = plain;
        lane.inbound = key;
        lane.search = population.engine.search_inbound(&key);
    }
    lanes.iter_mut().for_each(|lane| population.engine.scan_inbound(&mut lane.search));
    lanes.iter_mut().for_each(|lane| population.engine.scan_second_inbound(&mut lane.search));
    let mut handled = 0;
    for (buffer, lane) in batch.iter_mut().zip(lanes.iter()) {
        let session = population.engine.settle_inbound(&lane.inbound, &lane.search);
        handled += u64::from(translate_inbound(population, session, &lane.plain, buffer, now));
    }
    handled
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
        let family: Family = frames::family(population.flows.kind, self.0.direction);
        let len = frames::len(family);
        let mut handled = 0;
        for batch in self.0.ring.as_chunks::<BATCH>().0 {
            batch.iter().for_each(Buffer::prefetch);
            for (buffer, lane) in batch.iter().zip(&mut self.0.lanes) {
                let Some(plain) = read(buffer.frame(len), family) else { return 0 };
                lane.plain = plain;
            }
            handled += black_box(&*self.0.lanes).len() as u64;
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
