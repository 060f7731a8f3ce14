//! ICMPv6 (RFC 4443): header view and types.

use crate::view::view;

/// Protocol number.
pub const PROTOCOL: u8 = 58;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Type: packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 129;

view! {
    /// The first eight bytes of an ICMPv6 message.
    Header[8] {
        /// Type.
        kind, set_kind: u8 = 0;
        /// Code.
        code, set_code: u8 = 1;
        /// Checksum of the whole message, with the pseudo-header.
        checksum, set_checksum: u16 = 2;
        /// What the type makes of bytes 4 to 7.
        rest, set_rest: u32 = 4;
        /// Identifier of an echo.
        identifier, set_identifier: u16 = 4;
        /// Sequence number of an echo.
        sequence, set_sequence: u16 = 6;
    }
}

/// Whether a type reports an error about another packet, known or not.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// Whether a type is an echo request or reply.
#[inline]
pub const fn is_echo(kind: u8) -> bool {
    matches!(kind, ECHO_REQUEST | ECHO_REPLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_classified() {
        assert!((0..=255).all(|kind| is_error(kind) == (kind <= 127)));
        let echoes: Vec<u8> = (0..=255).filter(|&kind| is_echo(kind)).collect();
        assert_eq!(echoes, [128, 129]);
    }

    #[test]
    fn identifier_and_sequence_share_the_rest() {
        let mut header = Header::zeroed();
        header.set_identifier(0x1234);
        header.set_sequence(7);
        assert_eq!(header.rest(), 0x1234_0007);
    }
}
