//! Prefixes: an address with a length and no bits set behind it.

use std::fmt;
use std::str::FromStr;

use crate::address::Address;

/// An IPv4 prefix.
pub type Prefix4 = Prefix<u32>;
/// An IPv6 prefix.
pub type Prefix6 = Prefix<u128>;

/// A prefix: the bits after its length are zero. Ordered by address, a covering prefix before what it covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<A> {
    address: A,
    len: u8,
}

/// Why something is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Not of the form address/length, or the address is not of this family.
    Syntax,
    /// The length is greater than the address has bits.
    Length {
        /// Bits of an address of this family.
        max: u8,
    },
    /// The address has bits set behind the prefix length.
    HostBits,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("expected a prefix as address/length"),
            Self::Length { max } => write!(f, "expected a prefix length of at most {max}"),
            Self::HostBits => f.write_str("expected no bits set behind the prefix length"),
        }
    }
}

impl std::error::Error for PrefixError {}

// A length of zero is the default route, not an empty prefix.
#[allow(clippy::len_without_is_empty)]
impl<A: Address> Prefix<A> {
    /// The prefix `address/len`; bits behind `len` are an error, because they are a typing mistake more often than not.
    pub fn new(address: A, len: u8) -> Result<Self, PrefixError> {
        let prefix = Self::truncated(address, len)?;
        if prefix.address == address { Ok(prefix) } else { Err(PrefixError::HostBits) }
    }

    /// The prefix of length `len` that holds `address`.
    pub fn truncated(address: A, len: u8) -> Result<Self, PrefixError> {
        if len > A::WIDTH {
            return Err(PrefixError::Length { max: A::WIDTH });
        }
        Ok(Self { address: address.truncate(len), len })
    }

    /// The prefix that holds this address only.
    pub fn host(address: A) -> Self {
        Self { address, len: A::WIDTH }
    }

    /// Its first address, in host byte order.
    #[inline]
    pub fn address(self) -> A {
        self.address
    }

    /// Its length in bits.
    #[inline]
    pub fn len(self) -> u8 {
        self.len
    }

    /// Whether `address` is inside.
    #[inline]
    pub fn contains(self, address: A) -> bool {
        address.truncate(self.len) == self.address
    }

    /// Whether every address of `other` is inside; true of itself.
    #[inline]
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.address)
    }

    /// The prefix of length `len`, which must not be greater than its own, that covers it.
    pub(crate) fn shorten(self, len: u8) -> Self {
        debug_assert!(len <= self.len);
        Self { address: self.address.truncate(len), len }
    }
}

impl<A: Address> fmt::Display for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address.to_text(), self.len)
    }
}

impl<A: Address> fmt::Debug for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<A: Address> FromStr for Prefix<A> {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = text.split_once('/').ok_or(PrefixError::Syntax)?;
        let address = address.parse::<A::Text>().map_err(|_| PrefixError::Syntax)?;
        // The integer parser takes "+8", which nobody writes on purpose.
        if !len.bytes().all(|b| b.is_ascii_digit()) || len.is_empty() {
            return Err(PrefixError::Syntax);
        }
        let len = len.parse().map_err(|_| PrefixError::Length { max: A::WIDTH })?;
        Self::new(A::from_text(address), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.1/32"] {
            assert_eq!(text.parse::<Prefix4>().unwrap().to_string(), text);
        }
        for text in ["::/0", "2001:db8::/32", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Prefix6>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_text_is_refused_with_its_reason() {
        let cases = [
            ("", PrefixError::Syntax),
            ("192.0.2.0", PrefixError::Syntax),
            ("192.0.2.0/", PrefixError::Syntax),
            ("192.0.2.0/+8", PrefixError::Syntax),
            ("192.0.2.0/-1", PrefixError::Syntax),
            ("192.0.2/24", PrefixError::Syntax),
            ("::/0", PrefixError::Syntax),
            ("192.0.2.0/33", PrefixError::Length { max: 32 }),
            ("192.0.2.0/4096", PrefixError::Length { max: 32 }),
            ("192.0.2.1/24", PrefixError::HostBits),
            ("128.0.0.0/0", PrefixError::HostBits),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Prefix4>(), Err(error), "{text}");
        }
        assert_eq!("2001:db8::/129".parse::<Prefix6>(), Err(PrefixError::Length { max: 128 }));
    }

    #[test]
    fn covers_is_reflexive_and_one_way() {
        let wide: Prefix4 = "10.0.0.0/8".parse().unwrap();
        let narrow: Prefix4 = "10.1.0.0/16".parse().unwrap();
        assert!(wide.covers(wide) && wide.covers(narrow) && !narrow.covers(wide));
        assert!(wide < narrow);
        assert!(wide.contains(0x0aff_ffff) && !wide.contains(0x0b00_0000));
        assert_eq!(Prefix4::host(5), Prefix4::new(5, 32).unwrap());
    }
}
