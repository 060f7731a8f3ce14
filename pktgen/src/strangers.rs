//! Strangers: frames beside the measured flows, each the only one of a flow of its own.
//!
//! They make a device open flows, or refuse them, while it carries others. What becomes of them is the device's business:
//! those that come out are counted, nothing more. They carry a signature, under a number of run of their own.

use std::ops::Range;

use sluice_packet::Endpoints;

use crate::pace::Pace;
use crate::plan::Plan;
use crate::side::Side;
use crate::signature::{Direction, Signature};
use crate::template::Template;

/// Ports that strangers have on the side that they are strange to.
const PORTS: Range<u16> = 1024..u16::MAX;
/// Ports of the responder's, apart for those from inside and those from outside: neither finds a flow that the other has opened.
const FROM_INSIDE: Range<u16> = 1024..32_768;
const FROM_OUTSIDE: Range<u16> = 32_768..u16::MAX;

/// Number of the run that strangers' signatures have.
pub fn run(plan: &Plan) -> u8 {
    plan.run ^ 1
}

/// Strangers of one side.
#[derive(Debug)]
pub struct Stream {
    /// None if there are no strangers.
    pace: Option<Pace>,
    sent: u32,
}

/// Strangers of both sides.
#[derive(Debug)]
pub struct Strangers {
    /// From inside: first frames of new flows.
    pub outbound: Stream,
    /// From outside: frames that nobody asked for.
    pub inbound: Stream,
}

impl Strangers {
    /// Those of a plan, from `start` on.
    pub fn new(plan: &Plan, start: u64) -> Self {
        let [outbound, inbound] =
            plan.strangers.map(|rate| Stream { pace: rate.map(|pps| Pace::new(pps, start)), sent: 0 });
        Self { outbound, inbound }
    }

    /// Whether there were any.
    pub fn came(&self) -> bool {
        self.sent() != [0; 2]
    }

    /// How many there were, from inside and from outside.
    pub fn sent(&self) -> [u64; 2] {
        [self.outbound.sent.into(), self.inbound.sent.into()]
    }
}

impl Stream {
    /// Sends those that are due, as far as there is room. `next` makes the frame of a number. Whether any were sent.
    pub fn send(
        &mut self,
        now: u64,
        side: &mut Side,
        template: &Template,
        next: impl Fn(u32) -> Option<(Endpoints, Signature)>,
    ) -> bool {
        let Some(pace) = &mut self.pace else { return false };
        let due = pace.due(now);
        let mut pushed = 0;
        while pushed < due && side.push(template, || next(self.sent)) {
            pushed += 1;
            self.sent = self.sent.wrapping_add(1);
        }
        pace.sent(pushed);
        pushed > 0
    }
}

/// The first frame of a new flow: from a port of the next host to one of the responder's, but never to that of the measured flows.
pub fn first(plan: &Plan, number: u32) -> (Endpoints, Signature) {
    let (destination_port, source_port) = ports(plan, number, FROM_INSIDE);
    let ends = Endpoints {
        source: plan.hosts.address(number % plan.hosts.count),
        destination: plan.remote_inside(),
        source_port,
        destination_port,
    };
    (ends, signature(plan, Direction::Outbound, number))
}

/// A frame from the responder's address to a port of an external address.
pub fn unsolicited(plan: &Plan, number: u32, external: u128) -> (Endpoints, Signature) {
    let (source_port, destination_port) = ports(plan, number, FROM_OUTSIDE);
    let ends = Endpoints { source: plan.remote, destination: external, source_port, destination_port };
    (ends, signature(plan, Direction::Inbound, number))
}

fn signature(plan: &Plan, direction: Direction, number: u32) -> Signature {
    Signature { direction, run: run(plan), flow: 0, sequence: number, time: 0 }
}

/// A port of the responder's, all in turn, and one that looks random and depends on the seed. No two numbers have the same pair
/// before all pairs have had their turn.
fn ports(plan: &Plan, number: u32, of: Range<u16>) -> (u16, u16) {
    let count = u32::from(of.end - of.start);
    let (turn, round) = (number % count, number / count);
    let responder = of.start + turn as u16;
    let mixed = (plan.seed ^ u64::from(turn)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let place = ((mixed >> 32) as u32).wrapping_add(round) % u32::from(PORTS.end - PORTS.start);
    // The last port of all is in neither range: it stands in for that of the measured flows.
    (if responder == plan.port { u16::MAX } else { responder }, PORTS.start + place as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Translation;
    use crate::plan::tests::plan;
    use crate::verify::{Verdict, Verifier};
    use std::collections::HashSet;

    #[test]
    fn strangers_are_all_different_and_none_is_of_a_measured_flow() {
        let plan = plan(Translation::Nat44, 1000);
        let (mut seen, mut responders) = (HashSet::new(), [HashSet::new(), HashSet::new()]);
        for number in 0..200_000 {
            let (first, _) = first(&plan, number);
            let (unsolicited, _) = unsolicited(&plan, number, 99);
            assert!(seen.insert((0, first.source_port, first.destination_port)));
            assert!(seen.insert((1, unsolicited.destination_port, unsolicited.source_port)));
            responders[0].insert(first.destination_port);
            responders[1].insert(unsolicited.source_port);
            assert_eq!((unsolicited.source, unsolicited.destination), (plan.remote, 99));
        }
        assert!(responders[0].is_disjoint(&responders[1]));
        assert!(responders.iter().all(|ports| !ports.contains(&plan.port)));
    }

    #[test]
    fn strangers_that_come_out_are_counted_apart() {
        let plan = Plan { strangers: [Some(None); 2], ..plan(Translation::Nat44, 4) };
        let mut judge = Verifier::new(&plan, [2; 6], [4; 6]);
        for (direction, mac, count) in [(Direction::Outbound, [4; 6], 3), (Direction::Inbound, [2; 6], 2)] {
            let template = Template::new(plan.inside.family, mac, [6; 6], 60);
            for number in 0..count {
                let (ends, _) = first(&plan, number);
                let mut frame = vec![0; 60];
                assert!(template.write(&mut frame, &ends, &signature(&plan, direction, number)));
                assert_eq!(judge.judge(direction, &frame, 0), Verdict::Done);
            }
        }
        assert_eq!((judge.strangers, judge.foreign, judge.wrong.count), ([3, 2], 0, [0, 0]));
        assert_eq!((judge.outbound.received, judge.inbound.received), (0, 0));
    }
}
