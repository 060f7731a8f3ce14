//! Errors that keep their family: NAT44 (RFC 5508), and IPv6 errors that are hairpinned (HAIR-05).
//!
//! Lengths stay, so everything is patched where it lies; type, code, MTU and extensions are not looked at.

use super::quote::{self, Inner};
use super::{ErrorRewrite, open};
use crate::checksum::{Delta, of, transport_v6};
use crate::meta::{Family, Meta};
use crate::translate::{Offsets, rewrite_header_v4};
use crate::{DropReason, Frame, icmpv4, icmpv6, ipv4, ipv6};

/// Translates an ICMPv4 error to other IPv4 endpoints.
///
/// # Errors
/// What [`super::quoted`] says of the quote.
//= conformance N44-13, N44-14, N44-16, N44-17
pub fn error_four_to_four(frame: &mut Frame, meta: &Meta, r: &ErrorRewrite) -> Result<Meta, DropReason> {
    let (at, hop_limit) = within(frame, meta, r, Family::V4)?;
    let packet = &mut frame.bytes_mut()[at.l3..at.end];
    let (ip, icmp) = packet.split_at_mut(at.l4 - at.l3);
    seal(icmp, of)?;
    // As in the translation between families: the checksum differs from one error to the next.
    let identification = match meta.dont_fragment {
        true => meta.identification as u16,
        false => icmpv4::Header::new_checked(icmp).ok_or(DropReason::TransportMalformed)?.checksum(),
    };
    rewrite_header_v4(ip, identification, hop_limit, r.outer_source as u32, r.outer_destination as u32)?;
    Ok(Meta { identification: identification.into(), ..outcome(meta, r, hop_limit) })
}

/// Translates an ICMPv6 error about a hairpinned packet: both ends are IPv6, and both see translated addresses.
///
/// # Errors
/// What [`super::quoted`] says of the quote.
//= conformance HAIR-05
pub fn error_six_to_six(frame: &mut Frame, meta: &Meta, r: &ErrorRewrite) -> Result<Meta, DropReason> {
    let (at, hop_limit) = within(frame, meta, r, Family::V6)?;
    let packet = &mut frame.bytes_mut()[at.l3..at.end];
    let (ip, icmp) = packet.split_at_mut(at.l4 - at.l3);
    let mut header = ipv6::Header::new_checked_mut(ip).ok_or(DropReason::Ipv6Malformed)?;
    header.set_hop_limit(hop_limit);
    header.set_source(r.outer_source);
    header.set_destination(r.outer_destination);
    seal(icmp, |icmp| transport_v6(r.outer_source, r.outer_destination, icmpv6::PROTOCOL, icmp))?;
    Ok(outcome(meta, r, hop_limit))
}

/// Rewrites the quote and cuts link padding off. Returns the offsets and the new hop limit.
fn within(
    frame: &mut Frame,
    meta: &Meta,
    r: &ErrorRewrite,
    family: Family,
) -> Result<(Offsets, u8), DropReason> {
    let at = open(frame, meta, family)?;
    let icmp = &mut frame.bytes_mut()[at.l4..at.end];
    let inner = quote::inner(family, quote::split(family, icmp)?.quote, false)?;
    let quote = icmp.get_mut(8..8 + inner.quote_len).ok_or(DropReason::IcmpQuoteMalformed)?;
    let (ip, payload) = quote.split_at_mut_checked(inner.header_len).ok_or(DropReason::IcmpQuoteMalformed)?;
    rewrite_quoted_addresses(ip, &inner, r, family).ok_or(DropReason::IcmpQuoteMalformed)?;
    quote::patch(payload, &inner, family, family, &r.quoted)?;
    if !frame.set_len(at.end) {
        return Err(DropReason::TransportMalformed);
    }
    Ok((at, meta.hop_limit.saturating_sub(u8::from(r.decrement))))
}

/// Rewrites the addresses of the quoted IP header. An update of its checksum keeps it right, or as wrong as it was.
fn rewrite_quoted_addresses(ip: &mut [u8], inner: &Inner, r: &ErrorRewrite, family: Family) -> Option<()> {
    match family {
        Family::V4 => {
            let mut header = ipv4::Header::new_checked_mut(ip)?;
            let (source, destination) = (r.quoted.source as u32, r.quoted.destination as u32);
            let delta = Delta::ZERO
                .remove_u128(inner.endpoints.source)
                .remove_u128(inner.endpoints.destination)
                .add_u32(source)
                .add_u32(destination);
            header.set_source(source);
            header.set_destination(destination);
            header.set_checksum(delta.apply(header.checksum()));
        }
        Family::V6 => {
            let mut header = ipv6::Header::new_checked_mut(ip)?;
            header.set_source(r.quoted.source);
            header.set_destination(r.quoted.destination);
        }
    }
    Some(())
}

/// Computes the checksum of an ICMP message anew: it was verified, and the quote has changed in many places.
fn seal(icmp: &mut [u8], checksum: impl Fn(&[u8]) -> u16) -> Result<(), DropReason> {
    icmpv4::Header::new_checked_mut(icmp).ok_or(DropReason::TransportMalformed)?.set_checksum(0);
    let checksum = checksum(icmp);
    icmpv4::Header::new_checked_mut(icmp).ok_or(DropReason::TransportMalformed)?.set_checksum(checksum);
    Ok(())
}

fn outcome(meta: &Meta, r: &ErrorRewrite, hop_limit: u8) -> Meta {
    Meta { source: r.outer_source, destination: r.outer_destination, hop_limit, ..*meta }
}
