//! The real daemon, each in a network namespace of its own, with a dataplane played by the test or none.
//!
//! Needs root: the daemon makes TAP interfaces.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_nat::Protocol;
use sluice_shm::{
    Address, Command as Order, DataplaneRegion, DataplaneState, PortInfo, Reply, RunDir, Stage, TraceEnd,
    TraceRecord, now_ns, read_snapshot,
};

const FILE: &str = "\
interfaces:
  lan: { device: 'null:lan', addresses: [10.0.0.1/24, 2001:db8::1/64] }
  wan: { device: 'null:wan', addresses: [192.0.2.2/30] }
pools: { public: { prefixes: [198.51.100.0/30] } }
nat64: [{}]
routes: [{ to: 0.0.0.0/0, via: 192.0.2.1 }]
";

struct Gateway {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Gateway {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), daemon: None }
    }

    fn run(&self) -> RunDir {
        RunDir::new(self.dir.path())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // `unshare` replaces itself, so the child is the daemon.
        let mut command = Command::new("unshare");
        command
            .args(["--net", env!("CARGO_BIN_EXE_sluice-control")])
            .args(arguments)
            .env("SLUICE_RUN_DIR", self.dir.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self, arguments: &[&str]) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = self.command(arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.daemon = Some(child);
        self.wait("the socket", |gateway| UnixStream::connect(gateway.run().socket()).is_ok());
    }

    fn wait(&mut self, what: &str, ready: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !ready(self) {
            let ended = self.daemon.as_mut().and_then(|d| d.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon has ended: {}", self.log());
            assert!(start.elapsed() < Duration::from_secs(20), "waited for {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn sluice(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments)
            .env("SLUICE_RUN_DIR", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn out(&self, arguments: &[&str]) -> String {
        let output = self.sluice(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", both(&output), self.log());
        both(&output)
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.out(arguments)).unwrap()
    }

    /// A program in the daemon's network namespace.
    fn inside(&self, program: &[&str]) -> String {
        let pid = self.daemon.as_ref().unwrap().id().to_string();
        let output =
            Command::new("nsenter").args(["--net", "--target", &pid]).args(program).output().unwrap();
        both(&output)
    }

    /// Exit code of the daemon after a signal.
    fn signal(&mut self, signal: &str) -> i32 {
        let child = self.daemon.as_mut().unwrap();
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(status) = child.try_wait().unwrap() {
                self.daemon = None;
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.log());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A dataplane that takes every configuration, except for those that `refuse` finds fault with.
struct Dataplane {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Order>>>,
}

impl Dataplane {
    fn start(run: &RunDir, refuse: fn(&sluice_shm::snapshot::Snapshot) -> Option<String>) -> Self {
        let mut region = DataplaneRegion::create(run, 1).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (told, run) = (Arc::clone(&stop), run.clone());
        let thread = std::thread::spawn(move || {
            let (mut commands, mut replies) = (region.take_commands(), region.take_replies());
            let mut worker = region.take_worker(0);
            region.set_state(DataplaneState::Running);
            let mut orders = Vec::new();
            while !told.load(Ordering::Relaxed) {
                region.heartbeat(now_ns());
                while let Some(request) = commands.pop() {
                    orders.push(request.command);
                    let sequence = request.sequence;
                    let reply = match request.command {
                        Order::Apply { generation } => {
                            let snapshot = read_snapshot(&run).unwrap();
                            assert_eq!(snapshot.generation, generation);
                            match refuse(&snapshot) {
                                Some(message) => Reply::Refused { sequence, message },
                                None => {
                                    for (n, port) in (1u8..).zip(&snapshot.ports) {
                                        let mac = [2, 0, 0, 0, 0, n];
                                        let device = port.device.clone();
                                        region.set_port(
                                            usize::from(n) - 1,
                                            &PortInfo { device, mac, ..PortInfo::default() },
                                        );
                                    }
                                    region.set_generation(generation);
                                    Reply::Applied { sequence, generation }
                                }
                            }
                        }
                        Order::TraceStart { id, count, .. } => {
                            for _ in 0..count {
                                let mut record = TraceRecord::new(id, 0, 0, now_ns());
                                record.mark(Stage::Receive, 0, now_ns());
                                record.set_before(&frame());
                                record.finish(TraceEnd::Drop(sluice_packet::reason::DropReason::NoRoute));
                                worker.traces.push(&record);
                            }
                            Reply::Done { sequence }
                        }
                        Order::RemoveMappings { port: Some(1), .. } => {
                            Reply::Refused { sequence, message: "another removal is under way".to_owned() }
                        }
                        // A host that is known has seven sessions.
                        Order::RemoveMappings { inside, .. } => Reply::Removed {
                            sequence,
                            sessions: if inside.value == 0x0a00_0005 { 7 } else { 0 },
                        },
                        _ => Reply::Done { sequence },
                    };
                    assert!(replies.push(&reply));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            orders
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> Vec<Order> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// UDP 192.0.2.1:5000 → 198.51.100.9:53.
fn frame() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    bytes.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 9]);
    bytes.extend([0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    bytes
}

#[test]
fn without_a_dataplane_a_configuration_waits_for_it() {
    let mut gateway = Gateway::new();
    gateway.start(&[]);
    assert!(gateway.out(&["status"]).contains("no configuration"));
    let file = gateway.file("a.yaml", FILE);

    let plan = gateway.out(&["apply", "--dry-run", &file]);
    assert!(plan.contains("  + lan: { device: null:lan"), "{plan}");
    assert!(!gateway.run().snapshot().exists());

    let out = gateway.out(&["apply", "--yes", &file]);
    assert!(out.contains("accepted: generation 1") && out.contains("applied when it starts"), "{out}");
    assert_eq!(read_snapshot(&gateway.run()).unwrap().generation, 1);
    let status = gateway.json(&["status", "--json"]);
    assert_eq!(status["control"]["pending"], true);
    assert_eq!(status["control"]["twins"][0]["name"], "lan");
    assert!(gateway.inside(&["ip", "-br", "link"]).contains("wan"));
    assert!(gateway.out(&["apply", "--yes", &file]).contains("nothing to do"));
    assert!(gateway.out(&["config"]).contains("generation 1"));
    assert_eq!(gateway.json(&["config", "--json"])["config"]["pools"][0]["name"], "public");

    let broken = gateway.file("b.yaml", &FILE.replace("pools", "pols"));
    let output = gateway.sluice(&["apply", "--yes", &broken]);
    assert_eq!(output.status.code(), Some(1));
    assert!(both(&output).contains("did you mean `pools`?"), "{}", both(&output));
    let trace = gateway.sluice(&["trace"]);
    assert!(both(&trace).contains("no dataplane is running"), "{}", both(&trace));

    assert_eq!(gateway.signal("-TERM"), 0, "{}", gateway.log());
    assert!(!gateway.run().socket().exists());
    // What was applied last is still shown, and taken up by the next daemon.
    assert!(gateway.out(&["config"]).contains("sluice-control is not running"));
    gateway.start(&[]);
    assert_eq!(gateway.json(&["status", "--json"])["control"]["generation"], 2);
    assert_eq!(gateway.signal("-INT"), 0);
}

#[test]
fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let mut gateway = Gateway::new();
    gateway.start(&[]);
    let output = gateway.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let pid = gateway.daemon.as_ref().unwrap().id();
    assert!(both(&output).contains(&format!("pid {pid}")), "{}", both(&output));
    assert!(gateway.out(&["status"]).contains("running"));
}

#[test]
fn a_file_with_mistakes_at_the_start_ends_the_daemon_with_them() {
    let gateway = Gateway::new();
    let file = gateway.file("a.yaml", &FILE.replace("nat64", "nat46"));
    let output = gateway.command(&["--config", &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(both(&output).contains("a.yaml:5:1: error: unknown key `nat46`"), "{}", both(&output));
    assert!(!gateway.run().socket().exists());
}

#[test]
fn a_dataplane_gets_the_configuration_whenever_it_starts() {
    let mut gateway = Gateway::new();
    let file = gateway.file("a.yaml", FILE);
    gateway.start(&["--config", &file]);
    for life in 0..2 {
        let dataplane = Dataplane::start(&gateway.run(), |_| None);
        gateway.wait("the twins", |gateway| {
            let status = gateway.json(&["status", "--json"]);
            status["control"]["pending"] == false
                && status["control"]["twins"].as_array().unwrap().iter().all(|twin| twin["ready"] == true)
        });
        let addresses = gateway.inside(&["ip", "-br", "addr"]);
        for address in ["10.0.0.1/24", "2001:db8::1/64", "192.0.2.2/30"] {
            assert!(addresses.contains(address), "{addresses}");
        }
        assert!(gateway.inside(&["ip", "link", "show", "wan"]).contains("02:00:00:00:00:02"));
        // The router is asked for, and what the kernel thinks of it reaches the dataplane.
        let told = gateway.inside(&[
            "ip",
            "neigh",
            "replace",
            "10.0.0.9",
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "lan",
        ]);
        assert!(told.is_empty(), "{told}");
        std::thread::sleep(Duration::from_millis(300));
        let orders = dataplane.stop();
        let applied = orders.iter().filter(|order| matches!(order, Order::Apply { .. })).count();
        assert_eq!(applied, 1, "life {life}: {orders:?}");
        assert!(
            orders.iter().any(|order| matches!(
                order,
                Order::NeighbourSet { interface: 0, mac: [2, 0, 0, 0, 0, 0x99], .. }
            )),
            "life {life}: {orders:?}"
        );
    }
    assert_eq!(gateway.signal("-TERM"), 0, "{}", gateway.log());
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let mut gateway = Gateway::new();
    let file = gateway.file("a.yaml", FILE);
    let dataplane = Dataplane::start(&gateway.run(), |snapshot| {
        (snapshot.interfaces.len() > 2).then(|| "no port behind `null:dmz`".to_owned())
    });
    gateway.start(&[]);
    let out = gateway.out(&["apply", "--yes", &file]);
    assert!(out.contains("applied: generation 1"), "{out}");
    let links = gateway.inside(&["ip", "-br", "addr"]);

    let more = FILE.replace("pools:", "  dmz: { device: 'null:dmz', addresses: [10.9.0.1/24] }\npools:");
    let more = gateway.file("b.yaml", &more);
    let output = gateway.sluice(&["apply", "--yes", &more]);
    assert_eq!(output.status.code(), Some(1));
    let said = both(&output);
    assert!(
        said.contains("no port behind `null:dmz`") && said.contains("what was in force stays in force"),
        "{said}"
    );
    assert_eq!(gateway.inside(&["ip", "-br", "addr"]), links);
    let snapshot = read_snapshot(&gateway.run()).unwrap();
    assert_eq!((snapshot.generation, snapshot.interfaces.len()), (1, 2));
    assert!(gateway.out(&["config"]).contains("generation 1"));

    // An address more needs no new port; the next number is not that of the refused one.
    let other = gateway.file("c.yaml", &FILE.replace("192.0.2.2/30]", "192.0.2.2/30, 192.0.2.130/25]"));
    assert!(gateway.out(&["apply", "--yes", &other]).contains("generation 3"));
    assert!(gateway.inside(&["ip", "-br", "addr"]).contains("192.0.2.130/25"));
    dataplane.stop();
}

#[test]
fn a_trace_shows_packets_with_their_stages() {
    let mut gateway = Gateway::new();
    let file = gateway.file("a.yaml", FILE);
    let dataplane = Dataplane::start(&gateway.run(), |_| None);
    gateway.start(&["--config", &file]);
    let out = gateway.out(&["trace", "--count", "3", "--interface", "lan"]);
    assert_eq!(out.matches("udp 192.0.2.1:5000 → 198.51.100.9:53, ttl 64").count(), 3, "{out}");
    assert!(
        out.contains("dropped: no_route") && out.contains("receive") && out.contains("3 packets"),
        "{out}"
    );
    let output = gateway.sluice(&["trace", "--interface", "nowhere"]);
    assert!(
        both(&output).contains("there is no interface `nowhere`; there is lan, wan"),
        "{}",
        both(&output)
    );
    dataplane.stop();
}

#[test]
fn mappings_are_deleted_by_the_dataplane_and_counted() {
    //= conformance MAP-15
    let mut gateway = Gateway::new();
    let file = gateway.file("a.yaml", FILE);
    let delete = ["sessions", "delete", "--inside"];
    let failed = |gateway: &Gateway, arguments: &[&str]| {
        let output = gateway.sluice(&[&delete, arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", both(&output));
        both(&output)
    };
    gateway.start(&["--config", &file]);
    assert!(failed(&gateway, &["10.0.0.5"]).contains("no dataplane is running"));
    let dataplane = Dataplane::start(&gateway.run(), |_| None);
    gateway
        .wait("the dataplane", |gateway| gateway.json(&["status", "--json"])["control"]["pending"] == false);
    assert_eq!(
        gateway.out(&[&delete[..], &["10.0.0.5:4000", "--protocol", "udp"]].concat()),
        "7 sessions deleted\n"
    );
    assert_eq!(gateway.json(&[&delete[..], &["10.0.0.5", "--json"]].concat())["deleted"], 7);
    let nothing = failed(&gateway, &["[2001:db8::7]:4000", "--protocol", "tcp"]);
    assert!(nothing.contains("there is no session of 2001:db8::7, port 4000, tcp"), "{nothing}");
    assert!(nothing.contains("sluice sessions --inside 2001:db8::7"), "{nothing}");
    assert!(failed(&gateway, &["10.0.0.5:1"]).contains("another removal is under way"));
    assert_eq!(gateway.sluice(&["sessions", "delete"]).status.code(), Some(2), "an address has to be named");
    let asked: Vec<Order> =
        dataplane.stop().into_iter().filter(|order| matches!(order, Order::RemoveMappings { .. })).collect();
    let inside = Address::v4(0x0a00_0005);
    let (port, protocol) = (Some(4000), Some(Protocol::Udp));
    assert_eq!(asked[0], Order::RemoveMappings { inside, port, protocol });
    assert_eq!(asked[1], Order::RemoveMappings { inside, port: None, protocol: None });
    assert!(gateway.log().contains("mappings deleted"), "{}", gateway.log());
}

#[test]
fn bad_requests_are_answered_and_slow_clients_hold_up_nobody() {
    let mut gateway = Gateway::new();
    gateway.start(&[]);
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(gateway.run().socket()).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    assert!(ask("nonsense").contains("expected a JSON object"));
    assert!(ask("{\"version\":99,\"request\":\"status\"}").contains("speaks version 1"));
    assert!(ask("{\"version\":1,\"request\":\"dance\"}").contains("not understood"));
    // Half a request, and a client that never reads.
    let mut half = UnixStream::connect(gateway.run().socket()).unwrap();
    half.write_all(b"{\"version\":1,").unwrap();
    let mut deaf = UnixStream::connect(gateway.run().socket()).unwrap();
    for _ in 0..2000 {
        if deaf.set_write_timeout(Some(Duration::from_millis(20))).is_err()
            || deaf.write_all(b"{\"version\":1,\"request\":\"status\"}\n").is_err()
        {
            break;
        }
    }
    let start = Instant::now();
    assert!(ask("{\"version\":1,\"request\":\"status\"}").contains("\"response\":\"status\""));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(mode(&gateway.run().socket()) & 0o777 == 0o660);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode()
}
