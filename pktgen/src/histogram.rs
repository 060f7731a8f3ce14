//! Delays in nanoseconds: extremes exact, percentiles within 1.6 %, in 30 KiB and without allocation after the start.

/// Buckets of one power of two.
const STEPS: usize = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Values below `STEPS` have a bucket each; every power of two above has `STEPS`.
const BUCKETS: usize = STEPS * (u64::BITS - STEP_BITS + 1) as usize;

/// How often which delay was seen.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// Takes note of a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.min, self.max) = (0, u64::MAX, 0);
    }

    /// How many values there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The smallest value; `None` without any.
    pub fn min(&self) -> Option<u64> {
        (self.total > 0).then_some(self.min)
    }

    /// The largest value; `None` without any.
    pub fn max(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }

    /// The value that `permille` of a thousand values do not exceed; `None` without any.
    pub fn quantile(&self, permille: u32) -> Option<u64> {
        let rank = (u128::from(self.total) * u128::from(permille)).div_ceil(1000).max(1) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                // The bucket's upper end, which no value of it exceeds.
                return Some(upper(index).clamp(self.min, self.max));
            }
        }
        None
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    STEPS * shift as usize + (value >> shift) as usize
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    if index < 2 * STEPS {
        return index as u64;
    }
    let shift = (index / STEPS - 1) as u32;
    let first = ((index % STEPS + STEPS) as u64) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_is_narrow() {
        for value in (0..200_000)
            .chain((17..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]))
            .chain([u64::MAX])
        {
            let index = bucket(value);
            assert!(index < BUCKETS, "{value}");
            assert!(
                upper(index) >= value && upper(index) - value <= value / 64 + 1,
                "{value} {}",
                upper(index)
            );
            assert!(index == 0 || upper(index - 1) < value, "{value}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.min(), histogram.quantile(500), histogram.max()), (None, None, None));
        for value in 1..=50 {
            histogram.record(value);
        }
        assert_eq!((histogram.min(), histogram.max(), histogram.total()), (Some(1), Some(50), 50));
        assert_eq!(
            (histogram.quantile(500), histogram.quantile(990), histogram.quantile(1000)),
            (Some(25), Some(50), Some(50))
        );
        assert_eq!(histogram.quantile(0), Some(1));
        histogram.record(1_000_000);
        assert_eq!(histogram.quantile(1000), Some(1_000_000));
        histogram.clear();
        assert_eq!(histogram.total(), 0);
    }
}
