//! Ethernet II, with at most one VLAN tag.

use crate::view::view;
use crate::{DropReason, Frame};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Tag of a customer VLAN.
pub const VLAN: u16 = 0x8100;
/// Tag of a service VLAN.
pub const VLAN_SERVICE: u16 = 0x88a8;

view! {
    /// An untagged Ethernet header.
    Header[14] {
        /// Destination MAC address.
        destination, set_destination: [u8; 6] = 0;
        /// Source MAC address.
        source, set_source: [u8; 6] = 6;
        /// EtherType, or the tag's if the frame has one.
        ether_type, set_ether_type: u16 = 12;
    }
}

view! {
    /// What a VLAN tag adds behind its own EtherType.
    Tag[4] {
        /// Priority, drop eligibility and VLAN id.
        control, set_control: u16 = 0;
        /// EtherType of what the tag holds.
        ether_type, set_ether_type: u16 = 2;
    }
}

/// What the link layer says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// VLAN id. `None` without a tag and with a priority tag (VLAN 0), which belongs to the untagged interface.
    pub vlan: Option<u16>,
    /// EtherType of the content. A second tag shows up here: nothing behind it is read.
    pub ether_type: u16,
    /// Bytes of link-layer header: 14 or 18.
    pub len: u8,
}

impl Link {
    /// Whether the frame is for a group of stations: multicast or broadcast.
    #[inline]
    pub const fn is_group(&self) -> bool {
        self.destination[0] & 1 != 0
    }
}

/// Reads the link-layer header of a frame.
///
/// # Errors
/// [`DropReason::EthernetMalformed`] if the frame is shorter than its headers.
#[inline]
pub fn link(frame: &[u8]) -> Result<Link, DropReason> {
    let header = Header::new_checked(frame).ok_or(DropReason::EthernetMalformed)?;
    let mut link = Link {
        destination: header.destination(),
        source: header.source(),
        vlan: None,
        ether_type: header.ether_type(),
        len: 14,
    };
    if matches!(link.ether_type, VLAN | VLAN_SERVICE) {
        let tag = frame.get(14..).and_then(Tag::new_checked).ok_or(DropReason::EthernetMalformed)?;
        let id = tag.control() & 0xfff;
        link.vlan = (id != 0).then_some(id);
        link.ether_type = tag.ether_type();
        link.len = 18;
    }
    Ok(link)
}

/// Shortest frame without its check sequence.
const SHORTEST: usize = 60;

/// Pads a short frame with zeros: software ports and their peers do not (XLT-45).
//= conformance XLT-45
#[inline(always)]
pub fn pad(frame: &mut Frame<'_>) {
    let length = frame.len();
    if length < SHORTEST && frame.set_len(SHORTEST) {
        frame.bytes_mut()[length..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTAGGED: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];

    #[test]
    fn untagged() {
        let link = link(&UNTAGGED).unwrap();
        assert_eq!((link.vlan, link.ether_type, link.len), (None, IPV6, 14));
        assert_eq!((link.destination[5], link.source[5], link.is_group()), (1, 2, false));
    }

    #[test]
    fn tagged() {
        for (control, vlan) in [(0x0064u16, Some(100)), (0xe001, Some(1)), (0xe000, None)] {
            let mut frame = [0; 18];
            frame[..12].copy_from_slice(&UNTAGGED[..12]);
            frame[12..14].copy_from_slice(&VLAN.to_be_bytes());
            frame[14..16].copy_from_slice(&control.to_be_bytes());
            frame[16..].copy_from_slice(&IPV4.to_be_bytes());
            let got = link(&frame).unwrap();
            assert_eq!((got.vlan, got.ether_type, got.len), (vlan, IPV4, 18));
            assert_eq!(link(&frame[..17]), Err(DropReason::EthernetMalformed));
        }
    }

    #[test]
    fn short_frames_are_refused() {
        for len in 0..14 {
            assert_eq!(link(&UNTAGGED[..len]), Err(DropReason::EthernetMalformed));
        }
    }
}
