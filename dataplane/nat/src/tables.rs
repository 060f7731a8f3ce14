//! All state of one worker, and what every change of it has in common. The engine is this plus the configuration.

use std::sync::Arc;

use sluice_packet::{Delta, DropReason};

use crate::ahead::Picks;
use crate::arena::Touch;
use crate::binding::Binding;
use crate::bindings::Bindings;
use crate::blocks::{Blocks, Rest};
use crate::config::Config;
use crate::event::{Event, Events, SessionEnds};
use crate::exhausted::Exhausted;
use crate::hash::{HashSeed, Rng};
use crate::index::Index;
use crate::key::{InboundTuple, OutboundTuple};
use crate::permissions::Permissions;
use crate::record::{Fixed, Hot, Route, Session};
use crate::records::Records;
use crate::reports::Reports;
use crate::shared::Shared;
use crate::spec::LogSpec;
use crate::subscribers::Subscribers;
use crate::tcp::{self, Lifetimes, Segment, TimerClass};
use crate::types::{Direction, Kind, Protocol, Tick, WorkerId};
use crate::wheel::Wheel;

/// The session has an entry in the table of permissions.
pub(crate) const PERMIT: u16 = 1;
/// The session was opened from outside.
pub(crate) const FROM_OUTSIDE: u16 = 2;

/// Subscribers of one worker (LIM-14).
const MAX_SUBSCRIBERS: u32 = 1 << 20;
/// Events kept for callers that come without an ear.
const PENDING: usize = 1024;

/// State of one worker.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) sessions: &'static [Session],
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) seed: HashSeed,
    pub(crate) generation: u16,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) udp_inbound_refresh: bool,
    pub(crate) outbound: Index,
    pub(crate) inbound: Index,
    pub(crate) wheel: Wheel,
    pub(crate) records: Records,
    pub(crate) bindings: Bindings,
    pub(crate) permissions: Permissions,
    pub(crate) subscribers: Subscribers,
    pub(crate) blocks: Blocks,
    pub(crate) rng: Rng,
    pub(crate) picks: Picks,
    pub(crate) exhausted: Exhausted,
    /// Sessions that this worker may have.
    pub(crate) max_sessions: u32,
    pub(crate) live: u32,
    pub(crate) statics: u32,
    pub(crate) statics_failed: u32,
    /// Next record to check against the current configuration; all are checked when it passes the last.
    pub(crate) sweep: u32,
    /// Until when the sweep goes on round after round, and when the present round began.
    pub(crate) patrol: Option<Tick>,
    pub(crate) swept: Tick,
    /// Events of calls that take no [`Events`], handed over by the next that does.
    pub(crate) pending: Vec<Event>,
    pub(crate) log: LogSpec,
    pub(crate) reports: Reports,
    /// The latest time seen.
    pub(crate) now: Tick,
}

/// What a session to be made looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    /// Its binding, which is made with it if there is none yet.
    pub(crate) binding: &'a Binding,
    pub(crate) subscriber: u32,
    pub(crate) rule: u16,
    pub(crate) prefix64: u8,
    pub(crate) remote: u32,
    pub(crate) remote_port: u16,
    pub(crate) direction: Direction,
}

impl Opening<'_> {
    /// What its outbound packets will be looked up by.
    pub(crate) fn outbound_tuple(&self) -> OutboundTuple {
        let ends = &self.binding.ends;
        OutboundTuple {
            kind_realm: ends.kind_realm,
            protocol: ends.protocol,
            inside: ends.inside,
            inside_port: ends.inside_port,
            remote: self.remote,
            remote_port: self.remote_port,
            prefix64: self.prefix64,
        }
    }
}

impl Tables {
    pub(crate) fn new(shared: Arc<Shared>, worker: WorkerId, config: &Config) -> Self {
        let sessions = shared.sessions();
        let capacity = sessions.len() as u32;
        let workers = u32::from(shared.workers());
        // Subscribers do not spread evenly, so each worker has room for twice its share.
        let entries =
            if workers == 1 { capacity } else { (capacity / workers * 2).max(65_536).min(capacity) };
        let room = entries.max(1024);
        let blocks = (u64::from(shared.max_addresses()) * 2048).min(u64::from(room) + 65_536) as u32;
        let seed = shared.hash_seed();
        Self {
            sessions,
            worker,
            seed,
            generation: config.generation,
            lifetimes: Lifetimes::new(&config.timers),
            udp_inbound_refresh: config.timers.udp_inbound_refresh,
            outbound: Index::new(entries, Touch::AtStart),
            inbound: Index::new(entries, Touch::AtStart),
            wheel: Wheel::new(),
            records: Records::new(&shared, worker),
            bindings: Bindings::new(sessions, room, seed),
            permissions: Permissions::new(entries, seed),
            subscribers: Subscribers::new(room.min(MAX_SUBSCRIBERS), seed, Arc::clone(&shared), worker),
            blocks: Blocks::new(blocks),
            rng: Rng::new(shared.geometry().seed, worker.0),
            picks: Picks::new(),
            exhausted: Exhausted::default(),
            max_sessions: entries,
            live: 0,
            statics: 0,
            statics_failed: 0,
            sweep: capacity,
            patrol: None,
            swept: Tick(0),
            pending: Vec::with_capacity(PENDING),
            log: config.log,
            reports: Reports::default(),
            now: Tick(0),
            shared,
        }
    }

    #[inline]
    pub(crate) fn record(&self, number: u32) -> &'static Session {
        &self.sessions[number as usize]
    }

    pub(crate) fn find_outbound(&self, tuple: &OutboundTuple) -> Option<u32> {
        let place = self.outbound.place(tuple.hash(&self.seed));
        self.outbound.find(place, |number| tuple.matches(self.record(number)))
    }

    //= conformance N64-UDP-03
    pub(crate) fn find_inbound(&self, tuple: &InboundTuple) -> Option<u32> {
        let place = self.inbound.place(tuple.hash(&self.seed));
        self.inbound.find(place, |number| tuple.matches(self.record(number)))
    }

    /// A packet of an established session: state, timer, last-seen. One store, and only if something changes.
    #[inline(always)]
    pub(crate) fn touch(
        &mut self,
        config: &Config,
        number: u32,
        direction: Direction,
        tcp_flags: u8,
        now: Tick,
    ) -> Result<(), DropReason> {
        let record = self.record(number);
        if (record.word(6) >> 48) as u16 != self.generation {
            self.revalidate_or_remove(config, number, now)?;
        }
        // Most packets find that another one of the same tick has been here before. A deleted session has no timer.
        let seen = record.word(5);
        if seen as u32 == now.0 && (seen >> 32) as u8 == 0 && (seen >> 40) as u8 != 0 {
            return Ok(());
        }
        let hot = record.hot();
        if hot.tcp_state == 0 {
            //= conformance N64-UDP-06, N64-UDP-07, N64-ICMP-09
            let is_udp = hot.timer_class != TimerClass::Icmp as u8;
            if hot.timer_class == 0 {
                // Deleted since it was looked up.
                return Err(DropReason::NoBinding);
            }
            //= conformance N44-11
            let refresh = self.udp_inbound_refresh || !is_udp || matches!(direction, Direction::Outbound);
            if refresh && hot.last_seen != now {
                record.set_hot(Hot { last_seen: now, ..hot });
            }
            return Ok(());
        }
        let segment = Segment::from_flags(tcp_flags);
        if matches!(segment, Segment::Illegal) {
            return Err(DropReason::TcpFlagsIllegal);
        }
        let step = tcp::advance(hot.tcp_state, direction, segment);
        if step.state as u8 != hot.tcp_state {
            let timer_class = step.state.timer() as u8;
            record.set_hot(Hot { last_seen: now, tcp_state: step.state as u8, timer_class, ..hot });
        } else if step.refresh && hot.last_seen != now {
            record.set_hot(Hot { last_seen: now, ..hot });
        }
        Ok(())
    }

    /// The subscriber of a binding.
    pub(crate) fn subscriber_of(&self, binding: &Binding) -> u32 {
        if binding.is_static() { binding.home } else { self.blocks.get(binding.home).subscriber }
    }

    /// The unchanging fields of a session, existing or not.
    pub(crate) fn fixed(
        &self,
        config: &Config,
        binding: &Binding,
        (prefix64, rule): (u8, u16),
        (remote, remote_port): (u32, u16),
    ) -> Fixed {
        let ends = &binding.ends;
        let mut fixed = Fixed {
            kind_realm: ends.kind_realm,
            protocol: ends.protocol as u8,
            inside_port: ends.inside_port,
            inside: ends.inside,
            remote,
            external: ends.external,
            remote_port,
            external_port: ends.external_port,
            delta: 0,
            rule,
            binding: binding.number,
            owner: self.worker.0,
            prefix64,
        };
        fixed.delta = delta(config, &fixed);
        fixed
    }

    /// Makes a session in a record that was taken for it, and its binding if it is the first. On failure nothing has changed.
    pub(crate) fn open(
        &mut self,
        config: &Config,
        number: u32,
        opening: &Opening<'_>,
        now: Tick,
    ) -> Result<Fixed, DropReason> {
        let to = (opening.remote, opening.remote_port);
        let binding = opening.binding;
        let fixed = self.fixed(config, binding, (opening.prefix64, opening.rule), to);
        let (state, mut class) = tcp::initial(binding.ends.protocol, opening.direction);
        //= conformance N64-UDP-16
        if class == TimerClass::Udp
            && opening.direction == Direction::Outbound
            && config.timers.udp_short_ports.contains(opening.remote_port)
            && binding.ends.kind_realm.kind() == Some(Kind::Nat44)
        {
            class = TimerClass::UdpShort;
        }
        let mut flags = if opening.direction == Direction::Inbound { FROM_OUTSIDE } else { 0 };
        if config.by_address[binding.ends.protocol.index()] {
            if !self.permissions.add(binding.number, opening.remote) {
                return Err(DropReason::SessionTableFull);
            }
            flags |= PERMIT;
        }
        let record = self.record(number);
        let hot = Hot { last_seen: now, tcp_state: state as u8, timer_class: class as u8, flags };
        record.create(&fixed, hot, Route { rule_generation: self.generation, ..Route::default() });
        if let Err(reason) = self.enter(number, binding) {
            if flags & PERMIT != 0 {
                self.permissions.remove(binding.number, opening.remote);
            }
            record.delete();
            return Err(reason);
        }
        let class = class as u8;
        let ticks = self.lifetimes.look_in(class, self.lifetimes.of(class));
        self.wheel.file(self.records.links(), number, now, ticks);
        self.live += 1;
        let subscriber = self.subscribers.get_mut(opening.subscriber);
        subscriber.sessions += 1;
        subscriber.opened(opening.direction);
        Ok(fixed)
    }

    /// Enters a record that was just made: into its binding, and into both indexes.
    fn enter(&mut self, number: u32, binding: &Binding) -> Result<(), DropReason> {
        if binding.is_made() {
            self.bindings.opened(binding.number);
        } else if !self.bindings.add(binding, number) {
            return Err(DropReason::BindingTableFull);
        }
        if !self.enter_indexes(number) {
            self.bindings.closed(number);
            return Err(DropReason::SessionTableFull);
        }
        Ok(())
    }

    fn enter_indexes(&mut self, number: u32) -> bool {
        let record = self.record(number);
        let outbound = self.outbound.place(OutboundTuple::hash_of(record, &self.seed));
        if !self.outbound.insert(outbound, number) {
            return false;
        }
        if !self.enter_inbound(number) {
            self.outbound.remove(outbound, number);
            return false;
        }
        true
    }

    /// Enters a record into the inbound index. Two sessions that differ only in their prefix64 have the same inbound tuple:
    /// the one that was opened last gets the packets (ADDR-18).
    pub(crate) fn enter_inbound(&mut self, number: u32) -> bool {
        let record = self.record(number);
        let place = self.inbound.place(InboundTuple::hash_of(record, &self.seed));
        let (addresses, ports, protocol) =
            (record.word(3), record.word(4) as u32, record.word(0) >> 40 & 0xff);
        let same = self.inbound.find(place, |other| {
            let other = self.record(other);
            other.word(3) == addresses
                && other.word(4) as u32 == ports
                && other.word(0) >> 40 & 0xff == protocol
        });
        if let Some(other) = same {
            self.inbound.remove(place, other);
        }
        self.inbound.insert(place, number)
    }

    /// Deletes a live session, and with the last one its binding. The record itself stays filed in the wheel.
    pub(crate) fn close(&mut self, number: u32, now: Tick, events: &mut impl Events) {
        let record = self.record(number);
        let fixed = record.fixed();
        self.outbound.remove(self.outbound.place(OutboundTuple::hash_of(record, &self.seed)), number);
        self.inbound.remove(self.inbound.place(InboundTuple::hash_of(record, &self.seed)), number);
        if record.hot().flags & PERMIT != 0 {
            self.permissions.remove(fixed.binding, fixed.remote);
        }
        //= conformance N64-UDP-08, N64-TCP-38, N64-ICMP-11
        let binding = self.bindings.closed(number);
        record.delete();
        self.live -= 1;
        //= conformance LOG-07, LOG-08
        if self.log.sessions {
            events.event(Event::SessionDeleted(SessionEnds::of(&fixed)));
        }
        let subscriber = self.subscriber_of(&binding);
        self.subscribers.get_mut(subscriber).sessions -= 1;
        if binding.is_over() && !binding.is_static() {
            self.subscribers.get_mut(subscriber).mappings[binding.ends.protocol.index()] -= 1;
            let rest = if binding.revoked { Rest::Always } else { Rest::Usual };
            self.give_port_back(&binding, now, rest);
            if self.log.bindings {
                events.event(binding.ends.deleted());
            }
        }
        self.subscribers.drop_if_idle(subscriber);
    }

    /// Events of calls that had no ear for them.
    #[inline]
    pub(crate) fn flush(&mut self, events: &mut impl Events) {
        if !self.pending.is_empty() {
            self.pending.drain(..).for_each(|event| events.event(event));
        }
    }

    /// Whether there is room to keep the events of one deletion.
    pub(crate) fn can_defer(&self) -> bool {
        self.pending.len() + 4 <= PENDING
    }
}

/// Outbound checksum delta. ICMPv4 has no pseudo header, so for queries only the identifier counts.
fn delta(config: &Config, fixed: &Fixed) -> u16 {
    let ports = Delta::ZERO.remove_u16(fixed.inside_port).add_u16(fixed.external_port);
    if fixed.protocol == Protocol::Icmp as u8 {
        return ports.raw();
    }
    let delta = match fixed.kind_realm.kind() {
        Some(Kind::Nat64) => {
            let remote = config.prefix64(fixed.prefix64).map_or(0, |prefix| prefix.embed(fixed.remote));
            ports.remove_u128(fixed.inside).remove_u128(remote).add_u32(fixed.external).add_u32(fixed.remote)
        }
        _ => ports.remove_u32(fixed.inside as u32).add_u32(fixed.external),
    };
    delta.raw()
}
