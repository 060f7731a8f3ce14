//! ICMP errors that the gateway itself sends about packets it does not forward.

use sluice_dpdk::Mbuf;
use sluice_nat::{TICKS_PER_SECOND, Tick};
use sluice_packet::{DropReason, Family, IcmpMessage, Link, Meta, ethernet, icmp_make};
use sluice_shm::{Counter, Stage as TraceStage};

use super::Worker;
use super::batch::{Entry, NO_TRACE, Packet};
use super::resolve::Resolved;

/// A token bucket on ticks: so many a second, and a burst of as many (ICMP-103).
pub(super) struct Bucket {
    rate: u32,
    /// Tokens in units of 1 / [`TICKS_PER_SECOND`].
    tokens: u64,
    filled: Tick,
}

impl Bucket {
    pub(super) fn new(rate: u32, now: Tick) -> Self {
        Self { rate, tokens: u64::from(rate) * u64::from(TICKS_PER_SECOND), filled: now }
    }

    pub(super) fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
        self.tokens = self.tokens.min(u64::from(rate) * u64::from(TICKS_PER_SECOND));
    }

    pub(super) fn take(&mut self, now: Tick) -> bool {
        let full = u64::from(self.rate) * u64::from(TICKS_PER_SECOND);
        self.tokens = (self.tokens + u64::from(now.since(self.filled)) * u64::from(self.rate)).min(full);
        self.filled = now;
        let one = u64::from(TICKS_PER_SECOND);
        if self.tokens < one {
            return false;
        }
        self.tokens -= one;
        true
    }
}

impl Worker {
    /// Drops a packet by name and tells its sender, as far as rules and rate allow (ICMP-104, ICMP-105).
    #[cold]
    pub(super) fn refuse(&mut self, packet: Packet, reason: DropReason, message: IcmpMessage) {
        self.report(&packet, reason, message);
        self.drop_packet(packet, reason);
    }

    fn report(&mut self, packet: &Packet, reason: DropReason, message: IcmpMessage) {
        if !icmp_make::may_report(packet.mbuf.data(), &packet.meta, &packet.link, message) {
            return;
        }
        let Some(interface) = self.setup.interface(packet.interface) else { return };
        //= conformance ICMP-109
        if reason == DropReason::HopLimitExceeded && !interface.time_exceeded {
            return;
        }
        //= conformance ICMP-110
        let source = match packet.meta.family {
            // What the sender spoke to is an address of ours, and the only one that it knows.
            Family::V4 if packet.hairpinned => Some(packet.meta.destination),
            Family::V4 => interface.ipv4.or(self.setup.any_ipv4).map(u128::from),
            Family::V6 => interface.ipv6.or(self.setup.any_ipv6),
        };
        let Some(source) = source else { return };
        //= conformance ICMP-102, ICMP-103, LIM-13
        if !self.buckets[packet.meta.family as usize].take(self.now) {
            self.sight.counters.add(Counter::IcmpErrorsSuppressed, 1);
            return;
        }
        let Some(mut mbuf) = self.mempool.alloc() else {
            self.sight.counters.add(Counter::IcmpErrorsSuppressed, 1);
            return;
        };
        //= conformance ICMP-108
        let meta = Meta { tos: self.setup.to_error.apply(packet.meta.tos), ..packet.meta };
        let offending = packet.mbuf.data();
        let made = mbuf.with_frame(|frame| icmp_make::make_error(frame, offending, &meta, message, source));
        if !made {
            return;
        }
        self.mark(packet, TraceStage::IcmpError, u32::from(message.kind) << 8 | u32::from(message.code));
        self.sight.counters.add(Counter::Generated, 1);
        if packet.hairpinned {
            self.report_back(mbuf, packet.interface);
        } else {
            self.originate(mbuf, packet.interface, meta.family, meta.source);
        }
    }

    /// An error about the second half of a hairpin quotes the packet as translated, and its sender has an external address of
    /// our own: the error comes in as if from outside, and is translated like any other (HAIR-05).
    fn report_back(&mut self, mbuf: Mbuf, interface: u16) {
        match ethernet::link(mbuf.data()) {
            Ok(link) => {
                let mut hairpins = std::mem::take(&mut self.scratch.hairpins);
                // A packet of its own, which has not been handed over yet.
                let entry = Entry { interface, hops: 0, hairpinned: true, head: None };
                self.enter(mbuf, link, entry, &mut hairpins);
                self.scratch.hairpins = hairpins;
            }
            Err(reason) => self.count_drop(Some(interface), reason),
        }
    }

    /// Routes and sends a packet that was made here, already counted as generated.
    pub(super) fn originate(&mut self, mbuf: Mbuf, interface: u16, family: Family, to: u128) {
        let adjacency = match self.route(family, to) {
            Resolved::Adjacency(adjacency) => adjacency,
            Resolved::Local => return self.count_drop(Some(interface), DropReason::NoRoute),
            Resolved::Unresolved => return self.count_drop(Some(interface), DropReason::NeighbourUnresolved),
            Resolved::Drop(reason) => return self.count_drop(Some(interface), reason),
        };
        let meta = Meta::blank(family, 14);
        let link = ethernet::link(mbuf.data()).unwrap_or(Link {
            destination: [0; 6],
            source: [0; 6],
            vlan: None,
            ether_type: 0,
            len: 14,
        });
        let packet = Packet {
            mbuf,
            link,
            meta,
            interface,
            hops: 0,
            attached: false,
            hairpinned: false,
            trace: NO_TRACE,
        };
        self.transmit(packet, adjacency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= conformance ICMP-103
    #[test]
    fn the_bucket_gives_a_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(100, Tick(0));
        let burst = (0..1000).filter(|_| bucket.take(Tick(0))).count();
        assert_eq!(burst, 100);
        let second = (0..TICKS_PER_SECOND)
            .map(|t| (0..1000).filter(|_| bucket.take(Tick(t + 1))).count())
            .sum::<usize>();
        assert_eq!(second, 100);
    }

    #[test]
    fn a_rate_of_zero_sends_nothing() {
        let mut bucket = Bucket::new(0, Tick(0));
        assert!(!bucket.take(Tick(1_000_000)));
    }
}
