//! What a packet is looked up by: one tuple a direction, and how it is hashed and compared with a record by words.
//!
//! The comparison works on the record's own words (see [`crate::record`]) so that it needs no unpacking and no branch:
//! the differences of all words are or-ed, and the result is zero or not.

use crate::hash::HashSeed;
use crate::record::Session;
use crate::types::{KindRealm, Protocol};

/// A packet from inside, as looked up. Addresses and ports in host byte order.
///
/// ICMP: `inside_port` is the identifier and `remote_port` 0. NAT44: `prefix64` is 0 and `inside` holds the IPv4 address
/// in its low 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutboundTuple {
    /// Kind of translation and realm of the source.
    pub kind_realm: KindRealm,
    /// Transport.
    pub protocol: Protocol,
    /// Source address.
    pub inside: u128,
    /// Source port or identifier.
    pub inside_port: u16,
    /// IPv4 destination, for NAT64 the one embedded in the destination.
    pub remote: u32,
    /// Destination port; 0 for ICMP.
    pub remote_port: u16,
    /// Id of the translation prefix of the destination; 0 for NAT44.
    pub prefix64: u8,
}

/// A packet from outside, as looked up. ICMP: `external_port` is the identifier and `remote_port` 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InboundTuple {
    /// Transport.
    pub protocol: Protocol,
    /// Destination address.
    pub external: u32,
    /// Destination port or identifier.
    pub external_port: u16,
    /// Source address.
    pub remote: u32,
    /// Source port; 0 for ICMP.
    pub remote_port: u16,
}

/// An outbound tuple in the words that it is hashed by and compared with, for callers that keep it between the steps of a
/// look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundKey {
    inside: [u64; 2],
    identity: u64,
    far: u64,
}

/// As [`OutboundKey`], of an inbound tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundKey {
    addresses: u64,
    ports: u64,
}

impl OutboundKey {
    /// Of nothing.
    pub const NONE: Self = Self { inside: [0; 2], identity: 0, far: 0 };

    /// Kind and realm of the source, and its address.
    #[inline]
    pub const fn inside(&self) -> (KindRealm, u128) {
        (KindRealm(self.identity as u8), (self.inside[0] as u128) << 64 | self.inside[1] as u128)
    }

    /// The hash under which the record is filed.
    #[inline(always)]
    pub(crate) fn hash(&self, seed: &HashSeed) -> u64 {
        seed.of_four(self.inside[0], self.inside[1], self.identity, self.far)
    }

    /// Whether the record is this key's.
    #[inline(always)]
    pub(crate) fn matches(&self, session: &Session) -> bool {
        let difference = (session.word(0) >> 32 ^ self.identity)
            | (session.word(1) ^ self.inside[0])
            | (session.word(2) ^ self.inside[1])
            | (far_of(session) ^ self.far);
        difference == 0
    }
}

impl InboundKey {
    /// Of nothing.
    pub const NONE: Self = Self { addresses: 0, ports: 0 };

    /// External address and port.
    #[inline]
    pub const fn external(&self) -> (u32, u16) {
        ((self.addresses >> 32) as u32, (self.ports >> 16) as u16)
    }

    /// The hash under which the record is filed.
    #[inline(always)]
    pub(crate) fn hash(&self, seed: &HashSeed) -> u64 {
        seed.of_two(self.addresses, self.ports)
    }

    /// Whether the record is this key's.
    #[inline(always)]
    pub(crate) fn matches(&self, session: &Session) -> bool {
        let difference = (session.word(3) ^ self.addresses) | (ports_of(session) ^ self.ports);
        difference == 0
    }
}

/// What an outbound key has of the far side.
#[inline(always)]
fn far_of(session: &Session) -> u64 {
    session.word(3) & 0xffff_ffff | (session.word(4) & 0xffff) << 32 | (session.word(7) >> 40 & 0xff) << 48
}

/// What an inbound key has besides the addresses.
#[inline(always)]
fn ports_of(session: &Session) -> u64 {
    session.word(4) & 0xffff_ffff | (session.word(0) >> 40 & 0xff) << 32
}

impl OutboundTuple {
    /// The key.
    #[inline(always)]
    pub const fn key(&self) -> OutboundKey {
        OutboundKey {
            inside: [(self.inside >> 64) as u64, self.inside as u64],
            identity: self.identity(),
            far: self.remote as u64 | (self.remote_port as u64) << 32 | (self.prefix64 as u64) << 48,
        }
    }

    /// Upper half of word 0 of the record that this tuple belongs to.
    #[inline(always)]
    const fn identity(&self) -> u64 {
        self.kind_realm.0 as u64 | (self.protocol as u64) << 8 | (self.inside_port as u64) << 16
    }

    /// The hash under which the record is filed.
    #[inline(always)]
    pub(crate) fn hash(&self, seed: &HashSeed) -> u64 {
        self.key().hash(seed)
    }

    /// Whether the record is this tuple's.
    #[inline(always)]
    pub(crate) fn matches(&self, session: &Session) -> bool {
        self.key().matches(session)
    }

    /// The hash of a record's outbound tuple.
    #[inline]
    pub(crate) fn hash_of(session: &Session, seed: &HashSeed) -> u64 {
        seed.of_four(session.word(1), session.word(2), session.word(0) >> 32, far_of(session))
    }
}

impl InboundTuple {
    /// The key.
    #[inline(always)]
    pub const fn key(&self) -> InboundKey {
        InboundKey {
            addresses: self.remote as u64 | (self.external as u64) << 32,
            ports: self.remote_port as u64 | (self.external_port as u64) << 16 | (self.protocol as u64) << 32,
        }
    }

    /// The hash under which the record is filed.
    #[inline(always)]
    pub(crate) fn hash(&self, seed: &HashSeed) -> u64 {
        self.key().hash(seed)
    }

    /// Whether the record is this tuple's.
    #[inline(always)]
    pub(crate) fn matches(&self, session: &Session) -> bool {
        self.key().matches(session)
    }

    /// The hash of a record's inbound tuple.
    #[inline]
    pub(crate) fn hash_of(session: &Session, seed: &HashSeed) -> u64 {
        seed.of_two(session.word(3), ports_of(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Fixed, Hot, Route};
    use crate::types::Kind;

    #[test]
    fn a_tuple_matches_its_record_and_no_record_that_differs_in_one_field() {
        let out = OutboundTuple {
            kind_realm: KindRealm::new(Kind::Nat64, 3),
            protocol: Protocol::Udp,
            inside: 1 << 100 | 16,
            inside_port: 5000,
            remote: 0xc633_6409,
            remote_port: 53,
            prefix64: 2,
        };
        let inn = InboundTuple {
            protocol: Protocol::Udp,
            external: 0xc000_0201,
            external_port: 40_000,
            remote: out.remote,
            remote_port: 53,
        };
        let session = Session::default();
        let fixed = Fixed {
            kind_realm: out.kind_realm,
            protocol: 17,
            inside_port: 5000,
            inside: out.inside,
            remote: out.remote,
            external: inn.external,
            remote_port: 53,
            external_port: 40_000,
            delta: 0xffff,
            rule: 0xffff,
            binding: u32::MAX,
            owner: 255,
            prefix64: 2,
        };
        session.create(&fixed, Hot::default(), Route::default());
        let seed = HashSeed::new([1, 2, 3, 4]);
        assert!(out.matches(&session) && inn.matches(&session));
        assert_eq!(out.hash(&seed), OutboundTuple::hash_of(&session, &seed));
        assert_eq!(inn.hash(&seed), InboundTuple::hash_of(&session, &seed));
        for other in [
            OutboundTuple { kind_realm: KindRealm::new(Kind::Nat44, 3), ..out },
            OutboundTuple { protocol: Protocol::Tcp, ..out },
            OutboundTuple { inside: out.inside ^ 1 << 127, ..out },
            OutboundTuple { inside: out.inside ^ 1, ..out },
            OutboundTuple { inside_port: 5001, ..out },
            OutboundTuple { remote: 1, ..out },
            OutboundTuple { remote_port: 54, ..out },
            OutboundTuple { prefix64: 1, ..out },
        ] {
            assert!(!other.matches(&session));
            assert_ne!(other.hash(&seed), out.hash(&seed));
        }
        for other in [
            InboundTuple { protocol: Protocol::Tcp, ..inn },
            InboundTuple { external: 1, ..inn },
            InboundTuple { external_port: 1, ..inn },
            InboundTuple { remote: 1, ..inn },
            InboundTuple { remote_port: 1, ..inn },
        ] {
            assert!(!other.matches(&session));
            assert_ne!(other.hash(&seed), inn.hash(&seed));
        }
    }
}
