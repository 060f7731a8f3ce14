//! IPv6 (RFC 8200): header view, header emission, the chain of extension headers.

use crate::view::view;

/// Next header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Next header: routing.
pub const ROUTING: u8 = 43;
/// Next header: fragment.
pub const FRAGMENT: u8 = 44;
/// Next header: authentication, which is not stepped over.
pub const AUTHENTICATION: u8 = 51;
/// Next header: destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

view! {
    /// An IPv6 header.
    Header[40] {
        /// Version, traffic class and flow label.
        version_class_label, set_version_class_label: u32 = 0;
        /// Length of what follows this header.
        payload_length, set_payload_length: u16 = 4;
        /// Type of what follows this header.
        next_header, set_next_header: u8 = 6;
        /// Hop limit.
        hop_limit, set_hop_limit: u8 = 7;
        /// Source address.
        source, set_source: u128 = 8;
        /// Destination address.
        destination, set_destination: u128 = 24;
    }
}

view! {
    /// A fragment header.
    FragmentHeader[8] {
        /// Type of the fragmented content.
        next_header, set_next_header: u8 = 0;
        /// Reserved: zero.
        reserved, set_reserved: u8 = 1;
        /// Fragment offset in the upper 13 bits, More Fragments in the lowest.
        offset_more, set_offset_more: u16 = 2;
        /// Identification.
        identification, set_identification: u32 = 4;
    }
}

impl<T: core::borrow::Borrow<[u8; 40]>> Header<T> {
    /// Version: 6.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.version_class_label() >> 28) as u8
    }

    /// Traffic class: DSCP and ECN.
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_label() >> 20) as u8
    }
}

/// What a header holds besides version and flow label.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Traffic class.
    pub traffic_class: u8,
    /// Length of what follows the header.
    pub payload_length: u16,
    /// Type of what follows the header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
}

impl Fields {
    /// The header's bytes; the flow label is zero.
    #[inline]
    pub fn header(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        self.write(&mut bytes);
        bytes
    }

    /// Writes the header where it belongs, without a copy in between.
    //= conformance XLT-20, XLT-22
    #[inline(always)]
    pub fn write(&self, to: &mut [u8; 40]) {
        let mut header = Header(to);
        header.set_version_class_label(6 << 28 | u32::from(self.traffic_class) << 20);
        header.set_payload_length(self.payload_length);
        header.set_next_header(self.next_header);
        header.set_hop_limit(self.hop_limit);
        header.set_source(self.source);
        header.set_destination(self.destination);
    }
}

/// What a fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentInfo {
    /// Offset in units of 8 bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Identification.
    pub identification: u32,
}

/// What lies between the IPv6 header and the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first next header that is not stepped over.
    pub protocol: u8,
    /// Bytes of extension headers.
    pub len: usize,
    /// The fragment header, which ends the chain.
    pub fragment: Option<FragmentInfo>,
    /// Offset, from the IPv6 header, of the Segments Left byte of a routing header that still has some.
    pub segments_left: Option<usize>,
}

/// Why a chain cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// It runs beyond the packet.
    Truncated,
    /// It has more than [`MAX_HEADERS`] headers or [`MAX_BYTES`] bytes.
    TooLong,
    /// A fragment header is followed by another extension header.
    BehindFragment,
}

/// Extension headers that are followed.
pub const MAX_HEADERS: usize = 8;
/// Bytes of extension headers that are followed.
pub const MAX_BYTES: usize = 256;

/// Follows the extension headers in `payload`, which begins behind the IPv6 header; `next` is that header's next
/// header. The work is bounded whatever the packet says.
//= conformance XLT-15, XLT-17, XLT-48, FRAG-11
pub fn chain(mut next: u8, payload: &[u8]) -> Result<Chain, ChainError> {
    let mut at = 0;
    let mut segments_left = None;
    for followed in 0..=MAX_HEADERS {
        let Some(rest) = payload.get(at..) else { return Err(ChainError::Truncated) };
        let len = match next {
            HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS if followed == MAX_HEADERS => break,
            FRAGMENT => {
                let header = FragmentHeader::new_checked(rest).ok_or(ChainError::Truncated)?;
                let fragment = FragmentInfo {
                    offset: header.offset_more() >> 3,
                    more: header.offset_more() & 1 != 0,
                    identification: header.identification(),
                };
                next = header.next_header();
                at += 8;
                if is_extension(next) {
                    return Err(ChainError::BehindFragment);
                }
                if at > MAX_BYTES {
                    return Err(ChainError::TooLong);
                }
                return Ok(Chain { protocol: next, len: at, fragment: Some(fragment), segments_left });
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let &[following, words, _, left, ..] = rest else { return Err(ChainError::Truncated) };
                if next == ROUTING && left != 0 && segments_left.is_none() {
                    segments_left = Some(40 + at + 3);
                }
                next = following;
                8 + usize::from(words) * 8
            }
            _ => return Ok(Chain { protocol: next, len: at, fragment: None, segments_left }),
        };
        at += len;
        if at > MAX_BYTES {
            return Err(ChainError::TooLong);
        }
    }
    Err(ChainError::TooLong)
}

/// Extension headers that may not follow a fragment header if the packet is to be translated.
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | 135 | 139 | 140)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let fields = Fields {
            traffic_class: 0xb9,
            payload_length: 8,
            next_header: 17,
            hop_limit: 64,
            source: 1 << 127,
            destination: 7,
        };
        let bytes = fields.header();
        let header = Header::new_checked(&bytes).unwrap();
        assert_eq!((header.version(), header.traffic_class()), (6, 0xb9));
        assert_eq!(header.version_class_label() & 0xf_ffff, 0);
        assert_eq!((header.payload_length(), header.next_header(), header.hop_limit()), (8, 17, 64));
        assert_eq!((header.source(), header.destination()), (1 << 127, 7));
    }

    fn options(next: u8, words: u8) -> Vec<u8> {
        let mut bytes = vec![0; 8 + usize::from(words) * 8];
        (bytes[0], bytes[1]) = (next, words);
        bytes
    }

    //= conformance XLT-15, XLT-17
    #[test]
    fn ignorable_headers_are_stepped_over() {
        let bytes =
            [options(ROUTING, 1), options(DESTINATION_OPTIONS, 0), options(17, 0), vec![0; 8]].concat();
        let chain = chain(HOP_BY_HOP, &bytes).unwrap();
        assert_eq!((chain.protocol, chain.len, chain.fragment, chain.segments_left), (17, 32, None, None));
    }

    //= conformance XLT-18
    #[test]
    fn segments_left_are_found() {
        let mut bytes = options(6, 0);
        bytes[3] = 1;
        assert_eq!(chain(ROUTING, &bytes).unwrap().segments_left, Some(43));
    }

    //= conformance XLT-48
    #[test]
    fn the_walk_is_bounded() {
        let eight: Vec<u8> = (0..7).flat_map(|_| options(60, 0)).chain(options(17, 0)).collect();
        assert_eq!(chain(60, &eight).unwrap().len, 64);
        let nine: Vec<u8> = (0..8).flat_map(|_| options(60, 0)).chain(options(17, 0)).collect();
        assert_eq!(chain(60, &nine), Err(ChainError::TooLong));
        assert_eq!(chain(60, &options(17, 31)).unwrap().len, 256);
        assert_eq!(chain(60, &options(17, 32)), Err(ChainError::TooLong));
        assert_eq!(chain(60, &options(60, 0)[..3]), Err(ChainError::Truncated));
        assert_eq!(chain(60, &options(60, 3)[..16]), Err(ChainError::Truncated));
    }

    //= conformance FRAG-11
    #[test]
    fn a_fragment_header_ends_the_chain() {
        let bytes = [17, 0, 0x04, 0xd1, 0, 0, 0, 42];
        let found = chain(FRAGMENT, &bytes).unwrap();
        let fragment = FragmentInfo { offset: 154, more: true, identification: 42 };
        assert_eq!((found.protocol, found.len, found.fragment), (17, 8, Some(fragment)));
        for next in [0, 43, 44, 51, 60] {
            let mut bytes = bytes;
            bytes[0] = next;
            assert_eq!(chain(FRAGMENT, &bytes), Err(ChainError::BehindFragment));
        }
    }
}
