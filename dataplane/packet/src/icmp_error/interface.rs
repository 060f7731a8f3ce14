//! The Interface Information Object (RFC 5837) that says where a translated error came from.
//!
//! A router without IPv4 address reports from an address of a pool that stands for all of them (RFC 6791), so that its own has to
//! travel in an extension of the error. Errors that bring extensions along get it as one object more.

use crate::checksum::{Delta, of};

/// Version 2 in the upper four bits of the structure's header.
const VERSION: u8 = 2 << 4;
const HEADER_LEN: usize = 4;
/// Header, family and padding of the sub-object, address.
const OBJECT_LEN: usize = 4 + 4 + 16;
const CLASS: u8 = 2;
/// The interface on which the packet in question arrived, and an IP address of it: nothing else is included.
const INCOMING_WITH_ADDRESS: u8 = 0x04;
/// Address family of IPv6.
const IPV6: u8 = 2;

/// Writes `structure` with an object for `source` behind what it holds to the start of `out`, and gives its length. A structure
/// that is none, or for which there is no room, stays as it is. `out` takes any structure of an error that this crate writes.
//= conformance ICMP-95
pub(super) fn append(out: &mut [u8], structure: &[u8], source: u128) -> usize {
    let object = object(source);
    let start = if structure.is_empty() { HEADER_LEN } else { structure.len() };
    let sound =
        structure.is_empty() || structure[0] >> 4 == VERSION >> 4 && structure.len().is_multiple_of(4);
    let Some(place) = out.get_mut(start..start + OBJECT_LEN).filter(|_| sound) else {
        let len = structure.len().min(out.len());
        out[..len].copy_from_slice(&structure[..len]);
        return len;
    };
    place.copy_from_slice(&object);
    let len = start + OBJECT_LEN;
    if structure.is_empty() {
        out[..HEADER_LEN].copy_from_slice(&[VERSION, 0, 0, 0]);
        let checksum = of(&out[..len]);
        out[2..4].copy_from_slice(&checksum.to_be_bytes());
        return len;
    }
    out[..start].copy_from_slice(structure);
    // Zero stands for no checksum. Another one is continued, not made anew: what was wrong stays wrong.
    let checksum = u16::from_be_bytes([out[2], out[3]]);
    if checksum != 0 {
        let added = object
            .chunks_exact(2)
            .fold(Delta::ZERO, |delta, word| delta.add_u16(u16::from_be_bytes([word[0], word[1]])));
        out[2..4].copy_from_slice(&added.apply(checksum).to_be_bytes());
    }
    len
}

fn object(source: u128) -> [u8; OBJECT_LEN] {
    let mut object = [0; OBJECT_LEN];
    object[..8].copy_from_slice(&[0, OBJECT_LEN as u8, CLASS, INCOMING_WITH_ADDRESS, 0, IPV6, 0, 0]);
    object[8..].copy_from_slice(&source.to_be_bytes());
    object
}
