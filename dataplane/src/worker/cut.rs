//! Packets that leave in pieces, because they do not fit their next link and may be fragmented.

use sluice_packet::{DropReason, cut::Cut};
use sluice_shm::{Counter, Stage as TraceStage};

use super::Worker;
use super::batch::{NO_TRACE, Packet};
use crate::nexthop::AdjacencyIndex;

/// Pieces beyond the first that a packet may be cut into: a frame of 9000 bytes on the smallest link of IPv4.
pub(super) const MOST: usize = 256;

impl Worker {
    /// Sends a translated packet in pieces of at most `limit` bytes, in order.
    #[cold]
    pub(super) fn transmit_cut(&mut self, mut packet: Packet, adjacency: AdjacencyIndex, limit: u16) {
        self.mark(&packet, TraceStage::Mtu, u32::from(limit));
        let meta = packet.meta;
        let Some(cut) = Cut::new(&meta, limit).filter(|cut| cut.pieces() <= MOST) else {
            return self.drop_packet(packet, DropReason::PacketTooBig);
        };
        let mut pieces = std::mem::take(&mut self.scratch.pieces);
        for number in 1..cut.pieces() {
            let Some(mut mbuf) = self.mempool.alloc() else { break };
            let frame = packet.mbuf.data();
            if !mbuf.with_frame(|out| cut.piece(frame, &meta, number, out)) {
                break;
            }
            pieces.push(mbuf);
        }
        let all = pieces.len() + 1 == cut.pieces();
        if all && packet.mbuf.with_frame(|frame| cut.first(frame, &meta)) {
            self.sight.counters.add(Counter::FragmentsMade, pieces.len() as u64);
            let (interface, link, hops) = (packet.interface, packet.link, packet.hops);
            let hairpinned = packet.hairpinned;
            //= conformance FRAG-35
            self.transmit(packet, adjacency);
            for mbuf in pieces.drain(..) {
                let piece =
                    Packet { mbuf, link, meta, interface, hops, attached: true, hairpinned, trace: NO_TRACE };
                self.transmit(piece, adjacency);
            }
        } else {
            // A part of it is of no use to anyone.
            pieces.clear();
            self.drop_packet(packet, DropReason::NoMbuf);
        }
        self.scratch.pieces = pieces;
    }
}
