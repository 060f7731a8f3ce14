//! IPv6 to IPv4 (RFC 7915, section 5).

use super::{
    DF_THRESHOLD, Offsets, Rewrite, header_place, hop_limit, patch_echo, patch_tcp, patch_udp, pseudo_header,
    shrink_header, unsupported, whole_len,
};
use crate::meta::{Family, Fragment, Meta, Transport};
use crate::{DropReason, Frame, ethernet, icmp_map, icmpv4, ipv4};

/// Translates an IPv6 packet to IPv4. Extension headers are left out; a fragment stays one, with the lower half of its
/// identification.
///
/// # Errors
/// [`DropReason::UdpChecksumZero`] unless that is allowed, or that of a packet which has no ports to translate.
#[inline(always)]
pub fn six_to_four(frame: &mut Frame, meta: &Meta, r: &Rewrite) -> Result<Meta, DropReason> {
    let at = Offsets::new(frame, meta, Family::V6)?;

    let payload = &mut frame.bytes_mut()[at.l4..at.end];
    let mut kind = 0;
    let protocol = match meta.transport {
        //= conformance FRAG-23, FRAG-24
        Transport::Tcp | Transport::Udp if meta.fragment == Fragment::Later => meta.protocol,
        Transport::IcmpQuery if meta.fragment == Fragment::Later => icmpv4::PROTOCOL,
        Transport::Tcp => {
            patch_tcp(payload, &r.to, r.delta)?;
            meta.protocol
        }
        Transport::Udp => {
            //= conformance XLT-34
            if !patch_udp(payload, &r.to, r.delta)? && !r.allow_zero {
                return Err(DropReason::UdpChecksumZero);
            }
            meta.protocol
        }
        //= conformance ICMP-40, ICMP-41, N64-ICMP-10
        Transport::IcmpQuery => {
            kind = icmp_map::query_6_to_4(meta.icmp_type).ok_or(DropReason::IcmpUntranslatable)?;
            let pseudo = pseudo_header(meta.source, meta.destination, whole_len(meta, payload));
            patch_echo(payload, kind, r.to.source_port, r.delta.then(pseudo.inverse()))?;
            icmpv4::PROTOCOL
        }
        _ => return Err(unsupported(meta)),
    };

    //= conformance XLT-10
    let total_length = 20 + (at.end - at.l4);
    let Ok(total_length_field) = u16::try_from(total_length) else { return Err(DropReason::Ipv6Malformed) };
    //= conformance XLT-11, XLT-12, XLT-13, FRAG-16
    let (identification, flags_offset) = if meta.fragment != Fragment::No {
        //= conformance FRAG-08, FRAG-09, FRAG-10
        let more = if meta.more_fragments { ipv4::MORE_FRAGMENTS } else { 0 };
        (meta.identification as u16, more | meta.fragment_offset)
    } else if total_length > DF_THRESHOLD {
        (r.identification, ipv4::DONT_FRAGMENT)
    } else {
        (r.identification, 0)
    };
    let ttl = hop_limit(meta, r.decrement);
    let header = ipv4::Fields {
        //= conformance XLT-08, XLT-41
        tos: meta.tos,
        total_length: total_length_field,
        identification,
        flags_offset,
        ttl,
        protocol,
        source: r.to.source as u32,
        destination: r.to.destination as u32,
    };

    //= conformance XLT-07, XLT-15, XLT-17
    shrink_header(frame, at, 20).ok_or(DropReason::Ipv6Malformed)?;
    let place = header_place(frame, at.l3, ethernet::IPV4).ok_or(DropReason::Ipv6Malformed)?;
    header.write(place);
    Ok(Meta {
        source: r.to.source,
        destination: r.to.destination,
        source_port: r.to.source_port,
        destination_port: r.to.destination_port,
        identification: identification.into(),
        l4: meta.l3 + 20,
        end: meta.l3 + total_length_field,
        family: Family::V4,
        fragment: if meta.is_whole() { Fragment::No } else { meta.fragment },
        protocol,
        hop_limit: ttl,
        icmp_type: kind,
        dont_fragment: flags_offset & ipv4::DONT_FRAGMENT != 0,
        options: false,
        ..*meta
    })
}
