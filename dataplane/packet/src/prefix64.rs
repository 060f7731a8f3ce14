//! IPv4 addresses inside IPv6 prefixes (RFC 6052), and which addresses may be translated at all.

use crate::DropReason;

/// Declares the error so that its documentation is its message: one text, not two.
macro_rules! errors {
    ($(#[$outer:meta])* $name:ident { $(#[doc = $doc:literal] $variant:ident,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = $doc] $variant,)+ }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(match self { $(Self::$variant => $doc.trim_ascii(),)+ })
            }
        }

        impl core::error::Error for $name {}
    };
}

errors! {
    /// Why a translation prefix was refused.
    Prefix64Error {
        /// the length of a translation prefix must be 32, 40, 48, 56, 64 or 96
        Length,
        /// a translation prefix must have no bits set behind its length
        HostBits,
        /// bits 64 to 71 of a translation prefix must be zero
        UOctet,
        /// 64:ff9b:: may be used with length 96 only
        WellKnownLength,
    }
}

/// A translation prefix: the part of IPv6 that stands for all of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix64 {
    address: u128,
    len: u8,
}

const WELL_KNOWN_ADDRESS: u128 = 0x0064_ff9b << 96;
const U_OCTET: u128 = 0xff << 56;

impl Prefix64 {
    /// 64:ff9b::/96, which carries global IPv4 addresses only.
    pub const WELL_KNOWN: Self = Self { address: WELL_KNOWN_ADDRESS, len: 96 };

    /// A prefix from its address and its length in bits.
    ///
    /// # Errors
    /// What RFC 6052 forbids: see [`Prefix64Error`].
    //= conformance ADDR-07, ADDR-09, ADDR-12
    pub const fn new(address: u128, len: u8) -> Result<Self, Prefix64Error> {
        if !matches!(len, 32 | 40 | 48 | 56 | 64 | 96) {
            return Err(Prefix64Error::Length);
        }
        if address << len != 0 {
            return Err(Prefix64Error::HostBits);
        }
        if address & U_OCTET != 0 {
            return Err(Prefix64Error::UOctet);
        }
        if address == WELL_KNOWN_ADDRESS && len != 96 {
            return Err(Prefix64Error::WellKnownLength);
        }
        Ok(Self { address, len })
    }

    /// The prefix's address, zero behind its length.
    #[inline]
    pub const fn address(&self) -> u128 {
        self.address
    }

    /// The prefix's length in bits.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a prefix length, not a container")]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether this is 64:ff9b::/96.
    #[inline]
    pub const fn is_well_known(&self) -> bool {
        self.address == WELL_KNOWN_ADDRESS && self.len == 96
    }

    /// Whether an address lies in the prefix.
    #[inline]
    pub const fn contains(&self, address: u128) -> bool {
        (address ^ self.address) >> (128 - self.len as u32) == 0
    }

    /// The IPv6 form of an IPv4 address: u octet and suffix are zero.
    //= conformance ADDR-01, ADDR-02, ADDR-03, ADDR-04, ADDR-05, ADDR-06, ADDR-08, ADDR-10
    #[inline]
    pub const fn embed(&self, address: u32) -> u128 {
        if self.len == 96 {
            return self.address | address as u128;
        }
        // The address is split around bits 64 to 71: `behind` of its bits follow them, the others lie before.
        let behind = self.len as u32 - 32;
        let address = address as u64;
        let high = address >> behind;
        let low = (address & ((1 << behind) - 1)) << (56 - behind);
        self.address | ((high as u128) << 64) | low as u128
    }

    /// The IPv4 address inside an IPv6 address of this prefix; suffix bits are ignored.
    ///
    /// # Errors
    /// [`DropReason::EmbeddedAddressIllegal`] if the u octet is not zero, or if the address is not in the prefix.
    //= conformance ADDR-10, ADDR-11, ADDR-16
    #[inline]
    pub const fn extract(&self, address: u128) -> Result<u32, DropReason> {
        if address & U_OCTET != 0 || !self.contains(address) {
            return Err(DropReason::EmbeddedAddressIllegal);
        }
        if self.len == 96 {
            return Ok(address as u32);
        }
        let behind = self.len as u32 - 32;
        let high = ((address >> 64) as u64) << behind;
        let low = (address as u64 & (U_OCTET as u64 - 1)) >> (56 - behind);
        Ok((high | low) as u32)
    }
}

impl core::fmt::Display for Prefix64 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", core::net::Ipv6Addr::from_bits(self.address), self.len)
    }
}

const fn v4(a: u8, b: u8, c: u8) -> u32 {
    u32::from_be_bytes([a, b, c, 0])
}

const fn within(address: u32, prefix: u32, len: u32) -> bool {
    (address ^ prefix) >> (32 - len) == 0
}

/// Blocks that the well-known prefix must not carry: address and length.
const NOT_GLOBAL: [(u32, u32); 15] = [
    (v4(0, 0, 0), 8),
    (v4(10, 0, 0), 8),
    (v4(100, 64, 0), 10),
    (v4(127, 0, 0), 8),
    (v4(169, 254, 0), 16),
    (v4(172, 16, 0), 12),
    (v4(192, 0, 0), 24),
    (v4(192, 0, 2), 24),
    (v4(192, 88, 99), 24),
    (v4(192, 168, 0), 16),
    (v4(198, 18, 0), 15),
    (v4(198, 51, 100), 24),
    (v4(203, 0, 113), 24),
    (v4(224, 0, 0), 4),
    (v4(240, 0, 0), 4),
];

/// Whether the well-known prefix may carry an IPv4 address.
//= conformance ADDR-13
pub fn is_global_v4(address: u32) -> bool {
    !NOT_GLOBAL.iter().any(|&(prefix, len)| within(address, prefix, len))
}

/// Whether an IPv4 address is a unicast address that a router forwards to, under whatever prefix it came.
//= conformance ADDR-19
#[inline]
pub const fn is_routable_unicast_v4(address: u32) -> bool {
    !source_illegal_v4(address) && !within(address, v4(169, 254, 0), 16)
}

/// Whether an IPv4 source address is one that no forwarded packet may have.
//= conformance XLT-26
#[inline]
pub const fn source_illegal_v4(address: u32) -> bool {
    let first = address >> 24;
    // 224/4 and 240/4, which holds the broadcast address, are all that is above 223.
    first == 0 || first == 127 || first >= 224
}

/// Whether an IPv6 source address is one that no forwarded packet may have.
//= conformance XLT-19
#[inline]
pub const fn source_illegal_v6(address: u128) -> bool {
    address <= 1 || address >> 120 == 0xff || address >> 118 == 0xfe80 >> 6 || address >> 32 == 0xffff
}

#[cfg(test)]
mod tests;
