//! Counters: one block for each thread of the dataplane, written by that thread alone, read by anyone.
//!
//! With one writer an increment is a load and a store, without the lock prefix that an atomic addition has. A reader may
//! see one counter of a packet and not yet another: sums agree exactly only when no packet is under way.

use core::sync::atomic::{AtomicU64, Ordering};

use sluice_packet::reason::{DropReason, PuntReason};

use crate::layout::MAX_INTERFACES;

mod snapshot;
pub use snapshot::{CountersSnapshot, InterfaceSnapshot};

/// Declares the counters: variant, stable name, whether it is a gauge, and one line of documentation that is also its help text.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal $kind:ident,)+) => {
        /// What a thread counts besides its drops and punts by reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }

        impl Counter {
            /// Every counter, in array order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name: metric label and CLI row.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $text,)+ }
            }

            /// One line for a person.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// Whether it goes up and down. The others only go up.
            pub const fn is_gauge(self) -> bool {
                match self { $(Counter::$variant => counters!(@$kind),)+ }
            }

            /// The position in a counter array.
            pub const fn index(self) -> usize { self as usize }

            /// The counter at a position of a counter array.
            pub fn from_index(index: usize) -> Option<Self> { Self::ALL.get(index).copied() }
        }

        impl core::fmt::Display for Counter {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.pad(self.name()) }
        }
    };
    (@counter) => { false };
    (@gauge) => { true };
}

counters! {
    /// Packets taken from receive queues.
    RxPackets = "rx_packets" counter,
    /// Bytes of those packets, Ethernet header included.
    RxBytes = "rx_bytes" counter,
    /// Packets given to transmit queues.
    TxPackets = "tx_packets" counter,
    /// Bytes of those packets, Ethernet header included.
    TxBytes = "tx_bytes" counter,
    /// Packets taken over from other threads of the dataplane.
    HandoffIn = "handoff_in" counter,
    /// Packets handed to other threads of the dataplane.
    HandoffOut = "handoff_out" counter,
    /// Packets made here: ICMP errors and TCP probes.
    Generated = "generated" counter,
    /// Fragments made beyond the first of a packet that was cut.
    FragmentsMade = "fragments_made" counter,
    /// Packets that the kernel sent through a TAP twin.
    Injected = "injected" counter,
    /// Packets given to the kernel, all reasons together.
    Punt = "punt" counter,
    /// Fragments that became part of another packet.
    Absorbed = "absorbed" counter,
    /// Packets kept for later: held SYNs, fragments that wait for their first one.
    Held = "held" gauge,
    /// Packets of established sessions.
    Established = "established" counter,
    /// Packets translated without state of their own.
    Stateless = "stateless" counter,
    /// Packets routed without translation.
    Routed = "routed" counter,
    /// Packets that went from inside to inside over an external address.
    Hairpins = "hairpins" counter,
    /// ARP requests and neighbour solicitations answered for pool addresses and translation prefixes (ADDR-25).
    NeighbourAnswers = "neighbour_answers" counter,
    /// Sessions created.
    SessionsCreated = "sessions_created" counter,
    /// Sessions deleted or expired.
    SessionsDeleted = "sessions_deleted" counter,
    /// Sessions that exist.
    Sessions = "sessions" gauge,
    /// Bindings that exist.
    Bindings = "bindings" gauge,
    /// Bindings that there is room for.
    BindingCapacity = "binding_capacity" gauge,
    /// Subscribers that have state.
    Subscribers = "subscribers" gauge,
    /// Subscribers that there is room for.
    SubscriberCapacity = "subscriber_capacity" gauge,
    /// Port blocks in use, resting ones included.
    PortBlocks = "port_blocks" gauge,
    /// ICMP errors, and resets to inside hosts, that the rate limit kept back (ICMP-103).
    IcmpErrorsSuppressed = "icmp_errors_suppressed" counter,
    /// Notices that found no room in the ring to control.
    EventsLost = "events_lost" counter,
    /// Refusals and limits that were not reported to control, because their like had just been (LOG-25).
    EventsSuppressed = "events_suppressed" counter,
    /// Trace records that found no room in the ring to control.
    TracesLost = "traces_lost" counter,
    /// Rounds of the poll loop.
    Loops = "loops" counter,
    /// Rounds of the poll loop that had a packet.
    BusyLoops = "busy_loops" counter,
    /// Longest round of the poll loop in nanoseconds, of the last second.
    LongestLoopNs = "longest_loop_ns" gauge,
    /// Time stamp counter cycles in a microsecond; 0 until it is known.
    CyclesPerMicrosecond = "cycles_per_microsecond" gauge,
    /// Cycles in rounds that had a packet.
    CyclesBusy = "cycles_busy" counter,
    /// Cycles in rounds that had none.
    CyclesIdle = "cycles_idle" counter,
    /// Packets of the rounds that were looked at closely: one busy round of sixteen.
    SampledPackets = "sampled_packets" counter,
    /// Cycles of those rounds in taking packets from drivers.
    CyclesReceive = "cycles_receive" counter,
    /// Cycles of those rounds in reading headers and hashing.
    CyclesParse = "cycles_parse" counter,
    /// Cycles of those rounds in finding sessions.
    CyclesLookUp = "cycles_look_up" counter,
    /// Cycles of those rounds in next hops, sizes and session state.
    CyclesRoute = "cycles_route" counter,
    /// Cycles of those rounds in rewriting packets.
    CyclesTranslate = "cycles_translate" counter,
    /// Cycles of those rounds in giving packets to drivers.
    CyclesTransmit = "cycles_transmit" counter,
    /// Cycles of those rounds in packets that take the general stages: new sessions, errors, whatever is not plain.
    CyclesGeneral = "cycles_general" counter,
    /// Cycles of those rounds in timers, orders, hand-off and counting.
    CyclesUpkeep = "cycles_upkeep" counter,
    /// Generation of the configuration that the thread works with.
    Generation = "generation" gauge,
}

impl Counter {
    /// The stages of a worker, in the order of a packet's way: where the cycles of sampled rounds went.
    pub const STAGES: [Counter; 8] = [
        Counter::CyclesReceive,
        Counter::CyclesParse,
        Counter::CyclesLookUp,
        Counter::CyclesRoute,
        Counter::CyclesTranslate,
        Counter::CyclesTransmit,
        Counter::CyclesGeneral,
        Counter::CyclesUpkeep,
    ];
}

/// Counters of one logical interface as one thread sees it.
#[repr(C)]
#[derive(Debug)]
pub struct InterfaceCounters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    drops: AtomicU64,
}

impl InterfaceCounters {
    /// Counts received packets and their bytes.
    #[inline]
    pub fn add_rx(&self, packets: u64, bytes: u64) {
        bump(&self.rx_packets, packets);
        bump(&self.rx_bytes, bytes);
    }

    /// Counts transmitted packets and their bytes.
    #[inline]
    pub fn add_tx(&self, packets: u64, bytes: u64) {
        bump(&self.tx_packets, packets);
        bump(&self.tx_bytes, bytes);
    }

    /// Counts drops of packets that came in here.
    #[inline]
    pub fn add_drops(&self, packets: u64) {
        bump(&self.drops, packets);
    }

    fn snapshot(&self) -> InterfaceSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        InterfaceSnapshot {
            rx_packets: read(&self.rx_packets),
            rx_bytes: read(&self.rx_bytes),
            tx_packets: read(&self.tx_packets),
            tx_bytes: read(&self.tx_bytes),
            drops: read(&self.drops),
        }
    }
}

/// The counters of one thread, at their place in the region.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct WorkerCounters {
    totals: [AtomicU64; Counter::COUNT],
    drops: [AtomicU64; DropReason::COUNT],
    punts: [AtomicU64; PuntReason::COUNT],
    interfaces: [InterfaceCounters; MAX_INTERFACES],
}

impl WorkerCounters {
    /// Counts `n` more; by the owning thread only, like everything here that writes.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        bump(&self.totals[counter.index()], n);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, counter: Counter, value: u64) {
        self.totals[counter.index()].store(value, Ordering::Relaxed);
    }

    /// One counter's value.
    #[inline]
    pub fn get(&self, counter: Counter) -> u64 {
        self.totals[counter.index()].load(Ordering::Relaxed)
    }

    /// Counts dropped packets.
    #[inline]
    pub fn add_drop(&self, reason: DropReason, n: u64) {
        bump(&self.drops[reason.index()], n);
    }

    /// Counts packets given to the kernel: under their reason and in [`Counter::Punt`].
    #[inline]
    pub fn add_punt(&self, reason: PuntReason, n: u64) {
        bump(&self.punts[reason.index()], n);
        self.add(Counter::Punt, n);
    }

    /// The counters of a logical interface. Numbers from [`MAX_INTERFACES`] on, which no checked configuration has,
    /// wrap around.
    #[inline]
    pub fn interface(&self, interface: usize) -> &InterfaceCounters {
        &self.interfaces[interface % MAX_INTERFACES]
    }

    /// A copy of all of them.
    pub fn snapshot(&self) -> CountersSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountersSnapshot {
            totals: core::array::from_fn(|i| read(&self.totals[i])),
            drops: core::array::from_fn(|i| read(&self.drops[i])),
            punts: core::array::from_fn(|i| read(&self.punts[i])),
            interfaces: core::array::from_fn(|i| self.interfaces[i].snapshot()),
        }
    }
}

/// One writer: no read-modify-write is needed.
#[inline(always)]
fn bump(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
