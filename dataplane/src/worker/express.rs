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

use sluice_dpdk::Burst;
use sluice_nat::{Direction, Engine, InboundKey, OutboundKey, Search, Session, SessionIndex, Tick};
use sluice_packet::{Family, Plain};

use super::departure::Departures;
use super::forward::{cache_route, cached_route, family_of, inside_family};
use super::stages::Stage;
use super::transmit::Exits;
use super::{BURST, Worker};
use crate::nexthop::{AdjacencyIndex, NextHop, State};
use crate::setup::Setup;
use carrier::Carrier;
use gate::{Gate, owner};

mod carrier;
mod gate;

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
    //= conformance XLT-39, XLT-50
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
        let len = lane.plain.payload + header;
        if len > departure.least && (len > departure.mtu || header == 40 && !lane.plain.dont_fragment) {
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
