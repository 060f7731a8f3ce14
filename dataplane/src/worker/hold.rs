//! Packets that wait for a neighbour to answer, so that the first packet of a conversation is not lost.
//!
//! They are kept untranslated and go through intake again when a route or neighbour has changed, and every tick: one that
//! could not ask for its neighbour, because another had asked in that tick, asks then. What has waited for a second, or
//! finds no room, is dropped as `neighbour_unresolved`. While they wait the `held` gauge accounts for them.

use sluice_dpdk::Mbuf;
use sluice_nat::{TICKS_PER_SECOND, Tick};
use sluice_packet::{DropReason, ethernet};

use super::batch::{Entry, Packet};
use super::{BATCH, Worker};

/// Packets that may wait, for all neighbours of a worker together.
const SLOTS: usize = 256;
/// How long they may.
const PATIENCE: u32 = TICKS_PER_SECOND;

/// How a packet waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// Since when.
    since: Tick,
    /// Whether its neighbour has been asked for on its behalf.
    pub(super) asked: bool,
}

/// A waiting packet.
struct Waiting {
    mbuf: Mbuf,
    entry: Entry,
    wait: Wait,
}

/// The waiting packets of a worker, oldest first.
pub(super) struct Held {
    packets: std::collections::VecDeque<Waiting>,
    /// FIB generation and time that they were last tried with.
    tried: (u16, Tick),
}

impl Held {
    pub(super) fn new() -> Self {
        Self { packets: std::collections::VecDeque::with_capacity(SLOTS), tried: (0, Tick(0)) }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}

impl Worker {
    /// Lets a packet wait for its next hop.
    #[cold]
    pub(super) fn hold(&mut self, packet: Packet) {
        // A packet that has waited once keeps its place in time by having been put back, not by starting anew.
        let since = self.retrying.map_or(self.now, |wait| wait.since);
        if self.held.packets.len() >= SLOTS || self.now.since(since) >= PATIENCE {
            return self.drop_packet(packet, DropReason::NeighbourUnresolved);
        }
        if packet.is_traced() {
            self.finish_held(&packet);
        }
        if self.held.packets.is_empty() {
            self.held.tried = (self.fib_generation, self.now);
        }
        let wait = Wait { since, asked: self.asked };
        self.held.packets.push_back(Waiting { entry: packet.entry(), mbuf: packet.mbuf, wait });
        self.count_held();
    }

    /// Tries waiting packets again when neighbours or the time have changed, and drops those that waited too long.
    pub(super) fn look_after_held(&mut self) {
        if self.held.packets.is_empty() {
            return;
        }
        while self.held.packets.front().is_some_and(|oldest| self.now.since(oldest.wait.since) >= PATIENCE) {
            if let Some(waiting) = self.held.packets.pop_front() {
                self.count_held();
                drop(waiting.mbuf);
                self.count_drop(Some(waiting.entry.interface), DropReason::NeighbourUnresolved);
            }
        }
        let tried = (self.fib_generation, self.now);
        if std::mem::replace(&mut self.held.tried, tried) == tried {
            return;
        }
        let waiting = self.held.packets.len();
        let mut batch = std::mem::take(&mut self.scratch.batch);
        for turn in 0..waiting {
            let Some(packet) = self.held.packets.pop_front() else { break };
            self.count_held();
            let wait = packet.wait;
            self.retrying = Some(wait);
            match ethernet::link(packet.mbuf.data()) {
                Ok(link) => self.enter(packet.mbuf, link, packet.entry, &mut batch),
                Err(reason) => self.count_drop(Some(packet.entry.interface), reason),
            }
            let next = self.held.packets.front().filter(|_| turn + 1 < waiting).map(|next| next.wait);
            if batch.len() == BATCH || next != Some(wait) {
                self.process(&mut batch);
            }
        }
        self.retrying = None;
        self.scratch.batch = batch;
    }

    /// Drops all that wait: the worker ends.
    pub(super) fn drop_held(&mut self) {
        while let Some(waiting) = self.held.packets.pop_front() {
            drop(waiting.mbuf);
            self.count_drop(Some(waiting.entry.interface), DropReason::NeighbourUnresolved);
        }
        self.drop_stored_syns();
        self.count_held();
    }
}
