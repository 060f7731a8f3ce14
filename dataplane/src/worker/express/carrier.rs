//! The last loop of the express lane: packets are translated and put into outboxes, or handed over.

use sluice_dpdk::Mbuf;
use sluice_nat::{Outside, Session};
use sluice_packet::{
    Delta, DropReason, Ends, Family, ethernet, plain_four_to_four, plain_four_to_six, plain_six_to_four,
};

use super::super::Tally;
use super::super::departure::Departures;
use super::super::forward::family_of;
use super::super::transmit::Exits;
use super::{Lane, Source, Way};
use crate::ident::Leases;
use crate::parcel::{self, Parcel};
use crate::setup::Setup;

/// Translates packets and puts them into outboxes.
pub(super) struct Carrier<'a> {
    pub(super) setup: &'a Setup,
    pub(super) departures: &'a Departures,
    pub(super) leases: &'a mut Leases,
    pub(super) tally: &'a mut Tally,
    pub(super) exits: Exits<'a>,
    pub(super) source: Source<'a>,
}

impl Carrier<'_> {
    #[inline(always)]
    pub(super) fn carry(&mut self, lane: &Lane, session: &Session, mut mbuf: Mbuf) {
        self.count(lane, &mbuf);
        let Some(departure) = self.departures.again(lane.adjacency) else {
            return self.exits.lose(lane.interface, mbuf, DropReason::NeighbourUnresolved);
        };
        let mut rewriter = Rewriter { setup: self.setup, leases: self.leases, lane, session };
        let done = match departure.vlan {
            None => rewriter.rewrite(&mut mbuf, |ether_type| departure.macs.untagged(ether_type)),
            Some(vlan) => rewriter.rewrite(&mut mbuf, |ether_type| departure.macs.tagged(vlan, ether_type)),
        };
        if done {
            self.exits.send(mbuf, departure.port, departure.interface, lane.hops);
        } else {
            self.exits.lose(lane.interface, mbuf, DropReason::NoMbuf);
        }
    }
}

impl Carrier<'_> {
    /// Gives a packet to the worker that it belongs to.
    #[inline(always)]
    pub(super) fn hand_over(&mut self, lane: &Lane, mbuf: Mbuf) {
        self.count(lane, &mbuf);
        let (interface, hops) = (lane.interface, lane.hops + 1);
        self.exits.hand_off(lane.owner, Parcel { mbuf, interface, hops, stage: parcel::Stage::Enter });
    }

    /// Counts a packet as received, unless another worker has done so.
    #[inline(always)]
    fn count(&mut self, lane: &Lane, mbuf: &Mbuf) {
        if let Source::Port(_) = self.source {
            self.tally.receive(self.exits.sight.counters, lane.interface, mbuf.len());
        }
    }
}

/// What a rewrite needs of a packet and its session.
struct Rewriter<'a> {
    setup: &'a Setup,
    leases: &'a mut Leases,
    lane: &'a Lane,
    session: &'a Session,
}

impl Rewriter<'_> {
    /// False without room for the headers, or without the prefix that a session's remote address needs.
    #[inline(always)]
    fn rewrite<const LINK: usize>(&mut self, mbuf: &mut Mbuf, link: impl Fn(u16) -> [u8; LINK]) -> bool {
        let (plain, session) = (&self.lane.plain, self.session);
        // No closures here: the compiler would not inline them, and what is in registers would go through memory.
        let mut frame = mbuf.frame();
        let done = match self.lane.way {
            Way::SixToFour => {
                let to = outbound(session);
                let identification = self.leases.next(to.source, to.destination, plain.protocol);
                plain_six_to_four(
                    &mut frame,
                    plain,
                    &link(ethernet::IPV4),
                    &to,
                    identification,
                    self.setup.to_ipv4,
                )
            }
            Way::FourToFour => {
                let to = outbound(session);
                //= conformance FRAG-33
                let identification = if plain.dont_fragment {
                    None
                } else {
                    Some(self.leases.next(to.source, to.destination, plain.protocol))
                };
                plain_four_to_four(&mut frame, plain, &link(ethernet::IPV4), &to, identification)
            }
            Way::Inbound if family_of(session.kind_realm()) == Family::V4 => {
                let outside = session.outside();
                let to = inbound(&outside, outside.remote, session.inside_v4());
                plain_four_to_four(&mut frame, plain, &link(ethernet::IPV4), &to, None)
            }
            Way::Inbound => match self.setup.nat.prefix64(session.prefix64()) {
                Some(prefix) => {
                    let outside = session.outside();
                    let to = inbound(&outside, prefix.embed(outside.remote), session.inside());
                    plain_four_to_six(&mut frame, plain, &link(ethernet::IPV6), &to, self.setup.to_ipv6)
                }
                None => false,
            },
        };
        let (start, len) = (frame.start(), frame.len());
        mbuf.set_bounds(start, len);
        done
    }
}

/// What an outbound packet becomes.
#[inline(always)]
fn outbound(session: &Session) -> Ends<u32> {
    let Outside { remote, external, remote_port, external_port, delta } = session.outside();
    Ends {
        source: external,
        destination: remote,
        source_port: external_port,
        destination_port: remote_port,
        delta: Delta::from_raw(delta),
    }
}

/// What an inbound packet becomes.
#[inline(always)]
fn inbound<A>(outside: &Outside, source: A, (destination, destination_port): (A, u16)) -> Ends<A> {
    Ends {
        source,
        destination,
        source_port: outside.remote_port,
        destination_port,
        delta: Delta::from_raw(outside.delta).inverse(),
    }
}
