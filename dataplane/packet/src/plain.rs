//! Plain packets: whole TCP and UDP datagrams without IP options or extension headers. Nearly all packets are, so that
//! reading and rewriting them is what a translator spends its time on.
//!
//! Reading keeps the few fields that a look-up needs; the others stay where they are, and are read when the headers are
//! written anew. A rewrite writes link header, IP header, ports and checksum in one go, with the new addresses as the caller
//! has them. Whatever is not plain goes through [`crate::parse()`] and the functions of [`crate::translate`], which do the same
//! to plain packets: a property test holds the two together.

use crate::checksum::{Delta, udp_field};
use crate::translate::DF_THRESHOLD;
use crate::{Frame, Remark, ethernet, ipv4, ipv6, tcp, udp};

/// The longest payload: what is longer is nobody's packet, and lengths with headers stay within 16 bits.
const LONGEST: usize = u16::MAX as usize - 64;

/// What is read of a plain packet, besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bytes behind the IP header, link padding left out.
    pub payload: u16,
    /// Offset of the IP header.
    pub l3: u8,
    /// TCP or UDP.
    pub protocol: u8,
    /// Hop limit or time to live.
    pub hop_limit: u8,
    /// Flags of TCP, else zero.
    pub tcp_flags: u8,
    /// Whether the transport has a checksum: UDP over IPv4 may do without.
    pub summed: bool,
    /// Don't Fragment of IPv4.
    pub dont_fragment: bool,
}

impl Plain {
    /// Nothing.
    pub const NONE: Self = Self {
        source_port: 0,
        destination_port: 0,
        payload: 0,
        l3: 0,
        protocol: 0,
        hop_limit: 0,
        tcp_flags: 0,
        summed: false,
        dont_fragment: false,
    };

    /// Reads the headers behind the link header, together with source and destination address. None if the packet is not
    /// plain, or not well-formed.
    #[inline(always)]
    pub fn read_v4(frame: &[u8], l3: u8) -> Option<(Self, u32, u32)> {
        let packet = frame.get(usize::from(l3)..)?;
        let header = ipv4::Header::new_checked(packet)?;
        let fragment = header.flags_offset() & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK);
        if header.version_ihl() != 0x45 || fragment != 0 || !header.verifies() {
            return None;
        }
        let payload = packet.get(20..usize::from(header.total_length()))?;
        let dont_fragment = header.flags_offset() & ipv4::DONT_FRAGMENT != 0;
        let plain = Self { dont_fragment, ..Self::of(payload, l3, header.protocol(), header.ttl())? };
        Some((plain, header.source(), header.destination()))
    }

    /// As [`Plain::read_v4`], for IPv6.
    #[inline(always)]
    pub fn read_v6(frame: &[u8], l3: u8) -> Option<(Self, u128, u128)> {
        let packet = frame.get(usize::from(l3)..)?;
        let header = ipv6::Header::new_checked(packet)?;
        if header.version() != 6 {
            return None;
        }
        let payload = packet.get(40..40 + usize::from(header.payload_length()))?;
        let plain = Self::of(payload, l3, header.next_header(), header.hop_limit())?;
        Some((plain, header.source(), header.destination()))
    }

    /// From the transport header.
    #[inline(always)]
    fn of(payload: &[u8], l3: u8, protocol: u8, hop_limit: u8) -> Option<Self> {
        // The ports of TCP lie where those of UDP do.
        let header = udp::Header::new_checked(payload)?;
        let (source_port, destination_port) = (header.source_port(), header.destination_port());
        if source_port == 0 || destination_port == 0 {
            return None;
        }
        let (length, least, tcp_flags, summed) = if protocol == udp::PROTOCOL {
            (usize::from(header.length()), 8, 0, header.checksum() != 0)
        } else if protocol == tcp::PROTOCOL {
            let header = tcp::Header::new_checked(payload)?;
            (header.header_len(), 20, header.flags(), true)
        } else {
            return None;
        };
        (length >= least && length <= payload.len() && payload.len() <= LONGEST).then_some(Self {
            source_port,
            destination_port,
            payload: payload.len() as u16,
            l3,
            protocol,
            hop_limit,
            tcp_flags,
            summed,
            dont_fragment: false,
        })
    }
}

/// What a plain packet shall become.
#[derive(Clone, Copy, Debug)]
pub struct Ends<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// What addresses and ports change in the transport checksum.
    pub delta: Delta,
}

impl<A> Ends<A> {
    /// Writes ports and checksum.
    //= conformance XLT-30, XLT-31, XLT-36, XLT-40, N44-04, ADDR-22
    #[inline(always)]
    fn patch(&self, plain: &Plain, payload: &mut [u8]) -> Option<()> {
        let ports = u32::from(self.source_port) << 16 | u32::from(self.destination_port);
        let place = if plain.protocol == tcp::PROTOCOL { 16 } else { 6 };
        *payload.first_chunk_mut::<4>()? = ports.to_be_bytes();
        let field = payload.get_mut(place..)?.first_chunk_mut::<2>()?;
        let checksum = self.delta.apply(u16::from_be_bytes(*field));
        let checksum = if plain.protocol == tcp::PROTOCOL { checksum } else { udp_field(checksum) };
        if plain.summed {
            *field = checksum.to_be_bytes();
        }
        Some(())
    }
}

/// Rewrites an IPv6 packet as an IPv4 one behind another link header. False, with the frame spoilt, without room.
//= conformance XLT-07, XLT-08, XLT-09, XLT-10, XLT-11, XLT-12, XLT-14, XLT-45
#[inline(always)]
pub fn plain_six_to_four<const LINK: usize>(
    frame: &mut Frame,
    plain: &Plain,
    link: &[u8; LINK],
    to: &Ends<u32>,
    identification: u16,
    remark: Remark,
) -> bool {
    let Some(old) = frame.bytes().get(usize::from(plain.l3)..).and_then(ipv6::Header::new_checked) else {
        return false;
    };
    let tos = remark.apply(old.traffic_class());
    let total_length = plain.payload + 20;
    let dont_fragment = if usize::from(total_length) > DF_THRESHOLD { ipv4::DONT_FRAGMENT } else { 0 };
    let header = ipv4::Fields {
        tos,
        total_length,
        identification,
        flags_offset: dont_fragment,
        ttl: plain.hop_limit - 1,
        protocol: plain.protocol,
        source: to.source,
        destination: to.destination,
    };
    // 20 bytes less, and perhaps a tag more.
    if !frame.pull_front(usize::from(plain.l3) + 20 - LINK) {
        return false;
    }
    compose(
        frame,
        link,
        usize::from(plain.payload),
        |place| header.write(place),
        |payload| to.patch(plain, payload),
    )
}

/// Rewrites an IPv4 packet as an IPv6 one behind another link header. False, with the frame spoilt, without room.
//= conformance XLT-20, XLT-21, XLT-22, XLT-23, XLT-24, XLT-25, XLT-45
#[inline(always)]
pub fn plain_four_to_six<const LINK: usize>(
    frame: &mut Frame,
    plain: &Plain,
    link: &[u8; LINK],
    to: &Ends<u128>,
    remark: Remark,
) -> bool {
    let Some(old) = frame.bytes().get(usize::from(plain.l3)..).and_then(ipv4::Header::new_checked) else {
        return false;
    };
    let header = ipv6::Fields {
        traffic_class: remark.apply(old.tos()),
        payload_length: plain.payload,
        next_header: plain.protocol,
        hop_limit: plain.hop_limit - 1,
        source: to.source,
        destination: to.destination,
    };
    if !frame.push_front(20 + LINK - usize::from(plain.l3)) {
        return false;
    }
    compose(
        frame,
        link,
        usize::from(plain.payload),
        |place| header.write(place),
        |payload| to.patch(plain, payload),
    )
}

/// Rewrites an IPv4 packet with other addresses, and another identification if one is given, behind another link header. False,
/// with the frame spoilt, without room.
//= conformance N44-03, N44-05, N44-19, XLT-45
#[inline(always)]
pub fn plain_four_to_four<const LINK: usize>(
    frame: &mut Frame,
    plain: &Plain,
    link: &[u8; LINK],
    to: &Ends<u32>,
    identification: Option<u16>,
) -> bool {
    let l3 = usize::from(plain.l3);
    let moved = if l3 >= LINK { frame.pull_front(l3 - LINK) } else { frame.push_front(LINK - l3) };
    let ttl = plain.hop_limit - 1;
    let rewrite = |place: &mut [u8; 20]| {
        let mut header = ipv4::Header::of_mut(place);
        let checksum = header.checksum_after(identification, ttl, to.source, to.destination);
        if let Some(identification) = identification {
            header.set_identification(identification);
        }
        header.set_ttl(ttl);
        header.set_source(to.source);
        header.set_destination(to.destination);
        header.set_checksum(checksum);
    };
    moved && compose(frame, link, usize::from(plain.payload), rewrite, |payload| to.patch(plain, payload))
}

/// Writes a frame from front to back: link header, IP header, and what changes behind it. Cuts link padding off and pads
/// anew.
#[inline(always)]
fn compose<const LINK: usize, const IP: usize>(
    frame: &mut Frame,
    link: &[u8; LINK],
    payload: usize,
    header: impl FnOnce(&mut [u8; IP]),
    patch: impl FnOnce(&mut [u8]) -> Option<()>,
) -> bool {
    if !frame.set_len(LINK + IP + payload) {
        return false;
    }
    let Some((place, rest)) = frame.bytes_mut().split_first_chunk_mut::<LINK>() else { return false };
    *place = *link;
    let Some((place, payload)) = rest.split_first_chunk_mut::<IP>() else { return false };
    header(place);
    let patched = patch(payload).is_some();
    ethernet::pad(frame);
    patched
}

#[cfg(test)]
mod tests;
