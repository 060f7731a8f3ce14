//! Packets that are not translated: to the box itself, or routed as they are (XLT-42).

use sluice_packet::{Delta, DropReason, Family, IcmpMessage, PuntReason};
use sluice_shm::{Counter, Stage as TraceStage};

use super::Worker;
use super::batch::Packet;
use super::classify::hop_limit_message;
use super::resolve::Resolved;

impl Worker {
    /// Routes a packet by its destination.
    pub(super) fn native(&mut self, mut packet: Packet) {
        let meta = packet.meta;
        let adjacency = match self.route(meta.family, meta.destination) {
            Resolved::Local => return self.punt(packet, PuntReason::Local),
            Resolved::Unresolved => return self.hold(packet),
            Resolved::Drop(reason) => return self.unroutable(packet, reason),
            Resolved::Adjacency(adjacency) => adjacency,
        };
        self.mark(&packet, TraceStage::Route, u32::from(adjacency.0));
        if meta.hop_limit <= 1 {
            return self.refuse(packet, DropReason::HopLimitExceeded, hop_limit_message(meta.family));
        }
        let mtu = self.mtu(adjacency);
        let too_big = meta.ip_len() > mtu;
        match meta.family {
            Family::V6 if too_big => {
                return self.too_big(packet, IcmpMessage::packet_too_big(u32::from(mtu)));
            }
            Family::V4 if too_big && meta.dont_fragment => {
                return self.too_big(packet, IcmpMessage::fragmentation_needed(mtu));
            }
            _ => {}
        }
        self.clamp_native(&mut packet, adjacency);
        self.sight.counters.add(Counter::Routed, 1);
        decrement(packet.mbuf.data_mut(), usize::from(meta.l3), meta.family);
        if too_big {
            self.transmit_cut(packet, adjacency, mtu);
        } else {
            self.transmit(packet, adjacency);
        }
    }
}

/// Lowers the hop limit in place. The header was parsed, so that it is there; hop limit and TTL are above one.
fn decrement(frame: &mut [u8], l3: usize, family: Family) {
    match family {
        Family::V6 => frame[l3 + 7] -= 1,
        Family::V4 => {
            let before = u16::from_be_bytes([frame[l3 + 8], frame[l3 + 9]]);
            frame[l3 + 8] -= 1;
            let after = u16::from_be_bytes([frame[l3 + 8], frame[l3 + 9]]);
            let checksum = u16::from_be_bytes([frame[l3 + 10], frame[l3 + 11]]);
            let checksum = Delta::ZERO.remove_u16(before).add_u16(after).apply(checksum);
            frame[l3 + 10..l3 + 12].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_packet::checksum;

    #[test]
    fn decrementing_keeps_the_ipv4_checksum_right() {
        for ttl in 2..=255u8 {
            let mut header =
                [0x45, 0, 0, 20, 0x12, 0x34, 0x40, 0, ttl, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 9];
            let sum = checksum::ipv4_header(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            decrement(&mut header, 0, Family::V4);
            assert_eq!(header[8], ttl - 1);
            let kept = [header[10], header[11]];
            header[10..12].fill(0);
            assert_eq!(kept, checksum::ipv4_header(&header).to_be_bytes());
        }
    }
}
