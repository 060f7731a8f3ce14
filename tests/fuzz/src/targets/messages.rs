//! What travels through shared memory and files between the processes: messages of rings, snapshots, headers of regions.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use sluice_shm::messages::Message;
use sluice_shm::snapshot::Snapshot;
use sluice_shm::snapshot_file::{decode, encode};
use sluice_shm::{
    ControlSide, DataplaneRegion, Notice, Observer, Reply, Request, RunDir, StateGeometry, StateReader,
    StateRegion, TraceRecord,
};
use zerocopy::{FromZeros, IntoBytes};

/// Reads one of them; the first byte says which.
pub fn run(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else { return };
    match kind % 7 {
        0 => message::<Request>(data),
        1 => message::<Reply>(data),
        2 => message::<Notice>(data),
        3 => message::<TraceRecord>(data),
        4 => body(data),
        5 => drop(decode(&RunDir::new("/nowhere"), data)),
        _ => regions(data),
    }
}

/// Any bytes are refused, or a message that is the same after it was written.
fn message<M: Message + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let mut wire = M::Wire::new_zeroed();
    let len = data.len().min(wire.as_bytes().len());
    // Bytes that are no value of the type do not exist: the trait says so.
    let mut copy = wire.as_bytes().to_vec();
    copy[..len].copy_from_slice(&data[..len]);
    if let Ok(read) = <M::Wire as zerocopy::FromBytes>::read_from_bytes(&copy) {
        wire = read;
    }
    if let Ok(read) = M::from_wire(&wire) {
        let again = M::from_wire(&read.to_wire());
        assert_eq!(again.as_ref(), Ok(&read));
    }
}

/// The body of a snapshot.
fn body(data: &[u8]) {
    let Ok((snapshot, _)) = postcard::take_from_bytes::<Snapshot>(data) else { return };
    let Ok(bytes) = encode(&snapshot) else {
        assert_eq!(snapshot.generation, 0);
        return;
    };
    let read = decode(&RunDir::new("/nowhere"), &bytes).expect("just written");
    assert_eq!(read, snapshot);
}

/// A run directory with regions that are as they should be.
struct Regions {
    run: RunDir,
    state: File,
    control: File,
    /// Kept so that both stay, and go with the process.
    _made: (StateRegion, DataplaneRegion, tempfile::TempDir),
}

fn make() -> Option<Mutex<Regions>> {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.ok()?;
    let run = RunDir::new(dir.path().join("run"));
    run.create().ok()?;
    let state = StateRegion::create(&run, 4096, StateGeometry::new(2, 16).ok()?).ok()?;
    let control = DataplaneRegion::create(&run, 2).ok()?;
    let open = |path| OpenOptions::new().read(true).write(true).open(path).ok();
    let files = (open(run.state_region())?, open(run.control_region())?);
    Some(Mutex::new(Regions { state: files.0, control: files.1, run, _made: (state, control, dir) }))
}

/// Regions in which a few bytes are others: offset u16, then a byte, as often as there are.
fn regions(data: &[u8]) {
    static REGIONS: OnceLock<Option<Mutex<Regions>>> = OnceLock::new();
    let Some(regions) = REGIONS.get_or_init(make) else { return };
    let regions = regions.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((&which, changes)) = data.split_first() else { return };
    let file = if which & 1 == 0 { &regions.state } else { &regions.control };
    let mut before = Vec::new();
    for change in changes.chunks_exact(3).take(32) {
        let at = u64::from(u16::from_be_bytes([change[0], change[1]]) % 8192);
        let mut old = [0];
        if file.read_exact_at(&mut old, at).is_ok() && file.write_all_at(&change[2..], at).is_ok() {
            before.push((at, old));
        }
    }
    if let Ok(reader) = StateReader::open(&regions.run) {
        let _ = (reader.clock(), reader.geometry(), reader.is_of_this_boot(), reader.capacity());
        let _ = reader.iter().take(100).count();
    }
    if let Ok(Some(observer)) = Observer::open(&regions.run) {
        let _ =
            (observer.info(), observer.ports(), observer.counters(), observer.threads(), observer.workers());
    }
    if let Ok(Some(mut control)) = ControlSide::attach(&regions.run) {
        let _ = (control.info(), control.ports(), control.is_current(), control.drained());
        for thread in 0..control.threads() {
            for _ in 0..4 {
                let _ = control.notices(thread).pop();
                let _ = control.traces(thread).pop();
            }
        }
    }
    for (at, old) in before.into_iter().rev() {
        let _ = file.write_all_at(&old, at);
    }
}
