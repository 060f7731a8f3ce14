//! Forwarding of a packet whose session is known: route, size, translation, and out.

use sluice_nat::{Config, Direction, Fixed, Kind, KindRealm, Session, SessionIndex};
use sluice_packet::{
    Delta, DropReason, Endpoints, Family, Frame, IcmpMessage, Meta, Rewrite, Transport, four_to_four,
    four_to_six, six_to_four, translated_len, transport_delta,
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
        if let Some(adjacency) = adjacency
            && let Err(too_big) = self.fits(&packet, Family::V4, adjacency)
        {
            return self.too_big(packet, too_big);
        }
        let meta = self.remarked(&packet, Family::V4);
        let rewrite = rewrite_outbound(&self.setup.nat, &mut self.leases, &meta, fixed);
        self.clamp_flow(&mut packet, fixed, adjacency);
        match packet.mbuf.with_frame(|frame| translate_any(frame, &meta, Family::V4, &rewrite)) {
            Ok(meta) => packet.meta = meta,
            Err(reason) => return self.drop_packet(packet, reason),
        }
        self.mark(&packet, TraceStage::Translate, u32::from(fixed.rule));
        match adjacency {
            Some(adjacency) => self.transmit(packet, adjacency),
            None => self.hairpin(packet),
        }
    }

    /// From outside: destination becomes the inside address and port.
    pub(super) fn forward_inbound(&mut self, mut packet: Packet, session: SessionIndex, fixed: &Fixed) {
        // The box answers packets to its own addresses with any hop limit; those of sessions are forwarded.
        if packet.meta.hop_limit <= 1 && !packet.hairpinned {
            return self.refuse(packet, DropReason::HopLimitExceeded, IcmpMessage::v4_ttl());
        }
        let adjacency = match self.session_route(&packet, session, fixed, Direction::Inbound) {
            Ok(adjacency) => adjacency,
            Err(DropReason::NeighbourUnresolved) => return self.hold(packet),
            Err(reason) => return self.unroutable(packet, reason),
        };
        let family = inside_family(fixed);
        if let Err(too_big) = self.fits(&packet, family, adjacency) {
            return self.too_big(packet, too_big);
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
        self.transmit(packet, adjacency);
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

    /// To an external address of our own: the packet comes in again as if from outside (HAIR-01, HAIR-09), with its hop
    /// limit decremented once (HAIR-07).
    pub(super) fn hairpin(&mut self, mut packet: Packet) {
        //= conformance HAIR-08
        if packet.hairpinned {
            return self.drop_packet(packet, DropReason::HairpinNoBinding);
        }
        self.sight.counters.add(Counter::Hairpins, 1);
        self.mark(&packet, TraceStage::Hairpin, 0);
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

    /// Whether the packet, once it is of the family, fits the next hop's link; else what to tell the sender.
    fn fits(&self, packet: &Packet, to: Family, adjacency: AdjacencyIndex) -> Result<(), IcmpMessage> {
        let mtu = self.mtu(adjacency);
        let meta = &packet.meta;
        if translated_len(meta, to) <= mtu {
            return Ok(());
        }
        Err(match (meta.family, to) {
            //= conformance FRAG-13
            (Family::V6, _) => IcmpMessage::packet_too_big(u32::from(mtu).saturating_add(20).max(1280)),
            // Without DF the packet should be fragmented (FRAG-01, FRAG-35), which this release does not do: its sender is
            // told all the same, rather than left with silence (XLT-49).
            //= conformance FRAG-04
            (Family::V4, Family::V6) => IcmpMessage::fragmentation_needed(mtu.saturating_sub(20)),
            (Family::V4, Family::V4) => IcmpMessage::fragmentation_needed(mtu),
        })
    }

    /// Drops a packet that does not fit, and tells its sender.
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
    let identification = match meta.family {
        Family::V6 => leases.next(fixed.external, fixed.remote, meta.protocol),
        Family::V4 => 0,
    };
    Rewrite { to, delta, identification, decrement: true }
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
    Some(Rewrite { to, delta: Delta::from_raw(fixed.delta).inverse(), identification: 0, decrement })
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
