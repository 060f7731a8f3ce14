//! Memory asked for ahead of the slow paths: batches of new sessions, and batches of sessions that end.
//!
//! Either touches some fifteen lines, most of them cold and many found through one another. Stage by stage for a whole
//! batch, the waits overlap. Nothing here changes or decides anything.

use crate::arena::prefetch;
use crate::bindings::InsideKey;
use crate::blocks;
use crate::config::Config;
use crate::key::{InboundTuple, OutboundTuple};
use crate::record::Session;
use crate::tables::Tables;
use crate::types::Tick;

/// Tuples of one round.
const BATCH: usize = 32;

impl Tables {
    /// Before a batch of new outbound sessions.
    pub(crate) fn prepare_outbound(&self, config: &Config, tuples: &[OutboundTuple]) {
        if let Some(number) = self.records.next() {
            prefetch(self.record(number));
        }
        for tuples in tuples.chunks(BATCH) {
            for tuple in tuples {
                self.outbound.prefetch(self.outbound.place(tuple.hash(&self.seed)));
                self.subscribers
                    .prefetch(tuple.kind_realm, config.subscriber(tuple.kind_realm, tuple.inside));
                let rule = config.rule(tuple.kind_realm, tuple.prefix64, tuple.inside, tuple.remote, None);
                if let Some(rule) = rule {
                    self.bindings.prefetch_inside(&InsideKey {
                        kind_realm: tuple.kind_realm,
                        protocol: tuple.protocol,
                        inside: tuple.inside,
                        inside_port: tuple.inside_port,
                        pool: config.pools[usize::from(rule.pool)].id,
                    });
                }
            }
            let mut guesses = [None; BATCH];
            for (tuple, guess) in tuples.iter().zip(&mut guesses) {
                let prefix = config.subscriber(tuple.kind_realm, tuple.inside);
                *guess = self.subscribers.guess(tuple.kind_realm, prefix);
            }
            let first_block = |subscriber: u32| {
                let block = self.subscribers.get(subscriber).first_block;
                (block != blocks::NONE).then_some(block)
            };
            let owners = guesses.iter().flatten();
            owners.clone().filter_map(|&s| first_block(s)).for_each(|block| self.blocks.prefetch(block));
            owners
                .filter_map(|&s| first_block(s))
                .for_each(|block| self.blocks.prefetch_ports(&self.shared, block));
        }
    }

    /// Before a batch of records from the wheel is looked at.
    pub(crate) fn prepare_due(&self, due: &[u32], now: Tick) {
        due.iter().for_each(|&number| prefetch(self.record(number)));
        let over = |number: &&u32| {
            let record = self.record(**number);
            let hot = record.hot();
            record.is_live() && now.since(hot.last_seen) >= self.lifetimes.of(hot.timer_class)
        };
        let binding = |number: &u32| self.record(*number).word(7) as u32;
        for number in due.iter().filter(over) {
            let record: &Session = self.record(*number);
            self.outbound.prefetch(self.outbound.place(OutboundTuple::hash_of(record, &self.seed)));
            self.inbound.prefetch(self.inbound.place(InboundTuple::hash_of(record, &self.seed)));
            self.bindings.prefetch(binding(number));
        }
        for number in due.iter().filter(over) {
            let number = binding(number);
            let binding = self.bindings.get(number);
            if binding.sessions == 1 && !binding.is_static() {
                self.bindings.prefetch_indexes(number);
                self.blocks.prefetch(binding.home);
            }
        }
    }
}
