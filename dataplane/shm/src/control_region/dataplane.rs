//! The dataplane's end of the region.

use core::sync::atomic::Ordering;
use std::os::unix::fs::{FileExt, MetadataExt};

use zerocopy::IntoBytes;

use super::{DataplaneInfo, DataplaneState, EXTRA_THREADS, MAGIC, PortInfo, View, bytes};
use crate::clock::now_ns;
use crate::counters::WorkerCounters;
use crate::error::ShmError;
use crate::layout::{MAX_PORTS, MAX_WORKERS, Preamble, layout_hash};
use crate::mapping::{Access, Mapping};
use crate::messages::{Notice, Reply, Request, TraceRecord};
use crate::paths::RunDir;
use crate::process;
use crate::region_file::NewFile;
use crate::ring::{Consumer, Producer};

/// The region, as the dataplane that made it has it. It stays mapped as long as the process lives.
#[derive(Debug)]
pub struct DataplaneRegion {
    view: View,
    workers: usize,
    taken: Vec<bool>,
    commands_taken: bool,
    replies_taken: bool,
}

/// What one thread of the dataplane writes to.
#[derive(Debug)]
pub struct WorkerSide {
    /// Its counters.
    pub counters: &'static WorkerCounters,
    /// Notices to control.
    pub notices: Producer<Notice>,
    /// Trace records to control.
    pub traces: Producer<TraceRecord>,
}

impl DataplaneRegion {
    /// Makes the region of a new life and puts it in place of the old one. The caller holds the run directory's
    /// dataplane lock.
    ///
    /// # Errors
    ///
    /// [`ShmError::Bounds`] for 0 or more than [`MAX_WORKERS`] workers, [`ShmError::NoSpace`], [`ShmError::Io`].
    pub fn create(run: &RunDir, workers: usize) -> Result<Self, ShmError> {
        let path = run.control_region();
        if workers == 0 || workers > MAX_WORKERS {
            return Err(ShmError::Bounds {
                path,
                what: "the number of workers",
                found: workers as u64,
                min: 1,
                max: MAX_WORKERS as u64,
            });
        }
        // Control, which may be of the same group and no more, writes to it.
        let new = NewFile::create(&path, 0o660)?;
        new.allocate(bytes(workers) as u64)?;
        let preamble = Preamble::new(MAGIC, layout_hash());
        new.file().write_all_at(preamble.as_bytes(), 0).map_err(ShmError::io("write to", &path))?;
        let metadata = new.file().metadata().map_err(ShmError::io("examine", &path))?;
        let mapping = Mapping::new(new.file(), bytes(workers), Access::ReadWrite)
            .map_err(ShmError::os("map", &path))?;
        let view = View::new(mapping, workers, (metadata.dev(), metadata.ino()));

        let [epoch] = process::random().map_err(ShmError::io("get random numbers for", &path))?;
        let pid = std::process::id();
        let header = &view.dataplane;
        header.epoch.store(epoch, Ordering::Relaxed);
        header.pid.store(pid.into(), Ordering::Relaxed);
        header.process_start.store(process::start_time(pid).unwrap_or_default(), Ordering::Relaxed);
        header.workers.store(workers as u64, Ordering::Relaxed);
        header.started_ns.store(now_ns(), Ordering::Relaxed);
        new.place()?;
        let taken = vec![false; workers + EXTRA_THREADS];
        Ok(Self { view, workers, taken, commands_taken: false, replies_taken: false })
    }

    /// Workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The number of the main thread, after the workers'.
    pub fn main_thread(&self) -> usize {
        self.workers
    }

    /// The number of the punt thread.
    pub fn punt_thread(&self) -> usize {
        self.workers + 1
    }

    /// The reading end of the command ring.
    ///
    /// # Panics
    ///
    /// When called twice: a ring has one consumer.
    pub fn take_commands(&mut self) -> Consumer<Request> {
        assert!(!core::mem::replace(&mut self.commands_taken, true), "commands are taken already");
        Consumer::attach(self.view.commands())
    }

    /// The writing end of the reply ring.
    ///
    /// # Panics
    ///
    /// When called twice: a ring has one producer.
    pub fn take_replies(&mut self) -> Producer<Reply> {
        assert!(!core::mem::replace(&mut self.replies_taken, true), "replies are taken already");
        Producer::attach(self.view.replies())
    }

    /// What a thread writes to: the workers from 0 on, then [`DataplaneRegion::main_thread`] and
    /// [`DataplaneRegion::punt_thread`].
    ///
    /// # Panics
    ///
    /// When called twice for a thread, or for one that does not exist: everything here has one writer.
    pub fn take_worker(&mut self, thread: usize) -> WorkerSide {
        assert!(!core::mem::replace(&mut self.taken[thread], true), "thread {thread} is taken already");
        WorkerSide {
            counters: self.view.counters[thread].clone().leak(),
            notices: Producer::attach(self.view.notices(thread)),
            traces: Producer::attach(self.view.traces(thread)),
        }
    }

    /// The counters of a thread, to be read.
    pub fn counters(&self, thread: usize) -> &WorkerCounters {
        &self.view.counters[thread]
    }

    /// Says that the dataplane lives.
    pub fn heartbeat(&self, now_ns: u64) {
        self.view.dataplane.heartbeat_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Says which configuration every worker works with.
    pub fn set_generation(&self, generation: u64) {
        self.view.dataplane.generation.store(generation, Ordering::Release);
    }

    /// Says how many workers run.
    pub fn set_active_workers(&self, workers: usize) {
        self.view.dataplane.active_workers.store(workers as u64, Ordering::Release);
    }

    /// Says what the dataplane is doing.
    pub fn set_state(&self, state: DataplaneState) {
        self.view.dataplane.state.store(state as u64, Ordering::Release);
    }

    /// Tells about a port. Ports from [`MAX_PORTS`] on, which no checked configuration has, are not told of.
    pub fn set_port(&mut self, port: usize, info: &PortInfo) {
        if port < MAX_PORTS {
            self.view.ports[port].store(&info.to_wire());
            let count = self.view.dataplane.ports.load(Ordering::Relaxed).max(port as u64 + 1);
            self.view.dataplane.ports.store(count, Ordering::Release);
        }
    }

    /// Says that there are only the first `count` ports.
    pub fn set_port_count(&mut self, count: usize) {
        self.view.dataplane.ports.store(count.min(MAX_PORTS) as u64, Ordering::Release);
    }

    /// `CLOCK_BOOTTIME` of control's last heartbeat; 0: none yet.
    pub fn control_heartbeat(&self) -> u64 {
        self.view.control.heartbeat_ns.load(Ordering::Relaxed)
    }

    /// Both processes, as others see them.
    pub fn info(&self) -> DataplaneInfo {
        self.view.info()
    }
}
