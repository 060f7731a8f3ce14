//! A worker: one pinned thread that takes packets in, through their stages, and out.
//!
//! ```text
//!  rx queues ─┐                       ┌─ hit ── established ─┐
//!  hand-off  ─┼─ intake ─ classify ─ look up                 ├─ route ─ MTU ─ translate ─ transmit
//!  injected  ─┘      │        │       └─ miss ─ steer ─ new ─┘      │
//!                    └ punt   └ ICMP error, native ─────────────────┘
//! ```
//!
//! It owns its queues, its engine and its rings. The loop does not allocate, lock, log, wait or call the system; what it
//! has to say goes to counters and bounded rings. Each stage is a file of this folder.

mod batch;
mod clamp;
mod classify;
mod cut;
mod departure;
mod error;
mod events;
mod express;
mod forward;
mod fragments;
mod handoff;
mod hold;
mod idle;
mod intake;
mod native;
mod parts;
mod probe;
mod proxy;
pub(crate) mod removal;
mod report;
mod reset;
mod resolve;
mod segment;
mod session;
mod stages;
mod stored_syn;
mod tally;
mod trace;
mod transmit;
mod unsummed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sluice_dpdk::{Mbuf, Mempool, RegisteredThread, cycles};
use sluice_nat::{
    Engine, Fixed, Fragments, InboundTuple, OutboundTuple, SessionIndex, Shared, Tick, WorkerId,
};
use sluice_packet::DropReason;
use sluice_shm::Counter;

use crate::clock::{Clock, Interpolator};
use crate::ident::Leases;
use crate::setup::Setup;
use batch::BATCH;
use idle::Idle;
pub use idle::Policy;
pub use parts::{Links, Order, Parts, Receive, Remains, Sight, Transmit};
use stages::Stage;
use tally::Tally;
pub use transmit::Outbox;

/// Packets a burst.
pub const BURST: usize = 64;
/// New flows a loop; more are dropped as `miss_budget` so that established packets never wait for a flood. One costs half a
/// microsecond if all of its memory has to be fetched: a loop with all of these stays below 100 µs.
const MISS_BUDGET: usize = 128;
/// Sessions looked at for expiry a loop: those whose memory is asked for together, some 15 µs if all end.
const EXPIRE_BUDGET: usize = 32;
/// Records looked at for deletion a loop while a flush is under way.
const FLUSH_BUDGET: usize = 32;

/// Packets a second that a worker gives to the kernel, neighbour resolution apart; a flood to the box costs no more.
const PUNTS_PER_SECOND: u32 = 50_000;

/// Vectors that are reused for every batch, so that the loop never allocates.
struct Scratch {
    batch: Vec<batch::Packet>,
    classes: Vec<classify::Class>,
    outbound: Vec<OutboundTuple>,
    /// Those of new sessions.
    new: Vec<OutboundTuple>,
    inbound: Vec<InboundTuple>,
    hairpins: Vec<batch::Packet>,
    /// Fragments whose datagrams are known.
    ready: Vec<batch::Packet>,
    /// What a packet is cut into, apart from the first piece.
    pieces: Vec<Mbuf>,
    /// Empty; changes places with `hairpins`.
    spare: Vec<batch::Packet>,
    probes: Vec<Fixed>,
}

impl Scratch {
    fn new(waiting: usize) -> Self {
        Self {
            batch: Vec::with_capacity(2 * BATCH),
            classes: Vec::with_capacity(2 * BATCH),
            outbound: Vec::with_capacity(2 * BATCH),
            new: Vec::with_capacity(2 * BATCH),
            inbound: Vec::with_capacity(2 * BATCH),
            hairpins: Vec::with_capacity(2 * BATCH),
            // All that wait may be released together, by the packets of one batch.
            ready: Vec::with_capacity(waiting + 2 * BATCH),
            pieces: Vec::with_capacity(cut::MOST),
            spare: Vec::with_capacity(2 * BATCH),
            probes: Vec::with_capacity(EXPIRE_BUDGET),
        }
    }
}

/// A worker.
pub struct Worker {
    id: WorkerId,
    setup: Arc<Setup>,
    fib_generation: u16,
    shared: Arc<Shared>,
    engine: Engine,
    receive: Vec<Receive>,
    transmit: Vec<Transmit>,
    links: Links,
    sight: Sight,
    mempool: Mempool,
    clock: Clock,
    now: Tick,
    idle: Idle,
    leases: Leases,
    /// For the errors of each family, by its number.
    buckets: [report::Bucket; 2],
    police: report::Bucket,
    /// For reports of datagrams that were dropped because they have no checksum.
    unsummed: report::Bucket,
    wanted: resolve::Wanted,
    lots: error::Lots,
    tracer: trace::Tracer,
    held: hold::Held,
    fragments: Fragments<batch::Packet>,
    /// When a bound of theirs was reported last.
    fragments_reported: Option<Tick>,
    syns: stored_syn::StoredSyns<stored_syn::Syn>,
    /// What is known of the packets of the batch under way, if they have waited.
    retrying: Option<hold::Wait>,
    /// Whether the neighbour that a packet was last found to lack has been asked for.
    asked: bool,
    tally: Tally,
    /// Time, and where it went.
    time: Interpolator,
    stages: stages::Stages,
    began_cycles: u64,
    /// When the loop under way began, whether the one before had packets, and the longest that had, since last published.
    began_ns: u64,
    /// Tick at which the longest loop was published last.
    published: Tick,
    was_busy: bool,
    longest_ns: u64,
    scratch: Scratch,
    lanes: express::Lanes,
    departures: departure::Departures,
    misses_left: usize,
    /// Rounds of the poll loop.
    loops: u32,
    /// Tick in which timers were last looked at, and whether more is due in it.
    kept: Tick,
    upkeep_due: bool,
    /// Next record that a flush looks at.
    flush_from: Option<usize>,
    /// What the operator takes away, and the last removal that was done.
    removing: Option<removal::Task>,
    removed: Arc<AtomicU64>,
    iterations: Arc<AtomicU32>,
}

/// ICMP errors a second, by the number of the family.
fn rates(setup: &Setup) -> [u32; 2] {
    const _: () = assert!(sluice_packet::Family::V4 as usize == 0 && sluice_packet::Family::V6 as usize == 1);
    [setup.icmp_errors_per_second.ipv4, setup.icmp_errors_per_second.ipv6]
}

impl Worker {
    /// Puts a worker together.
    pub fn new(parts: Parts) -> Self {
        let now = parts.clock.tick();
        let fragments = *parts.setup.nat.fragments();
        Self {
            id: parts.id,
            fib_generation: parts.setup.routes.generation() as u16,
            buckets: rates(&parts.setup).map(|rate| report::Bucket::new(rate, now)),
            police: report::Bucket::new(PUNTS_PER_SECOND, now),
            unsummed: report::Bucket::new(unsummed::REPORTS_PER_SECOND, now),
            idle: Idle::new(parts.setup.idle),
            setup: parts.setup,
            syns: stored_syn::StoredSyns::new(parts.shared.workers()),
            engine: parts.engine,
            receive: parts.receive,
            transmit: parts.transmit,
            links: parts.links,
            sight: parts.sight,
            mempool: parts.mempool,
            clock: parts.clock,
            now,
            leases: parts.leases,
            wanted: resolve::Wanted::new(),
            lots: error::Lots::new(),
            tracer: trace::Tracer::new(parts.id),
            held: hold::Held::new(),
            fragments: Fragments::new(fragments, &parts.shared),
            fragments_reported: None,
            retrying: None,
            asked: false,
            shared: parts.shared,
            tally: Tally::default(),
            time: Interpolator::default(),
            stages: stages::Stages::new(),
            began_cycles: cycles(),
            began_ns: parts.clock.now_ns(),
            published: now,
            was_busy: false,
            longest_ns: 0,
            scratch: Scratch::new(fragments.waiting as usize),
            lanes: express::Lanes::new(),
            departures: departure::Departures::new(),
            misses_left: 0,
            loops: 0,
            kept: now,
            upkeep_due: true,
            flush_from: None,
            removing: None,
            removed: parts.removed,
            iterations: parts.iterations,
        }
    }

    /// The poll loop. Returns what the next life of the worker can use when told to stop.
    pub fn run(mut self, registered: &RegisteredThread) -> Remains {
        while let Some(packets) = self.turn(registered) {
            // A flush, a removal or a wave of expiry goes on bit by bit, and does not wait for naps in between.
            if packets > 0 || self.upkeep_due || self.flush_from.is_some() || self.removing.is_some() {
                self.idle.busy();
            } else {
                self.idle.rest();
            }
        }
        self.retire();
        Remains { engine: self.engine, sight: self.sight, receive: self.receive, transmit: self.transmit }
    }

    /// One round of the poll loop. Returns how many packets it had, nothing if the worker was told to stop.
    pub fn turn(&mut self, _registered: &RegisteredThread) -> Option<usize> {
        self.loops = self.loops.wrapping_add(1);
        self.iterations.store(self.loops, Ordering::Release);
        if !self.take_orders() {
            return None;
        }
        self.begin_loop();
        let generation = self.setup.routes.generation();
        self.fib_generation = generation as u16;
        self.departures.follow(generation);
        self.misses_left = MISS_BUDGET;

        // Before new packets come: those that have waited are the older ones of their flows.
        self.look_after_held();
        self.look_after_fragments();
        self.look_after_stored_syns();
        let mut packets = 0;
        self.stages.charge(Stage::Upkeep);
        for queue in 0..self.receive.len() {
            packets += self.receive_burst(queue);
        }
        for worker in 0..self.links.handoff_in.len() {
            packets += self.accept_all(worker);
        }
        packets += self.inject();
        if self.now != self.kept || self.upkeep_due {
            self.expire();
        }
        if let Some(from) = self.flush_from {
            self.flush_sessions(from);
        }
        if self.removing.is_some() {
            self.remove_some();
        }
        self.stages.charge(Stage::Upkeep);
        self.flush();
        self.stages.charge(Stage::Transmit);
        self.tally.settle(self.sight.counters);

        self.was_busy = packets > 0;
        if packets > 0 {
            self.sight.counters.add(Counter::BusyLoops, 1);
        }
        self.stages.end(packets, self.sight.counters);
        if self.loops & 0x3ff == 1 || packets == 0 && self.loops & 0x3f == 1 {
            self.publish_gauges();
        }
        self.sight.counters.add(Counter::Loops, 1);
        Some(packets)
    }

    /// Reads the clock, and charges the loop before.
    #[inline]
    fn begin_loop(&mut self) {
        let cycles = cycles();
        let now_ns = self.time.at(cycles);
        let (spent, taken) = (cycles.wrapping_sub(self.began_cycles), now_ns.saturating_sub(self.began_ns));
        if self.was_busy {
            self.longest_ns = self.longest_ns.max(taken);
            self.sight.counters.add(Counter::CyclesBusy, spent);
        } else {
            self.sight.counters.add(Counter::CyclesIdle, spent);
        }
        (self.began_cycles, self.began_ns) = (cycles, now_ns);
        self.now = self.clock.tick_at(now_ns);
        self.stages.begin(self.loops, cycles);
    }

    /// False when told to stop.
    fn take_orders(&mut self) -> bool {
        while let Ok(order) = self.links.orders.pop() {
            match order {
                Order::Setup(setup) => {
                    self.engine.set_config(Arc::clone(&setup.nat));
                    self.upkeep_due = true;
                    for (bucket, rate) in self.buckets.iter_mut().zip(rates(&setup)) {
                        bucket.set_rate(rate);
                    }
                    self.idle.follow(setup.idle);
                    self.fragments.set_limits(*setup.nat.fragments());
                    let old = std::mem::replace(&mut self.setup, setup);
                    // The ring has room for every configuration that the main thread has sent and not yet got back.
                    let _ = self.links.retired.push(old);
                }
                Order::TraceStart { id, count, filter } => self.tracer.start(id, count, filter),
                Order::TraceStop => self.tracer.stop(),
                Order::Flush => self.flush_from = Some(0),
                Order::Remove { number, removal } => {
                    self.removing = Some(removal::Task::new(number, removal))
                }
                Order::Stop => return false,
            }
        }
        true
    }

    /// Drops what is still queued, counted, and sends what is pending.
    fn retire(&mut self) {
        self.drop_held();
        self.drop_fragments();
        self.flush();
        for worker in 0..self.links.handoff_in.len() {
            if let Some(ring) = &mut self.links.handoff_in[worker] {
                while let Ok(parcel) = ring.pop() {
                    drop(parcel);
                    self.sight.counters.add(Counter::HandoffIn, 1);
                    self.sight.counters.add_drop(DropReason::InterfaceGone, 1);
                }
            }
        }
        while let Ok(injection) = self.links.inject.pop() {
            drop(injection);
            self.sight.counters.add(Counter::Injected, 1);
            self.sight.counters.add_drop(DropReason::InterfaceGone, 1);
        }
        self.publish_gauges();
    }

    /// Deletes the worker's sessions among the next few records, while a flush is under way.
    #[cold]
    fn flush_sessions(&mut self, from: usize) {
        let records = self.shared.sessions();
        let to = records.len().min(from + FLUSH_BUDGET);
        let mut probes = std::mem::take(&mut self.scratch.probes);
        for (index, record) in records.iter().enumerate().take(to).skip(from) {
            if record.is_live() && record.fixed().owner == self.id.0 {
                let mut sink = events::Sink::new(&mut self.sight, &mut probes, self.began_ns);
                self.engine.delete(SessionIndex(index as u32), self.now, &mut sink);
            }
        }
        self.scratch.probes = probes;
        self.flush_from = (to < records.len()).then_some(to);
    }

    /// Expires a bounded number of sessions and sends the probes that fell due.
    fn expire(&mut self) {
        let mut probes = std::mem::take(&mut self.scratch.probes);
        let mut sink = events::Sink::new(&mut self.sight, &mut probes, self.began_ns);
        let used = self.engine.expire(self.now, EXPIRE_BUDGET, &mut sink);
        (self.kept, self.upkeep_due) = (self.now, used == EXPIRE_BUDGET);
        for fixed in probes.drain(..) {
            self.send_probe(&fixed);
        }
        self.scratch.probes = probes;
    }

    fn publish_gauges(&mut self) {
        let stats = self.engine.stats();
        let counters = self.sight.counters;
        counters.set(Counter::Sessions, stats.sessions as u64);
        counters.set(Counter::Bindings, stats.bindings as u64);
        counters.set(Counter::BindingCapacity, stats.binding_capacity as u64);
        counters.set(Counter::SubscriberCapacity, stats.subscriber_capacity as u64);
        let created = counters.get(Counter::SessionsCreated);
        counters.set(Counter::SessionsDeleted, created.saturating_sub(stats.sessions as u64));
        counters.set(Counter::Subscribers, stats.subscribers as u64);
        counters.set(Counter::PortBlocks, stats.port_blocks as u64);
        counters.set(Counter::Generation, self.setup.generation);
        counters.set(Counter::CyclesPerMicrosecond, self.time.cycles_per_microsecond().unwrap_or(0));
        if self.now != self.published {
            counters.set(Counter::LongestLoopNs, std::mem::take(&mut self.longest_ns));
            self.published = self.now;
        }
    }

    /// A session found by a single lookup; batches go through [`Worker::process`].
    fn find_one_outbound(&self, tuple: &OutboundTuple) -> SessionIndex {
        let mut found = [SessionIndex::NONE];
        self.engine.find_outbound(std::slice::from_ref(tuple), &mut found);
        found[0]
    }

    fn find_one_inbound(&self, tuple: &InboundTuple) -> SessionIndex {
        let mut found = [SessionIndex::NONE];
        self.engine.find_inbound(std::slice::from_ref(tuple), &mut found);
        found[0]
    }
}
