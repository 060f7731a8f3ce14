//! The seeded hash of the tables and the generator of unpredictable numbers.
//!
//! The tables can be filled from outside, so their hash is keyed: a product of secret-masked words, folded. It is not a
//! cryptographic hash; bounded buckets and bounded displacement limit what an unlucky seed costs. Port numbers, on the
//! other hand, are seen by strangers, so their generator is a keyed pseudo-random function in counter mode (SipHash-1-3),
//! which an observer cannot run ahead of (RFC 6056).

/// The secret of the tables, the same for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashSeed([u64; 4]);

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Any odd constant with its bits well spread.
const FINAL: u64 = 0xa076_1d64_78bd_642f;

impl HashSeed {
    pub(crate) const fn new(seed: [u64; 4]) -> Self {
        Self(seed)
    }

    /// Hash of two words.
    #[inline(always)]
    pub(crate) fn of_two(&self, a: u64, b: u64) -> u64 {
        fold(fold(a ^ self.0[0], b ^ self.0[1]) ^ self.0[2], FINAL)
    }

    /// Hash of four words.
    #[inline(always)]
    pub(crate) fn of_four(&self, a: u64, b: u64, c: u64, d: u64) -> u64 {
        let first = fold(a ^ self.0[0], b ^ self.0[1]);
        let second = fold(c ^ self.0[2], d ^ self.0[3]);
        fold(first ^ second.rotate_left(23), FINAL)
    }
}

/// Unpredictable numbers, one generator a worker.
#[derive(Debug)]
pub(crate) struct Rng {
    key: [u64; 2],
    counter: u64,
    /// Upper half of the last number, if only its lower one was used.
    half: Option<u32>,
}

impl Rng {
    /// A generator of its own for each worker.
    pub(crate) fn new(seed: [u64; 4], worker: u8) -> Self {
        Self {
            key: [seed[0] ^ seed[2].rotate_left(17), seed[1] ^ seed[3]],
            counter: u64::from(worker) << 56,
            half: None,
        }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        keyed(self.key, self.counter)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let number = match self.half.take() {
            Some(half) => half,
            None => {
                let both = self.next();
                self.half = Some((both >> 32) as u32);
                both as u32
            }
        };
        ((u64::from(number) * u64::from(bound)) >> 32) as u32
    }
}

/// SipHash-1-3 of a word.
#[inline]
pub(crate) fn keyed(key: [u64; 2], word: u64) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    for word in [word, 8 << 56] {
        v[3] ^= word;
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..3 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_of_two_workers_differ_and_numbers_are_spread() {
        let (mut a, mut b) = (Rng::new([1, 2, 3, 4], 0), Rng::new([1, 2, 3, 4], 1));
        assert_ne!(a.next(), b.next());
        let mut seen = [0u32; 16];
        for _ in 0..16_000 {
            seen[a.below(16) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }
}
