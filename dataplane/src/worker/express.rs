//! The express lane: packets of established flows, from a queue to an outbox in a few loops over the burst.
//!
//! Nearly all packets are plain ones (see [`sluice_packet::plain`]) of a session that exists, to a next hop that is known and
//! takes them. Their burst goes through four loops, each of which asks for the memory of the next: read the headers and hash,
//! and a few packets behind scan the bucket; compare with the session; decide on the way; translate. What is known of a packet
//! stands in a lane, which is written once and never moved.
//!
//! Nothing is decided differently here than in the general stages, and nothing is decided twice: a packet that is not quite
//! what the lane is for stays as it came, and the general stages see it as if it had just arrived. They take it after the
//! others of its burst; all packets of a flow that is new stay together, in order. The tests hold both ways together: a traced
//! packet always takes the general one.

use sluice_dpdk::{Burst, Mbuf};
use sluice_nat::config::Candidate;
use sluice_nat::{
    Direction, Engine, ExternalOwner, InboundKey, InboundTuple, OutboundKey, OutboundTuple, Outside, Protocol,
    Search, Session, SessionIndex, Shared, Tick, WorkerId,
};
use sluice_packet::{
    Delta, DropReason, Ends, Family, Plain, ethernet, plain_four_to_four, plain_four_to_six,
    plain_six_to_four, tcp,
};

use super::departure::Departures;
use super::forward::{cache_route, cached_route, family_of, inside_family};
use super::stages::Stage;
use super::trace::{Seen, Tracer};
use super::transmit::Exits;
use super::{BURST, Tally, Worker};
use crate::ident::Leases;
use crate::nexthop::{AdjacencyIndex, NextHop, State};
use crate::parcel::{self, Parcel};
use crate::setup::{PortInterfaces, Setup};

/// How many packets lie between the one whose headers are read and the one whose bucket is scanned: so many take longer to
/// read than memory takes to answer, and no longer, so that the sessions are on their way early too.
const AHEAD: usize = 10;

/// What is known of a packet.
#[derive(Clone, Copy)]
struct Lane {
    outbound: OutboundKey,
    inbound: InboundKey,
    plain: Plain,
    search: Search,
    session: SessionIndex,
    /// The session, once it has seen the packet.
    shown: Option<&'static Session>,
    interface: u16,
    adjacency: AdjacencyIndex,
    way: Way,
    /// Position in the burst.
    position: u8,
    /// Hand-offs so far.
    hops: u8,
    /// Worker that the packet belongs to.
    owner: u8,
}

/// From where to where.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    SixToFour,
    FourToFour,
    /// To an external address: the session knows the family.
    Inbound,
}

impl Way {
    #[inline(always)]
    fn direction(self) -> Direction {
        if self == Self::Inbound { Direction::Inbound } else { Direction::Outbound }
    }
}

impl Lane {
    const EMPTY: Self = Self {
        outbound: OutboundKey::NONE,
        inbound: InboundKey::NONE,
        plain: Plain::NONE,
        search: Search::NONE,
        session: SessionIndex::NONE,
        shown: None,
        interface: 0,
        adjacency: AdjacencyIndex::NONE,
        way: Way::Inbound,
        position: 0,
        hops: 0,
        owner: 0,
    };
}

impl Lane {
    /// The second step of the look-up.
    #[inline(always)]
    fn scan(&mut self, engine: &Engine) {
        match self.way {
            Way::Inbound => engine.scan_inbound(&mut self.search),
            Way::SixToFour | Way::FourToFour => engine.scan_outbound(&mut self.search),
        }
    }

    /// The third step of the look-up.
    #[inline(always)]
    fn scan_second(&mut self, engine: &Engine) {
        match self.way {
            Way::Inbound => engine.scan_second_inbound(&mut self.search),
            Way::SixToFour | Way::FourToFour => engine.scan_second_outbound(&mut self.search),
        }
    }
}

/// Where the packets of a burst come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A port.
    Port(u16),
    /// Another worker: their interfaces, and how often they were handed over.
    Worker(&'a [Origin; BURST]),
}

/// What a packet that was handed over brings along.
#[derive(Clone, Copy, Default)]
pub(super) struct Origin {
    pub(super) interface: u16,
    pub(super) hops: u8,
}

/// What the lane left of a burst: which positions, as bits.
pub(super) struct Left {
    pub(super) positions: u64,
    /// Bytes of the whole burst.
    pub(super) bytes: u64,
}

const _: () = assert!(BURST <= 64);

/// The lanes of a burst, reused for every one.
pub(super) struct Lanes(Box<[Lane; BURST]>);

impl Lanes {
    pub(super) fn new() -> Self {
        Self(Box::new([Lane::EMPTY; BURST]))
    }
}

impl Worker {
    /// Takes the packets of a burst that the lane is for to the outboxes, and those of other workers to them. The others stay.
    pub(super) fn express(&mut self, burst: &mut Burst<BURST>, port: u16) -> Left {
        self.ride(burst, Source::Port(port))
    }

    /// As [`Worker::express`], for what another worker handed over: interfaces and hops come with it. Compiled on its own, so
    /// that neither pays for the other's questions.
    #[inline(never)]
    pub(super) fn express_handed(&mut self, burst: &mut Burst<BURST>, origins: &[Origin; BURST]) -> Left {
        self.ride(burst, Source::Worker(origins))
    }

    #[inline(always)]
    fn ride(&mut self, burst: &mut Burst<BURST>, source: Source<'_>) -> Left {
        let Self {
            setup,
            engine,
            tracer,
            leases,
            tally,
            transmit,
            links,
            sight,
            lanes,
            departures,
            stages,
            shared,
            id,
            ..
        } = self;
        let (fib_generation, now) = (self.fib_generation, self.now);
        let interfaces = match source {
            Source::Port(port) => match setup.port(port) {
                Some(interfaces) => Some(interfaces),
                // Nobody takes what comes here: the general stages say so.
                None => {
                    let bytes = burst.iter().map(|mbuf| mbuf.len() as u64).sum();
                    return Left { positions: u64::MAX, bytes };
                }
            },
            Source::Worker(_) => None,
        };
        let lanes = &mut lanes.0;

        let gate = Gate { setup, interfaces, engine, tracer };
        let (mut count, mut bytes) = (0, 0);
        for (position, mbuf) in burst.iter().enumerate() {
            bytes += mbuf.len() as u64;
            let lane = &mut lanes[count];
            if let Source::Worker(origins) = source {
                (lane.interface, lane.hops) = (origins[position].interface, origins[position].hops);
            }
            if gate.admits(mbuf, lane) {
                lane.position = position as u8;
                count += 1;
                if let Some(before) = count.checked_sub(AHEAD) {
                    lanes[before].scan(engine);
                }
                if let Some(before) = count.checked_sub(2 * AHEAD) {
                    lanes[before].scan_second(engine);
                }
            }
        }
        let lanes = &mut lanes[..count];
        stages.charge(Stage::Parse);
        let last = count.saturating_sub(AHEAD - 1);
        lanes[last..].iter_mut().for_each(|lane| lane.scan(engine));
        let last = count.saturating_sub(2 * AHEAD - 1);
        lanes[last..].iter_mut().for_each(|lane| lane.scan_second(engine));
        for lane in lanes.iter_mut() {
            lane.session = match lane.way {
                Way::Inbound => engine.settle_inbound(&lane.inbound, &lane.search),
                Way::SixToFour | Way::FourToFour => engine.settle_outbound(&lane.outbound, &lane.search),
            };
        }
        let several = shared.workers() > 1;
        if several {
            for lane in lanes.iter_mut() {
                lane.owner = if lane.session.is_some() { id.0 } else { owner(setup, shared, lane, *id) };
            }
        }
        stages.charge(Stage::LookUp);
        let mut guide = Guide { setup, engine, departures, fib_generation, now };
        let mut shown = 0;
        for lane in lanes.iter_mut() {
            lane.shown = if lane.session.is_some() { guide.shows(lane) } else { None };
            shown += u64::from(lane.shown.is_some());
        }
        stages.charge(Stage::Route);
        let exits = Exits { transmit, links, sight };
        let mut carrier = Carrier { setup, departures, leases, tally, exits, source };
        carrier.tally.established += shown;
        let mut left = Burst::<BURST>::new();
        let foreign = |lane: &Lane| several && lane.owner != id.0;
        let mut ready = lanes.iter().filter(|lane| lane.shown.is_some() || foreign(lane));
        let mut next = ready.next();
        let mut positions = 0u64;
        for (position, mbuf) in burst.drain().enumerate() {
            match next {
                Some(lane) if usize::from(lane.position) == position => {
                    match lane.shown {
                        Some(session) => carrier.carry(lane, session, mbuf),
                        None => carrier.hand_over(lane, mbuf),
                    }
                    next = ready.next();
                }
                _ => {
                    positions |= 1 << position;
                    // There is room for all that came.
                    let _ = left.push(mbuf);
                }
            }
        }
        if !left.is_empty() {
            *burst = left;
        }
        stages.charge(Stage::Translate);
        Left { positions, bytes }
    }
}

/// Reads headers, and decides who is for the lane.
struct Gate<'a> {
    setup: &'a Setup,
    /// Of the port that the packets came from; none if they come from another worker, which has looked.
    interfaces: Option<&'a PortInterfaces>,
    engine: &'a Engine,
    tracer: &'a Tracer,
}

impl Gate<'_> {
    #[inline(always)]
    fn admits(&self, mbuf: &Mbuf, lane: &mut Lane) -> bool {
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
fn owner(setup: &Setup, shared: &Shared, lane: &Lane, own: WorkerId) -> u8 {
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

/// Decides on the way of packets whose sessions were found, and shows them to their sessions.
struct Guide<'a> {
    setup: &'a Setup,
    engine: &'a mut Engine,
    departures: &'a mut Departures,
    fib_generation: u16,
    now: Tick,
}

impl Guide<'_> {
    /// The session. None, and nothing has changed, if the general stages have to see the packet.
    #[inline(always)]
    fn shows(&mut self, lane: &mut Lane) -> Option<&'static Session> {
        let session = self.engine.session(lane.session);
        let direction = lane.way.direction();
        let cached = cached_route(session, direction, self.fib_generation);
        let adjacency = cached.or_else(|| self.find(session, direction))?;
        lane.adjacency = adjacency;
        let header = match lane.way {
            Way::SixToFour | Way::FourToFour => 20,
            Way::Inbound if family_of(session.kind_realm()) == Family::V4 => 20,
            Way::Inbound if lane.plain.summed => 40,
            Way::Inbound => return None,
        };
        let departure = self.departures.get(adjacency, self.setup)?;
        if lane.plain.payload + header > departure.mtu {
            return None;
        }
        self.engine.established(lane.session, direction, lane.plain.tcp_flags, self.now).ok()?;
        Some(session)
    }

    /// Caches the next hop of a session for which the present tables have none yet, if it is there. None for packets to
    /// external addresses of our own, which have no next hop.
    #[inline(never)]
    fn find(&self, session: &Session, direction: Direction) -> Option<AdjacencyIndex> {
        let (routes, fixed) = (&self.setup.routes, session.fixed());
        let target = match direction {
            Direction::Outbound if self.setup.nat.is_external(fixed.remote) => None,
            Direction::Outbound => routes.fib4.lookup(fixed.remote),
            Direction::Inbound if inside_family(&fixed) == Family::V6 => routes.fib6.lookup(fixed.inside),
            Direction::Inbound => routes.fib4.lookup(fixed.inside as u32),
        };
        match target.map(NextHop::from_target) {
            Some(NextHop::Adjacency(index)) if routes.adjacencies.get(index).state == State::Resolved => {
                cache_route(session, direction, index, self.fib_generation);
                Some(index)
            }
            _ => None,
        }
    }
}

/// Translates packets and puts them into outboxes.
struct Carrier<'a> {
    setup: &'a Setup,
    departures: &'a Departures,
    leases: &'a mut Leases,
    tally: &'a mut Tally,
    exits: Exits<'a>,
    source: Source<'a>,
}

impl Carrier<'_> {
    #[inline(always)]
    fn carry(&mut self, lane: &Lane, session: &Session, mut mbuf: Mbuf) {
        self.count(lane, &mbuf);
        let Some(departure) = self.departures.again(lane.adjacency) else {
            return self.exits.lose(lane.interface, mbuf, DropReason::NeighbourUnresolved);
        };
        let mut rewriter = Rewriter { setup: self.setup, leases: self.leases, lane, session };
        let done = match departure.vlan {
            None => rewriter.rewrite(&mut mbuf, |ether_type| departure.untagged(ether_type)),
            Some(vlan) => rewriter.rewrite(&mut mbuf, |ether_type| departure.tagged(vlan, ether_type)),
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
    fn hand_over(&mut self, lane: &Lane, mbuf: Mbuf) {
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
                plain_six_to_four(&mut frame, plain, &link(ethernet::IPV4), &to, identification)
            }
            Way::FourToFour => {
                plain_four_to_four(&mut frame, plain, &link(ethernet::IPV4), &outbound(session))
            }
            Way::Inbound if family_of(session.kind_realm()) == Family::V4 => {
                let outside = session.outside();
                let to = inbound(&outside, outside.remote, session.inside_v4());
                plain_four_to_four(&mut frame, plain, &link(ethernet::IPV4), &to)
            }
            Way::Inbound => match self.setup.nat.prefix64(session.prefix64()) {
                Some(prefix) => {
                    let outside = session.outside();
                    let to = inbound(&outside, prefix.embed(outside.remote), session.inside());
                    plain_four_to_six(&mut frame, plain, &link(ethernet::IPV6), &to)
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
