//! The main thread: takes commands from control, builds configurations, writes routes and neighbours, beats the heart.
//!
//! It is the only thread that allocates, reads files and speaks to DPDK's control functions. Nothing a packet needs waits
//! for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sluice_dpdk::Eal;
use sluice_nat::{Config, Engine, Geometry, Shared, WorkerId};
use sluice_shm::snapshot::Snapshot;
use sluice_shm::{
    Address, Command, Consumer, DataplaneRegion, DataplaneState, NeighbourState, Notice, Producer, Reply,
    Request, RunDir, ShmError, StateGeometry, StateRegion, WorkerSide, read_snapshot,
};

use crate::clock::Clock;
use crate::ident::Identifications;
use crate::nexthop::State;
use crate::router::{Neighbour, Router, RouterError};
use crate::setup::{Setup, needs_rebuild, rules_fit};
use crate::topology::{Attached, Crew, Failure, Start, Topology, TopologyError};
use crate::worker::{Order, Sight};

/// Pause between two rounds of the main thread: how long a command may wait.
const ROUND: Duration = Duration::from_millis(2);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_millis(100);
/// Between two looks at the ports.
const PORT_LOOK: Duration = Duration::from_millis(500);
/// How long workers may take to take up a configuration. They do it within a loop; only a starved machine comes close.
const SETTLE: Duration = Duration::from_secs(10);
/// Pool addresses that there is room for. Each takes 340 KiB of address space, touched only where ports are in use.
const MAX_ADDRESSES: u32 = 4096;

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
    /// More workers than the shared region has room for
    #[error("{wanted} workers asked for, this dataplane has room for {room}; restart it")]
    Workers {
        /// Asked for.
        wanted: usize,
        /// Room.
        room: usize,
    },
}

/// What stays for the life of the process once the first configuration is there.
struct Foundation {
    state: StateRegion,
    clock: Clock,
    identifications: Arc<Identifications>,
}

/// A configuration at work.
struct Active {
    snapshot: Snapshot,
    nat: Arc<Config>,
    router: Router,
    shared: Arc<Shared>,
    topology: Topology,
}

/// A reply that waits until every worker has let go of the previous configuration.
struct Settling {
    sequence: u32,
    generation: u64,
    since: Vec<u32>,
    deadline: Instant,
}

/// The main thread.
pub struct Process {
    eal: Eal,
    run: RunDir,
    region: DataplaneRegion,
    commands: Consumer<Request>,
    replies: Producer<Reply>,
    main: WorkerSide,
    punt: WorkerSide,
    /// Sides of workers that are not running.
    sides: Vec<Option<Sight>>,
    foundation: Option<Foundation>,
    active: Option<Active>,
    /// Ports that no configuration uses at the moment, between two topologies.
    parked: Attached,
    fib_generation: Arc<AtomicU32>,
    nat_generation: u16,
    /// Every neighbour that control told of, by interface name: configurations come and go.
    neighbours: HashMap<(String, Address), ([u8; 6], State)>,
    settling: Option<Settling>,
    reclaim: Option<Vec<u32>>,
    links: Vec<bool>,
}

impl Process {
    /// Makes the shared region and waits for nothing: control may come later.
    ///
    /// # Errors
    /// If the region cannot be made.
    pub fn new(eal: Eal, run: RunDir, workers: usize) -> Result<Self, ShmError> {
        let mut region = DataplaneRegion::create(&run, workers)?;
        let sides = (0..region.workers()).map(|thread| Some(sight(region.take_worker(thread)))).collect();
        let (main, punt) = (region.main_thread(), region.punt_thread());
        Ok(Self {
            eal,
            run,
            commands: region.take_commands(),
            replies: region.take_replies(),
            main: region.take_worker(main),
            punt: region.take_worker(punt),
            sides,
            region,
            foundation: None,
            active: None,
            parked: Attached::default(),
            fib_generation: Arc::new(AtomicU32::new(0)),
            nat_generation: 0,
            neighbours: HashMap::new(),
            settling: None,
            reclaim: None,
            links: Vec::new(),
        })
    }

    /// Takes up the configuration that the last life of the dataplane had, if there is one: forwarding starts again
    /// before control has said a word.
    pub fn resume(&mut self) {
        if !self.run.snapshot().exists() {
            return;
        }
        match read_snapshot(&self.run) {
            Ok(snapshot) => {
                let generation = snapshot.generation;
                match self.apply(snapshot) {
                    Ok(()) => tracing::info!(generation, "took up the last configuration"),
                    Err(error) => {
                        tracing::warn!(generation, %error, "the last configuration does not apply any more")
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the last configuration cannot be read"),
        }
    }

    /// Runs until told to stop, by control or by a signal.
    pub fn run(&mut self, stop: &AtomicBool) {
        self.region.set_state(DataplaneState::Running);
        let mut beat = Instant::now() - BEAT;
        let mut look = Instant::now() - PORT_LOOK;
        while !stop.load(Ordering::Acquire) {
            while let Some(request) = self.commands.pop() {
                if !self.command(request) {
                    stop.store(true, Ordering::Release);
                }
            }
            self.settle();
            self.reclaim();
            if let Some(active) = &mut self.active {
                active.topology.collect();
            }
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                self.region.heartbeat(sluice_shm::clock::now_ns());
                self.look_after_threads();
            }
            if look.elapsed() >= PORT_LOOK {
                look = Instant::now();
                self.publish_ports();
            }
            std::thread::sleep(ROUND);
        }
        self.region.set_state(DataplaneState::Stopping);
        self.take_down();
        self.region.heartbeat(sluice_shm::clock::now_ns());
    }

    /// Carries out a command and answers it. False if it ends the process.
    fn command(&mut self, request: Request) -> bool {
        let Request { sequence, command } = request;
        let mut go_on = true;
        let outcome = match command {
            Command::Apply { generation } => return self.apply_command(sequence, generation),
            Command::NeighbourSet { interface, address, mac, state } => {
                self.set_neighbour(interface, address, mac, state)
            }
            Command::NeighbourDelete { interface, address } => self.delete_neighbour(interface, address),
            Command::TraceStart { id, count, filter } => {
                self.order(|| Order::TraceStart { id, count, filter });
                Ok(())
            }
            Command::TraceStop { .. } => {
                self.order(|| Order::TraceStop);
                Ok(())
            }
            Command::FlushSessions => {
                self.order(|| Order::Flush);
                Ok(())
            }
            Command::Shutdown => {
                go_on = false;
                Ok(())
            }
        };
        self.answer(match outcome {
            Ok(()) => Reply::Done { sequence },
            Err(message) => Reply::Refused { sequence, message },
        });
        go_on
    }

    fn answer(&mut self, reply: Reply) {
        // A full ring means that control is gone or stuck; its next life does not wait for this answer.
        if !self.replies.push(&reply) {
            tracing::warn!(sequence = reply.sequence(), "no room for a reply to control");
        }
    }

    fn order(&mut self, order: impl Fn() -> Order) {
        if let Some(active) = &mut self.active {
            active.topology.order(order);
        }
    }

    fn apply_command(&mut self, sequence: u32, generation: u64) -> bool {
        let outcome = read_snapshot(&self.run).map_err(ApplyError::from).and_then(|snapshot| {
            if snapshot.generation != generation {
                return Err(ApplyError::Generation { wanted: generation, found: snapshot.generation });
            }
            self.apply(snapshot)
        });
        match outcome {
            Ok(()) => {
                tracing::info!(generation, "configuration taken up");
                let since =
                    self.active.as_ref().map(|active| active.topology.iterations()).unwrap_or_default();
                self.settling =
                    Some(Settling { sequence, generation, since, deadline: Instant::now() + SETTLE });
            }
            Err(error) => {
                tracing::warn!(generation, %error, "configuration refused");
                self.answer(Reply::Refused { sequence, message: error.to_string() });
            }
        }
        true
    }

    /// Answers an apply once every worker works with the new configuration.
    fn settle(&mut self) {
        let Some(settling) = &self.settling else { return };
        let now = self.active.as_ref().map(|active| active.topology.iterations()).unwrap_or_default();
        let reply = if moved_on(&settling.since, &now) {
            self.region.set_generation(settling.generation);
            Reply::Applied { sequence: settling.sequence, generation: settling.generation }
        } else if Instant::now() > settling.deadline {
            Reply::Refused {
                sequence: settling.sequence,
                message: format!("workers did not take up the configuration within {} s", SETTLE.as_secs()),
            }
        } else {
            return;
        };
        self.settling = None;
        self.publish_ports();
        self.answer(reply);
    }

    /// Makes a snapshot the active configuration, or changes nothing.
    fn apply(&mut self, snapshot: Snapshot) -> Result<(), ApplyError> {
        check(&snapshot)?;
        let workers = snapshot.cores.len().max(1);
        if workers > self.region.workers() {
            return Err(ApplyError::Workers { wanted: workers, room: self.region.workers() });
        }
        self.found(&snapshot, workers)?;
        match &self.active {
            Some(active) if !needs_rebuild(&active.snapshot, &snapshot) => self.reconfigure(snapshot),
            Some(_) => self.rebuild(snapshot),
            None => {
                let shared = self.new_shared(workers)?;
                self.build(snapshot, shared, None, Vec::new())
            }
        }
    }

    /// Makes the session region when the first configuration says how large it is.
    fn found(&mut self, snapshot: &Snapshot, workers: usize) -> Result<(), ApplyError> {
        match &self.foundation {
            Some(foundation) => {
                if foundation.state.capacity() != snapshot.sessions {
                    tracing::warn!(
                        capacity = foundation.state.capacity(),
                        configured = snapshot.sessions,
                        "the session table keeps its size until the dataplane is restarted"
                    );
                }
            }
            None => {
                let geometry = StateGeometry::new(workers as u8, MAX_ADDRESSES)?;
                let state = StateRegion::create(&self.run, snapshot.sessions, geometry)?;
                self.foundation = Some(Foundation {
                    clock: Clock::new(state.clock().base_ns()),
                    identifications: Identifications::new(geometry.seed[0] ^ geometry.seed[3]),
                    state,
                });
            }
        }
        Ok(())
    }

    /// A new set of tables over the session region, which must hold no session.
    fn new_shared(&self, workers: usize) -> Result<Arc<Shared>, ApplyError> {
        let Some(foundation) = &self.foundation else {
            return Err(ApplyError::Reference("no session table"));
        };
        let seed = foundation.state.geometry().seed;
        let geometry = Geometry { workers: workers as u8, max_addresses: MAX_ADDRESSES, seed };
        Ok(Shared::new(foundation.state.sessions(), geometry))
    }

    fn compile(&mut self, snapshot: &Snapshot, shared: &Shared) -> Result<Arc<Config>, ApplyError> {
        let previous = self.active.as_ref().map(|active| Arc::clone(&active.nat));
        let generation = self.nat_generation.wrapping_add(1);
        let nat = shared.compile(&snapshot.nat, generation, previous.as_deref()).map_err(ApplyError::Nat)?;
        self.nat_generation = generation;
        Ok(Arc::new(nat))
    }

    /// Routes of a configuration with the neighbours that are known.
    fn route(&self, snapshot: &Snapshot) -> Result<Router, ApplyError> {
        let mut router =
            Router::new(&snapshot.interfaces, &snapshot.routes, Arc::clone(&self.fib_generation))?;
        for ((name, address), &(mac, state)) in &self.neighbours {
            if let Some(interface) = snapshot.interfaces.iter().position(|spec| spec.name == *name) {
                let neighbour =
                    Neighbour { interface: interface as u16, ipv6: address.ipv6, address: address.value };
                router.set(neighbour, mac, state)?;
            }
        }
        Ok(router)
    }

    /// New rules, pools, routes or limits on running workers.
    fn reconfigure(&mut self, snapshot: Snapshot) -> Result<(), ApplyError> {
        let Some(shared) = self.active.as_ref().map(|active| Arc::clone(&active.shared)) else {
            return Err(ApplyError::Reference("nothing is running"));
        };
        let nat = self.compile(&snapshot, &shared)?;
        let router = self.route(&snapshot)?;
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

    /// New devices, interfaces or cores: everything is taken down and built again; if that fails, as it was before.
    fn rebuild(&mut self, snapshot: Snapshot) -> Result<(), ApplyError> {
        let workers = snapshot.cores.len().max(1);
        let Some(old) = self.active.take() else { return Err(ApplyError::Reference("nothing is running")) };
        tracing::info!(
            generation = snapshot.generation,
            "devices, interfaces or cores changed: rebuilding ports and threads"
        );
        let (crews, ports) = old.topology.stop();
        self.parked.park(ports);
        let whole = crews.iter().all(Option::is_some);
        let crews: Vec<Crew> = crews.into_iter().flatten().collect();
        let same = old.snapshot.cores.len().max(1) == workers;
        let (shared, previous, crews) = if whole && same {
            (old.shared, Some(old.nat), crews)
        } else {
            // Sessions are dealt to workers by their number: with another number each would be in the wrong hands.
            self.return_sights(crews);
            self.wipe();
            (self.new_shared(workers)?, None, Vec::new())
        };
        let restore = old.snapshot;
        match self.build(snapshot, shared, previous, crews) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.restore(restore);
                Err(error)
            }
        }
    }

    /// Goes back to a configuration that worked a moment ago.
    fn restore(&mut self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.wipe();
        let restored = self
            .new_shared(snapshot.cores.len().max(1))
            .and_then(|shared| self.build(snapshot, shared, None, Vec::new()));
        match restored {
            Ok(()) => tracing::warn!(generation, "went back to the previous configuration"),
            Err(error) => {
                tracing::error!(generation, %error, "the previous configuration cannot be restored: not forwarding")
            }
        }
    }

    /// Deletes every session. Only without workers.
    fn wipe(&self) {
        if let Some(foundation) = &self.foundation {
            foundation
                .state
                .sessions()
                .iter()
                .filter(|session| session.is_live())
                .for_each(|session| session.delete());
        }
    }

    /// Attaches ports and starts threads. `crews` holds an engine for each worker, or is empty for new ones.
    fn build(
        &mut self,
        snapshot: Snapshot,
        shared: Arc<Shared>,
        previous: Option<Arc<Config>>,
        mut crews: Vec<Crew>,
    ) -> Result<(), ApplyError> {
        let built = self.try_build(&snapshot, &shared, previous, &mut crews);
        // What was not used goes back to its place, for the next attempt.
        self.return_sights(crews);
        let (nat, router, topology) = built?;
        self.parked.detach();
        self.links.clear();
        self.region.set_port_count(snapshot.ports.len());
        self.region.set_active_workers(snapshot.cores.len().max(1));
        self.active = Some(Active { snapshot, nat, router, shared, topology });
        self.publish_ports();
        Ok(())
    }

    fn try_build(
        &mut self,
        snapshot: &Snapshot,
        shared: &Arc<Shared>,
        previous: Option<Arc<Config>>,
        crews: &mut Vec<Crew>,
    ) -> Result<(Arc<Config>, Router, Topology), ApplyError> {
        let generation = self.nat_generation.wrapping_add(1);
        let nat = Arc::new(
            shared.compile(&snapshot.nat, generation, previous.as_deref()).map_err(ApplyError::Nat)?,
        );
        self.nat_generation = generation;
        let router = self.route(snapshot)?;
        let attached = Attached::new(&self.eal, snapshot, &mut self.parked)?;
        let setup = Arc::new(Setup::new(snapshot, attached.macs(), Arc::clone(&nat), router.routes()));
        let Some(foundation) = &self.foundation else {
            return Err(ApplyError::Reference("no session table"));
        };
        if crews.is_empty() {
            for number in 0..snapshot.cores.len().max(1) {
                let Some(sight) = self.sides[number].take() else {
                    return Err(ApplyError::Reference("a worker's place is taken"));
                };
                crews
                    .push((Engine::new(Arc::clone(shared), WorkerId(number as u8), Arc::clone(&nat)), sight));
            }
        } else {
            for (engine, _) in crews.iter_mut() {
                engine.set_config(Arc::clone(&nat));
            }
        }
        let start = Start {
            snapshot,
            setup,
            shared: Arc::clone(shared),
            crews: std::mem::take(crews),
            punt_counters: self.punt.counters,
            clock: foundation.clock,
            identifications: &foundation.identifications,
        };
        match Topology::start(attached, start) {
            Ok(topology) => Ok((nat, router, topology)),
            Err(failure) => {
                let Failure { error, crews: back, attached } = *failure;
                *crews = back;
                self.parked.park(attached);
                Err(error.into())
            }
        }
    }

    fn take_down(&mut self) {
        if let Some(active) = self.active.take() {
            let (crews, ports) = active.topology.stop();
            self.return_sights(crews.into_iter().flatten().collect());
            self.parked.park(ports);
        }
        self.parked.detach();
    }

    /// Puts what control sees of workers back to where the next topology takes it from. Crews are complete and in order,
    /// unless a worker died: then the process is about to end.
    fn return_sights(&mut self, crews: Vec<Crew>) {
        for (number, (_, sight)) in crews.into_iter().enumerate() {
            self.sides[number] = Some(sight);
        }
    }

    fn interface_name(&self, interface: u16) -> Result<String, String> {
        let name = self
            .active
            .as_ref()
            .and_then(|active| active.snapshot.interfaces.get(usize::from(interface)))
            .map(|spec| spec.name.clone());
        name.ok_or_else(|| format!("interface {interface} is not in the active configuration"))
    }

    fn set_neighbour(
        &mut self,
        interface: u16,
        address: Address,
        mac: [u8; 6],
        state: NeighbourState,
    ) -> Result<(), String> {
        let name = self.interface_name(interface)?;
        let state = match state {
            NeighbourState::Reachable | NeighbourState::Stale => State::Resolved,
            NeighbourState::Incomplete => State::Unresolved,
            NeighbourState::Failed => State::Failed,
        };
        self.neighbours.insert((name, address), (mac, state));
        let neighbour = Neighbour { interface, ipv6: address.ipv6, address: address.value };
        match &mut self.active {
            Some(active) => active.router.set(neighbour, mac, state).map_err(|error| error.to_string())?,
            None => return Ok(()),
        }
        self.note_change();
        Ok(())
    }

    fn delete_neighbour(&mut self, interface: u16, address: Address) -> Result<(), String> {
        let name = self.interface_name(interface)?;
        self.neighbours.remove(&(name, address));
        if let Some(active) = &mut self.active {
            active.router.delete(Neighbour { interface, ipv6: address.ipv6, address: address.value });
        }
        self.note_change();
        Ok(())
    }

    /// Trie nodes are freed once every worker has gone round its loop after the change.
    fn note_change(&mut self) {
        self.reclaim = self.active.as_ref().map(|active| active.topology.iterations());
    }

    fn reclaim(&mut self) {
        if let (Some(since), Some(active)) = (&self.reclaim, &mut self.active)
            && moved_on(since, &active.topology.iterations())
        {
            active.router.reclaim();
            self.reclaim = None;
        }
    }

    /// A worker that died took packets and queues with it: the process ends, and its supervisor starts it again.
    fn look_after_threads(&self) {
        if self.active.as_ref().is_some_and(|active| active.topology.has_failed()) {
            tracing::error!("a packet thread has died; ending, to be started again");
            std::process::exit(70);
        }
    }

    /// Tells control about ports, and of links that changed.
    fn publish_ports(&mut self) {
        let Some(active) = &self.active else { return };
        let ports = active.topology.port_info();
        self.links.resize(ports.len(), false);
        for (number, port) in ports.iter().enumerate() {
            self.region.set_port(number, port);
            if self.links[number] != port.link_up {
                self.links[number] = port.link_up;
                tracing::info!(port = %port.device, up = port.link_up, "link");
                let _ =
                    self.main.notices.push(&Notice::LinkChanged { port: number as u16, up: port.link_up });
            }
        }
    }
}

/// Whether every worker has begun and ended a whole loop since: then it holds nothing from before.
fn moved_on(since: &[u32], now: &[u32]) -> bool {
    since.len() != now.len() || since.iter().zip(now).all(|(&then, &now)| now.wrapping_sub(then) >= 2)
}

/// Positions in a snapshot must exist: the dataplane believes nothing that it did not check.
fn check(snapshot: &Snapshot) -> Result<(), ApplyError> {
    let refuse = |what| Err(ApplyError::Reference(what));
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
    if snapshot.interfaces.iter().any(|spec| spec.mtu < 1280 || spec.mtu > 9600) {
        return refuse("an interface's MTU is not between 1280 and 9600");
    }
    if snapshot.sessions == 0 {
        return refuse("a session table without sessions");
    }
    if !rules_fit(&snapshot.nat.rules, snapshot.interfaces.len()) {
        return refuse("a rule names an interface that does not exist");
    }
    Ok(())
}

fn sight(side: WorkerSide) -> Sight {
    Sight { counters: side.counters, notices: side.notices, traces: side.traces }
}
