use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use proptest::prelude::*;
use sluice_packet::reason::DropReason;

use super::*;
use crate::clock::now_ns;
use crate::counters::Counter;
use crate::messages::{Address, Command, Stage, TraceEnd};
use crate::paths::RunDir;

fn run() -> (tempfile::TempDir, RunDir) {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    (dir, run)
}

#[test]
fn control_and_dataplane_hear_each_other() {
    let (_dir, run) = run();
    assert!(ControlSide::attach(&run).unwrap().is_none());
    let mut region = DataplaneRegion::create(&run, 3).unwrap();
    let (mut commands, mut replies) = (region.take_commands(), region.take_replies());
    let mut control = ControlSide::attach(&run).unwrap().unwrap();
    assert_eq!((control.workers(), control.threads(), region.workers()), (3, 5, 3));

    let sequence = control.next_sequence();
    assert!(control.commands.push(&Request { sequence, command: Command::Apply { generation: 9 } }));
    assert_eq!(commands.pop(), Some(Request { sequence, command: Command::Apply { generation: 9 } }));
    assert!(replies.push(&Reply::Applied { sequence, generation: 9 }));
    assert_eq!(control.replies.pop(), Some(Reply::Applied { sequence, generation: 9 }));
    assert_ne!(control.next_sequence(), sequence);

    for thread in 0..5 {
        let mut side = region.take_worker(thread);
        let notice = Notice::NeighbourWanted { interface: thread as u16, address: Address::v4(1) };
        assert!(side.notices.push(&notice));
        let mut trace = TraceRecord::new(thread as u32, thread as u8, 0, 1);
        trace.mark(Stage::Drop, 0, 2);
        trace.finish(TraceEnd::Drop(DropReason::NoRoute));
        assert!(side.traces.push(&trace));
        side.counters.add(Counter::RxPackets, thread as u64 + 1);
        side.counters.add_drop(DropReason::NoRoute, 1);
        assert_eq!(control.notices(thread).pop(), Some(notice));
        assert_eq!(control.traces(thread).pop(), Some(trace));
        assert_eq!(control.counters(thread).get(Counter::RxPackets), thread as u64 + 1);
        assert_eq!(region.counters(thread).snapshot().all_drops(), 1);
    }
    let observer = Observer::open(&run).unwrap().unwrap();
    let sum: crate::CountersSnapshot = observer.counters().into_iter().sum();
    assert_eq!((sum.get(Counter::RxPackets), sum.all_drops()), (15, 5));
    assert_eq!((region.main_thread(), region.punt_thread(), observer.threads()), (3, 4, 5));
}

#[test]
fn either_process_is_described_to_whoever_looks() {
    let (_dir, run) = run();
    assert!(Observer::open(&run).unwrap().is_none());
    let mut region = DataplaneRegion::create(&run, 1).unwrap();
    let observer = Observer::open(&run).unwrap().unwrap();
    let info = observer.info();
    assert_eq!((info.state, info.generation, info.control_pid), (DataplaneState::Starting, 0, 0));
    assert!(info.alive && !info.control_alive && info.heartbeat_age_ns(now_ns()).is_none());

    region.set_state(DataplaneState::Running);
    region.set_generation(7);
    region.heartbeat(1_000);
    let port = PortInfo {
        device: format!("xdp:{}", "ü".repeat(40)),
        driver: "net_af_xdp".into(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        link_up: true,
        speed_mbps: 10_000,
        rx_queues: 1,
        tx_queues: 2,
        rx_packets: 3,
        tx_packets: 4,
        rx_missed: 5,
        rx_errors: 6,
        rx_no_mbuf: 7,
        tx_errors: 8,
    };
    region.set_port(1, &port);
    region.set_port(MAX_PORTS, &port);
    let control = ControlSide::attach(&run).unwrap().unwrap();
    assert!(control.is_current());
    control.beat(2_000);
    assert_eq!(region.control_heartbeat(), 2_000);

    let info = observer.info();
    assert_eq!((info.state, info.generation, info.workers), (DataplaneState::Running, 7, 1));
    assert_eq!((info.pid, info.control_pid), (std::process::id(), std::process::id()));
    assert_eq!(
        (info.heartbeat_age_ns(5_000), info.control_heartbeat_age_ns(5_000)),
        (Some(4_000), Some(3_000))
    );
    assert!(info.control_alive);
    assert_eq!((control.info(), region.info()), (info.clone(), info));
    let ports = observer.ports();
    assert_eq!((ports.len(), &ports[0]), (2, &None));
    // 64 bytes: "xdp:" and thirty of the two-byte letters.
    let kept = PortInfo { device: format!("xdp:{}", "ü".repeat(30)), ..port };
    assert_eq!(ports[1].as_ref(), Some(&kept));
    region.set_port_count(1);
    assert_eq!(control.ports().len(), 1);
}

#[test]
fn what_an_earlier_control_left_unread_is_dropped_on_attaching() {
    let (_dir, run) = run();
    let mut region = DataplaneRegion::create(&run, 1).unwrap();
    let mut replies = region.take_replies();
    let mut side = region.take_worker(0);
    let mut first = ControlSide::attach(&run).unwrap().unwrap();
    let sequence = first.next_sequence();
    drop(first);
    replies.push(&Reply::Done { sequence });
    side.notices.push(&Notice::LinkChanged { port: 0, up: true });
    side.traces.push(&TraceRecord::new(1, 0, 0, 0));
    let mut second = ControlSide::attach(&run).unwrap().unwrap();
    assert_eq!(second.drained(), 3);
    assert_eq!((second.replies.pop(), second.notices(0).pop(), second.traces(0).pop()), (None, None, None));
    assert_ne!(second.next_sequence(), sequence);
    side.notices.push(&Notice::LinkChanged { port: 0, up: false });
    assert_eq!(second.notices(0).pop(), Some(Notice::LinkChanged { port: 0, up: false }));
}

#[test]
fn a_new_life_of_the_dataplane_is_noticed() {
    let (_dir, run) = run();
    let _old = DataplaneRegion::create(&run, 1).unwrap();
    let mut control = ControlSide::attach(&run).unwrap().unwrap();
    assert!(control.is_current());
    let _new = DataplaneRegion::create(&run, 2).unwrap();
    assert!(!control.is_current());
    // The old one can still be written to; it runs full, and nothing worse.
    let request = Request { sequence: 1, command: Command::Shutdown };
    let pushed = (0..10_000).filter(|_| control.commands.push(&request)).count();
    assert_eq!((pushed, control.commands.refused()), (COMMAND_SLOTS, 10_000 - COMMAND_SLOTS as u64));
    let successor = ControlSide::attach(&run).unwrap().unwrap();
    assert_ne!(successor.info().epoch, control.info().epoch);
    assert!(successor.is_current() && successor.workers() == 2);
    fs::remove_file(run.control_region()).unwrap();
    assert!(!successor.is_current());
}

#[test]
fn the_file_is_for_owner_and_group_and_nothing_else_is_left() {
    let (_dir, run) = run();
    fs::write(run.path().join("control.shm.new"), "left by a killed process").unwrap();
    DataplaneRegion::create(&run, 1).unwrap();
    let mode = fs::metadata(run.control_region()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
}

#[test]
fn too_many_workers_are_refused() {
    let (_dir, run) = run();
    for workers in [0, 65] {
        let error = DataplaneRegion::create(&run, workers).unwrap_err().to_string();
        assert!(error.contains("number of workers") && error.contains("1 to 64"), "{error}");
    }
    let region = DataplaneRegion::create(&run, MAX_WORKERS).unwrap();
    assert_eq!(ControlSide::attach(&run).unwrap().unwrap().threads(), region.punt_thread() + 1);
}

#[test]
#[should_panic(expected = "thread 0 is taken already")]
fn a_thread_is_taken_once() {
    let (_dir, run) = run();
    let mut region = DataplaneRegion::create(&run, 1).unwrap();
    region.take_worker(0);
    region.take_worker(0);
}

/// A region whose file is changed behind its back before control attaches.
fn damaged(offset: u64, bytes: &[u8]) -> String {
    let (_dir, run) = run();
    let _region = DataplaneRegion::create(&run, 1).unwrap();
    let file = fs::File::options().write(true).open(run.control_region()).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    let error = ControlSide::attach(&run).unwrap_err().to_string();
    assert_eq!(Observer::open(&run).unwrap_err().to_string(), error);
    error
}

#[test]
fn a_damaged_file_is_refused_by_what_is_wrong_with_it() {
    let workers = (DATAPLANE_HEADER + core::mem::offset_of!(DataplaneHeader, workers)) as u64;
    let error = damaged(16, &0x0102_0304_u64.to_ne_bytes());
    for part in ["control.shm", "0000000001020304", env!("CARGO_PKG_VERSION"), "one build"] {
        assert!(error.contains(part), "{part} not in: {error}");
    }
    assert!(damaged(0, b"\x7fELF").contains("not a file of Sluice"));
    assert!(damaged(workers, &0_u64.to_ne_bytes()).contains("number of workers is 0"));
    assert!(damaged(workers, &u64::MAX.to_ne_bytes()).contains("expected 1 to 64"));
    assert!(damaged(workers, &2_u64.to_ne_bytes()).contains("is damaged"));

    let (_dir, run) = run();
    let _region = DataplaneRegion::create(&run, 1).unwrap();
    let file = fs::File::options().write(true).open(run.control_region()).unwrap();
    file.set_len(100).unwrap();
    assert!(ControlSide::attach(&run).unwrap_err().to_string().contains("has 100 bytes"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Either side may write anything anywhere behind the preamble, at any time.
    #[test]
    fn a_region_full_of_nonsense_never_makes_anyone_panic(
        patches in prop::collection::vec((64..bytes(1) as u64, prop::collection::vec(any::<u8>(), 1..400)), 1..40),
        indices in any::<[u64; 8]>(),
    ) {
        let (_dir, run) = run();
        let mut region = DataplaneRegion::create(&run, 1).unwrap();
        let (mut commands, mut replies) = (region.take_commands(), region.take_replies());
        let mut side = region.take_worker(0);
        let mut control = ControlSide::attach(&run).unwrap().unwrap();
        let file = fs::File::options().write(true).open(run.control_region()).unwrap();
        for (offset, patch) in &patches {
            let length = patch.len().min(bytes(1) - *offset as usize);
            file.write_all_at(&patch[..length], *offset).unwrap();
        }
        let rings = [COMMANDS, REPLIES, THREADS + NOTICES, THREADS + TRACES];
        for (index, ring) in indices.chunks(2).zip(rings) {
            file.write_all_at(&index[0].to_ne_bytes(), ring as u64).unwrap();
            file.write_all_at(&index[1].to_ne_bytes(), ring as u64 + 128).unwrap();
        }
        let mut exercise = |control: &mut ControlSide| {
            control.commands.push(&Request { sequence: 1, command: Command::Shutdown });
            while commands.pop().is_some() {}
            replies.push(&Reply::Done { sequence: 1 });
            while control.replies.pop().is_some() {}
            side.notices.push(&Notice::LinkChanged { port: 0, up: true });
            control.notices(0).pop();
            side.traces.push(&TraceRecord::new(1, 0, 0, 0));
            control.traces(0).pop();
            let _ = (control.info(), control.ports(), control.is_current(), control.next_sequence());
            control.counters(0).snapshot().balance();
        };
        exercise(&mut control);
        if let Ok(Some(mut control)) = ControlSide::attach(&run) {
            exercise(&mut control);
        }
        if let Ok(Some(observer)) = Observer::open(&run) {
            let _ = (observer.info(), observer.ports(), observer.counters());
        }
        region.set_port(0, &PortInfo::default());
        let _ = region.info();
    }
}
