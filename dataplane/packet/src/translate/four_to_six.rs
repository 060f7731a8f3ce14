//! IPv4 to IPv6 (RFC 7915, section 4).

use super::{
    Offsets, Rewrite, grow_header, header_place, hop_limit, patch_echo, patch_tcp, patch_udp, pseudo_header,
    refuse_fragments, shrink_header, unsupported,
};
use crate::checksum::{transport_v6, udp_field};
use crate::meta::{Family, Fragment, Meta, Transport};
use crate::{DropReason, Frame, ethernet, icmp_map, icmpv6, ipv6, udp};

/// Translates an IPv4 packet to IPv6. Options are left out, and there is never a fragment header.
///
/// # Errors
/// [`DropReason::Fragment`], [`DropReason::NoMbuf`] without headroom, or that of a packet which has no ports to translate.
#[inline(always)]
pub fn four_to_six(frame: &mut Frame, meta: &Meta, r: &Rewrite) -> Result<Meta, DropReason> {
    let at = Offsets::new(frame, meta, Family::V4)?;
    refuse_fragments(meta)?;

    let payload = &mut frame.bytes_mut()[at.l4..at.end];
    let payload_length = payload.len() as u16;
    let l4 = meta.l3.checked_add(40).ok_or(DropReason::Ipv4Malformed)?;
    let end = l4.checked_add(payload_length).ok_or(DropReason::Ipv4Malformed)?;
    let mut kind = 0;
    let protocol = match meta.transport {
        Transport::Tcp => {
            patch_tcp(payload, &r.to, r.delta)?;
            meta.protocol
        }
        Transport::Udp => {
            if !patch_udp(payload, &r.to, r.delta)? {
                make_udp_checksum(payload, r)?;
            }
            meta.protocol
        }
        //= conformance ICMP-01, ICMP-02, N64-ICMP-10
        Transport::IcmpQuery => {
            kind = icmp_map::query_4_to_6(meta.icmp_type).ok_or(DropReason::IcmpUntranslatable)?;
            let pseudo = pseudo_header(r.to.source, r.to.destination, payload_length.into());
            patch_echo(payload, kind, r.to.source_port, r.delta.then(pseudo))?;
            icmpv6::PROTOCOL
        }
        _ => return Err(unsupported(meta)),
    };

    let hop_limit = hop_limit(meta, r.decrement);
    //= conformance XLT-20, XLT-22, XLT-23, XLT-24, XLT-41, FRAG-03
    let header = ipv6::Fields {
        traffic_class: meta.tos,
        payload_length,
        next_header: protocol,
        hop_limit,
        source: r.to.source,
        destination: r.to.destination,
    };

    //= conformance XLT-28
    let resized = if at.l4 - at.l3 <= 40 { grow_header(frame, at, 40) } else { shrink_header(frame, at, 40) };
    resized.ok_or(DropReason::NoMbuf)?;
    let place = header_place(frame, at.l3, ethernet::IPV6).ok_or(DropReason::NoMbuf)?;
    header.write(place);
    Ok(Meta {
        source: r.to.source,
        destination: r.to.destination,
        source_port: r.to.source_port,
        destination_port: r.to.destination_port,
        identification: 0,
        l4,
        end,
        family: Family::V6,
        fragment: Fragment::No,
        protocol,
        hop_limit,
        icmp_type: kind,
        dont_fragment: false,
        options: false,
        ..*meta
    })
}

/// IPv6 requires the UDP checksum that IPv4 may leave out: the one case in which a payload is read. Ports are new
/// already.
//= conformance XLT-32
#[cold]
fn make_udp_checksum(payload: &mut [u8], r: &Rewrite) -> Result<(), DropReason> {
    let length = udp::Header::new_checked(payload).ok_or(DropReason::TransportMalformed)?.length();
    let datagram = payload.get_mut(..length.into()).ok_or(DropReason::TransportMalformed)?;
    let checksum = transport_v6(r.to.source, r.to.destination, udp::PROTOCOL, datagram);
    let mut header = udp::Header::new_checked_mut(datagram).ok_or(DropReason::TransportMalformed)?;
    header.set_checksum(udp_field(checksum));
    Ok(())
}
