//! Next hops: what a FIB entry says, and the adjacency table behind it.
//!
//! There is one adjacency table and one pair of FIBs per configuration generation. The main thread is their only writer,
//! workers read them without locks: an adjacency is a single atomic word.

use core::sync::atomic::{AtomicU64, Ordering};

use sluice_fib::Target;

/// Most adjacencies: their number is cached in 16 bits of a session's route word, all ones meaning "none".
pub const MAX_ADJACENCIES: usize = 65_535;

/// The number of an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdjacencyIndex(pub u16);

impl AdjacencyIndex {
    /// No adjacency is cached.
    pub const NONE: Self = Self(u16::MAX);
}

/// What the FIB says of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// A resolved or unresolved neighbour.
    Adjacency(AdjacencyIndex),
    /// On the link of an interface, and no neighbour known yet.
    Connected(u16),
    /// An address of the box.
    Local,
    /// Drop by name.
    Blackhole,
}

impl NextHop {
    const KIND: u32 = 28;

    /// As a FIB target: the kind in the top two of 30 bits, the number below.
    pub fn to_target(self) -> Target {
        let value = match self {
            Self::Adjacency(index) => u32::from(index.0),
            Self::Connected(interface) => 1 << Self::KIND | u32::from(interface),
            Self::Local => 2 << Self::KIND,
            Self::Blackhole => 3 << Self::KIND,
        };
        match Target::new(value) {
            Some(target) => target,
            None => unreachable!("a next hop takes 30 bits"),
        }
    }

    /// From a FIB target.
    #[inline]
    pub fn from_target(target: Target) -> Self {
        let value = target.get();
        match value >> Self::KIND {
            0 => Self::Adjacency(AdjacencyIndex(value as u16)),
            1 => Self::Connected(value as u16),
            2 => Self::Local,
            _ => Self::Blackhole,
        }
    }
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Asked for, no answer yet.
    Unresolved = 0,
    /// Its link-layer address is known.
    Resolved = 1,
    /// The kernel gave up.
    Failed = 2,
}

/// A neighbour: where frames to it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// Link-layer address.
    pub mac: [u8; 6],
    /// Interface, by position.
    pub interface: u8,
    /// What is known.
    pub state: State,
    /// Whether it is an IPv6 neighbour.
    pub ipv6: bool,
}

/// Bit of the last byte that says IPv6.
const IPV6: u8 = 0x80;

impl Adjacency {
    /// In one word: the MAC in the low 48 bits, then interface and state.
    fn pack(self) -> u64 {
        let [a, b, c, d, e, f] = self.mac;
        let ipv6 = if self.ipv6 { IPV6 } else { 0 };
        u64::from_le_bytes([a, b, c, d, e, f, self.interface, self.state as u8 | ipv6])
    }

    #[inline]
    fn unpack(word: u64) -> Self {
        let [a, b, c, d, e, f, interface, state] = word.to_le_bytes();
        let ipv6 = state & IPV6 != 0;
        let state = match state & !IPV6 {
            1 => State::Resolved,
            2 => State::Failed,
            _ => State::Unresolved,
        };
        Self { mac: [a, b, c, d, e, f], interface, state, ipv6 }
    }
}

/// All adjacencies of a configuration generation. Touched lazily: an unused table costs no memory.
#[derive(Debug)]
pub struct AdjacencyTable {
    entries: Vec<AtomicU64>,
    /// Network addresses, high and low half; written once, before a FIB names the adjacency.
    addresses: Vec<[AtomicU64; 2]>,
}

impl Default for AdjacencyTable {
    fn default() -> Self {
        Self::new()
    }
}

impl AdjacencyTable {
    /// A table in which every entry is unresolved on interface 0.
    pub fn new() -> Self {
        Self {
            entries: (0..MAX_ADJACENCIES).map(|_| AtomicU64::new(0)).collect(),
            addresses: (0..MAX_ADJACENCIES).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect(),
        }
    }

    /// The neighbour's network address; IPv4 in the low 32 bits.
    pub fn address(&self, index: AdjacencyIndex) -> u128 {
        self.addresses.get(usize::from(index.0)).map_or(0, |[high, low]| {
            u128::from(high.load(Ordering::Relaxed)) << 64 | u128::from(low.load(Ordering::Relaxed))
        })
    }

    /// Names a new adjacency's neighbour: main thread only.
    pub fn set_address(&self, index: AdjacencyIndex, address: u128) {
        if let Some([high, low]) = self.addresses.get(usize::from(index.0)) {
            high.store((address >> 64) as u64, Ordering::Relaxed);
            low.store(address as u64, Ordering::Relaxed);
        }
    }

    /// The adjacency with a number. Numbers come from the FIB of the same generation.
    #[inline]
    pub fn get(&self, index: AdjacencyIndex) -> Adjacency {
        let word = self.entries.get(usize::from(index.0)).map_or(0, |entry| entry.load(Ordering::Relaxed));
        Adjacency::unpack(word)
    }

    /// Writes an adjacency: main thread only.
    pub fn set(&self, index: AdjacencyIndex, adjacency: Adjacency) {
        if let Some(entry) = self.entries.get(usize::from(index.0)) {
            entry.store(adjacency.pack(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_survive_the_fib() {
        for hop in [
            NextHop::Adjacency(AdjacencyIndex(0)),
            NextHop::Adjacency(AdjacencyIndex(65_534)),
            NextHop::Connected(63),
            NextHop::Local,
            NextHop::Blackhole,
        ] {
            assert_eq!(NextHop::from_target(hop.to_target()), hop);
        }
    }

    #[test]
    fn an_adjacency_is_one_word() {
        let table = AdjacencyTable::new();
        let adjacency =
            Adjacency { mac: [2, 0, 0, 1, 2, 0xff], interface: 7, state: State::Resolved, ipv6: true };
        table.set(AdjacencyIndex(9), adjacency);
        assert_eq!(table.get(AdjacencyIndex(9)), adjacency);
        table.set_address(AdjacencyIndex(9), 7 << 64 | 9);
        assert_eq!(table.address(AdjacencyIndex(9)), 7 << 64 | 9);
        assert_eq!(table.get(AdjacencyIndex(10)).state, State::Unresolved);
        assert_eq!(table.get(AdjacencyIndex::NONE).state, State::Unresolved);
    }
}
