//! Control and dataplane as real processes, each killed without warning and started again.
//!
//! The test binary starts itself: `child_process` does nothing unless the environment gives it a role.

#![cfg(not(loom))]
// The lint spares test functions, and not the helpers beside them.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use sluice_shm::messages::{Address, Command, NeighbourState, Notice, Reply, Request};
use sluice_shm::{ControlSide, Counter, DataplaneRegion, DataplaneState, Observer, RunDir, ShmError, now_ns};

const ROLE: &str = "SLUICE_SHM_TEST_ROLE";
const SIGKILL: i32 = 9;

fn start(role: &str, run: &Path) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env("SLUICE_RUN_DIR", run)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a child that must still be running: one that ended by itself has failed an assertion.
fn kill(mut child: Child) {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "the child ended by itself: {status}");
}

fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let run = RunDir::from_env(None);
    match role.as_str() {
        "control" => control(&run),
        "dataplane" => dataplane(&run),
        _ => panic!("no such role: {role}"),
    }
}

/// A command whose every field follows from its number, so that a torn one is recognised.
fn request(sequence: u32) -> Request {
    Request {
        sequence,
        command: Command::NeighbourSet {
            interface: sequence as u16,
            address: Address::v6(u128::from(sequence) << 64 | u128::from(!sequence)),
            mac: [sequence as u8; 6],
            state: NeighbourState::Reachable,
        },
    }
}

/// A notice of which the same is true.
fn notice(n: u32) -> Notice {
    Notice::NeighbourWanted {
        interface: n as u16,
        address: Address::v6(u128::from(n) << 64 | u128::from(!n)),
    }
}

fn is_whole(got: &Notice) -> bool {
    matches!(got, Notice::NeighbourWanted { address, .. } if *got == notice((address.value >> 64) as u32))
}

/// Floods the dataplane with commands and reads all that comes back, until killed.
fn control(run: &RunDir) {
    let _lock = wait_for("lock", || run.lock_control().ok());
    let mut side = wait_for("dataplane", || ControlSide::attach(run).unwrap());
    let mut answered = 0;
    let mut sequence = side.next_sequence();
    loop {
        side.beat(now_ns());
        while side.commands.push(&request(sequence)) {
            sequence = side.next_sequence();
        }
        while let Some(reply) = side.replies.pop() {
            assert!(reply.sequence() > answered, "{reply:?} after {answered}");
            answered = reply.sequence();
        }
        while let Some(notice) = side.notices(0).pop() {
            assert!(is_whole(&notice), "{notice:?}");
        }
        assert_eq!((side.replies.rejected(), side.notices(0).rejected()), (0, 0));
    }
}

/// Answers commands, until killed.
fn dataplane(run: &RunDir) {
    let _lock = run.lock_dataplane().unwrap();
    let mut region = DataplaneRegion::create(run, 1).unwrap();
    let (mut commands, mut replies) = (region.take_commands(), region.take_replies());
    let mut worker = region.take_worker(0);
    region.set_state(DataplaneState::Running);
    let mut n = 0;
    loop {
        region.heartbeat(now_ns());
        while let Some(command) = commands.pop() {
            assert_eq!(command, request(command.sequence));
            replies.push(&Reply::Done { sequence: command.sequence });
        }
        worker.counters.add(Counter::Loops, 1);
        if !worker.notices.push(&notice(n)) {
            worker.counters.add(Counter::EventsLost, 1);
        }
        n += 1;
    }
}

#[test]
fn a_control_killed_at_any_moment_leaves_rings_that_the_next_takes_up() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut region = DataplaneRegion::create(&run, 1).unwrap();
    let (mut commands, mut replies) = (region.take_commands(), region.take_replies());
    let mut worker = region.take_worker(0);
    let (mut last, mut n) = (0, 0);
    for round in 0..12_u32 {
        let child = start("control", dir.path());
        let mut seen = 0;
        let mut until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            while let Some(command) = commands.pop() {
                assert_eq!(command, request(command.sequence));
                assert!(command.sequence > last, "{} after {last}", command.sequence);
                last = command.sequence;
                replies.push(&Reply::Done { sequence: command.sequence });
                if seen == 0 {
                    // The child is at work; let it be for a few milliseconds that differ from round to round.
                    until = Instant::now() + Duration::from_micros(1500 + u64::from(round) * 977);
                }
                seen += 1;
                if Instant::now() >= until {
                    break;
                }
            }
            worker.notices.push(&notice(n));
            n += 1;
        }
        assert!(seen > 0, "round {round}: the child sent nothing");
        kill(child);
    }
    assert_eq!(commands.rejected(), 0);
    // What the last one left in the ring is whole too.
    while let Some(command) = commands.pop() {
        assert_eq!(command, request(command.sequence));
        assert!(command.sequence > last);
        last = command.sequence;
    }
    assert!(!region.info().control_alive && region.control_heartbeat() > 0);
    run.lock_control().unwrap();
}

#[test]
fn a_dataplane_that_was_killed_is_missed_and_its_successor_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut epochs = Vec::new();
    for round in 0..3 {
        assert!(ControlSide::attach(&run).unwrap().is_none(), "round {round}");
        let child = start("dataplane", dir.path());
        let mut side = wait_for("dataplane", || ControlSide::attach(&run).unwrap());
        assert_eq!(side.info().pid, child.id());
        epochs.push(side.info().epoch);
        let refused = wait_for("lock", || run.lock_dataplane().err());
        assert!(matches!(refused, ShmError::Locked { pid, .. } if pid == Some(child.id())), "{refused}");
        for _ in 0..500 {
            let sequence = side.next_sequence();
            assert!(side.commands.push(&request(sequence)));
            assert_eq!(wait_for("reply", || side.replies.pop()), Reply::Done { sequence });
        }
        assert!(side.is_current());
        wait_for("notice", || side.notices(0).pop().filter(is_whole));
        assert!(side.info().heartbeat_age_ns(now_ns()).is_some_and(|age| age < 5_000_000_000));
        let observer = Observer::open(&run).unwrap().unwrap();
        assert!(observer.counters()[0].get(Counter::Loops) > 0 && observer.info().alive);

        kill(child);
        assert!(!side.is_current() && !observer.info().alive);
        // The rings of the dead end as memory of our own: what it still said can be read, and a push finds its end.
        while let Some(notice) = side.notices(0).pop() {
            assert!(is_whole(&notice));
        }
        let pushed = (0..100_000).filter(|_| side.commands.push(&request(1))).count();
        assert_eq!(pushed, side.commands.capacity());
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 3);
}
