//! Packets for tests, built with code that shares nothing with what is tested, and a judge of results that shares
//! nothing with either: etherparse reads every translated packet and computes its checksums.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Slice, NetSlice, SlicedPacket, TransportSlice};

use crate::{DropReason, Endpoints, Family, Fragment, Frame, Link, Meta, Transport, link, parse};

/// Addresses and ports that the conformance table uses.
pub(crate) fn a6(text: &str) -> u128 {
    text.parse::<Ipv6Addr>().unwrap().to_bits()
}

/// An IPv4 address as [`Meta`] holds it.
pub(crate) fn a4(text: &str) -> u128 {
    text.parse::<Ipv4Addr>().unwrap().to_bits().into()
}

pub(crate) const PREFIX: u128 = 0x2001_0db8_0064 << 80;
pub(crate) const H: u128 = 0x2001_0db8_0001 << 80 | 0x10;
pub(crate) const H2: u128 = 0x2001_0db8_0002 << 80 | 0x20;
pub(crate) const R6: u128 = 0x2001_0db8_0001 << 80 | 1;
pub(crate) const INSIDE: u128 = 0x0a00_000a;
pub(crate) const T: u128 = 0xc000_0201;
pub(crate) const S: u128 = 0xc633_6409;
pub(crate) const R4: u128 = 0xc633_6401;

pub(crate) const fn endpoints(
    source: u128,
    source_port: u16,
    destination: u128,
    destination_port: u16,
) -> Endpoints {
    Endpoints { source, destination, source_port, destination_port }
}

/// One's-complement sum, a byte pair at a time, as RFC 1071 draws it.
pub(crate) fn naive_sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum = (sum & 0xffff) + 1;
        }
    }
    sum as u16
}

pub(crate) fn tcp(source: u16, destination: u16, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, ((20 + options.len()) as u8) << 2, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(data);
    bytes
}

pub(crate) fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    bytes.extend(data);
    bytes
}

pub(crate) fn icmp(kind: u8, code: u8, rest: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest.to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn echo(kind: u8, identifier: u16, data: &[u8]) -> Vec<u8> {
    icmp(kind, 0, u32::from(identifier) << 16 | 7, data)
}

/// Where the checksum of a protocol is, if it has one here.
fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        _ => None,
    }
}

fn seal(pseudo: &[u8], protocol: u8, payload: &mut [u8]) {
    let Some(at) = checksum_at(protocol).filter(|at| at + 2 <= payload.len()) else { return };
    payload[at..at + 2].fill(0);
    let mut checksum = !naive_sum(&[pseudo, payload]);
    if protocol == 17 && checksum == 0 {
        checksum = 0xffff;
    }
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// An IPv6 datagram with right checksums. `chain` holds extension headers, `first` is the next header before them.
pub(crate) fn v6_chain(
    source: u128,
    destination: u128,
    first: u8,
    chain: &[u8],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut payload = payload.to_vec();
    let pseudo = [
        &source.to_be_bytes()[..],
        &destination.to_be_bytes(),
        &(payload.len() as u32).to_be_bytes(),
        &[0, 0, 0, protocol],
    ]
    .concat();
    seal(&pseudo, protocol, &mut payload);
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(((chain.len() + payload.len()) as u16).to_be_bytes());
    bytes.extend([first, 64]);
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(chain);
    bytes.extend(payload);
    bytes
}

pub(crate) fn v6(source: u128, destination: u128, protocol: u8, payload: &[u8]) -> Vec<u8> {
    v6_chain(source, destination, protocol, &[], protocol, payload)
}

/// An IPv4 datagram with right checksums.
pub(crate) fn v4_options(
    source: u128,
    destination: u128,
    options: &[u8],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (source as u32, destination as u32);
    let mut payload = payload.to_vec();
    let pseudo = match protocol {
        1 => Vec::new(),
        _ => [
            &source.to_be_bytes()[..],
            &destination.to_be_bytes(),
            &[0, protocol],
            &(payload.len() as u16).to_be_bytes(),
        ]
        .concat(),
    };
    seal(&pseudo, protocol, &mut payload);
    let header_len = 20 + options.len();
    let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
    bytes.extend(((header_len + payload.len()) as u16).to_be_bytes());
    bytes.extend([0xbe, 0xef, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(options);
    bytes.extend(payload);
    seal_v4(&mut bytes);
    bytes
}

pub(crate) fn v4(source: u128, destination: u128, protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_options(source, destination, &[], protocol, payload)
}

/// Writes the header checksum after a test has changed the header.
pub(crate) fn seal_v4(datagram: &mut [u8]) {
    let header_len = usize::from(datagram[0] & 0xf) * 4;
    datagram[10..12].fill(0);
    let checksum = !naive_sum(&[&datagram[..header_len]]);
    datagram[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// A datagram in an Ethernet frame, tagged if `vlan` is given.
pub(crate) fn ethernet(vlan: Option<u16>, datagram: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(vlan) = vlan {
        bytes.extend([0x81, 0]);
        bytes.extend(vlan.to_be_bytes());
    }
    bytes.extend(if datagram.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] });
    bytes.extend(datagram);
    bytes
}

pub(crate) fn read(frame: &[u8]) -> (Link, Meta) {
    let link = link(frame).unwrap();
    (link, parse(frame, &link).unwrap())
}

/// A frame's bytes in a buffer with room on both sides.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

pub(crate) const HEADROOM: usize = 64;

impl Buffer {
    pub(crate) fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0xa5; HEADROOM];
        bytes.extend(frame);
        bytes.extend([0xa5; 2500]);
        Self { bytes, len: frame.len() }
    }

    pub(crate) fn frame(&mut self) -> Frame<'_> {
        Frame::new(&mut self.bytes, HEADROOM, self.len)
    }
}

/// Runs a translation over a frame. The result must be what it says it is, and pass [`assert_valid`].
pub(crate) fn run(
    bytes: &[u8],
    translate: impl FnOnce(&mut Frame, &Meta) -> Result<Meta, DropReason>,
) -> Result<Vec<u8>, DropReason> {
    let (before, meta) = read(bytes);
    let mut buffer = Buffer::new(bytes);
    let mut frame = buffer.frame();
    let after = translate(&mut frame, &meta)?;
    let out = frame.bytes().to_vec();
    let (link, read) = read(&out);
    assert_eq!(read, visible(after), "the meta returned is that of the bytes");
    assert_eq!((link.source, link.destination, link.vlan), (before.source, before.destination, before.vlan));
    assert_eq!(out.len(), usize::from(after.end), "no padding is left");
    // A part of a datagram has no checksum of its own.
    if read.is_whole() {
        assert_valid(&out);
    }
    Ok(out)
}

/// What a translated packet shows of what is known of it: a fragment does not have all of it in its bytes.
fn visible(meta: Meta) -> Meta {
    let icmp = meta.protocol == meta.family.icmp();
    match meta.fragment {
        Fragment::Later => Meta {
            source_port: 0,
            destination_port: 0,
            whole: 0,
            icmp_type: 0,
            tcp_flags: 0,
            transport: if icmp { Transport::IcmpOther } else { meta.transport },
            ..meta
        },
        // The first fragment of itself, about to be cut.
        Fragment::First if !meta.more_fragments => Meta { whole: 0, fragment: Fragment::Atomic, ..meta },
        _ => Meta { whole: 0, ..meta },
    }
}

/// As [`run`] for a datagram; returns the translated datagram.
pub(crate) fn run_ip(
    datagram: &[u8],
    translate: impl FnOnce(&mut Frame, &Meta) -> Result<Meta, DropReason>,
) -> Result<Vec<u8>, DropReason> {
    run(&ethernet(None, datagram), translate).map(|out| out[14..].to_vec())
}

/// Another implementation's view of a frame: it parses, and its checksums are right.
pub(crate) fn assert_valid(frame: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).expect("etherparse accepts it");
    match sliced.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let (source, destination) = (header.source, header.destination);
            match &sliced.transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(source, destination).unwrap());
                }
                Some(TransportSlice::Udp(udp)) if udp.checksum() == 0 => {}
                Some(TransportSlice::Udp(udp)) => {
                    let header = udp.to_header();
                    let right = header.calc_checksum_ipv4_raw(source, destination, udp.payload()).unwrap();
                    assert_eq!(udp.checksum(), right);
                }
                Some(TransportSlice::Icmpv4(icmp)) => assert_valid_icmpv4(icmp),
                _ => panic!("no transport that is translated"),
            }
        }
        NetSlice::Ipv6(ip) => {
            let (source, destination) = (ip.header().source(), ip.header().destination());
            match &sliced.transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(source, destination).unwrap());
                }
                Some(TransportSlice::Udp(udp)) => {
                    let header = udp.to_header();
                    let right = header.calc_checksum_ipv6_raw(source, destination, udp.payload()).unwrap();
                    assert_eq!(udp.checksum(), right);
                }
                Some(TransportSlice::Icmpv6(icmp)) => {
                    assert!(icmp.is_checksum_valid(source, destination));
                }
                _ => panic!("no transport that is translated"),
            }
        }
        NetSlice::Arp(_) => panic!("not an IP packet"),
    }
}

fn assert_valid_icmpv4(icmp: &Icmpv4Slice) {
    assert_eq!(naive_sum(&[icmp.slice()]), 0xffff);
}

/// The quoted datagram of an ICMP error.
pub(crate) fn quote_of(datagram: &[u8]) -> &[u8] {
    match datagram[0] >> 4 {
        6 => &datagram[48..],
        _ => &datagram[usize::from(datagram[0] & 0xf) * 4 + 8..],
    }
}

/// An error of a family about a quote.
pub(crate) fn error(
    family: Family,
    source: u128,
    destination: u128,
    kind: u8,
    code: u8,
    rest: u32,
    quote: &[u8],
) -> Vec<u8> {
    match family {
        Family::V4 => v4(source, destination, 1, &icmp(kind, code, rest, quote)),
        Family::V6 => v6(source, destination, 58, &icmp(kind, code, rest, quote)),
    }
}
