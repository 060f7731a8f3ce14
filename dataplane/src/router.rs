//! Routes and neighbours of one configuration generation: the main thread's writing side.
//!
//! Static and connected routes come with the configuration, neighbours one by one as the kernel finds them. A known
//! neighbour on a connected subnet is a host route to its adjacency, so that forwarding is one lookup.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sluice_fib::{Fib4, Fib6, Prefix4, Prefix6, Writer4, Writer6};
use sluice_shm::snapshot::{InterfaceSpec, RouteSpec, Via};

use crate::nexthop::{Adjacency, AdjacencyIndex, AdjacencyTable, MAX_ADJACENCIES, NextHop, State};

/// A neighbour: interface by position, and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Interface.
    pub interface: u16,
    /// Whether the address is IPv6.
    pub ipv6: bool,
    /// The address; IPv4 in the low 32 bits.
    pub address: u128,
}

/// What the workers read.
#[derive(Debug, Clone)]
pub struct Routes {
    /// IPv4.
    pub fib4: Arc<Fib4>,
    /// IPv6.
    pub fib6: Arc<Fib6>,
    /// Neighbours.
    pub adjacencies: Arc<AdjacencyTable>,
    /// Counts every change of either FIB; sessions cache its low 16 bits beside their next hops. The next router goes on
    /// from where this one stands.
    pub generation: Arc<AtomicU32>,
}

impl Routes {
    /// The present generation.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Why routes could not be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RouterError {
    /// A prefix has host bits set or an impossible length; control should have refused it
    #[error("route {address:#x}/{len}: not a prefix")]
    Prefix {
        /// Its address.
        address: u128,
        /// Its length.
        len: u8,
    },
    /// A route or neighbour names an interface that the configuration does not have
    #[error("a route names interface {0}, which does not exist")]
    Interface(u16),
    /// More neighbours than the adjacency table holds
    #[error("more than {MAX_ADJACENCIES} neighbours")]
    Adjacencies,
    /// The FIB is full
    #[error("the forwarding table is full: {0}")]
    Full(String),
}

/// The writing side.
pub struct Router {
    fib4: Writer4,
    fib6: Writer6,
    adjacencies: Arc<AdjacencyTable>,
    generation: Arc<AtomicU32>,
    known: HashMap<Neighbour, AdjacencyIndex>,
    gateways: HashSet<Neighbour>,
    /// Neighbours that have a host route of ours.
    hosts: HashSet<Neighbour>,
    subnets: Vec<(u16, bool, u128, u8)>,
    next: u16,
    /// Numbers to be given out again.
    free: Vec<AdjacencyIndex>,
    /// Numbers that a worker may still hold.
    retired: Vec<AdjacencyIndex>,
}

impl Router {
    /// Builds the tables of a configuration.
    ///
    /// # Errors
    /// If a route is malformed or does not fit.
    pub fn new(
        interfaces: &[InterfaceSpec],
        routes: &[RouteSpec],
        generation: u32,
    ) -> Result<Self, RouterError> {
        let mut router = Self {
            fib4: Writer4::new(Fib4::new(sluice_fib::Config::default())),
            fib6: Writer6::new(Fib6::new(sluice_fib::Config::default())),
            adjacencies: Arc::new(AdjacencyTable::new()),
            generation: Arc::new(AtomicU32::new(generation)),
            known: HashMap::new(),
            gateways: HashSet::new(),
            hosts: HashSet::new(),
            subnets: Vec::new(),
            next: 0,
            free: Vec::new(),
            retired: Vec::new(),
        };
        for route in routes {
            let hop = match route.via {
                Via::Gateway { interface, ipv6, address } => {
                    if usize::from(interface) >= interfaces.len() {
                        return Err(RouterError::Interface(interface));
                    }
                    let gateway = Neighbour { interface, ipv6, address };
                    router.gateways.insert(gateway);
                    NextHop::Adjacency(router.adjacency(gateway)?)
                }
                Via::Connected { interface } => {
                    if usize::from(interface) >= interfaces.len() {
                        return Err(RouterError::Interface(interface));
                    }
                    router.subnets.push((interface, route.ipv6, route.prefix, route.len));
                    NextHop::Connected(interface)
                }
                Via::Blackhole => NextHop::Blackhole,
            };
            router.insert(route.ipv6, route.prefix, route.len, hop)?;
        }
        for interface in interfaces {
            for &(address, _) in &interface.ipv4 {
                router.insert(false, u128::from(address), 32, NextHop::Local)?;
            }
            for &(address, _) in &interface.ipv6 {
                router.insert(true, address, 128, NextHop::Local)?;
            }
        }
        router.changed();
        Ok(router)
    }

    /// The reading side.
    pub fn routes(&self) -> Routes {
        Routes {
            fib4: self.fib4.fib(),
            fib6: self.fib6.fib(),
            adjacencies: Arc::clone(&self.adjacencies),
            generation: Arc::clone(&self.generation),
        }
    }

    /// Records what the kernel knows of a neighbour. What is neither a gateway nor on a link of ours is not kept, and
    /// neither is a host that nobody has resolved: a scan of a subnet must not fill the table.
    ///
    /// # Errors
    /// If a table is full; nothing else changed then.
    pub fn set(&mut self, neighbour: Neighbour, mac: [u8; 6], state: State) -> Result<(), RouterError> {
        let known = self.known.contains_key(&neighbour);
        if !known && (state != State::Resolved || !self.is_on_link(neighbour)) {
            return Ok(());
        }
        let index = self.adjacency(neighbour)?;
        let entry = adjacency(neighbour, mac, state);
        let changed = self.adjacencies.get(index) != entry;
        if changed {
            self.adjacencies.set(index, entry);
        }
        // A host route only where the subnet's own route stands: what the operator configured is not overridden.
        let routed = self.lookup(neighbour) == Some(NextHop::Connected(neighbour.interface));
        if routed {
            let len = if neighbour.ipv6 { 128 } else { 32 };
            self.insert(neighbour.ipv6, neighbour.address, len, NextHop::Adjacency(index))?;
            self.hosts.insert(neighbour);
        }
        if changed || routed {
            self.changed();
        }
        Ok(())
    }

    /// Forgets a neighbour. A gateway becomes unresolved; a host on the link is asked for again by its next packet.
    pub fn delete(&mut self, neighbour: Neighbour) {
        let Some(&index) = self.known.get(&neighbour) else { return };
        self.adjacencies.set(index, adjacency(neighbour, [0; 6], State::Unresolved));
        if self.hosts.remove(&neighbour) {
            if neighbour.ipv6 {
                self.fib6.remove(Prefix6::host(neighbour.address));
            } else {
                self.fib4.remove(Prefix4::host(neighbour.address as u32));
            }
        }
        if !self.gateways.contains(&neighbour) {
            self.known.remove(&neighbour);
            self.retired.push(index);
        }
        self.changed();
    }

    /// The present generation.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Frees trie nodes and adjacencies that no worker can hold any more. Called when every worker went round its loop since the last change.
    pub fn reclaim(&mut self) {
        self.fib4.reclaim();
        self.fib6.reclaim();
        self.free.append(&mut self.retired);
    }

    fn is_on_link(&self, neighbour: Neighbour) -> bool {
        let bits = if neighbour.ipv6 { 128 } else { 32 };
        self.subnets.iter().any(|&(interface, ipv6, prefix, len)| {
            interface == neighbour.interface
                && ipv6 == neighbour.ipv6
                && (len == 0 || (prefix ^ neighbour.address) >> (bits - u32::from(len)) == 0)
        })
    }

    fn lookup(&self, neighbour: Neighbour) -> Option<NextHop> {
        let target = if neighbour.ipv6 {
            self.fib6.fib().lookup(neighbour.address)
        } else {
            self.fib4.fib().lookup(neighbour.address as u32)
        };
        target.map(NextHop::from_target)
    }

    fn adjacency(&mut self, neighbour: Neighbour) -> Result<AdjacencyIndex, RouterError> {
        if let Some(&index) = self.known.get(&neighbour) {
            return Ok(index);
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None if usize::from(self.next) >= MAX_ADJACENCIES => return Err(RouterError::Adjacencies),
            None => {
                self.next += 1;
                AdjacencyIndex(self.next - 1)
            }
        };
        self.adjacencies.set_address(index, neighbour.address);
        self.adjacencies.set(index, adjacency(neighbour, [0; 6], State::Unresolved));
        self.known.insert(neighbour, index);
        Ok(index)
    }

    fn insert(&mut self, ipv6: bool, address: u128, len: u8, hop: NextHop) -> Result<(), RouterError> {
        let malformed = RouterError::Prefix { address, len };
        if ipv6 {
            let prefix = Prefix6::new(address, len).map_err(|_| malformed)?;
            self.fib6.insert(prefix, hop.to_target()).map_err(|full| RouterError::Full(full.to_string()))
        } else {
            let narrow = u32::try_from(address).map_err(|_| RouterError::Prefix { address, len })?;
            let prefix = Prefix4::new(narrow, len).map_err(|_| malformed)?;
            self.fib4.insert(prefix, hop.to_target()).map_err(|full| RouterError::Full(full.to_string()))
        }
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// What the table says of a neighbour.
fn adjacency(neighbour: Neighbour, mac: [u8; 6], state: State) -> Adjacency {
    Adjacency { mac, interface: neighbour.interface as u8, state, ipv6: neighbour.ipv6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_shm::snapshot::MssClamp;

    fn interface() -> InterfaceSpec {
        InterfaceSpec {
            name: "inside".into(),
            port: 0,
            vlan: None,
            mtu: 1500,
            ipv4: vec![(0x0a00_0001, 24)],
            ipv6: vec![],
            mss_clamp: MssClamp::Auto,
            time_exceeded: true,
            proxy_neighbours: true,
        }
    }

    fn hop(router: &Router, address: u32) -> Option<NextHop> {
        router.routes().fib4.lookup(address).map(NextHop::from_target)
    }

    #[test]
    fn neighbours_on_the_link_become_host_routes_and_go_again() {
        let routes = [
            RouteSpec { ipv6: false, prefix: 0x0a00_0000, len: 24, via: Via::Connected { interface: 0 } },
            RouteSpec {
                ipv6: false,
                prefix: 0,
                len: 0,
                via: Via::Gateway { interface: 0, ipv6: false, address: 0x0a00_00fe },
            },
        ];
        let mut router = Router::new(&[interface()], &routes, 7).unwrap();
        assert_eq!(router.generation(), 8);
        assert_eq!(hop(&router, 0x0a00_0001), Some(NextHop::Local));
        assert_eq!(hop(&router, 0x0a00_0005), Some(NextHop::Connected(0)));
        let Some(NextHop::Adjacency(gateway)) = hop(&router, 0xc000_0201) else { panic!("default route") };
        assert_eq!(router.routes().adjacencies.get(gateway).state, State::Unresolved);

        let host = Neighbour { interface: 0, ipv6: false, address: 0x0a00_0005 };
        router.set(host, [2; 6], State::Resolved).unwrap();
        assert!(matches!(hop(&router, 0x0a00_0005), Some(NextHop::Adjacency(_))));
        router.delete(host);
        assert_eq!(hop(&router, 0x0a00_0005), Some(NextHop::Connected(0)));

        let gateway_neighbour = Neighbour { interface: 0, ipv6: false, address: 0x0a00_00fe };
        router.set(gateway_neighbour, [4; 6], State::Resolved).unwrap();
        assert_eq!(router.routes().adjacencies.get(gateway).mac, [4; 6]);
        router.delete(gateway_neighbour);
        assert_eq!(hop(&router, 0xc000_0201), Some(NextHop::Adjacency(gateway)));
        assert_eq!(hop(&router, 0x0a00_00fe), Some(NextHop::Connected(0)), "as a host it is asked for again");
    }

    #[test]
    fn a_neighbour_off_the_link_gets_no_host_route() {
        let mut router = Router::new(&[interface()], &[], 0).unwrap();
        router.set(Neighbour { interface: 0, ipv6: true, address: 1 }, [2; 6], State::Resolved).unwrap();
        assert_eq!(router.routes().fib6.lookup(1), None);
    }

    #[test]
    fn the_box_itself_is_never_a_neighbour() {
        let routes =
            [RouteSpec { ipv6: false, prefix: 0x0a00_0000, len: 24, via: Via::Connected { interface: 0 } }];
        let mut router = Router::new(&[interface()], &routes, 0).unwrap();
        let own = Neighbour { interface: 0, ipv6: false, address: 0x0a00_0001 };
        router.set(own, [2; 6], State::Resolved).unwrap();
        assert_eq!(hop(&router, 0x0a00_0001), Some(NextHop::Local));
        router.delete(own);
        assert_eq!(hop(&router, 0x0a00_0001), Some(NextHop::Local));
    }

    #[test]
    fn a_scan_of_the_subnet_does_not_fill_the_table() {
        let routes =
            [RouteSpec { ipv6: false, prefix: 0x0a00_0000, len: 8, via: Via::Connected { interface: 0 } }];
        let mut router = Router::new(&[interface()], &routes, 0).unwrap();
        for host in 0..200_000u32 {
            let neighbour = Neighbour { interface: 0, ipv6: false, address: u128::from(0x0a01_0000 + host) };
            router.set(neighbour, [0; 6], State::Unresolved).unwrap();
            router.set(neighbour, [0; 6], State::Failed).unwrap();
            router.set(neighbour, [2; 6], State::Resolved).unwrap();
            router.delete(neighbour);
            router.reclaim();
        }
    }

    #[test]
    fn a_neighbour_does_not_override_a_configured_host_route() {
        let routes = [
            RouteSpec { ipv6: false, prefix: 0x0a00_0000, len: 24, via: Via::Connected { interface: 0 } },
            RouteSpec { ipv6: false, prefix: 0x0a00_0009, len: 32, via: Via::Blackhole },
        ];
        let mut router = Router::new(&[interface()], &routes, 0).unwrap();
        let host = Neighbour { interface: 0, ipv6: false, address: 0x0a00_0009 };
        router.set(host, [2; 6], State::Resolved).unwrap();
        assert_eq!(hop(&router, 0x0a00_0009), Some(NextHop::Blackhole));
        router.delete(host);
        assert_eq!(hop(&router, 0x0a00_0009), Some(NextHop::Blackhole));
    }

    #[test]
    fn what_does_not_change_makes_no_new_generation() {
        let routes =
            [RouteSpec { ipv6: false, prefix: 0x0a00_0000, len: 24, via: Via::Connected { interface: 0 } }];
        let mut router = Router::new(&[interface()], &routes, 0).unwrap();
        let host = Neighbour { interface: 0, ipv6: false, address: 0x0a00_0009 };
        router.set(host, [2; 6], State::Resolved).unwrap();
        let generation = router.generation();
        router.set(host, [2; 6], State::Resolved).unwrap();
        assert_eq!(router.generation(), generation);
    }
}
