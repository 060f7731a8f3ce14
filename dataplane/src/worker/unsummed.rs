//! UDP over IPv4 without checksum on its way to IPv6, where it may not go without one (RFC 7915, section 4.5).
//!
//! The translator computes the checksum, unless the configuration has such datagrams dropped: somebody then wants to know of
//! them. Fragments are none of this, for RFC 6146 has them put together whatever is configured.

use sluice_nat::{Event, Events, Fixed, SessionEnds};
use sluice_packet::{DropReason, Family, Fragment, Transport};
use sluice_shm::Counter;

use super::Worker;
use super::batch::Packet;
use super::events::Sink;

/// Datagrams that a worker reports a second; the others are counted.
pub(super) const REPORTS_PER_SECOND: u32 = 64;

impl Worker {
    /// Whether a packet to a session's inside host is to be dropped because it has no checksum.
    //= conformance XLT-32
    #[inline]
    pub(super) fn lacks_checksum(&self, packet: &Packet, to: Family) -> bool {
        self.setup.checksums.drop_zero_to_ipv6
            && to == Family::V6
            && packet.meta.family == Family::V4
            && packet.meta.transport == Transport::Udp
            && packet.meta.fragment == Fragment::No
            && has_no_checksum(packet)
    }

    /// Drops a datagram, and reports it unless many have just been.
    //= conformance XLT-32, LOG-32
    #[cold]
    pub(super) fn drop_unsummed(&mut self, packet: Packet, fixed: &Fixed) {
        if self.unsummed.take(self.now) {
            let mut probes = std::mem::take(&mut self.scratch.probes);
            let event = Event::ChecksumMissing(SessionEnds::of(fixed));
            Sink::new(&mut self.sight, &mut probes, self.began_ns).event(event);
            self.scratch.probes = probes;
        } else {
            self.sight.counters.add(Counter::EventsSuppressed, 1);
        }
        self.drop_packet(packet, DropReason::UdpChecksumMissing);
    }
}

/// Whether the checksum field of a UDP packet says that there is none.
pub(super) fn has_no_checksum(packet: &Packet) -> bool {
    let checksum = usize::from(packet.meta.l4) + 6;
    packet.mbuf.data().get(checksum..checksum + 2) == Some(&[0, 0])
}
