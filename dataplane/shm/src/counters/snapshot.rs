//! Counters as plain numbers: copied, summed over threads, subtracted for rates, written as JSON.

use core::iter::Sum;
use core::ops::{Add, AddAssign};

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use sluice_packet::reason::{DropReason, PuntReason};

use super::Counter;
use crate::layout::MAX_INTERFACES;

/// Counters of one logical interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct InterfaceSnapshot {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Drops of packets that came in here.
    pub drops: u64,
}

/// A copy of one thread's counters, or a sum of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountersSnapshot {
    pub(super) totals: [u64; Counter::COUNT],
    pub(super) drops: [u64; DropReason::COUNT],
    pub(super) punts: [u64; PuntReason::COUNT],
    pub(super) interfaces: [InterfaceSnapshot; MAX_INTERFACES],
}

impl Default for CountersSnapshot {
    fn default() -> Self {
        Self {
            totals: [0; Counter::COUNT],
            drops: [0; DropReason::COUNT],
            punts: [0; PuntReason::COUNT],
            interfaces: [InterfaceSnapshot::default(); MAX_INTERFACES],
        }
    }
}

impl CountersSnapshot {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.totals[counter.index()]
    }

    /// Packets dropped for a reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// Packets dropped for any reason.
    pub fn all_drops(&self) -> u64 {
        self.drops.iter().fold(0, |sum, &n| sum.wrapping_add(n))
    }

    /// Packets given to the kernel for a reason.
    pub fn punts(&self, reason: PuntReason) -> u64 {
        self.punts[reason.index()]
    }

    /// A logical interface; zeros for one that cannot exist.
    pub fn interface(&self, interface: usize) -> InterfaceSnapshot {
        self.interfaces.get(interface).copied().unwrap_or_default()
    }

    /// The two sides of "every packet is accounted for": what came into being here, and where it ended. They are equal
    /// whenever no packet is under way.
    ///
    /// `rx + handoff_in + generated + fragments_made + injected = tx + punt + drops + handoff_out + absorbed + held`
    pub fn balance(&self) -> (u64, u64) {
        use Counter::*;
        let sum = |counters: &[Counter]| counters.iter().fold(0_u64, |sum, &c| sum.wrapping_add(self.get(c)));
        let left = sum(&[RxPackets, HandoffIn, Generated, FragmentsMade, Injected]);
        let right = sum(&[TxPackets, Punt, HandoffOut, Absorbed, Held]).wrapping_add(self.all_drops());
        (left, right)
    }

    /// What was counted since an earlier copy of the same counters; gauges keep their present value.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (counter, (now, then)) in
            Counter::ALL.iter().zip(difference.totals.iter_mut().zip(earlier.totals))
        {
            if !counter.is_gauge() {
                *now = now.saturating_sub(then);
            }
        }
        subtract(&mut difference.drops, &earlier.drops);
        subtract(&mut difference.punts, &earlier.punts);
        for (now, then) in difference.interfaces.iter_mut().zip(&earlier.interfaces) {
            now.rx_packets = now.rx_packets.saturating_sub(then.rx_packets);
            now.rx_bytes = now.rx_bytes.saturating_sub(then.rx_bytes);
            now.tx_packets = now.tx_packets.saturating_sub(then.tx_packets);
            now.tx_bytes = now.tx_bytes.saturating_sub(then.tx_bytes);
            now.drops = now.drops.saturating_sub(then.drops);
        }
        difference
    }
}

fn subtract(now: &mut [u64], then: &[u64]) {
    for (now, then) in now.iter_mut().zip(then) {
        *now = now.saturating_sub(*then);
    }
}

fn accumulate(sum: &mut [u64], more: &[u64]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.wrapping_add(*more);
    }
}

impl AddAssign<&CountersSnapshot> for CountersSnapshot {
    /// Sums counters and gauges; only [`Counter::LongestLoopNs`] and [`Counter::CyclesPerMicrosecond`] are the larger of the
    /// two, and [`Counter::Generation`] the smaller that is known: the generation that every thread has reached.
    fn add_assign(&mut self, other: &Self) {
        let larger = [Counter::LongestLoopNs, Counter::CyclesPerMicrosecond]
            .map(|counter| (counter, self.get(counter).max(other.get(counter))));
        let generation = match (self.get(Counter::Generation), other.get(Counter::Generation)) {
            (0, known) | (known, 0) => known,
            (a, b) => a.min(b),
        };
        accumulate(&mut self.totals, &other.totals);
        for (counter, value) in larger {
            self.totals[counter.index()] = value;
        }
        self.totals[Counter::Generation.index()] = generation;
        accumulate(&mut self.drops, &other.drops);
        accumulate(&mut self.punts, &other.punts);
        for (sum, more) in self.interfaces.iter_mut().zip(&other.interfaces) {
            sum.rx_packets = sum.rx_packets.wrapping_add(more.rx_packets);
            sum.rx_bytes = sum.rx_bytes.wrapping_add(more.rx_bytes);
            sum.tx_packets = sum.tx_packets.wrapping_add(more.tx_packets);
            sum.tx_bytes = sum.tx_bytes.wrapping_add(more.tx_bytes);
            sum.drops = sum.drops.wrapping_add(more.drops);
        }
    }
}

impl Add for CountersSnapshot {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += &other;
        self
    }
}

impl Sum for CountersSnapshot {
    fn sum<I: Iterator<Item = Self>>(snapshots: I) -> Self {
        snapshots.fold(Self::default(), Add::add)
    }
}

/// Numbers under their names.
struct Named<'a, T>(&'a [T], fn(&T) -> &'static str, &'a [u64]);

impl<T> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(items, name, values) = self;
        let mut map = serializer.serialize_map(Some(values.len()))?;
        for (item, value) in items.iter().zip(*values) {
            map.serialize_entry(name(item), value)?;
        }
        map.end()
    }
}

impl Serialize for CountersSnapshot {
    /// Maps from name to number, and the interfaces as a list by number, cut after the last one that counted anything.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used =
            self.interfaces.iter().rposition(|i| *i != InterfaceSnapshot::default()).map_or(0, |i| i + 1);
        let mut out = serializer.serialize_struct("CountersSnapshot", 4)?;
        out.serialize_field("totals", &Named(Counter::ALL, |c| c.name(), &self.totals))?;
        out.serialize_field("drops", &Named(DropReason::ALL, |r| r.name(), &self.drops))?;
        out.serialize_field("punts", &Named(PuntReason::ALL, |r| r.name(), &self.punts))?;
        out.serialize_field("interfaces", &self.interfaces[..used])?;
        out.end()
    }
}
