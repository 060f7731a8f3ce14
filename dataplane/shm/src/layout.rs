//! Which build laid out a file: every file of the run directory begins with the same 64 bytes.
//!
//! ```text
//! offset  0  magic, 8 bytes          what the file is
//! offset  8  layout u32, spare u32   LAYOUT_VERSION of the writer
//! offset 16  hash u64                over sizes, offsets and names, so that a forgotten version does no harm
//! offset 24  version, 32 bytes       of the writer's package, text
//! offset 56  spare u64
//! ```
//!
//! These 64 bytes never change, whatever else does, so that two builds that disagree can say so.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sluice_nat::{Session, TICKS_PER_SECOND, WorkerId};
use sluice_packet::reason::{DropReason, PuntReason};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::control_region;
use crate::counters::{Counter, WorkerCounters};
use crate::error::{BuildId, ShmError};
use crate::messages::{Message, Notice, Reply, Request, TraceRecord};

/// Number of the layout; counted up by hand when a file of the run directory changes its meaning.
pub const LAYOUT_VERSION: u32 = 1;

/// The most workers of a dataplane.
pub const MAX_WORKERS: usize = WorkerId::MAX;
/// The most logical interfaces.
pub const MAX_INTERFACES: usize = 64;
/// The most ports.
pub const MAX_PORTS: usize = 32;

/// This package's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The hash of what control and dataplane must agree on: rings, counters, reasons, messages and the snapshot.
pub const fn layout_hash() -> u64 {
    const HASH: u64 = {
        let mut hash = mix_number(FNV_OFFSET, LAYOUT_VERSION as u64);
        hash = mix_number(hash, size_of::<WorkerCounters>() as u64);
        hash = mix_number(hash, size_of::<<Request as Message>::Wire>() as u64);
        hash = mix_number(hash, size_of::<<Reply as Message>::Wire>() as u64);
        hash = mix_number(hash, size_of::<<Notice as Message>::Wire>() as u64);
        hash = mix_number(hash, size_of::<<TraceRecord as Message>::Wire>() as u64);
        hash = mix_number(hash, control_region::bytes(1) as u64);
        hash = mix_number(hash, control_region::bytes(MAX_WORKERS) as u64);
        hash = mix_number(hash, MAX_INTERFACES as u64);
        hash = mix_number(hash, MAX_PORTS as u64);
        let mut i = 0;
        while i < Counter::COUNT {
            hash = mix(hash, Counter::ALL[i].name().as_bytes());
            i += 1;
        }
        i = 0;
        while i < DropReason::COUNT {
            hash = mix(hash, DropReason::ALL[i].name().as_bytes());
            i += 1;
        }
        i = 0;
        while i < PuntReason::COUNT {
            hash = mix(hash, PuntReason::ALL[i].name().as_bytes());
            i += 1;
        }
        // The body of a snapshot carries no field names, so a changed type would be read as something else. Its
        // source stands for its shape: a changed comment refuses too, which costs nothing, since both come from one build.
        hash = mix(hash, include_bytes!("snapshot.rs"));
        mix(hash, include_bytes!("../../nat/src/spec.rs"))
    };
    HASH
}

/// The hash of what a session table depends on. Apart from the other, so that a new counter does not
/// cost anyone their sessions once these survive a restart.
pub const fn state_layout_hash() -> u64 {
    let hash = mix_number(FNV_OFFSET, crate::state_region::STATE_LAYOUT_VERSION as u64);
    let hash = mix_number(hash, size_of::<Session>() as u64);
    mix_number(hash, TICKS_PER_SECOND as u64)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over bytes, closed by their number, so that no two lists of names run into one another.
pub(crate) const fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        i += 1;
    }
    mix_number(hash, bytes.len() as u64)
}

const fn mix_number(mut hash: u64, number: u64) -> u64 {
    let bytes = number.to_le_bytes();
    let mut i = 0;
    while i < 8 {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        i += 1;
    }
    hash
}

/// The first 64 bytes of a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Preamble {
    magic: [u8; 8],
    layout: u32,
    spare: u32,
    hash: u64,
    version: [u8; 32],
    spare2: u64,
}

const _: () = assert!(size_of::<Preamble>() == Preamble::BYTES);

impl Preamble {
    /// Their number.
    pub(crate) const BYTES: usize = 64;

    /// The preamble of a file that this build writes.
    pub(crate) fn new(magic: [u8; 8], hash: u64) -> Self {
        let mut version = [0; 32];
        let length = VERSION.len().min(version.len());
        version[..length].copy_from_slice(&VERSION.as_bytes()[..length]);
        Self { magic, layout: LAYOUT_VERSION, spare: 0, hash, version, spare2: 0 }
    }

    /// Whether this build reads a file that begins so.
    pub(crate) fn check(&self, path: &Path, ours: &Self) -> Result<(), ShmError> {
        if self.magic != ours.magic {
            return Err(ShmError::NotOurs { path: path.into(), expected: ours.magic, found: self.magic });
        }
        if (self.layout, self.hash) != (ours.layout, ours.hash) {
            let (theirs, ours) = (self.build(), ours.build());
            return Err(ShmError::LayoutMismatch { path: path.into(), theirs, ours });
        }
        Ok(())
    }

    /// Reads and checks the preamble of a file.
    pub(crate) fn check_file(file: &File, path: &Path, ours: &Self) -> Result<(), ShmError> {
        let mut theirs = Self::new_zeroed();
        file.read_exact_at(theirs.as_mut_bytes(), 0)
            .map_err(ShmError::io("read the first 64 bytes of", path))?;
        theirs.check(path, ours)
    }

    fn build(&self) -> BuildId {
        let text: Vec<u8> = self.version.iter().copied().take_while(|byte| byte.is_ascii_graphic()).collect();
        let version = String::from_utf8(text).unwrap_or_default();
        BuildId { version, layout: self.layout, hash: self.hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_layout_is_refused_naming_both() {
        let ours = Preamble::new(*b"SLUICECT", 0x11);
        let mut theirs = Preamble::new(*b"SLUICECT", 0x22);
        theirs.version[..5].copy_from_slice(b"9.8.7");
        theirs.layout = 77;
        let text = theirs.check(Path::new("/run/x"), &ours).unwrap_err().to_string();
        for part in
            ["/run/x", "9.8.7", "layout 77", "0000000000000022", VERSION, "0000000000000011", "one build"]
        {
            assert!(text.contains(part), "{part} not in: {text}");
        }
        theirs.magic = *b"ELF.....";
        let text = theirs.check(Path::new("/run/x"), &ours).unwrap_err().to_string();
        assert!(text.contains("SLUICECT"), "{text}");
        ours.check(Path::new("/run/x"), &ours).unwrap();
    }

    #[test]
    fn a_hostile_version_text_is_printable() {
        let ours = Preamble::new(*b"SLUICECT", 0x11);
        let mut theirs = ours;
        theirs.hash = 0;
        theirs.version = [0xff; 32];
        assert!(theirs.check(Path::new("/x"), &ours).unwrap_err().to_string().contains("sluice  (layout"));
    }

    #[test]
    fn lists_of_names_do_not_run_into_one_another() {
        assert_ne!(mix(mix(FNV_OFFSET, b"ab"), b"c"), mix(mix(FNV_OFFSET, b"a"), b"bc"));
        assert_ne!(layout_hash(), state_layout_hash());
    }
}
