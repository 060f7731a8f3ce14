//! The rewrite alone: headers and sessions are known, the frame is translated.

use std::hint::black_box;

use sluice_nat::{Config, Direction, Fixed, Kind, SessionIndex, Tick};
use sluice_packet::{
    Delta, Endpoints, Family, Frame, Meta, Rewrite, four_to_four, four_to_six, link, parse, six_to_four,
    transport_delta,
};

use crate::Population;
use crate::frames::{self, Buffer, HEADROOM};
use crate::meter::{RING, Workload};
use crate::population::{Arrival, Draw};

/// What a session makes of an outbound packet, as the worker decides it. `None` if the session is of a prefix that the
/// configuration no longer has.
#[inline(always)]
pub fn outbound(config: &Config, meta: &Meta, fixed: &Fixed, identification: u16) -> Option<Rewrite> {
    let to = Endpoints {
        source: fixed.external.into(),
        destination: fixed.remote.into(),
        source_port: fixed.external_port,
        destination_port: fixed.remote_port,
    };
    // The session's delta is for one form of the destination in all 128 bits.
    let exact = meta.destination == remote_inside(config, fixed)?;
    let delta = if exact {
        Delta::from_raw(fixed.delta)
    } else {
        transport_delta(meta.transport, &Endpoints::of(meta), &to)
    };
    Some(Rewrite { to, delta, identification, decrement: true, allow_zero: false })
}

/// What a session makes of an inbound packet.
#[inline(always)]
pub fn inbound(config: &Config, fixed: &Fixed) -> Option<Rewrite> {
    let to = Endpoints {
        source: remote_inside(config, fixed)?,
        destination: fixed.inside,
        source_port: fixed.remote_port,
        destination_port: fixed.inside_port,
    };
    let delta = Delta::from_raw(fixed.delta).inverse();
    Some(Rewrite { to, delta, identification: 0, decrement: true, allow_zero: false })
}

/// The remote address as the inside host sees it.
#[inline(always)]
fn remote_inside(config: &Config, fixed: &Fixed) -> Option<u128> {
    match fixed.kind_realm.kind()? {
        Kind::Nat44 => Some(fixed.remote.into()),
        Kind::Nat64 => config.prefix64(fixed.prefix64).map(|prefix| prefix.embed(fixed.remote)),
    }
}

/// Translates a packet to the other side of a session. True if it is one; what is kept of it are the bounds of its frame,
/// as in an mbuf.
#[inline(always)]
pub fn translate(buffer: &mut Buffer, meta: &Meta, to: Family, rewrite: &Rewrite) -> bool {
    let mut frame = Frame::new(&mut buffer.0, HEADROOM, meta.end.into());
    let done = match (meta.family, to) {
        (Family::V6, _) => six_to_four(&mut frame, meta, rewrite).is_ok(),
        (Family::V4, Family::V6) => four_to_six(&mut frame, meta, rewrite).is_ok(),
        (Family::V4, Family::V4) => four_to_four(&mut frame, meta, rewrite).is_ok(),
    };
    black_box((frame.start(), frame.len()));
    done
}

/// Family of the packets that leave in a direction.
pub fn family_after(kind: Kind, direction: Direction) -> Family {
    match (kind, direction) {
        (Kind::Nat64, Direction::Inbound) => Family::V6,
        _ => Family::V4,
    }
}

/// Rewrites packets of one direction.
#[derive(Debug)]
pub struct RewriteAlone {
    direction: Direction,
    ring: Vec<Buffer>,
    known: Vec<(Meta, Rewrite)>,
    draw: Draw,
}

impl RewriteAlone {
    /// Rewrites of a direction.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            ring: vec![Buffer::default(); RING],
            known: Vec::with_capacity(RING),
            draw: Draw::new(0x7277_7274, Arrival::Uniform),
        }
    }

    /// Headers and rewrite of a flow's packet.
    fn know(
        population: &Population,
        direction: Direction,
        flow: u32,
        buffer: &Buffer,
    ) -> Option<(Meta, Rewrite)> {
        let len = frames::len(frames::family(population.flows.kind, direction));
        let bytes = buffer.frame(len);
        let meta = parse(bytes, &link(bytes).ok()?).ok()?;
        let mut found = [SessionIndex::NONE];
        population.engine.find_inbound(&[population.inbound(flow)], &mut found);
        if !found[0].is_some() {
            return None;
        }
        let fixed = population.engine.session(found[0]).fixed();
        let rewrite = match direction {
            Direction::Outbound => outbound(&population.config, &meta, &fixed, flow as u16),
            Direction::Inbound => inbound(&population.config, &fixed),
        };
        Some((meta, rewrite?))
    }
}

impl Workload for RewriteAlone {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        self.known.clear();
        for buffer in &mut self.ring {
            let flow = self.draw.flow(population);
            frames::write(population, self.direction, flow, buffer);
            self.known.extend(Self::know(population, self.direction, flow, buffer));
        }
    }

    fn pass(&mut self, population: &mut Population, _: Tick) -> u64 {
        let to = family_after(population.flows.kind, self.direction);
        let mut handled = 0;
        for (buffer, (meta, rewrite)) in self.ring.iter_mut().zip(&self.known) {
            handled += u64::from(translate(buffer, meta, to, rewrite));
        }
        handled
    }
}

/// Checksum deltas that no session has: from what a packet carries to what it shall carry.
#[derive(Debug)]
pub struct DeltaAlone(RewriteAlone);

impl DeltaAlone {
    /// Deltas of a direction.
    pub fn new(direction: Direction) -> Self {
        Self(RewriteAlone::new(direction))
    }
}

impl Workload for DeltaAlone {
    type State = Population;

    fn fill(&mut self, population: &Population) {
        self.0.fill(population);
    }

    fn pass(&mut self, _: &mut Population, _: Tick) -> u64 {
        let mut handled = 0;
        for (meta, rewrite) in &self.0.known {
            let delta = transport_delta(meta.transport, &Endpoints::of(meta), &rewrite.to);
            // Two deltas that do the same may differ in the representation of zero.
            handled += u64::from(delta.apply(0x1234) == rewrite.delta.apply(0x1234));
        }
        handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flows;
    use crate::flows::{DIRECTIONS, KINDS};
    use sluice_packet::checksum;

    #[test]
    fn rewritten_packets_are_those_of_the_other_side() {
        for flows in KINDS.into_iter().flat_map(|kind| [Flows::udp(kind, 500), Flows::tcp(kind, 500)]) {
            for direction in DIRECTIONS {
                let mut population = Population::new(flows).unwrap();
                let mut alone = RewriteAlone::new(direction);
                alone.fill(&population);
                let before: Vec<_> = alone.known.clone();
                assert_eq!(alone.pass(&mut population, Tick(1)), RING as u64);
                let family = family_after(flows.kind, direction);
                let protocol = flows.protocol as u8;
                for (buffer, (meta, rewrite)) in alone.ring.iter().zip(&before) {
                    let grown = frames::len(family) as isize - isize::from(meta.end.cast_signed());
                    let start = (HEADROOM as isize - grown) as usize;
                    let frame = &buffer.0[start..][..frames::len(family)];
                    let after = parse(frame, &link(frame).unwrap()).unwrap();
                    assert_eq!(Endpoints::of(&after), rewrite.to);
                    assert_eq!(after.hop_limit, 63);
                    let payload = &frame[usize::from(after.l4)..];
                    let sum = match family {
                        Family::V4 => {
                            let (source, destination) = (after.source as u32, after.destination as u32);
                            checksum::transport_v4(source, destination, protocol, payload)
                        }
                        Family::V6 => {
                            checksum::transport_v6(after.source, after.destination, protocol, payload)
                        }
                    };
                    assert_eq!(sum, 0);
                }
            }
        }
    }

    #[test]
    fn computed_deltas_agree_with_those_of_sessions() {
        let mut population = Population::new(Flows::udp(Kind::Nat64, 500)).unwrap();
        for direction in [Direction::Outbound, Direction::Inbound] {
            let mut alone = DeltaAlone::new(direction);
            alone.fill(&population);
            assert_eq!(alone.pass(&mut population, Tick(1)), RING as u64);
        }
    }
}
