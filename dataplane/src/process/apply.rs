//! Taking up a configuration: all of it, or nothing.
//!
//! Whatever can be found wrong is found before anything is touched. Rules, pools, routes and limits reach running workers
//! as an order. A change of devices, interfaces or cores stops the threads and starts others, with the same engines if
//! their number stays; if the ports cannot be had, the previous configuration is started again with those engines.

use std::sync::Arc;

use sluice_dpdk::Device;
use sluice_nat::{Config, Engine, Geometry, Shared, WorkerId};
use sluice_shm::snapshot::{PortSpec, Snapshot};
use sluice_shm::{ShmError, StateGeometry, StateRegion};

use super::{Active, Aftermath, Foundation, Process};
use crate::clock::Clock;
use crate::ident::Identifications;
use crate::ports::Attached;
use crate::router::{Neighbour, Router, RouterError};
use crate::setup::{Setup, needs_rebuild, rules_fit};
use crate::topology::{Crew, Failure, Start, Topology, TopologyError, check_cores};

/// Pool addresses that there is room for. Each takes 480 KiB of address space, and 48 KiB of memory once it is configured.
const MAX_ADDRESSES: u32 = 4096;
/// Sessions are dealt to workers in extents of this many.
const EXTENT: u32 = 4096;
/// What a supervisor sees when the process ends itself to be started again.
const RESTART: i32 = 70;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The snapshot could not be read
    #[error("configuration snapshot: {0}")]
    Snapshot(#[from] sluice_shm::SnapshotError),
    /// The snapshot on disk is not the one that was named
    #[error("configuration snapshot has generation {found}, not {wanted} as announced")]
    Generation {
        /// As announced.
        wanted: u64,
        /// As found.
        found: u64,
    },
    /// Something in it names what is not there
    #[error("configuration snapshot: {0}")]
    Reference(&'static str),
    /// The translation part does not hold
    #[error("translation: {0}")]
    Nat(sluice_nat::ConfigError),
    /// The routing part does not hold
    #[error("routes: {0}")]
    Router(#[from] RouterError),
    /// The ports could not be had
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// The session region could not be made
    #[error("session table: {0}")]
    State(#[from] ShmError),
    /// DPDK 22.11 cannot configure an AF_XDP port twice in a process
    #[error("the MTU of `{device}` changes from {old} to {new}, which needs a restart of the dataplane")]
    XdpMtu {
        /// The device.
        device: String,
        /// Its MTU.
        old: u16,
        /// As configured.
        new: u16,
    },
    /// Nor can it bind a second port to the interface of the first
    #[error("`{old}` becomes `{new}` on the same interface, which needs a restart of the dataplane")]
    XdpOptions {
        /// As it runs.
        old: String,
        /// As configured.
        new: String,
    },
    /// More workers than the shared region has room for
    #[error("{wanted} workers asked for, this dataplane has room for {room}; restart it")]
    Workers {
        /// Asked for.
        wanted: usize,
        /// Room.
        room: usize,
    },
}

impl Process {
    /// Makes a snapshot the active configuration, or changes nothing.
    pub(super) fn apply(&mut self, snapshot: Snapshot) -> Result<(), ApplyError> {
        self.check(&snapshot)?;
        let workers = workers(&snapshot);
        self.neighbours.retain(|(name, _), _| snapshot.interfaces.iter().any(|spec| spec.name == *name));
        match &self.active {
            Some(active) if !needs_rebuild(&active.snapshot, &snapshot) => self.reconfigure(snapshot),
            Some(_) => self.rebuild(snapshot),
            None => {
                self.found(&snapshot, workers)?;
                let built = self.new_shared(workers).and_then(|shared| {
                    let mut crews = Vec::new();
                    let built = self.build(snapshot, &shared, None, &mut crews);
                    self.return_sights(crews);
                    built
                });
                if built.is_err() {
                    // What was refused does not decide how large the session table is.
                    self.foundation = None;
                }
                built
            }
        }
    }

    /// Everything that can be judged without touching anything.
    fn check(&mut self, snapshot: &Snapshot) -> Result<(), ApplyError> {
        check(snapshot)?;
        check_cores(&snapshot.cores)?;
        let wanted = workers(snapshot);
        if wanted > self.region.workers() {
            return Err(ApplyError::Workers { wanted, room: self.region.workers() });
        }
        for spec in &snapshot.ports {
            Device::parse(&spec.device).map_err(|error| TopologyError::device(&spec.device, error))?;
        }
        let Some(active) = &self.active else { return Ok(()) };
        active
            .shared
            .compile(&snapshot.nat, self.nat_generation.wrapping_add(1), Some(&active.nat))
            .map_err(ApplyError::Nat)?;
        Router::new(&snapshot.interfaces, &snapshot.routes, 0)?;
        for old in active.snapshot.ports.iter().filter(|port| port.device.starts_with("xdp:")) {
            let new = snapshot.ports.iter().find(|port| port.device == old.device);
            if let Some(new) = new.filter(|new| new.mtu != old.mtu) {
                return Err(ApplyError::XdpMtu { device: old.device.clone(), old: old.mtu, new: new.mtu });
            }
            let rebinds =
                |new: &&PortSpec| new.device != old.device && xdp_interface(new) == xdp_interface(old);
            if let Some(new) = snapshot.ports.iter().find(rebinds) {
                let (old, new) = (old.device.clone(), new.device.clone());
                return Err(ApplyError::XdpOptions { old, new });
            }
        }
        if let Some(foundation) = &self.foundation
            && foundation.state.capacity() != snapshot.sessions
        {
            tracing::warn!(
                capacity = foundation.state.capacity(),
                configured = snapshot.sessions,
                "the session table keeps its size until the dataplane is restarted"
            );
        }
        Ok(())
    }

    /// Makes the session region when the first configuration says how large it is.
    fn found(&mut self, snapshot: &Snapshot, workers: usize) -> Result<(), ApplyError> {
        if self.foundation.is_none() {
            let geometry = StateGeometry::new(workers as u8, MAX_ADDRESSES)?;
            if self.aftermath.is_none() {
                self.aftermath = Some(Aftermath::read(&self.run, &snapshot.nat, MAX_ADDRESSES));
            }
            let state = StateRegion::create(&self.run, snapshot.sessions, geometry)?;
            self.foundation = Some(Foundation {
                clock: Clock::new(state.clock().base_ns()),
                identifications: Identifications::new(geometry.seed[0] ^ geometry.seed[3]),
                state,
            });
        }
        Ok(())
    }

    /// A new set of tables over the session region, which must hold no session.
    fn new_shared(&self, workers: usize) -> Result<Arc<Shared>, ApplyError> {
        let foundation = self.foundation.as_ref().ok_or(ApplyError::Reference("no session table"))?;
        let seed = foundation.state.geometry().seed;
        let geometry = Geometry { workers: workers as u8, max_addresses: MAX_ADDRESSES, seed };
        Ok(Shared::new(foundation.state.sessions(), geometry))
    }

    fn compile(
        &mut self,
        snapshot: &Snapshot,
        shared: &Shared,
        previous: Option<&Config>,
    ) -> Result<Arc<Config>, ApplyError> {
        let generation = self.nat_generation.wrapping_add(1);
        let nat = shared.compile(&snapshot.nat, generation, previous).map_err(ApplyError::Nat)?;
        self.nat_generation = generation;
        Ok(Arc::new(nat))
    }

    /// Routes of a configuration with the neighbours that are known.
    ///
    /// Each router counts generations of its own, on from where the last one stood: a worker that still uses the old
    /// tables must not take next hops from them under a generation of the new ones.
    fn route(&mut self, snapshot: &Snapshot) -> Result<Router, ApplyError> {
        if let Some(active) = &self.active {
            self.fib_generation = active.router.generation();
        }
        self.fib_generation = self.fib_generation.wrapping_add(1);
        let mut router = Router::new(&snapshot.interfaces, &snapshot.routes, self.fib_generation)?;
        for ((name, address), &(mac, state)) in &self.neighbours {
            let Some(interface) = snapshot.interfaces.iter().position(|spec| spec.name == *name) else {
                continue;
            };
            let neighbour =
                Neighbour { interface: interface as u16, ipv6: address.ipv6, address: address.value };
            if let Err(error) = router.set(neighbour, mac, state) {
                tracing::warn!(interface = %name, %error, "a neighbour was left out");
            }
        }
        self.fib_generation = router.generation();
        Ok(router)
    }

    /// New rules, pools, routes or limits on running workers.
    fn reconfigure(&mut self, snapshot: Snapshot) -> Result<(), ApplyError> {
        let Some(active) = &self.active else { return Err(ApplyError::Reference("nothing is running")) };
        let (shared, previous) = (Arc::clone(&active.shared), Arc::clone(&active.nat));
        let nat = self.compile(&snapshot, &shared, Some(&previous))?;
        let router = self.route(&snapshot)?;
        if let Some(aftermath) = &mut self.aftermath {
            aftermath.set_config(&shared, &nat);
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        let macs: Vec<[u8; 6]> = active.topology.port_info().iter().map(|port| port.mac).collect();
        let setup = Arc::new(Setup::new(&snapshot, &macs, Arc::clone(&nat), router.routes()));
        active.topology.configure(setup);
        active.nat = nat;
        active.router = router;
        active.snapshot = snapshot;
        self.reclaim = None;
        Ok(())
    }

    /// New devices, interfaces or cores: threads are taken down and built again; if that fails, as they were.
    pub(super) fn rebuild(&mut self, snapshot: Snapshot) -> Result<(), ApplyError> {
        let Some(old) = self.active.take() else { return Err(ApplyError::Reference("nothing is running")) };
        tracing::info!(
            generation = snapshot.generation,
            "devices, interfaces or cores changed: rebuilding ports and threads"
        );
        self.fib_generation = old.router.generation();
        self.give_removal_up();
        let (crews, ports) = old.topology.stop();
        self.parked.park(ports);
        if crews.iter().any(Option::is_none) {
            tracing::error!("a packet thread had died; ending, to be started again");
            std::process::exit(RESTART);
        }
        let mut crews: Vec<Crew> = crews.into_iter().flatten().collect();
        let (old_shared, old_nat, old_snapshot) = (old.shared, old.nat, old.snapshot);

        let built = if redeals(&old_snapshot, &snapshot) {
            // Sessions are dealt to workers by number and subscriber: under another deal each would be in wrong hands.
            self.return_sights(std::mem::take(&mut crews));
            self.wipe(&old_snapshot);
            self.new_shared(workers(&snapshot))
                .and_then(|shared| self.build(snapshot, &shared, None, &mut crews))
        } else {
            self.build(snapshot, &old_shared, Some(&old_nat), &mut crews)
        };
        let Err(error) = built else { return Ok(()) };

        // Engines that are still whole go on with the old rules; else the old configuration starts empty.
        let generation = old_snapshot.generation;
        let restored = if crews.len() == workers(&old_snapshot) && Arc::strong_count(&old_shared) > 1 {
            self.build(old_snapshot, &old_shared, Some(&old_nat), &mut crews)
        } else {
            self.return_sights(std::mem::take(&mut crews));
            self.wipe(&old_snapshot);
            self.new_shared(workers(&old_snapshot))
                .and_then(|shared| self.build(old_snapshot, &shared, None, &mut crews))
        };
        match restored {
            Ok(()) => tracing::warn!(generation, "went back to the previous configuration"),
            Err(error) => {
                // Control finds the process gone and puts the previous snapshot back, which a new life takes up: what
                // stands in the way of a port is often this process (`net_af_xdp` keeps its sockets).
                tracing::error!(generation, %error, "the previous configuration cannot be restored; ending, to be started again");
                std::process::exit(RESTART);
            }
        }
        Err(error)
    }

    /// Deletes every session, all of a configuration, whose blocks then rest. Only without workers.
    fn wipe(&mut self, snapshot: &Snapshot) {
        let Some(foundation) = &self.foundation else { return };
        let sessions = foundation.state.sessions();
        if let Some(aftermath) = &mut self.aftermath {
            aftermath.add_life(sessions.iter(), &snapshot.nat, MAX_ADDRESSES);
        }
        sessions.iter().filter(|session| session.is_live()).for_each(|session| session.delete());
    }

    /// Attaches ports and starts threads. `crews` holds an engine for each worker, or is empty for new ones; after a
    /// failure it holds them again.
    fn build(
        &mut self,
        snapshot: Snapshot,
        shared: &Arc<Shared>,
        previous: Option<&Config>,
        crews: &mut Vec<Crew>,
    ) -> Result<(), ApplyError> {
        let nat = self.compile(&snapshot, shared, previous)?;
        if let Some(aftermath) = &mut self.aftermath {
            match previous {
                None => aftermath.rest(shared, &nat),
                Some(_) => aftermath.set_config(shared, &nat),
            }
        }
        let router = self.route(&snapshot)?;
        let attached = Attached::new(&self.eal, &snapshot, &mut self.parked)?;
        let setup = Arc::new(Setup::new(&snapshot, attached.macs(), Arc::clone(&nat), router.routes()));
        let foundation = self.foundation.as_ref().ok_or(ApplyError::Reference("no session table"))?;
        if crews.is_empty() {
            for number in 0..workers(&snapshot) {
                let sight =
                    self.sides[number].take().ok_or(ApplyError::Reference("a worker's place is taken"))?;
                let engine = Engine::new(Arc::clone(shared), WorkerId(number as u8), Arc::clone(&nat));
                crews.push((engine, sight));
            }
        } else {
            crews.iter_mut().for_each(|(engine, _)| engine.set_config(Arc::clone(&nat)));
        }
        let start = Start {
            snapshot: &snapshot,
            setup,
            shared: Arc::clone(shared),
            crews: std::mem::take(crews),
            punt_counters: self.punt.counters,
            clock: foundation.clock,
            identifications: &foundation.identifications,
        };
        let topology = match Topology::start(attached, start) {
            Ok(topology) => topology,
            Err(failure) => {
                let Failure { error, crews: back, attached } = *failure;
                *crews = back;
                self.parked.park(attached);
                return Err(error.into());
            }
        };
        self.parked.detach();
        self.links.clear();
        self.region.set_port_count(snapshot.ports.len());
        self.region.set_active_workers(workers(&snapshot));
        self.active = Some(Active { snapshot, nat, router, shared: Arc::clone(shared), topology });
        self.publish_ports();
        Ok(())
    }
}

/// The kernel interface below an `xdp:` port.
fn xdp_interface(spec: &PortSpec) -> Option<String> {
    match Device::parse(&spec.device) {
        Ok(Device::Xdp { interface, .. }) => Some(interface),
        _ => None,
    }
}

/// Workers of a configuration: one for each core, and one without cores.
fn workers(snapshot: &Snapshot) -> usize {
    snapshot.cores.len().max(1)
}

/// Whether sessions belong to other workers under the new configuration.
fn redeals(old: &Snapshot, new: &Snapshot) -> bool {
    let length = |snapshot: &Snapshot| snapshot.nat.limits.ipv6_prefix_length;
    workers(old) != workers(new) || workers(new) > 1 && length(old) != length(new)
}

/// Positions in a snapshot must exist and numbers make sense: the dataplane believes nothing that it did not check.
fn check(snapshot: &Snapshot) -> Result<(), ApplyError> {
    let refuse = |what| Err(ApplyError::Reference(what));
    let mtu_is_wrong = |mtu: u16| !(1280..=9600).contains(&mtu);
    if snapshot.generation == 0 {
        return refuse("generation 0");
    }
    if snapshot.ports.is_empty() || snapshot.ports.len() > sluice_shm::MAX_PORTS {
        return refuse("no ports, or too many");
    }
    if snapshot.interfaces.is_empty() || snapshot.interfaces.len() > sluice_shm::MAX_INTERFACES {
        return refuse("no interfaces, or too many");
    }
    if snapshot.interfaces.iter().any(|spec| usize::from(spec.port) >= snapshot.ports.len()) {
        return refuse("an interface names a port that does not exist");
    }
    let mut mtus =
        snapshot.interfaces.iter().map(|spec| spec.mtu).chain(snapshot.ports.iter().map(|port| port.mtu));
    if mtus.any(mtu_is_wrong) {
        return refuse("an MTU is not between 1280 and 9600");
    }
    if snapshot.sessions < EXTENT * workers(snapshot) as u32 {
        return refuse("fewer than 4096 sessions for each worker");
    }
    if !rules_fit(&snapshot.nat.rules, snapshot.interfaces.len()) {
        return refuse("a rule names an interface that does not exist");
    }
    Ok(())
}
