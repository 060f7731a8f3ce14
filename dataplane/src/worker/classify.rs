//! Classification: which way a parsed packet goes. Pure decision, nothing is changed here.

use sluice_nat::config::Outbound;
use sluice_nat::shared::ExternalOwner;
use sluice_nat::{InboundTuple, OutboundTuple, Protocol};
use sluice_packet::{
    DropReason, Family, Fragment, IcmpMessage, Meta, PuntReason, Transport, source_illegal_v4,
    source_illegal_v6,
};

use super::Worker;
use super::batch::Packet;

/// What a packet is to the gateway.
#[derive(Clone, Copy)]
pub(super) enum Class {
    /// A packet of a flow from inside to outside.
    Outbound(OutboundTuple),
    /// A packet to an external address.
    Inbound(InboundTuple),
    /// A fragment of which only the datagram is known, not the flow.
    Fragment {
        /// Outbound, whom it goes to.
        remote: Option<u32>,
    },
    /// An ICMP error from inside about a translated flow.
    OutboundError,
    /// An ICMP error to an external address.
    InboundError,
    /// To be routed as it is.
    Native,
    /// For the kernel.
    Punt(PuntReason),
    /// Not to go anywhere.
    Drop(DropReason),
    /// Not to go anywhere, and its sender is told.
    Report(DropReason, IcmpMessage),
}

impl Worker {
    /// Decides by destination, source and transport.
    #[inline]
    pub(super) fn classify(&self, packet: &Packet) -> Class {
        match packet.meta.family {
            Family::V6 => self.classify_v6(packet),
            Family::V4 => self.classify_v4(packet),
        }
    }

    fn classify_v6(&self, packet: &Packet) -> Class {
        let meta = &packet.meta;
        // Neighbour discovery, multicast listener reports and all that is link-local belong to the kernel.
        let multicast = meta.destination >> 120 == 0xff;
        let link_local = meta.destination >> 118 == 0xfe80 >> 6;
        //= conformance ICMP-43
        let ours = || self.is_local(meta) || self.answers_v6(packet.interface, meta.destination);
        if is_discovery(meta) && (multicast || link_local || ours()) {
            return Class::Punt(PuntReason::NeighbourDiscovery);
        }
        if multicast {
            return Class::Punt(PuntReason::Multicast);
        }
        if link_local {
            return Class::Punt(PuntReason::Local);
        }
        //= conformance XLT-19
        if source_illegal_v6(meta.source) {
            // A link-local host may speak to the box, and to nobody beyond.
            let speaks_to_box = meta.source >> 118 == 0xfe80 >> 6;
            return if speaks_to_box && self.is_local(meta) {
                Class::Punt(PuntReason::Local)
            } else {
                Class::Drop(DropReason::SourceIllegal)
            };
        }
        //= conformance XLT-43
        if packet.link.is_group() {
            return Class::Drop(DropReason::NotUnicast);
        }
        match self.setup.nat.outbound_v6(meta.source, meta.destination, packet.interface) {
            //= conformance XLT-01
            Outbound::Native => Class::Native,
            //= conformance ICMP-101
            Outbound::Drop(DropReason::NoRule) => Class::Report(DropReason::NoRule, IcmpMessage::v6_admin()),
            Outbound::Drop(reason) => Class::Drop(reason),
            Outbound::Translate { kind_realm, prefix64, remote } => {
                let inside = meta.source;
                let tuple = |protocol| OutboundTuple {
                    kind_realm,
                    protocol,
                    inside,
                    inside_port: meta.source_port,
                    remote,
                    remote_port: if protocol == Protocol::Icmp { 0 } else { meta.destination_port },
                    prefix64,
                };
                //= conformance XLT-04, XLT-44
                self.outbound_class(packet, tuple, IcmpMessage::v6_port_unreachable())
            }
        }
    }

    fn classify_v4(&self, packet: &Packet) -> Class {
        let meta = &packet.meta;
        let (source, destination) = (meta.source as u32, meta.destination as u32);
        if packet.link.is_group() || destination >> 28 == 0xe || destination == u32::MAX {
            return Class::Punt(PuntReason::Multicast);
        }
        //= conformance XLT-02
        let external = self.setup.nat.is_external(destination);
        if packet.hairpinned {
            return if external {
                self.classify_inbound(packet, source, destination)
            } else {
                Class::Drop(DropReason::HairpinNoBinding)
            };
        }
        // Of fragments only those of protocols without ports are nobody's, whatever the first one says.
        let told = !packet.is_loose() || meta.transport == Transport::Other;
        if external && told && self.setup.is_local_v4(destination) && self.is_nobodys(meta) {
            return Class::Punt(PuntReason::PoolLocal);
        }
        //= conformance XLT-26
        if source_illegal_v4(source) && !external {
            return Class::Drop(DropReason::SourceIllegal);
        }
        if self.setup.is_local_v4(destination) && !external {
            return Class::Native;
        }
        match self.setup.nat.outbound_v4(source, destination, packet.interface) {
            Outbound::Native if external => self.classify_inbound(packet, source, destination),
            // Nothing is forwarded to where nothing can be.
            Outbound::Native if matches!(destination >> 24, 0 | 127) || destination >> 28 == 0xf => {
                Class::Drop(DropReason::NotUnicast)
            }
            // A router inside, of an address that no rule serves, may report on a translated flow (N44-14).
            Outbound::Native if self.reports_on_flow(packet) => Class::OutboundError,
            Outbound::Native => Class::Native,
            // The box answers echo requests to its own addresses, a pool or not (ICMP-111).
            //= conformance ICMP-111
            Outbound::Translate { .. }
                if external
                    && !packet.is_loose()
                    && meta.icmp_type == 8
                    && meta.protocol == 1
                    && self.setup.is_local_v4(destination) =>
            {
                Class::Punt(PuntReason::PoolLocal)
            }
            // A router outside may have an address that is inside as well. What it reports on tells: a packet that we sent, not one
            // that was on its way to an inside host.
            //= conformance XLT-27
            Outbound::Translate { .. }
                if external && meta.transport == Transport::IcmpError && !self.reports_on_flow(packet) =>
            {
                self.classify_inbound(packet, source, destination)
            }
            Outbound::Drop(reason) => Class::Drop(reason),
            //= conformance HAIR-09
            // An inside host that sends to an external address is translated first, and comes in again as a hairpin.
            Outbound::Translate { kind_realm, prefix64, remote } => {
                let tuple = |protocol| OutboundTuple {
                    kind_realm,
                    protocol,
                    inside: meta.source,
                    inside_port: meta.source_port,
                    remote,
                    remote_port: if protocol == Protocol::Icmp { 0 } else { meta.destination_port },
                    prefix64,
                };
                //= conformance N44-26, N44-28
                self.outbound_class(packet, tuple, IcmpMessage::v4_protocol_unreachable())
            }
        }
    }

    /// Whether a packet to an external address that is the box's own too is for the box: no worker has the port.
    fn is_nobodys(&self, meta: &Meta) -> bool {
        let protocol = match meta.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            Transport::IcmpQuery => Protocol::Icmp,
            // An error is judged by what it quotes, anything else has no port.
            Transport::IcmpError => return false,
            Transport::IcmpOther | Transport::Other => return true,
        };
        let owner = self.shared.external_owner(
            &self.setup.nat,
            protocol,
            meta.destination as u32,
            meta.destination_port,
        );
        !matches!(owner, ExternalOwner::Worker(_) | ExternalOwner::Static(_))
    }

    /// A packet to an external address: of a session, of a binding, or for the box itself if it shares the address.
    fn classify_inbound(&self, packet: &Packet, source: u32, destination: u32) -> Class {
        let meta = &packet.meta;
        // Routers with private addresses are common and legal here; the sources refused are those that no router can have.
        //= conformance XLT-27
        if source_illegal_v4(source) {
            return Class::Drop(DropReason::SourceIllegal);
        }
        let tuple = |protocol| InboundTuple {
            protocol,
            external: destination,
            external_port: meta.destination_port,
            remote: source,
            remote_port: if protocol == Protocol::Icmp { 0 } else { meta.source_port },
        };
        if packet.is_loose() {
            let checked = if self.setup.is_local_v4(destination) { None } else { self.without_hop(packet) };
            return checked.unwrap_or_else(|| loose(meta, None, IcmpMessage::v4_protocol_unreachable()));
        }
        let class = match meta.transport {
            Transport::Tcp => Class::Inbound(tuple(Protocol::Tcp)),
            Transport::Udp => Class::Inbound(tuple(Protocol::Udp)),
            Transport::IcmpQuery => Class::Inbound(tuple(Protocol::Icmp)),
            Transport::IcmpError if meta.is_whole() => return Class::InboundError,
            Transport::IcmpError => return Class::Drop(DropReason::Fragment),
            Transport::IcmpOther => return Class::Drop(DropReason::IcmpUntranslatable),
            //= conformance ICMP-08
            Transport::Other if meta.protocol == 2 => return Class::Drop(DropReason::ProtocolUnsupported),
            //= conformance XLT-05
            Transport::Other => {
                return Class::Report(
                    DropReason::ProtocolUnsupported,
                    IcmpMessage::v4_protocol_unreachable(),
                );
            }
        };
        // The box answers for its own addresses whatever the hop limit; the check follows when there is a session.
        if self.setup.is_local_v4(destination) { class } else { self.with_hop_limit(packet, class) }
    }

    /// Common to both families: what can be mapped, what cannot, and what has no hop left.
    #[inline]
    fn outbound_class(
        &self,
        packet: &Packet,
        tuple: impl Fn(Protocol) -> OutboundTuple,
        unsupported: IcmpMessage,
    ) -> Class {
        let meta = &packet.meta;
        if packet.is_loose() {
            let remote = Some(tuple(Protocol::Udp).remote);
            return self.without_hop(packet).unwrap_or_else(|| loose(meta, remote, unsupported));
        }
        let class = match meta.transport {
            Transport::Tcp => Class::Outbound(tuple(Protocol::Tcp)),
            Transport::Udp => Class::Outbound(tuple(Protocol::Udp)),
            //= conformance N64-ICMP-01
            Transport::IcmpQuery => Class::Outbound(tuple(Protocol::Icmp)),
            Transport::IcmpError if meta.is_whole() => Class::OutboundError,
            Transport::IcmpError => return Class::Drop(DropReason::Fragment),
            Transport::IcmpOther => return Class::Drop(DropReason::IcmpUntranslatable),
            Transport::Other => return Class::Report(DropReason::ProtocolUnsupported, unsupported),
        };
        self.with_hop_limit(packet, class)
    }

    /// A packet with no hop left makes no session: its sender is told first (XLT-14, XLT-25, N44-05).
    #[inline]
    fn with_hop_limit(&self, packet: &Packet, class: Class) -> Class {
        self.without_hop(packet).unwrap_or(class)
    }

    /// What becomes of a packet that has no hop left.
    #[inline]
    fn without_hop(&self, packet: &Packet) -> Option<Class> {
        let over = packet.meta.hop_limit <= 1 && !packet.hairpinned;
        over.then(|| Class::Report(DropReason::HopLimitExceeded, hop_limit_message(packet.meta.family)))
    }

    /// Whether the destination is an address of the box.
    pub(super) fn is_local(&self, meta: &Meta) -> bool {
        use crate::nexthop::NextHop;
        match meta.family {
            Family::V4 => self.setup.is_local_v4(meta.destination as u32),
            Family::V6 => {
                self.setup.routes.fib6.lookup(meta.destination).map(NextHop::from_target)
                    == Some(NextHop::Local)
            }
        }
    }
}

/// What becomes of a fragment whose flow is not known yet. Errors do not come in pieces, and what has no ports has no flow.
#[cold]
fn loose(meta: &Meta, remote: Option<u32>, unsupported: IcmpMessage) -> Class {
    let first = meta.fragment == Fragment::First;
    match meta.transport {
        //= conformance FRAG-26
        Transport::IcmpError => Class::Drop(DropReason::Fragment),
        Transport::IcmpOther if first => Class::Drop(DropReason::IcmpUntranslatable),
        // IGMP hears nothing (ICMP-08).
        Transport::Other if meta.family == Family::V4 && meta.protocol == 2 => {
            Class::Drop(DropReason::ProtocolUnsupported)
        }
        Transport::Other => Class::Report(DropReason::ProtocolUnsupported, unsupported),
        Transport::Tcp | Transport::Udp | Transport::IcmpQuery | Transport::IcmpOther => {
            Class::Fragment { remote }
        }
    }
}

/// Whether a packet is neighbour or router discovery that came over one link only.
fn is_discovery(meta: &Meta) -> bool {
    let solicited = (133..=137).contains(&meta.icmp_type) && meta.hop_limit == 255;
    let listener = (130..=132).contains(&meta.icmp_type) || meta.icmp_type == 143;
    meta.transport == Transport::IcmpOther && (solicited || listener)
}

/// The error for a packet whose hop limit is used up.
pub(super) fn hop_limit_message(family: Family) -> IcmpMessage {
    match family {
        Family::V4 => IcmpMessage::v4_ttl(),
        Family::V6 => IcmpMessage::v6_hop_limit(),
    }
}
