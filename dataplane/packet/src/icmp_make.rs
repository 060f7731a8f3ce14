//! ICMP errors of the gateway's own: whether one may be sent, and its bytes.

use crate::checksum::{of, transport_v6};
use crate::icmp_error::{MAX_V4, MAX_V6};
use crate::meta::{Family, Fragment, Meta, Transport};
use crate::prefix64::{source_illegal_v4, source_illegal_v6};
use crate::{Frame, IcmpMessage, Link, ethernet, icmpv4, icmpv6, ipv4, ipv6};

/// Hop limit of the errors.
const HOP_LIMIT: u8 = 64;
/// The upper six bits of traffic class: DSCP without ECN.
const DSCP: u8 = 0xfc;

/// Whether an error about a packet may be sent: never about an error, never to many, never to nobody. The message
/// matters, since some are allowed where others are not. Rate limits are the caller's.
pub fn may_report(frame: &[u8], meta: &Meta, link: &Link, message: IcmpMessage) -> bool {
    let too_big = meta.family == Family::V6 && message.kind == icmpv6::PACKET_TOO_BIG;
    let unknown_option =
        meta.family == Family::V6 && message.kind == icmpv6::PARAMETER_PROBLEM && message.code == 2;
    let group_allowed = too_big || unknown_option;
    if meta.transport == Transport::IcmpError
        || (link.is_group() && !group_allowed)
        || usize::from(meta.end) > frame.len()
        || meta.end <= meta.l3
    {
        return false;
    }
    match meta.family {
        //= conformance ICMP-104
        Family::V4 => {
            let destination = meta.destination as u32;
            !source_illegal_v4(meta.source as u32)
                && destination < 0xe000_0000
                && meta.fragment != Fragment::Later
        }
        //= conformance ICMP-105
        Family::V6 => {
            !source_illegal_v6(meta.source)
                && (group_allowed || meta.destination >> 120 != 0xff)
                && icmpv6_allows(meta.transport, message)
        }
    }
}

/// What may be said about ICMPv6 that is no error. Echo hears what a router has to say and that resources ran out
/// (N64-ICMP-13), but nothing of policy; discovery and the like hear nothing.
//= conformance ICMP-106
fn icmpv6_allows(transport: Transport, message: IcmpMessage) -> bool {
    match transport {
        Transport::IcmpQuery => {
            message.kind != icmpv6::UNREACHABLE || message == IcmpMessage::v6_address_unreachable()
        }
        Transport::IcmpOther => false,
        _ => true,
    }
}

/// Writes an error about `offending`, whose headers `meta` describes, to its source: a whole Ethernet frame whose MAC
/// addresses are zero, for the caller to fill in. It quotes as much as the limits of the family allow.
///
/// `out` is an empty frame with room behind it: 1294 bytes always suffice. False, and nothing usable written, without
/// room or if `meta` is not that of `offending`.
pub fn make_error(
    out: &mut Frame,
    offending: &[u8],
    meta: &Meta,
    message: IcmpMessage,
    source: u128,
) -> bool {
    write(out, offending, meta, message, source).is_some()
}

fn write(out: &mut Frame, offending: &[u8], meta: &Meta, message: IcmpMessage, source: u128) -> Option<()> {
    let datagram = offending.get(usize::from(meta.l3)..usize::from(meta.end))?;
    //= conformance ICMP-107
    let (header_len, limit) = match meta.family {
        Family::V4 => (20, MAX_V4),
        Family::V6 => (40, MAX_V6),
    };
    let quote = datagram.get(..datagram.len().min(limit - header_len - 8))?;
    let total = header_len + 8 + quote.len();
    if !out.set_len(14 + total) {
        return None;
    }
    let (link, packet) = out.bytes_mut().split_at_mut_checked(14)?;
    let (ip, icmp) = packet.split_at_mut_checked(header_len)?;
    let (head, body) = icmp.split_at_mut_checked(8)?;
    body.copy_from_slice(quote);

    let mut header = icmpv4::Header::zeroed();
    header.set_kind(message.kind);
    header.set_code(message.code);
    header.set_rest(message.rest);
    head.copy_from_slice(header.bytes());
    let checksum = match meta.family {
        Family::V4 => of(icmp),
        Family::V6 => transport_v6(source, meta.source, icmpv6::PROTOCOL, icmp),
    };
    icmpv4::Header::new_checked_mut(icmp)?.set_checksum(checksum);

    let mut ethernet = ethernet::Header::zeroed();
    //= conformance ICMP-108
    let tos = meta.tos & DSCP;
    match meta.family {
        Family::V4 => {
            ethernet.set_ether_type(ethernet::IPV4);
            let fields = ipv4::Fields {
                tos,
                total_length: total as u16,
                // As in the translation of errors: the checksum differs from one error to the next.
                identification: checksum,
                flags_offset: 0,
                ttl: HOP_LIMIT,
                protocol: icmpv4::PROTOCOL,
                source: source as u32,
                destination: meta.source as u32,
            };
            ip.copy_from_slice(&fields.header());
        }
        Family::V6 => {
            ethernet.set_ether_type(ethernet::IPV6);
            let fields = ipv6::Fields {
                traffic_class: tos,
                payload_length: (total - 40) as u16,
                next_header: icmpv6::PROTOCOL,
                hop_limit: HOP_LIMIT,
                source,
                destination: meta.source,
            };
            ip.copy_from_slice(&fields.header());
        }
    }
    link.copy_from_slice(ethernet.bytes());
    Some(())
}

#[cfg(test)]
mod tests;
