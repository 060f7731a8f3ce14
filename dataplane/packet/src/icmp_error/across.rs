//! Errors that change family (RFC 7915, 4.2, 4.3, 5.2, 5.3).

use super::quote::{self, Inner, Parts};
use super::{ErrorRewrite, interface, open};
use crate::checksum::{of, transport_v6};
use crate::icmp_map::{self, MtuContext};
use crate::meta::{Family, Fragment, Meta};
use crate::translate::DF_THRESHOLD;
use crate::{DropReason, Frame, IcmpMessage, ethernet, icmpv4, icmpv6, ipv4, ipv6};

/// Longest ICMPv6 error (RFC 4443, 2.4): the smallest IPv6 MTU.
pub(crate) const MAX_V6: usize = 1280;
/// Longest ICMPv4 error (RFC 1812, 4.3.2.3).
pub(crate) const MAX_V4: usize = 576;
/// Least quote in front of an extension structure (RFC 4884, 4).
const MIN_QUOTE_WITH_EXTENSION: usize = 128;

/// Translates an ICMPv6 error to ICMPv4.
///
/// # Errors
/// [`DropReason::IcmpUntranslatable`] without counterpart, or what [`super::quoted`] says of the quote.
pub fn error_six_to_four(frame: &mut Frame, meta: &Meta, r: &ErrorRewrite) -> Result<Meta, DropReason> {
    across(frame, meta, r, Family::V6, Family::V4)
}

/// Translates an ICMPv4 error to ICMPv6.
///
/// # Errors
/// [`DropReason::IcmpUntranslatable`] without counterpart, or what [`super::quoted`] says of the quote.
pub fn error_four_to_six(frame: &mut Frame, meta: &Meta, r: &ErrorRewrite) -> Result<Meta, DropReason> {
    across(frame, meta, r, Family::V4, Family::V6)
}

fn across(
    frame: &mut Frame,
    meta: &Meta,
    r: &ErrorRewrite,
    from: Family,
    target: Family,
) -> Result<Meta, DropReason> {
    let at = open(frame, meta, from)?;
    let parts = quote::split(from, &frame.bytes()[at.l4..at.end])?;
    let inner = quote::inner(from, parts.quote, false)?;
    let context = MtuContext {
        mtu_v4: r.mtu_v4,
        mtu_v6: r.mtu_v6,
        quoted_len: inner.total_len,
        quoted_fragment: from == Family::V6 && inner.fragment.is_some(),
    };
    let message = match target {
        Family::V4 => icmp_map::error_6_to_4(parts.message, &context),
        Family::V6 => icmp_map::error_4_to_6(parts.message, &context),
    }
    .ok_or(DropReason::IcmpUntranslatable)?;

    let mut packet = [0; MAX_V6];
    let len = match target {
        Family::V4 => {
            let icmp = &mut packet[20..MAX_V4];
            let len = compose(icmp, &parts, &inner, message, r, target)?;
            20 + len
        }
        Family::V6 => 40 + compose(&mut packet[40..], &parts, &inner, message, r, target)?,
    };
    let translated = finish(&mut packet[..len], meta, r, message, target)?;
    let ether_type = if target == Family::V4 { ethernet::IPV4 } else { ethernet::IPV6 };
    place(frame, at.l3, ether_type, &packet[..len]).ok_or(DropReason::NoMbuf)?;
    Ok(translated)
}

/// Writes the ICMP message, checksum apart, to the start of `icmp`, whose length is the limit. Returns its length.
fn compose(
    icmp: &mut [u8],
    parts: &Parts,
    inner: &Inner,
    message: IcmpMessage,
    r: &ErrorRewrite,
    target: Family,
) -> Result<usize, DropReason> {
    let (head, body) = icmp.split_at_mut(8);
    let quote_len = write_quote(body, parts.quote, inner, r, target)?;
    //= conformance ICMP-88
    let (unit, carries, shift) = match target {
        Family::V4 => (4, true, 16),
        Family::V6 => (8, matches!(message.kind, icmpv6::UNREACHABLE | icmpv6::TIME_EXCEEDED), 24),
    };
    let mut extended = [0; MAX_V4];
    let extension = match r.origin {
        Some(origin) if target == Family::V4 => {
            // What the extension may take of the message, the least quote left.
            let room = body.len().saturating_sub(MIN_QUOTE_WITH_EXTENSION).max(parts.extension.len());
            let room = room.min(extended.len());
            let len = interface::append(&mut extended[..room], parts.extension, origin);
            &extended[..len]
        }
        _ if carries => parts.extension,
        _ => &[],
    };
    let (words, body_len) = append_extension(body, quote_len, extension, unit);

    let mut header = icmpv4::Header::zeroed();
    header.set_kind(message.kind);
    header.set_code(message.code);
    header.set_rest(message.rest | u32::from(words) << shift);
    head.copy_from_slice(header.bytes());
    Ok(8 + body_len)
}

/// Puts an extension behind the first `quote_len` bytes of `body`, with the padding that it needs. The quote gives
/// way first, the extension if that is not enough. The rest of `body` is zero, as padding has to be. Returns the length
/// attribute and the bytes used.
//= conformance ICMP-86, ICMP-87, ICMP-90, ICMP-91
fn append_extension(body: &mut [u8], quote_len: usize, extension: &[u8], unit: usize) -> (u8, usize) {
    let room = body.len().saturating_sub(extension.len()) / unit * unit;
    if extension.is_empty() || room < MIN_QUOTE_WITH_EXTENSION {
        return (0, quote_len);
    }
    let padded = quote_len.next_multiple_of(unit).max(MIN_QUOTE_WITH_EXTENSION).min(room);
    body[padded..padded + extension.len()].copy_from_slice(extension);
    ((padded / unit) as u8, padded + extension.len())
}

/// Writes the translated quote to the start of `body`, cut to its length. Returns the bytes written.
//= conformance ICMP-70, ICMP-83, ICMP-84, ICMP-85
fn write_quote(
    body: &mut [u8],
    quote: &[u8],
    inner: &Inner,
    r: &ErrorRewrite,
    target: Family,
) -> Result<usize, DropReason> {
    let header_len = match target {
        Family::V4 => {
            let total = inner.payload_len + 20;
            let (identification, flags_offset) = match inner.fragment {
                Some(fragment) => {
                    (fragment.identification as u16, if fragment.more { ipv4::MORE_FRAGMENTS } else { 0 })
                }
                None if total > DF_THRESHOLD => (0, ipv4::DONT_FRAGMENT),
                None => (0, 0),
            };
            let protocol = if inner.protocol == icmpv6::PROTOCOL { icmpv4::PROTOCOL } else { inner.protocol };
            let header = ipv4::Fields {
                tos: inner.tos,
                total_length: total.try_into().unwrap_or(u16::MAX),
                identification,
                flags_offset,
                ttl: inner.hop_limit,
                protocol,
                source: r.quoted.source as u32,
                destination: r.quoted.destination as u32,
            }
            .header();
            body[..20].copy_from_slice(&header);
            20
        }
        Family::V6 => {
            let protocol = if inner.protocol == icmpv4::PROTOCOL { icmpv6::PROTOCOL } else { inner.protocol };
            let extra = if inner.fragment.is_some() { 8 } else { 0 };
            let header = ipv6::Fields {
                traffic_class: inner.tos,
                payload_length: (inner.payload_len + extra).try_into().unwrap_or(u16::MAX),
                next_header: if inner.fragment.is_some() { ipv6::FRAGMENT } else { protocol },
                hop_limit: inner.hop_limit,
                source: r.quoted.source,
                destination: r.quoted.destination,
            }
            .header();
            body[..40].copy_from_slice(&header);
            if let Some(fragment) = inner.fragment {
                let mut header = ipv6::FragmentHeader::zeroed();
                header.set_next_header(protocol);
                header.set_offset_more(fragment.offset << 3 | u16::from(fragment.more));
                header.set_identification(fragment.identification);
                body[40..48].copy_from_slice(header.bytes());
            }
            40 + extra
        }
    };
    let payload = quote.get(inner.header_len..inner.quote_len).unwrap_or_default();
    let len = payload.len().min(body.len() - header_len);
    let copy = &mut body[header_len..header_len + len];
    copy.copy_from_slice(&payload[..len]);
    let from = if target == Family::V4 { Family::V6 } else { Family::V4 };
    quote::patch(copy, inner, from, target, &r.quoted)?;
    Ok(header_len + len)
}

/// Writes checksum and IP header of the composed error, and says what it is.
//= conformance ICMP-71, ICMP-92, ICMP-93, ICMP-96
fn finish(
    packet: &mut [u8],
    meta: &Meta,
    r: &ErrorRewrite,
    message: IcmpMessage,
    target: Family,
) -> Result<Meta, DropReason> {
    let header_len = if target == Family::V4 { 20 } else { 40 };
    let total = packet.len() as u16;
    let (ip, icmp) = packet.split_at_mut(header_len);
    let checksum = match target {
        Family::V4 => of(icmp),
        Family::V6 => transport_v6(r.outer_source, r.outer_destination, icmpv6::PROTOCOL, icmp),
    };
    let mut head = icmpv4::Header::new_checked_mut(icmp).ok_or(DropReason::IcmpQuoteMalformed)?;
    head.set_checksum(checksum);

    let hop_limit = meta.hop_limit.saturating_sub(u8::from(r.decrement));
    // There is no generator of identifications here. The checksum over all of the message does as well: it differs
    // from one error to the next unless they are the same.
    let identification = match meta.fragment {
        Fragment::Atomic => meta.identification as u16,
        _ => checksum,
    };
    let protocol = match target {
        Family::V4 => {
            let header = ipv4::Fields {
                tos: meta.tos,
                total_length: total,
                identification,
                flags_offset: 0,
                ttl: hop_limit,
                protocol: icmpv4::PROTOCOL,
                source: r.outer_source as u32,
                destination: r.outer_destination as u32,
            };
            ip.copy_from_slice(&header.header());
            icmpv4::PROTOCOL
        }
        Family::V6 => {
            let header = ipv6::Fields {
                traffic_class: meta.tos,
                payload_length: total - 40,
                next_header: icmpv6::PROTOCOL,
                hop_limit,
                source: r.outer_source,
                destination: r.outer_destination,
            };
            ip.copy_from_slice(&header.header());
            icmpv6::PROTOCOL
        }
    };
    Ok(Meta {
        source: r.outer_source,
        destination: r.outer_destination,
        identification: if target == Family::V4 { identification.into() } else { 0 },
        l4: meta.l3 + header_len as u16,
        end: meta.l3 + total,
        family: target,
        fragment: Fragment::No,
        protocol,
        hop_limit,
        icmp_type: message.kind,
        icmp_code: message.code,
        dont_fragment: false,
        options: false,
        ..*meta
    })
}

/// Makes `packet` the content of the frame, behind its link header at `..l3`. `None` if the buffer is too small.
fn place(frame: &mut Frame, l3: usize, ether_type: u16, packet: &[u8]) -> Option<()> {
    let len = l3 + packet.len();
    let room = frame.len() + frame.tailroom();
    if len > room {
        let missing = len - room;
        if !frame.push_front(missing) {
            return None;
        }
        frame.bytes_mut().copy_within(missing..missing + l3, 0);
    }
    if !frame.set_len(len) {
        return None;
    }
    let (link, content) = frame.bytes_mut().split_at_mut_checked(l3)?;
    *link.last_chunk_mut::<2>()? = ether_type.to_be_bytes();
    content.copy_from_slice(packet);
    Some(())
}
