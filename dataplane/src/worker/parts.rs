//! What a worker is made of, and what it leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rtrb::{Consumer, Producer};
use sluice_dpdk::{Mempool, RxQueue};
use sluice_nat::{Engine, Removal, Shared, WorkerId};
use sluice_shm::{Notice, Producer as SharedProducer, TraceFilter, TraceRecord, WorkerCounters};

use super::transmit::Outbox;
use crate::clock::Clock;
use crate::ident::Leases;
use crate::parcel::{Injection, Parcel, Punt};
use crate::setup::Setup;

/// A receive queue and the port it belongs to.
pub struct Receive {
    /// Port, by position.
    pub port: u16,
    /// The queue.
    pub queue: RxQueue,
}

/// How packets leave by a port.
#[expect(
    clippy::large_enum_variant,
    reason = "one a port and worker, and the burst is better off beside its queue"
)]
pub enum Transmit {
    /// Through a queue of this worker.
    Own(Outbox),
    /// Through the worker that has the port's queue.
    Via(u8),
}

/// What the main thread tells a worker.
pub enum Order {
    /// Use this configuration from the next batch on.
    Setup(Arc<Setup>),
    /// Trace packets that match.
    TraceStart {
        /// Name of the trace.
        id: u32,
        /// Most records.
        count: u32,
        /// Which packets.
        filter: TraceFilter,
    },
    /// Stop tracing.
    TraceStop,
    /// Delete every session of the worker, a bounded number a loop.
    Flush,
    /// Delete mappings of the worker and their sessions, a bounded number a loop, and say so in [`Parts::removed`].
    Remove {
        /// Number of the removal, never 0.
        number: u32,
        /// Which mappings.
        removal: Removal,
    },
    /// Leave the loop.
    Stop,
}

/// The thread-to-thread ends of a worker.
pub struct Links {
    /// From other workers; nothing at its own place.
    pub handoff_in: Vec<Option<Consumer<Parcel>>>,
    /// To other workers.
    pub handoff_out: Vec<Option<Producer<Parcel>>>,
    /// To the punt thread.
    pub punt: Producer<Punt>,
    /// From the punt thread.
    pub inject: Consumer<Injection>,
    /// Orders of the main thread.
    pub orders: Consumer<Order>,
    /// Configurations no longer used, back to the main thread.
    pub retired: Producer<Arc<Setup>>,
}

/// Everything that control reads of a worker.
pub struct Sight {
    /// Counters.
    pub counters: &'static WorkerCounters,
    /// Notices to control.
    pub notices: SharedProducer<Notice>,
    /// Trace records.
    pub traces: SharedProducer<TraceRecord>,
}

/// What a worker is made of.
pub struct Parts {
    /// Its number.
    pub id: WorkerId,
    /// Its first configuration.
    pub setup: Arc<Setup>,
    /// What its engine shares with the others'.
    pub shared: Arc<Shared>,
    /// Its engine.
    pub engine: Engine,
    /// Its receive queues.
    pub receive: Vec<Receive>,
    /// How it sends, by port.
    pub transmit: Vec<Transmit>,
    /// Its rings.
    pub links: Links,
    /// What control sees.
    pub sight: Sight,
    /// Where it takes memory for packets that it makes.
    pub mempool: Mempool,
    /// The clock.
    pub clock: Clock,
    /// Identification leases.
    pub leases: Leases,
    /// Number of the last removal that is done, and the sessions that it deleted: [`Order::Remove`].
    pub removed: Arc<AtomicU64>,
    /// Counts its loops, for whoever waits until it has let go of something.
    pub iterations: Arc<AtomicU32>,
}

/// What a worker leaves behind.
pub struct Remains {
    /// Its engine, with all sessions.
    pub engine: Engine,
    /// What control sees.
    pub sight: Sight,
    /// Its receive queues.
    pub receive: Vec<Receive>,
    /// Its transmit queues.
    pub transmit: Vec<Transmit>,
}
