//! What becomes of the six upper bits of TOS or traffic class, the DSCP, between families.
//!
//! RFC 7915 copies them, and asks for a way not to where networks give them other meanings. The two lower bits, ECN, are copied
//! whatever is configured: they belong to the connection, and a congestion mark that is lost is lost for good.

/// An octet as it was, or with another DSCP. Two operations either way, so that nobody pays for a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    keep: u8,
    set: u8,
}

impl Remark {
    /// The DSCP stays.
    pub const COPY: Self = Self { keep: 0xff, set: 0 };

    /// Another DSCP, from 0 to 63; of more than six bits the lower ones.
    //= conformance XLT-41
    pub const fn to(dscp: u8) -> Self {
        Self { keep: 0x03, set: dscp << 2 }
    }

    /// The octet of the translated packet.
    //= conformance XLT-09, XLT-21, XLT-41
    #[inline(always)]
    pub const fn apply(self, octet: u8) -> u8 {
        octet & self.keep | self.set
    }
}

impl Default for Remark {
    fn default() -> Self {
        Self::COPY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_copied_or_replaced_and_ecn_survives() {
        //= conformance XLT-09, XLT-21, XLT-41
        for octet in 0..=255 {
            assert_eq!(Remark::COPY.apply(octet), octet);
            assert_eq!(Remark::to(0).apply(octet), octet & 3);
            assert_eq!(Remark::to(8).apply(octet), 0x20 | octet & 3);
            assert_eq!(Remark::to(63).apply(octet), 0xfc | octet & 3);
        }
        assert_eq!(Remark::to(8).apply(0xb8), 0x20);
        assert_eq!(Remark::default(), Remark::COPY);
    }
}
