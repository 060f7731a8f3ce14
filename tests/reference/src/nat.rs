//! The reference NAT: bindings and sessions in maps, looked through from end to end where that is the plainest.
//!
//! It decides everything but what is left to the engine: which port, which block, and when records of deleted sessions are
//! free again. There it takes over what the engine did, and asserts that it was allowed.

mod bindings;
mod ends;
mod packets;
mod subscribers;

use sluice_nat::{KindRealm, Protocol, Spec, TcpState, Tick};
use sluice_packet::DropReason;

use crate::hash::HashMap;
use crate::ports::{Blocks, Claim};
use crate::rules::{PrefixNumber, Rules};

/// An inside address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inside {
    /// Kind and realm.
    pub kind_realm: KindRealm,
    /// Transport.
    pub protocol: Protocol,
    /// Address.
    pub address: u128,
    /// Port or identifier.
    pub port: u16,
}

/// An external address and port.
pub type External = (Protocol, u32, u16);
/// A remote address and port.
pub type Remote = (u32, u16);
/// A subscriber: kind, realm, and masked address.
pub type Owner = (KindRealm, u128);
/// What a session is known by from inside.
pub type Key = (Inside, PrefixNumber, Remote);

/// An external address and port for an inside one.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Inside.
    pub inside: Inside,
    /// Outside.
    pub external: External,
    /// Its pool and block; none of a static binding.
    pub home: Option<(String, u64)>,
    /// What strangers come under.
    pub prefix: PrefixNumber,
    /// No longer found: it waits for its last session.
    pub retired: bool,
    /// The operator took it away.
    revoked: bool,
    sessions: u32,
}

impl Binding {
    fn new(inside: Inside, external: External, home: Option<(String, u64)>, prefix: PrefixNumber) -> Self {
        Self { inside, external, home, prefix, retired: false, revoked: false, sessions: 0 }
    }
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Number of its binding.
    pub binding: u64,
    /// TCP state.
    pub state: TcpState,
    /// The last packet that counted.
    pub last: Tick,
    /// Opened from outside.
    pub from_outside: bool,
    /// Under which configuration it was last looked at.
    generation: u64,
    /// Known to the address-dependent filter.
    permits: bool,
}

#[derive(Clone, Debug)]
struct Subscriber {
    sessions: u32,
    statics: u32,
    /// Quarters of sessions that may be opened, outbound and inbound.
    tokens: [u32; 2],
    filled: Tick,
}

/// What a packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its inside.
    pub inside: Inside,
    /// Its external address and port.
    pub external: External,
    /// Its remote address and port.
    pub remote: Remote,
    /// The prefix under which the inside sees the remote.
    pub prefix: PrefixNumber,
    /// Whether there is a session; else the packet passes and leaves nothing behind.
    pub session: bool,
}

/// What the engine did where the choice was its own.
#[derive(Clone, Debug)]
pub struct Choice {
    /// External address and port, or the refusal.
    pub made: Result<(u32, u16), DropReason>,
    /// Blocks claimed meanwhile.
    pub claims: Vec<Claim>,
}

/// The NAT.
#[derive(Debug, Default)]
pub struct Nat {
    /// What it is told.
    pub rules: Rules,
    /// Bindings, by a number of their own.
    pub bindings: HashMap<u64, Binding>,
    /// Sessions.
    pub sessions: HashMap<Key, Session>,
    /// Port blocks.
    pub blocks: Blocks,
    by_inside: HashMap<(Inside, Option<String>), u64>,
    by_external: HashMap<External, u64>,
    /// Who gets what comes from outside: of sessions that differ in their prefix alone, the one opened last.
    replies: HashMap<(External, Remote), Key>,
    subscribers: HashMap<Owner, Subscriber>,
    generation: u64,
    next: u64,
    now: Tick,
    /// Sessions that there is room for.
    room: usize,
    /// Until when records of sessions that did not end by their timer may be occupied.
    ghosts: Vec<Tick>,
    haunted: Tick,
}

/// Ticks after which any record has been looked at.
const HORIZON: u32 = 4096;

impl Nat {
    /// With room for so many sessions.
    pub fn new(spec: Spec, room: usize, now: Tick) -> Self {
        // As an engine, it is made before it is told the time.
        let mut nat = Self { room, ..Self::default() };
        nat.reload(spec);
        (nat.now, nat.haunted) = (now, now.after(2 * HORIZON));
        nat
    }

    /// Subscribers that there are.
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }
}
