//! The 32-bit entry, and the target it may hold.
//!
//! ```text
//!  bit 31  30  29 ........ 0
//!       0   0   0              nothing here: the default route's answer, if there is one
//!       0   1   target         a leaf: the longest match ends here
//!       1   chunk, 31 bits     the next eight bits decide, in that chunk
//! ```
//!
//! Zero as "default" keeps a table with a default route and little else in untouched pages.

use std::num::NonZeroU32;

const CHUNK: u32 = 1 << 31;
const LEAF: u32 = 1 << 30;

/// What a route points to, 30 bits that mean nothing to the table: the index of an adjacency or of a group of them.
///
/// Kept in the form it has in an entry, so `Option<Target>` is four bytes and a lookup converts nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(NonZeroU32);

impl Target {
    /// The greatest value: 30 bits.
    pub const MAX: u32 = LEAF - 1;

    /// The target with this value, or nothing if it is greater than [`Self::MAX`].
    pub const fn new(value: u32) -> Option<Self> {
        if value > Self::MAX {
            return None;
        }
        match NonZeroU32::new(value | LEAF) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }

    /// Its value.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get() & Self::MAX
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.get())
    }
}

/// An entry as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry(u32);

impl Entry {
    /// Nothing here.
    pub(crate) const EMPTY: Self = Self(0);

    /// The entry that leads to `chunk`.
    #[inline]
    pub(crate) fn chunk(chunk: u32) -> Self {
        debug_assert!(chunk & CHUNK == 0);
        Self(chunk | CHUNK)
    }

    /// The entry that ends the search.
    #[inline]
    pub(crate) fn leaf(target: Option<Target>) -> Self {
        Self(target.map_or(0, |target| target.0.get()))
    }

    #[inline]
    pub(crate) fn from_word(word: u32) -> Self {
        Self(word)
    }

    #[inline]
    pub(crate) fn word(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn is_chunk(self) -> bool {
        self.0 & CHUNK != 0
    }

    /// Where the chunk begins in the array of entries, if the entry leads to one.
    #[inline]
    pub(crate) fn base(self) -> Option<usize> {
        // Shifted as 64 bits or it would overflow; the flag is shifted out of the way by the mask.
        self.is_chunk().then_some(((self.0 & !CHUNK) as usize) << 8)
    }

    /// Where the search ends: the target of a leaf, nothing for an empty entry. Nothing for a chunk too, which a lookup
    /// meets at its end only if chunks were reclaimed too early.
    #[inline]
    pub(crate) fn end(self) -> Option<Target> {
        NonZeroU32::new(if self.is_chunk() { 0 } else { self.0 }).map(Target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_takes_thirty_bits() {
        for value in [0, 1, 0x3fff_ffff] {
            assert_eq!(Target::new(value).unwrap().get(), value);
        }
        assert_eq!(Target::new(0x4000_0000), None);
        assert_eq!(Target::new(u32::MAX), None);
        assert_eq!(size_of::<Option<Target>>(), 4);
    }

    #[test]
    fn the_three_kinds_of_entry_are_distinct() {
        let zero = Target::new(0);
        assert_eq!(Entry::EMPTY.end(), None);
        assert_eq!(Entry::leaf(zero).end(), zero);
        assert_eq!(Entry::leaf(None), Entry::EMPTY);
        assert_eq!(Entry::leaf(zero).base(), None);
        assert_eq!(Entry::chunk(65_536).base(), Some(1 << 24));
        assert_eq!(Entry::from_word(Entry::chunk(3).word()), Entry::chunk(3));
    }
}
