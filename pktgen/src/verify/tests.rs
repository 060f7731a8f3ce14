//! A device under test in miniature, that can be told to make each mistake, and the judge's word on it.

use super::*;
use crate::plan::tests::{A4, nat64, plan};
use crate::template::Template;

const INSIDE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where the miniature device maps to.
const POOL: u128 = 0xc613_4000;

struct Bench {
    plan: Plan,
    judge: Verifier,
}

impl Bench {
    fn new(translation: Translation) -> Self {
        let mut plan = plan(translation, 8);
        plan.size += 100;
        let judge = Verifier::new(&plan, INSIDE, OUTSIDE);
        Self { plan, judge }
    }

    /// What a right device delivers for the next frame of a flow.
    fn through(&mut self, direction: Direction, flow: u32, now: u64) -> Vec<u8> {
        let (ends, signature) = self.judge.next(direction, flow, now).unwrap();
        let plan = &self.plan;
        let (source, source_port) = plan.source(flow);
        let (family, mac, len, delivered) = match direction {
            Direction::Outbound => {
                let source = POOL + u128::from(flow % 2);
                let delivered =
                    Endpoints { source, source_port: 2000 + flow as u16, destination: plan.remote, ..ends };
                (plan.outside.family, OUTSIDE, plan.outside_len(), delivered)
            }
            Direction::Inbound => {
                assert_eq!(
                    (ends.destination, ends.destination_port),
                    (POOL + u128::from(flow % 2), 2000 + flow as u16)
                );
                let delivered = Endpoints {
                    source: plan.remote_inside(),
                    destination: source,
                    destination_port: source_port,
                    ..ends
                };
                (plan.inside.family, INSIDE, plan.inside_len(), delivered)
            }
        };
        let mut frame = vec![0; len];
        assert!(Template::new(family, mac, [9; 6], len).write(&mut frame, &delivered, &signature));
        let (hops, checksum) = if family == Family::V4 { (22, 24) } else { (21, 21) };
        frame[hops] -= 1;
        if family == Family::V4 {
            let sum = sluice_packet::checksum::ipv4_header(&frame[14..34]);
            frame[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }

    fn out(&mut self, frame: &[u8]) -> Verdict {
        self.judge.judge(Direction::Outbound, frame, 1000)
    }

    fn fault(&self) -> Option<FaultKind> {
        self.judge.wrong.first.as_ref().map(|wrong| wrong.fault.kind)
    }
}

/// Makes the UDP checksum right again, as a device would that changes bytes on purpose.
fn seal(frame: &mut [u8]) {
    let Reading::Udp(datagram) = read(frame) else { panic!() };
    let Some(fault) = datagram.checksum_fault else { return };
    assert_eq!(fault.kind, FaultKind::UdpChecksum);
    let right = u16::from_str_radix(fault.expected.trim_start_matches("0x"), 16).unwrap();
    let at = if datagram.family == Family::V4 { 40 } else { 60 };
    frame[at..at + 2].copy_from_slice(&right.to_be_bytes());
}

#[test]
fn a_right_device_passes() {
    for translation in [nat64(), Translation::Nat44] {
        let mut bench = Bench::new(translation);
        for round in 0..20u64 {
            for flow in 0..8 {
                let frame = bench.through(Direction::Outbound, flow, round * 100);
                assert_eq!(
                    bench.judge.judge(Direction::Outbound, &frame, round * 100 + 7),
                    Verdict::Received(flow)
                );
                let frame = bench.through(Direction::Inbound, flow, round * 100);
                assert_eq!(
                    bench.judge.judge(Direction::Inbound, &frame, round * 100 + 9),
                    Verdict::Received(flow)
                );
            }
            if round == 0 {
                assert!(bench.judge.unopened().is_empty());
                bench.judge.start_measuring();
            }
        }
        let judge = &bench.judge;
        assert_eq!((judge.outbound.sent, judge.outbound.received, judge.outbound.lost()), (152, 152, 0));
        assert_eq!((judge.outbound.delay.max(), judge.inbound.delay.min()), (Some(7), Some(9)));
        assert_eq!((judge.inbound.received, judge.inbound.duplicates, judge.inbound.reordered), (152, 0, 0));
        assert!(judge.is_complete() && bench.fault().is_none());
        assert_eq!(judge.flow_loss(Direction::Outbound), FlowLoss::default());
    }
}

#[test]
fn lost_frames_are_found_per_flow() {
    let mut bench = Bench::new(nat64());
    for round in 0..10 {
        for flow in 0..8 {
            let frame = bench.through(Direction::Outbound, flow, 0);
            if (flow == 3 && round < 4) || (flow == 5 && round == 9) {
                continue;
            }
            assert_eq!(bench.out(&frame), Verdict::Received(flow));
        }
    }
    assert_eq!(bench.judge.outbound.lost(), 5);
    assert_eq!(bench.judge.flow_loss(Direction::Outbound), FlowLoss { flows: 2, worst: Some((3, 4)) });
    assert!(!bench.judge.is_complete() && bench.fault().is_none());
}

#[test]
fn duplicates_and_order_are_found_and_are_not_wrong() {
    let mut bench = Bench::new(Translation::Nat44);
    let frames: Vec<_> = (0..3).map(|_| bench.through(Direction::Outbound, 0, 0)).collect();
    for (index, verdict) in [
        (0, Verdict::Received(0)),
        (2, Verdict::Received(0)),
        (1, Verdict::Received(0)),
        (1, Verdict::Done),
        (2, Verdict::Done),
    ] {
        assert_eq!(bench.out(&frames[index]), verdict);
    }
    let counts = &bench.judge.outbound;
    assert_eq!((counts.received, counts.duplicates, counts.reordered, counts.lost()), (3, 2, 1, 0));
    assert!(bench.fault().is_none());
}

/// A duplicate must not make up for a frame that is lost.
#[test]
fn a_duplicate_does_not_hide_a_loss() {
    let mut bench = Bench::new(nat64());
    let frame = bench.through(Direction::Outbound, 0, 0);
    let _lost = bench.through(Direction::Outbound, 0, 0);
    bench.out(&frame);
    bench.out(&frame);
    assert_eq!((bench.judge.outbound.lost(), bench.judge.outbound.duplicates), (1, 1));
}

#[test]
fn every_corrupted_byte_is_found() {
    for translation in [nat64(), Translation::Nat44] {
        for direction in [Direction::Outbound, Direction::Inbound] {
            let mut bench = Bench::new(translation);
            let first = bench.through(Direction::Outbound, 0, 0);
            bench.out(&first);
            let good = bench.through(direction, 0, 0);
            let (v6, transport) = match direction {
                Direction::Inbound if translation == nat64() => (true, 54),
                _ => (false, 34),
            };
            for at in 14..good.len() {
                // The flow label is no part of any checksum, nor do translators keep it; neither do frames of another
                // protocol or version look like ours.
                if v6 && (at < 18 || at == 20) || !v6 && at == 23 {
                    continue;
                }
                // A hop limit that is lower than before is right.
                if v6 && at == 21 {
                    continue;
                }
                let mut bad = good.clone();
                bad[at] ^= 0x11;
                let before = bench.judge.wrong.count.iter().sum::<u64>();
                assert_eq!(bench.judge.judge(direction, &bad, 0), Verdict::Done, "byte {at}");
                assert_eq!(bench.judge.wrong.count.iter().sum::<u64>(), before + 1, "byte {at}");
            }
            assert_eq!(
                bench.judge.judge(direction, &good, 0),
                Verdict::Received(0),
                "wrong frames leave no trace"
            );
            let transport = &good[transport..];
            assert!(transport.len() > 100);
        }
    }
}

/// Changes that a device makes with all checksums put right.
#[test]
fn what_is_changed_on_purpose_is_found() {
    let flow_label = 42 + 2;
    for (what, at, value, kind) in [
        ("destination MAC address", 0, 4, FaultKind::Mac),
        ("destination port", 37, 0x88, FaultKind::Destination),
        ("payload", 42 + 30, 0xee, FaultKind::Payload),
        ("magic number", 42, 0, FaultKind::Signature),
        ("direction", flow_label, 0x85, FaultKind::Direction),
        ("flow", flow_label + 3, 200, FaultKind::NeverSent),
        ("sequence", flow_label + 7, 9, FaultKind::NeverSent),
    ] {
        let mut bench = Bench::new(Translation::Nat44);
        let mut frame = bench.through(Direction::Outbound, 0, 0);
        frame[at] = value;
        seal(&mut frame);
        bench.out(&frame);
        assert_eq!(bench.fault(), Some(kind), "{what}");
        assert_eq!(bench.judge.wrong.kinds.get(&kind), Some(&1));
    }
}

/// Sends one frame of a flow out with another source.
fn with_source(bench: &mut Bench, flow: u32, source: u128, port: u16) -> Verdict {
    let (ends, signature) = bench.judge.next(Direction::Outbound, flow, 0).unwrap();
    let len = bench.plan.outside_len();
    let mut frame = vec![0; len];
    let ends = Endpoints { source, source_port: port, destination: bench.plan.remote, ..ends };
    assert!(Template::new(Family::V4, OUTSIDE, [9; 6], len).write(&mut frame, &ends, &signature));
    frame[22] -= 1;
    let sum = sluice_packet::checksum::ipv4_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    bench.out(&frame)
}

#[test]
fn one_external_tuple_per_flow_and_one_flow_per_tuple() {
    let mut bench = Bench::new(nat64());
    assert_eq!(with_source(&mut bench, 0, POOL, 3000), Verdict::Received(0));
    assert_eq!(with_source(&mut bench, 1, POOL, 3001), Verdict::Received(1));
    assert_eq!(with_source(&mut bench, 0, POOL, 3000), Verdict::Received(0));
    assert!(bench.fault().is_none());
    with_source(&mut bench, 2, POOL, 3001);
    assert_eq!(bench.fault(), Some(FaultKind::TupleShared));
    let text = bench.judge.wrong.first.take().unwrap().fault.to_string();
    assert!(text.contains("198.19.64.0:3001, which flow 1 has"), "{text}");
    for (source, port) in [(POOL + 1, 3000), (POOL, 3002)] {
        with_source(&mut bench, 0, source, port);
        assert_eq!(bench.fault(), Some(FaultKind::TupleChanged));
        bench.judge.wrong.first = None;
    }
    assert_eq!(bench.judge.learned(), 2);
}

#[test]
fn what_is_not_translated_is_found() {
    let mut bench = Bench::new(Translation::Nat44);
    with_source(&mut bench, 0, A4, 3000);
    assert_eq!(bench.fault(), Some(FaultKind::Source));
    assert_eq!(bench.judge.learned(), 0);
}

#[test]
fn a_hop_limit_that_is_not_counted_down_is_found() {
    let mut bench = Bench::new(nat64());
    let mut frame = bench.through(Direction::Outbound, 0, 0);
    frame[22] += 1;
    let sum = sluice_packet::checksum::ipv4_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    bench.out(&frame);
    assert_eq!(bench.fault(), Some(FaultKind::HopLimit));
}

//= conformance BENCH-15
#[test]
fn foreign_frames_are_not_counted() {
    let mut bench = Bench::new(nat64());
    let mut other_run = bench.through(Direction::Outbound, 0, 0);
    other_run[44] ^= 0x20;
    seal(&mut other_run);
    let mut other_port = bench.through(Direction::Outbound, 0, 0);
    (other_port[36], other_port[42]) = (0, 0);
    assert_eq!([bench.out(&other_run), bench.out(&other_port), bench.out(&[0; 60])], [Verdict::Done; 3]);
    let judge = &bench.judge;
    assert_eq!((judge.foreign, judge.outbound.received, judge.wrong.count), (3, 0, [0, 0]));
}

//= conformance BENCH-60
#[test]
fn nobody_answers_to_a_tuple_that_was_not_learned() {
    let mut bench = Bench::new(nat64());
    assert_eq!(bench.judge.next(Direction::Inbound, 0, 0), None);
    assert_eq!(bench.judge.inbound.sent, 0);
}

/// A frame of the opening that comes late is not a duplicate of the measurement, nor makes up for a loss in it.
#[test]
fn stragglers_of_the_opening_are_not_measured() {
    let mut bench = Bench::new(nat64());
    let late = bench.through(Direction::Outbound, 0, 0);
    bench.judge.start_measuring();
    let _lost = bench.through(Direction::Outbound, 0, 0);
    assert_eq!(bench.out(&late), Verdict::Done);
    let counts = &bench.judge.outbound;
    assert_eq!((counts.sent, counts.received, counts.duplicates, counts.lost()), (1, 0, 0, 1));
}
