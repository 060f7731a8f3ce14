//! A binding (BIB entry): an external address and port for an inside one, per protocol and pool.

use crate::event::Event;
use crate::hash::HashSeed;
use crate::record::Session;
use crate::types::{KindRealm, Protocol};

/// Pool of a binding that the operator made.
pub(crate) const STATIC: u16 = u16::MAX;

/// What is bound to what: the fields that a binding has in common with all of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) inside: u128,
    pub(crate) external: u32,
    pub(crate) inside_port: u16,
    pub(crate) external_port: u16,
    pub(crate) kind_realm: KindRealm,
    pub(crate) protocol: Protocol,
}

/// A binding as read from its table, or as it is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// Its number in the table.
    pub(crate) number: u32,
    pub(crate) ends: Ends,
    /// Its port block; of a static binding, its subscriber.
    pub(crate) home: u32,
    pub(crate) sessions: u32,
    /// Id of the pool, or [`STATIC`].
    pub(crate) pool: u16,
    /// Prefix of the first session: what sessions from outside are made with (ADDR-18).
    pub(crate) prefix64: u8,
    /// No longer found: it waits for its last session.
    pub(crate) retired: bool,
    /// The operator took it away: its port rests, whatever its protocol (MAP-15).
    pub(crate) revoked: bool,
}

/// The inside of a binding, in the words that it is hashed by and compared with: the address, and in the last word the upper
/// half of word 0 of its sessions' records (kind and realm u8, protocol u8, port u16), then pool u16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InsideKey([u64; 3]);

/// The outside of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExternalKey {
    pub(crate) protocol: Protocol,
    pub(crate) external: u32,
    pub(crate) external_port: u16,
}

impl Ends {
    /// Of the binding that a live session belongs to.
    #[inline(always)]
    pub(crate) fn of(session: &Session) -> Self {
        let fixed = session.fixed();
        Self {
            inside: fixed.inside,
            external: fixed.external,
            inside_port: fixed.inside_port,
            external_port: fixed.external_port,
            kind_realm: fixed.kind_realm,
            protocol: Protocol::from_number(fixed.protocol).unwrap_or(Protocol::Udp),
        }
    }

    #[inline(always)]
    pub(crate) fn inside_key(&self, pool: u16) -> InsideKey {
        InsideKey::new(self.kind_realm, self.protocol, (self.inside, self.inside_port), pool)
    }

    #[inline(always)]
    pub(crate) fn external_key(&self) -> ExternalKey {
        ExternalKey { protocol: self.protocol, external: self.external, external_port: self.external_port }
    }

    /// What is logged when they are bound.
    pub(crate) fn created(&self) -> Event {
        let Self { inside, external, inside_port, external_port, kind_realm, protocol } = *self;
        Event::BindingCreated { kind_realm, protocol, inside, inside_port, external, external_port }
    }

    /// What is logged when they are no longer bound.
    pub(crate) fn deleted(&self) -> Event {
        let Self { inside, external, inside_port, external_port, kind_realm, protocol } = *self;
        Event::BindingDeleted { kind_realm, protocol, inside, inside_port, external, external_port }
    }
}

impl Binding {
    pub(crate) fn is_static(&self) -> bool {
        self.pool == STATIC
    }

    /// Whether it is in the table. A dynamic binding enters with its first session and leaves with its last.
    pub(crate) fn is_made(&self) -> bool {
        self.sessions > 0 || self.is_static()
    }

    /// Whether nothing keeps it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.sessions == 0 && (!self.is_static() || self.retired)
    }
}

impl InsideKey {
    /// Of an inside address and port in a pool.
    #[inline(always)]
    pub(crate) const fn new(
        kind_realm: KindRealm,
        protocol: Protocol,
        (inside, inside_port): (u128, u16),
        pool: u16,
    ) -> Self {
        let identity = kind_realm.0 as u64 | (protocol as u64) << 8 | (inside_port as u64) << 16;
        Self([(inside >> 64) as u64, inside as u64, identity | (pool as u64) << 32])
    }

    /// Of the binding that a live session belongs to.
    #[inline(always)]
    pub(crate) fn of(session: &Session, pool: u16) -> Self {
        Self([session.word(1), session.word(2), session.word(0) >> 32 | u64::from(pool) << 32])
    }

    #[inline(always)]
    pub(crate) fn hash(&self, seed: &HashSeed) -> u64 {
        seed.of_four(self.0[0], self.0[1], self.0[2], 0)
    }
}

impl ExternalKey {
    #[inline(always)]
    pub(crate) fn hash(&self, seed: &HashSeed) -> u64 {
        let port = u64::from(self.external_port) | (self.protocol as u64) << 16;
        seed.of_two(u64::from(self.external) | port << 32, 0)
    }
}
