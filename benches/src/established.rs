//! The engine: packets whose headers have been read are looked up, shown to their sessions, and translated.
//!
//! The steps are those of the worker's express lane: search, scan, settle, established, rewrite. As in the yardstick, lines are
//! asked for ahead of their use: while a group is translated, the sessions of the next are on their way, and the buckets of the
//! one after it.

use sluice_nat::{Direction, Fixed, InboundKey, Kind, OutboundKey, Search, SessionIndex, Tick};
use sluice_packet::{
    Delta, Ends, Family, Frame, Plain, Remark, plain_four_to_four, plain_four_to_six, plain_six_to_four,
};

use crate::Population;
use crate::frames::{self, Buffer, HEADROOM, LINK};
use crate::meter::{RING, Workload};
use crate::population::{Arrival, Draw};

/// Packets of a group: lines are asked for one group ahead of their use. A core has some two dozen line buffers; asking for
/// more at once makes it wait for the first.
const GROUP: usize = 8;

/// Translates packets of one direction. What is known of their headers stands ready; reading it is part of the measurement.
#[derive(Debug)]
pub struct Established {
    direction: Direction,
    ring: Vec<Buffer>,
    plains: Vec<Plain>,
    outbound: Vec<OutboundKey>,
    inbound: Vec<InboundKey>,
    searches: Vec<Search>,
    identification: u16,
    draw: Draw,
}

impl Established {
    /// Packets of a direction.
    pub fn new(direction: Direction, arrival: Arrival) -> Self {
        Self {
            direction,
            ring: vec![Buffer::default(); RING],
            plains: Vec::with_capacity(RING),
            outbound: Vec::with_capacity(RING),
            inbound: Vec::with_capacity(RING),
            searches: vec![Search::NONE; RING],
            identification: 0,
            draw: Draw::new(0x656e_6769, arrival),
        }
    }
}

impl Workload for Established {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        let family = frames::family(population.flows.kind, self.direction);
        let len = frames::len(family);
        self.plains.clear();
        self.outbound.clear();
        self.inbound.clear();
        for buffer in &mut self.ring {
            let flow = self.draw.flow(population);
            frames::write(population, self.direction, flow, buffer);
            self.plains.extend(read(buffer.frame(len), family));
            match self.direction {
                Direction::Outbound => self.outbound.push(population.outbound(flow).key()),
                Direction::Inbound => self.inbound.push(population.inbound(flow).key()),
            }
        }
    }

    fn pass(&mut self, population: &mut Population, now: Tick) -> u64 {
        match self.direction {
            Direction::Outbound => self.outbound(population, now),
            Direction::Inbound => self.inbound(population, now),
        }
    }
}

/// What is read of a plain packet.
pub fn read(frame: &[u8], family: Family) -> Option<Plain> {
    match family {
        Family::V6 => Plain::read_v6(frame, LINK as u8).map(|(plain, ..)| plain),
        Family::V4 => Plain::read_v4(frame, LINK as u8).map(|(plain, ..)| plain),
    }
}

/// Positions of a group in the ring.
fn batch(number: usize) -> std::ops::Range<usize> {
    (number * GROUP).min(RING)..((number + 1) * GROUP).min(RING)
}

impl Established {
    fn outbound(&mut self, population: &mut Population, now: Tick) -> u64 {
        let Self { ring, plains, outbound, searches, identification, .. } = self;
        let mut handled = 0;
        for number in 0..RING / GROUP + 3 {
            for at in batch(number) {
                searches[at] = population.engine.search_outbound(&outbound[at]);
                ring[at].prefetch();
            }
            if let Some(number) = number.checked_sub(1) {
                searches[batch(number)].iter_mut().for_each(|search| population.engine.scan_outbound(search));
            }
            if let Some(number) = number.checked_sub(2) {
                let searches = &mut searches[batch(number)];
                searches.iter_mut().for_each(|search| population.engine.scan_second_outbound(search));
            }
            let Some(number) = number.checked_sub(3) else { continue };
            for at in batch(number) {
                let session = population.engine.settle_outbound(&outbound[at], &searches[at]);
                *identification = identification.wrapping_add(1);
                let done =
                    translate_outbound(population, session, &plains[at], &mut ring[at], *identification, now);
                handled += u64::from(done);
            }
        }
        handled
    }

    fn inbound(&mut self, population: &mut Population, now: Tick) -> u64 {
        let Self { ring, plains, inbound, searches, .. } = self;
        let mut handled = 0;
        for number in 0..RING / GROUP + 3 {
            for at in batch(number) {
                searches[at] = population.engine.search_inbound(&inbound[at]);
                ring[at].prefetch();
            }
            if let Some(number) = number.checked_sub(1) {
                searches[batch(number)].iter_mut().for_each(|search| population.engine.scan_inbound(search));
            }
            if let Some(number) = number.checked_sub(2) {
                let searches = &mut searches[batch(number)];
                searches.iter_mut().for_each(|search| population.engine.scan_second_inbound(search));
            }
            let Some(number) = number.checked_sub(3) else { continue };
            for at in batch(number) {
                let session = population.engine.settle_inbound(&inbound[at], &searches[at]);
                handled += u64::from(translate_inbound(population, session, &plains[at], &mut ring[at], now));
            }
        }
        handled
    }
}

/// Shows an outbound packet to its session, and translates it. False if it has none.
#[inline(always)]
pub fn translate_outbound(
    population: &mut Population,
    session: SessionIndex,
    plain: &Plain,
    buffer: &mut Buffer,
    identification: u16,
    now: Tick,
) -> bool {
    let Some(fixed) = shown(population, session, plain, Direction::Outbound, now) else { return false };
    let to = Ends {
        source: fixed.external,
        destination: fixed.remote,
        source_port: fixed.external_port,
        destination_port: fixed.remote_port,
        delta: Delta::from_raw(fixed.delta),
    };
    let header = frames::header(Family::V4);
    let six = population.flows.kind == Kind::Nat64;
    let mut frame = frame(buffer, plain, if six { 40 } else { 20 });
    if six {
        plain_six_to_four(&mut frame, plain, &header, &to, identification, Remark::COPY)
    } else {
        plain_four_to_four(&mut frame, plain, &header, &to, Some(identification))
    }
}

/// As [`translate_outbound`], for an inbound packet.
#[inline(always)]
pub fn translate_inbound(
    population: &mut Population,
    session: SessionIndex,
    plain: &Plain,
    buffer: &mut Buffer,
    now: Tick,
) -> bool {
    let Some(fixed) = shown(population, session, plain, Direction::Inbound, now) else { return false };
    let (source_port, destination_port) = (fixed.remote_port, fixed.inside_port);
    let delta = Delta::from_raw(fixed.delta).inverse();
    let mut frame = frame(buffer, plain, 20);
    if population.flows.kind == Kind::Nat64 {
        let Some(prefix) = population.config.prefix64(fixed.prefix64) else { return false };
        let (source, destination) = (prefix.embed(fixed.remote), fixed.inside);
        let to = Ends { source, destination, source_port, destination_port, delta };
        plain_four_to_six(&mut frame, plain, &frames::header(Family::V6), &to, Remark::COPY)
    } else {
        let (source, destination) = (fixed.remote, fixed.inside as u32);
        let to = Ends { source, destination, source_port, destination_port, delta };
        plain_four_to_four(&mut frame, plain, &frames::header(Family::V4), &to, None)
    }
}

#[inline(always)]
fn shown(
    population: &mut Population,
    session: SessionIndex,
    plain: &Plain,
    direction: Direction,
    now: Tick,
) -> Option<Fixed> {
    let seen =
        session.is_some() && population.engine.established(session, direction, plain.tcp_flags, now).is_ok();
    seen.then(|| population.engine.session(session).fixed())
}

#[inline(always)]
fn frame<'a>(buffer: &'a mut Buffer, plain: &Plain, header: usize) -> Frame<'a> {
    Frame::new(&mut buffer.0, HEADROOM, LINK + header + usize::from(plain.payload))
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
