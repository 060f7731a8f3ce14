//! Which ports of the external addresses are in use or resting, as bitmaps.
//!
//! An array a protocol, so that the ports of a block lie together: for each run of 64 ports a word of those in use and one
//! of those that rest. Apart from them, a byte a port says when it was freed: an array that is read only of ports that rest,
//! and costs memory only where some did. All is atomic because it is shared; each run belongs to the owner of its block, who
//! alone reads and writes it. A bitmap instead of a list: a free port is found by counting bits, uniformly at random, however
//! full the block is (PORT-14, PORT-16), and nothing ever scans 65536 ports.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::arena::{Pages, Touch, prefetch, touch, zeroed};
use crate::hash::Rng;
use crate::types::{Protocol, TICKS_PER_SECOND, Tick};

/// Ports of an address, and runs of 64.
const PORTS: usize = 65_536;
pub(crate) const RUNS: usize = PORTS / 64;
/// Runs on a cache line.
const RUNS_PER_LINE: u32 = 4;
/// Ticks of a unit of the freed-at bytes: 256 of them outlast the longest hold-down more than fourfold.
const UNIT: u32 = 4 * TICKS_PER_SECOND;
/// A block is looked through at least this often while ports are freed in it, so that no freed-at byte wraps.
pub(crate) const CLEAN_INTERVAL: u32 = 128 * TICKS_PER_SECOND;

/// 64 ports: bits of those in use, and of those that rest. TCP ports rest only after a removal by the operator (PORT-11).
type Run = [AtomicU64; 2];
const USED: usize = 0;
const RESTING: usize = 1;

/// Which ports will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) first: u16,
    pub(crate) last: u16,
    /// Odd or even only.
    pub(crate) parity: Option<bool>,
}

impl Window {
    /// The ports of `run` (a port divided by 64) that will do.
    pub(crate) fn mask(&self, run: u32) -> u64 {
        let (first, last) = (u32::from(self.first), u32::from(self.last));
        let mut mask = u64::MAX;
        if run == first / 64 {
            mask &= u64::MAX << (first % 64);
        }
        if run == last / 64 {
            mask &= u64::MAX >> (63 - last % 64);
        }
        mask & match self.parity {
            None => u64::MAX,
            Some(false) => 0x5555_5555_5555_5555,
            Some(true) => 0xaaaa_aaaa_aaaa_aaaa,
        }
    }

    pub(crate) fn runs(&self) -> core::ops::RangeInclusive<u32> {
        u32::from(self.first / 64)..=u32::from(self.last / 64)
    }
}

/// The ports of all addresses, by protocol.
#[derive(Debug)]
pub(crate) struct PortTable {
    //= conformance PORT-21
    runs: [Pages<Run>; 3],
    /// On small pages: they are first touched when sessions end, which should not wait for two megabytes to be cleared.
    freed: [Box<[AtomicU8]>; 3],
}

impl PortTable {
    /// Room for so many addresses. Nothing is touched before it is used.
    pub(crate) fn new(addresses: usize) -> Self {
        Self {
            runs: [(); 3].map(|()| Pages::new(addresses * RUNS, Touch::WhenUsed)),
            freed: [(); 3].map(|()| zeroed(addresses * PORTS)),
        }
    }

    /// Gets the memory of a slot's bitmaps: the blocks of an address are given out at random, so that otherwise each of the
    /// first would wait for a page.
    pub(crate) fn prepare(&self, slot: u32) {
        self.runs.iter().for_each(|runs| touch(&runs[slot as usize * RUNS..][..RUNS]));
    }

    /// Those of a slot, for a protocol.
    #[inline]
    pub(crate) fn of(&self, slot: u32, protocol: Protocol) -> Ports<'_> {
        let (slot, protocol) = (slot as usize, protocol.index());
        Ports {
            runs: &self.runs[protocol][slot * RUNS..][..RUNS],
            freed: &self.freed[protocol][slot * PORTS..][..PORTS],
        }
    }
}

/// The ports of one address for one protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports<'a> {
    runs: &'a [Run],
    freed: &'a [AtomicU8],
}

impl Ports<'_> {
    /// Asks for the bitmaps of the first 1024 ports of a range.
    #[inline]
    pub(crate) fn prefetch(&self, first: u16, last: u16) {
        let first = u32::from(first / 64) / RUNS_PER_LINE * RUNS_PER_LINE;
        for run in (first..=u32::from(last / 64)).step_by(RUNS_PER_LINE as usize).take(4) {
            prefetch(&self.runs[run as usize]);
        }
    }

    fn free_in(&self, run: u32, window: Window) -> u64 {
        let words = &self.runs[run as usize];
        !(words[USED].load(Relaxed) | words[RESTING].load(Relaxed)) & window.mask(run)
    }

    /// A free port that is not withheld (a mask for each run of 64), uniformly at random. Not yet taken.
    //= conformance PORT-07, PORT-08, PORT-14, PORT-16
    pub(crate) fn pick(&self, window: Window, withheld: impl Fn(u32) -> u64, rng: &mut Rng) -> Option<u16> {
        let free_in = |run| self.free_in(run, window) & !withheld(run);
        let free: u32 = window.runs().map(|run| free_in(run).count_ones()).sum();
        if free == 0 {
            return None;
        }
        let mut nth = rng.below(free);
        for run in window.runs() {
            let mut bits = free_in(run);
            if nth >= bits.count_ones() {
                nth -= bits.count_ones();
                continue;
            }
            for _ in 0..nth {
                bits &= bits - 1;
            }
            return Some((run * 64 + bits.trailing_zeros()) as u16);
        }
        None
    }

    /// Whether a port is neither in use nor resting.
    pub(crate) fn is_free(&self, port: u16) -> bool {
        self.free_in(u32::from(port / 64), Window { first: port, last: port, parity: None }) != 0
    }

    /// Marks a port as in use.
    pub(crate) fn take(&self, port: u16) {
        set(&self.runs[usize::from(port / 64)][USED], port % 64, true);
    }

    /// Marks a port as no longer in use; if `rests`, it is not given out until [`Ports::clean`] finds that it has rested.
    //= conformance PORT-10
    pub(crate) fn give_back(&self, port: u16, now: Tick, rests: bool) {
        let words = &self.runs[usize::from(port / 64)];
        set(&words[USED], port % 64, false);
        if rests {
            self.freed[usize::from(port)].store((now.0 / UNIT) as u8, Relaxed);
            set(&words[RESTING], port % 64, true);
        }
    }

    /// Lets ports of a range go that have rested for `hold` ticks, or all of them.
    pub(crate) fn clean(&self, first: u16, last: u16, now: Tick, hold: u32, all: bool) {
        for run in usize::from(first / 64)..=usize::from(last / 64) {
            let resting = &self.runs[run][RESTING];
            let before = resting.load(Relaxed);
            let mut left = if all { 0 } else { before };
            let mut bits = left;
            while bits != 0 {
                let port = bits.trailing_zeros();
                let freed = self.freed[run * 64 + port as usize].load(Relaxed);
                let units = ((now.0 / UNIT) as u8).wrapping_sub(freed);
                // The port was freed at some tick of its unit, perhaps the last.
                if u32::from(units) * UNIT >= hold + UNIT {
                    left &= !(1 << port);
                }
                bits &= bits - 1;
            }
            store(resting, before, left);
        }
    }

    /// How many ports of a range rest.
    pub(crate) fn resting(&self, first: u16, last: u16) -> u32 {
        let runs = &self.runs[usize::from(first / 64)..=usize::from(last / 64)];
        runs.iter().map(|words| words[RESTING].load(Relaxed).count_ones()).sum()
    }

    /// Forgets all about a range: before a block is released.
    pub(crate) fn clear(&self, first: u16, last: u16) {
        for run in &self.runs[usize::from(first / 64)..=usize::from(last / 64)] {
            run.iter().for_each(|word| store(word, word.load(Relaxed), 0));
        }
    }
}

/// Stores what is new only: a page that was never written costs no memory.
fn store(word: &AtomicU64, before: u64, after: u64) {
    if before != after {
        word.store(after, Relaxed);
    }
}

fn set(word: &AtomicU64, bit: u16, value: bool) {
    let rest = word.load(Relaxed) & !(1 << bit);
    word.store(rest | u64::from(value) << bit, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Tcp, Udp};

    fn window(first: u16, last: u16, parity: Option<bool>) -> Window {
        Window { first, last, parity }
    }

    #[test]
    fn every_port_of_a_window_is_found_once_and_none_outside() {
        //= conformance PORT-14, PORT-16
        let table = PortTable::new(1);
        let ports = table.of(0, Tcp);
        let (none, mut rng) = (|_| 0, Rng::new([1; 4], 0));
        let window = window(65_300, 65_535, None);
        let mut seen = Vec::new();
        while let Some(port) = ports.pick(window, none, &mut rng) {
            ports.take(port);
            seen.push(port);
        }
        assert!(!seen.is_sorted());
        seen.sort_unstable();
        assert_eq!(seen, (65_300..=65_535).collect::<Vec<u16>>());
        //= conformance PORT-21
        assert!(table.of(0, Udp).pick(window, none, &mut rng).is_some());
    }

    #[test]
    fn the_choice_is_uniform() {
        //= conformance PORT-07
        let table = PortTable::new(1);
        let ports = table.of(0, Udp);
        let (none, mut rng) = (|_| 0, Rng::new([8; 4], 0));
        let mut seen = [0u32; 256];
        for _ in 0..256 * 100 {
            let port = ports.pick(window(1024, 1279, None), none, &mut rng).expect("all free");
            seen[usize::from(port - 1024)] += 1;
        }
        let chi: f64 = seen.iter().map(|&n| (f64::from(n) - 100.0).powi(2) / 100.0).sum();
        // 255 degrees of freedom: the 99.99 % point is about 345.
        assert!(chi < 345.0, "{chi}");
    }

    #[test]
    fn parity_is_kept_and_a_freed_port_rests() {
        //= conformance PORT-05, PORT-10
        let table = PortTable::new(2);
        let ports = table.of(1, Udp);
        let (none, mut rng) = (|_| 0, Rng::new([2; 4], 0));
        for odd in [false, true] {
            for _ in 0..50 {
                let port = ports.pick(window(64, 191, Some(odd)), none, &mut rng).expect("free");
                assert_eq!(port % 2 == 1, odd);
            }
        }
        let one = window(700, 700, None);
        let hold = 120 * TICKS_PER_SECOND;
        let now = Tick(1_000_003);
        ports.take(700);
        ports.give_back(700, now, true);
        ports.clean(640, 703, now.after(hold - 1), hold, false);
        assert_eq!(ports.pick(one, none, &mut rng), None);
        ports.clean(640, 703, now.after(hold + 2 * UNIT), hold, false);
        assert_eq!(ports.pick(one, none, &mut rng), Some(700));
        ports.take(700);
        ports.give_back(700, now, false);
        assert_eq!(ports.pick(one, none, &mut rng), Some(700));
        // A block that goes back leaves nothing behind.
        ports.take(701);
        ports.give_back(700, now, true);
        ports.clear(640, 703);
        assert!((640..704).all(|port| ports.is_free(port)));
    }
}
