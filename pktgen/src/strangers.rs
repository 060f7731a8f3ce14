//! Strangers: frames beside the measured flows, each the only one of a flow of its own.
//!
//! They make a device open flows, or refuse them, while it carries others. What becomes of them is the device's business:
//! those that come out are counted, nothing more. They carry a signature, under a number of run of their own.

use sluice_packet::Endpoints;

use crate::pace::Pace;
use crate::plan::Plan;
use crate::side::Side;
use crate::signature::{Direction, Signature};
use crate::template::Template;

/// First port of strangers.
const FIRST_PORT: u32 = 1024;
const PORTS: u32 = 65_536 - FIRST_PORT;

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

/// The first frame of a new flow: from any port of the next host, to the responder. Each goes to another of the responder's
/// ports, until all had their turn, but never to that of the measured flows.
pub fn first(plan: &Plan, number: u32) -> (Endpoints, Signature) {
    let ends = Endpoints {
        source: plan.hosts.address(number % plan.hosts.count),
        destination: plan.remote_inside(),
        source_port: any_port(plan, number),
        destination_port: other_port(plan, number),
    };
    (ends, signature(plan, Direction::Outbound, number))
}

/// A frame from the responder's address to any port of an external address.
pub fn unsolicited(plan: &Plan, number: u32, external: u128) -> (Endpoints, Signature) {
    let ends = Endpoints {
        source: plan.remote,
        destination: external,
        source_port: other_port(plan, number),
        destination_port: any_port(plan, number),
    };
    (ends, signature(plan, Direction::Inbound, number))
}

fn signature(plan: &Plan, direction: Direction, number: u32) -> Signature {
    Signature { direction, run: run(plan), flow: 0, sequence: number, time: 0 }
}

/// A port that looks random, and depends on the seed.
fn any_port(plan: &Plan, number: u32) -> u16 {
    let mixed = (plan.seed ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (FIRST_PORT + (mixed >> 32) as u32 % PORTS) as u16
}

/// The ports in turn, without the responder's.
fn other_port(plan: &Plan, number: u32) -> u16 {
    let port = (FIRST_PORT + number % (PORTS - 1)) as u16;
    if port < plan.port || plan.port < FIRST_PORT as u16 { port } else { port + 1 }
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
        let all: HashSet<_> = (0..50_000).map(|number| first(&plan, number).0.destination_port).collect();
        assert_eq!(all.len(), 50_000);
        assert!(all.iter().all(|&port| port >= 1024 && port != plan.port));
        let low = Plan { port: 53, ..plan.clone() };
        assert!((0..PORTS).all(|number| other_port(&low, number) >= 1024));
        let (ends, _) = unsolicited(&plan, 7, 99);
        assert_eq!((ends.source, ends.destination), (plan.remote, 99));
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
