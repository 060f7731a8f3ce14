//! UDP (RFC 768): header view.

use crate::view::view;

/// Protocol number.
pub const PROTOCOL: u8 = 17;

view! {
    /// A UDP header.
    Header[8] {
        /// Source port.
        source_port, set_source_port: u16 = 0;
        /// Destination port.
        destination_port, set_destination_port: u16 = 2;
        /// Length of header and data.
        length, set_length: u16 = 4;
        /// Checksum, with the pseudo-header; zero for none.
        checksum, set_checksum: u16 = 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let mut header = Header::zeroed();
        header.set_source_port(5000);
        header.set_destination_port(53);
        header.set_length(8);
        header.set_checksum(0xabcd);
        assert_eq!(*header.bytes(), [0x13, 0x88, 0, 53, 0, 8, 0xab, 0xcd]);
    }
}
