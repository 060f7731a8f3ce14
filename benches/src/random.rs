//! Numbers that look random and are the same in every run, so that a benchmark repeats.

/// SplitMix64: a counter and a mixing function. Far cheaper than the memory accesses that it chooses.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; the same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.number() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Spreads a number over all 64 bits; no two numbers give the same.
#[inline]
pub const fn mix(number: u64) -> u64 {
    let a = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ a >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ b >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_and_are_spread() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let mut seen = [0u32; 16];
        for _ in 0..16_000 {
            let number = a.below(16);
            assert_eq!(number, b.below(16));
            seen[number as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }
}
