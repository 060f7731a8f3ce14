//! Control's end of the region.

use core::sync::atomic::Ordering;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{DataplaneInfo, EXTRA_THREADS, PortInfo, View};
use crate::counters::WorkerCounters;
use crate::error::ShmError;
use crate::mapping::Access;
use crate::messages::{Notice, Reply, Request, TraceRecord};
use crate::paths::RunDir;
use crate::process;
use crate::ring::{Consumer, Producer};

/// The region of one life of the dataplane, as control has it.
#[derive(Debug)]
pub struct ControlSide {
    /// Commands to the dataplane.
    pub commands: Producer<Request>,
    /// Its answers.
    pub replies: Consumer<Reply>,
    notices: Vec<Consumer<Notice>>,
    traces: Vec<Consumer<TraceRecord>>,
    drained: usize,
    view: View,
    path: PathBuf,
}

impl ControlSide {
    /// Attaches to the dataplane of a run directory; `None` if there is none, or it is dead. What an earlier control left unread is
    /// dropped: it answers questions that nobody asks any more. The caller holds the run directory's control lock.
    ///
    /// # Errors
    ///
    /// [`ShmError::LayoutMismatch`] if the dataplane is of another build, and whatever else is wrong with the file.
    pub fn attach(run: &RunDir) -> Result<Option<Self>, ShmError> {
        let path = run.control_region();
        let Some(view) = View::open(&path, Access::ReadWrite)? else { return Ok(None) };
        if !view.dataplane_is_alive() {
            return Ok(None);
        }
        let mut side = Self {
            commands: Producer::attach(view.commands()),
            replies: Consumer::attach(view.replies()),
            notices: (0..view.threads()).map(|thread| Consumer::attach(view.notices(thread))).collect(),
            traces: (0..view.threads()).map(|thread| Consumer::attach(view.traces(thread))).collect(),
            drained: 0,
            view,
            path,
        };
        side.drained = side.replies.drain();
        side.drained += side.notices.iter_mut().map(Consumer::drain).sum::<usize>();
        side.drained += side.traces.iter_mut().map(Consumer::drain).sum::<usize>();
        let pid = std::process::id();
        let header = &side.view.control;
        header.process_start.store(process::start_time(pid).unwrap_or_default(), Ordering::Relaxed);
        header.pid.store(pid.into(), Ordering::Relaxed);
        Ok(Some(side))
    }

    /// Whether this is still the region of a living dataplane. It asks the file system and `/proc`, some microseconds: not for
    /// a loop that spins.
    pub fn is_current(&self) -> bool {
        let present =
            fs::metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.view.identity);
        present && self.view.dataplane_is_alive()
    }

    /// A number for the next command; no other control of this dataplane's life has had it.
    pub fn next_sequence(&mut self) -> u32 {
        let sequence = &self.view.control.sequence;
        let next = sequence.load(Ordering::Relaxed).wrapping_add(1);
        sequence.store(next, Ordering::Relaxed);
        next as u32
    }

    /// Threads of the dataplane: its workers, then the main thread, then the punt thread.
    pub fn threads(&self) -> usize {
        self.view.threads()
    }

    /// Workers of the dataplane.
    pub fn workers(&self) -> usize {
        self.view.threads() - EXTRA_THREADS
    }

    /// Notices of a thread.
    ///
    /// # Panics
    ///
    /// If there are not so many [`ControlSide::threads`]; so in the following.
    pub fn notices(&mut self, thread: usize) -> &mut Consumer<Notice> {
        &mut self.notices[thread]
    }

    /// Trace records of a thread.
    pub fn traces(&mut self, thread: usize) -> &mut Consumer<TraceRecord> {
        &mut self.traces[thread]
    }

    /// Counters of a thread, to be read.
    pub fn counters(&self, thread: usize) -> &WorkerCounters {
        &self.view.counters[thread]
    }

    /// Both processes.
    pub fn info(&self) -> DataplaneInfo {
        self.view.info()
    }

    /// Ports of the dataplane by number; `None` for one that nothing was told of yet.
    pub fn ports(&self) -> Vec<Option<PortInfo>> {
        self.view.ports()
    }

    /// Replies, notices and trace records that were dropped on attaching.
    pub fn drained(&self) -> usize {
        self.drained
    }

    /// Says that control lives.
    pub fn beat(&self, now_ns: u64) {
        self.view.control.heartbeat_ns.store(now_ns, Ordering::Relaxed);
    }
}
