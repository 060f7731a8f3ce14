//! Forwarding of a packet whose session is known: route, size, translation, and out.

use sluice_nat::{Config, Direction, Fixed, Kind, KindRealm, Session, SessionIndex};
use sluice_packet::{
    DF_THRESHOLD, Delta, DropReason, Endpoints, Family, Fragment, Frame, IcmpMessage, Meta, Rewrite,
    Transport, four_to_four, four_to_six, six_to_four, translated_len, transport_delta,
};
use sluice_shm::{Counter, Stage as TraceStage};

use super::Worker;
use super::batch::Packet;
use super::resolve::Resolved;
use crate::ident::Leases;
use crate::nexthop::AdjacencyIndex;

impl Worker {
    /// From inside: source becomes the external address and port.
    pub(super) fn forward_outbound(&mut self, mut packet: Packet, session: SessionIndex, fixed: &Fixed) {
        let hairpin = self.setup.nat.is_external(fixed.remote);
        let adjacency = if hairpin {
            None
        } else {
            match self.session_route(&packet, session, fixed, Direction::Outbound) {
                Ok(adjacency) => Some(adjacency),
                Err(DropReason::NeighbourUnresolved) => return self.hold(packet),
                Err(reason) => return self.unroutable(packet, reason),
            }
        };
        let size = adjacency.map_or(Size::Fits, |adjacency| self.size(&packet, Family::V4, adjacency));
        if let Size::TooBig(message) = size {
            return self.too_big(packet, message);
        }
        let meta = self.remarked(&packet, Family::V4);
        //= conformance XLT-34
        let rewrite = Rewrite {
            allow_zero: self.setup.checksums.allow_zero_to_ipv4,
            ..rewrite_outbound(&self.setup.nat, &mut self.leases, &meta, fixed)
        };
        self.clamp_flow(&mut packet, fixed, adjacency);
        match packet.mbuf.with_frame(|frame| translate_any(frame, &meta, Family::V4, &rewrite)) {
            Ok(meta) => packet.meta = meta,
            Err(reason) => return self.drop_packet(packet, reason),
        }
        self.mark(&packet, TraceStage::Translate, u32::from(fixed.rule));
        match (adjacency, size) {
            (Some(adjacency), Size::Cut(limit)) => self.transmit_cut(packet, adjacency, limit),
            (Some(adjacency), _) => self.transmit(packet, adjacency),
            (None, _) => self.hairpin(packet),
        }
    }

    /// From outside: destination becomes the inside address and port.
    pub(super) fn forward_inbound(&mut self, mut packet: Packet, session: SessionIndex, fixed: &Fixed) {
        // The box answers packets to its own addresses with any hop limit; those of sessions are forwarded.
        if packet.meta.hop_limit <= 1 && !packet.hairpinned {
            return self.refuse(packet, DropReason::HopLimitExceeded, IcmpMessage::v4_ttl());
        }
        let family = inside_family(fixed);
        if self.lacks_checksum(&packet, family) {
            return self.drop_unsummed(packet, fixed);
        }
        let adjacency = match self.session_route(&packet, session, fixed, Direction::Inbound) {
            Ok(adjacency) => adjacency,
            Err(DropReason::NeighbourUnresolved) => return self.hold(packet),
            Err(reason) => return self.unroutable(packet, reason),
        };
        let size = self.size(&packet, family, adjacency);
        match size {
            Size::Fits => {}
            Size::TooBig(message) => return self.too_big(packet, message),
            // Translated as the first fragment of itself, it has the header that its pieces need.
            Size::Cut(_) if family == Family::V6 && packet.meta.is_whole() => {
                packet.meta.fragment = Fragment::First;
            }
            Size::Cut(_) => {}
        }
        let meta = self.remarked(&packet, family);
        let Some(rewrite) = rewrite_inbound(&self.setup.nat, &meta, fixed, !packet.hairpinned) else {
            return self.drop_packet(packet, DropReason::NoRule);
        };
        self.clamp_flow(&mut packet, fixed, Some(adjacency));
        match packet.mbuf.with_frame(|frame| translate_any(frame, &meta, family, &rewrite)) {
            Ok(meta) => packet.meta = meta,
            Err(reason) => return self.drop_packet(packet, reason),
        }
        self.mark(&packet, TraceStage::Translate, u32::from(fixed.rule));
        match size {
            Size::Cut(limit) => self.transmit_cut(packet, adjacency, limit),
            _ => self.transmit(packet, adjacency),
        }
    }

    /// What a packet is, with the DSCP that it has in the other family. Within one it keeps its own.
    //= conformance XLT-09, XLT-21, XLT-41
    pub(super) fn remarked(&self, packet: &Packet, to: Family) -> Meta {
        let remark = match (packet.meta.family, to) {
            (Family::V6, Family::V4) => self.setup.to_ipv4,
            (Family::V4, Family::V6) => self.setup.to_ipv6,
            _ => return packet.meta,
        };
        Meta { tos: remark.apply(packet.meta.tos), ..packet.meta }
    }

    //= conformance HAIR-10
    /// To an external address of our own: the packet comes in again as if from outside (HAIR-01, HAIR-09), with its hop
    /// limit decremented once (HAIR-07).
    //= conformance HAIR-01, HAIR-02
    pub(super) fn hairpin(&mut self, mut packet: Packet) {
        //= conformance HAIR-08
        if packet.hairpinned {
            return self.drop_packet(packet, DropReason::HairpinNoBinding);
        }
        self.sight.counters.add(Counter::Hairpins, 1);
        self.mark(&packet, TraceStage::Hairpin, 0);
        //= conformance HAIR-03, HAIR-11
        packet.hairpinned = true;
        self.scratch.hairpins.push(packet);
    }

    /// The next hop of a session's packet: cached in the session, else looked up and cached.
    fn session_route(
        &mut self,
        packet: &Packet,
        session: SessionIndex,
        fixed: &Fixed,
        direction: Direction,
    ) -> Result<AdjacencyIndex, DropReason> {
        if session.is_some()
            && let Some(cached) = cached_route(self.engine.session(session), direction, self.fib_generation)
        {
            self.mark(packet, TraceStage::Route, u32::from(cached.0));
            return Ok(cached);
        }
        let resolved = match direction {
            Direction::Outbound => self.route_v4(fixed.remote),
            Direction::Inbound if inside_family(fixed) == Family::V6 => self.route_v6(fixed.inside),
            Direction::Inbound => self.route_v4(fixed.inside as u32),
        };
        let adjacency = match resolved {
            Resolved::Adjacency(adjacency) => adjacency,
            Resolved::Local => return Err(DropReason::NoRoute),
            Resolved::Unresolved => return Err(DropReason::NeighbourUnresolved),
            Resolved::Drop(reason) => return Err(reason),
        };
        if session.is_some() {
            cache_route(self.engine.session(session), direction, adjacency, self.fib_generation);
        }
        self.mark(packet, TraceStage::Route, u32::from(adjacency.0));
        Ok(adjacency)
    }

    /// What becomes of a packet, once it is of the family, on the next hop's link.
    fn size(&self, packet: &Packet, to: Family, adjacency: AdjacencyIndex) -> Size {
        size(&packet.meta, to, self.mtu(adjacency), self.setup.nat.fragments().lowest_ipv6_mtu)
    }

    /// Drops a packet that does not fit, and tells its sender.
    //= conformance XLT-49, MSS-09
    pub(super) fn too_big(&mut self, packet: Packet, message: IcmpMessage) {
        self.mark(&packet, TraceStage::Mtu, u32::from(packet.meta.ip_len()));
        self.refuse(packet, DropReason::PacketTooBig, message);
    }

    /// MTU of an adjacency's interface.
    pub(super) fn mtu(&self, adjacency: AdjacencyIndex) -> u16 {
        let interface = self.setup.routes.adjacencies.get(adjacency).interface;
        self.setup.interface(u16::from(interface)).map_or(1280, |interface| interface.mtu)
    }
}

/// What becomes of a packet on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// It leaves as it is.
    Fits,
    /// It leaves in pieces of at most so many bytes.
    Cut(u16),
    /// It does not leave, and this is what its sender hears.
    TooBig(IcmpMessage),
}

/// Compares a packet, once it is of the family, with the MTU of its link. Nothing is ever lost silently (XLT-49).
//= conformance XLT-49
fn size(meta: &Meta, to: Family, mtu: u16, lowest_ipv6_mtu: u16) -> Size {
    let len = translated_len(meta, to);
    match (meta.family, to) {
        //= conformance FRAG-01, FRAG-02, FRAG-38
        (Family::V4, Family::V6) if !meta.dont_fragment => {
            let limit = mtu.min(lowest_ipv6_mtu);
            if len <= limit { Size::Fits } else { Size::Cut(limit) }
        }
        _ if len <= mtu => Size::Fits,
        //= conformance FRAG-04, FRAG-07, MSS-09
        (Family::V4, Family::V6) => {
            let growth = if meta.is_whole() { 20 } else { 28 };
            Size::TooBig(IcmpMessage::fragmentation_needed(mtu.saturating_sub(growth)))
        }
        //= conformance FRAG-12, FRAG-14
        (Family::V6, _) if meta.fragment != Fragment::No || usize::from(len) <= DF_THRESHOLD => {
            Size::Cut(mtu)
        }
        //= conformance FRAG-13, MSS-09
        (Family::V6, _) => {
            Size::TooBig(IcmpMessage::packet_too_big(u32::from(mtu).saturating_add(20).max(1280)))
        }
        //= conformance FRAG-34, FRAG-35
        (Family::V4, Family::V4) if meta.dont_fragment => {
            Size::TooBig(IcmpMessage::fragmentation_needed(mtu))
        }
        (Family::V4, Family::V4) => Size::Cut(mtu),
    }
}

/// The next hop that a session has cached, if it is of the present FIB generation.
#[inline(always)]
pub(super) fn cached_route(
    session: &Session,
    direction: Direction,
    generation: u16,
) -> Option<AdjacencyIndex> {
    let route = session.route();
    let cached = match direction {
        Direction::Outbound => route.outbound,
        Direction::Inbound => route.inbound,
    };
    let valid = route.fib_generation == generation && cached != AdjacencyIndex::NONE.0;
    valid.then_some(AdjacencyIndex(cached))
}

/// Caches a next hop in a session.
pub(super) fn cache_route(
    session: &Session,
    direction: Direction,
    adjacency: AdjacencyIndex,
    generation: u16,
) {
    let mut route = session.route();
    if route.fib_generation != generation {
        route.outbound = AdjacencyIndex::NONE.0;
        route.inbound = AdjacencyIndex::NONE.0;
        route.fib_generation = generation;
    }
    match direction {
        Direction::Outbound => route.outbound = adjacency.0,
        Direction::Inbound => route.inbound = adjacency.0,
    }
    session.set_route(route);
}

/// What an outbound packet of a session becomes.
#[inline(always)]
pub(super) fn rewrite_outbound(nat: &Config, leases: &mut Leases, meta: &Meta, fixed: &Fixed) -> Rewrite {
    let to = Endpoints {
        source: u128::from(fixed.external),
        destination: u128::from(fixed.remote),
        source_port: fixed.external_port,
        destination_port: port_or_identifier(meta, fixed.remote_port, fixed.external_port),
    };
    // The session's delta belongs to one form of the remote address in all 128 bits: bits behind the embedded address are
    // ignored on input (ADDR-10), and make another checksum.
    let exact = meta.family == Family::V4 || remote_inside(nat, fixed) == Some(meta.destination);
    let delta = if exact {
        Delta::from_raw(fixed.delta)
    } else {
        transport_delta(meta.transport, &Endpoints::of(meta), &to)
    };
    // A fragment has its identification from where its datagram was put together; what is no fragment and cannot become one
    // needs none.
    //= conformance FRAG-31, FRAG-33, N44-30
    let identification = match meta.family {
        Family::V4 if meta.dont_fragment || !meta.is_whole() => meta.identification as u16,
        _ => leases.next(fixed.external, fixed.remote, meta.protocol),
    };
    Rewrite { to, delta, identification, decrement: true, allow_zero: false }
}

/// What an inbound packet of a session becomes. `None` if the configuration has its prefix no longer.
#[inline(always)]
pub(super) fn rewrite_inbound(nat: &Config, meta: &Meta, fixed: &Fixed, decrement: bool) -> Option<Rewrite> {
    let to = Endpoints {
        source: remote_inside(nat, fixed)?,
        destination: fixed.inside,
        source_port: port_or_identifier(meta, fixed.remote_port, fixed.inside_port),
        destination_port: fixed.inside_port,
    };
    // Nobody else sends from the remote address: its identifications stay unique.
    let identification = meta.identification as u16;
    let delta = Delta::from_raw(fixed.delta).inverse();
    Some(Rewrite { to, delta, identification, decrement, allow_zero: false })
}

/// Translates a frame to a family.
#[inline(always)]
pub(super) fn translate(
    frame: &mut Frame<'_>,
    meta: &Meta,
    to: Family,
    rewrite: &Rewrite,
) -> Result<Meta, DropReason> {
    match (meta.family, to) {
        (Family::V6, _) => six_to_four(frame, meta, rewrite),
        (Family::V4, Family::V6) => four_to_six(frame, meta, rewrite),
        (Family::V4, Family::V4) => four_to_four(frame, meta, rewrite),
    }
}

/// As [`translate`], once for all who are in no hurry.
#[inline(never)]
fn translate_any(
    frame: &mut Frame<'_>,
    meta: &Meta,
    to: Family,
    rewrite: &Rewrite,
) -> Result<Meta, DropReason> {
    translate(frame, meta, to, rewrite)
}

/// The form of a session's remote address that the inside host sees.
#[inline(always)]
//= conformance ADDR-21
pub(super) fn remote_inside(nat: &Config, fixed: &Fixed) -> Option<u128> {
    match fixed.kind_realm.kind()? {
        Kind::Nat44 => Some(u128::from(fixed.remote)),
        Kind::Nat64 => nat.prefix64(fixed.prefix64).map(|prefix| prefix.embed(fixed.remote)),
    }
}

/// An echo's identifier stands in both ports of its endpoints.
#[inline(always)]
fn port_or_identifier(meta: &Meta, port: u16, identifier: u16) -> u16 {
    if meta.transport == Transport::IcmpQuery { identifier } else { port }
}

/// The family of a session's inside.
pub(super) fn inside_family(fixed: &Fixed) -> Family {
    family_of(fixed.kind_realm)
}

/// Family of the inside of a kind of translation.
#[inline(always)]
pub(super) fn family_of(kind_realm: KindRealm) -> Family {
    if kind_realm.kind() == Some(Kind::Nat64) { Family::V6 } else { Family::V4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWEST: u16 = 1280;

    fn packet(family: Family, header: u16, payload: u16, fragment: Fragment, dont_fragment: bool) -> Meta {
        let (l4, end) = (14 + header, 14 + header + payload);
        Meta { l4, end, fragment, dont_fragment, ..Meta::blank(family, 14) }
    }

    fn v4(len: u16, fragment: Fragment, dont_fragment: bool) -> Meta {
        packet(Family::V4, 20, len - 20, fragment, dont_fragment)
    }

    fn v6(len: u16) -> Meta {
        packet(Family::V6, 40, len - 40, Fragment::No, false)
    }

    //= conformance FRAG-01, FRAG-02, FRAG-04, FRAG-07, FRAG-38, MSS-09, XLT-49
    #[test]
    fn what_ipv6_hosts_get_is_no_larger_than_they_take() {
        let needed = |mtu| Size::TooBig(IcmpMessage::fragmentation_needed(mtu));
        for (name, meta, mtu, lowest, expected) in [
            ("small", v4(100, Fragment::No, false), 1500, LOWEST, Size::Fits),
            ("the largest that IPv6 takes", v4(1260, Fragment::No, false), 1500, LOWEST, Size::Fits),
            ("one more", v4(1261, Fragment::No, false), 1500, LOWEST, Size::Cut(1280)),
            ("large, where more is taken", v4(1480, Fragment::No, false), 1500, 1500, Size::Fits),
            (
                "large, where the link is the limit",
                v4(1500, Fragment::No, false),
                1400,
                1500,
                Size::Cut(1400),
            ),
            ("not to be cut", v4(1480, Fragment::No, true), 1500, LOWEST, Size::Fits),
            ("not to be cut, too large", v4(1500, Fragment::No, true), 1500, LOWEST, needed(1480)),
            ("a fragment", v4(1252, Fragment::First, false), 1500, LOWEST, Size::Fits),
            ("a large fragment", v4(1500, Fragment::Later, false), 1500, LOWEST, Size::Cut(1280)),
            ("a fragment grows by 28 bytes", v4(1480, Fragment::First, true), 1500, LOWEST, needed(1472)),
        ] {
            assert_eq!(size(&meta, Family::V6, mtu, lowest), expected, "{name}");
        }
    }

    //= conformance FRAG-12, FRAG-13, FRAG-14, MSS-09, XLT-49
    #[test]
    fn what_ipv4_links_get_is_cut_if_it_was_small_for_ipv6() {
        let big = |mtu| Size::TooBig(IcmpMessage::packet_too_big(mtu));
        let fragment = packet(Family::V6, 48, 1452, Fragment::Later, false);
        let atomic = packet(Family::V6, 48, 1452, Fragment::Atomic, false);
        for (name, meta, mtu, expected) in [
            ("fits", v6(1500), 1500, Size::Fits),
            ("no larger than 1280", v6(1280), 1000, Size::Cut(1000)),
            ("larger", v6(1500), 1400, big(1420)),
            ("larger, and the link is very small", v6(1500), 1000, big(1280)),
            ("a fragment", fragment, 1400, Size::Cut(1400)),
            ("an atomic fragment may be cut", atomic, 1400, Size::Cut(1400)),
        ] {
            assert_eq!(size(&meta, Family::V4, mtu, LOWEST), expected, "{name}");
        }
    }

    //= conformance FRAG-34, FRAG-35
    #[test]
    fn nat44_cuts_what_may_be_cut() {
        let needed = Size::TooBig(IcmpMessage::fragmentation_needed(1400));
        assert_eq!(size(&v4(1500, Fragment::No, true), Family::V4, 1400, LOWEST), needed);
        assert_eq!(size(&v4(1500, Fragment::No, false), Family::V4, 1400, LOWEST), Size::Cut(1400));
        assert_eq!(size(&v4(1400, Fragment::No, false), Family::V4, 1400, LOWEST), Size::Fits);
    }
}
