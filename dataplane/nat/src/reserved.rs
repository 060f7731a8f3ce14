//! Ports that are kept from dynamic use, by the operator's wish: those that a pool reserves, and those of static bindings.
//!
//! They belong to a configuration and not to the port bitmaps, so that a change of them is in force at once, in either
//! direction, and nobody has to go through the blocks that exist.

use crate::config::{Config, Pool};
use crate::ports::{RUNS, Window};
use crate::types::Protocol;

/// A bit a port; nothing at all for a pool that keeps none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reserved(Option<Box<[u64; RUNS]>>);

impl Reserved {
    /// The ports of these ranges, first and last included.
    pub(crate) fn new(ranges: &[(u16, u16)]) -> Self {
        if ranges.is_empty() {
            return Self(None);
        }
        let mut bits = Box::new([0; RUNS]);
        for &(first, last) in ranges {
            let window = Window { first, last, parity: None };
            window.runs().for_each(|run| bits[run as usize] |= window.mask(run));
        }
        Self(Some(bits))
    }

    /// The reserved ones among 64 ports.
    #[inline]
    pub(crate) fn run(&self, run: u32) -> u64 {
        self.0.as_ref().map_or(0, |bits| bits[run as usize])
    }

    /// Whether a port is reserved.
    #[inline]
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.run(u32::from(port / 64)) >> (port % 64) & 1 == 1
    }

    /// Whether all ports from `first` to `last` are reserved.
    pub(crate) fn covers(&self, first: u16, last: u16) -> bool {
        let window = Window { first, last, parity: None };
        self.0.is_some() && window.runs().all(|run| window.mask(run) & !self.run(run) == 0)
    }
}

/// What of an address may not be given out for a protocol.
#[derive(Clone, Copy)]
pub(crate) struct Withheld<'a> {
    config: &'a Config,
    reserved: &'a Reserved,
    protocol: Protocol,
    address: u32,
}

impl<'a> Withheld<'a> {
    pub(crate) fn new(config: &'a Config, pool: &'a Pool, protocol: Protocol, address: u32) -> Self {
        Self { config, reserved: &pool.reserved, protocol, address }
    }

    /// Those among 64 ports.
    #[inline]
    pub(crate) fn run(&self, run: u32) -> u64 {
        self.reserved.run(run) | self.config.static_run(self.protocol, self.address, run)
    }

    /// Whether nothing from `first` to `last` may be given out.
    pub(crate) fn covers(&self, first: u16, last: u16) -> bool {
        let window = Window { first, last, parity: None };
        window.runs().all(|run| window.mask(run) & !self.run(run) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_reserved_to_their_ends_and_no_further() {
        //= conformance PORT-08
        let reserved = Reserved::new(&[(4500, 4500), (5060, 5061), (6000, 6200), (65_535, 65_535)]);
        let listed = |port| matches!(port, 4500 | 5060 | 5061 | 6000..=6200 | 65_535);
        assert!((0..=u16::MAX).all(|port| reserved.contains(port) == listed(port)));
        assert!(reserved.covers(6000, 6200) && reserved.covers(6016, 6079) && reserved.covers(4500, 4500));
        assert!(!reserved.covers(6000, 6201) && !reserved.covers(5999, 6000) && !reserved.covers(4500, 5060));
        let none = Reserved::new(&[]);
        assert!(!none.contains(4500) && !none.covers(1, u16::MAX) && none.run(1023) == 0);
    }
}
