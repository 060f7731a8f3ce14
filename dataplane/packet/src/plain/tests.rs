use proptest::prelude::*;

use super::*;
use crate::testing::*;
use crate::{Endpoints, Link, Meta, Rewrite, four_to_four, four_to_six, link, parse, six_to_four};

const LINK: [u8; 14] = [4, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00];

/// Rewrites a frame with `general`, and puts the link header before it as a worker does.
fn generally(frame: &[u8], header: &[u8], general: impl FnOnce(&mut Frame, &Meta, &Link) -> Meta) -> Vec<u8> {
    let mut buffer = vec![0; 128];
    buffer.extend(frame);
    buffer.extend([0xaa; 64]);
    let link = link(frame).unwrap();
    let meta = parse(frame, &link).unwrap();
    let mut frame = Frame::new(&mut buffer, 128, frame.len());
    let meta = general(&mut frame, &meta, &link);
    let l3 = usize::from(meta.l3);
    let room = if header.len() > l3 {
        frame.push_front(header.len() - l3)
    } else {
        frame.pull_front(l3 - header.len())
    };
    assert!(room);
    frame.bytes_mut()[..header.len()].copy_from_slice(header);
    ethernet::pad(&mut frame);
    frame.bytes().to_vec()
}

/// The same by a function of this module. None if the packet is not plain.
fn plainly(frame: &[u8], plain: impl FnOnce(&mut Frame) -> bool) -> Vec<u8> {
    let mut buffer = vec![0; 128];
    buffer.extend(frame);
    buffer.extend([0x55; 64]);
    let mut frame = Frame::new(&mut buffer, 128, frame.len());
    assert!(plain(&mut frame));
    frame.bytes().to_vec()
}

/// A link header of the present or another length, for a family.
fn header(tagged: bool, ether_type: u16) -> Vec<u8> {
    let mut header = LINK[..12].to_vec();
    if tagged {
        header.extend([0x81, 0x00, 0x00, 0x2a]);
    }
    header.extend(ether_type.to_be_bytes());
    header
}

fn rewrite(to: Endpoints, from: &Meta, identification: u16) -> Rewrite {
    let delta = crate::transport_delta(from.transport, &Endpoints::of(from), &to);
    Rewrite { to, delta, identification, decrement: true, allow_zero: false }
}

/// Calls a function of this module with a link header of either length.
macro_rules! with_header {
    ($header:expr, $link:ident, $call:expr) => {
        match $header.len() {
            14 => {
                let $link: &[u8; 14] = $header[..].try_into().unwrap();
                $call
            }
            _ => {
                let $link: &[u8; 18] = $header[..].try_into().unwrap();
                $call
            }
        }
    };
}

proptest! {
    /// What is written for a plain packet is, to the byte, what the general functions write.
    #[test]
    fn plain_packets_become_what_all_packets_become(
        six: bool, is_tcp: bool, to_six: bool, tagged_in: bool, tagged_out: bool, summed: bool,
        data in prop::collection::vec(any::<u8>(), 0..1400), hop_limit in 2..=255u8, class: u8,
        flags: u8, dont_fragment: bool, identification: u16, padding in 0..30usize,
        ports in any::<(u16, u16, u16, u16)>(), addresses in any::<(u128, u128, u128, u128)>(),
    ) {
        let (from_port, to_port) = (ports.0 | 1, ports.1 | 1);
        //= conformance XLT-09, XLT-21
        let remark = if tagged_in { Remark::to(padding as u8) } else { Remark::COPY };
        let (protocol, payload) = if is_tcp {
            (6, tcp(from_port, to_port, flags, &[], &data))
        } else {
            (17, udp(from_port, to_port, &data))
        };
        let mut datagram = if six {
            v6(addresses.0, addresses.1, protocol, &payload)
        } else {
            v4(addresses.0 & 0xffff_ffff, addresses.1 & 0xffff_ffff, protocol, &payload)
        };
        if six {
            datagram[7] = hop_limit;
            datagram[0] = 0x60 | class >> 4;
            datagram[1] = class << 4 | 5;
        } else {
            datagram[8] = hop_limit;
            datagram[1] = class;
            datagram[4..6].copy_from_slice(&identification.to_be_bytes());
            datagram[6] = if dont_fragment { 0x40 } else { 0 };
            if !is_tcp && !summed {
                datagram[26..28].fill(0);
            }
            seal_v4(&mut datagram);
        }
        let mut frame = ethernet(tagged_in.then_some(7), &datagram);
        frame.extend(vec![0xee; padding]);
        let link = link(&frame).unwrap();
        let meta = parse(&frame, &link).unwrap();
        let wide = Endpoints {
            source: addresses.2, destination: addresses.3, source_port: ports.2, destination_port: ports.3,
        };
        let narrow = Endpoints {
            source: addresses.2 & 0xffff_ffff, destination: addresses.3 & 0xffff_ffff, ..wide
        };

        if six {
            let (plain, source, destination) = Plain::read_v6(&frame, link.len).unwrap();
            prop_assert_eq!((source, destination), (meta.source, meta.destination));
            prop_assert!(plain.summed);
            let r = rewrite(narrow, &meta, identification);
            let to = ends(&r, |address| address as u32);
            let header = header(tagged_out, ethernet::IPV4);
            let expected =
                generally(&frame, &header, |frame, meta, _| {
                    six_to_four(frame, &remarked(meta, remark), &r).unwrap()
                });
            let got = plainly(&frame, |frame| {
                with_header!(header, link, plain_six_to_four(frame, &plain, link, &to, identification, remark))
            });
            prop_assert_eq!(got, expected);
            return Ok(());
        }
        let (plain, source, destination) = Plain::read_v4(&frame, link.len).unwrap();
        prop_assert_eq!((u128::from(source), u128::from(destination)), (meta.source, meta.destination));
        prop_assert_eq!(plain.summed, is_tcp || summed);
        prop_assert_eq!((plain.hop_limit, plain.tcp_flags), (meta.hop_limit, meta.tcp_flags));
        if to_six && plain.summed {
            let r = rewrite(wide, &meta, 0);
            let to = ends(&r, |address| address);
            let header = header(tagged_out, ethernet::IPV6);
            let expected =
                generally(&frame, &header, |frame, meta, _| {
                    four_to_six(frame, &remarked(meta, remark), &r).unwrap()
                });
            let got = plainly(&frame, |frame| {
                with_header!(header, link, plain_four_to_six(frame, &plain, link, &to, remark))
            });
            prop_assert_eq!(got, expected);
        } else {
            let r = rewrite(narrow, &meta, if meta.dont_fragment { meta.identification as u16 } else { identification });
            let to = ends(&r, |address| address as u32);
            let header = header(tagged_out, ethernet::IPV4);
            let expected =
                generally(&frame, &header, |frame, meta, _| four_to_four(frame, meta, &r).unwrap());
            let identification = (r.identification != meta.identification as u16).then_some(r.identification);
            let got = plainly(&frame, |frame| {
                with_header!(header, link, plain_four_to_four(frame, &plain, link, &to, identification))
            });
            prop_assert_eq!(got, expected);
        }
    }

    /// No bytes make reading or writing panic.
    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..120), l3 in prop::sample::select(vec![14u8, 18]),
    ) {
        let to = Ends { source: 1, destination: 2, source_port: 3, destination_port: 4, delta: Delta::ZERO };
        let wide =
            Ends { source: 1, destination: 2, source_port: 3, destination_port: 4, delta: Delta::ZERO };
        for room in [0, 4, 128] {
            let mut buffer = vec![0; room];
            buffer.extend(&bytes);
            if let Some((plain, ..)) = Plain::read_v4(&bytes, l3) {
                let _ = plain_four_to_six(
                    &mut Frame::new(&mut buffer.clone(), room, bytes.len()), &plain, &LINK, &wide, Remark::COPY,
                );
                let _ = plain_four_to_four(
                    &mut Frame::new(&mut buffer.clone(), room, bytes.len()), &plain, &[0; 18], &to, Some(7),
                );
            }
            if let Some((plain, ..)) = Plain::read_v6(&bytes, l3) {
                let _ = plain_six_to_four(
                    &mut Frame::new(&mut buffer, room, bytes.len()), &plain, &LINK, &to, 9, Remark::COPY,
                );
            }
        }
    }
}

/// What the workers do about it in front of the general translation.
fn remarked(meta: &Meta, remark: Remark) -> Meta {
    Meta { tos: remark.apply(meta.tos), ..*meta }
}

fn ends<A>(rewrite: &Rewrite, address: impl Fn(u128) -> A) -> Ends<A> {
    Ends {
        source: address(rewrite.to.source),
        destination: address(rewrite.to.destination),
        source_port: rewrite.to.source_port,
        destination_port: rewrite.to.destination_port,
        delta: rewrite.delta,
    }
}

#[test]
fn what_is_not_plain_is_not_read() {
    let options = {
        let mut datagram = v4(S, T, 17, &udp(53, 4000, b"x"));
        datagram[0] = 0x46;
        datagram
    };
    let mut fragment = v4(S, T, 17, &udp(53, 4000, b"x"));
    fragment[6] = 0x20;
    seal_v4(&mut fragment);
    let mut broken = v4(S, T, 17, &udp(53, 4000, b"x"));
    broken[10] ^= 1;
    for (name, datagram) in [
        ("options", options),
        ("a fragment", fragment),
        ("a wrong checksum", broken),
        ("an echo", v4(S, T, 1, &echo(8, 77, b"x"))),
        ("port zero", v4(S, T, 17, &udp(0, 4000, b"x"))),
        ("a short header", v4(S, T, 6, &[0; 19])),
    ] {
        assert_eq!(Plain::read_v4(&ethernet(None, &datagram), 14), None, "{name}");
    }
    for (name, datagram) in [
        (
            "an extension header",
            v6_chain(H, PREFIX | S, 60, &[17, 0, 1, 4, 0, 0, 0, 0], 17, &udp(53, 4000, b"x")),
        ),
        ("an echo", v6(H, PREFIX | S, 58, &echo(128, 77, b"x"))),
        ("port zero", v6(H, PREFIX | S, 17, &udp(53, 0, b"x"))),
    ] {
        assert_eq!(Plain::read_v6(&ethernet(None, &datagram), 14), None, "{name}");
    }
    assert!(Plain::read_v6(&ethernet(None, &v6(H, PREFIX | S, 17, &udp(53, 4000, b"x"))), 14).is_some());
}
