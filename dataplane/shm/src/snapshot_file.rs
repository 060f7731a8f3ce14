//! `config.bin`: the configuration snapshot on its way from control to the dataplane, and kept for its next start.
//!
//! ```text
//! offset  0  preamble (layout.rs)
//! offset 64  generation u64, length of the body u64, checksum of the body u64, spare u64
//! offset 96  body: the snapshot in postcard's format
//! ```

use std::fs::File;
use std::io::{Read, Write};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::ShmError;
use crate::layout::{Preamble, layout_hash, mix};
use crate::paths::RunDir;
use crate::region_file::NewFile;
use crate::snapshot::Snapshot;

/// The longest file that is read.
pub const MAX_SNAPSHOT_BYTES: u64 = 256 << 20;

const MAGIC: [u8; 8] = *b"SLUICECF";

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read or written, or is of another build.
    #[error(transparent)]
    File(#[from] ShmError),
    /// The file is longer than any snapshot.
    #[error(
        "the snapshot has {found} bytes, at most {MAX_SNAPSHOT_BYTES} are expected: apply the configuration again"
    )]
    TooLong {
        /// Bytes that there are.
        found: u64,
    },
    /// The file is shorter or longer than it says.
    #[error(
        "the snapshot has {found} bytes, its header says {expected}: it is damaged; apply the configuration again"
    )]
    Length {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The body is not the one that was written.
    #[error(
        "the snapshot's checksum is {found:016x}, its header says {expected:016x}: it is damaged; apply the \
             configuration again"
    )]
    Checksum {
        /// As written.
        expected: u64,
        /// As computed.
        found: u64,
    },
    /// The body is not a snapshot.
    #[error("the snapshot's body cannot be read ({0}): it is damaged; apply the configuration again")]
    Body(postcard::Error),
    /// The generation is 0 or not the one of the header.
    #[error(
        "the snapshot's generation is {found}, its header says {header}, and 0 is none: it is damaged; apply the \
             configuration again"
    )]
    Generation {
        /// In the header.
        header: u64,
        /// In the body.
        found: u64,
    },
}

/// The head of the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    preamble: Preamble,
    generation: u64,
    length: u64,
    checksum: u64,
    spare: u64,
}

const HEAD: usize = size_of::<Head>();
const _: () = assert!(HEAD == 96);

/// Writes the snapshot of a run directory, all of it or nothing. The caller holds the run directory's control lock.
///
/// It is not forced to the disk: what must survive a power cut is the configuration file, from which control makes it again.
///
/// # Errors
///
/// [`SnapshotError::TooLong`], [`SnapshotError::Generation`] for generation 0, or the system's refusal.
pub fn write_snapshot(run: &RunDir, snapshot: &Snapshot) -> Result<(), SnapshotError> {
    let path = run.snapshot();
    let bytes = encode(snapshot)?;
    let new = NewFile::create(&path, 0o640)?;
    new.file().write_all(&bytes).map_err(ShmError::io("write to", &path))?;
    Ok(new.place()?)
}

/// Reads the snapshot of a run directory into memory of its own and checks it before believing a byte of it.
///
/// # Errors
///
/// [`SnapshotError`] for a file that is missing, damaged or of another build.
pub fn read_snapshot(run: &RunDir) -> Result<Snapshot, SnapshotError> {
    let path = run.snapshot();
    let file = File::open(&path).map_err(ShmError::io("open", &path))?;
    let found = file.metadata().map_err(ShmError::io("examine", &path))?.len();
    if found > MAX_SNAPSHOT_BYTES {
        return Err(SnapshotError::TooLong { found });
    }
    let mut bytes = Vec::with_capacity(found as usize);
    file.take(MAX_SNAPSHOT_BYTES + 1).read_to_end(&mut bytes).map_err(ShmError::io("read", &path))?;
    decode(run, &bytes)
}

/// A snapshot as the bytes of its file.
///
/// # Errors
///
/// [`SnapshotError::TooLong`], [`SnapshotError::Generation`] for generation 0.
pub fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, SnapshotError> {
    let generation = snapshot.generation;
    if generation == 0 {
        return Err(SnapshotError::Generation { header: 0, found: 0 });
    }
    let mut bytes = postcard::to_extend(snapshot, vec![0; HEAD]).map_err(SnapshotError::Body)?;
    if bytes.len() as u64 > MAX_SNAPSHOT_BYTES {
        return Err(SnapshotError::TooLong { found: bytes.len() as u64 });
    }
    let length = (bytes.len() - HEAD) as u64;
    let checksum = mix(generation, &bytes[HEAD..]);
    let preamble = Preamble::new(MAGIC, layout_hash());
    bytes[..HEAD].copy_from_slice(Head { preamble, generation, length, checksum, spare: 0 }.as_bytes());
    Ok(bytes)
}

/// A snapshot from the bytes of the file of a run directory, which are not believed. Nothing is read from there.
///
/// # Errors
///
/// [`SnapshotError`] for bytes that are damaged or of another build.
pub fn decode(run: &RunDir, bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let found = bytes.len() as u64;
    if found > MAX_SNAPSHOT_BYTES {
        return Err(SnapshotError::TooLong { found });
    }
    let Ok((head, body)) = Head::read_from_prefix(bytes) else {
        return Err(SnapshotError::Length { expected: HEAD as u64, found });
    };
    head.preamble.check(&run.snapshot(), &Preamble::new(MAGIC, layout_hash()))?;
    if head.length != body.len() as u64 {
        return Err(SnapshotError::Length { expected: head.length.saturating_add(HEAD as u64), found });
    }
    let checksum = mix(head.generation, body);
    if checksum != head.checksum {
        return Err(SnapshotError::Checksum { expected: head.checksum, found: checksum });
    }
    let (snapshot, rest) = postcard::take_from_bytes::<Snapshot>(body).map_err(SnapshotError::Body)?;
    if !rest.is_empty() {
        return Err(SnapshotError::Length { expected: found - rest.len() as u64, found });
    }
    if snapshot.generation == 0 || snapshot.generation != head.generation {
        return Err(SnapshotError::Generation { header: head.generation, found: snapshot.generation });
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
