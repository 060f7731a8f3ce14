//! The end of sessions: timers, and configurations under which they no longer stand.

use sluice_packet::DropReason;

use crate::config::Config;
use crate::create::check_remote;
use crate::event::{Event, Events};
use crate::record::{Fixed, Hot, Route};
use crate::shared::EXTENT;
use crate::tables::{FROM_OUTSIDE, PERMIT, Tables};
use crate::tcp::TcpState;
use crate::types::{TICKS_PER_SECOND, Tick};

/// Records taken from the wheel at once.
const BATCH: usize = 32;

impl Tables {
    /// Bounded housekeeping. Returns how much of the budget was used: all of it means that there is more to do.
    pub(crate) fn expire(
        &mut self,
        config: &Config,
        now: Tick,
        budget: usize,
        events: &mut impl Events,
    ) -> usize {
        self.now = now;
        self.flush(events);
        // The rarer tasks go first with a share, so that the wheel cannot starve them.
        let mut left = budget;
        let mut share = (budget / 8).max(1).min(left);
        left -= share;
        self.release_blocks(now, &mut share, events);
        left += share;
        let mut share = (budget / 4).max(1).min(left);
        left -= share;
        self.sweep_some(config, now, &mut share, events);
        left += share;
        let mut due = [0; BATCH];
        while left > 0 {
            let room = left.min(BATCH);
            let count = self.wheel.take_due(self.records.links(), now, &mut due[..room]);
            if count == 0 {
                break;
            }
            left -= count;
            self.prepare_due(&due[..count], now);
            due[..count].iter().for_each(|&number| self.fire(config, number, now, events));
        }
        // What is left goes to the sweep, and to blocks that have just become empty.
        self.sweep_some(config, now, &mut left, events);
        self.release_blocks(now, &mut left, events);
        budget - left
    }

    /// A record whose slot fired.
    fn fire(&mut self, config: &Config, number: u32, now: Tick, events: &mut impl Events) {
        let record = self.record(number);
        if !record.is_live() {
            self.records.give_back(&self.shared, number);
            return;
        }
        match self.left(config, number, now, events) {
            Some(ticks) => self.wheel.file(self.records.links(), number, now, ticks),
            None => {
                self.close(number, now, events);
                self.records.give_back(&self.shared, number);
            }
        }
    }

    /// Ticks until a live session is to be looked at again; `None` if it is to end now.
    fn left(&mut self, config: &Config, number: u32, now: Tick, events: &mut impl Events) -> Option<u32> {
        if !self.stands(config, number) {
            return None;
        }
        let record = self.record(number);
        let hot = record.hot();
        let life = self.lifetimes.of(hot.timer_class);
        let idle = now.since(hot.last_seen);
        if idle < life {
            return Some(self.lifetimes.look_in(hot.timer_class, life - idle));
        }
        //= conformance N64-TCP-14, N64-TCP-25, N64-TCP-28, N64-TCP-32
        if hot.tcp_state != TcpState::Established as u8 {
            return None;
        }
        //= conformance N64-TCP-21, N64-TCP-22, N64-TCP-33
        if config.timers.tcp_idle_probe {
            events.probe(&record.fixed());
        }
        let state = TcpState::Transitory;
        let timer_class = state.timer() as u8;
        record.set_hot(Hot { last_seen: now, tcp_state: state as u8, timer_class, ..hot });
        Some(self.lifetimes.look_in(timer_class, self.lifetimes.of(timer_class)))
    }

    /// Whether a session stands under the current configuration; if so it says so from now on.
    fn stands(&mut self, config: &Config, number: u32) -> bool {
        let record = self.record(number);
        let route = record.route();
        if route.rule_generation == self.generation {
            return true;
        }
        //= conformance MAP-16
        let fixed = record.fixed();
        let binding = self.bindings.of_session(number);
        let Some(rule) = self.rule_of(config, &binding, fixed.prefix64, fixed.remote) else { return false };
        let hot = record.hot();
        if check_remote(config, rule, fixed.prefix64, fixed.remote).is_err() {
            return false;
        }
        let from_inside = hot.flags & FROM_OUTSIDE == 0;
        if from_inside
            && !config.still_translates(fixed.kind_realm, fixed.inside, (fixed.prefix64, fixed.remote))
        {
            return false;
        }
        // A rule may filter by address since this session was made.
        if config.by_address[binding.ends.protocol.index()]
            && hot.flags & PERMIT == 0
            && self.permissions.add(fixed.binding, fixed.remote)
        {
            record.set_hot(Hot { flags: hot.flags | PERMIT, ..hot });
        }
        record.set_route(Route { rule_generation: self.generation, ..route });
        true
    }

    /// For a packet of a session from an older configuration.
    #[cold]
    pub(crate) fn revalidate_or_remove(
        &mut self,
        config: &Config,
        number: u32,
        now: Tick,
    ) -> Result<(), DropReason> {
        if !self.record(number).is_live() {
            return Err(DropReason::NoBinding);
        }
        if self.stands(config, number) {
            return Ok(());
        }
        // Without room for its events it is left to the sweep, which is on its way.
        if self.can_defer() {
            let mut pending = core::mem::take(&mut self.pending);
            self.close(number, now, &mut Deferred(&mut pending));
            self.pending = pending;
        }
        Err(DropReason::NoRule)
    }

    /// After a change of configuration: checks a run of records, so that what is no longer served goes soon. As long as
    /// records may be filed in the wheel under longer timers than the present ones, a new round starts every second.
    fn sweep_some(&mut self, config: &Config, now: Tick, budget: &mut usize, events: &mut impl Events) {
        let end = self.sessions.len() as u32;
        if self.sweep >= end {
            let again = self.patrol.is_some_and(|until| until.since(now) > 0);
            if !again || now.since(self.swept) < TICKS_PER_SECOND {
                return;
            }
            (self.sweep, self.swept) = (0, now);
        }
        while *budget > 0 && self.sweep < end {
            *budget -= 1;
            let number = self.sweep;
            if !self.records.owns(number) {
                self.sweep = (number / EXTENT + 1).saturating_mul(EXTENT).min(end);
                continue;
            }
            self.sweep += 1;
            if self.record(number).is_live() && self.left(config, number, now, events).is_none() {
                self.close(number, now, events);
            }
        }
    }
}

/// Keeps events for later. Room was made sure of.
struct Deferred<'a>(&'a mut Vec<Event>);

impl Events for Deferred<'_> {
    fn event(&mut self, event: Event) {
        self.0.push(event);
    }

    /// A session that is closed is not probed.
    fn probe(&mut self, _: &Fixed) {}
}
