//! Floods beside established flows, turn by turn, through whole workers.
//!
//! Every burst is full, and holds packets of established flows between those of strangers. So many packets come in each turn,
//! whatever the speed of the machine: what is tested is what a worker puts first and what it refuses, not how fast it is.
//! A port that overflows because its worker is too slow loses packets before anybody has looked at them.

use std::collections::{BTreeMap, HashSet};

use sluice_dpdk::Eal;
use sluice_nat::{Direction, Engine, FragmentSpec, Kind, Protocol, WorkerId};
use sluice_packet::{DropReason, Family, Transport, checksum, ipv4, ipv6, link, parse, tcp};
use sluice_shm::{Counter, CountersSnapshot};

use super::rig::{BURST, Rig};
use crate::flows::{Flows, POOL, PREFIX, SERVERS};
use crate::frames::{self, Buffer, Ends};
use crate::meter::START;
use crate::{Population, Random};

/// Established flows, and packets of theirs in each burst.
const ESTABLISHED: u32 = 600;
const SHARE: usize = 8;
/// Hosts that open one flow after the other, beside those that come once.
const BUSY: u32 = 64;
const TURNS: usize = 600;

/// How a packet of a stranger may end, if it opens no flow.
const REFUSED: [DropReason; 11] = [
    DropReason::NoBinding,
    DropReason::UnsolicitedSyn,
    DropReason::TcpNoSession,
    DropReason::SessionTableFull,
    DropReason::BindingTableFull,
    DropReason::PoolExhausted,
    DropReason::SubscriberTableFull,
    DropReason::SubscriberSessions,
    DropReason::SubscriberPorts,
    DropReason::SubscriberMappings,
    DropReason::MissBudget,
];

/// What the strangers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strangers {
    /// First packets of flows, and packets of none.
    Flows,
    /// Fragments: without beginning, without end, overlapping, tiny.
    Fragments,
    /// ICMP errors about flows that exist, about others, and about nothing.
    Errors,
}

/// What floods what.
#[derive(Clone, Copy, Debug)]
struct Scene {
    strangers: Strangers,
    flows: Flows,
    workers: u8,
    /// Receive queues of the first worker on each port.
    queues: usize,
}

/// An established flow: its packets as they are sent from inside and from outside, and as they come out on the other side.
struct Known {
    sent: [Ends; 2],
    seen: [Ends; 2],
}

/// No packet of an established flow is lost or changed, and each leaves in the turn in which it came, whatever comes with it:
/// new flows from everywhere, more of them than a loop makes, than there are records, ports or blocks for, and packets from
/// outside that nobody asked for. And whatever happens to the strangers' packets, it is counted under its name.
pub(super) fn established_flows_lose_nothing(eal: &Eal, kind: Kind) {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let flows = Flows::new(kind, protocol, 8192);
        let scene = Scene { strangers: Strangers::Flows, flows, workers: 1, queues: 1 };
        let unsolicited = [DropReason::NoBinding, DropReason::UnsolicitedSyn, DropReason::TcpNoSession];
        for (scene, reasons) in [
            (scene, &[DropReason::SessionTableFull][..]),
            (Scene { flows: Flows { addresses: 2, ..flows }, ..scene }, &[DropReason::PoolExhausted]),
            (Scene { queues: 8, ..scene }, &[DropReason::MissBudget]),
            (Scene { workers: 2, ..scene }, &[]),
        ] {
            let drops = flood(eal, &scene);
            for reason in reasons.iter().chain(&unsolicited) {
                assert!(drops.contains_key(reason), "{scene:?}: no {reason} in {drops:?}");
            }
        }
    }
}

/// As [`established_flows_lose_nothing`], with fragments and with ICMP errors; what is kept of them stays within its bounds.
//= conformance FRAG-18, LIM-12, LIM-09
pub(super) fn fragments_and_errors_cost_established_flows_nothing(eal: &Eal, kind: Kind) {
    let flows = Flows::new(kind, Protocol::Udp, 8192);
    for workers in [1, 2] {
        for (strangers, reasons) in [
            (
                Strangers::Fragments,
                &[
                    DropReason::FragmentLimit,
                    DropReason::FragmentOverlap,
                    DropReason::FragmentMalformed,
                    DropReason::TransportMalformed,
                ][..],
            ),
            (Strangers::Errors, &[DropReason::IcmpNoSession, DropReason::IcmpQuoteMalformed]),
        ] {
            let scene = Scene { strangers, flows, workers, queues: 1 };
            let drops = flood(eal, &scene);
            for reason in reasons {
                assert!(drops.contains_key(reason), "{scene:?}: no {reason} in {drops:?}");
            }
        }
    }
}

/// Floods, and returns what was dropped.
fn flood(eal: &Eal, scene: &Scene) -> BTreeMap<DropReason, u64> {
    let mut flood = Flood::new(eal, scene);
    let before = flood.counters();
    let (mut fed, mut established) = (0, 0);
    let (mut out, mut strangers, mut errors) = (0, 0, 0);
    for turn in 0..TURNS {
        let mut expected = HashSet::new();
        for port in 0..2 {
            for queue in 0..scene.queues {
                fed += flood.feed(port, queue, &mut expected);
            }
        }
        established += expected.len();
        flood.rig.turn();
        for (port, frame) in flood.rig.take() {
            out += 1;
            match read(&frame) {
                Some(ends) if expected.remove(&(port, ends)) => {}
                Some(_) => strangers += 1,
                None => errors += 1,
            }
        }
        assert!(expected.is_empty(), "{scene:?}, turn {turn}: not there: {expected:?}");
    }
    // What is on its way from worker to worker.
    while flood.rig.turn() > 0 {}
    out += flood.rig.take().len() as u64;
    let after = flood.counters();
    let of = |counter: Counter| total(&after, counter) - total(&before, counter);
    assert_eq!(of(Counter::RxPackets), fed, "{scene:?}");
    assert_eq!(of(Counter::TxPackets), out, "{scene:?}");
    assert_eq!(of(Counter::HandoffIn), of(Counter::HandoffOut), "{scene:?}");
    assert_eq!(of(Counter::HandoffIn) > 0, scene.workers > 1, "{scene:?}");
    for counters in &after {
        let (came, went) = counters.balance();
        assert_eq!(came, went, "{scene:?}");
        assert!(counters.get(Counter::Held) <= u64::from(FragmentSpec::default().waiting), "{scene:?}");
    }
    if scene.strangers == Strangers::Flows {
        assert_eq!(of(Counter::Established), established as u64, "{scene:?}");
        assert_eq!(of(Counter::SessionsCreated) + of(Counter::Stateless), strangers, "{scene:?}");
        assert_eq!(of(Counter::Generated), errors, "{scene:?}");
    }
    let drops: BTreeMap<DropReason, u64> = DropReason::ALL
        .iter()
        .map(|&reason| (reason, after.iter().map(|counters| counters.drops(reason)).sum()))
        .filter(|&(_, count)| count > 0)
        .collect();
    if scene.strangers != Strangers::Flows {
        return drops;
    }
    assert!(drops.keys().all(|reason| REFUSED.contains(reason)), "{scene:?}: {drops:?}");
    assert_eq!(fed + errors, out + drops.values().sum::<u64>(), "{scene:?}: {drops:?}");
    drops
}

fn total(counters: &[CountersSnapshot], counter: Counter) -> u64 {
    counters.iter().map(|counters| counters.get(counter)).sum()
}

/// A flood under way.
struct Flood {
    rig: Rig,
    /// Whose records the workers' sessions are in.
    _population: Population,
    scene: Scene,
    known: Vec<Known>,
    random: Random,
    /// The next established flow, and the next stranger.
    next: usize,
    stranger: u32,
}

impl Flood {
    /// Workers with established flows, which were opened as all are: by their first packets.
    fn new(eal: &Eal, scene: &Scene) -> Self {
        let population = Population::for_workers(scene.flows, scene.workers).unwrap();
        let (shared, config) = (&population.shared, &population.config);
        let engine = |worker| Engine::new(shared.clone(), WorkerId(worker), config.clone());
        let engines = (0..scene.workers).map(engine).collect();
        let mut rig = Rig::at(eal, shared, config, engines, scene.queues, START).unwrap();
        let flows = (0..ESTABLISHED).map(|n| crate::random::shuffled(n, scene.flows.count));
        let known = flows.map(|flow| open(&mut rig, &population, flow)).collect();
        let (random, scene) = (Random::new(0x666c_6f6f), *scene);
        Self { rig, _population: population, scene, known, random, next: 0, stranger: 0 }
    }

    fn counters(&self) -> Vec<CountersSnapshot> {
        (0..usize::from(self.scene.workers)).map(|worker| self.rig.counters(worker)).collect()
    }

    /// A full burst into a queue: where packets of established flows stand in it is left to chance. What is to become of
    /// these is added to `expected`. Returns how many packets there were.
    fn feed(&mut self, port: usize, queue: usize, expected: &mut HashSet<(usize, Ends)>) -> u64 {
        let kind = self.scene.flows.kind;
        let directions = [Direction::Outbound, Direction::Inbound];
        let mut places = [false; BURST];
        places[..SHARE].fill(true);
        for place in (1..BURST).rev() {
            places.swap(place, self.random.below(place as u32 + 1) as usize);
        }
        let frames = places.map(|established| {
            let ends = if established {
                let known = &self.known[self.next % self.known.len()];
                self.next += 1;
                expected.insert((1 - port, known.seen[port]));
                known.sent[port]
            } else if port == 0 {
                self.outbound_stranger()
            } else {
                self.inbound_stranger()
            };
            let family = frames::family(kind, directions[port]);
            let mut frame = match self.scene.strangers {
                _ if established => frame(family, &ends),
                Strangers::Flows => frame(family, &ends),
                Strangers::Fragments => self.fragment(family, &ends),
                Strangers::Errors => self.error(family, port, &ends),
            };
            // The lane leaves a datagram without a checksum to the general stages if it has to become IPv6.
            if established && port == 1 && ends.protocol == Protocol::Udp && self.random.below(4) == 0 {
                frame[14 + 20 + 6..][..2].fill(0);
            }
            frame
        });
        self.rig.put(port, queue, frames.iter().map(Vec::as_slice));
        BURST as u64
    }

    /// A fragment of a datagram between two ends: of a few identifications, so that some of them meet.
    fn fragment(&mut self, family: Family, ends: &Ends) -> Vec<u8> {
        let mut data = vec![0; 8 + 8 * self.random.below(4) as usize];
        data[..2].copy_from_slice(&ends.source_port.to_be_bytes());
        data[2..4].copy_from_slice(&ends.destination_port.to_be_bytes());
        data[5] = 64;
        let offset = [0, 0, 1, 2, 185, 8190][self.random.below(6) as usize];
        let more = self.random.below(3) > 0;
        if self.random.below(8) == 0 {
            data.truncate(1 + self.random.below(7) as usize);
        }
        let id = self.random.below(4) as u16;
        let few = u128::from(self.random.below(if id == 0 { 8 } else { 1 << 16 }));
        let source = (ends.source & !0xffff) | few;
        let mut header = vec![];
        match family {
            Family::V4 => {
                header.extend([0x45, 0]);
                header.extend((20 + data.len() as u16).to_be_bytes());
                header.extend(id.to_be_bytes());
                header.extend((offset | if more { 0x2000u16 } else { 0 }).to_be_bytes());
                header.extend([64, 17, 0, 0]);
                header.extend((source as u32).to_be_bytes());
                header.extend((ends.destination as u32).to_be_bytes());
                let sum = checksum::of(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => {
                header.extend([0x60, 0, 0, 0]);
                header.extend((8 + data.len() as u16).to_be_bytes());
                header.extend([44, 64]);
                header.extend(source.to_be_bytes());
                header.extend(ends.destination.to_be_bytes());
                header.extend([17, 0]);
                header.extend((offset << 3 | u16::from(more)).to_be_bytes());
                header.extend(u32::from(id).to_be_bytes());
            }
        }
        framed(family, &[header, data].concat())
    }

    /// An ICMP error from one end to the other: about a packet of an established flow, of another, or about nothing.
    fn error(&mut self, family: Family, port: usize, ends: &Ends) -> Vec<u8> {
        let known = &self.known[self.random.below(ESTABLISHED) as usize];
        // What the sender of the error had got: what comes out of its port.
        let (seen, to) = (known.seen[1 - port], known.sent[port].destination);
        let (quoted, destination) = match self.random.below(3) {
            0 => (frame(family, &seen), to),
            1 => (frame(family, &turned(ends)), ends.destination),
            _ => (vec![self.random.below(256) as u8; 14 + 48], ends.destination),
        };
        let (kind, protocol) = if family == Family::V6 { (1, 58) } else { (3, 1) };
        let mut icmp = vec![kind, 1, 0, 0, 0, 0, 0, 0];
        icmp.extend(&quoted[14..]);
        let sum = match family {
            Family::V4 => checksum::of(&icmp),
            Family::V6 => checksum::transport_v6(ends.source, destination, protocol, &icmp),
        };
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = match family {
            Family::V4 => ipv4::Fields {
                tos: 0,
                total_length: 20 + icmp.len() as u16,
                identification: 1,
                flags_offset: 0,
                ttl: 64,
                protocol,
                source: ends.source as u32,
                destination: destination as u32,
            }
            .header()
            .to_vec(),
            Family::V6 => ipv6::Fields {
                traffic_class: 0,
                payload_length: icmp.len() as u16,
                next_header: protocol,
                hop_limit: 64,
                source: ends.source,
                destination,
            }
            .header()
            .to_vec(),
        };
        framed(family, &[header, icmp].concat())
    }

    /// The first packet of a flow, or a segment of none. No two go to the same server and port.
    fn outbound_stranger(&mut self) -> Ends {
        self.stranger += 1;
        let n = self.stranger;
        let host = if self.random.below(2) == 0 { self.random.below(BUSY) } else { BUSY + n };
        let remote = SERVERS | n & 0x1_ffff;
        let nat64 = self.scene.flows.kind == Kind::Nat64;
        let (protocol, flags) = self.first();
        Ends {
            // Not where the established flows come from.
            source: if nat64 {
                0x2001_0db8_8000_0000 << 64 | u128::from(host) << 64 | 0x10
            } else {
                u128::from(0x0a80_0000 + host)
            },
            destination: if nat64 { PREFIX.embed(remote) } else { remote.into() },
            source_port: 1024 + self.random.below(60_000) as u16,
            destination_port: 1024 + (n >> 17) as u16,
            protocol,
            flags,
        }
    }

    /// A packet to any address and port of the pool, or to one that an established flow has. No two come from the same
    /// address and port.
    fn inbound_stranger(&mut self) -> Ends {
        self.stranger += 1;
        let (n, flows) = (self.stranger, self.scene.flows);
        let (protocol, flags) = self.first();
        let known = &self.known[self.random.below(ESTABLISHED) as usize].seen[0];
        let (destination, destination_port) = if self.random.below(2) == 0 {
            (known.source, known.source_port)
        } else {
            let address = POOL + self.random.below(flows.addresses);
            (address.into(), 1024 + self.random.below(64_000) as u16)
        };
        Ends {
            source: (SERVERS | n & 0x1_ffff).into(),
            destination,
            source_port: 1024 + (n >> 17) as u16,
            destination_port,
            protocol,
            flags,
        }
    }

    fn first(&mut self) -> (Protocol, u8) {
        match self.random.below(8) {
            0..4 => (Protocol::Udp, 0),
            4..7 => (Protocol::Tcp, tcp::SYN),
            _ => (Protocol::Tcp, tcp::ACK),
        }
    }
}

/// Opens a flow by its first packets, and learns what becomes of them.
fn open(rig: &mut Rig, population: &Population, flow: u32) -> Known {
    let kind = population.flows.kind;
    let is_tcp = population.flows.protocol == Protocol::Tcp;
    let outbound = frames::ends(population, Direction::Outbound, flow);
    let first = Ends { flags: if is_tcp { tcp::SYN } else { 0 }, ..outbound };
    let mut pass = |port: usize, ends: &Ends| {
        let direction = [Direction::Outbound, Direction::Inbound][port];
        match rig.one(port, &frame(frames::family(kind, direction), ends)).as_slice() {
            [(to, frame)] if *to == 1 - port => read(frame).expect("a packet of the flow"),
            other => panic!("{ends:?}: {other:02x?}"),
        }
    };
    let outside = Ends { flags: outbound.flags, ..pass(0, &first) };
    let inbound = turned(&outside);
    let answer = Ends { flags: if is_tcp { tcp::SYN | tcp::ACK } else { 0 }, ..inbound };
    let inside = Ends { flags: outbound.flags, ..pass(1, &answer) };
    assert_eq!(inside, turned(&outbound));
    assert_eq!(pass(0, &outbound), outside);
    Known { sent: [outbound, inbound], seen: [outside, inside] }
}

fn turned(ends: &Ends) -> Ends {
    Ends {
        source: ends.destination,
        destination: ends.source,
        source_port: ends.destination_port,
        destination_port: ends.source_port,
        ..*ends
    }
}

fn frame(family: Family, ends: &Ends) -> Vec<u8> {
    let mut buffer = Buffer::default();
    frames::write_between(family, ends, &mut buffer);
    buffer.frame(frames::len(family)).to_vec()
}

/// A datagram behind the link header that the frames of established flows have.
fn framed(family: Family, datagram: &[u8]) -> Vec<u8> {
    let mut buffer = Buffer::default();
    let ends = Ends {
        source: 1,
        destination: 2,
        source_port: 3,
        destination_port: 4,
        protocol: Protocol::Udp,
        flags: 0,
    };
    frames::write_between(family, &ends, &mut buffer);
    [&buffer.frame(frames::len(family))[..14], datagram].concat()
}

/// Whose packet a frame is; `None` for an ICMP error or a fragment. Its checksum has to be right.
fn read(frame: &[u8]) -> Option<Ends> {
    let meta = parse(frame, &link(frame).unwrap()).unwrap();
    if !meta.is_whole() {
        return None;
    }
    let protocol = match meta.transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
        _ => return None,
    };
    let (payload, number) = (&frame[usize::from(meta.l4)..usize::from(meta.end)], meta.protocol);
    let unsummed = meta.family == Family::V4 && protocol == Protocol::Udp && payload[6..8] == [0, 0];
    let sum = match meta.family {
        Family::V6 => checksum::transport_v6(meta.source, meta.destination, number, payload),
        Family::V4 => checksum::transport_v4(meta.source as u32, meta.destination as u32, number, payload),
    };
    assert!(unsummed || sum == 0, "{frame:02x?}");
    Some(Ends {
        source: meta.source,
        destination: meta.destination,
        source_port: meta.source_port,
        destination_port: meta.destination_port,
        protocol,
        flags: meta.tcp_flags,
    })
}
