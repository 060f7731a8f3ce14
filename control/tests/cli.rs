//! The real `sluice`, without a daemon.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::io::Read;
use std::net::SocketAddrV6;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_nat::{Fixed, Hot, Kind, KindRealm, Route, TcpState, Tick, TimerClass};
use sluice_packet::reason::DropReason;
use sluice_shm::{
    Counter, DataplaneRegion, DataplaneState, PortInfo, RunDir, StateGeometry, StateRegion, now_ns,
};

fn sluice(run: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .env("SLUICE_RUN_DIR", run)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", text(output)))
}

const GOOD: &str = "interfaces: { lan: { device: 'null:lan', addresses: [10.0.0.1/24] } }\n";

#[test]
fn check_says_ok_or_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, GOOD).unwrap();
    let output = sluice(dir.path(), &["check", name]);
    assert_eq!(output.status.code(), Some(0));
    let (out, _) = text(&output);
    // No terminal, so no colours.
    assert_eq!(out, format!("OK {name}: 1 interface, 1 worker, room for 1048576 sessions\n"));
    assert_eq!(json(&sluice(dir.path(), &["check", "--json", name]))["ok"], true);

    std::fs::write(&file, format!("{GOOD}pols: {{}}\ntimers: {{ udp: 5 }}\n")).unwrap();
    let output = sluice(dir.path(), &["check", name]);
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = text(&output);
    assert!(out.contains(&format!("{name}:2:1: error: unknown key `pols`, did you mean `pools`?")), "{out}");
    assert!(out.contains(&format!("{name}:3:16: error: timers.udp")), "{out}");
    assert!(err.contains("2 mistakes found"), "{err}");
    let value = json(&sluice(dir.path(), &["--json", "check", name]));
    assert_eq!(value["problems"][1]["at"]["line"], 3);
    assert_eq!(value["problems"][1]["path"], "timers.udp");

    let output = sluice(dir.path(), &["check", "/nonexistent.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).1.contains("/nonexistent.yaml cannot be read"));
    std::fs::write(&file, b"a: 1\nb: \xff\n").unwrap();
    assert!(text(&sluice(dir.path(), &["check", name])).1.contains("a.yaml:2: not UTF-8"));
}

#[test]
fn usage_errors_exit_with_2_and_every_command_has_help() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(sluice(dir.path(), &["chekc"]).status.code(), Some(2));
    assert_eq!(sluice(dir.path(), &["sessions", "--inside", "nonsense"]).status.code(), Some(2));
    for command in
        ["check", "apply", "status", "counters", "cycles", "sessions", "trace", "config", "completions"]
    {
        let output = sluice(dir.path(), &[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).0.contains("Example"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&sluice(dir.path(), &["completions", shell])).0.contains("sluice"));
    }
}

#[test]
fn without_anything_running_errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["counters"], &["cycles"], &["sessions"], &["trace"], &["config"]] {
        let output = sluice(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let (out, err) = text(&output);
        assert!(out.is_empty() && (err.contains("run-dir") || err.contains("run directory")), "{err}");
    }
    assert!(json_error(&sluice(dir.path(), &["--json", "status"])).contains("nothing runs"));
}

fn json_error(output: &Output) -> String {
    let value: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    value["error"].as_str().unwrap().to_owned()
}

fn fixed(n: u32, kind: Kind, protocol: u8) -> Fixed {
    Fixed {
        kind_realm: KindRealm::new(kind, 0),
        protocol,
        inside_port: 5000,
        inside: match kind {
            Kind::Nat64 => (0x2001_0db8 << 96) | u128::from(n),
            Kind::Nat44 => u128::from(0x0a00_0000 + n),
        },
        remote: 0xc633_6409,
        external: 0xc000_0201,
        remote_port: 443,
        external_port: (1024 + n) as u16,
        delta: 0,
        rule: 1,
        binding: n,
        owner: 2,
        prefix64: 0,
    }
}

#[test]
fn sessions_are_read_from_the_region() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let state = StateRegion::create(&run, 1 << 20, StateGeometry::new(4, 16).unwrap()).unwrap();
    let now = state.clock().tick(now_ns());
    let hot = Hot {
        last_seen: now,
        tcp_state: TcpState::Established as u8,
        timer_class: TimerClass::TcpEstablished as u8,
        flags: 0,
    };
    for n in 0..1000u32 {
        state.sessions()[n as usize * 7].create(&fixed(n, Kind::Nat64, 6), hot, Route::default());
    }
    let udp = Hot { last_seen: Tick(now.0), tcp_state: 0, timer_class: TimerClass::Udp as u8, flags: 0 };
    state.sessions()[900_000].create(&fixed(1, Kind::Nat44, 17), udp, Route::default());

    let (out, _) = text(&sluice(dir.path(), &["sessions"]));
    assert_eq!(out.lines().count(), 1002);
    assert!(out.starts_with("proto  inside"), "{out}");
    let (out, _) = text(&sluice(dir.path(), &["sessions", "--inside", "2001:db8::5"]));
    let row = out.lines().nth(1).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        words[..5],
        ["tcp", "[2001:db8::5]:5000", "192.0.2.1:1029", "198.51.100.9:443", "established"]
    );
    assert_eq!(words[7..], ["1", "2"], "{row}");
    let count = |arguments: &[&str]| {
        let all: Vec<&str> = ["sessions", "--count", "--json"].iter().chain(arguments).copied().collect();
        json(&sluice(dir.path(), &all))["sessions"].as_u64().unwrap()
    };
    assert_eq!(count(&[]), 1001);
    assert_eq!(count(&["--inside", "2001:db8::/120"]), 256);
    assert_eq!(count(&["--inside", "10.0.0.0/8", "--protocol", "udp"]), 1);
    assert_eq!(count(&["--outside", "192.0.2.1", "--remote", "198.51.100.0/24"]), 1001);
    assert_eq!(count(&["--remote", "203.0.113.1"]), 0);
    let (out, _) = text(&sluice(dir.path(), &["sessions", "--json", "--limit", "3"]));
    assert_eq!(out.lines().count(), 3);
    let row: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((row["inside"].as_str(), row["kind"].as_str()), (Some("2001:db8::"), Some("nat64")));
    assert!(row["expires"].as_u64().unwrap() > 7000);
}

/// Sets a flag when it is dropped.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn all_sessions_of_a_large_table_are_listed_once_while_a_worker_refreshes_them() {
    const LIVE: u32 = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let state =
        StateRegion::create(&RunDir::new(dir.path()), LIVE, StateGeometry::new(1, 16).unwrap()).unwrap();
    let hot = Hot { timer_class: TimerClass::Udp as u8, ..Hot::default() };
    for (n, session) in (0..).zip(state.sessions()) {
        session.create(&fixed(n, Kind::Nat64, 17), hot, Route::default());
    }
    let stop = AtomicBool::new(false);
    let (table, objects) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let last_seen = state.clock().tick(now_ns());
                state.sessions().iter().for_each(|session| session.set_hot(Hot { last_seen, ..hot }));
            }
        });
        // However this ends: the scope waits for the thread.
        let _stop = Raise(&stop);
        (sluice(dir.path(), &["sessions"]), sluice(dir.path(), &["sessions", "--json"]))
    });
    let mut seen = vec![0; LIVE as usize];
    for row in text(&table).0.lines().skip(1) {
        let inside: SocketAddrV6 = row.split_whitespace().nth(1).unwrap().parse().unwrap();
        seen[inside.ip().to_bits() as u32 as usize] += 1;
    }
    assert!(seen.iter().all(|&times| times == 1));
    let rows: Vec<&[u8]> = objects.stdout.split(|&byte| byte == b'\n').collect();
    assert_eq!(rows.len(), LIVE as usize + 1);
    let last: serde_json::Value = serde_json::from_slice(rows[LIVE as usize - 1]).unwrap();
    assert_eq!((last["index"].as_u64(), last["protocol"].as_str()), (Some(299_999), Some("udp")));
}

#[test]
fn a_reader_that_closes_its_end_ends_the_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let state = StateRegion::create(&run, 1 << 18, StateGeometry::new(1, 16).unwrap()).unwrap();
    for n in 0..100_000u32 {
        state.sessions()[n as usize].create(&fixed(n, Kind::Nat44, 17), Hot::default(), Route::default());
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("sessions")
        .env("SLUICE_RUN_DIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn status_and_counters_need_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut region = DataplaneRegion::create(&run, 2).unwrap();
    let (one, two) = (region.take_worker(0), region.take_worker(1));
    one.counters.add(Counter::RxPackets, 1000);
    one.counters.add(Counter::TxPackets, 990);
    one.counters.add_drop(DropReason::NoRoute, 7);
    two.counters.set(Counter::Sessions, 42);
    region.set_state(DataplaneState::Running);
    region.set_active_workers(2);
    region.heartbeat(now_ns());
    region.set_port(0, &PortInfo { device: "null:lan".into(), mac: [2; 6], ..PortInfo::default() });

    let (out, err) = text(&sluice(dir.path(), &["counters"]));
    assert!(err.is_empty(), "{err}");
    assert!(out.contains("rx_packets") && out.contains("1 000") && out.contains("no_route"), "{out}");
    assert!(!out.contains("blackhole"), "zero rows are hidden: {out}");
    assert!(out.contains("accounting 3 not yet ended"), "{out}");
    assert!(text(&sluice(dir.path(), &["counters", "--all"])).0.contains("blackhole"));
    one.counters.add(Counter::Held, 3);
    let value = json(&sluice(dir.path(), &["counters", "--json", "--worker", "0"]));
    assert_eq!(value["counters"]["drops"]["no_route"], 7);
    assert_eq!(value["accounting"]["balanced"], true);
    let (_, err) = text(&sluice(dir.path(), &["counters", "--worker", "9"]));
    assert!(err.contains("there is no thread 9") && err.contains("workers 0 to 1"), "{err}");

    let (out, _) = text(&sluice(dir.path(), &["status"]));
    assert!(out.contains("control    not running"), "{out}");
    assert!(out.contains("dataplane  running") && out.contains("2 workers"), "{out}");
    assert!(out.contains("balanced"), "{out}");
    let value = json(&sluice(dir.path(), &["status", "--json"]));
    assert_eq!(value["tables"][0]["used"], 42);
    assert_eq!(value["dataplane"]["workers"], 2);
}

#[test]
fn cycles_are_shown_by_worker_and_stage() {
    let dir = tempfile::tempdir().unwrap();
    let mut region = DataplaneRegion::create(&RunDir::new(dir.path()), 2).unwrap();
    let counters = region.take_worker(0).counters;
    let (_, err) = text(&sluice(dir.path(), &["cycles", "--total"]));
    assert!(err.contains("no worker runs yet"), "{err}");
    region.set_active_workers(2);
    let (out, _) = text(&sluice(dir.path(), &["cycles", "--interval", "0.1"]));
    assert!(out.contains("no packets in this interval"), "{out}");

    counters.add(Counter::RxPackets, 1000);
    counters.add(Counter::CyclesBusy, 123_000);
    counters.add(Counter::CyclesIdle, 123_000);
    counters.add(Counter::SampledPackets, 10);
    counters.add(Counter::CyclesParse, 77);
    let (out, err) = text(&sluice(dir.path(), &["cycles", "--total"]));
    assert!(err.is_empty(), "{err}");
    for part in ["worker 0", "worker 1", "total", "look up", "50.0%", "123", "7.7"] {
        assert!(out.contains(part), "no {part} in {out}");
    }
    let value = json(&sluice(dir.path(), &["cycles", "--total", "--json"]));
    assert_eq!(value["workers"][0]["stages"]["parse"], 7.7);
    assert_eq!(value["workers"][1]["stages"]["parse"], serde_json::Value::Null);
    assert_eq!(value["total"]["cycles_per_packet"], 123.0);
    let (out, _) = text(&sluice(dir.path(), &["status"]));
    assert!(out.contains("load: 50.0%, - of the time"), "{out}");
    assert_eq!(sluice(dir.path(), &["cycles", "--interval", "0"]).status.code(), Some(2));
}

//= conformance PORT-18
#[test]
fn deterministic_ranges_are_told_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let name = file.to_str().unwrap();
    let pool = "prefixes: [192.0.2.1], deterministic: { inside: 198.51.100.0/28, dynamic: 2 }";
    let text_of = |pool: &str| {
        format!("{GOOD}pools: {{ public: {{ {pool} }} }}\nnat44: [{{ sources: [198.51.100.0/28] }}]\n")
    };
    std::fs::write(&file, text_of(pool)).unwrap();
    let ask = |arguments: &[&str]| {
        let output = sluice(dir.path(), &[&["deterministic", "--config", name], arguments].concat());
        let (out, err) = text(&output);
        (output.status.code(), out, err)
    };
    let range = "198.51.100.2 has 192.0.2.1:5056-9087 (pool public)\n";
    assert_eq!(ask(&["198.51.100.2"]).1, range);
    assert_eq!(ask(&["192.0.2.1:9087"]).1, range);
    assert_eq!(ask(&["192.0.2.1:2001"]).1, "198.51.100.1 has 192.0.2.1:1024-5055 (pool public)\n");
    assert_eq!(ask(&[]).1, "pool public: I=198.51.100.0/28 O=192.0.2.1/32 C=14 D=2 M=4032 A=0 R=1024\n");
    for (question, words) in
        [("198.51.100.99", "in the `inside` of no deterministic pool"), ("192.0.2.1:60000", "in no range")]
    {
        let (status, _, err) = ask(&[question]);
        assert!(status == Some(1) && err.contains(words), "{question}: {err}");
    }
    assert_eq!(ask(&["nonsense"]).0, Some(2));
    let output = sluice(dir.path(), &["deterministic", "--json", "--config", name, "192.0.2.1:2001"]);
    assert_eq!(json(&output)["inside"], "198.51.100.1");
    std::fs::write(&file, text_of("prefixes: [192.0.2.1]")).unwrap();
    let (status, _, err) = ask(&["192.0.2.1:2001"]);
    assert!(status == Some(1) && err.contains("no pool is deterministic"), "{err}");
}
