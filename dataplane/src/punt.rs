//! The punt thread: between the workers and the kernel's TAP twins.
//!
//! Workers may neither wait nor call the system, so that one thread does both for all of them: it takes punted packets off
//! the workers' rings and writes them to the twins, and reads what the kernel sends there into mbufs for the worker that
//! has the port. Its accounting: read from twins + taken from workers = written to twins + given to workers + drops.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sluice_dpdk::{Mempool, RegisteredThread};
use sluice_packet::DropReason;
use sluice_shm::{Counter, WorkerCounters};

use crate::parcel::{Injection, Punt};
use crate::tap::TapQueue;

/// How long the thread sleeps when neither side has anything: what a punted packet may have to wait.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000 };
/// Packets taken from one source before the next has its turn.
const TURN: usize = 64;
/// Bytes of the largest frame that a twin sends.
const FRAME: usize = 9600 + 18;

/// A twin and the worker that sends for it.
pub struct Twin {
    /// The queue.
    pub tap: TapQueue,
    /// Interface, by position.
    pub interface: u16,
    /// Worker that gets what the kernel sends here.
    pub worker: usize,
}

/// What the thread works with.
pub struct PuntThread {
    /// Twins; `None` where attaching failed.
    pub twins: Vec<Option<Twin>>,
    /// From each worker.
    pub punts: Vec<Consumer<Punt>>,
    /// To each worker.
    pub injections: Vec<Producer<Injection>>,
    /// Memory for packets of the kernel.
    pub mempool: Mempool,
    /// Counters of this thread.
    pub counters: &'static WorkerCounters,
    /// Set when it is time to go.
    pub stop: Arc<AtomicBool>,
}

impl PuntThread {
    /// Runs until told to stop; what is still queued then is dropped and counted.
    pub fn run(mut self, _registered: &RegisteredThread) {
        let mut buffer = vec![0; FRAME];
        while !self.stop.load(Ordering::Acquire) {
            self.counters.add(Counter::Loops, 1);
            let mut moved = 0;
            for worker in 0..self.punts.len() {
                moved += self.deliver(worker);
            }
            for twin in 0..self.twins.len() {
                moved += self.fetch(twin, &mut buffer);
            }
            if moved == 0 {
                self.wait();
            } else {
                self.counters.add(Counter::BusyLoops, 1);
            }
        }
        for punts in &mut self.punts {
            while let Ok(punt) = punts.pop() {
                drop(punt);
                self.counters.add(Counter::HandoffIn, 1);
                self.counters.add_drop(DropReason::InterfaceGone, 1);
            }
        }
    }

    fn deliver(&mut self, worker: usize) -> usize {
        let punts = &mut self.punts[worker];
        let mut moved = 0;
        while moved < TURN {
            let Ok(punt) = punts.pop() else { break };
            moved += 1;
            self.counters.add(Counter::HandoffIn, 1);
            let written = match self.twins.get(usize::from(punt.interface)) {
                Some(Some(twin)) => {
                    let frame = punt.mbuf.data();
                    (&mut twin.tap.file()).write(frame).is_ok_and(|written| written == frame.len())
                }
                _ => false,
            };
            if written {
                self.counters.add(Counter::TxPackets, 1);
                self.counters.add(Counter::TxBytes, punt.mbuf.len() as u64);
            } else {
                self.counters.add_drop(DropReason::TapWrite, 1);
                self.counters.interface(usize::from(punt.interface)).add_drops(1);
            }
        }
        moved
    }

    fn fetch(&mut self, twin: usize, buffer: &mut [u8]) -> usize {
        let Some(twin) = &self.twins[twin] else { return 0 };
        let mut moved = 0;
        while moved < TURN {
            let Ok(length) = (&mut twin.tap.file()).read(buffer) else { break };
            if length == 0 {
                break;
            }
            moved += 1;
            self.counters.add(Counter::RxPackets, 1);
            self.counters.add(Counter::RxBytes, length as u64);
            let mbuf = self.mempool.alloc().and_then(|mut mbuf| {
                let fits = mbuf.with_frame(|frame| {
                    let fits = frame.set_len(length);
                    if fits {
                        frame.bytes_mut().copy_from_slice(&buffer[..length]);
                    }
                    fits
                });
                fits.then_some(mbuf)
            });
            let Some(mbuf) = mbuf else {
                self.counters.add_drop(DropReason::NoMbuf, 1);
                continue;
            };
            match self.injections[twin.worker].push(Injection { mbuf, interface: twin.interface }) {
                Ok(()) => self.counters.add(Counter::HandoffOut, 1),
                Err(_full) => self.counters.add_drop(DropReason::PuntFull, 1),
            }
        }
        moved
    }

    /// Sleeps until the kernel sends something, but not longer than a punted packet may wait.
    fn wait(&self) {
        let mut twins: Vec<PollFd<'_>> =
            self.twins.iter().flatten().map(|twin| PollFd::new(twin.tap.file(), PollFlags::IN)).collect();
        // Interrupted or not, the loop looks at everything again; a twin that only reports an error must not make it spin.
        let woken = poll(&mut twins, Some(&NAP)).unwrap_or(0);
        if woken > 0 && !twins.iter().any(|twin| twin.revents().contains(PollFlags::IN)) {
            std::thread::sleep(std::time::Duration::from_nanos(NAP.tv_nsec as u64));
        }
    }
}
