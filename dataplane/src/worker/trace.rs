//! Tracing: the way of a few packets, stage by stage, for `sluice trace`.
//!
//! A packet that matches takes a slot at intake and keeps it to its end, where the record goes to control's ring. Without
//! a trace the cost is one test per packet.

use sluice_nat::WorkerId;
use sluice_packet::{DropReason, Family, Meta, PuntReason};
use sluice_shm::{Counter, Stage, TraceEnd, TraceFilter, TraceRecord};

use super::Worker;
use super::batch::{NO_TRACE, Packet};

/// Records under way: as many as a worker can have packets between intake and end.
const SLOTS: usize = 2 * super::BATCH;

/// The tracer of a worker.
pub(super) struct Tracer {
    worker: WorkerId,
    active: Option<(u32, TraceFilter)>,
    left: u32,
    slots: Vec<Option<TraceRecord>>,
}

impl Tracer {
    pub(super) fn new(worker: WorkerId) -> Self {
        Self { worker, active: None, left: 0, slots: vec![None; SLOTS] }
    }

    pub(super) fn start(&mut self, id: u32, count: u32, filter: TraceFilter) {
        self.active = Some((id, filter));
        self.left = count;
        // Between loops nothing is under way.
        self.slots.fill(None);
    }

    pub(super) fn stop(&mut self) {
        self.active = None;
        self.left = 0;
    }

    /// Whether any packet may be.
    #[inline(always)]
    pub(super) fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Whether a packet that has just been parsed is to be followed.
    #[inline]
    pub(super) fn wants(&self, seen: &Seen, interface: u16) -> bool {
        match &self.active {
            None => false,
            Some((_, filter)) => self.left > 0 && matches(filter, seen, interface),
        }
    }

    /// Starts to follow a packet: the slot for it, if one is free.
    #[cold]
    pub(super) fn begin(&mut self, packet: &Packet, stage: Stage, now_ns: u64) -> u8 {
        let Some((id, filter)) = self.active else { return NO_TRACE };
        let Some(slot) = self.slots.iter().position(Option::is_none) else { return NO_TRACE };
        if !filter.drops_only {
            self.left -= 1;
        }
        let mut record = TraceRecord::new(id, self.worker.0, packet.interface, now_ns);
        record.set_before(packet.mbuf.data());
        record.mark(stage, u32::from(packet.hops), now_ns);
        self.slots[slot] = Some(record);
        slot as u8
    }
}

/// What a filter looks at.
pub(super) struct Seen {
    pub(super) family: Family,
    pub(super) protocol: u8,
    pub(super) source: u128,
    pub(super) destination: u128,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

impl Seen {
    pub(super) fn of(meta: &Meta) -> Self {
        Self {
            family: meta.family,
            protocol: meta.protocol,
            source: meta.source,
            destination: meta.destination,
            source_port: meta.source_port,
            destination_port: meta.destination_port,
        }
    }
}

#[cold]
fn matches(filter: &TraceFilter, seen: &Seen, interface: u16) -> bool {
    filter.interface.is_none_or(|wanted| wanted == interface)
        && filter.protocol.is_none_or(|protocol| protocol == seen.protocol)
        && filter.port.is_none_or(|port| port == seen.source_port || port == seen.destination_port)
        && filter.address.is_none_or(|address| {
            address.ipv6 == (seen.family == Family::V6)
                && (address.value == seen.source || address.value == seen.destination)
        })
}

impl Worker {
    /// Notes a stage of a packet that is followed.
    #[inline]
    pub(super) fn mark(&mut self, packet: &Packet, stage: Stage, info: u32) {
        if packet.is_traced() {
            self.mark_traced(packet, stage, info);
        }
    }

    #[cold]
    fn mark_traced(&mut self, packet: &Packet, stage: Stage, info: u32) {
        let now_ns = self.clock.now_ns();
        if let Some(Some(record)) = self.tracer.slots.get_mut(usize::from(packet.trace)) {
            record.mark(stage, info, now_ns);
        }
    }

    #[cold]
    pub(super) fn finish_transmit(&mut self, packet: &Packet, interface: u16) {
        self.mark_traced(packet, Stage::Transmit, u32::from(interface));
        self.finish(packet, TraceEnd::Transmit, Some(interface));
    }

    #[cold]
    pub(super) fn finish_punt(&mut self, packet: &Packet, reason: PuntReason) {
        self.finish(packet, TraceEnd::Punt(reason), None);
    }

    #[cold]
    pub(super) fn finish_drop(&mut self, packet: &Packet, reason: DropReason) {
        self.mark_traced(packet, Stage::Drop, reason.index() as u32);
        self.finish(packet, TraceEnd::Drop(reason), None);
    }

    #[cold]
    pub(super) fn finish_hand_off(&mut self, packet: &Packet, worker: u8) {
        self.finish(packet, TraceEnd::HandOff(worker), None);
    }

    #[cold]
    pub(super) fn finish_held(&mut self, packet: &Packet) {
        self.finish(packet, TraceEnd::Held, None);
    }

    /// As [`Worker::finish_held`], for a packet that is out of reach: by the slot of its record.
    #[cold]
    pub(super) fn finish_waiting(&mut self, trace: u8) {
        self.finish_record(trace, &[], TraceEnd::Held, None);
    }

    fn finish(&mut self, packet: &Packet, end: TraceEnd, interface: Option<u16>) {
        self.finish_record(packet.trace, packet.mbuf.data(), end, interface);
    }

    fn finish_record(&mut self, trace: u8, frame: &[u8], end: TraceEnd, interface: Option<u16>) {
        let Some(mut record) = self.tracer.slots.get_mut(usize::from(trace)).and_then(Option::take) else {
            return;
        };
        if let Some((_, filter)) = self.tracer.active
            && filter.drops_only
        {
            if !matches!(end, TraceEnd::Drop(_)) || self.tracer.left == 0 {
                return;
            }
            self.tracer.left -= 1;
        }
        if matches!(end, TraceEnd::Transmit) {
            record.set_after(frame);
        }
        if let Some(interface) = interface {
            record.interface_out = interface;
        }
        record.finish(end);
        if !self.sight.traces.push(&record) {
            self.sight.counters.add(Counter::TracesLost, 1);
        }
    }
}
