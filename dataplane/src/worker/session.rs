//! Packets of flows: established ones by their session, new ones through the miss pipeline.

use sluice_nat::shared::ExternalOwner;
use sluice_nat::{Direction, Fixed, Flow, InboundTuple, OutboundTuple, SessionIndex};
use sluice_packet::{DropReason, Family, IcmpMessage, PuntReason};
use sluice_shm::{Counter, Stage as TraceStage};

use super::Worker;
use super::batch::Packet;
use super::events::Sink;
use crate::nexthop::AdjacencyIndex;
use crate::parcel::Stage;

impl Worker {
    /// A packet from inside.
    #[inline]
    pub(super) fn outbound(&mut self, packet: Packet, tuple: &OutboundTuple, session: SessionIndex) {
        self.mark(&packet, TraceStage::LookupOutbound, session.0);
        if session.is_some() {
            match self.engine.established(session, Direction::Outbound, packet.meta.tcp_flags, self.now) {
                Ok(()) => {
                    let fixed = self.engine.session(session).fixed();
                    self.tally.established += 1;
                    self.mark(&packet, TraceStage::Established, session.0);
                    return self.forward_outbound(packet, session, &fixed);
                }
                // Gone since the batch was looked up, or with its rule: what comes now is a new flow.
                Err(DropReason::NoRule | DropReason::NoBinding) => {}
                //= conformance N64-TCP-36
                Err(reason) => return self.drop_packet(packet, reason),
            }
        }
        self.new_outbound(packet, tuple);
    }

    /// A packet to an external address.
    #[inline]
    pub(super) fn inbound(&mut self, packet: Packet, tuple: &InboundTuple, session: SessionIndex) {
        self.mark(&packet, TraceStage::LookupInbound, session.0);
        if session.is_some() {
            match self.engine.established(session, Direction::Inbound, packet.meta.tcp_flags, self.now) {
                Ok(()) => {
                    let fixed = self.engine.session(session).fixed();
                    self.tally.established += 1;
                    self.mark(&packet, TraceStage::Established, session.0);
                    return self.forward_inbound(packet, session, &fixed);
                }
                Err(DropReason::NoRule | DropReason::NoBinding) => {}
                Err(reason) => return self.drop_packet(packet, reason),
            }
        }
        self.new_inbound(packet, tuple);
    }

    /// First packet of a flow from inside, or of one that another worker owns.
    #[cold]
    fn new_outbound(&mut self, packet: Packet, tuple: &OutboundTuple) {
        let owner = self.shared.subscriber_worker(&self.setup.nat, tuple.kind_realm, tuple.inside);
        self.mark(&packet, TraceStage::Steer, u32::from(owner.0));
        if owner != self.id {
            return self.hand_off(packet, owner.0, Stage::Enter);
        }
        if self.misses_left == 0 {
            return self.drop_packet(packet, DropReason::MissBudget);
        }
        self.misses_left -= 1;
        let sessions = self.engine.stats().sessions;
        let mut probes = std::mem::take(&mut self.scratch.probes);
        let made = self.engine.new_outbound(
            tuple,
            packet.interface,
            packet.meta.tcp_flags,
            self.now,
            &mut Sink::new(&mut self.sight, &mut probes),
        );
        self.scratch.probes = probes;
        match made {
            Ok(flow) => {
                self.begin(&packet, &flow, sessions);
                self.forward_outbound(packet, flow.session, &flow.fixed);
            }
            Err(reason) => match refusal(reason, packet.meta.family) {
                Some(message) => self.refuse(packet, reason, message),
                None => self.drop_packet(packet, reason),
            },
        }
    }

    /// First packet of a flow from outside, or of one that another worker owns.
    #[cold]
    fn new_inbound(&mut self, packet: Packet, tuple: &InboundTuple) {
        let owner =
            self.shared.external_owner(&self.setup.nat, tuple.protocol, tuple.external, tuple.external_port);
        let own = match owner {
            ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) => {
                self.mark(&packet, TraceStage::Steer, u32::from(worker.0));
                if worker != self.id {
                    return self.hand_off(packet, worker.0, Stage::Enter);
                }
                true
            }
            ExternalOwner::Kernel | ExternalOwner::NotExternal | ExternalOwner::Free => false,
        };
        let local = !packet.hairpinned && self.setup.is_local_v4(tuple.external);
        if !own {
            return if local {
                self.punt(packet, PuntReason::PoolLocal)
            } else {
                let reason = unsolicited(&packet);
                self.drop_packet(packet, reason)
            };
        }
        if self.misses_left == 0 {
            return self.drop_packet(packet, DropReason::MissBudget);
        }
        self.misses_left -= 1;
        let sessions = self.engine.stats().sessions;
        let mut probes = std::mem::take(&mut self.scratch.probes);
        let made = self.engine.new_inbound(
            tuple,
            packet.meta.tcp_flags,
            self.now,
            &mut Sink::new(&mut self.sight, &mut probes),
        );
        self.scratch.probes = probes;
        match made {
            Ok(flow) => {
                self.begin(&packet, &flow, sessions);
                self.forward_inbound(packet, flow.session, &flow.fixed);
            }
            Err(DropReason::NoBinding | DropReason::UnsolicitedSyn | DropReason::TcpNoSession) if local => {
                self.punt(packet, PuntReason::PoolLocal);
            }
            //= conformance HAIR-04
            Err(DropReason::NoBinding) if packet.hairpinned => {
                self.drop_packet(packet, DropReason::HairpinNoBinding);
            }
            Err(reason) => self.drop_packet(packet, reason),
        }
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
        } else {
            self.sight.counters.add(Counter::Stateless, 1);
        }
        self.mark(packet, TraceStage::NewSession, flow.session.0);
    }

    /// The form of the remote address that the inside host sees.
    pub(super) fn remote_inside(&self, fixed: &Fixed) -> Option<u128> {
        match fixed.kind_realm.kind()? {
            sluice_nat::Kind::Nat44 => Some(u128::from(fixed.remote)),
            sluice_nat::Kind::Nat64 => {
                self.setup.nat.prefix64(fixed.prefix64).map(|prefix| prefix.embed(fixed.remote))
            }
        }
    }
}

/// The reason of an inbound packet to a port that nobody has.
fn unsolicited(packet: &Packet) -> DropReason {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    if packet.hairpinned {
        DropReason::HairpinNoBinding
    } else if packet.meta.protocol == 6 && packet.meta.tcp_flags & (SYN | ACK) == SYN {
        DropReason::UnsolicitedSyn
    } else if packet.meta.protocol == 6 {
        DropReason::TcpNoSession
    } else {
        DropReason::NoBinding
    }
}

/// What the inside host is told when it is refused a session for want of resources (LIM-06, LIM-07).
fn refusal(reason: DropReason, family: Family) -> Option<IcmpMessage> {
    match reason {
        DropReason::SessionTableFull
        | DropReason::BindingTableFull
        | DropReason::PoolExhausted
        | DropReason::SubscriberSessions
        | DropReason::SubscriberPorts
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
