use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use sluice_nat::{Fixed, Hot, Kind, KindRealm, Route};

use super::*;

fn run() -> (tempfile::TempDir, RunDir) {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    (dir, run)
}

fn fixed(n: u32) -> Fixed {
    Fixed {
        kind_realm: KindRealm::new(Kind::Nat64, 1),
        protocol: 17,
        inside_port: n as u16,
        inside: u128::from(n),
        remote: !n,
        external: n,
        remote_port: 53,
        external_port: n as u16,
        delta: 0,
        rule: 0,
        binding: n,
        owner: 0,
        prefix64: 0,
    }
}

fn create(session: &Session, n: u32) {
    session.create(&fixed(n), Hot { last_seen: Tick(n), ..Hot::default() }, Route::default());
}

/// Ports, hashes and identifications follow from it: nobody may know it.
//= conformance PORT-07
#[test]
fn every_geometry_has_a_seed_of_its_own() {
    let seeds: std::collections::HashSet<[u64; 4]> =
        (0..32).map(|_| StateGeometry::new(1, 1).unwrap().seed).collect();
    assert_eq!(seeds.len(), 32);
    let words: std::collections::HashSet<u64> = seeds.iter().flatten().copied().collect();
    assert_eq!(words.len(), 128);
}

#[test]
fn sessions_written_here_are_listed_there() {
    let (_dir, run) = run();
    let geometry = StateGeometry::new(4, 4096).unwrap();
    let region = StateRegion::create(&run, 10_000, geometry).unwrap();
    for n in [0, 1, 63, 64, 4095, 4096, 9_999] {
        create(&region.sessions()[n as usize], n);
    }
    let reader = StateReader::open(&run).unwrap();
    assert_eq!((reader.capacity(), region.capacity()), (10_000, 10_000));
    assert_eq!((reader.geometry(), region.geometry()), (geometry, geometry));
    assert_eq!(reader.clock(), region.clock());
    assert!(reader.is_of_this_boot() && reader.created_ns() <= now_ns());
    let listed: Vec<_> = reader.iter().collect();
    assert_eq!(listed.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 63, 64, 4095, 4096, 9_999]);
    assert!(listed.iter().all(|(n, session)| session.fixed == fixed(*n)));
    region.sessions()[64].delete();
    assert_eq!(reader.iter().count(), 6);
    assert_eq!(reader.session(64), None);
    assert_eq!(reader.session(63).unwrap().fixed, fixed(63));
    assert_eq!(reader.session(10_000), None);
    assert!(reader.chunks().all(|chunk| chunk.records() <= 4096));
}

#[test]
fn an_almost_empty_table_of_ten_million_is_listed_fast_and_stays_sparse() {
    let (_dir, run) = run();
    let region = StateRegion::create(&run, 10_000_000, StateGeometry::new(1, 1).unwrap()).unwrap();
    let reader = StateReader::open(&run).unwrap();
    assert_eq!(reader.iter().count(), 0);
    let indices: Vec<u32> = (0..100).map(|n| n * 99_991).chain([9_999_999]).collect();
    for &n in &indices {
        create(&region.sessions()[n as usize], n);
    }
    let begin = Instant::now();
    let listed: Vec<u32> = reader.iter().map(|(n, _)| n).collect();
    let elapsed = begin.elapsed();
    assert_eq!(listed, indices);
    assert!(elapsed.as_millis() < 1000, "{elapsed:?}");
    // Reading holes must not have filled them: 101 pages of 4 KiB, or of 2 MiB where the kernel takes the advice.
    let taken = fs::metadata(run.state_region()).unwrap().blocks() * 512;
    assert!(taken < 300 << 20, "{taken} bytes");
}

#[test]
fn ticks_are_quarters_of_a_second_since_the_base() {
    let clock = StateClock { base_ns: 5_000_000_000 };
    assert_eq!(clock.tick(4_000_000_000), Tick(0));
    assert_eq!(clock.tick(5_249_999_999), Tick(0));
    assert_eq!(clock.tick(5_250_000_000), Tick(1));
    assert_eq!(clock.tick(65_000_000_000), Tick::from_secs(60));
    assert_eq!(clock.age(Tick(4), 7_000_000_000), Duration::from_secs(1));
    assert_eq!(clock.age(Tick(400), 7_000_000_000), Duration::ZERO);
}

#[test]
fn a_new_region_replaces_the_old_and_readers_of_the_old_keep_it() {
    let (_dir, run) = run();
    let old = StateRegion::create(&run, 100, StateGeometry::new(1, 1).unwrap()).unwrap();
    create(&old.sessions()[7], 7);
    let reader = StateReader::open(&run).unwrap();
    StateRegion::create(&run, 200, StateGeometry::new(1, 1).unwrap()).unwrap();
    assert_eq!((reader.capacity(), reader.iter().count()), (100, 1));
    let reader = StateReader::open(&run).unwrap();
    assert_eq!((reader.capacity(), reader.iter().count()), (200, 0));
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
}

/// A region of a last life whose file was changed before the next life opens it.
fn last_life(change: impl FnOnce(&fs::File)) -> Result<Option<Vec<u32>>, ShmError> {
    let (_dir, run) = run();
    let region = StateRegion::create(&run, 1000, StateGeometry::new(1, 1).unwrap()).unwrap();
    for n in [3, 500, 999] {
        create(&region.sessions()[n as usize], n);
    }
    change(&fs::File::options().write(true).open(run.state_region()).unwrap());
    let reader = StateReader::open_last_life(&run)?;
    Ok(reader.map(|reader| reader.iter().map(|(n, _)| n).collect()))
}

//= conformance PORT-13
#[test]
fn the_last_life_is_known_if_it_was_of_this_boot_and_layout() {
    let (_dir, run) = run();
    assert!(StateReader::open_last_life(&run).unwrap().is_none(), "there was none");
    assert_eq!(last_life(|_| {}).unwrap(), Some(vec![3, 500, 999]));
    let boot = (HEADER + core::mem::offset_of!(StateHeader, boot_id)) as u64;
    assert_eq!(last_life(|file| file.write_all_at(&[0; 16], boot).unwrap()).unwrap(), None);
    let layout = last_life(|file| file.write_all_at(&[9; 8], 16).unwrap());
    assert!(matches!(layout, Err(ShmError::LayoutMismatch { .. })), "{layout:?}");
    let length = last_life(|file| file.set_len(5000).unwrap());
    assert!(matches!(length, Err(ShmError::Size { .. })), "{length:?}");
}

//= conformance PORT-13
#[test]
fn records_of_the_last_life_that_make_no_sense_do_no_harm() {
    let at = |n: u64| SESSIONS as u64 + n * 64;
    // Killed while it was made or deleted: the sequence is odd.
    let odd = |file: &fs::File| file.write_all_at(&[0xff; 1], at(500)).unwrap();
    assert_eq!(last_life(odd).unwrap(), Some(vec![3, 999]));
    let seed = process::random::<1>().unwrap()[0] | 1;
    let mut state = seed;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(1000 * 64)
    .collect();
    let listed = last_life(|file| file.write_all_at(&noise, at(0)).unwrap()).unwrap().unwrap();
    let live = |n: &u32| noise[*n as usize * 64] & 1 == 0;
    assert!(listed.len() > 300 && listed.iter().all(live), "seed {seed}");
}

#[test]
fn what_cannot_be_a_table_is_refused() {
    let (_dir, run) = run();
    let geometry = StateGeometry::new(1, 1).unwrap();
    let error = StateRegion::create(&run, 0, geometry).unwrap_err().to_string();
    assert!(error.contains("capacity") && error.contains("1 to"), "{error}");
    assert!(StateRegion::create(&run, MAX_SESSIONS + 1, geometry).is_err());
    assert!(StateRegion::create(&run, 1, StateGeometry { workers: 65, ..geometry }).is_err());
    let error = StateReader::open(&run).unwrap_err().to_string();
    assert!(error.contains("state.shm") && error.contains("is Sluice running"), "{error}");
}

/// A region whose file is changed behind its back before a reader opens it.
fn damaged(damage: impl FnOnce(&fs::File)) -> String {
    let (_dir, run) = run();
    StateRegion::create(&run, 1000, StateGeometry::new(1, 1).unwrap()).unwrap();
    damage(&fs::File::options().write(true).open(run.state_region()).unwrap());
    StateReader::open(&run).unwrap_err().to_string()
}

#[test]
fn a_damaged_file_is_refused_by_what_is_wrong_with_it() {
    let put =
        |offset: u64, bytes: &'static [u8]| move |file: &fs::File| file.write_all_at(bytes, offset).unwrap();
    let header = HEADER as u64;
    let capacity = header + core::mem::offset_of!(StateHeader, capacity) as u64;
    let offset = header + core::mem::offset_of!(StateHeader, sessions_offset) as u64;
    assert!(damaged(put(0, b"NOTOURS!")).contains("does not begin with \"SLUICEST\""));
    assert!(damaged(put(16, b"\x01\x02\x03\x04\x05\x06\x07\x08")).contains("hash 0807060504030201"));
    assert!(damaged(put(8, &[9])).contains("(layout 9,"));
    assert!(damaged(put(capacity, &[0xff; 8])).contains("capacity"));
    assert!(damaged(put(capacity, &[0xd0, 0x07])).contains("asks for 132096"));
    assert!(damaged(put(offset, &[1])).contains("offset of the sessions"));
    assert!(damaged(|file| file.set_len(100).unwrap()).contains("asks for 4096"));
    assert!(damaged(|file| file.set_len(10).unwrap()).contains("first 64 bytes"));
    assert!(damaged(|file| file.set_len(60_000).unwrap()).contains("asks for 68096"));
}

#[test]
fn a_table_larger_than_the_file_system_is_refused_before_it_can_kill() {
    let (_dir, run) = run();
    // 64 GiB: more than the test machine's free space, or else nothing is learned here.
    match StateRegion::create(&run, MAX_SESSIONS, StateGeometry::new(1, 1).unwrap()) {
        Err(ShmError::NoSpace { needed, available, .. }) => assert!(needed > available),
        Err(error) => panic!("{error}"),
        Ok(_) => {}
    }
}

/// A tmpfs that filled up while packets flowed ended the process at the next new session.
#[test]
fn records_on_a_tmpfs_have_their_memory_from_the_start() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let run = RunDir::new(directory.path());
    let geometry = StateGeometry::new(1, 4096).unwrap();
    for capacity in [100, 100_000] {
        StateRegion::create(&run, capacity, geometry).unwrap();
        let held = fs::metadata(run.state_region()).unwrap().blocks() * 512;
        assert!(held >= u64::from(capacity) * 64, "{held}");
    }
}
