//! Who is for the express lane: reads headers, and keeps what a look-up needs.

use sluice_dpdk::Mbuf;
use sluice_nat::config::Candidate;
use sluice_nat::{Engine, ExternalOwner, InboundTuple, OutboundTuple, Protocol, Shared, WorkerId};
use sluice_packet::{Family, Plain, ethernet, tcp};

use super::super::trace::{Seen, Tracer};
use super::{Lane, Way};
use crate::setup::{PortInterfaces, Setup};

/// Reads headers, and decides who is for the lane.
pub(super) struct Gate<'a> {
    pub(super) setup: &'a Setup,
    /// Of the port that the packets came from; none if they come from another worker, which has looked.
    pub(super) interfaces: Option<&'a PortInterfaces>,
    pub(super) engine: &'a Engine,
    pub(super) tracer: &'a Tracer,
}

impl Gate<'_> {
    #[inline(always)]
    pub(super) fn admits(&self, mbuf: &Mbuf, lane: &mut Lane) -> bool {
        if mbuf.segments() != 1 {
            return false;
        }
        let frame = mbuf.data();
        let Ok(link) = ethernet::link(frame) else { return false };
        if let Some(interfaces) = self.interfaces {
            // Who is for our own address is for no group.
            if interfaces.mac != link.destination {
                return false;
            }
            let Some(interface) = interfaces.of(link.vlan) else { return false };
            (lane.interface, lane.hops) = (interface, 0);
        }
        match link.ether_type {
            ethernet::IPV6 => self.admits_v6(frame, link.len, lane),
            ethernet::IPV4 => self.admits_v4(frame, link.len, lane),
            _ => false,
        }
    }

    #[inline(always)]
    fn admits_v6(&self, frame: &[u8], l3: u8, lane: &mut Lane) -> bool {
        let Some((plain, source, destination)) = Plain::read_v6(frame, l3) else { return false };
        if !may_ride(&plain)
            || !plain.summed
            || self.follows(Family::V6, &plain, source, destination, lane.interface)
        {
            return false;
        }
        let candidate = self.setup.nat.candidate_v6(destination, lane.interface);
        let Some((kind_realm, prefix64, remote)) = candidate else { return false };
        let tuple = OutboundTuple {
            kind_realm,
            protocol: protocol(&plain),
            inside: source,
            inside_port: plain.source_port,
            remote,
            remote_port: plain.destination_port,
            prefix64,
        };
        lane.way = Way::SixToFour;
        lane.plain = plain;
        lane.outbound = tuple.key();
        lane.search = self.engine.search_outbound(&tuple.key());
        true
    }

    #[inline(always)]
    fn admits_v4(&self, frame: &[u8], l3: u8, lane: &mut Lane) -> bool {
        let Some((plain, source, destination)) = Plain::read_v4(frame, l3) else { return false };
        if !may_ride(&plain)
            || self.follows(Family::V4, &plain, source.into(), destination.into(), lane.interface)
        {
            return false;
        }
        match self.setup.nat.candidate_v4(source, destination, lane.interface) {
            Candidate::Inbound => {
                let tuple = InboundTuple {
                    protocol: protocol(&plain),
                    external: destination,
                    external_port: plain.destination_port,
                    remote: source,
                    remote_port: plain.source_port,
                };
                lane.way = Way::Inbound;
                lane.plain = plain;
                lane.inbound = tuple.key();
                lane.search = self.engine.search_inbound(&tuple.key());
                true
            }
            Candidate::Outbound(kind_realm) => {
                let tuple = OutboundTuple {
                    kind_realm,
                    protocol: protocol(&plain),
                    inside: u128::from(source),
                    inside_port: plain.source_port,
                    remote: destination,
                    remote_port: plain.destination_port,
                    prefix64: 0,
                };
                lane.way = Way::FourToFour;
                lane.plain = plain;
                lane.outbound = tuple.key();
                lane.search = self.engine.search_outbound(&tuple.key());
                true
            }
            Candidate::Unknown => false,
        }
    }
}

impl Gate<'_> {
    /// Whether a packet's way is to be recorded.
    #[inline(always)]
    fn follows(
        &self,
        family: Family,
        plain: &Plain,
        source: u128,
        destination: u128,
        interface: u16,
    ) -> bool {
        self.tracer.is_active() && {
            let &Plain { protocol, source_port, destination_port, .. } = plain;
            let seen = Seen { family, protocol, source, destination, source_port, destination_port };
            self.tracer.wants(&seen, interface)
        }
    }
}

/// The worker that a packet without a session here belongs to.
#[inline(never)]
pub(super) fn owner(setup: &Setup, shared: &Shared, lane: &Lane, own: WorkerId) -> u8 {
    match lane.way {
        Way::SixToFour | Way::FourToFour => {
            let (kind_realm, inside) = lane.outbound.inside();
            shared.subscriber_worker(&setup.nat, kind_realm, inside).0
        }
        Way::Inbound => {
            let (external, port) = lane.inbound.external();
            match shared.external_owner(&setup.nat, protocol(&lane.plain), external, port) {
                ExternalOwner::Worker(worker) | ExternalOwner::Static(worker) => worker.0,
                ExternalOwner::Free | ExternalOwner::Kernel | ExternalOwner::NotExternal => own.0,
            }
        }
    }
}

/// Whether a plain packet has a hop left, and no MSS to be clamped.
#[inline(always)]
fn may_ride(plain: &Plain) -> bool {
    plain.hop_limit > 1 && plain.tcp_flags & tcp::SYN == 0
}

#[inline(always)]
fn protocol(plain: &Plain) -> Protocol {
    if plain.protocol == tcp::PROTOCOL { Protocol::Tcp } else { Protocol::Udp }
}
