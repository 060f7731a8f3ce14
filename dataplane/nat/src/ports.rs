//! Which ports of an external address are in use or resting, as bitmaps.
//!
//! For each run of 64 ports, in words: in use by ICMP, TCP, UDP; resting by ICMP, UDP; and for the last two a byte a port
//! that says when it was freed. The words are atomic because the table is shared; each run belongs to the owner of its
//! block, who alone reads and writes it. A bitmap instead of a list: a free port is found by counting bits, uniformly at
//! random, however full the block is (PORT-14, PORT-16), and nothing ever scans 65536 ports.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::arena::prefetch;
use crate::hash::Rng;
use crate::types::{Protocol, TICKS_PER_SECOND, Tick};

/// Words for 64 ports: three bitmaps of use, two of rest, two times eight words of freed-at bytes.
const WORDS: usize = 3 + 2 + 2 * 8;
/// Words for an address.
pub(crate) const WORDS_PER_SLOT: usize = WORDS * 1024;
/// Ticks of a unit of the freed-at bytes: 256 of them outlast the longest hold-down more than fourfold.
const UNIT: u32 = 4 * TICKS_PER_SECOND;
/// A block is looked through at least this often while ports are freed in it, so that no freed-at byte wraps.
pub(crate) const CLEAN_INTERVAL: u32 = 128 * TICKS_PER_SECOND;

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
    fn mask(&self, run: u32) -> u64 {
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

    fn runs(&self) -> core::ops::RangeInclusive<u32> {
        u32::from(self.first / 64)..=u32::from(self.last / 64)
    }
}

/// The ports of one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports<'a>(pub(crate) &'a [AtomicU64]);

impl<'a> Ports<'a> {
    /// Those of a slot.
    pub(crate) fn of(table: &'a [AtomicU64], slot: u32) -> Self {
        Self(&table[slot as usize * WORDS_PER_SLOT..][..WORDS_PER_SLOT])
    }

    fn run(&self, run: u32) -> &'a [AtomicU64] {
        &self.0[run as usize * WORDS..][..WORDS]
    }

    /// Asks for the bitmaps of the first runs of a range.
    #[inline]
    pub(crate) fn prefetch(&self, first: u16, last: u16) {
        for run in (u32::from(first / 64)..=u32::from(last / 64)).take(4) {
            // The bitmaps may lie on two lines.
            prefetch(&self.run(run)[0]);
            prefetch(&self.run(run)[4]);
        }
    }

    fn free_in(&self, run: u32, protocol: Protocol, window: Window) -> u64 {
        let words = self.run(run);
        let resting = resting(protocol).map_or(0, |at| words[at].load(Relaxed));
        !(words[protocol.index()].load(Relaxed) | resting) & window.mask(run)
    }

    /// A free port, uniformly at random. Not yet taken.
    pub(crate) fn pick(&self, protocol: Protocol, window: Window, rng: &mut Rng) -> Option<u16> {
        let free: u32 = window.runs().map(|run| self.free_in(run, protocol, window).count_ones()).sum();
        if free == 0 {
            return None;
        }
        let mut nth = rng.below(free);
        for run in window.runs() {
            let mut bits = self.free_in(run, protocol, window);
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
    pub(crate) fn is_free(&self, protocol: Protocol, port: u16) -> bool {
        let window = Window { first: port, last: port, parity: None };
        self.free_in(u32::from(port / 64), protocol, window) != 0
    }

    /// Marks a port as in use.
    pub(crate) fn take(&self, protocol: Protocol, port: u16) {
        set(&self.run(u32::from(port / 64))[protocol.index()], port % 64, true);
    }

    /// Marks a port as no longer in use; if `rests`, it is not given out until [`Ports::clean`] finds that it has rested.
    pub(crate) fn give_back(&self, protocol: Protocol, port: u16, now: Tick, rests: bool) {
        let words = self.run(u32::from(port / 64));
        set(&words[protocol.index()], port % 64, false);
        if let (Some(at), true) = (resting(protocol), rests) {
            let (word, shift) = freed_at(protocol, port % 64);
            let byte = u64::from((now.0 / UNIT) as u8);
            words[word].store(words[word].load(Relaxed) & !(0xff << shift) | byte << shift, Relaxed);
            set(&words[at], port % 64, true);
        }
    }

    /// Lets ports of a range go that have rested for `hold` ticks, or all of them.
    pub(crate) fn clean(&self, first: u16, last: u16, now: Tick, hold: u32, all: bool) {
        for run in u32::from(first / 64)..=u32::from(last / 64) {
            let words = self.run(run);
            for protocol in [Protocol::Icmp, Protocol::Udp] {
                let Some(at) = resting(protocol) else { continue };
                let mut left = words[at].load(Relaxed);
                let mut bits = if all { 0 } else { left };
                left &= bits;
                while bits != 0 {
                    let port = bits.trailing_zeros() as u16;
                    let (word, shift) = freed_at(protocol, port);
                    let units =
                        ((now.0 / UNIT) as u8).wrapping_sub((words[word].load(Relaxed) >> shift) as u8);
                    // The port was freed at some tick of its unit, perhaps the last.
                    if u32::from(units) * UNIT >= hold + UNIT {
                        left &= !(1 << port);
                    }
                    bits &= bits - 1;
                }
                words[at].store(left, Relaxed);
            }
        }
    }

    /// Forgets all about a range: before a block is released.
    pub(crate) fn clear(&self, first: u16, last: u16) {
        for run in u32::from(first / 64)..=u32::from(last / 64) {
            self.run(run)[..5].iter().for_each(|word| word.store(0, Relaxed));
        }
    }
}

fn set(word: &AtomicU64, bit: u16, value: bool) {
    let rest = word.load(Relaxed) & !(1 << bit);
    word.store(rest | u64::from(value) << bit, Relaxed);
}

/// The bitmap of resting ports; TCP ports do not rest (PORT-11).
fn resting(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::Icmp => Some(3),
        Protocol::Tcp => None,
        Protocol::Udp => Some(4),
    }
}

/// Word and shift of a freed-at byte.
fn freed_at(protocol: Protocol, port: u16) -> (usize, u32) {
    let base = if protocol == Protocol::Icmp { 5 } else { 13 };
    (base + usize::from(port / 8), u32::from(port % 8) * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::zeroed;

    fn window(first: u16, last: u16, parity: Option<bool>) -> Window {
        Window { first, last, parity }
    }

    #[test]
    fn every_port_of_a_window_is_found_once_and_none_outside() {
        //= conformance PORT-14, PORT-16
        let memory: Box<[AtomicU64]> = zeroed(WORDS_PER_SLOT);
        let ports = Ports::of(&memory, 0);
        let mut rng = Rng::new([1; 4], 0);
        let window = window(65_300, 65_535, None);
        let mut seen = Vec::new();
        while let Some(port) = ports.pick(Protocol::Tcp, window, &mut rng) {
            ports.take(Protocol::Tcp, port);
            seen.push(port);
        }
        assert!(!seen.is_sorted());
        seen.sort_unstable();
        assert_eq!(seen, (65_300..=65_535).collect::<Vec<u16>>());
        //= conformance PORT-21
        assert!(ports.pick(Protocol::Udp, window, &mut rng).is_some());
    }

    #[test]
    fn the_choice_is_uniform() {
        //= conformance PORT-07
        let memory: Box<[AtomicU64]> = zeroed(WORDS_PER_SLOT);
        let ports = Ports::of(&memory, 0);
        let mut rng = Rng::new([8; 4], 0);
        let mut seen = [0u32; 256];
        for _ in 0..256 * 100 {
            let port = ports.pick(Protocol::Udp, window(1024, 1279, None), &mut rng).expect("all free");
            seen[usize::from(port - 1024)] += 1;
        }
        let chi: f64 = seen.iter().map(|&n| (f64::from(n) - 100.0).powi(2) / 100.0).sum();
        // 255 degrees of freedom: the 99.99 % point is about 345.
        assert!(chi < 345.0, "{chi}");
    }

    #[test]
    fn parity_is_kept_and_a_freed_port_rests() {
        //= conformance PORT-05, PORT-10
        let memory: Box<[AtomicU64]> = zeroed(WORDS_PER_SLOT);
        let ports = Ports::of(&memory, 0);
        let mut rng = Rng::new([2; 4], 0);
        for odd in [false, true] {
            for _ in 0..50 {
                let port = ports.pick(Protocol::Udp, window(64, 191, Some(odd)), &mut rng).expect("free");
                assert_eq!(port % 2 == 1, odd);
            }
        }
        let one = window(700, 700, None);
        let hold = 120 * TICKS_PER_SECOND;
        let now = Tick(1_000_003);
        ports.take(Protocol::Udp, 700);
        ports.give_back(Protocol::Udp, 700, now, true);
        ports.clean(640, 703, now.after(hold - 1), hold, false);
        assert_eq!(ports.pick(Protocol::Udp, one, &mut rng), None);
        ports.clean(640, 703, now.after(hold + 2 * UNIT), hold, false);
        assert_eq!(ports.pick(Protocol::Udp, one, &mut rng), Some(700));
        //= conformance PORT-11
        ports.take(Protocol::Tcp, 700);
        ports.give_back(Protocol::Tcp, 700, now, true);
        assert_eq!(ports.pick(Protocol::Tcp, one, &mut rng), Some(700));
    }
}
