//! Translation of data packets: TCP, UDP and echo, between families (RFC 7915) and between IPv4 realms.
//!
//! The transport header is patched where it lies; the IP header is written anew in front of it, and the link header
//! moves by the difference. Nothing behind the transport header is read, whatever the packet's size, except for the
//! one checksum that has to be made (IPv4 UDP without checksum, to IPv6).
//!
//! A function that returns an error may have changed the frame: it is to be dropped.

use crate::checksum::{Delta, udp_field};
use crate::meta::{Family, Fragment, Meta, Transport};
use crate::{DropReason, Frame, icmpv4, icmpv6, tcp, udp};

mod four_to_four;
mod four_to_six;
mod six_to_four;

pub use four_to_four::four_to_four;
pub(crate) use four_to_four::rewrite_header as rewrite_header_v4;
pub use four_to_six::four_to_six;
pub use six_to_four::six_to_four;

/// IPv4 datagrams up to this length may be fragmented on their way: DF is clear (RFC 7915, 5.1).
pub const DF_THRESHOLD: usize = 1260;

/// Addresses and ports of a packet. For an echo both ports hold the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Endpoints {
    /// The endpoints that a packet has.
    #[inline]
    pub const fn of(meta: &Meta) -> Self {
        Self {
            source: meta.source,
            destination: meta.destination,
            source_port: meta.source_port,
            destination_port: meta.destination_port,
        }
    }
}

/// What a data packet shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What it shall carry, in the target family.
    pub to: Endpoints,
    /// [`transport_delta`] from what it carries to that: a session keeps it.
    pub delta: Delta,
    /// Identification of the IPv4 header, unless the packet brings one in an IPv6 fragment header.
    pub identification: u16,
    /// Whether the hop limit is counted down; not on the second pass of a hairpin. The caller has checked that it may be.
    pub decrement: bool,
    /// Whether UDP may come over IPv6 without checksum, as tunnels do (RFC 6936); over IPv4 it then leaves without one too.
    pub allow_zero: bool,
}

/// The difference that new endpoints make to a transport checksum: addresses and ports for TCP and UDP, the identifier
/// for an echo. The ICMPv6 pseudo-header of an echo that changes family is added by the translation itself.
#[inline]
//= conformance XLT-35
pub fn transport_delta(transport: Transport, from: &Endpoints, to: &Endpoints) -> Delta {
    match transport {
        Transport::Tcp | Transport::Udp => Delta::ZERO
            .remove_u128(from.source)
            .remove_u128(from.destination)
            .remove_u16(from.source_port)
            .remove_u16(from.destination_port)
            .add_u128(to.source)
            .add_u128(to.destination)
            .add_u16(to.source_port)
            .add_u16(to.destination_port),
        Transport::IcmpQuery => Delta::ZERO.remove_u16(from.source_port).add_u16(to.source_port),
        Transport::IcmpError | Transport::IcmpOther | Transport::Other => Delta::ZERO,
    }
}

/// Length of a packet's datagram after translation, IP header included: what the next hop's MTU is compared with. A fragment
/// stays one. Between equal families nothing is stripped and the length stays. An ICMP error changes inside as well, and is cut to
/// what any next hop takes: it needs no such comparison.
#[inline]
pub fn translated_len(meta: &Meta, to: Family) -> u16 {
    let payload = meta.end.saturating_sub(meta.l4);
    match (meta.family, to) {
        (Family::V6, Family::V4) => payload.saturating_add(20),
        (Family::V4, Family::V6) if meta.is_whole() => payload.saturating_add(40),
        (Family::V4, Family::V6) => payload.saturating_add(48),
        _ => meta.ip_len(),
    }
}

/// Offsets of a packet, checked against its frame once so that later slicing cannot fail.
#[derive(Clone, Copy)]
pub(crate) struct Offsets {
    pub(crate) l3: usize,
    pub(crate) l4: usize,
    pub(crate) end: usize,
}

impl Offsets {
    /// Offsets of a packet of `family`. A [`Meta`] that is not this frame's is refused, not trusted.
    #[inline(always)]
    pub(crate) fn new(frame: &Frame, meta: &Meta, family: Family) -> Result<Self, DropReason> {
        let offsets = Self { l3: meta.l3.into(), l4: meta.l4.into(), end: meta.end.into() };
        let (header, refused) = match family {
            Family::V4 => (20, DropReason::Ipv4Malformed),
            Family::V6 => (40, DropReason::Ipv6Malformed),
        };
        let fits =
            offsets.l3 + header <= offsets.l4 && offsets.l4 <= offsets.end && offsets.end <= frame.len();
        if meta.family == family && offsets.l3 >= 2 && fits { Ok(offsets) } else { Err(refused) }
    }
}

/// Length of the transport message of which a packet has all, or the first part.
#[inline(always)]
fn whole_len(meta: &Meta, payload: &[u8]) -> u32 {
    if meta.fragment == Fragment::First && meta.more_fragments {
        meta.whole.into()
    } else {
        payload.len() as u32
    }
}

/// Why a packet of a transport without ports is not translated here.
#[cold]
fn unsupported(meta: &Meta) -> DropReason {
    match meta.transport {
        Transport::IcmpError | Transport::IcmpOther => DropReason::IcmpUntranslatable,
        _ => DropReason::ProtocolUnsupported,
    }
}

/// The hop limit of the translated packet.
//= conformance XLT-14, XLT-25, N44-05, HAIR-07
#[inline(always)]
fn hop_limit(meta: &Meta, decrement: bool) -> u8 {
    meta.hop_limit.saturating_sub(u8::from(decrement))
}

/// Rewrites ports and checksum of a TCP header.
//= conformance XLT-30, XLT-40, ADDR-22
#[inline(always)]
pub(crate) fn patch_tcp(payload: &mut [u8], to: &Endpoints, delta: Delta) -> Result<(), DropReason> {
    let mut header = tcp::Header::new_checked_mut(payload).ok_or(DropReason::TransportMalformed)?;
    header.set_source_port(to.source_port);
    header.set_destination_port(to.destination_port);
    header.set_checksum(delta.apply(header.checksum()));
    Ok(())
}

/// Rewrites the ports of a UDP header, and its checksum if it has one. Returns whether it has.
//= conformance XLT-31, N44-04
#[inline(always)]
pub(crate) fn patch_udp(payload: &mut [u8], to: &Endpoints, delta: Delta) -> Result<bool, DropReason> {
    let mut header = udp::Header::new_checked_mut(payload).ok_or(DropReason::TransportMalformed)?;
    header.set_source_port(to.source_port);
    header.set_destination_port(to.destination_port);
    let summed = header.checksum() != 0;
    if summed {
        header.set_checksum(udp_field(delta.apply(header.checksum())));
    }
    Ok(summed)
}

/// Rewrites type, identifier and checksum of an echo. `delta` covers the identifier and the pseudo-header; the type
/// is added here.
#[inline(always)]
pub(crate) fn patch_echo(
    payload: &mut [u8],
    kind: u8,
    identifier: u16,
    delta: Delta,
) -> Result<(), DropReason> {
    // ICMP and ICMPv6 lay an echo out alike.
    let mut header = icmpv4::Header::new_checked_mut(payload).ok_or(DropReason::TransportMalformed)?;
    let delta = delta.remove_u16(u16::from(header.kind()) << 8).add_u16(u16::from(kind) << 8);
    header.set_kind(kind);
    header.set_identifier(identifier);
    header.set_checksum(delta.apply(header.checksum()));
    Ok(())
}

/// What the ICMPv6 pseudo-header adds to a checksum; `len` is that of the ICMPv6 message.
#[inline(always)]
pub(crate) fn pseudo_header(source: u128, destination: u128, len: u32) -> Delta {
    Delta::ZERO.add_u128(source).add_u128(destination).add_u32(len).add_u16(icmpv6::PROTOCOL.into())
}

/// Moves the link header towards the payload at `l4`, so that `header` bytes lie between them, no more than there are
/// now, and cuts link padding off. Those bytes, and the EtherType, are the caller's to write.
//= conformance XLT-45
#[inline(always)]
pub(crate) fn shrink_header(frame: &mut Frame, at: Offsets, header: usize) -> Option<()> {
    let cut = (at.l4 - at.l3).checked_sub(header)?;
    move_link(frame.bytes_mut(), at.l3, 0, cut)?;
    (frame.set_len(at.end) && frame.pull_front(cut)).then_some(())
}

/// As [`shrink_header`], for `header` bytes that are no fewer than there are now. `None` without headroom.
#[inline(always)]
pub(crate) fn grow_header(frame: &mut Frame, at: Offsets, header: usize) -> Option<()> {
    let grow = header.checked_sub(at.l4 - at.l3)?;
    if !(frame.set_len(at.end) && frame.push_front(grow)) {
        return None;
    }
    move_link(frame.bytes_mut(), at.l3, grow, 0)
}

/// Moves a link header. The usual lengths are constants, so that a move is a few registers and not a call.
#[inline(always)]
fn move_link(bytes: &mut [u8], len: usize, from: usize, to: usize) -> Option<()> {
    #[inline(always)]
    fn fixed<const N: usize>(bytes: &mut [u8], from: usize, to: usize) -> Option<()> {
        let link = *bytes.get(from..)?.first_chunk::<N>()?;
        *bytes.get_mut(to..)?.first_chunk_mut::<N>()? = link;
        Some(())
    }
    match len {
        14 => fixed::<14>(bytes, from, to),
        18 => fixed::<18>(bytes, from, to),
        _ => {
            let fits = from.max(to) + len <= bytes.len();
            fits.then(|| bytes.copy_within(from..from + len, to))
        }
    }
}

/// Where an IP header of `N` bytes belongs: behind the link header at `l3`, whose EtherType is written.
#[inline(always)]
pub(crate) fn header_place<'a, const N: usize>(
    frame: &'a mut Frame,
    l3: usize,
    ether_type: u16,
) -> Option<&'a mut [u8; N]> {
    let tail = frame.bytes_mut().get_mut(l3.checked_sub(2)?..)?;
    let (kind, rest) = tail.split_first_chunk_mut::<2>()?;
    *kind = ether_type.to_be_bytes();
    rest.first_chunk_mut::<N>()
}

#[cfg(test)]
mod tests;
