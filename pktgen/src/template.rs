//! Frames of one direction: built once, then copied, with only addresses, ports and signature written and both checksums
//! corrected by what was added. Their payload is never summed again.

use sluice_packet::checksum::{self, Delta};
use sluice_packet::{Endpoints, Family, ethernet, ipv4, ipv6, udp};

use crate::signature::{self, Signature};

/// TTL and hop limit of what is sent.
pub const HOP_LIMIT: u8 = 64;
/// The FCS, which sizes of frames include and DPDK's buffers do not.
pub const FCS: usize = 4;

const ETHERNET_LEN: usize = 14;
const UDP_LEN: usize = 8;

/// Bytes of an IP header as it is sent here: without options or extension headers.
pub const fn ip_header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// Bytes of the smallest frame of a family, without FCS.
pub const fn least(family: Family) -> usize {
    ETHERNET_LEN + ip_header(family) + UDP_LEN + signature::LEN
}

/// The payload behind the signature: bytes that differ from their neighbours, so that a shift shows.
pub fn fill(payload: &mut [u8]) {
    for (index, byte) in payload.iter_mut().enumerate().skip(signature::LEN) {
        *byte = (index as u8).wrapping_mul(29);
    }
}

/// A frame of which everything but addresses, ports and signature is in place. Its checksums are right for zeros there.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    family: Family,
    ip_checksum: u16,
    udp_checksum: u16,
}

impl Template {
    /// A template of frames of `len` bytes, without FCS.
    ///
    /// # Panics
    /// If the length is below [`least`] or does not fit IP: the plan has checked it.
    pub fn new(family: Family, destination: [u8; 6], source: [u8; 6], len: usize) -> Self {
        assert!((least(family)..=usize::from(u16::MAX)).contains(&len));
        let mut link = ethernet::Header::zeroed();
        link.set_destination(destination);
        link.set_source(source);
        link.set_ether_type(if family == Family::V4 { ethernet::IPV4 } else { ethernet::IPV6 });
        let datagram = (len - ETHERNET_LEN - ip_header(family)) as u16;

        let mut bytes = link.bytes().to_vec();
        match family {
            Family::V4 => bytes.extend(
                ipv4::Fields {
                    tos: 0,
                    total_length: datagram + 20,
                    identification: 0,
                    flags_offset: ipv4::DONT_FRAGMENT,
                    ttl: HOP_LIMIT,
                    protocol: udp::PROTOCOL,
                    source: 0,
                    destination: 0,
                }
                .header(),
            ),
            Family::V6 => bytes.extend(
                ipv6::Fields {
                    traffic_class: 0,
                    payload_length: datagram,
                    next_header: udp::PROTOCOL,
                    hop_limit: HOP_LIMIT,
                    source: 0,
                    destination: 0,
                }
                .header(),
            ),
        }
        let mut header = udp::Header::zeroed();
        header.set_length(datagram);
        bytes.extend(header.bytes());
        let mut payload = vec![0; usize::from(datagram) - UDP_LEN];
        payload[..2].copy_from_slice(&signature::MAGIC.to_be_bytes());
        fill(&mut payload);
        bytes.extend(payload);

        let transport = &bytes[ETHERNET_LEN + ip_header(family)..];
        let udp_checksum = match family {
            Family::V4 => checksum::transport_v4(0, 0, udp::PROTOCOL, transport),
            Family::V6 => checksum::transport_v6(0, 0, udp::PROTOCOL, transport),
        };
        let ip_checksum =
            ipv4::Header::new_checked(&bytes[ETHERNET_LEN..]).map_or(0, |header| header.checksum());
        Self { bytes, family, ip_checksum, udp_checksum }
    }

    /// Bytes of a frame, without FCS.
    #[allow(clippy::len_without_is_empty, reason = "a template is never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes a frame. `false`, and the frame is of no use, if `frame` is not [`Template::len`] bytes long.
    #[inline]
    #[must_use]
    pub fn write(&self, frame: &mut [u8], ends: &Endpoints, signature: &Signature) -> bool {
        if frame.len() != self.bytes.len() {
            return false;
        }
        frame.copy_from_slice(&self.bytes);
        let Some(packet) = frame.get_mut(ETHERNET_LEN..) else { return false };
        let addresses = match self.family {
            Family::V4 => {
                let (source, destination) = (ends.source as u32, ends.destination as u32);
                let addresses = Delta::ZERO.add_u32(source).add_u32(destination);
                let Some(mut header) = ipv4::Header::new_checked_mut(packet) else { return false };
                header.set_source(source);
                header.set_destination(destination);
                header.set_checksum(addresses.apply(self.ip_checksum));
                addresses
            }
            Family::V6 => {
                let Some(mut header) = ipv6::Header::new_checked_mut(packet) else { return false };
                header.set_source(ends.source);
                header.set_destination(ends.destination);
                Delta::ZERO.add_u128(ends.source).add_u128(ends.destination)
            }
        };
        let added = addresses
            .add_u16(ends.source_port)
            .add_u16(ends.destination_port)
            .add_u32(signature.label())
            .add_u32(signature.sequence)
            .add_u32((signature.time >> 32) as u32)
            .add_u32(signature.time as u32);
        let Some((transport, payload)) =
            packet.get_mut(ip_header(self.family)..).and_then(|rest| rest.split_at_mut_checked(UDP_LEN))
        else {
            return false;
        };
        let Some(mut header) = udp::Header::new_checked_mut(transport) else { return false };
        header.set_source_port(ends.source_port);
        header.set_destination_port(ends.destination_port);
        header.set_checksum(match added.apply(self.udp_checksum) {
            // Zero would mean "none" (RFC 768).
            0 => 0xffff,
            checksum => checksum,
        });
        let Some(bytes) = payload.first_chunk_mut() else { return false };
        signature.write(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::{Reading, read};
    use crate::signature::Direction;

    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    /// `read` sums every byte, so it shares nothing with the incremental checksums.
    #[test]
    fn every_frame_has_right_checksums_and_says_what_it_was_given() {
        let mut mix = 1u128;
        for family in [Family::V4, Family::V6] {
            for len in [least(family), least(family) + 1, 590, 1514] {
                let template = Template::new(family, MACS[0], MACS[1], len);
                let mut frame = vec![0xaa; len];
                for sequence in 0..2000u32 {
                    mix = mix.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
                    let mask = if family == Family::V4 { 0xffff_ffff } else { u128::MAX };
                    let ends = Endpoints {
                        source: mix & mask,
                        destination: mix.rotate_left(50) & mask,
                        source_port: (mix >> 40) as u16,
                        destination_port: (mix >> 70) as u16,
                    };
                    let signature = Signature {
                        direction: Direction::Inbound,
                        run: (mix >> 9) as u8 & 0x7f,
                        flow: (mix >> 17) as u32 & 0xff_ffff,
                        sequence: sequence.wrapping_mul(0x9e37_79b9),
                        time: (mix >> 33) as u64,
                    };
                    assert!(template.write(&mut frame, &ends, &signature));
                    let Reading::Udp(datagram) = read(&frame) else { panic!("{frame:02x?}") };
                    assert_eq!(datagram.checksum_fault, None, "{frame:02x?}");
                    assert_eq!(
                        (datagram.family, datagram.ends, datagram.hop_limit),
                        (family, ends, HOP_LIMIT)
                    );
                    assert_eq!((datagram.mac_destination, datagram.mac_source), (MACS[0], MACS[1]));
                    assert_eq!(Signature::read(datagram.payload), Some(signature));
                    let mut expected = datagram.payload.to_vec();
                    fill(&mut expected);
                    assert_eq!(datagram.payload, expected);
                }
            }
        }
    }

    //= conformance XLT-31
    #[test]
    fn a_checksum_of_zero_is_sent_as_ones() {
        let template = Template::new(Family::V4, MACS[0], MACS[1], 60);
        let mut frame = vec![0; 60];
        let zero = (0..=u16::MAX).find(|port| {
            let ends = Endpoints { source: 1, destination: 2, source_port: *port, destination_port: 9 };
            let signature =
                Signature { direction: Direction::Outbound, run: 0, flow: 0, sequence: 0, time: 0 };
            assert!(template.write(&mut frame, &ends, &signature));
            assert_ne!(frame[40..42], [0, 0]);
            frame[40..42] == [0xff, 0xff]
        });
        assert!(zero.is_some());
    }

    #[test]
    fn a_buffer_of_another_length_is_refused() {
        let template = Template::new(Family::V6, MACS[0], MACS[1], 100);
        let ends = Endpoints { source: 1, destination: 2, source_port: 3, destination_port: 4 };
        let signature = Signature { direction: Direction::Outbound, run: 0, flow: 0, sequence: 0, time: 0 };
        assert!(!template.write(&mut [0; 99], &ends, &signature));
    }
}
