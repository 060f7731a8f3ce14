//! `blocks.bin`: port blocks that rest because the sessions that used them were lost.
//!
//! Which blocks a life of the dataplane had in use is told by its session records, until the next life replaces them. A life that
//! ends before these blocks have rested would leave no trace of them: so they are written down here, until they have.
//!
//! ```text
//! offset 0     preamble (layout.rs), boot id at 64
//! offset 80    entries of 144 bytes to the end: since u64 | address u32, spare u32 | units 128 bytes
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};

use sluice_nat::UnitBits;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::ShmError;
use crate::layout::{Preamble, state_layout_hash};
use crate::paths::RunDir;
use crate::process;
use crate::region_file::NewFile;

const MAGIC: [u8; 8] = *b"SLUICEBL";
/// More than a gateway has addresses, several times.
const MAX_ENTRIES: usize = 1 << 14;

#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    preamble: Preamble,
    boot_id: [u64; 2],
}

/// Port blocks of an address that a life of the dataplane had in use.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LostBlocks {
    /// Since when they rest, in nanoseconds of `CLOCK_BOOTTIME`.
    pub since_ns: u64,
    /// External address.
    pub address: u32,
    spare: u32,
    /// Which ports.
    pub units: UnitBits,
}

const _: () = assert!(size_of::<Head>() == 80 && size_of::<LostBlocks>() == 144);

impl LostBlocks {
    /// An entry.
    pub const fn new(since_ns: u64, address: u32, units: UnitBits) -> Self {
        Self { since_ns, address, spare: 0, units }
    }
}

impl Head {
    fn new() -> Self {
        let boot_id = process::boot_id();
        let preamble = Preamble::new(MAGIC, state_layout_hash());
        Self { preamble, boot_id: [(boot_id >> 64) as u64, boot_id as u64] }
    }
}

/// Writes the journal anew. Of too many entries the first stay.
///
/// # Errors
///
/// [`ShmError::Io`] if the system refuses.
pub fn write_block_journal(run: &RunDir, entries: &[LostBlocks]) -> Result<(), ShmError> {
    let path = run.block_journal();
    let new = NewFile::create(&path, 0o640)?;
    let mut bytes = Head::new().as_bytes().to_vec();
    bytes.extend_from_slice(entries[..entries.len().min(MAX_ENTRIES)].as_bytes());
    new.file().write_all(&bytes).map_err(ShmError::io("write to", &path))?;
    new.place()
}

/// Reads the journal. Its entries are not believed to make sense. None if there is no journal of this boot.
///
/// # Errors
///
/// [`ShmError::LayoutMismatch`] if it is of another build, [`ShmError::NotOurs`] and [`ShmError::Size`] if it is damaged,
/// [`ShmError::Io`].
pub fn read_block_journal(run: &RunDir) -> Result<Vec<LostBlocks>, ShmError> {
    let path = run.block_journal();
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(ShmError::io("open", &path))?,
    };
    let most = size_of::<Head>() + MAX_ENTRIES * size_of::<LostBlocks>();
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(ShmError::io("read", &path))?;
    let found = bytes.len() as u64;
    let wrong_size =
        |expected: usize| ShmError::Size { path: path.clone(), expected: expected as u64, found };
    let (head, body) = Head::read_from_prefix(&bytes).map_err(|_| wrong_size(size_of::<Head>()))?;
    let ours = Head::new();
    head.preamble.check(&path, &ours.preamble)?;
    if head.boot_id != ours.boot_id {
        return Ok(Vec::new());
    }
    let whole = body.len() / size_of::<LostBlocks>() * size_of::<LostBlocks>();
    if whole != body.len() || bytes.len() > most {
        return Err(wrong_size(size_of::<Head>() + whole));
    }
    let entry = |bytes: &[u8]| LostBlocks::read_from_bytes(bytes).ok();
    Ok(body.chunks_exact(size_of::<LostBlocks>()).filter_map(entry).collect())
}

/// Removes the journal, if there is one.
///
/// # Errors
///
/// [`ShmError::Io`] if the system refuses.
pub fn remove_block_journal(run: &RunDir) -> Result<(), ShmError> {
    let path = run.block_journal();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ShmError::io("remove", &path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn entries() -> Vec<LostBlocks> {
        (0..5).map(|n| LostBlocks::new(n, 0xc000_0201, [n << 60; 16])).collect()
    }

    //= conformance PORT-13
    #[test]
    fn what_was_written_down_is_read_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        assert_eq!(read_block_journal(&run).unwrap(), []);
        for written in [entries(), Vec::new(), entries()[..1].to_vec()] {
            write_block_journal(&run, &written).unwrap();
            assert_eq!(read_block_journal(&run).unwrap(), written);
        }
        let many = vec![entries()[0]; MAX_ENTRIES + 1];
        write_block_journal(&run, &many).unwrap();
        assert_eq!(read_block_journal(&run).unwrap().len(), MAX_ENTRIES);
        for _ in 0..2 {
            remove_block_journal(&run).unwrap();
        }
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }

    //= conformance PORT-13
    #[test]
    fn a_journal_that_is_damaged_or_of_others_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let damaged = |damage: &dyn Fn(&File)| {
            write_block_journal(&run, &entries()).unwrap();
            damage(&File::options().write(true).open(run.block_journal()).unwrap());
            read_block_journal(&run)
        };
        let other_boot = damaged(&|file| file.write_all_at(&[1; 16], 64).unwrap());
        assert_eq!(other_boot.unwrap(), []);
        let layout = damaged(&|file| file.write_all_at(&[1; 8], 16).unwrap());
        assert!(matches!(layout, Err(ShmError::LayoutMismatch { .. })), "{layout:?}");
        let magic = damaged(&|file| file.write_all_at(&[1; 8], 0).unwrap());
        assert!(matches!(magic, Err(ShmError::NotOurs { .. })), "{magic:?}");
        for length in [0, 79, 81, 300, 1 << 30] {
            let size = damaged(&|file| file.set_len(length).unwrap());
            assert!(matches!(size, Err(ShmError::Size { .. })), "{length}: {size:?}");
        }
    }
}
