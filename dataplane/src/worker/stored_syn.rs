//! SYNs from outside that nobody inside has asked for, where the configuration says to hold them (N64-TCP-40).
//!
//! RFC 6146 (section 3.5.2.2) and RFC 5382 (REQ-4) give both ends of a connection six seconds to open it at the same time: until
//! then nothing is said, and if the SYN from inside comes, the stored one is forgotten and the connection is established. After
//! that its sender hears 4:3/3. RFC 6146 keeps such a SYN in a session whose inside is not known; here it stands in a table
//! beside the sessions, because it is nobody's: no subscriber pays for it, and nothing of it outlives the worker.
//!
//! A SYN waits on the worker that has its port block, which is that of the subscriber who could send the other SYN. While
//! nobody has the block, it waits where it came in; once a tick all are looked at, and those whose block has got an owner go to
//! it, where the connection may be established by then.
//!
//! The table is bounded, keyed, and filled by strangers: beyond the bound SYNs are dropped as before (N64-TCP-39).

use std::hash::{BuildHasher, RandomState};

use sluice_dpdk::Mbuf;
use sluice_nat::shared::ExternalOwner;
use sluice_nat::{Direction, Flow, InboundTuple, Protocol, SessionIndex, TICKS_PER_SECOND, Tick};
use sluice_packet::{DropReason, IcmpMessage, Meta, ethernet, parse};
use sluice_shm::Counter;

use super::Worker;
use super::batch::{NO_TRACE, Packet};
use crate::parcel::{Parcel, Stage};

/// Six seconds, and a tick more: a SYN may have come at the end of its tick, and nothing is said too early.
//= conformance N64-TCP-03, N64-TCP-04, N44-08
const PATIENCE: u32 = 6 * TICKS_PER_SECOND + 1;
/// SYNs of all workers together: a quarter of the buffers that a port has to spare, for each keeps one.
const TOTAL: usize = 2048;
/// SYNs of one worker.
const MOST: usize = 1024;
const LEAST: usize = 64;
/// Slots in which a connection may be.
const WAYS: usize = 8;
/// Slots looked at in a loop.
const BUDGET: usize = 32;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Whether a packet opens a TCP connection.
pub(super) fn is_syn(meta: &Meta) -> bool {
    meta.protocol == 6 && meta.tcp_flags & (SYN | ACK) == SYN
}

/// What waits.
struct Waiting<P> {
    tuple: InboundTuple,
    since: Tick,
    packet: P,
}

/// Why a SYN finds no place.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// One of its connection waits already.
    Known,
    /// There is no room.
    Full,
}

/// The stored SYNs of a worker, by connection: sets of a few slots, of which a secret hash chooses one.
pub(super) struct StoredSyns<P> {
    slots: Box<[Option<Waiting<P>>]>,
    used: usize,
    hasher: RandomState,
    /// The tick whose round is under way, and the slot that it looks at next.
    round: Tick,
    next: usize,
}

impl<P> StoredSyns<P> {
    /// Room for the share of one worker.
    pub(super) fn new(workers: u8) -> Self {
        let share = (TOTAL / usize::from(workers.max(1))).clamp(LEAST, MOST) / WAYS * WAYS;
        Self {
            slots: (0..share).map(|_| None).collect(),
            used: 0,
            hasher: RandomState::new(),
            round: Tick(0),
            next: share,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    fn set(&self, tuple: &InboundTuple) -> usize {
        let ports = u32::from(tuple.external_port) << 16 | u32::from(tuple.remote_port);
        let hash = self.hasher.hash_one((tuple.external, tuple.remote, ports));
        (hash % (self.slots.len() / WAYS) as u64) as usize * WAYS
    }

    /// Where a SYN would be put.
    fn place(&self, tuple: &InboundTuple) -> Result<usize, Refused> {
        let first = self.set(tuple);
        let set = &self.slots[first..first + WAYS];
        if set.iter().flatten().any(|waiting| waiting.tuple == *tuple) {
            return Err(Refused::Known);
        }
        set.iter().position(Option::is_none).map(|way| first + way).ok_or(Refused::Full)
    }

    fn put(&mut self, place: usize, tuple: InboundTuple, since: Tick, packet: P) {
        self.slots[place] = Some(Waiting { tuple, since, packet });
        self.used += 1;
    }

    /// Takes the SYN of a connection out.
    fn take(&mut self, tuple: &InboundTuple) -> Option<P> {
        let first = self.set(tuple);
        let found = |slot: &&mut Option<Waiting<P>>| slot.as_ref().is_some_and(|it| it.tuple == *tuple);
        let taken = self.slots[first..first + WAYS].iter_mut().find(found)?.take()?;
        self.used -= 1;
        Some(taken.packet)
    }

    /// Takes the next SYN out that has to leave: its time is over, or `elsewhere` says that it belongs to another worker. Each is
    /// looked at once a tick, and no more than `budget` slots in a loop.
    fn next_to_leave<T>(
        &mut self,
        now: Tick,
        budget: &mut usize,
        elsewhere: impl Fn(&InboundTuple) -> Option<T>,
    ) -> Option<(P, Tick, Option<T>)> {
        if self.next >= self.slots.len() {
            if self.used == 0 || self.round == now {
                return None;
            }
            (self.round, self.next) = (now, 0);
        }
        while *budget > 0 && self.next < self.slots.len() {
            *budget -= 1;
            let slot = &mut self.slots[self.next];
            self.next += 1;
            let Some(waiting) = slot else { continue };
            let to = elsewhere(&waiting.tuple);
            if (to.is_some() || now.since(waiting.since) >= PATIENCE)
                && let Some(Waiting { since, packet, .. }) = slot.take()
            {
                self.used -= 1;
                return Some((packet, since, to));
            }
        }
        None
    }

    /// Takes any out.
    fn pop(&mut self) -> Option<P> {
        let waiting = self.slots.iter_mut().find_map(Option::take)?;
        self.used -= 1;
        Some(waiting.packet)
    }
}

/// A stored SYN.
pub(super) struct Syn {
    mbuf: Mbuf,
    interface: u16,
    hairpinned: bool,
    /// What it would have been dropped for.
    reason: DropReason,
}

impl Worker {
    /// A SYN that no session or binding takes: it waits for one from inside, for six seconds and without an answer.
    //= conformance N64-TCP-03, N64-TCP-06, N44-08
    #[cold]
    pub(super) fn store_syn(&mut self, packet: Packet, tuple: &InboundTuple, reason: DropReason) {
        self.store_since(packet, tuple, reason, self.now);
    }

    fn store_since(&mut self, packet: Packet, tuple: &InboundTuple, reason: DropReason, since: Tick) {
        match self.syns.place(tuple) {
            // Sent again: the first of them will be answered.
            Err(Refused::Known) => self.drop_packet(packet, reason),
            //= conformance N64-TCP-39
            Err(Refused::Full) => self.drop_packet(packet, DropReason::SynTableFull),
            Ok(place) => {
                if packet.is_traced() {
                    self.finish_held(&packet);
                }
                let Packet { mbuf, interface, hairpinned, .. } = packet;
                self.syns.put(place, *tuple, since, Syn { mbuf, interface, hairpinned, reason });
                self.count_held();
            }
        }
    }

    /// A connection was opened from inside. If its SYN from outside waits here, that is both of them.
    //= conformance N64-TCP-05, N44-08
    #[inline]
    pub(super) fn meet_stored_syn(&mut self, flow: &Flow) {
        if self.syns.len() > 0 && flow.session.is_some() && flow.fixed.protocol == Protocol::Tcp as u8 {
            let fixed = &flow.fixed;
            let tuple = InboundTuple {
                protocol: Protocol::Tcp,
                external: fixed.external,
                external_port: fixed.external_port,
                remote: fixed.remote,
                remote_port: fixed.remote_port,
            };
            if let Some(Syn { mbuf, interface, .. }) = self.syns.take(&tuple) {
                self.count_held();
                self.supersede(mbuf, interface, flow.session);
            }
        }
    }

    /// Forgets a stored SYN whose connection exists: its session sees it, nobody else does.
    #[cold]
    fn supersede(&mut self, mbuf: Mbuf, interface: u16, session: SessionIndex) {
        drop(mbuf);
        self.count_drop(Some(interface), DropReason::SynSuperseded);
        // The session may have gone with its rule, which is no matter of the SYN.
        let _ = self.engine.established(session, Direction::Inbound, SYN, self.now);
    }

    /// Answers stored SYNs whose time is over, and hands those over whose port block now belongs to another worker.
    pub(super) fn look_after_stored_syns(&mut self) {
        let mut budget = BUDGET;
        while budget > 0 && self.syns.len() > 0 {
            let (shared, setup, id) = (&self.shared, &self.setup, self.id);
            let elsewhere = |tuple: &InboundTuple| {
                if shared.workers() == 1 {
                    return None;
                }
                match shared.external_owner(&setup.nat, Protocol::Tcp, tuple.external, tuple.external_port) {
                    ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) if worker != id => {
                        Some(worker.0)
                    }
                    _ => None,
                }
            };
            let Some((syn, since, to)) = self.syns.next_to_leave(self.now, &mut budget, elsewhere) else {
                return;
            };
            self.count_held();
            match to {
                Some(worker) => {
                    let Syn { mbuf, interface, hairpinned, .. } = syn;
                    let stage = Stage::StoredSyn { since, hairpinned };
                    self.exits().hand_off(worker, Parcel { mbuf, interface, hops: 1, stage });
                }
                None => self.answer_stored_syn(syn),
            }
        }
    }

    /// Nobody has opened the connection from inside.
    //= conformance N64-TCP-04, N44-08
    #[cold]
    fn answer_stored_syn(&mut self, syn: Syn) {
        let reason = syn.reason;
        let Some(packet) = self.unpack(syn.mbuf, syn.interface, syn.hairpinned) else { return };
        // Unless the configuration says by now that such SYNs are not answered.
        if !self.setup.unsolicited.hold_syns {
            return self.drop_packet(packet, reason);
        }
        self.refuse(packet, reason, IcmpMessage::v4_port_unreachable());
        // The answer to the second half of a hairpin is translated in its turn.
        if !self.scratch.hairpins.is_empty() {
            self.process(&mut Vec::new());
        }
    }

    /// A SYN that waited on another worker, for a port that is now of this one.
    #[cold]
    pub(super) fn accept_stored_syn(&mut self, mbuf: Mbuf, interface: u16, hairpinned: bool, since: Tick) {
        let Some(packet) = self.unpack(mbuf, interface, hairpinned) else { return };
        let tuple = InboundTuple {
            protocol: Protocol::Tcp,
            external: packet.meta.destination as u32,
            external_port: packet.meta.destination_port,
            remote: packet.meta.source as u32,
            remote_port: packet.meta.source_port,
        };
        let session = self.find_one_inbound(&tuple);
        if session.is_some() {
            return self.supersede(packet.mbuf, interface, session);
        }
        self.store_since(packet, &tuple, DropReason::UnsolicitedSyn, since);
    }

    /// Reads a packet again that was read before. Counts it if that does not work.
    fn unpack(&mut self, mbuf: Mbuf, interface: u16, hairpinned: bool) -> Option<Packet> {
        let read = ethernet::link(mbuf.data()).and_then(|link| {
            let meta = parse(mbuf.data(), &link).map_err(|malformed| malformed.reason)?;
            Ok((link, meta))
        });
        match read {
            Ok((link, meta)) => {
                // A fragment among them is the first of its datagram: it has the ports.
                let attached = !meta.is_whole();
                Some(Packet { mbuf, link, meta, interface, hops: 0, attached, hairpinned, trace: NO_TRACE })
            }
            Err(reason) => {
                self.count_drop(Some(interface), reason);
                None
            }
        }
    }

    /// Drops all that are stored: the worker ends.
    pub(super) fn drop_stored_syns(&mut self) {
        while let Some(syn) = self.syns.pop() {
            self.count_drop(Some(syn.interface), syn.reason);
        }
    }

    /// Says how many packets wait: for a neighbour, for a SYN from inside, for other fragments.
    pub(super) fn count_held(&mut self) {
        self.sight
            .counters
            .set(Counter::Held, (self.held.len() + self.syns.len() + self.fragments.waiting()) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(number: u32) -> InboundTuple {
        let (external, remote) = (0xc633_6401, 0x0808_0000 | number);
        InboundTuple { protocol: Protocol::Tcp, external, external_port: 7000, remote, remote_port: 80 }
    }

    fn store(syns: &mut StoredSyns<u32>, number: u32, since: Tick) -> Result<(), Refused> {
        let place = syns.place(&tuple(number))?;
        syns.put(place, tuple(number), since, number);
        Ok(())
    }

    /// All that leave by their time at a tick.
    fn leaving(syns: &mut StoredSyns<u32>, now: Tick) -> Vec<u32> {
        let nowhere = |_: &InboundTuple| None::<u8>;
        std::iter::from_fn(|| syns.next_to_leave(now, &mut usize::MAX.clone(), nowhere))
            .map(|(number, ..)| number)
            .collect()
    }

    //= conformance N64-TCP-04
    #[test]
    fn a_syn_leaves_after_six_seconds_and_not_before() {
        let mut syns = StoredSyns::new(1);
        let start = Tick(u32::MAX - 7);
        assert_eq!(store(&mut syns, 1, start), Ok(()));
        for ticks in 0..=6 * TICKS_PER_SECOND {
            assert_eq!(leaving(&mut syns, start.after(ticks)), [] as [u32; 0], "after {ticks} ticks");
        }
        assert_eq!(leaving(&mut syns, start.after(6 * TICKS_PER_SECOND + 1)), [1]);
        assert_eq!(syns.len(), 0);
    }

    //= conformance N64-TCP-05
    #[test]
    fn the_syn_of_a_connection_is_found_once_and_no_other() {
        let mut syns = StoredSyns::new(2);
        assert_eq!(store(&mut syns, 1, Tick(0)), Ok(()));
        assert_eq!(store(&mut syns, 1, Tick(4)), Err(Refused::Known), "sent again");
        assert_eq!(store(&mut syns, 2, Tick(4)), Ok(()));
        let other = InboundTuple { remote_port: 81, ..tuple(1) };
        assert_eq!(syns.take(&other), None);
        assert_eq!(syns.take(&tuple(1)), Some(1));
        assert_eq!(syns.take(&tuple(1)), None);
        assert_eq!(leaving(&mut syns, Tick(1000)), [2]);
    }

    //= conformance N64-TCP-39
    #[test]
    fn a_flood_fills_the_table_and_no_more() {
        for (workers, most) in [(1, 1024), (2, 1024), (16, 128), (64, 64)] {
            let mut syns = StoredSyns::new(workers);
            let stored = (0..1_000_000).filter(|&n| store(&mut syns, n, Tick(1)) == Ok(())).count();
            assert_eq!((stored, syns.len()), (most, most), "{workers} workers");
            assert_eq!(leaving(&mut syns, Tick(1000)).len(), most);
        }
    }

    #[test]
    fn a_loop_looks_at_a_bounded_number_and_a_tick_at_all_once() {
        let mut syns = StoredSyns::new(1);
        for number in 0..300 {
            let _ = store(&mut syns, number, Tick(0));
        }
        let stored = syns.len();
        let (mut looked, mut loops) = (0, 0);
        loop {
            let (mut budget, seen) = (BUDGET, std::cell::Cell::new(0));
            let count = |_: &InboundTuple| -> Option<u8> {
                seen.set(seen.get() + 1);
                None
            };
            assert!(syns.next_to_leave(Tick(1), &mut budget, count).is_none());
            assert!(seen.get() <= BUDGET);
            looked += seen.get();
            loops += 1;
            if budget == BUDGET {
                break;
            }
        }
        assert_eq!((looked, loops), (stored, 1024 / BUDGET + 1));
        // Whose port has another owner by now leaves at once.
        let (mut budget, to) = (BUDGET, |_: &InboundTuple| Some(3));
        let left = syns.next_to_leave(Tick(2), &mut budget, to).map(|(_, since, to)| (since, to));
        assert_eq!(left, Some((Tick(0), Some(3))));
    }
}
