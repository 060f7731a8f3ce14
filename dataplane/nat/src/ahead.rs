//! Memory asked for ahead of the slow paths: batches of new sessions, and batches of sessions that end.
//!
//! Either touches some fifteen lines, most of them cold and many found through one another. Stage by stage for a whole
//! batch, the waits overlap. Nothing here changes anything, or decides what cannot be decided otherwise: a port that was
//! picked ahead is taken only if it is still free when its turn comes.

use crate::arena::prefetch;
use crate::binding::{ExternalKey, InsideKey};
use crate::blocks;
use crate::config::Config;
use crate::key::{InboundTuple, OutboundTuple};
use crate::mapping::Wanted;
use crate::record::Session;
use crate::tables::Tables;
use crate::types::{Protocol, Tick};

/// Tuples of one round.
const BATCH: usize = 32;

/// A port that was picked for an inside address and port.
#[derive(Clone, Copy, Debug)]
struct Pick {
    inside: u128,
    inside_port: u16,
    protocol: Protocol,
    block: u32,
    port: u16,
}

/// What leads to the memory that a tuple will need.
#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing,
    Binding(u32),
    Subscriber(u32),
}

/// Ports that were picked ahead, in the order in which they will be asked for.
#[derive(Debug)]
pub(crate) struct Picks {
    picks: [Option<Pick>; BATCH],
    next: usize,
}

impl Picks {
    pub(crate) fn new() -> Self {
        Self { picks: [None; BATCH], next: BATCH }
    }

    /// Forgets what was picked and not taken: blocks or configuration are no longer what they were.
    pub(crate) fn forget(&mut self) {
        self.next = BATCH;
    }

    /// The port picked for a tuple. Picks before it are forgotten: their tuples turned out to need none.
    pub(crate) fn take(&mut self, tuple: &OutboundTuple) -> Option<(u32, u16)> {
        while let Some(pick) = self.picks.get(self.next) {
            self.next += 1;
            if let Some(pick) = pick
                && pick.inside == tuple.inside
                && pick.inside_port == tuple.inside_port
                && pick.protocol == tuple.protocol
            {
                return Some((pick.block, pick.port));
            }
        }
        None
    }
}

impl Tables {
    /// Before a batch of new outbound sessions. Ports are picked for the first [`BATCH`] of them.
    pub(crate) fn prepare_outbound(&mut self, config: &Config, tuples: &[OutboundTuple], now: Tick) {
        let tuples = &tuples[..tuples.len().min(BATCH)];
        if let Some(number) = self.records.next() {
            prefetch(self.record(number));
        }
        let mut services = [None; BATCH];
        for (tuple, service) in tuples.iter().zip(&mut services) {
            self.outbound.prefetch(self.outbound.place(tuple.hash(&self.seed)));
            let rule = config.rule(tuple.kind_realm, tuple.prefix64, tuple.inside, tuple.remote, None);
            let Some(rule) = rule else { continue };
            let pool = &config.pools[usize::from(rule.pool)];
            let inside = (tuple.inside, tuple.inside_port);
            let key = InsideKey::new(tuple.kind_realm, tuple.protocol, inside, pool.id);
            self.bindings.prefetch_inside(&key);
            *service = Some((pool, key));
        }
        // A tag in an index tells with near certainty which record it will be. A binding leads to all else that is needed;
        // without one it is found by way of the subscriber.
        let mut found = [Found::Nothing; BATCH];
        for ((tuple, service), found) in tuples.iter().zip(&services).zip(&mut found) {
            match service.as_ref().and_then(|(_, key)| self.bindings.guess(key)) {
                Some(binding) => *found = Found::Binding(binding),
                None => self
                    .subscribers
                    .prefetch(tuple.kind_realm, config.subscriber(tuple.kind_realm, tuple.inside)),
            }
        }
        for (tuple, found) in tuples.iter().zip(&mut found) {
            if let Found::Binding(binding) = *found {
                self.bindings.prefetch_ends(binding);
                self.blocks.prefetch(self.bindings.home(binding));
                continue;
            }
            let prefix = config.subscriber(tuple.kind_realm, tuple.inside);
            if let Some(subscriber) = self.subscribers.guess(tuple.kind_realm, prefix) {
                *found = Found::Subscriber(subscriber);
            }
        }
        for (tuple, &found) in tuples.iter().zip(&found) {
            match found {
                Found::Binding(binding) => {
                    let binding = self.bindings.get(binding);
                    self.subscribers.prefetch_number(self.subscriber_of(&binding));
                    self.prefetch_reply(tuple, binding.ends.external, binding.ends.external_port);
                }
                Found::Subscriber(subscriber) => {
                    self.blocks.prefetch(self.subscribers.get(subscriber).first_block);
                }
                Found::Nothing => {}
            }
        }
        for (tuple, &found) in tuples.iter().zip(&found) {
            if let Found::Subscriber(subscriber) = found {
                let block = self.subscribers.get(subscriber).first_block;
                if block != blocks::NONE {
                    self.blocks.prefetch_ports(&self.shared, block, tuple.protocol);
                }
            }
        }
        self.picks = Picks { picks: [None; BATCH], next: 0 };
        for (n, ((tuple, service), found)) in tuples.iter().zip(&services).zip(&found).enumerate() {
            let (Some((pool, _)), &Found::Subscriber(subscriber)) = (service, found) else { continue };
            // A range goes before the blocks that are at hand.
            if pool.deterministic.is_some() {
                continue;
            }
            let OutboundTuple { inside, inside_port, protocol, .. } = *tuple;
            let wanted = Wanted::new(pool, subscriber, protocol, inside_port);
            let Some((block, port)) = self.own_near_port(config, &wanted, now) else { continue };
            self.picks.picks[n] = Some(Pick { inside, inside_port, protocol, block, port });
            let external = self.blocks.get(block).address;
            self.bindings.prefetch_external(&ExternalKey { protocol, external, external_port: port });
            self.prefetch_reply(tuple, external, port);
        }
    }

    /// Asks for the index line of the packets that will answer.
    #[inline(always)]
    pub(crate) fn prefetch_reply(&self, tuple: &OutboundTuple, external: u32, external_port: u16) {
        let OutboundTuple { protocol, remote, remote_port, .. } = *tuple;
        let reply = InboundTuple { protocol, external, external_port, remote, remote_port };
        self.inbound.prefetch(self.inbound.place(reply.hash(&self.seed)));
    }

    /// Before a batch of records from the wheel is looked at.
    pub(crate) fn prepare_due(&self, due: &[u32], now: Tick) {
        due.iter().for_each(|&number| prefetch(self.record(number)));
        let over = |number: &&u32| {
            let record = self.record(**number);
            let hot = record.hot();
            record.is_live() && now.since(hot.last_seen) >= self.lifetimes.of(hot.timer_class)
        };
        for number in due.iter().filter(over) {
            let record: &Session = self.record(*number);
            self.outbound.prefetch(self.outbound.place(OutboundTuple::hash_of(record, &self.seed)));
            self.inbound.prefetch(self.inbound.place(InboundTuple::hash_of(record, &self.seed)));
            self.bindings.prefetch(record.binding());
        }
        for number in due.iter().filter(over) {
            let binding = self.bindings.of_session(*number);
            if binding.sessions == 1 && !binding.is_static() {
                self.bindings.prefetch_indexes(&binding);
                self.blocks.prefetch(binding.home);
            }
        }
    }
}
