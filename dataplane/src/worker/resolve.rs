//! Where to: the route of an address, and asking for neighbours that are not known yet.

use sluice_nat::Tick;
use sluice_packet::{DropReason, Family, IcmpMessage};
use sluice_shm::{Address, Counter, Notice};

use super::Worker;
use super::batch::Packet;
use crate::nexthop::{AdjacencyIndex, NextHop, State};

/// What the tables say of an address.
pub(super) enum Resolved {
    /// Send it there.
    Adjacency(AdjacencyIndex),
    /// It is the box itself.
    Local,
    /// To a neighbour that has been asked for and may answer soon.
    Unresolved,
    /// It goes nowhere.
    Drop(DropReason),
}

/// When each of a few hashed neighbours was last asked for: at most one request a bucket and tick, so that a scan of a
/// subnet does not flood control. Gateways have buckets of their own, which a scan cannot take; the hash is keyed.
pub(super) struct Wanted {
    hosts: [Tick; 64],
    gateways: [Tick; 64],
    key: u64,
}

impl Wanted {
    pub(super) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self { hosts: [Tick(0); 64], gateways: [Tick(0); 64], key: RandomState::new().hash_one(0) | 1 }
    }

    fn may_ask(&mut self, address: u128, gateway: bool, now: Tick) -> bool {
        let folded = (address as u64) ^ (address >> 64) as u64;
        let bucket = ((folded ^ self.key).wrapping_mul(self.key) >> 58) as usize;
        let asked = if gateway { &mut self.gateways[bucket] } else { &mut self.hosts[bucket] };
        std::mem::replace(asked, now) != now
    }
}

impl Worker {
    /// The route of an IPv4 address.
    pub(super) fn route_v4(&mut self, address: u32) -> Resolved {
        let target = self.setup.routes.fib4.lookup(address).map(NextHop::from_target);
        self.resolve(target, false, u128::from(address))
    }

    /// The route of an IPv6 address.
    pub(super) fn route_v6(&mut self, address: u128) -> Resolved {
        let target = self.setup.routes.fib6.lookup(address).map(NextHop::from_target);
        self.resolve(target, true, address)
    }

    /// The route of an address of either family.
    pub(super) fn route(&mut self, family: Family, address: u128) -> Resolved {
        match family {
            Family::V4 => self.route_v4(address as u32),
            Family::V6 => self.route_v6(address),
        }
    }

    fn resolve(&mut self, hop: Option<NextHop>, ipv6: bool, address: u128) -> Resolved {
        match hop {
            Some(NextHop::Adjacency(index)) => {
                let adjacency = self.setup.routes.adjacencies.get(index);
                match adjacency.state {
                    State::Resolved => Resolved::Adjacency(index),
                    State::Unresolved => {
                        self.want_adjacency(index);
                        Resolved::Unresolved
                    }
                    State::Failed => {
                        self.want_adjacency(index);
                        Resolved::Drop(DropReason::NeighbourFailed)
                    }
                }
            }
            Some(NextHop::Connected(interface)) => {
                self.want(interface, ipv6, address, false);
                Resolved::Unresolved
            }
            Some(NextHop::Local) => Resolved::Local,
            Some(NextHop::Blackhole) => Resolved::Drop(DropReason::Blackhole),
            None => Resolved::Drop(DropReason::NoRoute),
        }
    }

    /// Asks for the neighbour of an adjacency.
    fn want_adjacency(&mut self, index: AdjacencyIndex) {
        let table = &self.setup.routes.adjacencies;
        let (adjacency, address) = (table.get(index), table.address(index));
        self.want(u16::from(adjacency.interface), adjacency.ipv6, address, true);
    }

    /// Asks control to have the kernel resolve a neighbour.
    fn want(&mut self, interface: u16, ipv6: bool, address: u128, known: bool) {
        // A packet that waits has asked once, and leaves the turn to others.
        self.asked = self.retrying.is_some_and(|wait| wait.asked);
        if self.asked || !self.wanted.may_ask(address, known, self.now) {
            return;
        }
        self.asked = true;
        let notice = Notice::NeighbourWanted { interface, address: Address { ipv6, value: address } };
        if !self.sight.notices.push(&notice) {
            self.sight.counters.add(Counter::EventsLost, 1);
        }
    }

    /// A packet without a way on: dropped by name, and its sender told if there is no route at all.
    pub(super) fn unroutable(&mut self, packet: Packet, reason: DropReason) {
        match (reason, packet.meta.family) {
            (DropReason::NoRoute, Family::V6) => self.refuse(packet, reason, IcmpMessage::v6_no_route()),
            (DropReason::NoRoute, Family::V4) => {
                self.refuse(packet, reason, IcmpMessage::v4_net_unreachable())
            }
            _ => self.drop_packet(packet, reason),
        }
    }
}
