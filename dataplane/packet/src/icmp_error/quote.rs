//! Where an error's quote lies, what it says, and how its transport header is patched.

use crate::ipv6::FragmentInfo;
use crate::meta::{Family, Transport};
use crate::translate::transport_delta;
use crate::translate::{patch_echo, patch_udp, pseudo_header};
use crate::{
    Delta, DropReason, Endpoints, IcmpMessage, checksum, icmp_map, icmpv4, icmpv6, ipv4, ipv6, tcp, udp,
};

/// The parts of an error.
pub(super) struct Parts<'a> {
    /// Its head, without the length attribute of RFC 4884.
    pub(super) message: IcmpMessage,
    /// The quoted packet, possibly with padding behind it.
    pub(super) quote: &'a [u8],
    /// The extension structure; empty if there is none.
    pub(super) extension: &'a [u8],
}

/// Takes an error of a type that translation passes apart.
//= conformance ICMP-86, ICMP-89
pub(super) fn split(family: Family, icmp: &[u8]) -> Result<Parts<'_>, DropReason> {
    let header = icmpv4::Header::new_checked(icmp).ok_or(DropReason::TransportMalformed)?;
    let mut message = IcmpMessage::new(header.kind(), header.code(), header.rest());
    let body = icmp.get(8..).unwrap_or_default();
    let length = match (family, message.kind) {
        (Family::V4, icmpv4::UNREACHABLE | icmpv4::TIME_EXCEEDED | icmpv4::PARAMETER_PROBLEM) => {
            let words = message.rest >> 16 & 0xff;
            message.rest &= 0xff00_ffff;
            words as usize * 4
        }
        (Family::V6, icmpv6::UNREACHABLE | icmpv6::TIME_EXCEEDED) => {
            let words = message.rest >> 24;
            message.rest &= 0x00ff_ffff;
            words as usize * 8
        }
        (Family::V6, icmpv6::PACKET_TOO_BIG | icmpv6::PARAMETER_PROBLEM) => 0,
        //= conformance ICMP-29, ICMP-30, ICMP-60, N44-23
        _ => return Err(DropReason::IcmpUntranslatable),
    };
    // An attribute that overruns the packet is not believed. The structure has a header of four bytes at least.
    let (quote, extension) = match body.split_at_checked(length) {
        Some((quote, extension)) if length > 0 => {
            (quote, if extension.len() < 4 { &[][..] } else { extension })
        }
        _ => (body, &[][..]),
    };
    Ok(Parts { message, quote, extension })
}

/// What is known of a quoted packet.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    /// Bytes before its transport header.
    pub(super) header_len: usize,
    /// Bytes from there to its end, as its header says it: a quote is mostly shorter.
    pub(super) payload_len: usize,
    /// Bytes of the quote that are the packet's, without padding.
    pub(super) quote_len: usize,
    pub(super) total_len: u16,
    pub(super) tos: u8,
    pub(super) hop_limit: u8,
    pub(super) protocol: u8,
    pub(super) transport: Transport,
    pub(super) icmp_type: u8,
    /// Set if it is a fragment: always the first one.
    pub(super) fragment: Option<FragmentInfo>,
    pub(super) endpoints: Endpoints,
}

/// Reads a quoted packet. `verify` says whether the checksum of an IPv4 header has to be right.
pub(super) fn inner(family: Family, quote: &[u8], verify: bool) -> Result<Inner, DropReason> {
    let mut inner = match family {
        Family::V4 => inner_v4(quote, verify)?,
        Family::V6 => inner_v6(quote)?,
    };
    let payload = quote.get(inner.header_len..inner.quote_len).ok_or(DropReason::IcmpQuoteMalformed)?;
    //= conformance ICMP-74
    // Eight bytes of transport is what RFC 792 promises, and what all three transports need.
    let ports = udp::Header::new_checked(payload).ok_or(DropReason::IcmpQuoteMalformed)?;
    if matches!(inner.protocol, tcp::PROTOCOL | udp::PROTOCOL) {
        inner.transport = if inner.protocol == tcp::PROTOCOL { Transport::Tcp } else { Transport::Udp };
        inner.endpoints.source_port = ports.source_port();
        inner.endpoints.destination_port = ports.destination_port();
        return Ok(inner);
    }
    if inner.protocol != family.icmp() {
        return Err(DropReason::ProtocolUnsupported);
    }
    let icmp = icmpv4::Header::new_checked(payload).ok_or(DropReason::IcmpQuoteMalformed)?;
    match family.icmp_transport(icmp.kind()) {
        Transport::IcmpQuery => {}
        //= conformance ICMP-72
        Transport::IcmpError => return Err(DropReason::IcmpQuoteMalformed),
        _ => return Err(DropReason::IcmpUntranslatable),
    }
    inner.transport = Transport::IcmpQuery;
    inner.icmp_type = icmp.kind();
    inner.endpoints.source_port = icmp.identifier();
    inner.endpoints.destination_port = icmp.identifier();
    Ok(inner)
}

fn inner_v4(quote: &[u8], verify: bool) -> Result<Inner, DropReason> {
    let malformed = DropReason::IcmpQuoteMalformed;
    let header = ipv4::Header::new_checked(quote).ok_or(malformed)?;
    let header_len = header.header_len();
    let total_len = usize::from(header.total_length());
    if header.version_ihl() >> 4 != 4 || header_len < 20 || total_len < header_len {
        return Err(malformed);
    }
    //= conformance ICMP-80
    let bytes = quote.get(..header_len).ok_or(malformed)?;
    //= conformance ICMP-79
    if verify && checksum::of(bytes) != 0 {
        return Err(DropReason::IcmpChecksum);
    }
    //= conformance N44-24
    match ipv4::options(bytes.get(20..).unwrap_or_default()) {
        ipv4::Options::Ignorable => {}
        ipv4::Options::SourceRoute => return Err(DropReason::Ipv4SourceRoute),
        ipv4::Options::Malformed => return Err(malformed),
    }
    let flags = header.flags_offset();
    // The ports are in the first fragment only, so no other says whose packet it was.
    if flags & ipv4::OFFSET_MASK != 0 {
        return Err(malformed);
    }
    let fragment = (flags & ipv4::MORE_FRAGMENTS != 0).then_some(FragmentInfo {
        offset: 0,
        more: true,
        identification: header.identification().into(),
    });
    Ok(Inner {
        header_len,
        payload_len: total_len - header_len,
        quote_len: total_len.min(quote.len()),
        total_len: header.total_length(),
        tos: header.tos(),
        hop_limit: header.ttl(),
        protocol: header.protocol(),
        transport: Transport::Other,
        icmp_type: 0,
        fragment,
        endpoints: addresses(header.source().into(), header.destination().into()),
    })
}

fn inner_v6(quote: &[u8]) -> Result<Inner, DropReason> {
    let malformed = DropReason::IcmpQuoteMalformed;
    let header = ipv6::Header::new_checked(quote).ok_or(malformed)?;
    let total_len = 40 + usize::from(header.payload_length());
    let quote_len = total_len.min(quote.len());
    let payload = quote.get(40..quote_len).ok_or(malformed)?;
    //= conformance ICMP-80
    let chain = ipv6::chain(header.next_header(), payload).map_err(|_| malformed)?;
    if header.version() != 6 || chain.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return Err(malformed);
    }
    let header_len = 40 + chain.len;
    Ok(Inner {
        header_len,
        payload_len: total_len.checked_sub(header_len).ok_or(malformed)?,
        quote_len,
        total_len: total_len.try_into().unwrap_or(u16::MAX),
        tos: header.traffic_class(),
        hop_limit: header.hop_limit(),
        protocol: chain.protocol,
        transport: Transport::Other,
        icmp_type: 0,
        fragment: chain.fragment,
        endpoints: addresses(header.source(), header.destination()),
    })
}

const fn addresses(source: u128, destination: u128) -> Endpoints {
    Endpoints { source, destination, source_port: 0, destination_port: 0 }
}

/// Rewrites the transport header of a quote, as much as there is of it, from one family to the other or the same.
/// Its checksum is adjusted and never verified.
//= conformance ICMP-73, ICMP-75, ICMP-81, ICMP-82
pub(super) fn patch(
    payload: &mut [u8],
    inner: &Inner,
    from: Family,
    target: Family,
    to: &Endpoints,
) -> Result<(), DropReason> {
    let delta = transport_delta(inner.transport, &inner.endpoints, to);
    match inner.transport {
        Transport::Tcp => patch_tcp(payload, to, delta),
        Transport::Udp => patch_udp(payload, to, delta).map(|_summed| ()),
        _ => {
            let kind = match (from, target) {
                (Family::V4, Family::V6) => icmp_map::query_4_to_6(inner.icmp_type),
                (Family::V6, Family::V4) => icmp_map::query_6_to_4(inner.icmp_type),
                _ => Some(inner.icmp_type),
            };
            let kind = kind.ok_or(DropReason::IcmpUntranslatable)?;
            let mut delta = delta;
            let len = inner.payload_len as u32;
            if from == Family::V6 {
                let pseudo = pseudo_header(inner.endpoints.source, inner.endpoints.destination, len);
                delta = delta.then(pseudo.inverse());
            }
            if target == Family::V6 {
                delta = delta.then(pseudo_header(to.source, to.destination, len));
            }
            patch_echo(payload, kind, to.source_port, delta)
        }
    }
}

/// As much of a TCP header as is quoted: the ports always are, the checksum often is not.
fn patch_tcp(payload: &mut [u8], to: &Endpoints, delta: Delta) -> Result<(), DropReason> {
    // The ports of TCP lie where those of UDP do.
    let mut ports = udp::Header::new_checked_mut(payload).ok_or(DropReason::IcmpQuoteMalformed)?;
    ports.set_source_port(to.source_port);
    ports.set_destination_port(to.destination_port);
    if let Some(field) = payload.get_mut(16..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *field = delta.apply(u16::from_be_bytes(*field)).to_be_bytes();
    }
    Ok(())
}
