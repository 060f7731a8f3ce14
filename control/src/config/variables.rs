//! The variables of a deterministic pool as a record: what a log has to keep, so that ports can be told later (RFC 7422,
//! section 3).

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;
use sluice_nat::{Algorithm, Deterministic, PoolSpec};

/// The variables in the letters of the RFC, worked out. The key of a random order is not among them: it stays in the
/// configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variables {
    /// The pool.
    pub pool: String,
    /// I: the inside prefix.
    pub inside: Ipv4Addr,
    /// Length of the inside prefix.
    pub inside_mask: u8,
    /// O and its mask: the external prefixes.
    pub outside: Vec<Ipv4Net>,
    /// C: inside hosts of an external address.
    pub ratio: u32,
    /// D: hosts' worth of dynamic ports.
    pub dynamic: u16,
    /// M: ports of an inside host.
    pub ports: u32,
    /// A: 0 sequential, 4 random.
    pub algorithm: u8,
    /// What tells the key of a random order apart from others.
    pub key_hash: Option<u32>,
    /// R: first port of any range.
    pub reserved: u16,
}

/// Tells keys apart without telling them.
pub(super) fn fingerprint(key: [u64; 2]) -> u32 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

/// Those of a pool.
pub fn variables(pool: &PoolSpec, map: &Deterministic) -> Variables {
    let spec = map.spec();
    let (algorithm, key_hash) = match spec.algorithm {
        Algorithm::Sequential => (0, None),
        Algorithm::Random(key) => (4, Some(fingerprint(key))),
    };
    let net = |&(address, length): &(u32, u8)| Ipv4Net::new(Ipv4Addr::from_bits(address), length).ok();
    Variables {
        pool: pool.name.clone(),
        inside: Ipv4Addr::from_bits(spec.inside.0),
        inside_mask: spec.inside.1,
        outside: pool.prefixes.iter().filter_map(net).collect(),
        ratio: map.ratio(),
        dynamic: spec.dynamic,
        ports: map.ports(),
        algorithm,
        key_hash,
        reserved: map.start(),
    }
}

impl fmt::Display for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outside: Vec<String> = self.outside.iter().map(ToString::to_string).collect();
        write!(
            f,
            "pool {}: I={}/{} O={} C={} D={} M={} A={} R={}",
            self.pool,
            self.inside,
            self.inside_mask,
            outside.join(","),
            self.ratio,
            self.dynamic,
            self.ports,
            self.algorithm,
            self.reserved
        )?;
        match self.key_hash {
            Some(hash) => write!(f, " (hash of the key: {hash:08x})"),
            None => Ok(()),
        }
    }
}
