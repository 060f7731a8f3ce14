//! The main thread: takes commands from control, builds configurations, writes routes and neighbours, beats the heart.
//!
//! It is the only thread that allocates, reads files and speaks to DPDK's control functions. Nothing a packet needs waits
//! for it.

mod aftermath;
mod apply;
mod removal;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_dpdk::Eal;
use sluice_nat::{Config, Shared};
use sluice_shm::snapshot::Snapshot;
use sluice_shm::{
    Address, Command, Consumer, DataplaneRegion, DataplaneState, NeighbourState, Notice, Producer, Reply,
    Request, RunDir, ShmError, StateRegion, WorkerSide, read_snapshot,
};

use crate::clock::Clock;
use crate::ident::Identifications;
use crate::nexthop::State;
use crate::ports::Attached;
use crate::router::{Neighbour, Router};
use crate::topology::{Crew, Topology};
use crate::worker::{Order, Sight};
use aftermath::Aftermath;
pub use apply::ApplyError;

/// Pause between two rounds of the main thread: how long a command may wait.
const ROUND: Duration = Duration::from_millis(2);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_millis(100);
/// Between two looks at the ports.
const PORT_LOOK: Duration = Duration::from_millis(500);
/// How long workers may take to take up a configuration. They do it within a loop; only a starved machine comes close.
const SETTLE: Duration = Duration::from_secs(10);

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
    /// None before the first configuration.
    aftermath: Option<Aftermath>,
    active: Option<Active>,
    /// Ports that no configuration uses at the moment, between two topologies.
    parked: Attached,
    /// Where the FIB generations of the next router begin: they go on counting from one configuration to the next.
    fib_generation: u32,
    nat_generation: u16,
    /// Every neighbour that control told of, by interface name: configurations come and go.
    neighbours: HashMap<(String, Address), ([u8; 6], State)>,
    settling: Option<Settling>,
    /// Removals so far, and the one under way.
    removals: u32,
    removing: Option<removal::Removing>,
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
            aftermath: None,
            active: None,
            parked: Attached::default(),
            fib_generation: 0,
            nat_generation: 0,
            neighbours: HashMap::new(),
            settling: None,
            removals: 0,
            removing: None,
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
                    Ok(()) => {
                        self.region.set_generation(generation);
                        tracing::info!(generation, "took up the last configuration");
                    }
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
            self.finish_removal();
            self.reclaim();
            if let Some(active) = &mut self.active {
                active.topology.collect();
            }
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                self.region.heartbeat(sluice_shm::clock::now_ns());
                self.look_after_threads();
                if let (Some(aftermath), Some(active)) = (&mut self.aftermath, &self.active) {
                    aftermath.pass(&active.shared);
                }
            }
            if look.elapsed() >= PORT_LOOK {
                look = Instant::now();
                self.publish_ports();
                self.revive_ports();
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
        match command {
            Command::Apply { generation } => return self.apply_command(sequence, generation),
            // Neighbours come by the thousand and nobody waits for the answer; a ring full of them would lose one that
            // somebody waits for.
            Command::NeighbourSet { interface, address, mac, state } => {
                return Self::heard(self.set_neighbour(interface, address, mac, state));
            }
            Command::NeighbourDelete { interface, address } => {
                return Self::heard(self.delete_neighbour(interface, address));
            }
            Command::TraceStart { id, count, filter } => {
                self.order(|| Order::TraceStart { id, count, filter });
            }
            Command::TraceStop { .. } => {
                self.order(|| Order::TraceStop);
            }
            Command::FlushSessions => {
                self.order(|| Order::Flush);
            }
            Command::RemoveMappings { inside, port, protocol } => {
                self.remove_mappings(sequence, inside, port, protocol);
                return true;
            }
            Command::Shutdown => go_on = false,
        }
        self.answer(Reply::Done { sequence });
        go_on
    }

    /// Notes that a neighbour command could not be carried out.
    fn heard(outcome: Result<(), String>) -> bool {
        if let Err(message) = outcome {
            tracing::debug!("neighbour not taken: {message}");
        }
        true
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
                if let Some(earlier) = self.settling.take() {
                    let message = format!("generation {generation} came before the workers had taken it up");
                    self.answer(Reply::Refused { sequence: earlier.sequence, message });
                }
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
        // The answer that control waits for longest is not thrown at a full ring.
        if self.replies.room() == 0 && Instant::now() <= settling.deadline {
            return;
        }
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
            // A worker that does not run has nothing; counters of what it did stay.
            for gauge in sluice_shm::Counter::ALL.iter().filter(|counter| counter.is_gauge()) {
                sight.counters.set(*gauge, 0);
            }
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
        // Only what is resolved is worth telling the next configuration; the rest is asked for again when it is needed.
        if state == State::Resolved {
            self.neighbours.insert((name, address), (mac, state));
        } else {
            self.neighbours.remove(&(name, address));
        }
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

    /// Takes up ports whose kernel interface has come back, with the sessions that there are.
    fn revive_ports(&mut self) {
        let Some(active) = &self.active else { return };
        if self.settling.is_some() || !active.topology.has_replaced_port() {
            return;
        }
        let snapshot = active.snapshot.clone();
        tracing::info!("an interface has come back: attaching its port anew");
        if let Err(error) = self.rebuild(snapshot) {
            tracing::error!(%error, "the port could not be had");
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

fn sight(side: WorkerSide) -> Sight {
    Sight { counters: side.counters, notices: side.notices, traces: side.traces }
}
