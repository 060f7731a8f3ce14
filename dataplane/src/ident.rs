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
    counters: Vec<AtomicU32>,
    key: u64,
}

impl Identifications {
    /// Counters that start at values derived from a secret.
    pub fn new(key: u64) -> Arc<Self> {
        let counters = (0..BUCKETS as u64)
            .map(|n| AtomicU32::new(mix(n ^ key.rotate_left(17), key) as u32 / RUN * RUN))
            .collect();
        Arc::new(Self { counters, key })
    }
}

/// A worker's leases.
#[derive(Debug)]
pub struct Leases {
    shared: Arc<Identifications>,
    /// Next values. Runs begin at multiples of their length: a next value that is one is the end of a run.
    leases: Box<[u16; BUCKETS]>,
}

impl Leases {
    /// No run leased yet.
    pub fn new(shared: Arc<Identifications>) -> Self {
        Self { shared, leases: Box::new([0; BUCKETS]) }
    }

    /// The next identification for a packet. Values of one (source, destination, protocol) repeat after 65,536 packets
    /// on one worker, and never earlier than 65,536 leases of the bucket allow.
    #[inline(always)]
    //= conformance XLT-11, FRAG-30, FRAG-32
    pub fn next(&mut self, source: u32, destination: u32, protocol: u8) -> u16 {
        let pair = u64::from(source) << 32 | u64::from(destination);
        let bucket = mix(pair, self.shared.key ^ u64::from(protocol)) as usize % BUCKETS;
        let mut value = self.leases[bucket];
        if u32::from(value).is_multiple_of(RUN) {
            value = self.lease(bucket);
        }
        self.leases[bucket] = value.wrapping_add(1);
        value
    }

    #[cold]
    fn lease(&self, bucket: usize) -> u16 {
        self.shared.counters[bucket].fetch_add(RUN, Ordering::Relaxed) as u16
    }
}

/// Mixes a value with a key: the folded 128-bit product of both, each made odd by a constant.
#[inline]
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
