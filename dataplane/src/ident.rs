//! IPv4 identification for packets that have none of their own (XLT-11, FRAG-30, FRAG-32).
//!
//! Counters are shared by all workers, one per bucket of a keyed hash of source, destination and protocol. A worker
//! leases runs of 64 values, so that the shared line is written once in 64 packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const BUCKETS: usize = 4096;
const RUN: u32 = 64;

/// The shared counters, one table per process.
#[derive(Debug)]
pub struct Identifications {
    counters: Box<[AtomicU32; BUCKETS]>,
    /// Secret and odd.
    factor: u64,
}

impl Identifications {
    /// Counters that start at values derived from a secret.
    pub fn new(key: u64) -> Arc<Self> {
        let first = |n| mix(n as u64 ^ key.rotate_left(17), key) as u32 / RUN * RUN;
        let counters = Box::new(std::array::from_fn(|n| AtomicU32::new(first(n))));
        Arc::new(Self { counters, factor: mix(key, 0xd6e8_feb8_6659_fd93) | 1 })
    }
}

/// A worker's leases.
#[derive(Debug)]
pub struct Leases {
    shared: Arc<Identifications>,
    factor: u64,
    /// Next values. Runs begin at multiples of their length: a next value that is one is the end of a run.
    leases: Box<[u16; BUCKETS]>,
}

impl Leases {
    /// No run leased yet.
    pub fn new(shared: Arc<Identifications>) -> Self {
        Self { factor: shared.factor, shared, leases: Box::new([0; BUCKETS]) }
    }

    /// The next identification for a packet. Values of one (source, destination, protocol) repeat after 65,536 packets
    /// on one worker, and never earlier than 65,536 leases of the bucket allow.
    #[inline(always)]
    //= conformance XLT-11, FRAG-30, FRAG-32
    pub fn next(&mut self, source: u32, destination: u32, protocol: u8) -> u16 {
        let bucket = bucket(source, destination, protocol, self.factor);
        let mut value = self.leases[bucket];
        // Not a function of its own: a call would cost the packets that need none their registers.
        if u32::from(value).is_multiple_of(RUN) {
            value = self.shared.counters[bucket].fetch_add(RUN, Ordering::Relaxed) as u16;
        }
        self.leases[bucket] = value.wrapping_add(1);
        value
    }
}

/// The bucket of what has a sequence of its own: the upper bits of a product with a secret odd factor, in which values that
/// differ meet with a chance of no more than two in the number of buckets (multiply-shift hashing).
#[inline(always)]
fn bucket(source: u32, destination: u32, protocol: u8, factor: u64) -> usize {
    let value = (u64::from(source) << 32 | u64::from(destination)) ^ u64::from(protocol) << 32;
    (value.wrapping_mul(factor) >> (u64::BITS - BUCKETS.ilog2())) as usize
}

/// Mixes a value with a key: the folded 128-bit product of both, each made odd by a constant.
fn mix(value: u64, key: u64) -> u64 {
    let product = u128::from(value ^ 0x9e37_79b9_7f4a_7c15) * u128::from(key | 1);
    let folded = product as u64 ^ (product >> 64) as u64;
    folded ^ folded >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    //= conformance FRAG-30, XLT-11
    #[test]
    fn a_flow_sees_no_identification_twice_in_65536_packets() {
        let shared = Identifications::new(0x1234_5678_9abc_def0);
        let mut one = Leases::new(Arc::clone(&shared));
        let mut seen = vec![false; 65_536];
        for _ in 0..65_536 {
            let value = one.next(1, 2, 17);
            assert!(!std::mem::replace(&mut seen[usize::from(value)], true));
        }
    }

    #[test]
    fn buckets_are_used_evenly_by_neighbouring_addresses() {
        for key in [0, 1, 99, 0x1234_5678_9abc_def0, u64::MAX] {
            let factor = Identifications::new(key).factor;
            let mut used = vec![0u32; BUCKETS];
            for n in 0..16 * BUCKETS as u32 {
                used[bucket(
                    0xc633_6400 + n % 4,
                    0xcb00_7100 + n / 8,
                    if n & 4 == 0 { 6 } else { 17 },
                    factor,
                )] += 1;
            }
            let most = used.iter().max().copied().unwrap_or(0);
            let empty = used.iter().filter(|&&n| n == 0).count();
            assert!(most < 64 && empty < BUCKETS / 8, "key {key:#x}: at most {most}, {empty} empty");
        }
    }

    //= conformance FRAG-32
    #[test]
    fn workers_and_destinations_do_not_share_sequences() {
        let shared = Identifications::new(99);
        let (mut one, mut two) = (Leases::new(Arc::clone(&shared)), Leases::new(shared));
        let (a, b) = (one.next(1, 2, 17), two.next(1, 2, 17));
        assert_ne!(a, b);
        assert_ne!(one.next(1, 3, 17).wrapping_sub(a), 1);
    }
}
