//! Translation of ICMP errors about packets of sessions. They never make, refresh or end a session (ICMP-77).

use std::hash::{BuildHasher, RandomState};

use sluice_nat::config::Outbound;
use sluice_nat::shared::ExternalOwner;
use sluice_nat::{InboundTuple, Kind, KindRealm, OutboundTuple, Protocol, SessionIndex, WorkerId};
use sluice_packet::{
    DropReason, Endpoints, ErrorRewrite, Family, PuntReason, Quoted, Transport, icmp_error, is_global_v4,
};
use sluice_shm::Stage as TraceStage;

use super::Worker;
use super::batch::Packet;
use super::forward::{inside_family, remote_inside};
use super::resolve::Resolved;
use crate::parcel::Stage;

/// Random numbers for what is rare: a keyed hash of how many there were.
pub(super) struct Lots {
    key: RandomState,
    drawn: u64,
}

impl Lots {
    pub(super) fn new() -> Self {
        Self { key: RandomState::new(), drawn: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.key.hash_one(self.drawn)
    }
}

/// The protocol of a quoted packet, if it is one that is translated.
fn protocol(quoted: &Quoted) -> Option<Protocol> {
    match quoted.transport {
        Transport::Tcp => Some(Protocol::Tcp),
        Transport::Udp => Some(Protocol::Udp),
        Transport::IcmpQuery => Some(Protocol::Icmp),
        Transport::IcmpError | Transport::IcmpOther | Transport::Other => None,
    }
}

impl Worker {
    /// An error from inside, about a packet that came from outside.
    #[cold]
    pub(super) fn outbound_error(&mut self, packet: Packet) {
        let quoted = match self.quoted(&packet) {
            Ok(quoted) => quoted,
            Err(reason) => return self.drop_packet(packet, reason),
        };
        // The quoted packet went the other way: its destination is the inside host, its source the remote one.
        let Some((tuple, owner)) = self.quoted_outbound(&quoted, packet.interface) else {
            return self.drop_packet(packet, DropReason::IcmpNoSession);
        };
        let session = self.find_one_outbound(&tuple);
        self.mark(&packet, TraceStage::LookupOutbound, session.0);
        if !session.is_some() {
            return if owner == self.id {
                //= conformance ICMP-76, N44-15
                self.drop_packet(packet, DropReason::IcmpNoSession)
            } else {
                self.hand_off(packet, owner.0, Stage::Enter)
            };
        }
        let fixed = self.engine.session(session).fixed();
        // The host itself has a mapping; a router has none, and may have an address of a pool of its own (RFC 6791).
        //= conformance ICMP-93, ICMP-94
        let router = packet.meta.family == Family::V6 && packet.meta.source != fixed.inside;
        let (outer_source, origin) = match self.setup.icmp_source(|| self.lots.draw()) {
            Some(address) if router => (address, Some(packet.meta.source)),
            _ => (fixed.external, None),
        };
        //= conformance ICMP-96
        let rewrite = ErrorRewrite {
            outer_source: u128::from(outer_source),
            outer_destination: u128::from(fixed.remote),
            quoted: Endpoints {
                source: u128::from(fixed.remote),
                destination: u128::from(fixed.external),
                source_port: icmp_or(&quoted, fixed.remote_port, fixed.external_port),
                destination_port: fixed.external_port,
            },
            mtu_v4: 0,
            mtu_v6: 0,
            decrement: true,
            origin,
        };
        self.forward_error(packet, session, rewrite, Family::V4);
    }

    /// An error from outside, about a packet that came from inside.
    #[cold]
    pub(super) fn inbound_error(&mut self, packet: Packet) {
        let local = !packet.hairpinned && self.setup.is_local_v4(packet.meta.destination as u32);
        let quoted = match self.quoted(&packet) {
            Ok(quoted) => quoted,
            Err(_) if local => return self.punt(packet, PuntReason::PoolLocal),
            Err(reason) => return self.drop_packet(packet, reason),
        };
        let Some(protocol) = protocol(&quoted) else {
            return if local {
                self.punt(packet, PuntReason::PoolLocal)
            } else {
                self.drop_packet(packet, DropReason::IcmpNoSession)
            };
        };
        let tuple = InboundTuple {
            protocol,
            external: quoted.source as u32,
            external_port: quoted.source_port,
            remote: quoted.destination as u32,
            remote_port: if protocol == Protocol::Icmp { 0 } else { quoted.destination_port },
        };
        let session = self.find_one_inbound(&tuple);
        self.mark(&packet, TraceStage::LookupInbound, session.0);
        if !session.is_some() {
            let owner =
                self.shared.external_owner(&self.setup.nat, protocol, tuple.external, tuple.external_port);
            return match owner {
                ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) if worker != self.id => {
                    self.hand_off(packet, worker.0, Stage::Enter)
                }
                _ if local => self.punt(packet, PuntReason::PoolLocal),
                _ => self.drop_packet(packet, DropReason::IcmpNoSession),
            };
        }
        let fixed = self.engine.session(session).fixed();
        let Some(remote) = remote_inside(&self.setup.nat, &fixed) else {
            return self.drop_packet(packet, DropReason::NoRule);
        };
        let router = packet.meta.source as u32;
        //= conformance ICMP-92
        let outer_source = match fixed.kind_realm.kind() {
            Some(Kind::Nat64) => match self.setup.nat.prefix64(fixed.prefix64) {
                //= conformance ADDR-13
                Some(prefix) if prefix.is_well_known() && !is_global_v4(router) => {
                    return self.drop_packet(packet, DropReason::WellKnownPrefixNonGlobal);
                }
                Some(prefix) => prefix.embed(router),
                None => return self.drop_packet(packet, DropReason::NoRule),
            },
            _ => u128::from(router),
        };
        let rewrite = ErrorRewrite {
            outer_source,
            outer_destination: fixed.inside,
            quoted: Endpoints {
                source: fixed.inside,
                destination: remote,
                source_port: fixed.inside_port,
                destination_port: icmp_or(&quoted, fixed.remote_port, fixed.inside_port),
            },
            mtu_v4: 0,
            mtu_v6: 0,
            decrement: !packet.hairpinned,
            origin: None,
        };
        let family = inside_family(&fixed);
        self.forward_error(packet, session, rewrite, family);
    }

    /// Routes, translates and sends.
    //= conformance ICMP-77, MAP-11, N64-TCP-45, N64-UDP-15
    fn forward_error(
        &mut self,
        mut packet: Packet,
        session: SessionIndex,
        mut rewrite: ErrorRewrite,
        to: Family,
    ) {
        if packet.meta.hop_limit <= 1 && !packet.hairpinned {
            return self.drop_packet(packet, DropReason::HopLimitExceeded);
        }
        let meta = self.remarked(&packet, to);
        let hairpin = !packet.hairpinned
            && to == Family::V4
            && self.setup.nat.is_external(rewrite.outer_destination as u32);
        let adjacency = if hairpin {
            None
        } else {
            match self.route(to, rewrite.outer_destination) {
                Resolved::Adjacency(adjacency) => Some(adjacency),
                Resolved::Local => return self.drop_packet(packet, DropReason::NoRoute),
                Resolved::Unresolved => return self.hold(packet),
                Resolved::Drop(reason) => return self.drop_packet(packet, reason),
            }
        };
        // ICMP-14 and ICMP-51 ask for the MTU of both next hops: where the error comes from, where it goes.
        let arrival = self.setup.interface(packet.interface).map_or(1500, |interface| interface.mtu);
        let departure = adjacency.map_or(u16::MAX, |adjacency| self.mtu(adjacency));
        (rewrite.mtu_v4, rewrite.mtu_v6) =
            if meta.family == Family::V4 { (arrival, departure) } else { (departure, arrival) };
        let done = packet.mbuf.with_frame(|frame| match (meta.family, to) {
            (Family::V6, _) => icmp_error::error_six_to_four(frame, &meta, &rewrite),
            (Family::V4, Family::V6) => icmp_error::error_four_to_six(frame, &meta, &rewrite),
            (Family::V4, Family::V4) => icmp_error::error_four_to_four(frame, &meta, &rewrite),
        });
        match done {
            Ok(meta) => packet.meta = meta,
            Err(reason) => return self.drop_packet(packet, reason),
        }
        self.mark(&packet, TraceStage::IcmpError, session.0);
        match adjacency {
            Some(adjacency) => self.transmit(packet, adjacency),
            //= conformance HAIR-05
            None => self.hairpin(packet),
        }
    }

    /// Whether an ICMP error that is on its way out quotes a packet of a translated flow.
    pub(super) fn reports_on_flow(&self, packet: &Packet) -> bool {
        packet.meta.transport == Transport::IcmpError
            && self
                .quoted(packet)
                .is_ok_and(|quoted| self.quoted_outbound(&quoted, packet.interface).is_some())
    }

    /// The packet that an ICMP error quotes.
    //= conformance ICMP-79
    fn quoted(&self, packet: &Packet) -> Result<Quoted, DropReason> {
        icmp_error::quoted(packet.mbuf.data(), &packet.meta, !self.setup.checksums.ignore_quoted)
    }

    /// The tuple of the session that a packet quoted from inside belongs to, and the worker that owns it.
    //= conformance ICMP-97
    fn quoted_outbound(&self, quoted: &Quoted, interface: u16) -> Option<(OutboundTuple, WorkerId)> {
        let protocol = protocol(quoted)?;
        let (inside, remote) = (quoted.destination, quoted.source);
        let class = match quoted.family {
            Family::V6 => self.setup.nat.outbound_v6(inside, remote, interface),
            Family::V4 => self.setup.nat.outbound_v4(inside as u32, remote as u32, interface),
        };
        let Outbound::Translate { kind_realm, prefix64, remote } = class else { return None };
        let tuple = OutboundTuple {
            kind_realm,
            protocol,
            inside,
            inside_port: quoted.destination_port,
            remote,
            remote_port: if protocol == Protocol::Icmp { 0 } else { quoted.source_port },
            prefix64,
        };
        Some((tuple, self.subscriber(kind_realm, inside)))
    }

    fn subscriber(&self, kind_realm: KindRealm, inside: u128) -> WorkerId {
        self.shared.subscriber_worker(&self.setup.nat, kind_realm, inside)
    }
}

/// A quoted echo has its identifier in both ports.
fn icmp_or(quoted: &Quoted, port: u16, identifier: u16) -> u16 {
    if quoted.transport == Transport::IcmpQuery { identifier } else { port }
}
