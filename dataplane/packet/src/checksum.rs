//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//!
//! A session knows the difference between the addresses and ports before and after translation, so a packet's
//! transport checksum is corrected with one addition and its payload is never read. Values are the 16-bit words as
//! numbers in host order: the same code is right on both byte orders.

/// A one's-complement difference to a checksum: the sum of the complements of removed words and of added words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// No difference.
    pub const ZERO: Self = Self(0);

    /// The difference as a number, to keep in a session.
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The difference from [`Delta::raw`].
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// A word leaves the checksummed bytes.
    #[inline(always)]
    #[must_use]
    pub const fn remove_u16(self, value: u16) -> Self {
        self.add_u16(!value)
    }

    /// A word joins the checksummed bytes.
    #[inline(always)]
    #[must_use]
    pub const fn add_u16(self, value: u16) -> Self {
        let (sum, carry) = self.0.overflowing_add(value);
        Self(sum + carry as u16)
    }

    /// Two words leave.
    #[inline(always)]
    #[must_use]
    pub const fn remove_u32(self, value: u32) -> Self {
        self.add_u32(!value)
    }

    /// Two words join.
    #[inline(always)]
    #[must_use]
    pub const fn add_u32(self, value: u32) -> Self {
        Self(fold(self.0 as u64 + value as u64))
    }

    /// Eight words, an IPv6 address, leave.
    #[inline(always)]
    #[must_use]
    pub const fn remove_u128(self, value: u128) -> Self {
        self.add_u128(!value)
    }

    /// Eight words, an IPv6 address, join.
    #[inline(always)]
    #[must_use]
    pub const fn add_u128(self, value: u128) -> Self {
        Self(fold(self.0 as u64 + words(value)))
    }

    /// Both differences, one after the other.
    #[inline(always)]
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        self.add_u16(next.0)
    }

    /// The difference of the way back: its complement.
    #[inline(always)]
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self(!self.0)
    }

    /// The checksum field after the change: `~(~HC + delta)`.
    //= conformance XLT-36
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !self.add_u16(!checksum).0
    }
}

/// A computed UDP checksum as it is sent: zero would mean "none", so its other representation is used.
//= conformance XLT-31
#[inline(always)]
pub(crate) const fn udp_field(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Folds a sum of words to one word. A sum above zero stays above zero.
///
/// A word is added to its own rotation: the carry out of the lower half is the end-around carry of the upper one.
#[inline(always)]
pub(crate) const fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The 32-bit words of an address, summed.
#[inline(always)]
const fn words(value: u128) -> u64 {
    let (high, low) = ((value >> 64) as u64, value as u64);
    (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
}

/// Sum of the 16-bit words of `bytes`, an odd last byte padded with zero; not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    // Eight bytes a step: a carry can only be lost after 2^32 steps, far above any frame.
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut total = 0u64;
    for chunk in chunks {
        let value = u64::from_be_bytes(*chunk);
        total += (value >> 32) + (value & 0xffff_ffff);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let value = u64::from_be_bytes(last);
    total + (value >> 32) + (value & 0xffff_ffff)
}

/// The Internet checksum of `bytes`. Over bytes that contain a right checksum it is zero.
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum of an IPv4 header whose checksum field counts as zero: what the field must hold.
pub fn ipv4_header(header: &[u8]) -> u16 {
    let Some((before, after)) = header.split_at_checked(12) else {
        return of(header);
    };
    let (before, _field) = before.split_at(10);
    !fold(sum(before) + sum(after))
}

/// The checksum of a TCP, UDP or other transport payload with the IPv4 pseudo-header. Zero if the payload contains
/// its right checksum; what belongs in the field if the field holds zero.
pub fn transport_v4(source: u32, destination: u32, protocol: u8, payload: &[u8]) -> u16 {
    let pseudo = u64::from(source) + u64::from(destination) + u64::from(protocol) + payload.len() as u64;
    !fold(pseudo + sum(payload))
}

/// As [`transport_v4`], with the IPv6 pseudo-header (RFC 8200, 8.1).
pub fn transport_v6(source: u128, destination: u128, protocol: u8, payload: &[u8]) -> u16 {
    let pseudo = words(source) + words(destination) + u64::from(protocol) + payload.len() as u64;
    !fold(pseudo + sum(payload))
}

#[cfg(test)]
mod tests;
