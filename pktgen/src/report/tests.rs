//! What passes, what fails, and that both forms say why.

use std::time::Duration;

use super::*;
use crate::plan::Translation;
use crate::plan::tests::plan;
use crate::template::Template;

fn machinery(allow_loss: f64, opened: u32) -> Machinery {
    Machinery {
        devices: ["packet:a".into(), "packet:b".into()],
        dpdk: "DPDK".into(),
        hugepages: false,
        allow_loss,
        own_losses: 0,
        unanswered: 0,
        opened,
        sending: Sending { elapsed: Duration::from_secs(2), asked: Some(100) },
        strangers: [0; 2],
    }
}

/// A run of 100 frames each way without a device, of which `lost` are lost outbound.
fn run(lost: u32, break_one: bool) -> (Plan, Verifier) {
    let plan = plan(Translation::Nothing(sluice_packet::Family::V4), 4);
    let mut judge = Verifier::new(&plan, [2; 6], [4; 6]);
    let to = |direction| if direction == Direction::Outbound { [4; 6] } else { [2; 6] };
    for number in 0..100u32 {
        for direction in [Direction::Outbound, Direction::Inbound] {
            // Nothing was learned from flows that lost all frames; the others stand in for them.
            let Some((ends, signature)) = judge.next(direction, number % 4, 0) else { continue };
            let mut frame = vec![0; 60];
            assert!(
                Template::new(sluice_packet::Family::V4, to(direction), [6; 6], 60)
                    .write(&mut frame, &ends, &signature)
            );
            if direction == Direction::Outbound && number >= 100 - lost {
                continue;
            }
            if break_one && number == 50 && direction == Direction::Outbound {
                frame[50] ^= 1;
            }
            judge.judge(direction, &frame, u64::from(number) * 10_000_000 + 2500);
        }
    }
    (plan, judge)
}

#[test]
fn a_clean_run_passes() {
    let (plan, judge) = run(0, false);
    let report = Report::new(&plan, &judge, machinery(0.0, 4));
    assert!(report.passed && report.warnings.is_empty(), "{report:?}");
    assert_eq!(
        (report.outbound.sent, report.outbound.sent_pps, report.outbound.received_pps.round()),
        (100, 50.0, 100.0)
    );
    assert!(report.text().ends_with("passed\n"), "{}", report.text());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["outbound"]["received"], 100);
    assert_eq!(json["inbound"]["latency_us"]["min"], 2.5);
}

#[test]
fn loss_fails_above_what_is_allowed() {
    let (plan, judge) = run(3, false);
    for (allowed, passed) in [(0.0, false), (2.9, false), (3.0, true)] {
        let report = Report::new(&plan, &judge, machinery(allowed, 4));
        assert_eq!(report.passed, passed, "{allowed}: {:?}", report.failures);
        assert_eq!((report.outbound.lost, report.outbound.flows_with_loss), (3, 3));
    }
}

#[test]
fn a_wrong_frame_fails_whatever_loss_is_allowed_and_is_shown() {
    let (plan, judge) = run(0, true);
    let report = Report::new(&plan, &judge, machinery(100.0, 4));
    assert!(!report.passed);
    let text = report.text();
    assert!(
        text.contains("1 UDP checksum")
            && text.contains("  expected 0x")
            && text.contains("  frame    040404040404"),
        "{text}"
    );
    assert_eq!(report.first_wrong.unwrap().hex.len(), 120);
}

#[test]
fn flows_that_cannot_be_opened_fail() {
    let (plan, judge) = run(0, false);
    let report = Report::new(&plan, &judge, machinery(0.0, 3));
    assert!(report.failures[0].contains("1 of 4 flows"), "{:?}", report.failures);
    assert!(!Report::new(&plan, &Verifier::new(&plan, [2; 6], [4; 6]), machinery(100.0, 0)).passed);
}

//= conformance BENCH-20
#[test]
fn a_rate_that_was_missed_is_a_warning() {
    let (plan, judge) = run(0, false);
    let mut missed = machinery(0.0, 4);
    missed.sending.asked = Some(200);
    let report = Report::new(&plan, &judge, missed);
    assert!(report.passed && report.warnings[0].contains("100 of 200 frames"), "{:?}", report.warnings);
}
