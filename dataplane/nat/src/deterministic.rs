//! Deterministic port ranges (RFC 7422): which ports of which address an inside host has, by computation instead of by log.
//!
//! The inside hosts share the external addresses evenly, C to each (the compression ratio). Of the ports of an address from R on,
//! every host has M, and D times M or more are left at the end for those who need more; they come in blocks that are logged, as
//! without all this. M is rounded down to whole units of port ownership (64 ports), so that a range is made of units that only
//! its host's worker ever claims, and R is rounded up to one.
//!
//! Pure arithmetic in both directions: the engine and `sluice deterministic` ask the same functions.

use crate::hash::keyed;
use crate::ranges::Address;
use crate::spec::{Algorithm, DeterministicSpec, PoolSpec};

/// Ports of a unit.
const UNIT: u32 = 64;
/// Rounds of the permutation: more than enough for numbers that are no secret.
const ROUNDS: u64 = 6;

/// The variables of a pool, worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deterministic {
    spec: DeterministicSpec,
    /// First of the inside hosts, and how many they are.
    first: u32,
    hosts: u32,
    /// External addresses, sorted.
    external: Vec<u32>,
    /// First port of the first range.
    start: u32,
    /// Last port of the pool.
    last: u16,
    /// C: inside hosts of an external address.
    ratio: u32,
    /// M: ports of an inside host.
    ports: u32,
}

impl Deterministic {
    /// Works out what a pool that is so configured does; `None` if it is not.
    ///
    /// # Errors
    /// What is wrong with the variables.
    pub fn of(pool: &PoolSpec) -> Result<Option<Self>, DeterministicError> {
        let Some(spec) = pool.deterministic else { return Ok(None) };
        let (first, last) = spec.inside.0.range(spec.inside.1).ok_or(DeterministicError::Inside)?;
        // Network and broadcast address are no hosts, where there are such.
        let (first, last) = if spec.inside.1 < 31 { (first + 1, last - 1) } else { (first, last) };
        let mut external = Vec::new();
        for &(address, length) in &pool.prefixes {
            let (first, last) = address.range(length).ok_or(DeterministicError::Pool)?;
            if last - first > u32::from(u16::MAX) {
                return Err(DeterministicError::Pool);
            }
            external.extend(first..=last);
        }
        external.sort_unstable();
        if external.is_empty() || pool.port_min == 0 || pool.port_min > pool.port_max {
            return Err(DeterministicError::Pool);
        }
        let hosts = u64::from(last - first) + 1;
        let ratio = hosts.div_ceil(external.len() as u64);
        let start = u32::from(pool.port_min).next_multiple_of(UNIT);
        let all = (u32::from(pool.port_max) + 1).saturating_sub(start);
        let ports = (u64::from(all) / (ratio + u64::from(spec.dynamic))) as u32 / UNIT * UNIT;
        if ports == 0 {
            return Err(DeterministicError::TooMany { ratio });
        }
        Ok(Some(Self {
            spec,
            first,
            hosts: hosts as u32,
            external,
            start,
            last: pool.port_max,
            ratio: ratio as u32,
            ports,
        }))
    }

    /// What was configured.
    pub fn spec(&self) -> &DeterministicSpec {
        &self.spec
    }

    /// C: how many inside hosts share an external address.
    pub fn ratio(&self) -> u32 {
        self.ratio
    }

    /// M: how many ports an inside host has.
    pub fn ports(&self) -> u32 {
        self.ports
    }

    /// R: the first port of any range.
    pub fn start(&self) -> u16 {
        self.start as u16
    }

    /// The external address of an inside host, first and last port of its range. `None` for one that has none.
    //= conformance PORT-17, PORT-18
    pub fn range(&self, inside: u32) -> Option<(u32, u16, u16)> {
        let host = inside.checked_sub(self.first).filter(|&host| host < self.hosts)?;
        let place = self.permute(host);
        let external = *self.external.get((place / self.ratio) as usize)?;
        let first = self.start + place % self.ratio * self.ports;
        Some((external, first as u16, (first + self.ports - 1) as u16))
    }

    /// The inside host that has a port. `None` if it is of no range.
    //= conformance PORT-18
    pub fn inside(&self, external: u32, port: u16) -> Option<u32> {
        let address = self.external.binary_search(&external).ok()? as u32;
        let block = u32::from(port).checked_sub(self.start)? / self.ports;
        if block >= self.ratio {
            return None;
        }
        let host = self.restore(address * self.ratio + block);
        (host < self.hosts).then(|| self.first + host)
    }

    /// Whether a port is of the part of an address that is dealt to inside hosts.
    pub(crate) fn deals(&self, port: u16) -> bool {
        (self.start..self.start + self.ratio * self.ports).contains(&u32::from(port))
    }

    /// The ports of every address that are of no range, if there are any.
    //= conformance PORT-19
    pub fn overflow(&self) -> Option<(u16, u16)> {
        let first = self.start + self.ratio * self.ports;
        (self.spec.dynamic > 0 && first <= u32::from(self.last)).then_some((first as u16, self.last))
    }

    /// Places of all ranges.
    fn places(&self) -> u32 {
        self.ratio * self.external.len() as u32
    }

    /// The place of a host.
    //= conformance PORT-20
    fn permute(&self, host: u32) -> u32 {
        match self.spec.algorithm {
            Algorithm::Sequential => host,
            Algorithm::Random(key) => self.walk(host, |x, half| {
                (0..ROUNDS).fold(x, |x, round| swap(x, half, keyed(key, round << 32 | (x & mask(half)))))
            }),
        }
    }

    /// The host of a place.
    fn restore(&self, place: u32) -> u32 {
        match self.spec.algorithm {
            Algorithm::Sequential => place,
            Algorithm::Random(key) => self.walk(place, |x, half| {
                (0..ROUNDS).rev().fold(x, |x, round| unswap(x, half, |low| keyed(key, round << 32 | low)))
            }),
        }
    }

    /// Permutes the numbers below [`Self::places`] by a permutation of a power of four: again and again until it falls among
    /// them, fewer than four times on average.
    fn walk(&self, start: u32, step: impl Fn(u64, u32) -> u64) -> u32 {
        let places = u64::from(self.places());
        let half = (64 - (places - 1).leading_zeros()).div_ceil(2).max(1);
        let mut x = u64::from(start);
        loop {
            x = step(x, half);
            if x < places {
                return x as u32;
            }
        }
    }
}

const fn mask(half: u32) -> u64 {
    (1 << half) - 1
}

/// A round of a Feistel network: the low half becomes the high one, what was high is mixed with the low one's value.
const fn swap(x: u64, half: u32, mixed: u64) -> u64 {
    (x & mask(half)) << half | (x >> half ^ mixed) & mask(half)
}

/// The round back.
fn unswap(x: u64, half: u32, mixed: impl Fn(u64) -> u64) -> u64 {
    let low = x >> half;
    ((x ^ mixed(low)) & mask(half)) << half | low
}

/// Why variables make no deterministic pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeterministicError {
    /// The inside is no IPv4 prefix, or has host bits.
    Inside,
    /// The pool has no addresses or no ports, or more addresses than a pool may have.
    Pool,
    /// Fewer than 64 ports would be left for a host.
    TooMany {
        /// Inside hosts of an external address.
        ratio: u64,
    },
}

impl core::fmt::Display for DeterministicError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Inside => write!(f, "expected an IPv4 prefix of inside hosts without host bits"),
            Self::Pool => write!(f, "the pool has no addresses or ports to share"),
            Self::TooMany { ratio } => {
                write!(f, "{ratio} inside hosts would share an address, with fewer than 64 ports for each")
            }
        }
    }
}

impl core::error::Error for DeterministicError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// 198.51.100.0/28 and 192.0.2.1, as in section 2 of the RFC.
    const INSIDE: u32 = 0xc633_6400;
    const OUTSIDE: u32 = 0xc000_0201;

    fn pool(inside: (u32, u8), outside: (u32, u8), dynamic: u16, algorithm: Algorithm) -> PoolSpec {
        PoolSpec {
            name: "fixed".into(),
            prefixes: vec![outside],
            port_min: 1024,
            port_max: 65_535,
            block_size: 256,
            hold_down: 120,
            parity: true,
            max_resting: PoolSpec::ALL,
            reserved: vec![],
            pairing: crate::spec::Pairing::Strict,
            deterministic: Some(DeterministicSpec { inside, dynamic, algorithm }),
        }
    }

    fn of(pool: &PoolSpec) -> Deterministic {
        Deterministic::of(pool).expect("valid").expect("deterministic")
    }

    #[test]
    fn the_example_of_the_rfc() {
        //= conformance PORT-17, PORT-18, PORT-19
        let map = of(&pool((INSIDE, 28), (OUTSIDE, 32), 2, Algorithm::Sequential));
        assert_eq!((map.ratio(), map.ports(), map.start()), (14, 4032, 1024));
        assert_eq!(map.range(INSIDE + 1), Some((OUTSIDE, 1024, 5055)));
        assert_eq!(map.range(INSIDE + 2), Some((OUTSIDE, 5056, 9087)));
        assert_eq!(map.overflow(), Some((57_472, 65_535)));
        assert_eq!(map.inside(OUTSIDE, 2001), Some(INSIDE + 1));
        for nobody in [INSIDE, INSIDE + 15, INSIDE - 1, INSIDE + 16] {
            assert_eq!(map.range(nobody), None);
        }
        assert_eq!(map.inside(OUTSIDE, 1023), None);
        assert_eq!(map.inside(OUTSIDE, 57_472), None);
        assert_eq!(map.inside(OUTSIDE + 1, 2001), None);
        let without = of(&pool((INSIDE, 28), (OUTSIDE, 32), 0, Algorithm::Sequential));
        assert_eq!(without.overflow(), None);
    }

    #[test]
    fn both_directions_agree_and_no_two_hosts_share_a_port() {
        //= conformance PORT-18, PORT-20
        for algorithm in [Algorithm::Sequential, Algorithm::Random([7, 8]), Algorithm::Random([7, 9])] {
            for (inside, outside) in [(28, 32), (24, 30), (24, 29), (22, 27), (31, 31), (32, 32), (20, 24)] {
                let base = INSIDE & u32::MAX << (32 - inside);
                let pool =
                    pool((base, inside), (OUTSIDE & u32::MAX << (32 - outside), outside), 1, algorithm);
                let map = of(&pool);
                let mut ranges: Vec<_> =
                    (0..1u32 << (32 - inside)).filter_map(|n| map.range(base + n)).collect();
                assert_eq!(ranges.len() as u32, map.hosts);
                for n in 0..1u32 << (32 - inside) {
                    let Some((external, first, last)) = map.range(base + n) else { continue };
                    assert_eq!((first % 64, last % 64, u32::from(last - first) + 1), (0, 63, map.ports()));
                    for port in [first, last, first + (last - first) / 2] {
                        assert_eq!(map.inside(external, port), Some(base + n), "/{inside} /{outside}");
                    }
                    assert!(map.overflow().is_some_and(|(overflow, _)| last < overflow));
                }
                ranges.sort_unstable();
                assert!(ranges.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[0].2 < pair[1].1));
            }
        }
        let places = |key| {
            let map = of(&pool((INSIDE, 28), (OUTSIDE, 32), 2, Algorithm::Random(key)));
            (1..15).filter_map(|n| map.range(INSIDE + n)).collect::<Vec<_>>()
        };
        assert!(!places([1, 2]).is_sorted());
        assert_ne!(places([1, 2]), places([1, 3]));
    }

    #[test]
    fn variables_that_make_no_range_are_refused() {
        let refused = |pool: &PoolSpec| Deterministic::of(pool).expect_err("no range");
        let many = pool((0x0a00_0000, 20), (OUTSIDE, 32), 0, Algorithm::Sequential);
        assert_eq!(refused(&many), DeterministicError::TooMany { ratio: 4094 });
        let bits = pool((INSIDE | 1, 28), (OUTSIDE, 32), 0, Algorithm::Sequential);
        assert_eq!(refused(&bits), DeterministicError::Inside);
        let mut empty = pool((INSIDE, 28), (OUTSIDE, 32), 0, Algorithm::Sequential);
        empty.prefixes.clear();
        assert_eq!(refused(&empty), DeterministicError::Pool);
        empty.deterministic = None;
        assert_eq!(Deterministic::of(&empty), Ok(None));
    }
}
