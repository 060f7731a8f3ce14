//! Packets of flows: established ones by their session, new ones through the miss pipeline.

use sluice_nat::shared::ExternalOwner;
use sluice_nat::{Direction, Engine, Fixed, Flow, InboundTuple, OutboundTuple, Protocol, SessionIndex, Tick};
use sluice_packet::{DropReason, Family, IcmpMessage, PuntReason};
use sluice_shm::{Counter, Stage as TraceStage};

use super::Worker;
use super::batch::Packet;
use super::events::Sink;
use super::stored_syn::is_syn;
use crate::nexthop::AdjacencyIndex;
use crate::parcel::Stage;

impl Worker {
    /// A packet from inside.
    #[inline]
    pub(super) fn outbound(&mut self, packet: Packet, tuple: &OutboundTuple, session: SessionIndex) {
        self.mark(&packet, TraceStage::LookupOutbound, session.0);
        match self.established(&packet, session, Direction::Outbound) {
            Ok(fixed) => self.forward_outbound(packet, session, &fixed),
            Err(None) => self.new_outbound(packet, tuple),
            Err(Some(reason)) => self.drop_packet(packet, reason),
        }
    }

    /// A packet to an external address.
    #[inline]
    pub(super) fn inbound(&mut self, packet: Packet, tuple: &InboundTuple, session: SessionIndex) {
        self.mark(&packet, TraceStage::LookupInbound, session.0);
        match self.established(&packet, session, Direction::Inbound) {
            Ok(fixed) => self.forward_inbound(packet, session, &fixed),
            Err(None) => self.new_inbound(packet, tuple),
            Err(Some(reason)) => self.drop_packet(packet, reason),
        }
    }

    /// Shows a packet to the session that was found for it. Without a reason in the error, it may begin a new flow.
    #[inline]
    fn established(
        &mut self,
        packet: &Packet,
        session: SessionIndex,
        direction: Direction,
    ) -> Result<Fixed, Option<DropReason>> {
        if !session.is_some() {
            return Err(None);
        }
        match self.engine.established(session, direction, packet.meta.tcp_flags, self.now) {
            Ok(()) => {
                self.tally.established += u64::from(self.retrying.is_none());
                self.mark(packet, TraceStage::Established, session.0);
                Ok(self.engine.session(session).fixed())
            }
            // Gone since the batch was looked up, or with its rule: what comes now is a new flow.
            Err(DropReason::NoRule | DropReason::NoBinding) => Err(None),
            //= conformance N64-TCP-36
            Err(reason) => Err(Some(reason)),
        }
    }

    /// First packet of a flow from inside, or of one that another worker owns.
    #[cold]
    fn new_outbound(&mut self, packet: Packet, tuple: &OutboundTuple) {
        let owner = self.shared.subscriber_worker(&self.setup.nat, tuple.kind_realm, tuple.inside);
        self.mark(&packet, TraceStage::Steer, u32::from(owner.0));
        if owner != self.id {
            return self.hand_off(packet, owner.0, Stage::Enter);
        }
        let (interface, flags) = (packet.interface, packet.meta.tcp_flags);
        let make = |engine: &mut Engine, now, sink: &mut Sink<'_>| {
            engine.new_outbound(tuple, interface, flags, now, sink)
        };
        match self.create(&packet, make) {
            Ok(flow) => {
                self.meet_stored_syn(&flow);
                self.forward_outbound(packet, flow.session, &flow.fixed);
            }
            //= conformance N44-27
            Err(reason) => match refusal(reason, packet.meta.family) {
                Some(message) => self.refuse(packet, reason, message),
                None => {
                    if reason == DropReason::TcpNoSession && self.setup.unsolicited.reset_inside {
                        self.reset(&packet);
                    }
                    self.drop_packet(packet, reason);
                }
            },
        }
    }

    /// First packet of a flow from outside, or of one that another worker owns.
    #[cold]
    fn new_inbound(&mut self, packet: Packet, tuple: &InboundTuple) {
        let owner =
            self.shared.external_owner(&self.setup.nat, tuple.protocol, tuple.external, tuple.external_port);
        let local = !packet.hairpinned && self.setup.is_local_v4(tuple.external);
        match owner {
            ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) => {
                self.mark(&packet, TraceStage::Steer, u32::from(worker.0));
                if worker != self.id {
                    return self.hand_off(packet, worker.0, Stage::Enter);
                }
            }
            ExternalOwner::Kernel | ExternalOwner::NotExternal | ExternalOwner::Free if local => {
                return self.punt(packet, PuntReason::PoolLocal);
            }
            ExternalOwner::Kernel | ExternalOwner::NotExternal | ExternalOwner::Free => {
                let reason = unsolicited(&packet);
                return self.turn_away(packet, tuple, reason);
            }
        }
        let flags = packet.meta.tcp_flags;
        let make =
            |engine: &mut Engine, now, sink: &mut Sink<'_>| engine.new_inbound(tuple, flags, now, sink);
        match self.create(&packet, make) {
            Ok(flow) => self.forward_inbound(packet, flow.session, &flow.fixed),
            Err(DropReason::NoBinding | DropReason::UnsolicitedSyn | DropReason::TcpNoSession) if local => {
                self.punt(packet, PuntReason::PoolLocal);
            }
            //= conformance HAIR-04
            Err(DropReason::NoBinding) if packet.hairpinned => {
                self.turn_away(packet, tuple, DropReason::HairpinNoBinding);
            }
            Err(reason) => self.turn_away(packet, tuple, reason),
        }
    }

    /// A packet from outside that nobody inside has asked for: silence, unless the configuration says otherwise.
    //= conformance N64-TCP-40
    fn turn_away(&mut self, packet: Packet, tuple: &InboundTuple, reason: DropReason) {
        let syn = matches!(reason, DropReason::UnsolicitedSyn | DropReason::Filtered) && is_syn(&packet.meta);
        match rejection(reason, tuple.protocol) {
            _ if syn && self.setup.unsolicited.hold_syns => self.store_syn(packet, tuple, reason),
            Some(message) if self.setup.unsolicited.reject => self.refuse(packet, reason, message),
            _ => self.drop_packet(packet, reason),
        }
    }

    /// Has the engine make a flow, within the loop's budget for new ones, and counts it.
    fn create(
        &mut self,
        packet: &Packet,
        make: impl FnOnce(&mut Engine, Tick, &mut Sink<'_>) -> Result<Flow, DropReason>,
    ) -> Result<Flow, DropReason> {
        if self.misses_left == 0 {
            return Err(DropReason::MissBudget);
        }
        self.misses_left -= 1;
        let before = self.engine.stats().sessions;
        let mut probes = std::mem::take(&mut self.scratch.probes);
        let made =
            make(&mut self.engine, self.now, &mut Sink::new(&mut self.sight, &mut probes, self.began_ns));
        self.scratch.probes = probes;
        let flow = made?;
        self.begin(packet, &flow, before);
        Ok(flow)
    }

    /// Counts a new session and clears its route cache, which its first packet fills. `before` is how many sessions there
    /// were: an earlier packet of the batch may have made this one.
    fn begin(&mut self, packet: &Packet, flow: &Flow, before: u32) {
        if flow.session.is_some() && self.engine.stats().sessions == before {
            self.tally.established += 1;
        } else if flow.session.is_some() {
            self.sight.counters.add(Counter::SessionsCreated, 1);
            let session = self.engine.session(flow.session);
            let mut route = session.route();
            route.outbound = AdjacencyIndex::NONE.0;
            route.inbound = AdjacencyIndex::NONE.0;
            session.set_route(route);
        } else if self.retrying.is_none() {
            self.sight.counters.add(Counter::Stateless, 1);
        }
        self.mark(packet, TraceStage::NewSession, flow.session.0);
    }
}

/// The reason of an inbound packet to a port that nobody has.
fn unsolicited(packet: &Packet) -> DropReason {
    if is_syn(&packet.meta) {
        DropReason::UnsolicitedSyn
    } else if packet.hairpinned {
        DropReason::HairpinNoBinding
    } else if packet.meta.protocol == 6 {
        DropReason::TcpNoSession
    } else {
        DropReason::NoBinding
    }
}

/// What the sender of a packet that nobody asked for may be told. Nothing for TCP: a SYN gets no answer for six seconds.
//= conformance N64-UDP-09, N64-UDP-12, N64-ICMP-06, N64-ICMP-07, HAIR-04
fn rejection(reason: DropReason, protocol: Protocol) -> Option<IcmpMessage> {
    match (reason, protocol) {
        (_, Protocol::Tcp) => None,
        (DropReason::NoBinding | DropReason::HairpinNoBinding, Protocol::Udp) => {
            Some(IcmpMessage::v4_port_unreachable())
        }
        (DropReason::NoBinding | DropReason::HairpinNoBinding, Protocol::Icmp) => {
            Some(IcmpMessage::v4_host_unreachable())
        }
        (DropReason::Filtered, _) => Some(IcmpMessage::v4_admin()),
        _ => None,
    }
}

/// What the inside host is told when it is refused a session for want of resources (LIM-06, LIM-07).
//= conformance LIM-06, LIM-07, ICMP-100, N64-UDP-13, N64-TCP-43, N64-ICMP-13
fn refusal(reason: DropReason, family: Family) -> Option<IcmpMessage> {
    match reason {
        DropReason::SessionTableFull
        | DropReason::BindingTableFull
        | DropReason::PoolExhausted
        | DropReason::SubscriberSessions
        | DropReason::SubscriberPorts
        | DropReason::SubscriberMappings
        | DropReason::SubscriberRate
        | DropReason::SubscriberTableFull => Some(match family {
            Family::V6 => IcmpMessage::v6_address_unreachable(),
            Family::V4 => IcmpMessage::v4_host_unreachable(),
        }),
        //= conformance ICMP-101
        DropReason::NoRule => Some(match family {
            Family::V6 => IcmpMessage::v6_admin(),
            Family::V4 => IcmpMessage::v4_admin(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= conformance LIM-06, LIM-07, ICMP-100, ICMP-101
    #[test]
    fn resources_and_policy_are_told_apart_in_each_family() {
        let resources = [
            DropReason::SessionTableFull,
            DropReason::BindingTableFull,
            DropReason::PoolExhausted,
            DropReason::SubscriberSessions,
            DropReason::SubscriberPorts,
            DropReason::SubscriberRate,
            DropReason::SubscriberMappings,
            DropReason::SubscriberTableFull,
        ];
        let told = |reason, family| refusal(reason, family).map(|message| (message.kind, message.code));
        for reason in resources {
            assert_eq!(told(reason, Family::V6), Some((1, 3)), "{reason}");
            assert_eq!(told(reason, Family::V4), Some((3, 1)), "{reason}");
        }
        assert_eq!(told(DropReason::NoRule, Family::V6), Some((1, 1)));
        assert_eq!(told(DropReason::NoRule, Family::V4), Some((3, 13)));
        // Of strangers, of what is damaged, and of what the worker had no time for, nobody hears.
        for reason in DropReason::ALL.iter().filter(|reason| !resources.contains(reason)) {
            assert!(*reason == DropReason::NoRule || refusal(*reason, Family::V4).is_none(), "{reason}");
        }
    }

    //= conformance N64-UDP-09, N64-UDP-12, N64-ICMP-06, N64-ICMP-07
    #[test]
    fn what_nobody_asked_for_is_rejected_by_what_was_wrong_with_it() {
        use DropReason::{Filtered, HairpinNoBinding, MissBudget, NoBinding, TcpNoSession, UnsolicitedSyn};
        let said = |reason, protocol| rejection(reason, protocol).map(|it| (it.kind, it.code));
        for reason in [NoBinding, HairpinNoBinding] {
            assert_eq!(said(reason, Protocol::Udp), Some((3, 3)));
            assert_eq!(said(reason, Protocol::Icmp), Some((3, 1)));
        }
        for protocol in [Protocol::Udp, Protocol::Icmp] {
            assert_eq!(said(Filtered, protocol), Some((3, 13)));
            assert_eq!(said(MissBudget, protocol), None);
        }
        for reason in [NoBinding, Filtered, UnsolicitedSyn, TcpNoSession] {
            assert_eq!(said(reason, Protocol::Tcp), None);
        }
    }
}
