//! The program as people run it: `selftest` over software ports, both kinds and both families, and its exit status.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn pktgen(arguments: &str) -> Output {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sluice-pktgen")).args(arguments.split(' ')).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stdout));
    })
}

/// One test, as programs with an EAL each are better not run side by side on small machines.
//= conformance BENCH-19
#[test]
fn the_tester_loses_nothing_by_itself() {
    for (arguments, size) in [
        ("--ports ring --family 4", 64),
        ("--ports ring --family 6 --size 1518", 1518),
        ("--ports memif --family 4 --flows 1", 64),
        ("--ports memif --family 6 --rate 50k", 84),
        ("--ports ring --family 4 --rate max --flows 2000 --open-rate 100000", 64),
    ] {
        let line = format!("selftest {arguments} --seconds 0.5 --hugepages never --json");
        let output = pktgen(&line);
        let report = json(&output);
        assert!(output.status.success(), "{line}: {report:#}");
        assert_eq!(report["passed"], true, "{report:#}");
        assert_eq!(report["frame_bytes"], size);
        assert_eq!(report["flows"], report["flows_opened"], "{report:#}");
        for way in ["outbound", "inbound"] {
            let way = &report[way];
            assert!(way["sent"].as_u64().unwrap() > 1000, "{report:#}");
            assert_eq!(way["sent"], way["received"], "{report:#}");
            for nothing in ["lost", "wrong", "duplicates", "reordered", "too_late", "flows_with_loss"] {
                assert_eq!(way[nothing], 0, "{nothing}: {report:#}");
            }
            let latency = |name: &str| way["latency_us"][name].as_f64().unwrap();
            assert!(latency("min") > 0.0 && latency("min") <= latency("median"), "{report:#}");
            assert!(latency("median") <= latency("p99") && latency("p99") <= latency("max"), "{report:#}");
        }
        assert_eq!((&report["icmp_errors"], &report["unanswered"]), (&0.into(), &0.into()), "{report:#}");
    }

    let output = pktgen("selftest --seconds 0.2 --hugepages never");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.ends_with("passed\n"), "{text}");
}

#[test]
fn what_cannot_be_run_is_said_with_status_two() {
    for (arguments, expected) in [
        ("selftest --family 5", "expected 4 or 6"),
        ("selftest --size 63", "64 to 1518 bytes"),
        ("quick --inside packet:nosuch0 --outside packet:nosuch1 --nat44", "no interface `nosuch0`"),
        ("quick --inside packet:nosuch0 --nat44", "--outside"),
    ] {
        let output = pktgen(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(expected), "{arguments}: {text}");
    }
    let output = pktgen("selftest --size 63 --json");
    assert!(json(&output)["error"].as_str().unwrap().contains("--size 63"));
}
