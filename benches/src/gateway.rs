//! A run directory with a full session table, made as the dataplane and control make theirs.
//!
//! The records lie in `state.shm` and the rules in `config.bin`, so that the real `sluice` finds what it would find beside
//! a running gateway. Processes there are none: the benchmark is the worker.

use std::path::Path;

use sluice_nat::Kind;
use sluice_shm::{Lock, RunDir, StateGeometry, StateRegion, snapshot::Snapshot, write_snapshot};
use tempfile::TempDir;

use crate::meter::START;
use crate::population::SEED;
use crate::{Error, Flows, Population};

/// The directory, which goes when this is dropped, and the engine over its records.
#[derive(Debug)]
pub struct Gateway {
    run: RunDir,
    /// The engine.
    pub population: Population,
    // Locks before the directory that they lie in.
    _locks: [Lock; 2],
    _directory: TempDir,
}

impl Gateway {
    /// Room for `sessions` NAT64 sessions, and all of them established, in a new directory under `parent`.
    ///
    /// # Errors
    /// [`Error::Directory`], and of region, snapshot and engine.
    pub fn new(parent: &Path, sessions: u32) -> Result<Self, Error> {
        let directory = tempfile::Builder::new().prefix("sluice-bench-").tempdir_in(parent);
        let directory = directory.map_err(|error| Error::Directory { path: parent.into(), error })?;
        let run = RunDir::new(directory.path());
        let locks = [run.lock_dataplane()?, run.lock_control()?];
        let flows = Flows::udp(Kind::Nat64, sessions);
        let geometry = StateGeometry { workers: 1, max_addresses: flows.addresses, seed: SEED };
        let region = StateRegion::create(&run, sessions, geometry)?;
        let nat = flows.spec();
        write_snapshot(&run, &Snapshot { generation: 1, nat, sessions, ..Snapshot::default() })?;
        let mut population = Population::over(region.sessions(), flows)?;
        population.open_to(sessions, START)?;
        Ok(Self { run, population, _locks: locks, _directory: directory })
    }

    /// The run directory.
    pub fn path(&self) -> &Path {
        self.run.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_shm::{StateReader, read_snapshot};

    #[test]
    fn another_process_finds_every_session_and_the_rules() {
        let parent = tempfile::tempdir().unwrap();
        let gateway = Gateway::new(parent.path(), 5000).unwrap();
        let run = RunDir::new(gateway.path());
        let reader = StateReader::open(&run).unwrap();
        assert!(reader.is_of_this_boot());
        assert_eq!(reader.iter().count(), 5000);
        assert_eq!(read_snapshot(&run).unwrap().nat, Flows::udp(Kind::Nat64, 5000).spec());
        drop(gateway);
        assert_eq!(parent.path().read_dir().unwrap().count(), 0);
    }
}
