//! A batch and the packets in it, on their way through the look-up stages together.

use sluice_dpdk::Mbuf;
use sluice_nat::{OutboundTuple, SessionIndex};
use sluice_packet::{Head, Link, Meta, PuntReason};

use super::Worker;
use super::classify::Class;

/// Packets that the general stages take at a time: as many as the engine prepares new sessions for together.
pub(super) const BATCH: usize = 32;

/// A packet between intake and its end. It ends in exactly one of: transmit, punt, hand-off, drop, held.
pub(super) struct Packet {
    pub mbuf: Mbuf,
    pub link: Link,
    pub meta: Meta,
    /// Interface on which it arrived.
    pub interface: u16,
    /// Hand-offs so far.
    pub hops: u8,
    /// It is a fragment whose datagram is known: it has the ports of the first one.
    pub attached: bool,
    /// It has been translated once already: the second half of a hairpin.
    pub hairpinned: bool,
    /// Slot of the record of its way, or [`NO_TRACE`].
    pub trace: u8,
}

/// The packet's way is not recorded.
pub(super) const NO_TRACE: u8 = u8::MAX;

/// How a packet comes to a worker's stages.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Interface on which it arrived.
    pub interface: u16,
    /// Hand-offs so far.
    pub hops: u8,
    /// It has been translated once already.
    pub hairpinned: bool,
    /// Of a fragment, what the first one of its datagram told, if that is known.
    pub head: Option<Head>,
}

impl Packet {
    /// What it takes to put the packet through intake again.
    pub(super) fn entry(&self) -> Entry {
        let head = self.attached.then(|| self.meta.head());
        Entry { interface: self.interface, hops: self.hops, hairpinned: self.hairpinned, head }
    }

    /// Whether it is a fragment of which nothing more is known.
    #[inline]
    pub(super) fn is_loose(&self) -> bool {
        !self.meta.is_whole() && !self.attached
    }

    /// Whether its way is recorded.
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        self.trace != NO_TRACE
    }
}

impl Worker {
    /// Takes a batch of parsed packets to its end, and then those fragments that were found to belong together.
    pub(super) fn process(&mut self, batch: &mut Vec<Packet>) {
        self.through(batch);
        while !self.scratch.ready.is_empty() {
            self.go_on(batch);
        }
    }

    /// Takes the next fragments whose datagrams are known to their end.
    #[cold]
    fn go_on(&mut self, batch: &mut Vec<Packet>) {
        let next = self.scratch.ready.len().min(BATCH);
        batch.extend(self.scratch.ready.drain(..next));
        self.through(batch);
    }

    /// Once through, then the hairpinned ones for their second half, then the errors that this half has made. Errors make no
    /// errors, and nothing is hairpinned twice (HAIR-08).
    fn through(&mut self, batch: &mut Vec<Packet>) {
        self.pass(batch);
        for _ in 0..2 {
            if self.scratch.hairpins.is_empty() {
                return;
            }
            let spare = std::mem::take(&mut self.scratch.spare);
            let mut again = std::mem::replace(&mut self.scratch.hairpins, spare);
            self.pass(&mut again);
            self.scratch.spare = again;
        }
        debug_assert!(self.scratch.hairpins.is_empty());
    }

    /// Classification and the look-ups of a batch, and what follows from them.
    fn pass(&mut self, batch: &mut Vec<Packet>) {
        debug_assert!(batch.len() <= 2 * BATCH);
        let mut classes = std::mem::take(&mut self.scratch.classes);
        let mut outbound = std::mem::take(&mut self.scratch.outbound);
        let mut inbound = std::mem::take(&mut self.scratch.inbound);

        for packet in batch.iter() {
            let class = self.classify(packet);
            match &class {
                Class::Outbound(tuple) => outbound.push(*tuple),
                Class::Inbound(tuple) => inbound.push(*tuple),
                _ => {}
            }
            classes.push(class);
        }
        let mut found_outbound = [SessionIndex::NONE; 2 * BATCH];
        let mut found_inbound = [SessionIndex::NONE; 2 * BATCH];
        if !outbound.is_empty() {
            let found = &mut found_outbound[..outbound.len()];
            self.engine.find_outbound(&outbound, found);
            self.prepare_new(&outbound, found);
        }
        if !inbound.is_empty() {
            self.engine.find_inbound(&inbound, &mut found_inbound[..inbound.len()]);
        }

        let (mut found_outbound, mut found_inbound) = (found_outbound.iter(), found_inbound.iter());
        for (packet, class) in batch.drain(..).zip(classes.drain(..)) {
            match class {
                Class::Outbound(tuple) => {
                    let session = found_outbound.next().copied().unwrap_or(SessionIndex::NONE);
                    self.outbound(packet, &tuple, session);
                }
                Class::Inbound(tuple) => {
                    let session = found_inbound.next().copied().unwrap_or(SessionIndex::NONE);
                    self.inbound(packet, &tuple, session);
                }
                Class::Fragment { remote } => self.fragment(packet, remote),
                Class::OutboundError => self.outbound_error(packet),
                Class::InboundError => self.inbound_error(packet),
                Class::Native => self.native(packet),
                Class::Punt(PuntReason::NeighbourDiscovery) => {
                    if let Some(packet) = self.answer_solicitation(packet) {
                        self.punt(packet, PuntReason::NeighbourDiscovery);
                    }
                }
                Class::Punt(reason) => self.punt(packet, reason),
                Class::Drop(reason) => self.drop_packet(packet, reason),
                Class::Report(reason, message) => self.refuse(packet, reason, message),
            }
        }

        outbound.clear();
        inbound.clear();
        self.scratch.classes = classes;
        self.scratch.outbound = outbound;
        self.scratch.inbound = inbound;
    }

    /// Asks for the memory of the new sessions among a batch, so that a flood of them does not wait for each line in turn.
    fn prepare_new(&mut self, tuples: &[OutboundTuple], found: &[SessionIndex]) {
        let new = tuples.iter().zip(found).filter(|(_, session)| !session.is_some()).map(|(tuple, _)| tuple);
        let (setup, shared, id) = (&self.setup, &self.shared, self.id);
        let mine = |tuple: &&OutboundTuple| {
            shared.workers() == 1
                || shared.subscriber_worker(&setup.nat, tuple.kind_realm, tuple.inside) == id
        };
        self.scratch.new.extend(new.filter(mine).take(self.misses_left).copied());
        if self.scratch.new.len() > 1 {
            self.engine.prepare_outbound(&self.scratch.new, self.now);
        }
        self.scratch.new.clear();
    }
}
