//! Types, codes, pointers and MTUs of ICMP in the other family (RFC 7915, 4.2 and 5.2). `None` is "drop silently".

use crate::{IcmpMessage, icmpv4, icmpv6};

/// The smallest MTU that an IPv6 link may have.
pub const IPV6_MIN_MTU: u16 = 1280;

/// Likely MTUs (RFC 1191, 7.1), down to the last that an IPv6 host may be told.
const PLATEAUS: [u16; 7] = [65535, 32000, 17914, 8166, 4352, 2002, 1492];

/// The ICMPv6 type of an ICMPv4 query. Only echo has one.
//= conformance ICMP-01, ICMP-02, ICMP-03, ICMP-04, ICMP-05, ICMP-06, ICMP-07, ICMP-09
#[inline]
pub const fn query_4_to_6(kind: u8) -> Option<u8> {
    match kind {
        icmpv4::ECHO_REQUEST => Some(icmpv6::ECHO_REQUEST),
        icmpv4::ECHO_REPLY => Some(icmpv6::ECHO_REPLY),
        _ => None,
    }
}

/// The ICMPv4 type of an ICMPv6 informational message. Only echo has one.
//= conformance ICMP-40, ICMP-41, ICMP-42, ICMP-43, ICMP-44
#[inline]
pub const fn query_6_to_4(kind: u8) -> Option<u8> {
    match kind {
        icmpv6::ECHO_REQUEST => Some(icmpv4::ECHO_REQUEST),
        icmpv6::ECHO_REPLY => Some(icmpv4::ECHO_REPLY),
        _ => None,
    }
}

/// What the MTU of a "too big" message is computed from, besides the MTU it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuContext {
    /// MTU of the IPv4 next-hop interface.
    pub mtu_v4: u16,
    /// MTU of the IPv6 next-hop interface.
    pub mtu_v6: u16,
    /// Length of the quoted datagram, as its header says it.
    pub quoted_len: u16,
    /// Whether the quoted packet has an IPv6 fragment header.
    pub quoted_fragment: bool,
}

/// The ICMPv6 form of an ICMPv4 error.
pub const fn error_4_to_6(from: IcmpMessage, context: &MtuContext) -> Option<IcmpMessage> {
    let IcmpMessage { kind, code, rest } = from;
    match (kind, code) {
        //= conformance ICMP-12
        // The pointer is at the next header field, the IPv6 word for the protocol.
        (icmpv4::UNREACHABLE, 2) => Some(IcmpMessage::v6_parameter_problem(1, 6)),
        //= conformance ICMP-13
        (icmpv4::UNREACHABLE, 3) => Some(IcmpMessage::v6_port_unreachable()),
        //= conformance ICMP-14
        (icmpv4::UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED) => {
            Some(IcmpMessage::packet_too_big(mtu_4_to_6(rest as u16, context)))
        }
        //= conformance ICMP-10, ICMP-11, ICMP-17, ICMP-18, ICMP-19, ICMP-20, ICMP-23, ICMP-24
        (icmpv4::UNREACHABLE, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => Some(IcmpMessage::v6_no_route()),
        //= conformance ICMP-21, ICMP-22, ICMP-25, ICMP-27
        (icmpv4::UNREACHABLE, 9 | 10 | 13 | 15) => Some(IcmpMessage::v6_admin()),
        //= conformance ICMP-32, ICMP-33
        (icmpv4::TIME_EXCEEDED, code) => Some(IcmpMessage::new(icmpv6::TIME_EXCEEDED, code, 0)),
        //= conformance ICMP-34, ICMP-36
        (icmpv4::PARAMETER_PROBLEM, 0 | 2) => match pointer_4_to_6((rest >> 24) as u8) {
            Some(pointer) => Some(IcmpMessage::v6_parameter_problem(0, pointer as u32)),
            None => None,
        },
        //= conformance ICMP-26, ICMP-28, ICMP-29, ICMP-30, ICMP-31, ICMP-35, ICMP-37
        _ => None,
    }
}

/// The ICMPv4 form of an ICMPv6 error.
pub const fn error_6_to_4(from: IcmpMessage, context: &MtuContext) -> Option<IcmpMessage> {
    let IcmpMessage { kind, code, rest } = from;
    match (kind, code) {
        //= conformance ICMP-45, ICMP-47, ICMP-48
        (icmpv6::UNREACHABLE, 0 | 2 | 3) => Some(IcmpMessage::v4_host_unreachable()),
        //= conformance ICMP-46
        (icmpv6::UNREACHABLE, 1) => Some(IcmpMessage::new(icmpv4::UNREACHABLE, 10, 0)),
        //= conformance ICMP-49
        (icmpv6::UNREACHABLE, 4) => Some(IcmpMessage::v4_port_unreachable()),
        //= conformance ICMP-51
        (icmpv6::PACKET_TOO_BIG, _) => Some(IcmpMessage::fragmentation_needed(mtu_6_to_4(rest, context))),
        //= conformance ICMP-54, ICMP-55
        (icmpv6::TIME_EXCEEDED, code) => Some(IcmpMessage::new(icmpv4::TIME_EXCEEDED, code, 0)),
        //= conformance ICMP-56
        (icmpv6::PARAMETER_PROBLEM, 0) => match pointer_6_to_4(rest) {
            Some(pointer) => Some(IcmpMessage::new(icmpv4::PARAMETER_PROBLEM, 0, (pointer as u32) << 24)),
            None => None,
        },
        //= conformance ICMP-57
        (icmpv6::PARAMETER_PROBLEM, 1) => Some(IcmpMessage::v4_protocol_unreachable()),
        //= conformance ICMP-50, ICMP-58, ICMP-59, ICMP-60
        _ => None,
    }
}

/// Where an IPv4 header field is found in an IPv6 header.
//= conformance ICMP-P46-00, ICMP-P46-01, ICMP-P46-02, ICMP-P46-03, ICMP-P46-04, ICMP-P46-05, ICMP-P46-06
//= conformance ICMP-P46-07, ICMP-P46-08, ICMP-P46-09, ICMP-P46-10, ICMP-P46-11
pub const fn pointer_4_to_6(pointer: u8) -> Option<u8> {
    match pointer {
        0 | 1 => Some(pointer),
        2 | 3 => Some(4),
        8 => Some(7),
        9 => Some(6),
        12..=15 => Some(8),
        16..=19 => Some(24),
        _ => None,
    }
}

/// Where an IPv6 header field is found in an IPv4 header.
//= conformance ICMP-P64-00, ICMP-P64-01, ICMP-P64-02, ICMP-P64-03, ICMP-P64-04, ICMP-P64-05, ICMP-P64-06
//= conformance ICMP-P64-07, ICMP-P64-08
pub const fn pointer_6_to_4(pointer: u32) -> Option<u8> {
    match pointer {
        0 | 1 => Some(pointer as u8),
        4 | 5 => Some(2),
        6 => Some(9),
        7 => Some(8),
        8..=23 => Some(12),
        24..=39 => Some(16),
        _ => None,
    }
}

/// The MTU that an IPv6 host is told for that of an ICMPv4 "fragmentation needed".
//= conformance ICMP-14, ICMP-15, ICMP-16
pub const fn mtu_4_to_6(mtu: u16, context: &MtuContext) -> u32 {
    let mtu = if mtu == 0 { plateau(context.quoted_len) } else { mtu };
    let carried = min(mtu as u32 + 20, context.mtu_v4 as u32 + 20);
    let mtu = min(carried, context.mtu_v6 as u32);
    if mtu < IPV6_MIN_MTU as u32 { IPV6_MIN_MTU as u32 } else { mtu }
}

/// The MTU that an IPv4 host is told for that of an ICMPv6 "packet too big".
//= conformance ICMP-51, ICMP-52, ICMP-53
pub const fn mtu_6_to_4(mtu: u32, context: &MtuContext) -> u16 {
    let mtu = if mtu < IPV6_MIN_MTU as u32 { IPV6_MIN_MTU as u32 } else { mtu };
    let growth = if context.quoted_fragment { 28 } else { 20 };
    let mtu = min(mtu - growth, context.mtu_v4 as u32);
    min(mtu, (context.mtu_v6 as u32).saturating_sub(20)) as u16
}

/// An old router's MTU of zero: the next plateau below what did not fit.
const fn plateau(len: u16) -> u16 {
    let mut at = 0;
    while at < PLATEAUS.len() {
        if PLATEAUS[at] < len {
            return PLATEAUS[at];
        }
        at += 1;
    }
    IPV6_MIN_MTU - 20
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests;
