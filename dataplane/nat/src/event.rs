//! What the engine reports: port blocks, bindings and sessions for the log, limits that were reached, and probes to send.
//!
//! Events travel to control as they are (`sluice_shm::Notice::Nat`).

use sluice_packet::DropReason;

use crate::record::Fixed;
use crate::types::{KindRealm, Protocol};

/// A table or an allowance that is used up, by its natQuotaExceededEvent (RFC 8158, section 4.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Quota {
    /// The session table, or what of it this worker may have.
    Sessions = 1,
    /// The binding table.
    Bindings = 2,
    /// What one subscriber may have of sessions or ports.
    PerUser = 3,
    /// The subscribers.
    Subscribers = 4,
}

impl Quota {
    /// From the byte of a notice.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Sessions),
            2 => Some(Self::Bindings),
            3 => Some(Self::PerUser),
            4 => Some(Self::Subscribers),
            _ => None,
        }
    }
}

/// What tells a session from all others, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnds {
    /// Kind and realm of the inside address.
    pub kind_realm: KindRealm,
    /// Transport.
    pub protocol: Protocol,
    /// Inside address.
    pub inside: u128,
    /// Inside port or identifier.
    pub inside_port: u16,
    /// External address.
    pub external: u32,
    /// External port or identifier.
    pub external_port: u16,
    /// Remote IPv4 address.
    pub remote: u32,
    /// Remote port; 0 for ICMP.
    pub remote_port: u16,
}

impl SessionEnds {
    /// Of a session with these fields.
    pub fn of(fixed: &Fixed) -> Self {
        Self {
            kind_realm: fixed.kind_realm,
            protocol: Protocol::from_number(fixed.protocol).unwrap_or(Protocol::Udp),
            inside: fixed.inside,
            inside_port: fixed.inside_port,
            external: fixed.external,
            external_port: fixed.external_port,
            remote: fixed.remote,
            remote_port: fixed.remote_port,
        }
    }
}

/// Something that happened, as the logs have it. Blocks, bindings and sessions are reported as [`crate::LogSpec`] says;
/// limits always, but not each time: see [`Events::suppressed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A subscriber got a port block (LOG-12).
    BlockAllocated {
        /// Kind and realm of the subscriber.
        kind_realm: KindRealm,
        /// Its masked prefix; IPv4 in the low 32 bits.
        subscriber: u128,
        /// External address of the block.
        external: u32,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// A port block went back to the pool, after the hold-down of all its ports.
    BlockReleased {
        /// Kind and realm of the subscriber.
        kind_realm: KindRealm,
        /// Its masked prefix; IPv4 in the low 32 bits.
        subscriber: u128,
        /// External address of the block.
        external: u32,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// A dynamic binding was made (LOG-09).
    BindingCreated {
        /// Kind and realm of the inside address.
        kind_realm: KindRealm,
        /// Transport.
        protocol: Protocol,
        /// Inside address.
        inside: u128,
        /// Inside port or identifier.
        inside_port: u16,
        /// External address.
        external: u32,
        /// External port or identifier.
        external_port: u16,
    },
    /// A dynamic binding went with its last session.
    BindingDeleted {
        /// Kind and realm of the inside address.
        kind_realm: KindRealm,
        /// Transport.
        protocol: Protocol,
        /// Inside address.
        inside: u128,
        /// Inside port or identifier.
        inside_port: u16,
        /// External address.
        external: u32,
        /// External port or identifier.
        external_port: u16,
    },
    /// A session was made (LOG-07, LOG-08).
    SessionCreated(SessionEnds),
    /// A session ended.
    SessionDeleted(SessionEnds),
    /// No address of a pool has a free port block for a subscriber that has none (LOG-10).
    AddressesExhausted {
        /// Pool, by its position in [`crate::Spec::pools`].
        pool: u16,
    },
    /// A subscriber has an address, and the address no port of a protocol left (LOG-11).
    PortsExhausted {
        /// Transport.
        protocol: Protocol,
        /// External address.
        external: u32,
    },
    /// A limit was reached, and a new session refused (LOG-13 to LOG-16).
    QuotaExceeded {
        /// Which.
        quota: Quota,
        /// How many there may be.
        limit: u32,
        /// Kind and realm of the inside address.
        kind_realm: KindRealm,
        /// Inside address of the refused session.
        inside: u128,
    },
    /// A fragment found no room among those that wait for others of their packet (LOG-17). The data plane reports it.
    FragmentsPending {
        /// How many may wait.
        limit: u32,
        /// The source is an IPv6 address.
        ipv6: bool,
        /// Source of the fragment; IPv4 in the low 32 bits.
        source: u128,
    },
    /// A UDP datagram without checksum came from the remote side of a session, and was dropped since IPv6 asks for one
    /// (LOG-32). The data plane reports it.
    ChecksumMissing(SessionEnds),
    /// A new session was refused for another reason, such as a subscriber's rate.
    Refused {
        /// Why.
        reason: DropReason,
        /// Kind and realm of the inside address.
        kind_realm: KindRealm,
        /// Inside address.
        inside: u128,
    },
}

/// Who hears of events.
pub trait Events {
    /// Takes one.
    fn event(&mut self, event: Event);

    /// A limit was reached and not reported, because that kind of report has had its share of this second.
    fn suppressed(&mut self) {}

    /// An established TCP session was idle for its whole time, and probes are configured: the dataplane sends an empty segment to the inside host
    /// (N64-TCP-21, N64-TCP-22).
    fn probe(&mut self, session: &Fixed);
}

/// Nobody.
impl Events for () {
    fn event(&mut self, _: Event) {}

    fn probe(&mut self, _: &Fixed) {}
}

/// All of it, kept.
impl Events for (Vec<Event>, Vec<Fixed>) {
    fn event(&mut self, event: Event) {
        self.0.push(event);
    }

    fn probe(&mut self, session: &Fixed) {
        self.1.push(*session);
    }
}
