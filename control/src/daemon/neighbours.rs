//! The kernel's neighbours on the twins, as the dataplane is told of them.
//!
//! The table is kept here so that a new life of the dataplane, or a configuration that numbers the interfaces anew, gets
//! all of it at once. It is bounded by the kernel's own `gc_thresh3`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sluice_shm::{Address, NeighbourState as Told};

use super::link::Link;
use crate::system::{NeighbourEvent, NeighbourState};

/// Interface name and address.
type Key = (String, IpAddr);

#[derive(Default)]
pub(crate) struct Neighbours {
    known: BTreeMap<Key, (Option<[u8; 6]>, NeighbourState)>,
    /// Not told yet, because the ring was full or there was no dataplane.
    untold: BTreeSet<Key>,
    /// Names of the interfaces by number.
    interfaces: Vec<String>,
}

impl Neighbours {
    /// Other numbers: everything is told anew.
    pub(crate) fn set_interfaces(&mut self, names: Vec<String>) {
        self.interfaces = names;
        self.tell_all_again();
    }

    pub(crate) fn tell_all_again(&mut self) {
        self.untold = self.known.keys().cloned().collect();
    }

    pub(crate) fn event(&mut self, event: NeighbourEvent) {
        // Before an interface is configured its neighbours are kept all the same: the kernel reports each of them once.
        let key = (event.interface, event.address);
        if event.state == NeighbourState::Deleted {
            self.known.remove(&key);
        } else {
            self.known.insert(key.clone(), (event.mac, event.state));
        }
        self.untold.insert(key);
    }

    /// Tells what is untold, as far as there is room. Some room is left for commands that people wait for.
    pub(crate) fn tell(&mut self, link: &mut Link) {
        const RESERVE: usize = 64;
        let mut room = link.room().saturating_sub(RESERVE);
        while room > 0
            && let Some(key) = self.untold.pop_first()
        {
            let Some(number) = self.interfaces.iter().position(|name| *name == key.0) else { continue };
            let (mac, state) = match self.known.get(&key) {
                Some((mac, state)) => (*mac, told(*state)),
                None => (None, None),
            };
            if !link.neighbour(number as u16, Address::from(key.1), mac, state) {
                self.untold.insert(key);
                return;
            }
            room -= 1;
        }
    }

    /// Neighbours by state.
    pub(crate) fn summary(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for ((interface, _), (_, state)) in &self.known {
            if self.interfaces.contains(interface) {
                *counts.entry(format!("{state:?}").to_lowercase()).or_default() += 1;
            }
        }
        counts
    }
}

fn told(state: NeighbourState) -> Option<Told> {
    match state {
        NeighbourState::Reachable => Some(Told::Reachable),
        NeighbourState::Stale => Some(Told::Stale),
        NeighbourState::Failed => Some(Told::Failed),
        NeighbourState::Incomplete => Some(Told::Incomplete),
        NeighbourState::Deleted => None,
    }
}
