//! A whole worker between two ports of memory: from Ethernet in to transmit, in one thread.
//!
//! The ports are `ring:` ports with two queues each. What is put into queue 0 the worker receives; what it sends comes out
//! of queue 1. Both ends of a ring are queues of the port, so that the worker runs as it does beside a network card.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_dataplane::clock::Clock;
use sluice_dataplane::ident::{Identifications, Leases};
use sluice_dataplane::nexthop::State;
use sluice_dataplane::parcel::{Injection, Parcel, Punt};
use sluice_dataplane::router::{Neighbour, Router};
use sluice_dataplane::setup::Setup;
use sluice_dataplane::worker::{Links, Order, Outbox, Parts, Receive, Sight, Transmit, Worker};
use sluice_dpdk::{
    Burst, Device, Eal, Mempool, MempoolConfig, Port, PortConfig, RegisteredThread, RxQueue, TxQueue,
};
use sluice_nat::{Direction, WorkerId};
use sluice_shm::snapshot::{InterfaceSpec, MssClamp, RouteSpec, Snapshot, Via};
use sluice_shm::{DataplaneRegion, Lock, RunDir};

use crate::frames::{self, Buffer, HEADROOM};
use crate::{Population, Random};

/// Packets between two readings of the counter.
pub const ROUND: usize = 512;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 1]];

/// Both ends of a ring port that are not the worker's.
struct Outside {
    feed: TxQueue,
    drain: RxQueue,
}

/// The worker and what is around it.
pub struct Bench {
    worker: Worker,
    registered: RegisteredThread,
    outside: Vec<Outside>,
    pool: Mempool,
    population: Population,
    _links: (Consumer<Punt>, Producer<Injection>, Producer<Order>, Consumer<Arc<Setup>>),
    _region: DataplaneRegion,
    _lock: Lock,
    _directory: tempfile::TempDir,
    random: Random,
    /// Packets to be sent again.
    spare: Vec<Burst<32>>,
}

fn interface(name: &str, port: u16) -> InterfaceSpec {
    InterfaceSpec {
        name: name.into(),
        port,
        vlan: None,
        mtu: 1500,
        ipv4: vec![(0xac10_0001 + (u32::from(port) << 8), 24)],
        ipv6: vec![(0xfd00 << 112 | u128::from(port) << 64 | 1, 64)],
        mss_clamp: MssClamp::Auto,
        time_exceeded: true,
    }
}

impl Bench {
    /// A worker with sessions.
    pub fn new(eal: &Eal, mut population: Population) -> Self {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let name = NAMES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let registered = RegisteredThread::new().unwrap();
        let pool =
            Mempool::new(&format!("bench{name}"), &MempoolConfig { count: 4095, ..MempoolConfig::default() })
                .unwrap();
        let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
        let (mut receive, mut transmit, mut outside) = (vec![], vec![], vec![]);
        for port in 0..2u16 {
            let device = Device::parse(&format!("ring:b{name}p{port}")).unwrap();
            let mut attached = Port::attach(eal, &device, name as u16 * 2 + port).unwrap();
            let (rx, tx) = attached.configure(&config, &pool).unwrap();
            let mut rx = rx.into_iter();
            let mut tx = tx.into_iter();
            receive.push(Receive { port, queue: rx.next().unwrap() });
            let feed = tx.next().unwrap();
            transmit.push(Transmit::Own(Outbox::new(tx.next().unwrap())));
            outside.push(Outside { feed, drain: rx.next().unwrap() });
        }
        let interfaces = vec![interface("inside", 0), interface("outside", 1)];
        let routes = vec![
            RouteSpec {
                ipv6: false,
                prefix: 0,
                len: 0,
                via: Via::Gateway { interface: 1, ipv6: false, address: 0xac10_0102 },
            },
            RouteSpec {
                ipv6: false,
                prefix: 0x0a00_0000,
                len: 8,
                via: Via::Gateway { interface: 0, ipv6: false, address: 0xac10_0002 },
            },
            RouteSpec {
                ipv6: true,
                prefix: 0x2001_0db8 << 96,
                len: 32,
                via: Via::Gateway { interface: 0, ipv6: true, address: 0xfd00 << 112 | 2 },
            },
        ];
        let mut router = Router::new(&interfaces, &routes, 0).unwrap();
        for neighbour in [
            Neighbour { interface: 1, ipv6: false, address: 0xac10_0102 },
            Neighbour { interface: 0, ipv6: false, address: 0xac10_0002 },
            Neighbour { interface: 0, ipv6: true, address: 0xfd00 << 112 | 2 },
        ] {
            router.set(neighbour, [4, 0, 0, 0, 0, 9], State::Resolved).unwrap();
        }
        let snapshot = Snapshot {
            generation: 1,
            interfaces,
            icmp_errors_per_second: 100,
            ports: vec![sluice_shm::snapshot::PortSpec { device: "ring:a".into(), mtu: 1500 }; 2],
            ..Snapshot::default()
        };
        let setup = Arc::new(Setup::new(&snapshot, &MACS, Arc::clone(&population.config), router.routes()));
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let run = RunDir::new(directory.path());
        let lock = run.lock_dataplane().unwrap();
        let mut region = DataplaneRegion::create(&run, 1).unwrap();
        let side = region.take_worker(0);
        let (punt, punt_out) = RingBuffer::new(64);
        let (inject_in, inject) = RingBuffer::new(64);
        let (orders, orders_out) = RingBuffer::new(64);
        let (retired_in, retired) = RingBuffer::new(64);
        let shared = Arc::clone(&population.shared);
        let tiny = sluice_nat::Shared::new(&[], sluice_nat::Geometry::default());
        let engine = std::mem::replace(
            &mut population.engine,
            sluice_nat::Engine::new(tiny, WorkerId(0), Arc::clone(&population.config)),
        );
        let worker = Worker::new(Parts {
            id: WorkerId(0),
            setup,
            shared,
            engine,
            receive,
            transmit,
            links: Links {
                handoff_in: vec![None::<Consumer<Parcel>>],
                handoff_out: vec![None],
                punt,
                inject,
                orders: orders_out,
                retired: retired_in,
            },
            sight: Sight { counters: side.counters, notices: side.notices, traces: side.traces },
            mempool: pool.clone(),
            clock: Clock::new(sluice_shm::clock::now_ns() - 1_001_000_000_000),
            leases: Leases::new(Identifications::new(7)),
            iterations: Arc::new(AtomicU32::new(0)),
        });
        Self {
            worker,
            registered,
            outside,
            pool,
            population,
            _links: (punt_out, inject_in, orders, retired),
            _region: region,
            _lock: lock,
            _directory: directory,
            random: Random::new(0x776f_726b),
            spare: (0..ROUND / 32).map(|_| Burst::new()).collect(),
        }
    }

    /// Counters of the worker.
    pub fn counters(&self) -> sluice_shm::CountersSnapshot {
        self._region.counters(0).snapshot()
    }

    /// A packet of every flow, so that the sessions know their way.
    pub fn warm_up(&mut self, direction: Direction) {
        for first in (0..self.population.sessions()).step_by(ROUND) {
            self.pass(direction, |n, _| first + n);
        }
    }

    /// Cycles of a loop without packets.
    pub fn empty(&mut self) -> f64 {
        let before = crate::hardware::cycles();
        for _ in 0..1000 {
            self.worker.turn(&self.registered);
        }
        (crate::hardware::cycles() - before) as f64 / 1000.0
    }

    /// Fills the input and returns the cycles for [`ROUND`] packets.
    pub fn round(&mut self, direction: Direction) -> u64 {
        let sessions = self.population.sessions();
        self.pass(direction, |_, random| random.below(sessions))
    }

    fn pass(&mut self, direction: Direction, flow: impl Fn(u32, &mut Random) -> u32) -> u64 {
        let mut n = 0;
        let (input, output) = match direction {
            Direction::Outbound => (0, 1),
            Direction::Inbound => (1, 0),
        };
        let len = frames::len(frames::family(self.population.flows.kind, direction));
        let mut buffer = Buffer::default();
        for burst in &mut self.spare {
            if burst.is_empty() {
                assert_eq!(self.pool.alloc_bulk(burst, 32), 32);
            }
            for mbuf in burst.iter_mut() {
                let flow = flow(n, &mut self.random);
                n += 1;
                frames::write(&self.population, direction, flow, &mut buffer);
                mbuf.set_bounds(HEADROOM, len);
                mbuf.data_mut().copy_from_slice(&buffer.0[HEADROOM..][..len]);
            }
            assert_eq!(self.outside[input].feed.tx(burst), 32);
        }
        let before = crate::hardware::cycles();
        while self.worker.turn(&self.registered).unwrap() > 0 {}
        let cycles = crate::hardware::cycles() - before;
        for burst in &mut self.spare {
            assert_eq!(self.outside[output].drain.rx(burst), 32);
        }
        cycles
    }
}

/// The driver alone: a burst is taken from one ring and put into another.
pub fn driver(eal: &Eal, rounds: usize) -> Vec<u64> {
    let _registered = RegisteredThread::new().unwrap();
    let pool = Mempool::new("driver", &MempoolConfig { count: 4095, ..MempoolConfig::default() }).unwrap();
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let mut ports = vec![];
    for port in 0..2u16 {
        let device = Device::parse(&format!("ring:d{port}")).unwrap();
        let mut attached = Port::attach(eal, &device, 1000 + port).unwrap();
        ports.push(attached.configure(&config, &pool).unwrap());
    }
    let (mut b_rx, mut b_tx) = ports.pop().unwrap();
    let (mut a_rx, mut a_tx) = ports.pop().unwrap();
    let mut spare: Vec<Burst<32>> = (0..ROUND / 32).map(|_| Burst::new()).collect();
    for burst in &mut spare {
        pool.alloc_bulk(burst, 32);
    }
    let mut times = vec![];
    for _ in 0..rounds {
        for burst in &mut spare {
            assert_eq!(a_tx[0].tx(burst), 32);
        }
        let before = crate::hardware::cycles();
        loop {
            let mut burst = Burst::<32>::new();
            if a_rx[0].rx(&mut burst) == 0 {
                break;
            }
            b_tx[1].tx(&mut burst);
        }
        times.push(crate::hardware::cycles() - before);
        for burst in &mut spare {
            assert_eq!(b_rx[1].rx(burst), 32);
        }
    }
    times
}
