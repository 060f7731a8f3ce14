//! IPv4 (RFC 791): header view, header emission, options.

use core::borrow::Borrow;

use crate::checksum;
use crate::view::view;

/// Don't Fragment, in the flags and offset field.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// More Fragments, in the flags and offset field.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Where the fragment offset is in the flags and offset field.
pub const OFFSET_MASK: u16 = 0x1fff;

view! {
    /// An IPv4 header without its options.
    Header[20] {
        /// Version and header length in 32-bit words: 0x45 without options.
        version_ihl, set_version_ihl: u8 = 0;
        /// Type of service: DSCP and ECN.
        tos, set_tos: u8 = 1;
        /// Length of the datagram, header included.
        total_length, set_total_length: u16 = 2;
        /// Identification, for fragments.
        identification, set_identification: u16 = 4;
        /// Flags and fragment offset.
        flags_offset, set_flags_offset: u16 = 6;
        /// Time to live.
        ttl, set_ttl: u8 = 8;
        /// Protocol of the payload.
        protocol, set_protocol: u8 = 9;
        /// Header checksum.
        checksum, set_checksum: u16 = 10;
        /// Source address.
        source, set_source: u32 = 12;
        /// Destination address.
        destination, set_destination: u32 = 16;
    }
}

impl<T: Borrow<[u8; 20]>> Header<T> {
    /// Length in bytes with options, as the header says it.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl() & 0xf) * 4
    }

    /// The right checksum of a header without options once it has another identification, TTL and addresses.
    #[inline(always)]
    pub fn checksum_with(&self, identification: u16, ttl: u8, source: u32, destination: u32) -> u16 {
        let removed = u64::from(self.checksum())
            + u64::from(self.identification())
            + (u64::from(self.ttl()) << 8)
            + u64::from(self.source())
            + u64::from(self.destination());
        let added =
            u64::from(identification) + (u64::from(ttl) << 8) + u64::from(source) + u64::from(destination);
        !checksum::fold(self.sum() - removed + added)
    }

    /// As [`Header::checksum_with`], for a header whose checksum is right: nothing is read but what changes.
    #[inline(always)]
    pub fn checksum_after(&self, identification: Option<u16>, ttl: u8, source: u32, destination: u32) -> u16 {
        let removed = u64::from(!self.checksum())
            + u64::from(!(u16::from(self.ttl()) << 8))
            + u64::from(!self.source())
            + u64::from(!self.destination());
        let added = (u64::from(ttl) << 8) + u64::from(source) + u64::from(destination);
        let changed = identification.map_or(0, |new| u64::from(!self.identification()) + u64::from(new));
        !checksum::fold(removed + added + changed)
    }

    /// Whether the checksum of a header without options is right. In whatever order the bytes of a word are added up, the
    /// sum of a right header is all ones (RFC 1071, 2B).
    #[inline(always)]
    pub fn verifies(&self) -> bool {
        let (words, _) = self.bytes().as_chunks::<4>();
        let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        checksum::fold(sum) == 0xffff
    }

    /// Sum of all words.
    #[inline(always)]
    fn sum(&self) -> u64 {
        let (words, _) = self.bytes().as_chunks::<4>();
        words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum()
    }
}

/// What a header without options holds besides version and checksum.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Type of service.
    pub tos: u8,
    /// Length of the datagram, header included.
    pub total_length: u16,
    /// Identification.
    pub identification: u16,
    /// Flags and fragment offset.
    pub flags_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
}

impl Fields {
    /// The header's bytes: IHL 5, checksum right.
    #[inline]
    pub fn header(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        self.write(&mut bytes);
        bytes
    }

    /// Writes the header where it belongs, without a copy in between.
    //= conformance XLT-07, XLT-16
    #[inline(always)]
    pub fn write(&self, to: &mut [u8; 20]) {
        let version_tos = u16::from_be_bytes([0x45, self.tos]);
        let ttl_protocol = u16::from_be_bytes([self.ttl, self.protocol]);
        let sum = u64::from(version_tos)
            + u64::from(self.total_length)
            + u64::from(self.identification)
            + u64::from(self.flags_offset)
            + u64::from(ttl_protocol)
            + u64::from(self.source)
            + u64::from(self.destination);
        let mut header = Header(to);
        header.set_version_ihl(0x45);
        header.set_tos(self.tos);
        header.set_total_length(self.total_length);
        header.set_identification(self.identification);
        header.set_flags_offset(self.flags_offset);
        header.set_ttl(self.ttl);
        header.set_protocol(self.protocol);
        header.set_checksum(!checksum::fold(sum));
        header.set_source(self.source);
        header.set_destination(self.destination);
    }
}

pub(crate) const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_RECORD_ROUTE: u8 = 7;
const OPTION_TIMESTAMP: u8 = 68;
const OPTION_LOOSE_ROUTE: u8 = 131;
const OPTION_STRICT_ROUTE: u8 = 137;

/// What options ask of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Options {
    /// Nothing: they may be ignored.
    Ignorable,
    /// A source route that has not been used up (LSRR or SSRR).
    SourceRoute,
    /// An option runs beyond the header, or has a length below its minimum.
    Malformed,
}

/// The option at the start of `options`: its kind and length. `None` if it is malformed.
pub(crate) fn option(options: &[u8]) -> Option<(u8, usize)> {
    match *options {
        [kind @ (OPTION_END | OPTION_NOP), ..] => Some((kind, 1)),
        [kind, len, ..] if len >= 2 && usize::from(len) <= options.len() => Some((kind, len.into())),
        _ => None,
    }
}

/// Judges the options of a header.
//= conformance XLT-28, XLT-29
pub fn options(mut options: &[u8]) -> Options {
    let mut found = Options::Ignorable;
    while !options.is_empty() {
        let Some((kind, len)) = option(options) else { return Options::Malformed };
        match kind {
            OPTION_END => break,
            OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE => match options[..len] {
                [_, len, pointer, ..] if pointer > len => {}
                [_, _, _, ..] => found = Options::SourceRoute,
                _ => return Options::Malformed,
            },
            _ => {}
        }
        options = &options[len..];
    }
    found
}

/// Overwrites Record Route and Timestamp with NOPs: they would carry addresses of one realm into the other.
//= conformance N44-25
pub fn hide_route(mut options: &mut [u8]) {
    while let Some((kind, len)) = option(options) {
        if kind == OPTION_END {
            return;
        }
        let (this, rest) = options.split_at_mut(len);
        if matches!(kind, OPTION_RECORD_ROUTE | OPTION_TIMESTAMP) {
            this.fill(OPTION_NOP);
        }
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emitted_headers_verify() {
        let header = Fields {
            tos: 0xb9,
            total_length: 1260,
            identification: 0xbeef,
            flags_offset: DONT_FRAGMENT,
            ttl: 63,
            protocol: 17,
            source: 0xc000_0201,
            destination: 0xc633_6409,
        }
        .header();
        let view = Header::new_checked(&header).unwrap();
        assert_eq!(checksum::of(&header), 0);
        assert_eq!(view.checksum(), checksum::ipv4_header(&header));
        assert_eq!(view.header_len(), 20);
        assert_eq!((view.tos(), view.total_length(), view.ttl()), (0xb9, 1260, 63));
    }

    //= conformance XLT-29
    #[test]
    fn options_are_judged() {
        for (name, bytes, judged) in [
            ("none", &[][..], Options::Ignorable),
            ("router alert", &[148, 4, 0, 0], Options::Ignorable),
            ("nop then end hides the rest", &[1, 0, 131, 3], Options::Ignorable),
            ("loose route at its first hop", &[131, 7, 4, 1, 2, 3, 4, 0], Options::SourceRoute),
            ("strict route at its first hop", &[1, 137, 7, 4, 1, 2, 3, 4], Options::SourceRoute),
            ("loose route with its pointer at its length", &[131, 7, 7, 1, 2, 3, 4, 0], Options::SourceRoute),
            ("loose route used up", &[131, 7, 8, 1, 2, 3, 4, 0], Options::Ignorable),
            ("loose route without pointer", &[131, 2, 0, 0], Options::Malformed),
            ("length zero", &[7, 0, 0, 0], Options::Malformed),
            ("length one", &[7, 1, 0, 0], Options::Malformed),
            ("length beyond the header", &[7, 5, 0, 0], Options::Malformed),
            ("kind without length", &[1, 1, 1, 7], Options::Malformed),
        ] {
            assert_eq!(options(bytes), judged, "{name}");
        }
    }

    //= conformance N44-25
    #[test]
    fn recorded_routes_are_hidden() {
        let mut options = [148, 4, 0, 0, 7, 3, 4, 68, 4, 5, 0, 0, 9, 9, 9, 9];
        hide_route(&mut options);
        assert_eq!(options, [148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 9, 9, 9, 9]);
    }
}
