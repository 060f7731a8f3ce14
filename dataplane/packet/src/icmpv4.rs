//! ICMPv4 (RFC 792): header view and types.

use crate::view::view;

/// Protocol number.
pub const PROTOCOL: u8 = 1;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Type: source quench, obsolete.
pub const SOURCE_QUENCH: u8 = 4;
/// Type: redirect.
pub const REDIRECT: u8 = 5;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Code of [`UNREACHABLE`]: fragmentation needed and Don't Fragment set.
pub const FRAGMENTATION_NEEDED: u8 = 4;

view! {
    /// The first eight bytes of an ICMPv4 message.
    Header[8] {
        /// Type.
        kind, set_kind: u8 = 0;
        /// Code.
        code, set_code: u8 = 1;
        /// Checksum of the whole message.
        checksum, set_checksum: u16 = 2;
        /// What the type makes of bytes 4 to 7.
        rest, set_rest: u32 = 4;
        /// Identifier of an echo.
        identifier, set_identifier: u16 = 4;
        /// Sequence number of an echo.
        sequence, set_sequence: u16 = 6;
    }
}

/// Whether a type reports an error about another packet.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
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
        let errors: Vec<u8> = (0..=255).filter(|&kind| is_error(kind)).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
        let echoes: Vec<u8> = (0..=255).filter(|&kind| is_echo(kind)).collect();
        assert_eq!(echoes, [0, 8]);
    }

    #[test]
    fn identifier_and_sequence_share_the_rest() {
        let mut header = Header::zeroed();
        header.set_identifier(0x1234);
        header.set_sequence(7);
        assert_eq!(header.rest(), 0x1234_0007);
    }
}
