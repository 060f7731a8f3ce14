//! TCP (RFC 9293): header view.

use core::borrow::Borrow;

use crate::view::view;

/// Protocol number.
pub const PROTOCOL: u8 = 6;
/// Flag: the sender is done.
pub const FIN: u8 = 0x01;
/// Flag: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// Flag: reset.
pub const RST: u8 = 0x04;
/// Flag: push.
pub const PSH: u8 = 0x08;
/// Flag: the acknowledgement is valid.
pub const ACK: u8 = 0x10;

view! {
    /// A TCP header without its options.
    Header[20] {
        /// Source port.
        source_port, set_source_port: u16 = 0;
        /// Destination port.
        destination_port, set_destination_port: u16 = 2;
        /// Sequence number.
        sequence, set_sequence: u32 = 4;
        /// Acknowledgement number.
        acknowledgement, set_acknowledgement: u32 = 8;
        /// Data offset in 32-bit words, in the upper four bits.
        data_offset, set_data_offset: u8 = 12;
        /// The eight flags.
        flags, set_flags: u8 = 13;
        /// Window.
        window, set_window: u16 = 14;
        /// Checksum, with the pseudo-header.
        checksum, set_checksum: u16 = 16;
        /// Urgent pointer.
        urgent, set_urgent: u16 = 18;
    }
}

impl<T: Borrow<[u8; 20]>> Header<T> {
    /// Length in bytes with options, as the header says it.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        usize::from(self.data_offset() >> 4) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let mut header = Header::zeroed();
        header.set_source_port(4000);
        header.set_destination_port(80);
        header.set_data_offset(6 << 4);
        header.set_flags(SYN | ACK);
        let read = Header::new_checked(header.bytes()).unwrap();
        assert_eq!((read.source_port(), read.destination_port()), (4000, 80));
        assert_eq!((read.header_len(), read.flags()), (24, 0x12));
    }
}
