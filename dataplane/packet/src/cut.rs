//! Cutting a datagram that is too large for the next link into fragments (RFC 791, RFC 8200 section 4.5, RFC 7915 section 4.1).
//!
//! What is cut is a packet as it would leave if there were room: an IPv4 packet without Don't Fragment, or an IPv6 packet that
//! has a fragment header already (see [`crate::four_to_six`]). It may be a fragment itself. The first piece stays where it is,
//! the others are copied.

use crate::meta::{Family, Meta};
use crate::{Frame, ipv4, ipv6};

/// How a datagram is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Payload bytes of every piece but the last.
    step: usize,
    /// Payload bytes altogether.
    payload: usize,
}

/// Bytes of the IPv6 header and the fragment header.
const HEADER_V6: usize = 48;
/// Offset of the fragment header from the IPv6 header.
const FRAGMENT_HEADER: usize = 40;
/// Flag of an IPv4 option that every fragment carries.
const COPIED: u8 = 0x80;

impl Cut {
    /// Cuts a packet so that no piece is longer than `mtu`, IP header included. `None` if no such pieces exist, or if the packet
    /// is not one that can be cut.
    pub fn new(meta: &Meta, mtu: u16) -> Option<Self> {
        let header = usize::from(meta.l4.checked_sub(meta.l3)?);
        let step = usize::from(mtu).checked_sub(header)? & !7;
        let cuttable = match meta.family {
            Family::V4 => header >= 20 && !meta.dont_fragment,
            Family::V6 => header == HEADER_V6,
        };
        (cuttable && step > 0).then_some(Self { step, payload: meta.end.checked_sub(meta.l4)?.into() })
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.payload.div_ceil(self.step).max(1)
    }

    /// Writes a piece that is not the first, a whole frame behind the same link header, into an empty frame. False, and nothing
    /// usable written, without room or if `meta` is not that of `frame`.
    pub fn piece(&self, frame: &[u8], meta: &Meta, number: usize, out: &mut Frame<'_>) -> bool {
        self.write(frame, meta, number, out).is_some()
    }

    fn write(&self, frame: &[u8], meta: &Meta, number: usize, out: &mut Frame<'_>) -> Option<()> {
        let (l3, l4) = (usize::from(meta.l3), usize::from(meta.l4));
        let from = number.checked_mul(self.step)?;
        let data = frame.get(l4 + from..usize::from(meta.end).min(l4 + from + self.step))?;
        let last = from + self.step >= self.payload;
        let (link, header) = frame.get(..l4)?.split_at_checked(l3)?;
        let mut own = [0; 60];
        let header_len = match meta.family {
            Family::V4 => later_header(header, &mut own)?,
            Family::V6 => {
                own.get_mut(..HEADER_V6)?.copy_from_slice(header);
                HEADER_V6
            }
        };
        let header = own.get_mut(..header_len)?;
        if data.is_empty() || !out.set_len(l3 + header_len + data.len()) {
            return None;
        }
        place(header, meta, number * self.step / 8, data.len(), last)?;
        let (to_link, rest) = out.bytes_mut().split_at_mut_checked(l3)?;
        let (to_header, to_data) = rest.split_at_mut_checked(header_len)?;
        to_link.copy_from_slice(link);
        to_header.copy_from_slice(header);
        to_data.copy_from_slice(data);
        Some(())
    }

    /// Cuts the packet itself down to its first piece. False if `meta` is not that of `frame`, which is unusable then.
    pub fn first(&self, frame: &mut Frame<'_>, meta: &Meta) -> bool {
        let (l3, l4) = (usize::from(meta.l3), usize::from(meta.l4));
        let kept = self.step.min(self.payload);
        let shorter = frame.len() >= l4 + kept && frame.set_len(l4 + kept);
        let Some(header) = frame.bytes_mut().get_mut(l3..l4) else { return false };
        shorter && place(header, meta, 0, kept, self.payload <= self.step).is_some()
    }
}

/// Writes length, offset, More Fragments and checksum of a piece. `units` of 8 bytes lie before it.
//= conformance FRAG-01, FRAG-12, FRAG-14, FRAG-38
fn place(header: &mut [u8], meta: &Meta, units: usize, data: usize, last: bool) -> Option<()> {
    let offset = u16::try_from(usize::from(meta.fragment_offset) + units).ok()?;
    // Only the last piece of the last fragment is the last.
    let more = !last || meta.more_fragments;
    let length = header.len();
    match meta.family {
        Family::V4 => {
            let mut view = ipv4::Header::new_checked_mut(header)?;
            view.set_total_length(u16::try_from(length + data).ok()?);
            view.set_flags_offset(offset & ipv4::OFFSET_MASK | if more { ipv4::MORE_FRAGMENTS } else { 0 });
            let checksum = crate::checksum::ipv4_header(header);
            ipv4::Header::new_checked_mut(header)?.set_checksum(checksum);
        }
        Family::V6 => {
            let payload = u16::try_from(length - FRAGMENT_HEADER + data).ok()?;
            ipv6::Header::new_checked_mut(header)?.set_payload_length(payload);
            let mut view = ipv6::FragmentHeader::new_checked_mut(header.get_mut(FRAGMENT_HEADER..)?)?;
            view.set_offset_more(offset << 3 | u16::from(more));
        }
    }
    Some(())
}

/// Writes the IPv4 header of the pieces behind the first, with those options alone that every fragment carries. Returns its
/// length.
fn later_header(header: &[u8], own: &mut [u8; 60]) -> Option<usize> {
    let (fixed, mut options) = header.split_at_checked(20)?;
    own.get_mut(..20)?.copy_from_slice(fixed);
    let mut len = 20;
    while let Some((kind, option)) = ipv4::option(options) {
        if kind == ipv4::OPTION_END {
            break;
        }
        let (this, rest) = options.split_at_checked(option)?;
        if kind & COPIED != 0 {
            own.get_mut(len..len + option)?.copy_from_slice(this);
            len += option;
        }
        options = rest;
    }
    // The padding is the end of the list of options, which is zero.
    let len = len.next_multiple_of(4);
    own[0] = 0x40 | (len / 4) as u8;
    Some(len)
}
