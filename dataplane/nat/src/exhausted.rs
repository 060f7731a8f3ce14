//! Pools that were found to have no block left, so that a flood of refused flows does not look through all addresses for each.

use crate::types::Protocol;

const PLACES: usize = 32;

/// What is known of a pool and protocol: how many releases there had been when nothing was found.
#[derive(Clone, Copy, Debug)]
struct Finding {
    pool: u16,
    protocol: Protocol,
    releases: u32,
}

/// The latest findings, as many as are worth keeping: one that is pushed out costs another look.
#[derive(Debug, Default)]
pub(crate) struct Exhausted([Option<Finding>; PLACES]);

impl Exhausted {
    /// Whether nothing has been released since a pool was found to be exhausted.
    pub(crate) fn is(&self, pool: u16, protocol: Protocol, releases: u32) -> bool {
        self.0[place(pool, protocol)]
            .is_some_and(|known| (known.pool, known.protocol, known.releases) == (pool, protocol, releases))
    }

    /// Takes note that nothing was found in a whole pool. `releases` is the number from before the search.
    pub(crate) fn found(&mut self, pool: u16, protocol: Protocol, releases: u32) {
        self.0[place(pool, protocol)] = Some(Finding { pool, protocol, releases });
    }

    /// The configuration has changed.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn place(pool: u16, protocol: Protocol) -> usize {
    (usize::from(pool) * Protocol::ALL.len() + protocol.index()) % PLACES
}
