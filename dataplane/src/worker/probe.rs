//! The probe to the inside host of a TCP connection that has been idle for long (N64-TCP-21, N64-TCP-22).

use sluice_nat::Fixed;
use sluice_packet::{Family, checksum, ipv4, ipv6};
use sluice_shm::Counter;

use super::Worker;
use super::forward::{inside_family, remote_inside};

const TCP: u8 = 6;
const TCP_LEN: usize = 20;
const LINK_LEN: usize = 14;

impl Worker {
    /// Sends an empty segment with only ACK set, sequence and acknowledgement 0, as if from the remote host. A living
    /// host answers with a duplicate ACK, which brings the session back to established.
    pub(super) fn send_probe(&mut self, fixed: &Fixed) {
        let Some(remote) = remote_inside(&self.setup.nat, fixed) else { return };
        let Some(mut mbuf) = self.mempool.alloc() else { return };
        let family = inside_family(fixed);
        let header = if family == Family::V6 { 40 } else { 20 };
        let made = mbuf.with_frame(|frame| {
            if !frame.set_len(LINK_LEN + header + TCP_LEN) {
                return false;
            }
            write_probe(frame.bytes_mut(), fixed, remote, family);
            true
        });
        if made {
            self.sight.counters.add(Counter::Generated, 1);
            self.originate(mbuf, 0, family, fixed.inside);
        }
    }
}

/// Fills a frame of the right length.
fn write_probe(bytes: &mut [u8], fixed: &Fixed, remote: u128, family: Family) {
    bytes.fill(0);
    let mut tcp = [0; TCP_LEN];
    tcp[0..2].copy_from_slice(&fixed.remote_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&fixed.inside_port.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = 0x10;
    let (ether_type, sum): (u16, u16) = match family {
        Family::V6 => {
            let header = ipv6::Fields {
                traffic_class: 0,
                payload_length: TCP_LEN as u16,
                next_header: TCP,
                hop_limit: 64,
                source: remote,
                destination: fixed.inside,
            };
            bytes[LINK_LEN..LINK_LEN + 40].copy_from_slice(&header.header());
            (0x86dd, checksum::transport_v6(remote, fixed.inside, TCP, &tcp))
        }
        Family::V4 => {
            let header = ipv4::Fields {
                tos: 0,
                total_length: (20 + TCP_LEN) as u16,
                identification: 0,
                flags_offset: 0x4000,
                ttl: 64,
                protocol: TCP,
                source: remote as u32,
                destination: fixed.inside as u32,
            };
            bytes[LINK_LEN..LINK_LEN + 20].copy_from_slice(&header.header());
            (0x0800, checksum::transport_v4(remote as u32, fixed.inside as u32, TCP, &tcp))
        }
    };
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
    let l4 = bytes.len() - TCP_LEN;
    bytes[l4..].copy_from_slice(&tcp);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_nat::{Kind, KindRealm};
    use sluice_packet::{Transport, ethernet, parse};

    fn fixed(kind: Kind) -> Fixed {
        Fixed {
            kind_realm: KindRealm::new(kind, 0),
            protocol: TCP,
            inside_port: 4000,
            inside: if kind == Kind::Nat64 { 0x2001_0db8_0001 << 80 | 0x10 } else { 0x0a00_000a },
            remote: 0xc633_6409,
            external: 0xc000_0201,
            remote_port: 80,
            external_port: 40_000,
            delta: 0,
            rule: 0,
            binding: 0,
            owner: 0,
            prefix64: 0,
        }
    }

    //= conformance N64-TCP-21
    //= conformance N64-TCP-22
    #[test]
    fn a_probe_is_an_empty_ack_from_the_remote_host_with_valid_checksums() {
        for (kind, family, remote, length) in [
            (Kind::Nat64, Family::V6, 0x2001_0db8_0064 << 80 | 0xc633_6409, 74),
            (Kind::Nat44, Family::V4, 0xc633_6409, 54),
        ] {
            let fixed = fixed(kind);
            let mut frame = vec![0xff; length];
            write_probe(&mut frame, &fixed, remote, family);
            let link = ethernet::link(&frame).unwrap();
            let meta = parse(&frame, &link).unwrap();
            assert_eq!((meta.transport, meta.tcp_flags), (Transport::Tcp, 0x10));
            assert_eq!((meta.source, meta.destination), (remote, fixed.inside));
            assert_eq!((meta.source_port, meta.destination_port), (80, 4000));
            let segment = &frame[usize::from(meta.l4)..];
            assert_eq!(segment[4..12], [0; 8]);
            let sum = match family {
                Family::V6 => checksum::transport_v6(remote, fixed.inside, TCP, segment),
                Family::V4 => checksum::transport_v4(remote as u32, fixed.inside as u32, TCP, segment),
            };
            assert_eq!(sum, 0, "a segment with its checksum sums to zero");
        }
    }
}
