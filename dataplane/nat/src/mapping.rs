//! Making and deleting bindings: an external address and port for an inside one.

use sluice_packet::DropReason;

use crate::binding::{Binding, Ends};
use crate::blocks::{self, NewBlock};
use crate::config::{Config, Pool, Rule};
use crate::event::{Event, Events};
use crate::key::OutboundTuple;
use crate::ports::Window;
use crate::tables::Tables;
use crate::types::{Protocol, Tick};

/// Addresses whose blocks are searched for a port range that is only preferred.
const PREFERRED_REACH: usize = 64;

/// A port to be found.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pool: &'a Pool,
    subscriber: u32,
    protocol: Protocol,
    /// Whole range of the pool.
    any: Window,
    /// The part of it that the inside port asks for (PORT-03).
    near: Window,
    parity: Option<bool>,
}

impl Tables {
    /// A binding to be made: its port is taken, and it will be in the table with its first session.
    pub(crate) fn allot(
        &mut self,
        config: &Config,
        rule: &Rule,
        subscriber: u32,
        tuple: &OutboundTuple,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Binding, DropReason> {
        let number = self.bindings.next().ok_or(DropReason::BindingTableFull)?;
        let pool = &config.pools[usize::from(rule.pool)];
        let wanted = Wanted::new(pool, subscriber, tuple.protocol, tuple.inside_port);
        let picked = self.picks.take(tuple).filter(|&(block, port)| self.still_fits(&wanted, block, port));
        let (block, port) = match picked {
            Some(picked) => picked,
            None => self.find_port(config, &wanted, now, events)?,
        };
        let ends = Ends {
            inside: tuple.inside,
            external: self.blocks.get(block).address,
            inside_port: tuple.inside_port,
            external_port: port,
            kind_realm: tuple.kind_realm,
            protocol: tuple.protocol,
        };
        // Both lines are far away and known only now; what follows until they are needed covers part of the way.
        self.bindings.prefetch_external(&ends.external_key());
        self.prefetch_reply(tuple, ends.external, port);
        self.blocks.take(&self.shared, block, tuple.protocol, port);
        let (pool, prefix64) = (pool.id, tuple.prefix64);
        Ok(Binding { number, ends, home: block, sessions: 0, pool, prefix64, retired: false })
    }

    /// Gives the port of a binding back that is over, or was not made. It rests if it ever served a session.
    pub(crate) fn give_port_back(&mut self, binding: &Binding, now: Tick, rests: bool) {
        let Ends { protocol, external_port, .. } = binding.ends;
        self.blocks.give_back(&self.shared, binding.home, protocol, external_port, now, rests);
    }

    /// A port: of the subscriber's own blocks, else of a new block; in the preferred range, else in any.
    fn find_port(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<(u32, u16), DropReason> {
        if let Some(found) = self.own_near_port(config, wanted, now) {
            return Ok(found);
        }
        let near = wanted.near;
        let parity = wanted.parity;
        let mut refusal = match self.new_block(config, wanted, near, now, events) {
            Ok(block) => match self.pick(config, block, wanted.protocol, Window { parity, ..near }, now) {
                Some(port) => return Ok((block, port)),
                None => self.pick_or_settle(config, block, wanted.protocol, near, now),
            },
            Err(reason) => Err(reason),
        };
        //= conformance PORT-03, PORT-04
        if refusal.is_err() && near != wanted.any {
            if let Some(found) = self.own_port(config, wanted, wanted.any, now) {
                return Ok(found);
            }
            let block = self.new_block(config, wanted, wanted.any, now, events)?;
            refusal = self.pick_or_settle(config, block, wanted.protocol, wanted.any, now);
        }
        refusal
    }

    /// A port of the subscriber's own blocks in the preferred range, of the preferred parity if there is one.
    pub(crate) fn own_near_port(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        now: Tick,
    ) -> Option<(u32, u16)> {
        let (near, parity) = (wanted.near, wanted.parity);
        //= conformance PORT-05
        if parity.is_some()
            && let Some(found) = self.own_port(config, wanted, Window { parity, ..near }, now)
        {
            return Some(found);
        }
        self.own_port(config, wanted, near, now)
    }

    /// Whether a port that was picked a moment ago can be taken still.
    fn still_fits(&self, wanted: &Wanted<'_>, block: u32, port: u16) -> bool {
        let at = self.blocks.get(block);
        at.subscriber == wanted.subscriber
            && at.pool == wanted.pool.id
            && self.blocks.is_free(&self.shared, block, wanted.protocol, port)
    }

    /// A port of a new block. If all of them are reserved, the block goes back.
    fn pick_or_settle(
        &mut self,
        config: &Config,
        block: u32,
        protocol: Protocol,
        window: Window,
        now: Tick,
    ) -> Result<(u32, u16), DropReason> {
        match self.pick(config, block, protocol, window, now) {
            Some(port) => Ok((block, port)),
            None => {
                self.blocks.settle(block);
                Err(DropReason::PoolExhausted)
            }
        }
    }

    /// The subscriber's blocks of a pool, as the current configuration sees it.
    fn next_own(&self, config: &Config, pool: &Pool, mut block: u32) -> Option<u32> {
        while block != blocks::NONE {
            let at = self.blocks.get(block);
            let here = at.pool == pool.id
                && config.locate(at.address).is_some_and(|(now, slot)| now.id == pool.id && slot == at.slot);
            if here {
                return Some(block);
            }
            block = at.next;
        }
        None
    }

    fn own_port(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        window: Window,
        now: Tick,
    ) -> Option<(u32, u16)> {
        let mut next = self.subscribers.get(wanted.subscriber).first_block;
        while let Some(block) = self.next_own(config, wanted.pool, next) {
            if let Some(port) = self.pick(config, block, wanted.protocol, window, now) {
                return Some((block, port));
            }
            next = self.blocks.get(block).next;
        }
        None
    }

    /// A free port of a block that no static binding has.
    fn pick(
        &mut self,
        config: &Config,
        block: u32,
        protocol: Protocol,
        window: Window,
        now: Tick,
    ) -> Option<u16> {
        loop {
            let port = self.blocks.pick(&self.shared, block, protocol, window, now, &mut self.rng)?;
            if config.static_at(protocol, self.blocks.get(block).address, port).is_none() {
                return Some(port);
            }
            //= conformance PORT-08
            self.blocks.withhold(&self.shared, block, protocol, port);
        }
    }

    /// Claims a block for a subscriber: of the address that it has already, else of one at random.
    fn new_block(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        window: Window,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<u32, DropReason> {
        let subscriber = *self.subscribers.get(wanted.subscriber);
        //= conformance LIM-01
        if subscriber.blocks >= config.limits.max_port_blocks {
            return Err(DropReason::SubscriberPorts);
        }
        if self.blocks.is_full() {
            return Err(DropReason::PoolExhausted);
        }
        //= conformance MAP-04, MAP-06, N64-ICMP-02
        let paired = self.next_own(config, wanted.pool, subscriber.first_block);
        let claimed = match paired {
            Some(block) => {
                let at = *self.blocks.get(block);
                self.claim(wanted.pool, (at.address, at.slot), window)
            }
            None => self.claim_anywhere(wanted, window),
        };
        //= conformance PORT-22
        let ((address, slot), number) = claimed.ok_or(DropReason::PoolExhausted)?;
        let start = u32::from(number) << wanted.pool.shift;
        let last = start + (1 << wanted.pool.shift) - 1;
        let new = NewBlock {
            slot,
            address,
            number,
            shift: wanted.pool.shift,
            first: (start as u16).max(wanted.pool.port_min),
            last: (last as u16).min(wanted.pool.port_max),
            pool: wanted.pool.id,
            subscriber: wanted.subscriber,
            next: subscriber.first_block,
            hold: wanted.pool.hold,
        };
        let Some(block) = self.blocks.add(new, now) else {
            self.shared.release_block(slot, number, wanted.pool.shift);
            return Err(DropReason::PoolExhausted);
        };
        let owner = self.subscribers.get_mut(wanted.subscriber);
        owner.first_block = block;
        owner.blocks += 1;
        events.event(Event::BlockAllocated {
            kind_realm: subscriber.kind_realm,
            subscriber: subscriber.prefix(),
            external: address,
            first: new.first,
            last: new.last,
        });
        Ok(block)
    }

    fn claim(&mut self, pool: &Pool, at: (u32, u32), window: Window) -> Option<((u32, u32), u16)> {
        let ports = (window.first, window.last);
        let block = self.shared.claim_block(at, pool.shift, ports, self.worker, &mut self.rng)?;
        Some((at, block))
    }

    /// A block of any address, from a random one on. Full addresses cost one look at a counter.
    fn claim_anywhere(&mut self, wanted: &Wanted<'_>, window: Window) -> Option<((u32, u32), u16)> {
        let pool = wanted.pool;
        let count = pool.addresses.len();
        let start = self.rng.below(count as u32) as usize;
        let mut tries = if window == wanted.any { usize::MAX } else { PREFERRED_REACH };
        for step in 0..count {
            let position = (start + step) % count;
            if !self.shared.has_free_block(position, pool) {
                continue;
            }
            if let Some(claimed) = self.claim(pool, pool.addresses[position], window) {
                return Some(claimed);
            }
            tries -= 1;
            if tries == 0 {
                return None;
            }
        }
        None
    }

    /// Releases blocks that are empty and rested.
    pub(crate) fn release_blocks(&mut self, now: Tick, budget: &mut usize, events: &mut impl Events) {
        while let Some(block) = self.blocks.next_rested(now, budget) {
            self.picks.forget();
            let at = *self.blocks.get(block);
            self.unlink(at.subscriber, block, at.next);
            let subscriber = *self.subscribers.get(at.subscriber);
            self.blocks.release(&self.shared, block);
            events.event(Event::BlockReleased {
                kind_realm: subscriber.kind_realm,
                subscriber: subscriber.prefix(),
                external: at.address,
                first: at.first,
                last: at.last,
            });
            self.subscribers.drop_if_idle(at.subscriber);
        }
    }

    fn unlink(&mut self, subscriber: u32, block: u32, next: u32) {
        let owner = self.subscribers.get_mut(subscriber);
        owner.blocks -= 1;
        if owner.first_block == block {
            owner.first_block = next;
            return;
        }
        let mut before = owner.first_block;
        while before != blocks::NONE {
            let following = self.blocks.get(before).next;
            if following == block {
                self.blocks.set_next(before, next);
                return;
            }
            before = following;
        }
    }
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(pool: &'a Pool, subscriber: u32, protocol: Protocol, inside_port: u16) -> Self {
        let any = Window { first: pool.port_min, last: pool.port_max, parity: None };
        let near = if inside_port < 1024 {
            Window { last: pool.port_max.min(1023), ..any }
        } else {
            Window { first: pool.port_min.max(1024), ..any }
        };
        Self {
            pool,
            subscriber,
            protocol,
            any,
            near: if near.first <= near.last { near } else { any },
            parity: (protocol == Protocol::Udp && pool.parity).then_some(inside_port % 2 == 1),
        }
    }
}
