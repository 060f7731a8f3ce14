//! The head of an ICMP message, and the messages this gateway sends.

use crate::{icmpv4, icmpv6};

/// Type, code and bytes 4 to 7 of an ICMP or ICMPv6 message; the family is known from where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpMessage {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Bytes 4 to 7, as the type wants them: MTU, pointer (in the highest byte for IPv4) or zero.
    pub rest: u32,
}

impl IcmpMessage {
    /// From its parts.
    #[inline]
    pub const fn new(kind: u8, code: u8, rest: u32) -> Self {
        Self { kind, code, rest }
    }

    const fn v4_unreachable(code: u8) -> Self {
        Self::new(icmpv4::UNREACHABLE, code, 0)
    }

    const fn v6_unreachable(code: u8) -> Self {
        Self::new(icmpv6::UNREACHABLE, code, 0)
    }

    /// 6:3/0, hop limit exceeded in transit.
    pub const fn v6_hop_limit() -> Self {
        Self::new(icmpv6::TIME_EXCEEDED, 0, 0)
    }

    /// 4:11/0, time to live exceeded in transit.
    pub const fn v4_ttl() -> Self {
        Self::new(icmpv4::TIME_EXCEEDED, 0, 0)
    }

    /// 6:2/0 with the next hop's MTU.
    pub const fn packet_too_big(mtu: u32) -> Self {
        Self::new(icmpv6::PACKET_TOO_BIG, 0, mtu)
    }

    /// 4:3/4 with the next hop's MTU.
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        Self::new(icmpv4::UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, mtu as u32)
    }

    /// 6:1/0, no route to destination.
    pub const fn v6_no_route() -> Self {
        Self::v6_unreachable(0)
    }

    /// 6:1/1, administratively prohibited.
    pub const fn v6_admin() -> Self {
        Self::v6_unreachable(1)
    }

    /// 6:1/3, address unreachable: also what a lack of ports or sessions is reported as.
    pub const fn v6_address_unreachable() -> Self {
        Self::v6_unreachable(3)
    }

    /// 6:1/4, port unreachable: also what an untranslatable protocol is reported as.
    pub const fn v6_port_unreachable() -> Self {
        Self::v6_unreachable(4)
    }

    /// 6:4, with the offset of the offending byte from the start of the IPv6 header.
    pub const fn v6_parameter_problem(code: u8, pointer: u32) -> Self {
        Self::new(icmpv6::PARAMETER_PROBLEM, code, pointer)
    }

    /// 4:3/0, net unreachable.
    pub const fn v4_net_unreachable() -> Self {
        Self::v4_unreachable(0)
    }

    /// 4:3/1, host unreachable.
    pub const fn v4_host_unreachable() -> Self {
        Self::v4_unreachable(1)
    }

    /// 4:3/2, protocol unreachable.
    pub const fn v4_protocol_unreachable() -> Self {
        Self::v4_unreachable(2)
    }

    /// 4:3/3, port unreachable.
    pub const fn v4_port_unreachable() -> Self {
        Self::v4_unreachable(3)
    }

    /// 4:3/5, source route failed.
    pub const fn v4_source_route_failed() -> Self {
        Self::v4_unreachable(5)
    }

    /// 4:3/13, administratively prohibited.
    pub const fn v4_admin() -> Self {
        Self::v4_unreachable(13)
    }
}
