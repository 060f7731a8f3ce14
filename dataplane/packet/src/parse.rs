//! From bytes to [`Meta`]: every check on headers that needs no configuration.

use crate::ipv6::ChainError;
use crate::meta::{Family, Fragment, Malformed, Meta, Transport};
use crate::{DropReason, IcmpMessage, Link, ethernet, icmpv4, ipv4, ipv6, tcp, udp};

/// Reads the headers of a frame whose EtherType is IPv4 or IPv6.
///
/// Sources are not judged here, nor transport checksums, nor TCP flags: the first need to know where the packet came
/// from, the second are carried through translation as they are (XLT-35), the third belong to the session.
///
/// # Errors
/// The reason to drop the packet, and what to report to its sender.
#[inline]
pub fn parse(frame: &[u8], link: &Link) -> Result<Meta, Malformed> {
    match link.ether_type {
        ethernet::IPV4 => parse_v4(frame, link.len),
        ethernet::IPV6 => parse_v6(frame, link.len),
        _ => Err(dropped(Meta::blank(Family::V4, link.len.into()), DropReason::EthernetMalformed)),
    }
}

const fn dropped(meta: Meta, reason: DropReason) -> Malformed {
    Malformed { reason, report: None, meta }
}

const fn reported(meta: Meta, reason: DropReason, message: IcmpMessage) -> Malformed {
    Malformed { reason, report: Some(message), meta }
}

#[inline]
fn parse_v4(frame: &[u8], l3: u8) -> Result<Meta, Malformed> {
    let mut meta = Meta::blank(Family::V4, l3.into());
    let l3 = usize::from(l3);
    let Some(header) = frame.get(l3..).and_then(ipv4::Header::new_checked) else {
        return Err(dropped(meta, DropReason::Ipv4Malformed));
    };
    let header_len = header.header_len();
    let end = l3 + usize::from(header.total_length());
    //= conformance XLT-37
    if header.version_ihl() >> 4 != 4
        || header_len < 20
        || usize::from(header.total_length()) < header_len
        || end > frame.len()
        || end > usize::from(u16::MAX)
    {
        return Err(dropped(meta, DropReason::Ipv4Malformed));
    }
    meta.source = header.source().into();
    meta.destination = header.destination().into();
    meta.tos = header.tos();
    meta.hop_limit = header.ttl();
    meta.protocol = header.protocol();
    meta.l4 = (l3 + header_len) as u16;
    meta.end = end as u16;
    meta.identification = header.identification().into();
    let flags = header.flags_offset();
    meta.dont_fragment = flags & ipv4::DONT_FRAGMENT != 0;
    if flags & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) != 0 {
        meta.fragment_offset = flags & ipv4::OFFSET_MASK;
        meta.more_fragments = flags & ipv4::MORE_FRAGMENTS != 0;
        meta.fragment = if meta.fragment_offset == 0 { Fragment::First } else { Fragment::Later };
    }
    if header_len > 20 {
        return parse_v4_options(frame, meta);
    }
    if header.checksum() != header.computed_checksum() && !checksum_is_other_zero(&header) {
        return Err(dropped(meta, DropReason::Ipv4Malformed));
    }
    read_transport(&mut meta, frame).map_err(|reason| dropped(meta, reason))?;
    Ok(meta)
}

/// A checksum field of 0xffff is the second form of zero: odd, but it verifies (RFC 1071).
#[cold]
fn checksum_is_other_zero(header: &ipv4::Header<&[u8; 20]>) -> bool {
    header.checksum() == 0xffff && header.computed_checksum() == 0
}

#[cold]
fn parse_v4_options(frame: &[u8], mut meta: Meta) -> Result<Meta, Malformed> {
    let header = frame.get(usize::from(meta.l3)..usize::from(meta.l4)).unwrap_or_default();
    let options = header.get(20..).unwrap_or_default();
    meta.options = true;
    if crate::checksum::of(header) != 0 {
        return Err(dropped(meta, DropReason::Ipv4Malformed));
    }
    let judged = ipv4::options(options);
    // The transport is read before a source route is reported: no error may answer an ICMP error.
    let transport = read_transport(&mut meta, frame);
    match judged {
        ipv4::Options::Malformed => Err(dropped(meta, DropReason::Ipv4Malformed)),
        //= conformance XLT-29, N44-24
        ipv4::Options::SourceRoute => {
            Err(reported(meta, DropReason::Ipv4SourceRoute, IcmpMessage::v4_source_route_failed()))
        }
        ipv4::Options::Ignorable => transport.map(|()| meta).map_err(|reason| dropped(meta, reason)),
    }
}

#[inline]
fn parse_v6(frame: &[u8], l3: u8) -> Result<Meta, Malformed> {
    let mut meta = Meta::blank(Family::V6, l3.into());

    let l3 = usize::from(l3);
    let Some(header) = frame.get(l3..).and_then(ipv6::Header::new_checked) else {
        return Err(dropped(meta, DropReason::Ipv6Malformed));
    };
    let end = l3 + 40 + usize::from(header.payload_length());
    if header.version() != 6 || end > frame.len() || end > usize::from(u16::MAX) {
        return Err(dropped(meta, DropReason::Ipv6Malformed));
    }
    meta.source = header.source();
    meta.destination = header.destination();
    meta.tos = header.traffic_class();
    meta.hop_limit = header.hop_limit();
    meta.protocol = header.next_header();
    meta.l4 = (l3 + 40) as u16;
    meta.end = end as u16;
    if matches!(meta.protocol, ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::FRAGMENT | ipv6::DESTINATION_OPTIONS)
    {
        return parse_v6_chain(frame, meta);
    }
    read_transport(&mut meta, frame).map_err(|reason| dropped(meta, reason))?;
    Ok(meta)
}

#[cold]
fn parse_v6_chain(frame: &[u8], mut meta: Meta) -> Result<Meta, Malformed> {
    //= conformance XLT-46
    // Options that a length of zero leaves no room for: only a jumbogram looks like this.
    if meta.protocol == ipv6::HOP_BY_HOP && meta.l4 == meta.end {
        return Err(dropped(meta, DropReason::Ipv6Jumbogram));
    }
    meta.options = true;
    let payload = frame.get(usize::from(meta.l4)..usize::from(meta.end)).unwrap_or_default();
    let chain = match ipv6::chain(meta.protocol, payload) {
        Ok(chain) => chain,
        //= conformance XLT-48
        Err(ChainError::TooLong) => {
            return Err(reported(meta, DropReason::Ipv6ExtensionChain, IcmpMessage::v6_admin()));
        }
        Err(ChainError::Truncated | ChainError::BehindFragment) => {
            return Err(dropped(meta, DropReason::Ipv6ExtensionChain));
        }
    };
    meta.protocol = chain.protocol;
    meta.l4 += chain.len as u16;
    if let Some(fragment) = chain.fragment {
        meta.identification = fragment.identification;
        meta.fragment_offset = fragment.offset;
        meta.more_fragments = fragment.more;
        meta.fragment = match (fragment.offset, fragment.more) {
            (0, false) => Fragment::Atomic,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
    }
    // The transport is read before a routing header is reported: no error may answer an ICMPv6 error.
    let transport = read_transport(&mut meta, frame);
    //= conformance XLT-18
    if let Some(pointer) = chain.segments_left {
        let message = IcmpMessage::v6_parameter_problem(0, pointer as u32);
        return Err(reported(meta, DropReason::Ipv6RoutingHeader, message));
    }
    transport.map(|()| meta).map_err(|reason| dropped(meta, reason))
}

/// Reads the transport header, as far as translation needs it.
//= conformance XLT-38, FRAG-20
#[inline]
fn read_transport(meta: &mut Meta, frame: &[u8]) -> Result<(), DropReason> {
    let payload = frame.get(usize::from(meta.l4)..usize::from(meta.end)).unwrap_or_default();
    let later = meta.fragment == Fragment::Later;
    match (meta.protocol, meta.family) {
        (tcp::PROTOCOL, _) => {
            meta.transport = Transport::Tcp;
            if later {
                return Ok(());
            }
            let header = tcp::Header::new_checked(payload).ok_or(DropReason::TransportMalformed)?;
            if header.header_len() < 20 || header.header_len() > payload.len() {
                return Err(DropReason::TransportMalformed);
            }
            meta.tcp_flags = header.flags();
            ports(meta, header.source_port(), header.destination_port())
        }
        (udp::PROTOCOL, _) => {
            meta.transport = Transport::Udp;
            if later {
                return Ok(());
            }
            let header = udp::Header::new_checked(payload).ok_or(DropReason::TransportMalformed)?;
            let length = usize::from(header.length());
            if length < 8 || (length > payload.len() && meta.fragment != Fragment::First) {
                return Err(DropReason::TransportMalformed);
            }
            ports(meta, header.source_port(), header.destination_port())
        }
        (protocol, family) if protocol == family.icmp() => read_icmp(meta, payload),
        _ => {
            meta.transport = Transport::Other;
            Ok(())
        }
    }
}

//= conformance N44-22
#[inline]
fn ports(meta: &mut Meta, source: u16, destination: u16) -> Result<(), DropReason> {
    meta.source_port = source;
    meta.destination_port = destination;
    if source == 0 || destination == 0 { Err(DropReason::PortZero) } else { Ok(()) }
}

#[inline]
fn read_icmp(meta: &mut Meta, payload: &[u8]) -> Result<(), DropReason> {
    meta.transport = Transport::IcmpOther;
    if meta.fragment == Fragment::Later {
        return Ok(());
    }
    // The first eight bytes of ICMP and ICMPv6 are laid out alike.
    let header = icmpv4::Header::new_checked(payload).ok_or(DropReason::TransportMalformed)?;
    meta.icmp_type = header.kind();
    meta.icmp_code = header.code();
    meta.transport = meta.family.icmp_transport(meta.icmp_type);
    if meta.transport == Transport::IcmpQuery {
        meta.source_port = header.identifier();
        meta.destination_port = header.identifier();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
