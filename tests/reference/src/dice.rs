//! Where chance comes from.

/// A source of small numbers.
pub trait Dice {
    /// A number below `sides`, which is at least 1.
    fn roll(&mut self, sides: u32) -> u32;

    /// Whether nothing is left: then every roll is 0.
    fn is_over(&self) -> bool {
        false
    }

    /// Whether an event of one in `n` happens. Never, when nothing is left.
    fn one_in(&mut self, n: u32) -> bool {
        self.roll(n) == n - 1
    }

    /// One of several.
    fn pick<T: Copy>(&mut self, of: &[T]) -> T
    where
        Self: Sized,
    {
        of[self.roll(of.len() as u32) as usize]
    }
}

/// A generator with a seed: the same seed, the same game.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// From any seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike, and zero is no state.
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }
}

impl Dice for Seeded {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(sides)) >> 32) as u32
    }
}

/// The bytes of a fuzzer, used up from the front.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl Dice for Script<'_> {
    fn roll(&mut self, sides: u32) -> u32 {
        let width = if sides <= 1 {
            0
        } else if sides <= 256 {
            1
        } else {
            4
        };
        let (now, later) = self.0.split_at(width.min(self.0.len()));
        self.0 = later;
        now.iter().fold(0u32, |number, &byte| (number << 8) | u32::from(byte)) % sides.max(1)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}
