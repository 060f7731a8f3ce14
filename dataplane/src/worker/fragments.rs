//! Fragments of translated flows, until it is known which flow (see [`sluice_nat::fragments`]).
//!
//! All fragments of a datagram go to one worker, by a hash of what they have in common. From there they go on with the ports of
//! the first one, to the worker that owns the flow.

use sluice_nat::{Chain, DatagramKey, Event, Events, Fate, Piece, TICKS_PER_SECOND};
use sluice_packet::{Delta, DropReason, Family, Fragment, Head, checksum};
use sluice_shm::Counter;

use super::Worker;
use super::batch::{NO_TRACE, Packet};
use super::events::Sink;
use super::unsummed::has_no_checksum;
use crate::parcel::Stage;

const UDP: u8 = 17;
/// Datagrams that are ended a loop because their time is up.
const EXPIRE_BUDGET: usize = 64;

impl Worker {
    /// A fragment of which only the datagram is known. Outbound, `remote` is whom it goes to.
    //= conformance MAP-13
    #[cold]
    pub(super) fn fragment(&mut self, mut packet: Packet, remote: Option<u32>) {
        let key = DatagramKey::of(&packet.meta);
        let owner = self.shared.datagram_worker(&key);
        if owner != self.id {
            return self.hand_off(packet, owner.0, Stage::Enter);
        }
        if let Some(remote) = remote.filter(|_| packet.meta.fragment == Fragment::First) {
            self.identify(&mut packet, remote);
        }
        let piece = Piece::of(&packet.meta, needs_the_whole(&packet));
        let (interface, trace) = (packet.interface, packet.trace);
        let (ipv6, source) = (packet.meta.family == Family::V6, packet.meta.source);
        let arrival = self.fragments.arrive(&key, piece, self.now, packet);
        if !arrival.evicted.is_empty() || arrival.fate == Fate::Drop(DropReason::FragmentLimit) {
            self.report_pending(ipv6, source);
        }
        self.drop_chain(arrival.evicted, DropReason::FragmentLimit);
        match arrival.fate {
            Fate::Waits => {
                if trace != NO_TRACE {
                    self.finish_waiting(trace);
                }
            }
            Fate::Drop(reason) => {
                match arrival.item {
                    Some(packet) => self.drop_packet(packet, reason),
                    None => self.count_drop(Some(interface), reason),
                }
                self.drop_chain(arrival.released, reason);
            }
            Fate::Ready { head, total } => {
                if arrival.item.is_none() && trace != NO_TRACE {
                    // It goes on among those that have waited, and like theirs its trace ends here.
                    self.finish_waiting(trace);
                }
                self.release(arrival.item, arrival.released, head, total);
            }
        }
        self.count_held();
    }

    /// Reports that a bound was reached, at most once a second.
    //= conformance FRAG-37, LOG-17
    fn report_pending(&mut self, ipv6: bool, source: u128) {
        if self.fragments_reported.is_some_and(|last| self.now.since(last) < TICKS_PER_SECOND) {
            return self.sight.counters.add(Counter::EventsSuppressed, 1);
        }
        self.fragments_reported = Some(self.now);
        let limit = self.setup.nat.fragments().waiting;
        let mut probes = std::mem::take(&mut self.scratch.probes);
        let event = Event::FragmentsPending { limit, ipv6, source };
        Sink::new(&mut self.sight, &mut probes, self.began_ns).event(event);
        self.scratch.probes = probes;
    }

    /// Gives the datagram an identification of our own where it cannot keep the one it has: many inside hosts share an external
    /// address (RFC 6864, section 5.3.1).
    //= conformance FRAG-33, FRAG-30
    fn identify(&mut self, packet: &mut Packet, remote: u32) {
        let remaps = self.setup.nat.fragments().remap_identification;
        if packet.meta.family == Family::V4 || remaps {
            // Which external address it will be is for the owner of the flow to say.
            packet.meta.identification = self.leases.next(0, remote, packet.meta.protocol).into();
        }
    }

    /// Puts fragments among those that go on, with what their first one told.
    fn release(&mut self, item: Option<Packet>, mut chain: Chain, head: Head, total: u16) {
        let mut ready = std::mem::take(&mut self.scratch.ready);
        let begin = ready.len();
        ready.extend(item);
        while let Some(mut packet) = self.fragments.take(&mut chain) {
            packet.trace = NO_TRACE;
            ready.push(packet);
        }
        let fragments = &mut ready[begin..];
        let whole = match fragments.first() {
            Some(packet) if total > 0 && packet.meta.protocol == UDP => sum(fragments),
            _ => total,
        };
        for packet in fragments {
            packet.meta.adopt(Head { whole, ..head });
            packet.attached = true;
        }
        self.scratch.ready = ready;
    }

    fn drop_chain(&mut self, mut chain: Chain, reason: DropReason) {
        while let Some(packet) = self.fragments.take(&mut chain) {
            // Its trace ended when it began to wait.
            self.count_drop(Some(packet.interface), reason);
        }
    }

    /// Ends datagrams whose time is up.
    #[inline]
    pub(super) fn look_after_fragments(&mut self) {
        if self.fragments.datagrams() > 0 {
            self.expire_fragments();
        }
    }

    #[cold]
    fn expire_fragments(&mut self) {
        for _ in 0..EXPIRE_BUDGET {
            let Some(chain) = self.fragments.expire(self.now) else { break };
            if !chain.is_empty() {
                self.drop_chain(chain, DropReason::FragmentTimeout);
                self.count_held();
            }
        }
    }

    /// Drops all that wait: the worker ends.
    pub(super) fn drop_fragments(&mut self) {
        while let Some(chain) = self.fragments.drain() {
            self.drop_chain(chain, DropReason::FragmentTimeout);
        }
        self.count_held();
    }
}

/// Whether a first fragment can be translated only when all of its datagram is here: the checksum of an echo covers the length
/// in one family and not in the other, and UDP over IPv6 needs the checksum that IPv4 may leave out.
//= conformance FRAG-26, XLT-33
fn needs_the_whole(packet: &Packet) -> bool {
    let meta = &packet.meta;
    meta.protocol == meta.family.icmp()
        || (meta.family == Family::V4 && meta.protocol == UDP && has_no_checksum(packet))
}

/// Sum of the payloads of all fragments of a datagram. Each but the last has an even length, so that they add up.
fn sum(fragments: &[Packet]) -> u16 {
    let add = |sum: Delta, packet: &Packet| {
        let payload = packet.mbuf.data().get(usize::from(packet.meta.l4)..usize::from(packet.meta.end));
        sum.add_u16(!checksum::of(payload.unwrap_or_default()))
    };
    fragments.iter().fold(Delta::ZERO, add).raw()
}
