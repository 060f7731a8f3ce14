//! Datagrams in fragments through whole workers: cut, shuffled and doubled by chance, sent both ways, and put together again
//! behind the gateway by code that shares nothing with it.

use std::collections::BTreeMap;

use sluice_dpdk::Eal;
use sluice_nat::{Engine, Kind, Protocol, WorkerId};
use sluice_packet::{Family, checksum, link, parse};
use sluice_shm::{Counter, CountersSnapshot};

use super::rig::Rig;
use crate::flows::{Flows, PREFIX};
use crate::meter::START;
use crate::{Population, Random};

const REMOTE: u32 = 0xc633_6409;
const HOST_V6: u128 = 0x2001_0db8_0001 << 80 | 0x10;
const HOST_V4: u128 = 0x0a00_000a;
/// Largest IP packet on either link.
const MTU: usize = 1500;
/// Largest that IPv6 hosts get of what may be fragmented.
const LOWEST: usize = 1280;

/// A whole IP datagram without its IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Datagram {
    source: u128,
    destination: u128,
    protocol: u8,
    payload: Vec<u8>,
}

impl Datagram {
    fn family(&self) -> Family {
        if self.source >> 32 == 0 { Family::V4 } else { Family::V6 }
    }

    fn sum(&self) -> u16 {
        match self.family() {
            // ICMP has no pseudo-header.
            Family::V4 if self.protocol == 1 => checksum::of(&self.payload),
            Family::V4 => checksum::transport_v4(
                self.source as u32,
                self.destination as u32,
                self.protocol,
                &self.payload,
            ),
            Family::V6 => checksum::transport_v6(self.source, self.destination, self.protocol, &self.payload),
        }
    }

    /// Writes the right checksum.
    fn seal(mut self) -> Self {
        let at = match self.protocol {
            6 => 16,
            17 => 6,
            _ => 2,
        };
        self.payload[at..at + 2].fill(0);
        let sum = match self.sum() {
            0 if self.protocol == 17 => 0xffff,
            sum => sum,
        };
        self.payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self
    }

    /// A UDP datagram.
    fn udp(source: (u128, u16), destination: (u128, u16), data: &[u8]) -> Self {
        let mut payload = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
        payload.extend((data.len() as u16 + 8).to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(data);
        Self { source: source.0, destination: destination.0, protocol: 17, payload }.seal()
    }

    fn tcp(source: (u128, u16), destination: (u128, u16), flags: u8, data: &[u8]) -> Self {
        let mut payload = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
        payload.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        payload.extend(data);
        Self { source: source.0, destination: destination.0, protocol: 6, payload }.seal()
    }

    fn echo(source: u128, destination: u128, request: bool, identifier: u16, data: &[u8]) -> Self {
        let six = source >> 32 != 0;
        let (protocol, kind) = match (six, request) {
            (true, true) => (58, 128),
            (true, false) => (58, 129),
            (false, true) => (1, 8),
            (false, false) => (1, 0),
        };
        let mut payload = vec![kind, 0, 0, 0];
        payload.extend([identifier.to_be_bytes(), 7u16.to_be_bytes()].concat());
        payload.extend(data);
        Self { source, destination, protocol, payload }.seal()
    }

    /// The frame of a part of it.
    fn part(&self, identification: u32, from: usize, to: usize, alone: bool) -> Vec<u8> {
        let (data, more) = (&self.payload[from..to], to < self.payload.len());
        let mut frame = vec![2, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 9];
        match self.family() {
            Family::V4 => {
                let flags = (from / 8) as u16 | if more { 0x2000 } else { 0 };
                let mut header = vec![0x45, 0];
                header.extend((data.len() as u16 + 20).to_be_bytes());
                header.extend((identification as u16).to_be_bytes());
                header.extend(flags.to_be_bytes());
                header.extend([64, self.protocol, 0, 0]);
                header.extend((self.source as u32).to_be_bytes());
                header.extend((self.destination as u32).to_be_bytes());
                let sum = checksum::of(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend([8, 0]);
                frame.extend(header);
            }
            Family::V6 => {
                let extra = if alone { 0 } else { 8 };
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((data.len() as u16 + extra).to_be_bytes());
                frame.extend([if alone { self.protocol } else { 44 }, 64]);
                frame.extend(self.source.to_be_bytes());
                frame.extend(self.destination.to_be_bytes());
                if !alone {
                    frame.extend([self.protocol, 0]);
                    frame.extend((from as u16 | u16::from(more)).to_be_bytes());
                    frame.extend(identification.to_be_bytes());
                }
            }
        }
        frame.extend(data);
        frame
    }

    /// All of it in frames, cut at random places.
    fn parts(&self, identification: u32, random: &mut Random) -> Vec<Vec<u8>> {
        let header = if self.family() == Family::V4 { 20 } else { 48 };
        let most = (MTU - header) & !7;
        let mut cuts = vec![0];
        while self.payload.len() - cuts[cuts.len() - 1] > most || cuts.len() == 1 {
            let from = cuts[cuts.len() - 1];
            let room = most.min(self.payload.len() - from - 1) / 8;
            // The first holds the transport header.
            let least = if from == 0 { 3 } else { 8 };
            cuts.push(from + 8 * least.max(random.below(room as u32 + 1) as usize).min(room));
        }
        cuts.push(self.payload.len());
        cuts.windows(2).map(|part| self.part(identification, part[0], part[1], false)).collect()
    }
}

/// Addresses, identification and protocol of a datagram.
type Key = (u128, u128, u32, u8);
/// Offset in bytes, More Fragments, and payload of a fragment.
type Part = (usize, bool, Vec<u8>);

/// Puts frames together that leave the gateway. They may be whole.
#[derive(Default)]
struct Receiver {
    parts: BTreeMap<Key, Vec<Part>>,
    whole: Vec<Datagram>,
}

impl Receiver {
    fn take(&mut self, frame: &[u8]) {
        let meta = parse(frame, &link(frame).unwrap()).unwrap();
        assert!(usize::from(meta.ip_len()) <= MTU);
        assert_eq!(meta.hop_limit, 63);
        let payload = frame[usize::from(meta.l4)..usize::from(meta.end)].to_vec();
        let datagram =
            Datagram { source: meta.source, destination: meta.destination, protocol: meta.protocol, payload };
        if meta.is_whole() {
            assert_ne!(meta.fragment, sluice_packet::Fragment::Atomic, "atomic fragments are never made");
            return self.whole.push(datagram);
        }
        let six = meta.family == Family::V6;
        assert!(!six || usize::from(meta.ip_len()) <= LOWEST && meta.identification <= 0xffff);
        assert!(six || !meta.dont_fragment);
        let key = (meta.source, meta.destination, meta.identification, meta.protocol);
        let parts = self.parts.entry(key).or_default();
        parts.push((usize::from(meta.fragment_offset) * 8, meta.more_fragments, datagram.payload));
        parts.sort();
        let mut end = 0;
        let contiguous = parts.iter().all(|(offset, _, data)| {
            let follows = *offset == end;
            end += data.len();
            follows
        });
        if contiguous && parts.last().is_some_and(|last| !last.1) {
            assert_eq!(parts.iter().filter(|part| !part.1).count(), 1, "one last fragment");
            let payload = parts.drain(..).flat_map(|part| part.2).collect();
            self.parts.remove(&key);
            self.whole.push(Datagram { payload, ..datagram });
        }
    }
}

/// Whatever is cut, however it is shuffled, at one worker or more: what arrives is what was sent, translated.
//= conformance FRAG-01, FRAG-05, FRAG-08, FRAG-17, FRAG-22, FRAG-23, FRAG-24, FRAG-25, FRAG-26, FRAG-33, XLT-33, MAP-13
pub(super) fn fragments_arrive_as_what_was_sent(eal: &Eal, kind: Kind) {
    for workers in [1, 2, 3] {
        let population = Population::for_workers(Flows::new(kind, Protocol::Udp, 4096), workers).unwrap();
        let (shared, config) = (&population.shared, &population.config);
        let engines = (0..workers)
            .map(|worker| Engine::new(shared.clone(), WorkerId(worker), config.clone()))
            .collect();
        let mut rig = Rig::at(eal, shared, config, engines, 1, START).unwrap();
        let mut random = Random::new(u64::from(workers) ^ 0x7069_6563);
        let (host, remote) = match kind {
            Kind::Nat64 => (HOST_V6, PREFIX.embed(REMOTE)),
            Kind::Nat44 => (HOST_V4, REMOTE.into()),
        };
        for round in 0..120u32 {
            let host = if kind == Kind::Nat64 {
                host + (u128::from(round % 7) << 64)
            } else {
                host + u128::from(round % 7)
            };
            let data: Vec<u8> = (0..1 + random.below(6000)).map(|_| random.below(256) as u8).collect();
            let port = 1024 + random.below(60_000) as u16;
            let (out, answer) = match round % 4 {
                0 | 1 => (Datagram::udp((host, port), (remote, 53), &data), 17),
                2 => (Datagram::tcp((host, port), (remote, 80), 0x02, &data), 6),
                _ => (Datagram::echo(host, remote, true, port, &data), 1),
            };
            let seen = pass(&mut rig, 0, &out, round, &mut random, true);
            assert_eq!(seen.destination, u128::from(REMOTE), "{kind:?} {workers} {round}");
            assert_eq!(seen.payload.len(), out.payload.len());
            let external = seen.source;
            let external_port = match answer {
                1 => u16::from_be_bytes([seen.payload[4], seen.payload[5]]),
                _ => u16::from_be_bytes([seen.payload[0], seen.payload[1]]),
            };
            let external = (external, external_port);
            // What the server should have got, put together here.
            let expected = match answer {
                17 => Datagram::udp(external, (REMOTE.into(), 53), &data),
                6 => Datagram::tcp(external, (REMOTE.into(), 80), 0x02, &data),
                _ => Datagram::echo(external.0, REMOTE.into(), true, external.1, &data),
            };
            assert_eq!(seen, expected, "{kind:?} {workers} {round}");

            let back: Vec<u8> = (0..1 + random.below(6000)).map(|_| random.below(256) as u8).collect();
            let (mut reply, expected) = match answer {
                17 => (
                    Datagram::udp((REMOTE.into(), 53), external, &back),
                    Datagram::udp((remote, 53), (host, port), &back),
                ),
                6 => (
                    Datagram::tcp((REMOTE.into(), 80), external, 0x12, &back),
                    Datagram::tcp((remote, 80), (host, port), 0x12, &back),
                ),
                _ => (
                    Datagram::echo(REMOTE.into(), external.0, false, external.1, &back),
                    Datagram::echo(remote, host, false, port, &back),
                ),
            };
            // IPv4 may leave the checksum of UDP out; IPv6 may not.
            let unsummed = round % 4 == 1;
            if unsummed {
                reply.payload[6..8].fill(0);
            }
            let mut seen = pass(&mut rig, 1, &reply, round, &mut random, round % 8 != 5);
            if unsummed && kind == Kind::Nat44 {
                assert_eq!(seen.payload[6..8], [0, 0], "none stays none");
                seen = seen.seal();
            }
            assert_eq!(seen, expected, "{kind:?} {workers} {round}");
        }
        rig.rest();
        let counters: Vec<CountersSnapshot> =
            (0..usize::from(workers)).map(|worker| rig.counters(worker)).collect();
        for (worker, counters) in counters.iter().enumerate() {
            let (came, went) = counters.balance();
            assert_eq!(came, went, "{kind:?} {workers} {worker}");
            assert_eq!(counters.get(Counter::Held), 0);
        }
        let handed: u64 = counters.iter().map(|counters| counters.get(Counter::HandoffIn)).sum();
        assert_eq!(handed > 0, workers > 1);
    }
}

/// A gateway of one worker.
fn gateway(eal: &Eal, kind: Kind) -> (Rig, Population) {
    let population = Population::for_workers(Flows::new(kind, Protocol::Udp, 4096), 1).unwrap();
    let (shared, config) = (&population.shared, &population.config);
    let engine = Engine::new(shared.clone(), WorkerId(0), config.clone());
    (Rig::at(eal, shared, config, vec![engine], 1, START).unwrap(), population)
}

/// The one packet that comes out for one that went in.
fn through(rig: &mut Rig, port: usize, frame: &[u8]) -> (sluice_packet::Meta, Vec<u8>) {
    match rig.one(port, frame).as_slice() {
        [(_, frame)] => (parse(frame, &link(frame).unwrap()).unwrap(), frame.clone()),
        other => panic!("{other:02x?}"),
    }
}

/// An atomic fragment is a whole datagram, whatever waits under the same identification.
//= conformance FRAG-15, FRAG-16
pub(super) fn atomic_fragments_disturb_nobody(eal: &Eal) {
    let (mut rig, _population) = gateway(eal, Kind::Nat64);
    let long = Datagram::udp((HOST_V6, 5000), (PREFIX.embed(REMOTE), 53), &[1; 600]);
    let short = Datagram::udp((HOST_V6, 5000), (PREFIX.embed(REMOTE), 53), &[2; 6]);
    let mut receiver = Receiver::default();
    assert!(rig.one(0, &long.part(42, 304, 608, false)).is_empty(), "waits for the first");
    let (meta, frame) = through(&mut rig, 0, &short.part(42, 0, 14, false));
    assert_eq!((meta.identification, meta.dont_fragment, meta.more_fragments), (42, false, false));
    receiver.take(&frame);
    for (_, frame) in rig.one(0, &long.part(42, 0, 304, false)) {
        receiver.take(&frame);
    }
    assert_eq!(receiver.whole.iter().map(|whole| whole.payload.len()).collect::<Vec<_>>(), [14, 608]);
}

/// What may be fragmented outside gets an identification of ours; what may not keeps what it has.
//= conformance FRAG-31, FRAG-33, N44-30
pub(super) fn hosts_with_the_same_identification_leave_with_others(eal: &Eal) {
    let (mut rig, _population) = gateway(eal, Kind::Nat44);
    let mut left = |host: u128, flags: u8, from: usize, to: usize| {
        let datagram = Datagram::udp((HOST_V4 + host, 5000), (REMOTE.into(), 53), &[1; 600]);
        let mut frame = datagram.part(0xbeef, from, to, false);
        frame[20] |= flags;
        frame[24..26].fill(0);
        let sum = checksum::of(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        through(&mut rig, 0, &frame).0.identification
    };
    // The first packet of a flow takes the general stages, the second the express lane.
    for _ in 0..2 {
        let whole = [left(0, 0, 0, 608), left(1, 0, 0, 608)];
        assert_ne!(whole[0], whole[1]);
        assert_eq!([left(0, 0x40, 0, 608), left(1, 0x40, 0, 608)], [0xbeef; 2], "DF: it means nothing");
        let first = [left(0, 0, 0, 304), left(1, 0, 0, 304)];
        assert_ne!(first[0], first[1]);
        assert_eq!([left(0, 0, 304, 608), left(1, 0, 304, 608)], first, "one datagram, one identification");
    }
}

/// A fragmented datagram between two inside hosts, by the external address of one of them.
//= conformance HAIR-10, HAIR-01
pub(super) fn fragments_are_hairpinned(eal: &Eal) {
    let (mut rig, _population) = gateway(eal, Kind::Nat64);
    let (a, b) = (HOST_V6, HOST_V6 + (1 << 64));
    let open = |from| Datagram::udp((from, 5000), (PREFIX.embed(REMOTE), 53), &[0; 8]);
    let (seen, _) = through(&mut rig, 0, &open(a).part(1, 0, 16, true));
    let external = (PREFIX.embed(seen.source as u32), seen.source_port);
    let (seen, _) = through(&mut rig, 0, &open(b).part(1, 0, 16, true));
    let sender = (PREFIX.embed(seen.source as u32), seen.source_port);
    let datagram = Datagram::udp((b, 5000), external, &[7; 2000]);
    let mut receiver = Receiver::default();
    let mut sizes = vec![];
    for (from, to) in [(1232, 2008), (0, 1232)] {
        for (port, frame) in rig.one(0, &datagram.part(0x1234_5678, from, to, false)) {
            assert_eq!(port, 0);
            sizes.push(frame.len());
            let meta = parse(&frame, &link(&frame).unwrap()).unwrap();
            assert_eq!(meta.identification, 0x5678, "the lower half, as IPv4 has it in between");
            receiver.take(&frame);
        }
    }
    assert_eq!(sizes, [14 + 1280, 14 + 48 + 776], "neither grown nor cut");
    assert_eq!(receiver.whole, [Datagram::udp(sender, (a, 5000), &[7; 2000])]);
}

/// Every fragment that is traced has an end, also one that others have waited for: none keeps a place of the tracer's.
pub(super) fn traced_fragments_have_an_end(eal: &Eal) {
    let (mut rig, _population) = gateway(eal, Kind::Nat64);
    rig.trace_all();
    let echo = Datagram::echo(HOST_V6, PREFIX.embed(REMOTE), true, 7, &[1; 600]);
    for identification in 0..200 {
        assert!(rig.one(0, &echo.part(identification, 0, 304, false)).is_empty(), "waits for the last");
        assert_eq!(rig.one(0, &echo.part(identification, 304, 608, false)).len(), 2);
        assert_eq!(rig.traced(), 2, "of ping {identification}");
    }
}

/// Sends a datagram in shuffled fragments, some of them twice, and returns what comes out of the other port. Or sends it whole,
/// and then the gateway may have to cut it.
fn pass(
    rig: &mut Rig,
    port: usize,
    datagram: &Datagram,
    id: u32,
    random: &mut Random,
    cut: bool,
) -> Datagram {
    let whole = datagram.payload.len() + 20 <= MTU && !cut;
    let mut parts = if whole {
        vec![datagram.part(id, 0, datagram.payload.len(), true)]
    } else {
        datagram.parts(0xabc0_0000 | id, random)
    };
    for place in (1..parts.len()).rev() {
        parts.swap(place, random.below(place as u32 + 1) as usize);
        if random.below(8) == 0 && place + 1 < parts.len() {
            parts.insert(place + 1, parts[place].clone());
        }
    }
    let mut receiver = Receiver::default();
    for burst in parts.chunks(1 + random.below(8) as usize) {
        rig.put(port, 0, burst.iter().map(Vec::as_slice));
        while rig.turn() > 0 {}
        for (to, frame) in rig.take() {
            assert_eq!(to, 1 - port);
            receiver.take(&frame);
        }
    }
    assert_eq!((receiver.whole.len(), receiver.parts.len()), (1, 0), "{} parts of {datagram:?}", parts.len());
    receiver.whole.remove(0)
}
