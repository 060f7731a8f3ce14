//! Receive-side scaling: which fields a NIC hashes, and the same hash in software.

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// Bytes of a hash key: enough for two IPv6 addresses and two ports.
pub const KEY_LENGTH: usize = 40;

/// A set of hash functions, in DPDK's bit positions (`RTE_ETH_RSS_*`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RssFunctions(u64);

impl RssFunctions {
    /// None.
    pub const NONE: Self = Self(0);
    /// IPv4 addresses.
    pub const IPV4: Self = Self(1 << 2);
    /// IPv4 addresses of fragments.
    pub const IPV4_FRAGMENT: Self = Self(1 << 3);
    /// IPv4 addresses and TCP ports.
    pub const IPV4_TCP: Self = Self(1 << 4);
    /// IPv4 addresses and UDP ports.
    pub const IPV4_UDP: Self = Self(1 << 5);
    /// IPv4 addresses of anything else.
    pub const IPV4_OTHER: Self = Self(1 << 7);
    /// IPv6 addresses.
    pub const IPV6: Self = Self(1 << 8);
    /// IPv6 addresses of fragments.
    pub const IPV6_FRAGMENT: Self = Self(1 << 9);
    /// IPv6 addresses and TCP ports.
    pub const IPV6_TCP: Self = Self(1 << 10);
    /// IPv6 addresses and UDP ports.
    pub const IPV6_UDP: Self = Self(1 << 11);
    /// IPv6 addresses of anything else.
    pub const IPV6_OTHER: Self = Self(1 << 13);
    /// Of the addresses, the source only.
    pub const L3_SRC_ONLY: Self = Self(1 << 63);
    /// Of the addresses, the destination only.
    pub const L3_DST_ONLY: Self = Self(1 << 62);
    /// Of the ports, the source only.
    pub const L4_SRC_ONLY: Self = Self(1 << 61);
    /// Of the ports, the destination only.
    pub const L4_DST_ONLY: Self = Self(1 << 60);

    const NAMES: [(Self, &'static str); 14] = [
        (Self::IPV4, "ipv4"),
        (Self::IPV4_FRAGMENT, "ipv4-fragment"),
        (Self::IPV4_TCP, "ipv4-tcp"),
        (Self::IPV4_UDP, "ipv4-udp"),
        (Self::IPV4_OTHER, "ipv4-other"),
        (Self::IPV6, "ipv6"),
        (Self::IPV6_FRAGMENT, "ipv6-fragment"),
        (Self::IPV6_TCP, "ipv6-tcp"),
        (Self::IPV6_UDP, "ipv6-udp"),
        (Self::IPV6_OTHER, "ipv6-other"),
        (Self::L3_SRC_ONLY, "l3-src-only"),
        (Self::L3_DST_ONLY, "l3-dst-only"),
        (Self::L4_SRC_ONLY, "l4-src-only"),
        (Self::L4_DST_ONLY, "l4-dst-only"),
    ];

    /// From DPDK's bits; bits without a name here are kept.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// DPDK's bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it is the empty set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in it and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for RssFunctions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for RssFunctions {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for RssFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut rest = *self;
        let mut separator = "";
        for (function, name) in Self::NAMES {
            if self.contains(function) {
                write!(f, "{separator}{name}")?;
                separator = " ";
                rest = rest.without(function);
            }
        }
        if !rest.is_empty() {
            write!(f, "{separator}{:#x}", rest.0)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RssFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RssFunctions({self})")
    }
}

/// The Toeplitz hash of `data`, as NICs compute it: network byte order, source before destination, addresses before ports.
///
/// Every set bit of the data selects the 32 bits of the key that start at its position. Data beyond 36 bytes would need
/// key bits that are not there; they count as zero.
pub fn toeplitz(key: &[u8; KEY_LENGTH], data: &[u8]) -> u32 {
    let mut window = u64::from_be_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]]);
    let mut hash = 0u32;
    for (next, byte) in (8..).zip(data) {
        for bit in (0..8).rev() {
            // The window's top half is the key at this bit; all ones or zero instead of a branch.
            let selected = 0u32.wrapping_sub(u32::from(byte >> bit & 1));
            hash ^= (window >> 32) as u32 & selected;
            window <<= 1;
        }
        // Eight bits have moved out at the top; eight of the key follow at the bottom.
        window |= u64::from(key.get::<usize>(next).copied().unwrap_or(0));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The key of the verification suite that Microsoft publishes for RSS.
    const KEY: [u8; KEY_LENGTH] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn ipv4_verification_suite() {
        // Destination, source (address, port each), hash of the addresses, hash with ports.
        let table = [
            ("161.142.100.80", 1766u16, "66.9.149.187", 2794u16, 0x323e_8fc2u32, 0x51cc_c178u32),
            ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718_262a, 0xc626_b0ea),
            ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0_a5de, 0x5c2b_394a),
            ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x8298_9176, 0xafc7_327f),
            ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d18_09c5, 0x10e8_28a2),
        ];
        for (destination, destination_port, source, source_port, addresses, ports) in table {
            let mut data = Vec::new();
            data.extend(source.parse::<Ipv4Addr>().unwrap().octets());
            data.extend(destination.parse::<Ipv4Addr>().unwrap().octets());
            assert_eq!(toeplitz(&KEY, &data), addresses, "{source}");
            data.extend(source_port.to_be_bytes());
            data.extend(destination_port.to_be_bytes());
            assert_eq!(toeplitz(&KEY, &data), ports, "{source}");
        }
    }

    #[test]
    fn ipv6_verification_suite() {
        let table = [
            ("3ffe:2501:200:3::1", 1766u16, "3ffe:2501:200:1fff::7", 2794u16, 0x2cc1_8cd5u32, 0x4020_7d3du32),
            ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c_461c, 0xdde5_1bbf),
            (
                "fe80::200:f8ff:fe21:67cf",
                38024,
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44251,
                0x4b61_e985,
                0x02d1_feef,
            ),
        ];
        for (destination, destination_port, source, source_port, addresses, ports) in table {
            let mut data = Vec::new();
            data.extend(source.parse::<Ipv6Addr>().unwrap().octets());
            data.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
            assert_eq!(toeplitz(&KEY, &data), addresses, "{source}");
            data.extend(source_port.to_be_bytes());
            data.extend(destination_port.to_be_bytes());
            assert_eq!(toeplitz(&KEY, &data), ports, "{source}");
        }
    }

    #[test]
    fn the_hash_is_linear_in_the_data() {
        // What lets a crafted key cancel fields, and a table of bytes replace the loop.
        let (a, b) = ([0x5a; 36], core::array::from_fn::<u8, 36, _>(|i| (i * 37) as u8));
        let both: Vec<u8> = a.iter().zip(b).map(|(x, y)| x ^ y).collect();
        assert_eq!(toeplitz(&KEY, &both), toeplitz(&KEY, &a) ^ toeplitz(&KEY, &b));
        assert_eq!(toeplitz(&KEY, &[]), 0);
        assert_eq!(toeplitz(&KEY, &[0; 64]), 0);
    }

    #[test]
    fn sets_are_shown_by_name() {
        let set = RssFunctions::IPV6_UDP | RssFunctions::L3_SRC_ONLY;
        assert_eq!(set.to_string(), "ipv6-udp l3-src-only");
        assert_eq!(RssFunctions::NONE.to_string(), "none");
        assert_eq!(RssFunctions::from_bits(1 << 30).to_string(), "0x40000000");
        assert!(set.contains(RssFunctions::IPV6_UDP) && !set.contains(RssFunctions::IPV4));
    }
}
