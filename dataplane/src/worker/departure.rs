//! Next hops ready made: what the express lane needs of an adjacency and its interface, in half a cache line.
//!
//! Adjacencies and interfaces are spread over several tables, each behind a pointer. A worker keeps what it made of them,
//! and makes it anew when routes or configuration have changed.

use sluice_packet::ethernet;

use crate::nexthop::{AdjacencyIndex, MAX_ADJACENCIES, State};
use crate::setup::Setup;

/// A next hop.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub(super) struct Departure {
    pub(super) macs: Macs,
    /// When it was made.
    epoch: u32,
    /// Interface, by position.
    pub(super) interface: u16,
    /// Port, by position.
    pub(super) port: u16,
    /// IP MTU.
    pub(super) mtu: u16,
    /// The longest packet that leaves as it is, whatever it was: IPv4 packets without DF leave in smaller ones to IPv6.
    pub(super) least: u16,
    pub(super) vlan: Option<u16>,
}

const _: () = assert!(size_of::<Departure>() == 32);

/// Destination and source address of a link header.
#[derive(Clone, Copy, Default)]
pub(super) struct Macs([u8; 12]);

impl Macs {
    pub(super) fn new(destination: [u8; 6], source: [u8; 6]) -> Self {
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&destination);
        macs[6..].copy_from_slice(&source);
        Self(macs)
    }

    /// The link header without a tag.
    #[inline(always)]
    pub(super) fn untagged(&self, ether_type: u16) -> [u8; 14] {
        let mut header = [0; 14];
        header[..12].copy_from_slice(&self.0);
        header[12..].copy_from_slice(&ether_type.to_be_bytes());
        header
    }

    /// The link header with a tag.
    #[inline(always)]
    pub(super) fn tagged(&self, vlan: u16, ether_type: u16) -> [u8; 18] {
        let mut header = [0; 18];
        header[..12].copy_from_slice(&self.0);
        header[12..14].copy_from_slice(&ethernet::VLAN.to_be_bytes());
        header[14..16].copy_from_slice(&vlan.to_be_bytes());
        header[16..].copy_from_slice(&ether_type.to_be_bytes());
        header
    }
}

/// The next hops of a worker.
pub(super) struct Departures {
    /// Never 0, which no entry has that was made.
    epoch: u32,
    /// FIB generation of the present epoch.
    generation: u32,
    entries: Box<[Departure]>,
}

impl Departures {
    pub(super) fn new() -> Self {
        let entries = vec![Departure::default(); MAX_ADJACENCIES].into_boxed_slice();
        Self { epoch: 1, generation: 0, entries }
    }

    /// Forgets all that was made, unless routes are what they were. A change of the configuration changes routes too.
    #[inline]
    pub(super) fn follow(&mut self, generation: u32) {
        if self.generation != generation {
            self.generation = generation;
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        }
    }

    /// A next hop, if it is resolved.
    #[inline(always)]
    pub(super) fn get(&mut self, index: AdjacencyIndex, setup: &Setup) -> Option<&Departure> {
        let epoch = self.epoch;
        if self.entries.get(usize::from(index.0))?.epoch != epoch {
            self.make(index, setup)?;
        }
        self.entries.get(usize::from(index.0))
    }

    /// One that [`Departures::get`] has just given out.
    #[inline(always)]
    pub(super) fn again(&self, index: AdjacencyIndex) -> Option<&Departure> {
        self.entries.get(usize::from(index.0))
    }

    #[cold]
    fn make(&mut self, index: AdjacencyIndex, setup: &Setup) -> Option<()> {
        let neighbour = setup.routes.adjacencies.get(index);
        let position = u16::from(neighbour.interface);
        let interface = setup.interface(position).filter(|_| neighbour.state == State::Resolved)?;
        *self.entries.get_mut(usize::from(index.0))? = Departure {
            macs: Macs::new(neighbour.mac, interface.mac),
            epoch: self.epoch,
            interface: position,
            port: interface.port,
            mtu: interface.mtu,
            least: interface.mtu.min(setup.nat.fragments().lowest_ipv6_mtu),
            vlan: interface.vlan,
        };
        Some(())
    }
}
