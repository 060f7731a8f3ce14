//! TCP MSS clamping (MSS-01 to MSS-08): a SYN leaves with no more than what both links carry.

use sluice_nat::Fixed;
use sluice_packet::{Family, Fragment, Transport, mss};
use sluice_shm::snapshot::MssClamp;

use super::Worker;
use super::batch::Packet;
use super::forward::inside_family;
use crate::nexthop::AdjacencyIndex;

const SYN: u8 = 0x02;
/// IPv4 and TCP headers without options.
const HEADERS_V4: u16 = 40;
/// IPv6 and TCP headers without options.
const HEADERS_V6: u16 = 60;

impl Worker {
    /// Clamps a SYN of a translated flow. Without next hop it is on its first pass of a hairpin.
    #[inline]
    pub(super) fn clamp_flow(&self, packet: &mut Packet, fixed: &Fixed, adjacency: Option<AdjacencyIndex>) {
        let header = packet.meta.fragment != Fragment::Later;
        if packet.meta.transport == Transport::Tcp && packet.meta.tcp_flags & SYN != 0 && header {
            let nat64 = inside_family(fixed) == Family::V6;
            let departs = match packet.meta.family {
                Family::V6 => Family::V4,
                Family::V4 if nat64 => Family::V6,
                Family::V4 => Family::V4,
            };
            self.clamp(packet, departs, nat64, adjacency);
        }
    }

    /// Clamps a SYN that is routed as it is.
    #[inline]
    pub(super) fn clamp_native(&self, packet: &mut Packet, adjacency: AdjacencyIndex) {
        if packet.meta.transport == Transport::Tcp
            && packet.meta.tcp_flags & SYN != 0
            && packet.meta.is_whole()
        {
            let family = packet.meta.family;
            self.clamp(packet, family, false, Some(adjacency));
        }
    }

    #[cold]
    fn clamp(&self, packet: &mut Packet, departs: Family, nat64: bool, adjacency: Option<AdjacencyIndex>) {
        let setup = &self.setup;
        let arrival = if packet.hairpinned { None } else { setup.interface(packet.interface) };
        let departure = adjacency.and_then(|adjacency| {
            setup.interface(u16::from(setup.routes.adjacencies.get(adjacency).interface))
        });
        let links = [(arrival, packet.meta.family), (departure, departs)];
        let limits = links.into_iter().filter_map(|(interface, family)| {
            let interface = interface?;
            limit(interface.mss_clamp, interface.mtu, family, nat64)
        });
        if let Some(limit) = limits.min() {
            let meta = packet.meta;
            packet.mbuf.with_frame(|frame| mss::clamp_mss(frame, &meta, limit));
        }
    }
}

/// What a link allows, if it has a say.
fn limit(clamp: MssClamp, mtu: u16, family: Family, nat64: bool) -> Option<u16> {
    let headers = if family == Family::V6 { HEADERS_V6 } else { HEADERS_V4 };
    match clamp {
        MssClamp::Off => None,
        //= conformance MSS-02
        MssClamp::Auto if !nat64 => None,
        //= conformance MSS-01
        MssClamp::Auto | MssClamp::Always => Some(mtu.saturating_sub(headers)),
        //= conformance MSS-08
        MssClamp::To(value) => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= conformance MSS-01
    //= conformance MSS-02
    //= conformance MSS-08
    #[test]
    fn each_link_allows_what_its_mtu_and_family_carry() {
        let cases = [
            ("NAT64, inside link", MssClamp::Auto, 1500, Family::V6, true, Some(1440)),
            ("NAT64, outside link", MssClamp::Auto, 1500, Family::V4, true, Some(1460)),
            ("NAT44 is left alone by default", MssClamp::Auto, 1400, Family::V4, false, None),
            ("NAT44 when asked for", MssClamp::Always, 1400, Family::V4, false, Some(1360)),
            ("off", MssClamp::Off, 1400, Family::V6, true, None),
            ("a value of the operator", MssClamp::To(1300), 1500, Family::V6, true, Some(1300)),
        ];
        for (name, clamp, mtu, family, nat64, expected) in cases {
            assert_eq!(limit(clamp, mtu, family, nat64), expected, "{name}");
        }
    }
}
