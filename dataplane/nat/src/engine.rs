//! The engine: what a worker asks for each packet. One a worker; all memory is reserved when it is made.

use std::sync::Arc;

use sluice_packet::DropReason;

use crate::config::Config;
use crate::event::Events;
use crate::key::{InboundKey, InboundTuple, OutboundKey, OutboundTuple};
use crate::record::{Fixed, Session};
use crate::removal::{Removal, Removed};
use crate::search::Search;
use crate::shared::Shared;
use crate::tables::Tables;
use crate::types::{Direction, SessionIndex, Tick, WorkerId};

/// How a packet is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its session; [`SessionIndex::NONE`]: translate this packet, no state was made (N64-TCP-08).
    pub session: SessionIndex,
    /// The session's fields, or what they would be.
    pub fixed: Fixed,
}

/// How much an engine holds, and could.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Live sessions.
    pub sessions: u32,
    /// Sessions that this worker may have.
    pub session_capacity: u32,
    /// Bindings, static ones and those that wait for their last session included.
    pub bindings: u32,
    /// Bindings that there is room for.
    pub binding_capacity: u32,
    /// Subscribers that have sessions, port blocks or static bindings.
    pub subscribers: u32,
    /// Subscribers that there is room for.
    pub subscriber_capacity: u32,
    /// Port blocks claimed, resting ones included.
    pub port_blocks: u32,
    /// Static bindings of the last configuration that found no room in the table.
    pub statics_failed: u32,
}

/// State of one worker under its current configuration.
#[derive(Debug)]
pub struct Engine {
    config: Arc<Config>,
    tables: Tables,
}

impl Engine {
    /// An engine for a worker.
    pub fn new(shared: Arc<Shared>, worker: WorkerId, config: Arc<Config>) -> Self {
        let mut tables = Tables::new(shared, worker, &config);
        tables.set_config(None, &config);
        Self { config, tables }
    }

    /// The configuration in use.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Changes to another generation. Sessions are checked against it when a packet or a timer looks at them, and by
    /// [`Engine::expire`] in the background. Whoever made the old configuration keeps a handle to it until all workers have
    /// moved on, so that it is not freed here.
    pub fn set_config(&mut self, config: Arc<Config>) {
        self.tables.set_config(Some(&self.config), &config);
        self.config = config;
    }

    /// Sessions of outbound packets. `found` is as long as `tuples`; a miss is [`SessionIndex::NONE`].
    #[inline]
    pub fn find_outbound(&self, tuples: &[OutboundTuple], found: &mut [SessionIndex]) {
        self.tables.find_batch(tuples, found);
    }

    /// Sessions of inbound packets. `found` is as long as `tuples`; a miss is [`SessionIndex::NONE`].
    #[inline]
    pub fn find_inbound(&self, tuples: &[InboundTuple], found: &mut [SessionIndex]) {
        self.tables.find_batch(tuples, found);
    }

    /// Begins to look an outbound packet up, for callers that have a batch in a shape of their own: this for all of them,
    /// then [`Engine::scan_outbound`] for all, [`Engine::scan_second_outbound`], [`Engine::settle_outbound`].
    #[inline(always)]
    pub fn search_outbound(&self, key: &OutboundKey) -> Search {
        self.tables.search(key)
    }

    /// Second step of [`Engine::search_outbound`].
    #[inline(always)]
    pub fn scan_outbound(&self, search: &mut Search) {
        self.tables.scan::<OutboundKey>(search);
    }

    /// Third step of [`Engine::search_outbound`]. May be left out: it is for those of which the second step found nothing.
    #[inline(always)]
    pub fn scan_second_outbound(&self, search: &mut Search) {
        self.tables.scan_second::<OutboundKey>(search);
    }

    /// Last step of [`Engine::search_outbound`]: the session, if there is one.
    #[inline(always)]
    pub fn settle_outbound(&self, key: &OutboundKey, search: &Search) -> SessionIndex {
        self.tables.settle(key, search)
    }

    /// As [`Engine::search_outbound`], for an inbound packet.
    #[inline(always)]
    pub fn search_inbound(&self, key: &InboundKey) -> Search {
        self.tables.search(key)
    }

    /// As [`Engine::scan_outbound`].
    #[inline(always)]
    pub fn scan_inbound(&self, search: &mut Search) {
        self.tables.scan::<InboundKey>(search);
    }

    /// As [`Engine::scan_second_outbound`].
    #[inline(always)]
    pub fn scan_second_inbound(&self, search: &mut Search) {
        self.tables.scan_second::<InboundKey>(search);
    }

    /// As [`Engine::settle_outbound`].
    #[inline(always)]
    pub fn settle_inbound(&self, key: &InboundKey, search: &Search) -> SessionIndex {
        self.tables.settle(key, search)
    }

    /// The record of a session.
    #[inline]
    pub fn session(&self, index: SessionIndex) -> &'static Session {
        self.tables.record(index.0)
    }

    /// Takes note of a packet of a session: TCP state, timer, last-seen, configuration.
    ///
    /// # Errors
    /// Why the packet is to be dropped: the session no longer stands under the configuration and was deleted, or the
    /// segment is one that no stack sends.
    #[inline(always)]
    pub fn established(
        &mut self,
        session: SessionIndex,
        direction: Direction,
        tcp_flags: u8,
        now: Tick,
    ) -> Result<(), DropReason> {
        self.tables.touch(&self.config, session.0, direction, tcp_flags, now)
    }

    /// Asks for the memory that a batch of new outbound sessions will need. Optional: it only saves time, and about half
    /// of it when the tables are large.
    pub fn prepare_outbound(&mut self, tuples: &[OutboundTuple], now: Tick) {
        self.tables.prepare_outbound(&self.config, tuples, now);
    }

    /// Takes an outbound packet that [`Engine::find_outbound`] did not find.
    ///
    /// # Errors
    /// Why the packet is to be dropped. Nothing that existed is touched.
    pub fn new_outbound(
        &mut self,
        tuple: &OutboundTuple,
        interface: u16,
        tcp_flags: u8,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, DropReason> {
        self.tables.new_outbound(&self.config, tuple, interface, tcp_flags, now, events)
    }

    /// Takes an inbound packet that [`Engine::find_inbound`] did not find.
    ///
    /// # Errors
    /// Why the packet is to be dropped. Nothing that existed is touched.
    pub fn new_inbound(
        &mut self,
        tuple: &InboundTuple,
        tcp_flags: u8,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, DropReason> {
        self.tables.new_inbound(&self.config, tuple, tcp_flags, now, events)
    }

    /// Housekeeping: timers, resting blocks, sessions of older configurations. Looks at no more than `budget` records and
    /// says at how many it looked; if that is the budget, there may be more to do.
    pub fn expire(&mut self, now: Tick, budget: usize, events: &mut impl Events) -> usize {
        self.tables.expire(&self.config, now, budget, events)
    }

    /// Deletes a session at an operator's wish, and with the last one its mapping. Nothing happens if it is not live.
    //= conformance MAP-15
    pub fn delete(&mut self, session: SessionIndex, now: Tick, events: &mut impl Events) {
        self.tables.flush(events);
        let live = self.tables.sessions.get(session.0 as usize).is_some_and(Session::is_live);
        if live && self.tables.records.owns(session.0) {
            self.tables.close(session.0, now, events);
        }
    }

    /// Deletes mappings with all their sessions at an operator's wish, a part of the records at a time: those from `from` on.
    /// The budget is spent by looking at records, and more of it by deleting. Ports rest after it, TCP ports as well. Sessions
    /// of static mappings are deleted, too; these mappings themselves stay.
    pub fn remove(
        &mut self,
        removal: &Removal,
        from: u32,
        budget: usize,
        now: Tick,
        events: &mut impl Events,
    ) -> Removed {
        self.tables.remove_some(removal, from, budget, now, events)
    }

    /// How much there is.
    pub fn stats(&self) -> EngineStats {
        let tables = &self.tables;
        EngineStats {
            sessions: tables.live,
            session_capacity: tables.max_sessions,
            bindings: tables.bindings.len(),
            binding_capacity: tables.bindings.capacity(),
            subscribers: tables.subscribers.len(),
            subscriber_capacity: tables.subscribers.capacity(),
            port_blocks: tables.blocks.len(),
            statics_failed: tables.statics_failed,
        }
    }
}
