//! Who hears of events: a notice ring in shared memory, as in a running gateway.

use std::path::{Path, PathBuf};

use sluice_nat::{Event, Events, Fixed};
use sluice_shm::{ControlSide, DataplaneRegion, Lock, Notice, RunDir, WorkerSide};
use tempfile::TempDir;

use crate::Error;

/// Where run directories lie on a real machine: in memory.
const PLACE: &str = "/dev/shm";

/// The ring, with both of its ends. Events are encoded as the worker encodes them; nobody reads them.
pub struct Notices {
    // Ends of the ring before its memory, and locks before the directory that they lie in.
    worker: WorkerSide,
    control: ControlSide,
    lost: u64,
    _region: DataplaneRegion,
    _locks: [Lock; 2],
    _directory: TempDir,
}

impl Notices {
    /// A ring in a run directory of its own.
    ///
    /// # Errors
    /// [`Error::Directory`], and of the region.
    pub fn new() -> Result<Self, Error> {
        let place = if Path::new(PLACE).is_dir() { PathBuf::from(PLACE) } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("sluice-bench-").tempdir_in(&place);
        let directory = directory.map_err(|error| Error::Directory { path: place, error })?;
        let run = RunDir::new(directory.path());
        let locks = [run.lock_dataplane()?, run.lock_control()?];
        let mut region = DataplaneRegion::create(&run, 1)?;
        let worker = region.take_worker(0);
        let control = ControlSide::attach(&run)?.ok_or_else(|| Error::NoDataplane(run.path().into()))?;
        Ok(Self { worker, control, lost: 0, _region: region, _locks: locks, _directory: directory })
    }

    /// Slots of the ring.
    pub fn capacity(&self) -> usize {
        self.worker.notices.capacity()
    }

    /// Forgets what is in the ring. Returns how many events that were.
    pub fn drain(&mut self) -> usize {
        self.control.notices(0).drain()
    }

    /// Events that found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Both ends.
    pub fn ends(&mut self) -> (&mut sluice_shm::Producer<Notice>, &mut sluice_shm::Consumer<Notice>) {
        (&mut self.worker.notices, self.control.notices(0))
    }
}

impl Events for Notices {
    fn event(&mut self, event: Event) {
        if !self.worker.notices.push(&Notice::Nat { time_ns: 0, event }) {
            self.lost += 1;
        }
    }

    fn probe(&mut self, _: &Fixed) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::START;
    use crate::{Flows, Population};
    use sluice_nat::Kind;

    #[test]
    fn every_event_is_in_the_ring_until_it_is_drained() {
        let mut notices = Notices::new().unwrap();
        let mut population = Population::empty(Flows::udp(Kind::Nat64, 100), 100).unwrap();
        for flow in 0..100 {
            population.open(flow, &population.outbound(flow), START, &mut notices).unwrap();
        }
        // A binding each, and two blocks.
        assert_eq!((notices.drain(), notices.drain(), notices.lost()), (102, 0, 0));
        assert_eq!(notices.capacity(), 4096);
    }
}
