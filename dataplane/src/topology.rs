//! Ports, queues, rings and threads of a configuration: built as a whole, taken down as a whole.
//!
//! A change of rules, pools, routes or limits reaches running workers as an [`Order`]. Only what changes devices, their
//! interfaces or the workers' cores comes here; engines survive it if the number of workers stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_dpdk::{Mempool, MempoolConfig, RegisteredThread, RxQueue, SocketId, TxQueue};
use sluice_nat::{Engine, Shared, WorkerId};
use sluice_shm::snapshot::Snapshot;
use sluice_shm::{PortInfo, WorkerCounters};

use crate::clock::Clock;
use crate::ident::{Identifications, Leases};
use crate::parcel::{HANDOFF_SLOTS, PUNT_SLOTS};
use crate::ports::{Attached, AttachedPort, NAMES, SPARE_MBUFS};
use crate::punt::{PuntThread, Twin};
use crate::setup::Setup;
use crate::tap::TapQueue;
use crate::worker::{self, Links, Order, Outbox, Parts, Receive, Sight, Transmit, Worker, removal};

/// Configurations that may be on their way to a worker.
const ORDER_SLOTS: usize = 64;
const MEMPOOL_CACHE: u32 = 256;
/// Smallest buffer: what `net_af_xdp` takes, and room for 1500 bytes and their growth.
const MIN_DATA_ROOM: u16 = 2176;

/// Why a configuration's ports and threads could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A device string that control let pass
    #[error("interface device `{device}`: {error}")]
    Device {
        /// The string.
        device: String,
        /// What is wrong.
        error: Box<sluice_dpdk::DeviceError>,
    },
    /// DPDK refused
    #[error("port `{device}`: {error}")]
    Port {
        /// The device.
        device: String,
        /// What DPDK said.
        error: Box<sluice_dpdk::Error>,
    },
    /// No memory for packets
    #[error("packet memory: {0}; give the dataplane more with --memory")]
    Mempool(Box<sluice_dpdk::Error>),
    /// The TAP twin could not be attached
    #[error("TAP twin `{name}`: {error}")]
    Tap {
        /// Its name.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// A core that this machine does not give us
    #[error("workers: core {core} is not available to this process (available: {available})")]
    Core {
        /// As configured.
        core: u16,
        /// What there is.
        available: String,
    },
}

impl TopologyError {
    /// A device string that does not parse.
    pub fn device(device: &str, error: sluice_dpdk::DeviceError) -> Self {
        Self::Device { device: device.to_owned(), error: Box::new(error) }
    }
}

/// An engine and what control sees of its worker: what outlives a topology.
pub type Crew = (Engine, Sight);

struct WorkerHandle {
    thread: JoinHandle<worker::Remains>,
    orders: Producer<Order>,
    retired: Consumer<Arc<Setup>>,
    iterations: Arc<AtomicU32>,
    removed: Arc<AtomicU64>,
}

/// A start that failed, with everything that went into it.
pub struct Failure {
    /// Why.
    pub error: TopologyError,
    /// Engines and sights.
    pub crews: Vec<Crew>,
    /// Ports.
    pub attached: Attached,
}

/// A running topology.
pub struct Topology {
    workers: Vec<WorkerHandle>,
    punt: Option<JoinHandle<()>>,
    punt_stop: Arc<AtomicBool>,
    ports: Vec<AttachedPort>,
    /// Receive and transmit queues, by port.
    queues: Vec<(u16, u16)>,
    /// Transmit queues without a worker, by port.
    spare: Vec<Vec<TxQueue>>,
    /// The last configuration sent, kept so that a worker never drops the last reference.
    current: Arc<Setup>,
}

/// What [`Topology::start`] needs besides the ports.
pub struct Start<'a> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The same as workers use it.
    pub setup: Arc<Setup>,
    /// What the engines share.
    pub shared: Arc<Shared>,
    /// An engine and a sight for each worker.
    pub crews: Vec<Crew>,
    /// Counters of the punt thread.
    pub punt_counters: &'static WorkerCounters,
    /// The clock.
    pub clock: Clock,
    /// IPv4 identification.
    pub identifications: &'a Arc<Identifications>,
}

impl Topology {
    /// Configures the ports and starts the threads.
    ///
    /// # Errors
    /// The engines come back with the error, so that the previous configuration can be started again.
    pub fn start(mut attached: Attached, start: Start<'_>) -> Result<Self, Box<Failure>> {
        match Self::prepare(&mut attached, &start) {
            Ok((twins, mempool)) => Ok(Self::launch(attached, twins, &mempool, start)),
            Err(error) => Err(Box::new(Failure { error, crews: start.crews, attached })),
        }
    }

    /// Everything that can fail: queues, memory, twins.
    fn prepare(
        attached: &mut Attached,
        start: &Start<'_>,
    ) -> Result<(Vec<Option<Twin>>, Mempool), TopologyError> {
        let workers = start.crews.len();
        let waiting = start.setup.nat.fragments().waiting.saturating_mul(workers as u32);
        let mtu = start.snapshot.ports.iter().map(|port| port.mtu).max().unwrap_or(1500);
        let data_room = (mtu + 256 + sluice_dpdk::mempool::HEADROOM).max(MIN_DATA_ROOM);
        let pool = |count: u32, socket: SocketId| {
            let name = format!("sluice{}", NAMES.fetch_add(1, Ordering::Relaxed));
            let config = MempoolConfig { count, cache: MEMPOOL_CACHE, data_room, socket };
            Mempool::new(&name, &config).map_err(|error| TopologyError::Mempool(Box::new(error)))
        };
        let mempool = pool(SPARE_MBUFS - 1, SocketId::ANY)?;

        for port in &mut attached.ports {
            port.configure(workers, waiting, pool)?;
        }

        let mut twins = Vec::new();
        for (position, interface) in start.setup.interfaces.iter().enumerate() {
            let tap = TapQueue::attach(&interface.name)
                .map_err(|error| TopologyError::Tap { name: interface.name.clone(), error })?;
            let worker = usize::from(interface.port) % workers;
            twins.push(Some(Twin { tap, interface: position as u16, worker }));
        }
        Ok((twins, mempool))
    }

    fn launch(mut attached: Attached, twins: Vec<Option<Twin>>, mempool: &Mempool, start: Start<'_>) -> Self {
        let workers = start.crews.len();
        let queues: Vec<_> =
            attached.ports.iter_mut().map(|port| port.queues.take().unwrap_or_default()).collect();
        let counts = queues.iter().map(|(rx, tx)| (rx.len() as u16, tx.len() as u16)).collect();
        let Deal { receive, transmit, spare } = deal(queues, workers);
        let rings = Rings::new(workers);
        let (mut punts, mut injections, mut handles) = (Vec::new(), Vec::new(), Vec::new());
        let parts = receive.into_iter().zip(transmit).zip(rings.into.into_iter().zip(rings.from));
        for (number, ((engine, sight), ((receive, transmit), (handoff_in, handoff_out)))) in
            start.crews.into_iter().zip(parts).enumerate()
        {
            let (punt, punt_out) = RingBuffer::new(PUNT_SLOTS);
            let (inject_in, inject) = RingBuffer::new(PUNT_SLOTS);
            let (orders, orders_out) = RingBuffer::new(ORDER_SLOTS);
            let (retired_in, retired) = RingBuffer::new(2 * ORDER_SLOTS);
            punts.push(punt_out);
            injections.push(inject_in);
            let iterations = Arc::new(AtomicU32::new(0));
            let removed = Arc::new(AtomicU64::new(0));
            let worker = Worker::new(Parts {
                id: WorkerId(number as u8),
                setup: Arc::clone(&start.setup),
                shared: Arc::clone(&start.shared),
                engine,
                receive,
                transmit,
                links: Links {
                    handoff_in,
                    handoff_out,
                    punt,
                    inject,
                    orders: orders_out,
                    retired: retired_in,
                },
                sight,
                mempool: mempool.clone(),
                clock: start.clock,
                leases: Leases::new(Arc::clone(start.identifications)),
                removed: Arc::clone(&removed),
                iterations: Arc::clone(&iterations),
            });
            let core = start.snapshot.cores.get(number).copied();
            let thread = spawn(&format!("worker-{number}"), move |registered| {
                pin(core);
                worker.run(registered)
            });
            handles.push(WorkerHandle { thread, orders, retired, iterations, removed });
        }
        let punt_stop = Arc::new(AtomicBool::new(false));
        let punt_thread = PuntThread {
            twins,
            punts,
            injections,
            mempool: mempool.clone(),
            counters: start.punt_counters,
            stop: Arc::clone(&punt_stop),
        };
        let punt = spawn("punt", move |registered| punt_thread.run(registered));
        Self {
            workers: handles,
            punt: Some(punt),
            punt_stop,
            ports: attached.ports,
            queues: counts,
            spare,
            current: start.setup,
        }
    }

    /// Sends a configuration to every worker.
    pub fn configure(&mut self, setup: Arc<Setup>) {
        self.current = Arc::clone(&setup);
        for worker in &mut self.workers {
            send(worker, || Order::Setup(Arc::clone(&setup)));
        }
    }

    /// Sends any other order to every worker.
    pub fn order(&mut self, order: impl Fn() -> Order) {
        for worker in &mut self.workers {
            send(worker, &order);
        }
    }

    /// Frees configurations that workers have sent back.
    pub fn collect(&mut self) {
        for worker in &mut self.workers {
            while worker.retired.pop().is_ok() {}
        }
    }

    /// Loop counts of the workers, in order: a worker whose count moved on twice holds nothing from before.
    pub fn iterations(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.iterations.load(Ordering::Acquire)).collect()
    }

    /// Sessions that a removal has deleted, once every worker is through with it.
    pub fn removed(&self, number: u32) -> Option<u64> {
        let of = |worker: &WorkerHandle| {
            let (last, sessions) = removal::unpack(worker.removed.load(Ordering::Acquire));
            (last == number).then_some(u64::from(sessions))
        };
        self.workers.iter().map(of).sum()
    }

    /// Whether a port is dead and could be had anew: its kernel interface has gone, and one of the same name has come.
    pub fn has_replaced_port(&self) -> bool {
        self.ports.iter().any(AttachedPort::is_replaced)
    }

    /// Whether a worker has died.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(|worker| worker.thread.is_finished())
            || self.punt.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// What is known of the ports, for control.
    pub fn port_info(&self) -> Vec<PortInfo> {
        self.ports.iter().zip(&self.queues).map(|(port, &queues)| port.info(queues)).collect()
    }

    /// Stops the threads. A worker that died leaves no crew, and took its queues with it.
    pub fn stop(mut self) -> (Vec<Option<Crew>>, Attached) {
        self.order(|| Order::Stop);
        let mut queues: Vec<(Vec<RxQueue>, Vec<TxQueue>)> =
            self.ports.iter().map(|_| Default::default()).collect();
        for ((_, tx), spare) in queues.iter_mut().zip(std::mem::take(&mut self.spare)) {
            tx.extend(spare);
        }
        let mut crews = Vec::new();
        for WorkerHandle { thread, orders, mut retired, .. } in self.workers.drain(..) {
            let remains = thread.join().ok();
            drop(orders);
            while retired.pop().is_ok() {}
            let Some(worker::Remains { engine, sight, receive, transmit }) = remains else {
                crews.push(None);
                continue;
            };
            for Receive { port, queue } in receive {
                queues[usize::from(port)].0.push(queue);
            }
            for (port, transmit) in transmit.into_iter().enumerate() {
                if let Transmit::Own(outbox) = transmit {
                    queues[port].1.push(outbox.into_queue());
                }
            }
            crews.push(Some((engine, sight)));
        }
        self.punt_stop.store(true, Ordering::Release);
        if let Some(punt) = self.punt.take()
            && punt.join().is_err()
        {
            tracing::error!("the punt thread had died");
        }
        for ((port, (mut rx, mut tx)), &count) in self.ports.iter_mut().zip(queues).zip(&self.queues) {
            rx.sort_by_key(RxQueue::index);
            tx.sort_by_key(TxQueue::index);
            port.queues = ((rx.len() as u16, tx.len() as u16) == count).then_some((rx, tx));
        }
        (crews, Attached::of(self.ports))
    }
}

/// Puts an order on a worker's ring. The worker takes orders every loop, so a full ring empties at once, unless it died.
fn send(worker: &mut WorkerHandle, order: impl Fn() -> Order) {
    for _ in 0..1000 {
        while worker.retired.pop().is_ok() {}
        if worker.orders.push(order()).is_ok() || worker.thread.is_finished() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    tracing::error!("a worker does not take orders");
}

/// Starts a thread that EAL knows.
fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce(&RegisteredThread) -> T + Send + 'static,
) -> JoinHandle<T> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let registered = match RegisteredThread::new() {
            Ok(registered) => registered,
            Err(error) => panic!("a thread could not be registered with EAL: {error}"),
        };
        body(&registered)
    });
    match spawned {
        Ok(handle) => handle,
        Err(error) => panic!("a thread could not be started: {error}"),
    }
}

/// Pins the calling thread, if it has a core.
fn pin(core: Option<u16>) {
    if let Some(core) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core.into() })
    {
        tracing::warn!(core, "a worker could not be pinned to its core");
    }
}

/// Rings between every ordered pair of workers.
struct Rings {
    into: Vec<Vec<Option<Consumer<crate::parcel::Parcel>>>>,
    from: Vec<Vec<Option<Producer<crate::parcel::Parcel>>>>,
}

impl Rings {
    fn new(workers: usize) -> Self {
        let mut into: Vec<Vec<_>> = (0..workers).map(|_| (0..workers).map(|_| None).collect()).collect();
        let mut from: Vec<Vec<_>> = (0..workers).map(|_| (0..workers).map(|_| None).collect()).collect();
        for source in 0..workers {
            for target in (0..workers).filter(|&target| target != source) {
                let (producer, consumer) = RingBuffer::new(HANDOFF_SLOTS);
                from[source][target] = Some(producer);
                into[target][source] = Some(consumer);
            }
        }
        Self { into, from }
    }
}

/// Queues as they were dealt.
struct Deal {
    /// By worker.
    receive: Vec<Vec<Receive>>,
    /// By worker, then by port.
    transmit: Vec<Vec<Transmit>>,
    /// Transmit queues that nobody needs, by port: a worker sends through one.
    spare: Vec<Vec<TxQueue>>,
}

/// Deals queues to workers. Queue `q` of port `p` goes to worker `(p + q) mod workers`, so that ports with a single queue
/// do not all land on one worker; a worker without a queue on a port sends through the owner of queue `worker mod queues`.
fn deal(queues: Vec<(Vec<RxQueue>, Vec<TxQueue>)>, workers: usize) -> Deal {
    let mut spare: Vec<Vec<TxQueue>> = queues.iter().map(|_| Vec::new()).collect();
    let mut receive: Vec<Vec<Receive>> = (0..workers).map(|_| Vec::new()).collect();
    let mut transmit: Vec<Vec<Transmit>> = (0..workers).map(|_| Vec::new()).collect();
    for (port, (rx, tx)) in queues.into_iter().enumerate() {
        for (number, queue) in rx.into_iter().enumerate() {
            receive[(port + number) % workers].push(Receive { port: port as u16, queue });
        }
        let count = tx.len();
        let owner = |number: usize| (port + number) % workers;
        for (worker, transmit) in transmit.iter_mut().enumerate() {
            transmit.push(Transmit::Via(owner(worker % count) as u8));
        }
        for (number, queue) in tx.into_iter().enumerate() {
            if number < workers {
                transmit[owner(number)][port] = Transmit::Own(Outbox::new(queue));
            } else {
                spare[port].push(queue);
            }
        }
    }
    Deal { receive, transmit, spare }
}

/// Whether this process may run on the cores.
///
/// # Errors
/// Names the first core that it may not.
pub fn check_cores(cores: &[u16]) -> Result<(), TopologyError> {
    let available: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    match cores.iter().find(|&&core| !available.is_empty() && !available.contains(&usize::from(core))) {
        None => Ok(()),
        Some(&core) => {
            let available = available.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(TopologyError::Core { core, available })
        }
    }
}
