//! ARP for IPv4 over Ethernet (RFC 826): enough to tell a request from a reply, and to answer for a pool.

use crate::view::view;

/// Operation of a request.
pub const REQUEST: u16 = 1;
/// Operation of a reply.
pub const REPLY: u16 = 2;

view! {
    /// An ARP packet.
    Packet[28] {
        /// Hardware type: 1 for Ethernet.
        hardware_type, set_hardware_type: u16 = 0;
        /// Protocol type: the EtherType of IPv4.
        protocol_type, set_protocol_type: u16 = 2;
        /// Length of a hardware address: 6.
        hardware_len, set_hardware_len: u8 = 4;
        /// Length of a protocol address: 4.
        protocol_len, set_protocol_len: u8 = 5;
        /// [`REQUEST`] or [`REPLY`].
        operation, set_operation: u16 = 6;
        /// MAC address of the sender.
        sender_mac, set_sender_mac: [u8; 6] = 8;
        /// IPv4 address of the sender.
        sender_ip, set_sender_ip: u32 = 14;
        /// MAC address asked for: zero in a request.
        target_mac, set_target_mac: [u8; 6] = 18;
        /// IPv4 address asked for.
        target_ip, set_target_ip: u32 = 24;
    }
}

impl<T: core::borrow::Borrow<[u8; 28]>> Packet<T> {
    /// Whether the packet speaks of IPv4 over Ethernet.
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        self.hardware_type() == 1
            && self.protocol_type() == crate::ethernet::IPV4
            && self.hardware_len() == 6
            && self.protocol_len() == 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let mut packet = Packet::zeroed();
        packet.set_hardware_type(1);
        packet.set_protocol_type(0x0800);
        packet.set_hardware_len(6);
        packet.set_protocol_len(4);
        packet.set_operation(REQUEST);
        packet.set_sender_mac([2, 0, 0, 0, 0, 1]);
        packet.set_sender_ip(0xc000_0201);
        packet.set_target_ip(0xc000_0202);
        let read = Packet::new_checked(packet.bytes()).unwrap();
        assert!(read.is_ipv4_over_ethernet());
        assert_eq!(read.operation(), REQUEST);
        assert_eq!((read.sender_ip(), read.target_ip()), (0xc000_0201, 0xc000_0202));
        assert_eq!((read.sender_mac(), read.target_mac()), ([2, 0, 0, 0, 0, 1], [0; 6]));
        assert!(Packet::new_checked(&packet.bytes()[..27]).is_none());
    }
}
