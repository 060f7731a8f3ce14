//! The probe to the inside host of a TCP connection that has been idle for long (N64-TCP-21, N64-TCP-22).

use sluice_nat::Fixed;
use sluice_packet::{Family, tcp};

use super::Worker;
use super::forward::{inside_family, remote_inside};
use super::segment::Segment;

impl Worker {
    /// Sends an empty segment with only ACK set, sequence and acknowledgement 0, as if from the remote host. A living
    /// host answers with a duplicate ACK, which brings the session back to established.
    pub(super) fn send_probe(&mut self, fixed: &Fixed) {
        let Some(remote) = remote_inside(&self.setup.nat, fixed) else { return };
        self.send_segment(&probe(fixed, remote, inside_family(fixed)), 0);
    }
}

fn probe(fixed: &Fixed, remote: u128, family: Family) -> Segment {
    Segment {
        family,
        source: remote,
        destination: fixed.inside,
        source_port: fixed.remote_port,
        destination_port: fixed.inside_port,
        sequence: 0,
        acknowledgement: 0,
        flags: tcp::ACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::segment::sum;
    use sluice_nat::{Kind, KindRealm};
    use sluice_packet::{Frame, Transport, ethernet, parse};

    fn fixed(kind: Kind) -> Fixed {
        Fixed {
            kind_realm: KindRealm::new(kind, 0),
            protocol: tcp::PROTOCOL,
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
            let mut buffer = vec![0xff; length];
            let mut frame = Frame::new(&mut buffer, 0, 0);
            assert!(probe(&fixed, remote, family).write(&mut frame));
            let frame = frame.bytes();
            assert_eq!(frame.len(), length);
            let link = ethernet::link(frame).unwrap();
            let meta = parse(frame, &link).unwrap();
            assert_eq!((meta.transport, meta.tcp_flags), (Transport::Tcp, 0x10));
            assert_eq!((meta.source, meta.destination), (remote, fixed.inside));
            assert_eq!((meta.source_port, meta.destination_port), (80, 4000));
            let segment = &frame[usize::from(meta.l4)..];
            assert_eq!(segment[4..12], [0; 8]);
            let sum = sum(family, remote, fixed.inside, segment);
            assert_eq!(sum, 0, "a segment with its checksum sums to zero");
        }
    }
}
