//! IPv4 to IPv4: addresses, ports and identifiers change in place.

use super::{Offsets, Rewrite, hop_limit, patch_echo, patch_tcp, patch_udp, unsupported};
use crate::meta::{Family, Fragment, Meta, Transport};
use crate::{Delta, DropReason, Frame, checksum, ipv4};

/// Translates an IPv4 packet to other IPv4 endpoints. Options stay, but for those that record addresses.
///
/// # Errors
/// That of a packet which has no ports to translate.
#[inline(always)]
pub fn four_to_four(frame: &mut Frame, meta: &Meta, r: &Rewrite) -> Result<Meta, DropReason> {
    let at = Offsets::new(frame, meta, Family::V4)?;

    //= conformance N44-03, N44-19
    let payload = &mut frame.bytes_mut()[at.l4..at.end];
    match meta.transport {
        //= conformance FRAG-23
        Transport::Tcp | Transport::Udp | Transport::IcmpQuery if meta.fragment == Fragment::Later => {}
        Transport::Tcp => patch_tcp(payload, &r.to, r.delta)?,
        Transport::Udp => {
            // No checksum stays no checksum.
            patch_udp(payload, &r.to, r.delta)?;
        }
        Transport::IcmpQuery => patch_echo(payload, meta.icmp_type, r.to.source_port, r.delta)?,
        _ => return Err(unsupported(meta)),
    }

    // A hairpin's other half may have to make the checksum that this one leaves out: the sum holds the ports.
    let whole = match meta.transport {
        Transport::Udp if meta.whole != 0 => Delta::from_raw(meta.whole)
            .remove_u16(meta.source_port)
            .remove_u16(meta.destination_port)
            .add_u16(r.to.source_port)
            .add_u16(r.to.destination_port)
            .raw(),
        _ => meta.whole,
    };
    let ttl = hop_limit(meta, r.decrement);
    let header = &mut frame.bytes_mut()[at.l3..at.l4];
    rewrite_header(header, r.identification, ttl, r.to.source as u32, r.to.destination as u32)?;
    if !frame.set_len(at.end) {
        return Err(DropReason::Ipv4Malformed);
    }
    Ok(Meta {
        source: r.to.source,
        destination: r.to.destination,
        source_port: r.to.source_port,
        destination_port: r.to.destination_port,
        identification: r.identification.into(),
        hop_limit: ttl,
        whole,
        ..*meta
    })
}

/// Writes what a router and translator changes in an IPv4 header, options included.
#[inline(always)]
pub(crate) fn rewrite_header(
    bytes: &mut [u8],
    identification: u16,
    ttl: u8,
    source: u32,
    destination: u32,
) -> Result<(), DropReason> {
    let with_options = bytes.len() > 20;
    let mut header = ipv4::Header::new_checked_mut(bytes).ok_or(DropReason::Ipv4Malformed)?;
    // Summed before anything is written: reading back in words what was just written in bytes stalls.
    let checksum = header.checksum_with(identification, ttl, source, destination);
    header.set_identification(identification);
    header.set_ttl(ttl);
    header.set_source(source);
    header.set_destination(destination);
    header.set_checksum(checksum);
    if with_options {
        hide_route(bytes);
    }
    Ok(())
}

#[cold]
fn hide_route(header: &mut [u8]) {
    if let Some(options) = header.get_mut(20..) {
        ipv4::hide_route(options);
    }
    let checksum = checksum::ipv4_header(header);
    if let Some(mut header) = ipv4::Header::new_checked_mut(header) {
        header.set_checksum(checksum);
    }
}
