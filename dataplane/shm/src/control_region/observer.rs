//! The region as anyone may look at it: read-only, without control, with the dataplane alive or not.

use super::{DataplaneInfo, EXTRA_THREADS, PortInfo, View};
use crate::counters::CountersSnapshot;
use crate::error::ShmError;
use crate::mapping::Access;
use crate::paths::RunDir;

/// A read-only look at the region of a dataplane's life.
#[derive(Debug)]
pub struct Observer {
    view: View,
}

impl Observer {
    /// Opens the region of a run directory; `None` if no dataplane ever made one. Whether it still runs, says
    /// [`DataplaneInfo::alive`].
    ///
    /// # Errors
    ///
    /// [`ShmError::LayoutMismatch`] if the dataplane is of another build, and whatever else is wrong with the file.
    pub fn open(run: &RunDir) -> Result<Option<Self>, ShmError> {
        Ok(View::open(&run.control_region(), Access::Read)?.map(|view| Self { view }))
    }

    /// Both processes.
    pub fn info(&self) -> DataplaneInfo {
        self.view.info()
    }

    /// Ports of the dataplane by number; `None` for one that nothing was told of yet.
    pub fn ports(&self) -> Vec<Option<PortInfo>> {
        self.view.ports()
    }

    /// Counters by thread: the workers, then the main thread, then the punt thread.
    pub fn counters(&self) -> Vec<CountersSnapshot> {
        // Copies, not references: a store through a reference into a read-only mapping would be SIGSEGV.
        self.view.counters.iter().map(|counters| counters.snapshot()).collect()
    }

    /// Threads of the dataplane.
    pub fn threads(&self) -> usize {
        self.view.threads()
    }

    /// Workers of the dataplane.
    pub fn workers(&self) -> usize {
        self.view.threads() - EXTRA_THREADS
    }
}
