//! From bytes to [`Meta`]: every check on headers that needs no configuration.

use crate::ipv6::{Chain, ChainError, FragmentInfo};
use crate::meta::{Family, Fragment, Malformed, Meta, Transport};
use crate::plain::Plain;
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
        ethernet::IPV4 => common_v4(frame, link.len).map_or_else(|| parse_v4(frame, link.len), Ok),
        ethernet::IPV6 => common_v6(frame, link.len).map_or_else(|| parse_v6(frame, link.len), Ok),
        _ => Err(malformed(Meta::blank(Family::V4, link.len.into()), (DropReason::EthernetMalformed, None))),
    }
}

/// A reason to drop a packet, and what to report.
type Problem = (DropReason, Option<IcmpMessage>);

#[cold]
fn malformed(meta: Meta, (reason, report): Problem) -> Malformed {
    Malformed { reason, report, meta }
}

// The plain packet comes first. Most of its meta is constant. Whatever is not plain is judged by the full parser from the
// start; a property test holds the two together.

#[inline(always)]
fn common_v4(frame: &[u8], l3: u8) -> Option<Meta> {
    let (plain, source, destination) = Plain::read_v4(frame, l3)?;
    let header = frame.get(usize::from(l3)..).and_then(ipv4::Header::new_checked)?;
    Some(Meta {
        source: source.into(),
        destination: destination.into(),
        identification: header.identification().into(),
        tos: header.tos(),
        dont_fragment: header.flags_offset() & ipv4::DONT_FRAGMENT != 0,
        ..common(&plain, Family::V4, 20)
    })
}

#[inline(always)]
fn common_v6(frame: &[u8], l3: u8) -> Option<Meta> {
    let (plain, source, destination) = Plain::read_v6(frame, l3)?;
    let header = frame.get(usize::from(l3)..).and_then(ipv6::Header::new_checked)?;
    Some(Meta { source, destination, tos: header.traffic_class(), ..common(&plain, Family::V6, 40) })
}

/// What plain packets of both families have.
#[inline(always)]
fn common(plain: &Plain, family: Family, header: u16) -> Meta {
    let l4 = u16::from(plain.l3) + header;
    Meta {
        source_port: plain.source_port,
        destination_port: plain.destination_port,
        l4,
        end: l4.saturating_add(plain.payload),
        transport: if plain.protocol == tcp::PROTOCOL { Transport::Tcp } else { Transport::Udp },
        protocol: plain.protocol,
        hop_limit: plain.hop_limit,
        tcp_flags: plain.tcp_flags,
        ..Meta::blank(family, plain.l3.into())
    }
}

#[inline(never)]
fn parse_v4(frame: &[u8], l3: u8) -> Result<Meta, Malformed> {
    let at = usize::from(l3);
    let bad = |reason| Err(malformed(Meta::blank(Family::V4, l3.into()), (reason, None)));
    let Some(packet) = frame.get(at..) else { return bad(DropReason::Ipv4Malformed) };
    let Some(header) = ipv4::Header::new_checked(packet) else { return bad(DropReason::Ipv4Malformed) };
    let header_len = header.header_len();
    let total_length = usize::from(header.total_length());
    let end = at + total_length;
    //= conformance XLT-37
    if header.version_ihl() >> 4 != 4
        || header_len < 20
        || total_length < header_len
        || total_length > packet.len()
        || end > usize::from(u16::MAX)
    {
        return bad(DropReason::Ipv4Malformed);
    }
    let options = header_len > 20;
    let mut problem = None;
    if options {
        problem = judge_options(&packet[..header_len]);
    } else if !header.verifies() {
        return bad(DropReason::Ipv4Malformed);
    }
    let flags = header.flags_offset();
    let fragment = if flags & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) == 0 {
        Fragment::No
    } else if flags & ipv4::OFFSET_MASK == 0 {
        Fragment::First
    } else {
        Fragment::Later
    };
    // The transport is read before a source route is reported: no error may answer an ICMP error.
    let l4 = read_transport(Family::V4, header.protocol(), fragment, &packet[header_len..total_length]);
    let meta = Meta {
        source: header.source().into(),
        destination: header.destination().into(),
        identification: header.identification().into(),
        source_port: l4.source_port,
        destination_port: l4.destination_port,
        l3: l3.into(),
        l4: (at + header_len) as u16,
        end: end as u16,
        fragment_offset: flags & ipv4::OFFSET_MASK,
        family: Family::V4,
        transport: l4.transport,
        fragment,
        protocol: header.protocol(),
        hop_limit: header.ttl(),
        tos: header.tos(),
        tcp_flags: l4.tcp_flags,
        icmp_type: l4.icmp_type,
        icmp_code: l4.icmp_code,
        whole: 0,
        dont_fragment: flags & ipv4::DONT_FRAGMENT != 0,
        more_fragments: flags & ipv4::MORE_FRAGMENTS != 0,
        options,
    };
    let problem = problem.or_else(|| judge_piece(&meta)).or(l4.problem.map(|reason| (reason, None)));
    match problem {
        None => Ok(meta),
        Some(problem) => Err(malformed(meta, problem)),
    }
}

/// Judges a header with options, checksum included.
#[cold]
fn judge_options(header: &[u8]) -> Option<Problem> {
    if crate::checksum::of(header) != 0 {
        return Some((DropReason::Ipv4Malformed, None));
    }
    match ipv4::options(header.get(20..).unwrap_or_default()) {
        ipv4::Options::Ignorable => None,
        ipv4::Options::Malformed => Some((DropReason::Ipv4Malformed, None)),
        //= conformance XLT-29, N44-24
        ipv4::Options::SourceRoute => {
            Some((DropReason::Ipv4SourceRoute, Some(IcmpMessage::v4_source_route_failed())))
        }
    }
}

#[inline(never)]
fn parse_v6(frame: &[u8], l3: u8) -> Result<Meta, Malformed> {
    let at = usize::from(l3);
    let bad = |reason| Err(malformed(Meta::blank(Family::V6, l3.into()), (reason, None)));
    let Some(packet) = frame.get(at..) else { return bad(DropReason::Ipv6Malformed) };
    let Some(header) = ipv6::Header::new_checked(packet) else { return bad(DropReason::Ipv6Malformed) };
    let total_length = 40 + usize::from(header.payload_length());
    let end = at + total_length;
    if header.version() != 6 || total_length > packet.len() || end > usize::from(u16::MAX) {
        return bad(DropReason::Ipv6Malformed);
    }
    let next = header.next_header();
    let options =
        matches!(next, ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::FRAGMENT | ipv6::DESTINATION_OPTIONS);
    let (chain, mut problem) = if options {
        follow(next, &packet[40..total_length])
    } else {
        (Chain { protocol: next, len: 0, fragment: None, segments_left: None }, None)
    };
    let fragment = match chain.fragment {
        None => Fragment::No,
        Some(FragmentInfo { offset: 0, more: false, .. }) => Fragment::Atomic,
        Some(FragmentInfo { offset: 0, more: true, .. }) => Fragment::First,
        Some(_) => Fragment::Later,
    };
    // The transport is read before a routing header is reported: no error may answer an ICMPv6 error.
    let l4 = read_transport(Family::V6, chain.protocol, fragment, &packet[40 + chain.len..total_length]);
    let info = chain.fragment.unwrap_or(FragmentInfo { offset: 0, more: false, identification: 0 });
    let meta = Meta {
        source: header.source(),
        destination: header.destination(),
        identification: info.identification,
        source_port: l4.source_port,
        destination_port: l4.destination_port,
        l3: l3.into(),
        l4: (at + 40 + chain.len) as u16,
        end: end as u16,
        fragment_offset: info.offset,
        family: Family::V6,
        transport: l4.transport,
        fragment,
        protocol: chain.protocol,
        hop_limit: header.hop_limit(),
        tos: header.traffic_class(),
        tcp_flags: l4.tcp_flags,
        icmp_type: l4.icmp_type,
        icmp_code: l4.icmp_code,
        whole: 0,
        dont_fragment: false,
        more_fragments: info.more,
        options,
    };
    if problem.is_none() {
        problem = judge_piece(&meta).or_else(|| l4.problem.map(|reason| (reason, headless(&meta, reason))));
    }
    match problem {
        None => Ok(meta),
        Some(problem) => Err(malformed(meta, problem)),
    }
}

/// Follows the extension headers in `payload`. With a problem the chain may be the empty one.
#[cold]
fn follow(next: u8, payload: &[u8]) -> (Chain, Option<Problem>) {
    let nowhere = Chain { protocol: next, len: 0, fragment: None, segments_left: None };
    //= conformance XLT-46
    // Options that a length of zero leaves no room for: only a jumbogram looks like this.
    if next == ipv6::HOP_BY_HOP && payload.is_empty() {
        return (nowhere, Some((DropReason::Ipv6Jumbogram, None)));
    }
    match ipv6::chain(next, payload) {
        Ok(chain) => {
            //= conformance XLT-18
            let problem = chain.segments_left.map(|pointer| {
                let message = IcmpMessage::v6_parameter_problem(0, pointer as u32);
                (DropReason::Ipv6RoutingHeader, Some(message))
            });
            (chain, problem)
        }
        //= conformance XLT-48
        Err(ChainError::TooLong) => {
            (nowhere, Some((DropReason::Ipv6ExtensionChain, Some(IcmpMessage::v6_admin()))))
        }
        Err(ChainError::Truncated | ChainError::BehindFragment) => {
            (nowhere, Some((DropReason::Ipv6ExtensionChain, None)))
        }
    }
}

/// Judges length and offset of a fragment.
#[inline(always)]
fn judge_piece(meta: &Meta) -> Option<Problem> {
    if meta.is_whole() { None } else { judge_fragment(meta) }
}

#[cold]
fn judge_fragment(meta: &Meta) -> Option<Problem> {
    let len = meta.end - meta.l4;
    let beyond = usize::from(meta.fragment_offset) * 8 + usize::from(len) > usize::from(u16::MAX);
    let report = |pointer| match meta.family {
        Family::V6 => Some(IcmpMessage::v6_parameter_problem(0, pointer)),
        Family::V4 => None,
    };
    //= conformance FRAG-27
    let problem = if meta.more_fragments && !len.is_multiple_of(8) {
        report(4)
    //= conformance FRAG-28
    } else if beyond {
        // The offset stands in the third byte of the fragment header, which ends where the payload begins.
        report(u32::from(meta.l4 - meta.l3) - 6)
    //= conformance FRAG-21
    } else if len == 0 || (meta.protocol == tcp::PROTOCOL && meta.fragment_offset == 1) {
        None
    } else {
        return None;
    };
    Some((DropReason::FragmentMalformed, problem))
}

/// What the sender of a first fragment hears that does not reach to the end of the transport header.
//= conformance FRAG-29
#[cold]
fn headless(meta: &Meta, reason: DropReason) -> Option<IcmpMessage> {
    let truncated = reason == DropReason::TransportMalformed && meta.fragment == Fragment::First;
    truncated.then_some(IcmpMessage::v6_parameter_problem(3, 0))
}

/// What a transport header says, as far as translation needs it.
#[derive(Clone, Copy)]
struct L4 {
    transport: Transport,
    source_port: u16,
    destination_port: u16,
    tcp_flags: u8,
    icmp_type: u8,
    icmp_code: u8,
    problem: Option<DropReason>,
}

impl L4 {
    /// A transport of which nothing more is known.
    #[inline(always)]
    const fn only(transport: Transport) -> Self {
        Self {
            transport,
            source_port: 0,
            destination_port: 0,
            tcp_flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            problem: None,
        }
    }

    const fn refused(transport: Transport, reason: DropReason) -> Self {
        Self { problem: Some(reason), ..Self::only(transport) }
    }

    /// A transport with ports, both of which must be there.
    //= conformance N44-22
    #[inline(always)]
    fn with_ports(transport: Transport, source_port: u16, destination_port: u16) -> Self {
        let problem =
            if source_port == 0 || destination_port == 0 { Some(DropReason::PortZero) } else { None };
        Self { source_port, destination_port, problem, ..Self::only(transport) }
    }
}

/// Reads the transport header.
//= conformance XLT-38, FRAG-20
#[inline(always)]
fn read_transport(family: Family, protocol: u8, fragment: Fragment, payload: &[u8]) -> L4 {
    if fragment == Fragment::Later {
        return later(family, protocol);
    }
    if protocol == udp::PROTOCOL {
        let malformed = L4::refused(Transport::Udp, DropReason::TransportMalformed);
        let Some(header) = udp::Header::new_checked(payload) else { return malformed };
        let length = usize::from(header.length());
        if length < 8 || (length > payload.len() && fragment != Fragment::First) {
            return malformed;
        }
        L4::with_ports(Transport::Udp, header.source_port(), header.destination_port())
    } else if protocol == tcp::PROTOCOL {
        let malformed = L4::refused(Transport::Tcp, DropReason::TransportMalformed);
        let Some(header) = tcp::Header::new_checked(payload) else { return malformed };
        if header.header_len() < 20 || header.header_len() > payload.len() {
            return malformed;
        }
        let l4 = L4::with_ports(Transport::Tcp, header.source_port(), header.destination_port());
        L4 { tcp_flags: header.flags(), ..l4 }
    } else if protocol == family.icmp() {
        // The first eight bytes of ICMP and ICMPv6 are laid out alike.
        let Some(header) = icmpv4::Header::new_checked(payload) else {
            return L4::refused(Transport::IcmpOther, DropReason::TransportMalformed);
        };
        let transport = family.icmp_transport(header.kind());
        let identifier = if transport == Transport::IcmpQuery { header.identifier() } else { 0 };
        L4 {
            source_port: identifier,
            destination_port: identifier,
            icmp_type: header.kind(),
            icmp_code: header.code(),
            ..L4::only(transport)
        }
    } else {
        L4::only(Transport::Other)
    }
}

/// A later fragment shows its protocol and nothing of the transport header.
#[cold]
fn later(family: Family, protocol: u8) -> L4 {
    L4::only(match protocol {
        tcp::PROTOCOL => Transport::Tcp,
        udp::PROTOCOL => Transport::Udp,
        protocol if protocol == family.icmp() => Transport::IcmpOther,
        _ => Transport::Other,
    })
}

#[cfg(test)]
mod tests;
