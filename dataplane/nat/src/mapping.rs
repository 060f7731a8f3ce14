//! Making and deleting bindings: an external address and port for an inside one.

use sluice_packet::DropReason;

use crate::binding::{Binding, Ends};
use crate::blocks::{self, Block, NewBlock, Rest};
use crate::config::{Config, Pool, Rule};
use crate::event::{Event, Events};
use crate::key::OutboundTuple;
use crate::ports::Window;
use crate::reserved::Withheld;
use crate::shared::UNIT_SHIFT;
use crate::spec::Pairing;
use crate::tables::Tables;
use crate::types::{Kind, Protocol, Tick};

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
    /// Of any address, whatever the subscriber has already (MAP-06).
    anywhere: bool,
}

/// The range that a subscriber has by its address: external address and slot, first and last port.
#[derive(Clone, Copy)]
struct FixedRange {
    at: (u32, u32),
    first: u16,
    last: u16,
}

impl Tables {
    /// A binding to be made: its port is taken, and it will be in the table with its first session.
    //= conformance N64-ICMP-03
    pub(crate) fn allot(
        &mut self,
        config: &Config,
        rule: &Rule,
        subscriber: u32,
        tuple: &OutboundTuple,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Binding, DropReason> {
        //= conformance LIM-02
        let protocol = tuple.protocol.index();
        if self.subscribers.get(subscriber).mappings[protocol] >= config.limits.max_mappings[protocol] {
            return Err(DropReason::SubscriberMappings);
        }
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
        //= conformance PORT-01, MAP-02
        self.blocks.take(&self.shared, block, tuple.protocol, port);
        let (pool, prefix64) = (pool.id, tuple.prefix64);
        let (retired, revoked) = (false, false);
        Ok(Binding { number, ends, home: block, sessions: 0, pool, prefix64, retired, revoked })
    }

    /// Gives the port of a binding back that is over, or was not made.
    pub(crate) fn give_port_back(&mut self, binding: &Binding, now: Tick, rest: Rest) {
        let Ends { protocol, external_port, .. } = binding.ends;
        self.blocks.give_back(&self.shared, binding.home, protocol, external_port, now, rest);
    }

    /// A port: of the subscriber's own blocks, else of a new block of its address, else, if the pool is so configured, of
    /// another address.
    fn find_port(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<(u32, u16), DropReason> {
        if let Some(found) = self.fixed_port(config, wanted, now) {
            return Ok(found);
        }
        if let Some(found) = self.own_near_port(config, wanted, now) {
            return Ok(found);
        }
        let found = self.find_new_port(config, wanted, now, events);
        //= conformance MAP-06
        let leaves = found == Err(DropReason::PoolExhausted)
            && wanted.pool.pairing == Pairing::Soft
            && self.home(config, wanted).is_some();
        if leaves {
            self.find_new_port(config, &Wanted { anywhere: true, ..*wanted }, now, events)
        } else {
            found
        }
    }

    /// A port of a new block, in the preferred range, else any port.
    fn find_new_port(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<(u32, u16), DropReason> {
        let near = wanted.near;
        let parity = wanted.parity;
        let mut refusal = match self.new_block(config, wanted, near, now, events) {
            Ok(block) => match self.pick(config, wanted, block, Window { parity, ..near }, now) {
                Some(port) => return Ok((block, port)),
                None => self.pick_or_settle(config, wanted, block, near, now),
            },
            Err(reason) => Err(reason),
        };
        //= conformance PORT-03, PORT-04
        if refusal.is_err() && near != wanted.any {
            if let Some(found) = self.own_port(config, wanted, wanted.any, false, now) {
                return Ok(found);
            }
            let block = self.new_block(config, wanted, wanted.any, now, events)?;
            refusal = self.pick_or_settle(config, wanted, block, wanted.any, now);
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
            && let Some(found) = self.own_port(config, wanted, Window { parity, ..near }, false, now)
        {
            return Some(found);
        }
        self.own_port(config, wanted, near, false, now)
    }

    /// Whether a port that was picked a moment ago can be taken still.
    fn still_fits(&self, wanted: &Wanted<'_>, block: u32, port: u16) -> bool {
        let at = self.blocks.get(block);
        at.subscriber == wanted.subscriber
            && at.pool == wanted.pool.id
            && self.blocks.is_free(&self.shared, block, wanted.protocol, port)
    }

    /// A port of a new block. If there is none in the window, the block goes back.
    fn pick_or_settle(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        block: u32,
        window: Window,
        now: Tick,
    ) -> Result<(u32, u16), DropReason> {
        match self.pick(config, wanted, block, window, now) {
            Some(port) => Ok((block, port)),
            None => {
                self.blocks.settle(block);
                Err(DropReason::PoolExhausted)
            }
        }
    }

    /// The subscriber's blocks of a pool, as the current configuration sees it.
    pub(crate) fn next_own(&self, config: &Config, pool: &Pool, mut block: u32) -> Option<u32> {
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

    /// A port of the blocks that a subscriber has: of its range if `fixed`, else of the others.
    fn own_port(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        window: Window,
        fixed: bool,
        now: Tick,
    ) -> Option<(u32, u16)> {
        let mut next = self.subscribers.get(wanted.subscriber).first_block;
        while let Some(block) = self.next_own(config, wanted.pool, next) {
            if self.blocks.get(block).fixed == fixed
                && let Some(port) = self.pick(config, wanted, block, window, now)
            {
                return Some((block, port));
            }
            next = self.blocks.get(block).next;
        }
        None
    }

    /// A free port of a block that is not reserved and that no static binding has.
    //= conformance PORT-08
    fn pick(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        block: u32,
        window: Window,
        now: Tick,
    ) -> Option<u16> {
        let protocol = wanted.protocol;
        let withheld = Withheld::new(config, wanted.pool, protocol, self.blocks.get(block).address);
        self.blocks.pick(&self.shared, block, protocol, (window, withheld), now, &mut self.rng)
    }

    /// The address, with its slot, that a subscriber is paired with: that of its newest block, or of its range. `None` if it has
    /// neither, or is to get another one.
    fn home(&self, config: &Config, wanted: &Wanted<'_>) -> Option<(u32, u32)> {
        if wanted.anywhere {
            return None;
        }
        let first = self.subscribers.get(wanted.subscriber).first_block;
        match self.next_own(config, wanted.pool, first) {
            Some(block) => {
                let at = self.blocks.get(block);
                Some((at.address, at.slot))
            }
            None => self.fixed_range(config, wanted).map(|range| range.at),
        }
    }

    /// Claims a block for a subscriber: of the address that it has already, else of one at random.
    //= conformance PORT-15
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
        //= conformance PORT-19
        let window = wanted.overflow(window).ok_or(DropReason::PoolExhausted)?;
        //= conformance MAP-04, MAP-06, N64-ICMP-02
        let claimed = match self.home(config, wanted) {
            Some(at) => self.claim(config, wanted, at, window),
            None => self.claim_anywhere(config, wanted, window),
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
            max_resting: wanted.pool.max_resting,
            fixed: false,
        };
        let Some(block) = self.blocks.add(new, now) else {
            self.shared.release_block(slot, number, wanted.pool.shift);
            return Err(DropReason::PoolExhausted);
        };
        let owner = self.subscribers.get_mut(wanted.subscriber);
        owner.first_block = block;
        owner.blocks += 1;
        if self.log.blocks {
            events.event(Event::BlockAllocated {
                kind_realm: subscriber.kind_realm,
                subscriber: subscriber.prefix(),
                external: address,
                first: new.first,
                last: new.last,
            });
        }
        Ok(block)
    }

    /// The range that a subscriber has by its address, in a pool that has such.
    fn fixed_range(&self, config: &Config, wanted: &Wanted<'_>) -> Option<FixedRange> {
        let map = wanted.pool.deterministic.as_ref()?;
        let subscriber = self.subscribers.get(wanted.subscriber);
        if subscriber.kind_realm.kind() != Some(Kind::Nat44) {
            return None;
        }
        let (external, first, last) = map.range(subscriber.prefix() as u32)?;
        let (_, slot) = config.locate(external)?;
        Some(FixedRange { at: (external, slot), first, last })
    }

    /// A port of the range that a subscriber has by its address, as long as one is free.
    //= conformance PORT-17
    fn fixed_port(&mut self, config: &Config, wanted: &Wanted<'_>, now: Tick) -> Option<(u32, u16)> {
        let range = self.fixed_range(config, wanted)?;
        let parity = wanted.parity;
        for window in [Window { parity, ..wanted.near }, wanted.near, wanted.any] {
            if let Some(found) = self.own_port(config, wanted, window, true, now) {
                return Some(found);
            }
            if let Some(block) = self.fixed_block(config, wanted, range, window, now)
                && let Ok(found) = self.pick_or_settle(config, wanted, block, window, now)
            {
                return Some(found);
            }
        }
        None
    }

    /// One more unit of a subscriber's range as a block, in no order. Nobody needs a log of it, its ports need no rest, and no
    /// limit but the range's own end counts it.
    //= conformance PORT-12, PORT-17
    fn fixed_block(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        range: FixedRange,
        window: Window,
        now: Tick,
    ) -> Option<u32> {
        let ports = (window.first.max(range.first), window.last.min(range.last));
        if ports.0 > ports.1 || self.blocks.is_full() {
            return None;
        }
        let (address, slot) = range.at;
        let ports = (ports, Withheld::new(config, wanted.pool, wanted.protocol, address));
        let number =
            self.shared.claim_block((address, slot), UNIT_SHIFT, ports, self.worker, &mut self.rng)?;
        let start = number << UNIT_SHIFT;
        let new = NewBlock {
            slot,
            address,
            number,
            shift: UNIT_SHIFT,
            first: start,
            last: start + (1 << UNIT_SHIFT) - 1,
            pool: wanted.pool.id,
            subscriber: wanted.subscriber,
            next: self.subscribers.get(wanted.subscriber).first_block,
            hold: 0,
            max_resting: 0,
            fixed: true,
        };
        let Some(block) = self.blocks.add(new, now) else {
            self.shared.release_block(slot, number, UNIT_SHIFT);
            return None;
        };
        self.subscribers.get_mut(wanted.subscriber).first_block = block;
        Some(block)
    }

    fn claim(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        at: (u32, u32),
        window: Window,
    ) -> Option<((u32, u32), u16)> {
        let withheld = Withheld::new(config, wanted.pool, wanted.protocol, at.0);
        let ports = ((window.first, window.last), withheld);
        let block = self.shared.claim_block(at, wanted.pool.shift, ports, self.worker, &mut self.rng)?;
        Some((at, block))
    }

    /// A block of any address, from a random one on. Full addresses cost one look at a counter.
    fn claim_anywhere(
        &mut self,
        config: &Config,
        wanted: &Wanted<'_>,
        window: Window,
    ) -> Option<((u32, u32), u16)> {
        let pool = wanted.pool;
        let whole = wanted.overflow(wanted.any) == Some(window);
        let releases = self.shared.releases();
        //= conformance LIM-10
        if whole && self.exhausted.is(pool.id, wanted.protocol, releases) {
            return None;
        }
        let count = pool.addresses.len();
        let start = self.rng.below(count as u32) as usize;
        let mut tries = if whole { usize::MAX } else { PREFERRED_REACH };
        for step in 0..count {
            let position = (start + step) % count;
            if !self.shared.has_free_block(position, pool) {
                continue;
            }
            if let Some(claimed) = self.claim(config, wanted, pool.addresses[position], window) {
                return Some(claimed);
            }
            tries -= 1;
            if tries == 0 {
                return None;
            }
        }
        if whole {
            self.exhausted.found(pool.id, wanted.protocol, releases);
        }
        None
    }

    /// Releases blocks that are empty and rested.
    pub(crate) fn release_blocks(&mut self, now: Tick, budget: &mut usize, events: &mut impl Events) {
        while let Some(block) = self.blocks.next_rested(now, budget) {
            self.picks.forget();
            let at = *self.blocks.get(block);
            self.unlink(at.subscriber, block, &at);
            let subscriber = *self.subscribers.get(at.subscriber);
            self.blocks.release(&self.shared, block);
            if !at.fixed && self.log.blocks {
                events.event(Event::BlockReleased {
                    kind_realm: subscriber.kind_realm,
                    subscriber: subscriber.prefix(),
                    external: at.address,
                    first: at.first,
                    last: at.last,
                });
            }
            self.subscribers.drop_if_idle(at.subscriber);
        }
    }

    fn unlink(&mut self, subscriber: u32, block: u32, at: &Block) {
        let next = at.next;
        let owner = self.subscribers.get_mut(subscriber);
        owner.blocks -= u16::from(!at.fixed);
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
    /// What a window leaves for dynamic blocks: all of it, unless the pool has ranges. A block that begins in one is no block.
    fn overflow(&self, window: Window) -> Option<Window> {
        let Some(map) = &self.pool.deterministic else { return Some(window) };
        let (first, last) = map.overflow()?;
        let first = u32::from(first).next_multiple_of(1 << self.pool.shift).max(window.first.into());
        let last = last.min(window.last);
        (first <= u32::from(last)).then_some(Window { first: first as u16, last, ..window })
    }

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
            anywhere: false,
        }
    }
}
