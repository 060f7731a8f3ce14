//! Workers between two ports of memory, in one thread.
//!
//! The ports are `ring:` ports. What is put into their first queue the first worker receives; each worker sends through a queue
//! of its own, which is read at the other end. Both ends of a ring are queues of the port, so that workers run as they do
//! beside a network card: nothing of them is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_dataplane::clock::Clock;
use sluice_dataplane::ident::{Identifications, Leases};
use sluice_dataplane::nexthop::State;
use sluice_dataplane::parcel::{HANDOFF_SLOTS, Injection, Parcel, Punt};
use sluice_dataplane::router::{Neighbour, Router};
use sluice_dataplane::setup::Setup;
use sluice_dataplane::worker::{Links, Order, Outbox, Parts, Receive, Sight, Transmit, Worker};
use sluice_dpdk::{
    Burst, Device, Eal, Mempool, MempoolConfig, Port, PortConfig, RegisteredThread, RxQueue, TxQueue,
};
use sluice_nat::{Config, Direction, Engine, Geometry, Shared, Tick, WorkerId};
use sluice_shm::snapshot::{IcmpErrors, InterfaceSpec, MssClamp, PortSpec, RouteSpec, Snapshot, Via};
use sluice_shm::{ControlSide, CountersSnapshot, DataplaneRegion, Lock, RunDir, clock};

use crate::frames::{Buffer, HEADROOM};
use crate::hardware::cycles;
use crate::{Error, Population};

/// Packets of a burst.
pub(super) const BURST: usize = 64;
/// Packets that are put in before a measurement: half of a ring.
pub(super) const ROUND: usize = 512;
/// Address of both ports, to which the frames of [`crate::frames`] go.
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The box and its neighbour on the link of each port.
const OWN_V4: [u32; 2] = [0xac10_0001, 0xac10_0101];
const NEXT_V4: [u32; 2] = [0xac10_0002, 0xac10_0102];
const OWN_V6: [u128; 2] = [0xfd00 << 112 | 1, 0xfd00 << 112 | 1 << 64 | 1];
const NEXT_V6: u128 = 0xfd00 << 112 | 2;
/// Rings that the driver makes for each port. When the port is closed it frees those that were set up as queues and forgets the
/// others (DPDK 22.11): set up are all of them, for there is room for some 2,500 in the life of a process.
const RINGS: u16 = 16;
/// Numbers of ports and pools, which are never used again in a process.
static NUMBERS: AtomicU16 = AtomicU16::new(0);

/// The far ends of a port.
struct Outside {
    /// One for each receive queue of the first worker.
    feeds: Vec<TxQueue>,
    /// One for each worker.
    drain: Vec<RxQueue>,
}

/// The thread-to-thread ends that nobody reads here.
type Ends = (Consumer<Punt>, Producer<Injection>, Producer<Order>, Consumer<Arc<Setup>>);

/// Workers and what is around them.
pub(super) struct Rig {
    workers: Vec<Worker>,
    registered: RegisteredThread,
    ports: Vec<Outside>,
    pool: Mempool,
    /// Buffers that came out and go in again.
    spare: Vec<Burst<BURST>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "held, so that the rings have two ends"))]
    ends: Vec<Ends>,
    control: ControlSide,
    region: DataplaneRegion,
    _locks: [Lock; 2],
    _directory: tempfile::TempDir,
}

impl Rig {
    /// A worker at a time, over the engine of a population, which keeps the flows.
    ///
    /// # Errors
    /// As [`Rig::at`].
    pub(super) fn over(eal: &Eal, population: &mut Population, now: Tick) -> Result<Self, Error> {
        let (shared, config) = (Arc::clone(&population.shared), Arc::clone(&population.config));
        // What is left behind is never asked.
        let small = Shared::new(&[], Geometry::default());
        let other = Engine::new(small, WorkerId(0), Arc::clone(&config));
        let engine = std::mem::replace(&mut population.engine, other);
        Self::at(eal, &shared, &config, vec![engine], 1, now)
    }

    /// Workers at a time, over engines that share what they share. The first has so many receive queues on each port.
    ///
    /// # Errors
    /// Of DPDK, [`Error::Directory`], [`Error::Shm`].
    pub(super) fn at(
        eal: &Eal,
        shared: &Arc<Shared>,
        config: &Arc<Config>,
        engines: Vec<Engine>,
        queues: usize,
        now: Tick,
    ) -> Result<Self, Error> {
        Self::under(eal, shared, config, engines, queues, now, &snapshot())
    }

    /// As [`Rig::at`], under other interfaces and routes than those of [`snapshot`].
    ///
    /// # Errors
    /// As [`Rig::at`].
    pub(super) fn under(
        eal: &Eal,
        shared: &Arc<Shared>,
        config: &Arc<Config>,
        engines: Vec<Engine>,
        queues: usize,
        now: Tick,
        snapshot: &Snapshot,
    ) -> Result<Self, Error> {
        let count = engines.len();
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let registered = RegisteredThread::new()?;
        let size = MempoolConfig { count: 4095, ..MempoolConfig::default() };
        let pool = Mempool::new(&format!("rig{number}"), &size)?;
        let (mut ports, mut receive, mut transmit) =
            (vec![], vec![], (0..count).map(|_| vec![]).collect::<Vec<_>>());
        for port in 0..2 {
            let (feeds, first, sends, drain) = attach(eal, &pool, number * 2 + port, queues, count)?;
            receive.extend(first.into_iter().map(|queue| Receive { port, queue }));
            for (transmit, queue) in transmit.iter_mut().zip(sends) {
                transmit.push(Transmit::Own(Outbox::new(queue)));
            }
            ports.push(Outside { feeds, drain });
        }
        let setup = Arc::new(setup(config, snapshot)?);
        let parent = std::env::temp_dir();
        let directory = tempfile::tempdir().map_err(|error| Error::Directory { path: parent, error })?;
        let run = RunDir::new(directory.path());
        let locks = [run.lock_dataplane()?, run.lock_control()?];
        let mut region = DataplaneRegion::create(&run, count)?;
        let control = ControlSide::attach(&run)?.ok_or_else(|| Error::NoDataplane(run.path().into()))?;
        let identifications = Identifications::new(7);
        let clock = Clock::new(clock::now_ns() - u64::from(now.0) * 250_000_000);
        let mut rings = rings(count);
        let (mut workers, mut ends) = (vec![], vec![]);
        for (worker, (engine, transmit)) in engines.into_iter().zip(transmit).enumerate() {
            let side = region.take_worker(worker);
            let (punt, punt_out) = RingBuffer::new(64);
            let (inject_in, inject) = RingBuffer::new(64);
            let (orders_in, orders) = RingBuffer::new(64);
            let (retired, retired_out) = RingBuffer::new(64);
            ends.push((punt_out, inject_in, orders_in, retired_out));
            let (handoff_in, handoff_out) = rings.remove(0);
            workers.push(Worker::new(Parts {
                id: WorkerId(worker as u8),
                setup: Arc::clone(&setup),
                shared: Arc::clone(shared),
                engine,
                receive: if worker == 0 { std::mem::take(&mut receive) } else { vec![] },
                transmit,
                links: Links { handoff_in, handoff_out, punt, inject, orders, retired },
                sight: Sight { counters: side.counters, notices: side.notices, traces: side.traces },
                mempool: pool.clone(),
                clock,
                leases: Leases::new(Arc::clone(&identifications)),
                removed: Arc::new(AtomicU64::new(0)),
                iterations: Arc::new(AtomicU32::new(0)),
            }));
        }
        let spare = (0..ROUND / BURST).map(|_| Burst::new()).collect();
        Ok(Self {
            workers,
            registered,
            ports,
            pool,
            spare,
            ends,
            control,
            region,
            _locks: locks,
            _directory: directory,
        })
    }

    /// Counters of a worker.
    pub(super) fn counters(&self, worker: usize) -> CountersSnapshot {
        self.region.counters(worker).snapshot()
    }

    /// Puts [`ROUND`] packets in, and returns the cycles until the workers have nothing left, and how many packets came
    /// out at the other port. `frame` writes a packet and says how long it is.
    pub(super) fn round(
        &mut self,
        direction: Direction,
        mut frame: impl FnMut(&mut Buffer) -> usize,
    ) -> (u64, usize) {
        let (from, to) = ends(direction);
        for burst in &mut self.spare {
            load(burst, &self.pool, &mut frame);
            self.ports[from].feeds[0].tx(burst);
        }
        let before = cycles();
        while self.turn() > 0 {}
        let spent = cycles() - before;
        let mut out = 0;
        for queue in &mut self.ports[to].drain {
            for burst in self.spare.iter_mut().filter(|burst| !burst.is_full()) {
                out += queue.rx(burst);
            }
        }
        (spent, out)
    }

    /// Puts one burst in.
    pub(super) fn fill(&mut self, direction: Direction, frame: impl FnMut(&mut Buffer) -> usize) {
        let burst = &mut self.spare[0];
        load(burst, &self.pool, frame);
        self.ports[ends(direction).0].feeds[0].tx(burst);
    }

    /// Forgets what came out of both ports, and what the workers had to say. Returns how many packets that were.
    pub(super) fn empty(&mut self) -> usize {
        let mut out = 0;
        let burst = &mut self.spare[0];
        for queue in self.ports.iter_mut().flat_map(|outside| &mut outside.drain) {
            burst.clear();
            while queue.rx(burst) > 0 {
                out += burst.len();
                burst.clear();
            }
        }
        for worker in 0..self.workers.len() {
            self.control.notices(worker).drain();
        }
        out
    }

    /// From now on every packet is traced, which keeps it off the express lane.
    #[cfg(test)]
    pub(super) fn trace_all(&mut self) {
        for (_, _, orders, _) in &mut self.ends {
            let filter = sluice_shm::TraceFilter::default();
            assert!(orders.push(Order::TraceStart { id: 1, count: u32::MAX, filter }).is_ok());
        }
        self.turn();
    }

    /// Puts one frame in, and returns what comes out: of which port, and its bytes.
    #[cfg(test)]
    pub(super) fn one(&mut self, port: usize, frame: &[u8]) -> Vec<(usize, Vec<u8>)> {
        self.put(port, 0, [frame]);
        while self.turn() > 0 {}
        self.take()
    }

    /// Puts up to a burst of frames into a queue of a port.
    #[cfg(test)]
    pub(super) fn put<'a>(&mut self, port: usize, queue: usize, frames: impl IntoIterator<Item = &'a [u8]>) {
        let mut burst = Burst::<BURST>::new();
        for frame in frames {
            let mut mbuf = self.pool.alloc().expect("a buffer");
            mbuf.set_bounds(HEADROOM, frame.len());
            mbuf.data_mut().copy_from_slice(frame);
            assert!(burst.push(mbuf).is_ok(), "more than a burst");
        }
        self.ports[port].feeds[queue].tx(&mut burst);
        assert!(burst.is_empty(), "the ring is full");
    }

    /// Takes all that came out: of which port, and its bytes.
    #[cfg(test)]
    pub(super) fn take(&mut self) -> Vec<(usize, Vec<u8>)> {
        for (punts, ..) in &mut self.ends {
            while punts.pop().is_ok() {}
        }
        let mut out = Vec::new();
        for (port, outside) in self.ports.iter_mut().enumerate() {
            for queue in &mut outside.drain {
                let mut burst = Burst::<BURST>::new();
                while queue.rx(&mut burst) > 0 {
                    out.extend(burst.iter().map(|mbuf| (port, mbuf.data().to_vec())));
                    burst.clear();
                }
            }
        }
        out
    }

    /// What the workers had to report since the last call.
    #[cfg(test)]
    pub(super) fn events(&mut self) -> Vec<sluice_nat::Event> {
        let mut events = Vec::new();
        for worker in 0..self.workers.len() {
            while let Some(notice) = self.control.notices(worker).pop() {
                if let sluice_shm::Notice::Nat { event, .. } = notice {
                    events.push(event);
                }
            }
        }
        events
    }

    /// How many packets have been traced to their ends since the last call.
    #[cfg(test)]
    pub(super) fn traced(&mut self) -> usize {
        (0..self.workers.len()).map(|n| std::iter::from_fn(|| self.control.traces(n).pop()).count()).sum()
    }

    /// A few thousand loops without packets, in which gauges are published.
    pub(super) fn rest(&mut self) {
        for _ in 0..4096 {
            self.turn();
        }
    }

    /// A loop of each worker. Returns how many packets they had.
    pub(super) fn turn(&mut self) -> usize {
        let registered = &self.registered;
        self.workers.iter_mut().map(|worker| worker.turn(registered).unwrap_or(0)).sum()
    }
}

/// Where packets of a direction come in and go out.
fn ends(direction: Direction) -> (usize, usize) {
    match direction {
        Direction::Outbound => (0, 1),
        Direction::Inbound => (1, 0),
    }
}

/// Fills a burst. `frame` writes a packet and says how long it is.
fn load(burst: &mut Burst<BURST>, pool: &Mempool, mut frame: impl FnMut(&mut Buffer) -> usize) {
    let mut buffer = Buffer::default();
    let missing = BURST - burst.len();
    pool.alloc_bulk(burst, missing);
    for mbuf in burst.iter_mut() {
        let len = frame(&mut buffer);
        mbuf.set_bounds(HEADROOM, len);
        mbuf.data_mut().copy_from_slice(buffer.frame(len));
    }
}

/// What the driver alone takes for [`ROUND`] packets, round by round: from one ring into another, burst by burst.
///
/// # Errors
/// Of DPDK.
pub(super) fn driver(eal: &Eal, rounds: usize) -> Result<Vec<u64>, Error> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let _registered = RegisteredThread::new()?;
    let size = MempoolConfig { count: 4095, ..MempoolConfig::default() };
    let pool = Mempool::new(&format!("rig{number}"), &size)?;
    let (mut feed, mut from, _sends, _drain) = attach(eal, &pool, number * 2, 1, 1)?;
    let (_feed, _from, mut to, mut drain) = attach(eal, &pool, number * 2 + 1, 1, 1)?;
    let mut spare: Vec<Burst<BURST>> = (0..ROUND / BURST).map(|_| Burst::new()).collect();
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        for burst in &mut spare {
            let missing = BURST - burst.len();
            pool.alloc_bulk(burst, missing);
            feed[0].tx(burst);
        }
        let before = cycles();
        loop {
            let mut burst = Burst::<BURST>::new();
            if from[0].rx(&mut burst) == 0 {
                break;
            }
            to[0].tx(&mut burst);
        }
        samples.push(cycles() - before);
        for burst in &mut spare {
            drain[0].rx(burst);
        }
    }
    Ok(samples)
}

/// Queues of a port: to feed it, to be fed from it, to send through it, and to see what was sent.
type Queues = (Vec<TxQueue>, Vec<RxQueue>, Vec<TxQueue>, Vec<RxQueue>);

/// A port with so many queues to be fed from, and one to send through for each worker.
fn attach(eal: &Eal, pool: &Mempool, number: u16, feeds: usize, workers: usize) -> Result<Queues, Error> {
    let device = Device::Ring { name: format!("bench{number}") };
    let mut port = Port::attach(eal, &device, number)?;
    let used = feeds + workers;
    let queues = RINGS.max(used as u16);
    let config = PortConfig { rx_queues: queues, tx_queues: queues, ..PortConfig::default() };
    let (mut rx, mut tx) = port.configure(&config, pool)?;
    rx.truncate(used);
    tx.truncate(used);
    let (drain, sends) = (rx.split_off(feeds), tx.split_off(feeds));
    Ok((tx, rx, sends, drain))
}

/// Hand-off rings, for each worker those into it and those from it.
#[expect(clippy::type_complexity, reason = "as the worker takes them")]
fn rings(count: usize) -> Vec<(Vec<Option<Consumer<Parcel>>>, Vec<Option<Producer<Parcel>>>)> {
    let mut all: Vec<(Vec<_>, Vec<_>)> = (0..count)
        .map(|_| ((0..count).map(|_| None).collect(), (0..count).map(|_| None).collect()))
        .collect();
    for from in 0..count {
        for to in (0..count).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(HANDOFF_SLOTS);
            all[from].1[to] = Some(producer);
            all[to].0[from] = Some(consumer);
        }
    }
    all
}

/// Two interfaces, and a route each way.
pub(super) fn snapshot() -> Snapshot {
    let interfaces: Vec<InterfaceSpec> = ["inside", "outside"]
        .into_iter()
        .enumerate()
        .map(|(port, name)| InterfaceSpec {
            name: name.into(),
            port: port as u16,
            vlan: None,
            mtu: 1500,
            ipv4: vec![(OWN_V4[port], 24)],
            ipv6: vec![(OWN_V6[port], 64)],
            mss_clamp: MssClamp::Auto,
            time_exceeded: true,
            proxy_neighbours: true,
        })
        .collect();
    let route = |ipv6, prefix, len, interface, address| RouteSpec {
        ipv6,
        prefix,
        len,
        via: Via::Gateway { interface, ipv6, address },
    };
    let routes = [
        route(false, 0, 0, 1, NEXT_V4[1].into()),
        route(false, 0x0a00_0000, 8, 0, NEXT_V4[0].into()),
        route(true, 0x2001_0db8 << 96, 32, 0, NEXT_V6),
    ];
    let ports = vec![PortSpec { device: "ring:bench".into(), mtu: 1500 }; 2];
    let icmp_errors_per_second = IcmpErrors::both(1000);
    Snapshot {
        generation: 1,
        interfaces,
        ports,
        routes: routes.into(),
        icmp_errors_per_second,
        ..Snapshot::default()
    }
}

/// A snapshot with neighbours that are known.
fn setup(config: &Arc<Config>, snapshot: &Snapshot) -> Result<Setup, Error> {
    let mut router = Router::new(&snapshot.interfaces, &snapshot.routes, 0)?;
    for (interface, ipv6, address) in
        [(1, false, NEXT_V4[1].into()), (0, false, NEXT_V4[0].into()), (0, true, NEXT_V6)]
    {
        router.set(Neighbour { interface, ipv6, address }, [4, 0, 0, 0, 0, 9], State::Resolved)?;
    }
    Ok(Setup::new(snapshot, &[MAC; 2], Arc::clone(config), router.routes()))
}
