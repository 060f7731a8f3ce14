//! What the trie needs to know of an address: `u32` for IPv4, `u128` for IPv6, both in host byte order.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Bits that the root of a trie resolves.
pub(crate) const ROOT_BITS: u8 = 24;
/// Bits that a chunk resolves.
pub(crate) const STRIDE: u8 = 8;
/// Chunks on the longest path: an IPv6 host route has (128 - 24) / 8.
pub(crate) const MAX_DEPTH: usize = ((128 - ROOT_BITS) / STRIDE) as usize;

mod sealed {
    /// Keeps `Address` to the two integers the trie is written for.
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

/// An address as the trie sees it: `u32` (IPv4) or `u128` (IPv6), in host byte order.
pub trait Address: sealed::Sealed + Copy + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// Width in bits.
    const WIDTH: u8;
    /// The type that prints and parses it.
    type Text: Display + FromStr;

    /// The first 24 bits: the index of the root entry.
    fn root(self) -> usize;
    /// The low byte of the address shifted right by `shift`, less than [`Self::WIDTH`]: an index in a chunk.
    fn byte(self, shift: u8) -> usize;
    /// The first `len` bits, at most [`Self::WIDTH`] of them, the others zero.
    fn truncate(self, len: u8) -> Self;
    /// How many leading bits it shares with `other`.
    fn common(self, other: Self) -> u8;
    /// As the standard library prints it.
    fn to_text(self) -> Self::Text;
    /// As the standard library parses it.
    fn from_text(text: Self::Text) -> Self;
}

macro_rules! address {
    ($int:ty, $text:ty) => {
        impl Address for $int {
            const WIDTH: u8 = <$int>::BITS as u8;
            type Text = $text;

            #[inline]
            fn root(self) -> usize {
                (self >> (Self::WIDTH - ROOT_BITS)) as usize
            }

            #[inline]
            fn byte(self, shift: u8) -> usize {
                usize::from((self >> shift) as u8)
            }

            #[inline]
            fn truncate(self, len: u8) -> Self {
                // A shift by the full width, for the default route, is not defined on integers.
                self & <$int>::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }

            #[inline]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn to_text(self) -> $text {
                <$text>::from_bits(self)
            }

            fn from_text(text: $text) -> Self {
                text.to_bits()
            }
        }
    };
}

address!(u32, Ipv4Addr);
address!(u128, Ipv6Addr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncate_keeps_exactly_the_leading_bits() {
        assert_eq!(0xffff_ffff_u32.truncate(0), 0);
        assert_eq!(0xffff_ffff_u32.truncate(25), 0xffff_ff80);
        assert_eq!(0xffff_ffff_u32.truncate(32), 0xffff_ffff);
        assert_eq!(u128::MAX.truncate(0), 0);
        assert_eq!(u128::MAX.truncate(1), 1 << 127);
        assert_eq!(u128::MAX.truncate(128), u128::MAX);
    }

    #[test]
    fn root_and_bytes_cover_the_address_once() {
        assert_eq!(0x0102_0304_u32.root(), 0x01_0203);
        assert_eq!(0x0102_0304_u32.byte(0), 4);
        let address = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f_u128;
        assert_eq!(address.root(), 0x00_0102);
        let rest: Vec<usize> = (0..13).map(|level| address.byte(96 - 8 * level)).collect();
        assert_eq!(rest, (3..16).collect::<Vec<_>>());
    }
}
