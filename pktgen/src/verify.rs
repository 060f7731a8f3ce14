//! The judge of every received frame, and the memory of what was sent: one [`Flow`] per flow, one [`Counts`] per direction.

use std::collections::{BTreeMap, HashMap};

use sluice_packet::{Endpoints, Family};

use crate::fault::{Fault, FaultKind};
use crate::histogram::Histogram;
use crate::plan::{Plan, Translation, family_name, ip};
use crate::received::{Datagram, Reading, read};
use crate::signature::{self, Direction, Signature};
use crate::strangers;
use crate::template::{self, HOP_LIMIT};
use crate::window::{Arrival, Window};

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A right frame of this flow, and new.
    Received(u32),
    /// Counted, and nothing more to do: a duplicate, a wrong frame, or none of ours.
    Done,
    /// ARP or ND, which the caller answers.
    Neighbour,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// Sequence number of the next frame sent.
    next: u32,
    /// First sequence number that is measured.
    base: u32,
    received: u32,
    window: Window,
}

/// A flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    ends: Endpoints,
    /// Address and port that it has outside, once a frame has come through.
    external: Option<(u128, u16)>,
    outbound: Track,
    inbound: Track,
}

/// One direction, all flows together.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Frames sent.
    pub sent: u64,
    /// Right frames received, each once.
    pub received: u64,
    /// Right frames received again.
    pub duplicates: u64,
    /// Frames received after a later one of their flow.
    pub reordered: u64,
    /// Frames so late that they count as lost.
    pub too_late: u64,
    /// Delays in nanoseconds.
    pub delay: Histogram,
    /// When the first frame was received.
    pub first: Option<u64>,
    /// When the last frame was received.
    pub last: u64,
}

impl Counts {
    /// Frames sent and not received.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// The first wrong frame, for a person to look at.
#[derive(Clone, Debug)]
pub struct WrongFrame {
    /// Which way it was to go.
    pub direction: Direction,
    /// What is wrong.
    pub fault: Fault,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Wrong frames. They fail a run, in whichever phase they come.
#[derive(Clone, Debug, Default)]
pub struct Wrong {
    /// How many, outbound and inbound.
    pub count: [u64; 2],
    /// How many of which kind.
    pub kinds: BTreeMap<FaultKind, u64>,
    /// The first.
    pub first: Option<WrongFrame>,
}

/// Loss by flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowLoss {
    /// Flows that lost a frame.
    pub flows: u32,
    /// The flow that lost most, and how many.
    pub worst: Option<(u32, u32)>,
}

/// The judge.
#[derive(Debug)]
pub struct Verifier {
    plan: Plan,
    /// MAC addresses of the outside and of the inside port: where outbound and inbound frames must arrive.
    macs: [[u8; 6]; 2],
    /// What payloads look like behind their signature.
    payload: Vec<u8>,
    flows: Vec<Flow>,
    /// External tuples and whose they are.
    taken: HashMap<(u128, u16), u32>,
    /// Inside to outside.
    pub outbound: Counts,
    /// Outside to inside.
    pub inbound: Counts,
    /// Both.
    pub wrong: Wrong,
    /// Frames that are none of ours.
    pub foreign: u64,
    /// Strangers' frames that came out, outbound and inbound.
    pub strangers: [u64; 2],
    /// ICMP errors received, and the first: which side, type and code.
    pub icmp_errors: u64,
    /// The first of them, in words.
    pub first_icmp: Option<String>,
}

impl Verifier {
    /// A judge that has seen nothing.
    pub fn new(plan: &Plan, inside_mac: [u8; 6], outside_mac: [u8; 6]) -> Self {
        let flow = |flow| Flow {
            ends: plan.ends(flow),
            external: None,
            outbound: Track::default(),
            inbound: Track::default(),
        };
        let mut payload = vec![0; plan.inside_len() - template::least(plan.inside.family) + signature::LEN];
        template::fill(&mut payload);
        Self {
            plan: plan.clone(),
            macs: [outside_mac, inside_mac],
            payload,
            flows: (0..plan.flows).map(flow).collect(),
            taken: HashMap::with_capacity(plan.flows as usize),
            outbound: Counts::default(),
            inbound: Counts::default(),
            wrong: Wrong::default(),
            foreign: 0,
            strangers: [0; 2],
            icmp_errors: 0,
            first_icmp: None,
        }
    }

    /// The next frame of a flow; it counts as sent. `None` if the flow has no number left, or, inbound, no external
    /// tuple yet: the responder answers only to what it has learned.
    //= conformance BENCH-60
    #[inline]
    pub fn next(&mut self, direction: Direction, flow: u32, now: u64) -> Option<(Endpoints, Signature)> {
        let entry = self.flows.get_mut(flow as usize)?;
        let (ends, track, counts) = match direction {
            Direction::Outbound => (entry.ends, &mut entry.outbound, &mut self.outbound),
            Direction::Inbound => {
                let (destination, destination_port) = entry.external?;
                let (source, source_port) = (self.plan.remote, self.plan.port);
                let ends = Endpoints { source, destination, source_port, destination_port };
                (ends, &mut entry.inbound, &mut self.inbound)
            }
        };
        let sequence = track.next;
        track.next = sequence.checked_add(1)?;
        counts.sent += 1;
        Some((ends, Signature { direction, run: self.plan.run, flow, sequence, time: now }))
    }

    /// Judges a frame received outside (`Outbound`) or inside (`Inbound`).
    //= conformance BENCH-15
    #[inline]
    pub fn judge(&mut self, direction: Direction, frame: &[u8], now: u64) -> Verdict {
        match read(frame) {
            Reading::Udp(datagram) => match self.datagram(direction, &datagram, now) {
                Ok(verdict) => verdict,
                Err(fault) => self.reject(direction, fault, frame),
            },
            Reading::Broken(fault) => self.reject(direction, fault, frame),
            Reading::Arp | Reading::Nd => Verdict::Neighbour,
            Reading::IcmpError { family, kind, code } => {
                self.icmp_errors += 1;
                self.first_icmp.get_or_insert_with(|| {
                    let side = match direction {
                        Direction::Outbound => "outside",
                        Direction::Inbound => "inside",
                    };
                    format!(
                        "ICMP error type {kind} code {code} ({}) received on the {side}",
                        family_name(family)
                    )
                });
                Verdict::Done
            }
            Reading::Other => self.ignore(),
        }
    }

    fn datagram(
        &mut self,
        direction: Direction,
        datagram: &Datagram<'_>,
        now: u64,
    ) -> Result<Verdict, Fault> {
        let found = Signature::read(datagram.payload);
        let port = match direction {
            Direction::Outbound => datagram.ends.destination_port,
            Direction::Inbound => datagram.ends.source_port,
        };
        if found.is_none() && port != self.plan.port {
            return Ok(self.ignore());
        }
        if let Some(fault) = &datagram.checksum_fault {
            return Err(fault.clone());
        }
        let Some(signature) = found else {
            return Err(Fault::new(
                FaultKind::Signature,
                "a signature",
                "a datagram on the test's port without one",
            ));
        };
        if self.plan.strangers != [None; 2] && signature.run == strangers::run(&self.plan) {
            self.strangers[signature.direction as usize] += 1;
            return Ok(Verdict::Done);
        }
        if signature.run != self.plan.run {
            return Ok(self.ignore());
        }
        if signature.direction != direction {
            let message = format!("a frame that was sent {:?}", signature.direction);
            return Err(Fault::new(FaultKind::Direction, format!("{direction:?}"), message));
        }
        let track = match (self.flows.get(signature.flow as usize), direction) {
            (None, _) => return Err(never_sent("no such flow", &signature)),
            (Some(flow), Direction::Outbound) => flow.outbound,
            (Some(flow), Direction::Inbound) => flow.inbound,
        };
        if signature.sequence >= track.next {
            return Err(never_sent(&format!("sequence below {}", track.next), &signature));
        }
        self.check(direction, datagram, signature.flow)?;
        if signature.sequence < track.base {
            // A straggler of the opening, which is not measured.
            return Ok(Verdict::Done);
        }
        Ok(self.count(direction, &signature, now))
    }

    /// What must hold for every frame of a flow, whenever it comes.
    fn check(&mut self, direction: Direction, datagram: &Datagram<'_>, flow: u32) -> Result<(), Fault> {
        let (mac, family) = match direction {
            Direction::Outbound => (self.macs[0], self.plan.outside.family),
            Direction::Inbound => (self.macs[1], self.plan.inside.family),
        };
        if datagram.mac_destination != mac {
            return Err(Fault::new(FaultKind::Mac, mac_text(mac), mac_text(datagram.mac_destination)));
        }
        if datagram.family != family {
            return Err(Fault::new(FaultKind::Family, family_name(family), family_name(datagram.family)));
        }
        let device = self.plan.translation.is_device();
        let (least, most) = if device { (1, HOP_LIMIT - 1) } else { (HOP_LIMIT, HOP_LIMIT) };
        if !(least..=most).contains(&datagram.hop_limit) {
            return Err(Fault::new(FaultKind::HopLimit, format!("{least} to {most}"), datagram.hop_limit));
        }
        let Some(entry) = self.flows.get_mut(flow as usize) else { return Ok(()) };
        let found = datagram.ends;
        let (source, destination) =
            ((found.source, found.source_port), (found.destination, found.destination_port));
        let remote = match direction {
            Direction::Outbound => (self.plan.remote, self.plan.port),
            Direction::Inbound => (self.plan.remote_inside(), self.plan.port),
        };
        let inside = (entry.ends.source, entry.ends.source_port);
        let (host, remote_kind, far) = match direction {
            Direction::Outbound => (source, FaultKind::Destination, destination),
            Direction::Inbound => (destination, FaultKind::Source, source),
        };
        if far != remote {
            return Err(Fault::new(remote_kind, tuple(family, remote), tuple(family, far)));
        }
        if datagram.payload.len() != self.payload.len() {
            let (expected, found) = (self.payload.len(), datagram.payload.len());
            return Err(Fault::new(
                FaultKind::Payload,
                format!("{expected} bytes"),
                format!("{found} bytes"),
            ));
        }
        if datagram.payload.get(signature::LEN..) != self.payload.get(signature::LEN..) {
            return Err(Fault::new(FaultKind::Payload, "the bytes that were sent", "others"));
        }
        match (direction, self.plan.translation) {
            (Direction::Inbound, _) if host != inside => {
                Err(Fault::new(FaultKind::Destination, tuple(family, inside), tuple(family, host)))
            }
            (Direction::Inbound, _) => Ok(()),
            (Direction::Outbound, Translation::Nothing(_)) if host != inside => {
                Err(Fault::new(FaultKind::Source, tuple(family, inside), tuple(family, host)))
            }
            (Direction::Outbound, Translation::Nat44) if self.plan.hosts.contains(family, host.0) => {
                Err(Fault::new(FaultKind::Source, "an external address", tuple(family, host)))
            }
            (Direction::Outbound, _) => match entry.external {
                Some(known) if known == host => Ok(()),
                Some(known) => {
                    let expected = format!("{} for flow {flow}, as before", tuple(family, known));
                    Err(Fault::new(FaultKind::TupleChanged, expected, tuple(family, host)))
                }
                None => match self.taken.get(&host) {
                    Some(owner) => {
                        let found = format!("{}, which flow {owner} has", tuple(family, host));
                        Err(Fault::new(
                            FaultKind::TupleShared,
                            format!("a tuple of its own for flow {flow}"),
                            found,
                        ))
                    }
                    None => {
                        self.taken.insert(host, flow);
                        entry.external = Some(host);
                        Ok(())
                    }
                },
            },
        }
    }

    #[inline]
    fn count(&mut self, direction: Direction, signature: &Signature, now: u64) -> Verdict {
        let Some(entry) = self.flows.get_mut(signature.flow as usize) else { return Verdict::Done };
        let (track, counts) = match direction {
            Direction::Outbound => (&mut entry.outbound, &mut self.outbound),
            Direction::Inbound => (&mut entry.inbound, &mut self.inbound),
        };
        match track.window.accept(signature.sequence) {
            Arrival::InOrder => {}
            Arrival::Reordered => counts.reordered += 1,
            Arrival::Duplicate => {
                counts.duplicates += 1;
                return Verdict::Done;
            }
            Arrival::TooLate => {
                counts.too_late += 1;
                return Verdict::Done;
            }
        }
        track.received += 1;
        counts.received += 1;
        counts.first.get_or_insert(now);
        counts.last = now;
        counts.delay.record(now.saturating_sub(signature.time));
        Verdict::Received(signature.flow)
    }

    fn ignore(&mut self) -> Verdict {
        self.foreign += 1;
        Verdict::Done
    }

    #[cold]
    fn reject(&mut self, direction: Direction, fault: Fault, frame: &[u8]) -> Verdict {
        self.wrong.count[direction as usize] += 1;
        *self.wrong.kinds.entry(fault.kind).or_default() += 1;
        self.wrong.first.get_or_insert_with(|| WrongFrame { direction, fault, bytes: frame.to_vec() });
        Verdict::Done
    }

    /// Flows from which nothing has come back yet.
    pub fn unopened(&self) -> Vec<u32> {
        (0..)
            .zip(&self.flows)
            .filter(|(_, flow)| flow.inbound.received == 0)
            .map(|(index, _)| index)
            .collect()
    }

    /// External address and port of a flow, as far as they are known.
    pub fn external(&self, flow: u32) -> Option<(u128, u16)> {
        self.flows.get(flow as usize)?.external
    }

    /// Flows that came through to the outside at least.
    pub fn learned(&self) -> usize {
        self.taken.len()
    }

    /// Ends the opening: from here on frames are measured. Wrong frames stay on record, and so do tuples.
    //= conformance BENCH-61, BENCH-64
    pub fn start_measuring(&mut self) {
        for flow in &mut self.flows {
            for track in [&mut flow.outbound, &mut flow.inbound] {
                (track.base, track.received) = (track.next, 0);
                track.window = Window::starting_at(track.base);
            }
        }
        (self.outbound, self.inbound) = (Counts::default(), Counts::default());
    }

    /// Whether everything that was sent has come.
    pub fn is_complete(&self) -> bool {
        self.outbound.lost() == 0 && self.inbound.lost() == 0
    }

    /// Loss by flow.
    pub fn flow_loss(&self, direction: Direction) -> FlowLoss {
        let mut loss = FlowLoss::default();
        for (index, flow) in (0..).zip(&self.flows) {
            let track = match direction {
                Direction::Outbound => flow.outbound,
                Direction::Inbound => flow.inbound,
            };
            let lost = (track.next - track.base).saturating_sub(track.received);
            if lost > 0 {
                loss.flows += 1;
                if loss.worst.is_none_or(|(_, most)| lost > most) {
                    loss.worst = Some((index, lost));
                }
            }
        }
        loss
    }
}

fn never_sent(expected: &str, signature: &Signature) -> Fault {
    let found = format!("flow {} sequence {}", signature.flow, signature.sequence);
    Fault::new(FaultKind::NeverSent, expected, found)
}

fn tuple(family: Family, (address, port): (u128, u16)) -> String {
    std::net::SocketAddr::new(ip(family, address), port).to_string()
}

/// A MAC address as people write it.
pub fn mac_text(mac: [u8; 6]) -> String {
    sluice_dpdk::MacAddress(mac).to_string()
}

#[cfg(test)]
mod tests;
