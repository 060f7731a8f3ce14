//! The answer to a TCP segment from inside that belongs to no connection anybody knows, if the configuration has one sent: the
//! host learns at once that its connection is gone, as after a restart, instead of trying again for minutes.

use sluice_packet::{Meta, tcp};
use sluice_shm::Counter;

use super::Worker;
use super::batch::Packet;
use super::segment::{Segment, sum};

impl Worker {
    /// Answers a segment with RST as if from the remote host, as far as the rate of errors allows. The segment itself is left
    /// to the caller.
    //= conformance N64-TCP-44
    #[cold]
    pub(super) fn reset(&mut self, packet: &Packet) {
        let Some(reset) = answer(packet.mbuf.data(), &packet.meta) else { return };
        if self.buckets[packet.meta.family as usize].take(self.now) {
            self.send_segment(&reset, packet.interface);
        } else {
            self.sight.counters.add(Counter::IcmpErrorsSuppressed, 1);
        }
    }
}

/// What a host without the connection answers (RFC 9293, section 3.10.7.1). Nothing to a reset, nor to what a host would not
/// have taken for a segment: a damaged one, or a part of one.
//= conformance N64-TCP-44
fn answer(frame: &[u8], meta: &Meta) -> Option<Segment> {
    let segment = frame.get(usize::from(meta.l4)..usize::from(meta.end))?;
    let header = tcp::Header::new_checked(segment)?;
    let flags = header.flags();
    if !meta.is_whole()
        || flags & tcp::RST != 0
        || sum(meta.family, meta.source, meta.destination, segment) != 0
    {
        return None;
    }
    let (sequence, acknowledgement, flags) = if flags & tcp::ACK != 0 {
        (header.acknowledgement(), 0, tcp::RST)
    } else {
        let data = segment.len().checked_sub(header.header_len())? as u32;
        let length = data + u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
        (0, header.sequence().wrapping_add(length), tcp::RST | tcp::ACK)
    };
    Some(Segment {
        family: meta.family,
        source: meta.destination,
        destination: meta.source,
        source_port: meta.destination_port,
        destination_port: meta.source_port,
        sequence,
        acknowledgement,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_packet::{Family, Fragment, Frame, ethernet, parse};

    /// From an inside host, without data.
    const SENT: Segment = Segment {
        family: Family::V6,
        source: 0x2001_0db8_0001 << 80 | 0x10,
        destination: 0x2001_0db8_0064 << 80 | 0xc633_6409,
        source_port: 4000,
        destination_port: 80,
        sequence: u32::MAX,
        acknowledgement: 7000,
        flags: tcp::ACK,
    };

    fn written(segment: &Segment) -> (Vec<u8>, Meta) {
        let mut buffer = vec![0; 100];
        let mut frame = Frame::new(&mut buffer, 0, 0);
        assert!(segment.write(&mut frame));
        let frame = frame.bytes().to_vec();
        let meta = parse(&frame, &ethernet::link(&frame).unwrap()).unwrap();
        (frame, meta)
    }

    fn answered(segment: &Segment) -> Option<Segment> {
        let (frame, meta) = written(segment);
        answer(&frame, &meta)
    }

    //= conformance N64-TCP-44
    #[test]
    fn a_segment_is_answered_as_by_a_host_without_the_connection() {
        for sent in
            [SENT, Segment { family: Family::V4, source: 0x0a00_000a, destination: 0xc633_6409, ..SENT }]
        {
            let back = Segment {
                source: sent.destination,
                destination: sent.source,
                source_port: 80,
                destination_port: 4000,
                ..sent
            };
            let reset = Segment { sequence: 7000, acknowledgement: 0, flags: tcp::RST, ..back };
            for flags in [tcp::ACK, tcp::ACK | tcp::PSH, tcp::ACK | tcp::FIN, tcp::ACK | tcp::SYN] {
                assert_eq!(answered(&Segment { flags, ..sent }), Some(reset), "{flags:#x}");
            }
            let reset = Segment { sequence: 0, flags: tcp::RST | tcp::ACK, ..back };
            for (flags, acknowledgement) in [(tcp::PSH, u32::MAX), (tcp::FIN, 0), (tcp::FIN | tcp::PSH, 0)] {
                let sent = Segment { flags, ..sent };
                assert_eq!(answered(&sent), Some(Segment { acknowledgement, ..reset }), "{flags:#x}");
            }
            for flags in [tcp::RST, tcp::RST | tcp::ACK] {
                assert_eq!(answered(&Segment { flags, ..sent }), None, "{flags:#x}");
            }
        }
    }

    //= conformance N64-TCP-44
    #[test]
    fn what_no_host_would_have_taken_is_not_answered() {
        let (frame, meta) = written(&SENT);
        assert!(answer(&frame, &meta).is_some());
        let mut damaged = frame.clone();
        damaged[58] ^= 1;
        assert_eq!(answer(&damaged, &meta), None);
        assert_eq!(answer(&frame, &Meta { fragment: Fragment::First, ..meta }), None);
        assert_eq!(answer(&frame[..70], &meta), None);
    }
}
