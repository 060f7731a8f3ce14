//! What travels between threads: packets handed from worker to worker, to the kernel and from it.
//!
//! All rings are single-producer single-consumer and bounded; a full one is a named drop of the producer.

use sluice_dpdk::Mbuf;
use sluice_nat::Tick;
use sluice_packet::Head;

/// Slots of a hand-off ring. One ring per ordered pair of workers.
pub const HANDOFF_SLOTS: usize = 1024;
/// Slots of the ring from a worker to the punt thread, and back.
pub const PUNT_SLOTS: usize = 1024;
/// Most hand-offs of a packet: a fragment's datagram may have an owner, hairpins need both halves, and the transmit queue may
/// have yet another owner.
pub const MAX_HOPS: u8 = 4;

/// Where the receiving worker takes a handed-off packet up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As if it had just arrived on the interface.
    Enter,
    /// The second half of a hairpin: translated once, now inbound.
    Hairpin,
    /// A fragment of a datagram whose first one has been seen.
    Fragment {
        /// What that one told.
        head: Head,
        /// It is the second half of a hairpin.
        hairpin: bool,
    },
    /// A SYN from outside that waits for one from inside (N64-TCP-03), to the owner of its port.
    StoredSyn {
        /// Since when.
        since: Tick,
        /// It is the second half of a hairpin.
        hairpinned: bool,
    },
    /// Complete; only to be sent out of the port.
    Transmit {
        /// Port, by position.
        port: u16,
        /// Interface that counts it.
        interface: u16,
    },
}

const _: () = assert!(size_of::<Parcel>() == 24);

/// A packet on its way to another worker.
#[derive(Debug)]
pub struct Parcel {
    /// The packet.
    pub mbuf: Mbuf,
    /// Interface on which it arrived.
    pub interface: u16,
    /// Hand-offs so far, this one included.
    pub hops: u8,
    /// Where to go on.
    pub stage: Stage,
}

/// A packet for the kernel.
#[derive(Debug)]
pub struct Punt {
    /// The packet, untagged.
    pub mbuf: Mbuf,
    /// Interface whose twin gets it.
    pub interface: u16,
}

/// A packet from the kernel, to be sent out of its interface.
#[derive(Debug)]
pub struct Injection {
    /// The packet, untagged.
    pub mbuf: Mbuf,
    /// Interface whose twin it came from.
    pub interface: u16,
}
