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

    /// A number from 0 to 1, 1 excluded.
    #[inline]
    pub fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Spreads a number over all 64 bits; no two numbers give the same.
#[inline]
pub const fn mix(number: u64) -> u64 {
    let a = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ a >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ b >> 31
}

/// Place of `number` in a fixed shuffle of all numbers below `count`, of which it is one.
#[inline]
pub const fn shuffled(number: u32, count: u32) -> u32 {
    let bits = 32 - (count - 1).leading_zeros();
    let mask = (1u64 << bits) - 1;
    let mut place = number as u64;
    loop {
        // Each step is a bijection of the numbers of so many bits; those that are too large go round again.
        place = place.wrapping_mul(0x9e37_79b1).wrapping_add(0x1234_5677) & mask;
        place ^= place >> (bits / 2 + 1);
        place = place.wrapping_mul(0x85eb_ca6b) & mask;
        place ^= place >> (bits / 2 + 1);
        if place < count as u64 {
            return place as u32;
        }
    }
}

/// Draws ranks from 1 on by Zipf's law with exponent 1: each is drawn half as often as the one of half its rank.
///
/// Rejection-inversion (Hörmann and Derflinger, 1996): no table, and hardly ever a second try.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    count: u32,
    low: f64,
    high: f64,
    sure: f64,
}

impl Zipf {
    /// Ranks up to `count`, which is not 0.
    pub fn new(count: u32) -> Self {
        Self {
            count,
            low: 1.5f64.ln() - 1.0,
            high: (f64::from(count) + 0.5).ln(),
            sure: 2.0 - (2.5f64.ln() - 0.5).exp(),
        }
    }

    /// A rank.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let area = self.high + random.share() * (self.low - self.high);
            let point = area.exp();
            let rank = ((point + 0.5) as u32).clamp(1, self.count);
            let exact = f64::from(rank);
            if exact - point <= self.sure || area >= (exact + 0.5).ln() - 1.0 / exact {
                return rank;
            }
        }
    }
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

    #[test]
    fn a_shuffle_has_every_number_once_and_neighbours_apart() {
        for count in [1, 2, 5, 1000, 1024, 70_000] {
            let mut places: Vec<_> = (0..count).map(|number| shuffled(number, count)).collect();
            if count > 100 {
                let near = places.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < count / 20).count();
                assert!(near < places.len() / 5, "{near} of {count}");
            }
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ranks_come_as_often_as_zipf_says() {
        let (zipf, mut random) = (Zipf::new(1000), Random::new(3));
        let mut seen = [0u32; 1001];
        for _ in 0..200_000 {
            seen[zipf.draw(&mut random) as usize] += 1;
        }
        let harmonic: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1usize, 2, 3, 10, 100] {
            let wanted = 200_000.0 / harmonic / rank as f64;
            let found = f64::from(seen[rank]);
            assert!((found - wanted).abs() < 5.0 * wanted.sqrt() + 1.0, "{rank}: {found} of {wanted}");
        }
        assert_eq!(seen[0], 0);
        assert_eq!(Zipf::new(1).draw(&mut random), 1);
    }
}
