//! IPv4 to IPv6 (RFC 7915, section 4).

use super::{
    Offsets, Rewrite, grow_header, header_place, hop_limit, patch_echo, patch_tcp, patch_udp, pseudo_header,
    shrink_header, unsupported, whole_len,
};
use crate::checksum::{Delta, transport_v6, udp_field};
use crate::meta::{Family, Fragment, Meta, Transport};
use crate::{DropReason, Frame, ethernet, icmp_map, icmpv6, ipv6, udp};

/// Bytes of a fragment header.
const FRAGMENT_HEADER: u16 = 8;

/// Translates an IPv4 packet to IPv6. Options are left out. A fragment gets a fragment header, a whole datagram never does:
/// one that is to be cut comes as the first fragment of itself, without More Fragments.
///
/// # Errors
/// [`DropReason::NoMbuf`] without headroom, or that of a packet which has no ports to translate.
#[inline(always)]
pub fn four_to_six(frame: &mut Frame, meta: &Meta, r: &Rewrite) -> Result<Meta, DropReason> {
    let at = Offsets::new(frame, meta, Family::V4)?;

    let payload = &mut frame.bytes_mut()[at.l4..at.end];
    let payload_length = payload.len() as u16;
    //= conformance FRAG-03, FRAG-05
    let fragment_header = if meta.is_whole() { 0 } else { FRAGMENT_HEADER };
    let l4 = meta.l3.checked_add(40 + fragment_header).ok_or(DropReason::Ipv4Malformed)?;
    let end = l4.checked_add(payload_length).ok_or(DropReason::Ipv4Malformed)?;
    let mut kind = 0;
    let protocol = match meta.transport {
        //= conformance FRAG-23, FRAG-24
        Transport::Tcp | Transport::Udp if meta.fragment == Fragment::Later => meta.protocol,
        Transport::IcmpQuery if meta.fragment == Fragment::Later => icmpv6::PROTOCOL,
        Transport::Tcp => {
            patch_tcp(payload, &r.to, r.delta)?;
            meta.protocol
        }
        Transport::Udp => {
            if !patch_udp(payload, &r.to, r.delta)? {
                make_udp_checksum(payload, meta, r)?;
            }
            meta.protocol
        }
        //= conformance ICMP-01, ICMP-02, N64-ICMP-10
        Transport::IcmpQuery => {
            kind = icmp_map::query_4_to_6(meta.icmp_type).ok_or(DropReason::IcmpUntranslatable)?;
            let pseudo = pseudo_header(r.to.source, r.to.destination, whole_len(meta, payload));
            patch_echo(payload, kind, r.to.source_port, r.delta.then(pseudo))?;
            icmpv6::PROTOCOL
        }
        _ => return Err(unsupported(meta)),
    };

    let hop_limit = hop_limit(meta, r.decrement);
    //= conformance XLT-20, XLT-22, XLT-23, XLT-24, XLT-41, FRAG-03
    let header = ipv6::Fields {
        traffic_class: meta.tos,
        payload_length: payload_length.checked_add(fragment_header).ok_or(DropReason::Ipv4Malformed)?,
        next_header: if meta.is_whole() { protocol } else { ipv6::FRAGMENT },
        hop_limit,
        source: r.to.source,
        destination: r.to.destination,
    };

    //= conformance XLT-28
    let space = 40 + usize::from(fragment_header);
    let resized =
        if at.l4 - at.l3 <= space { grow_header(frame, at, space) } else { shrink_header(frame, at, space) };
    resized.ok_or(DropReason::NoMbuf)?;
    let place = header_place(frame, at.l3, ethernet::IPV6).ok_or(DropReason::NoMbuf)?;
    header.write(place);
    if fragment_header > 0 {
        write_fragment_header(frame.bytes_mut(), at.l3 + 40, meta, protocol).ok_or(DropReason::NoMbuf)?;
    }
    Ok(Meta {
        source: r.to.source,
        destination: r.to.destination,
        source_port: r.to.source_port,
        destination_port: r.to.destination_port,
        identification: if fragment_header > 0 { meta.identification & 0xffff } else { 0 },
        l4,
        end,
        family: Family::V6,
        fragment: meta.fragment,
        protocol,
        hop_limit,
        icmp_type: kind,
        dont_fragment: false,
        options: fragment_header > 0,
        ..*meta
    })
}

/// Writes a fragment header at an offset of a frame.
//= conformance FRAG-05, FRAG-06
#[cold]
fn write_fragment_header(bytes: &mut [u8], at: usize, meta: &Meta, protocol: u8) -> Option<()> {
    let mut header = ipv6::FragmentHeader::new_checked_mut(bytes.get_mut(at..)?)?;
    header.set_next_header(protocol);
    header.set_reserved(0);
    header.set_offset_more(meta.fragment_offset << 3 | u16::from(meta.more_fragments));
    header.set_identification(meta.identification & 0xffff);
    Some(())
}

/// IPv6 requires the UDP checksum that IPv4 may leave out: the one case in which a payload is read. Ports are new
/// already. Of the first of several fragments the sum is known from when they were seen together.
//= conformance XLT-32, XLT-33, FRAG-25
#[cold]
fn make_udp_checksum(payload: &mut [u8], meta: &Meta, r: &Rewrite) -> Result<(), DropReason> {
    if meta.fragment == Fragment::First && meta.more_fragments {
        let mut header = udp::Header::new_checked_mut(payload).ok_or(DropReason::TransportMalformed)?;
        if meta.whole == 0 {
            return Err(DropReason::UdpChecksumZero);
        }
        let pseudo = Delta::ZERO
            .add_u128(r.to.source)
            .add_u128(r.to.destination)
            .add_u16(header.length())
            .add_u16(udp::PROTOCOL.into());
        let ports = Delta::ZERO
            .remove_u16(meta.source_port)
            .remove_u16(meta.destination_port)
            .add_u16(r.to.source_port)
            .add_u16(r.to.destination_port);
        let sum = pseudo.then(ports).add_u16(meta.whole).raw();
        header.set_checksum(udp_field(!sum));
        return Ok(());
    }
    let length = udp::Header::new_checked(payload).ok_or(DropReason::TransportMalformed)?.length();
    let datagram = payload.get_mut(..length.into()).ok_or(DropReason::TransportMalformed)?;
    let checksum = transport_v6(r.to.source, r.to.destination, udp::PROTOCOL, datagram);
    let mut header = udp::Header::new_checked_mut(datagram).ok_or(DropReason::TransportMalformed)?;
    header.set_checksum(udp_field(checksum));
    Ok(())
}
