//! What the engine reports: port blocks and bindings for the log, refusals, and probes to send.
//!
//! Events travel to control as they are (`sluice_shm::Notice::Nat`).

use sluice_packet::DropReason;

use crate::record::Fixed;
use crate::types::{KindRealm, Protocol};

/// Something that happened, as the logs have it (LOG-09, LOG-12, LOG-15).
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
    /// A new session was refused. At most one a subscriber and second.
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

    /// An established TCP session was idle for its whole time: the dataplane sends an empty segment to the inside host
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
