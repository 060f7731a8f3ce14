//! Sets of addresses as sorted, disjoint ranges: what every list of prefixes is compiled to.

/// An address of either family.
pub(crate) trait Address: Copy + Ord {
    const FIRST: Self;
    const LAST: Self;
    /// The range of a prefix; `None` if the length is too long or host bits are set.
    fn range(self, length: u8) -> Option<(Self, Self)>;
    /// The next address, unless this is the last.
    fn next(self) -> Option<Self>;
}

macro_rules! address {
    ($type:ty) => {
        impl Address for $type {
            const FIRST: Self = 0;
            const LAST: Self = <$type>::MAX;

            fn range(self, length: u8) -> Option<(Self, Self)> {
                let host = match length {
                    0 => <$type>::MAX,
                    1.. if u32::from(length) <= <$type>::BITS => {
                        <$type>::MAX.checked_shr(length.into()).unwrap_or(0)
                    }
                    _ => return None,
                };
                (self & host == 0).then_some((self, self | host))
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

address!(u32);
address!(u128);

/// A set of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet<A> {
    /// From the first address to the last: most questions are answered by it alone.
    hull: (A, A),
    ranges: Vec<(A, A)>,
}

impl<A: Address> Default for RangeSet<A> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<A: Address> RangeSet<A> {
    /// The union of ranges in any order.
    pub(crate) fn new(mut ranges: Vec<(A, A)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(A, A)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if before.1.next().is_none_or(|next| first <= next) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        let hull = match (merged.first(), merged.last()) {
            (Some(first), Some(last)) => (first.0, last.1),
            _ => (A::LAST, A::FIRST),
        };
        Self { hull, ranges: merged }
    }

    /// Whether the set holds an address.
    #[inline(always)]
    pub(crate) fn contains(&self, address: A) -> bool {
        let (first, last) = self.hull;
        first <= address && address <= last && (self.ranges.len() == 1 || self.search(address))
    }

    #[inline(never)]
    fn search(&self, address: A) -> bool {
        // A handful is the usual case, and a scan of one or two cache lines beats the mispredictions of a search.
        if self.ranges.len() <= 8 {
            return self.ranges.iter().any(|&(first, last)| first <= address && address <= last);
        }
        let after = self.ranges.partition_point(|&(first, _)| first <= address);
        after > 0 && address <= self.ranges[after - 1].1
    }

    /// The ranges, sorted.
    pub(crate) fn ranges(&self) -> &[(A, A)] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_contain_their_ends_only() {
        let set = RangeSet::new(vec![(30u32, 39), (10, 19), (20, 25), (u32::MAX - 1, u32::MAX), (15, 17)]);
        assert_eq!(set.ranges(), [(10, 25), (30, 39), (u32::MAX - 1, u32::MAX)]);
        for (address, inside) in
            [(9, false), (10, true), (25, true), (26, false), (39, true), (u32::MAX, true)]
        {
            assert_eq!(set.contains(address), inside, "{address}");
        }
        let many = RangeSet::new((0..100u32).map(|n| (n * 10, n * 10 + 4)).collect());
        for address in 0..1000 {
            assert_eq!(many.contains(address), address % 10 < 5);
        }
        assert!(!many.contains(2000));
    }

    #[test]
    fn a_prefix_with_host_bits_or_too_long_has_no_range() {
        assert_eq!(0x0a00_0000u32.range(8), Some((0x0a00_0000, 0x0aff_ffff)));
        assert_eq!(0u32.range(0), Some((0, u32::MAX)));
        assert_eq!(7u32.range(32), Some((7, 7)));
        assert_eq!(7u32.range(31), None);
        assert_eq!(0u32.range(33), None);
        assert_eq!((1u128 << 64).range(64), Some((1 << 64, (2 << 64) - 1)));
        assert_eq!(0u128.range(129), None);
    }
}
