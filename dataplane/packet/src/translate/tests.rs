//! Translation of data packets: named rows of the conformance table first, properties after them.

use proptest::prelude::*;

use super::*;
use crate::testing::*;

mod fragments;

const OUTSIDE_ID: u16 = 0x4242;

fn rewrite(meta: &Meta, to: Endpoints) -> Rewrite {
    let delta = transport_delta(meta.transport, &Endpoints::of(meta), &to);
    Rewrite { to, delta, identification: OUTSIDE_ID, decrement: true, allow_zero: false }
}

/// `H`:5000 → `P:S`:53 becomes `T`:40000 → `S`:53; an echo gets identifier 40000.
fn outbound(meta: &Meta) -> Rewrite {
    let port = if meta.transport == Transport::IcmpQuery { 40000 } else { meta.destination_port };
    rewrite(meta, endpoints(T, 40000, S, port))
}

/// The way back.
fn inbound(meta: &Meta) -> Rewrite {
    let port = if meta.transport == Transport::IcmpQuery { 5000 } else { meta.source_port };
    rewrite(meta, endpoints(PREFIX | S, port, H, 5000))
}

fn to_v4(datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    run_ip(datagram, |frame, meta| six_to_four(frame, meta, &outbound(meta)))
}

fn to_v6(datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    run_ip(datagram, |frame, meta| four_to_six(frame, meta, &inbound(meta)))
}

fn nat44(datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    run_ip(datagram, |frame, meta| four_to_four(frame, meta, &outbound(meta)))
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn udp6(data: &[u8]) -> Vec<u8> {
    v6(H, PREFIX | S, 17, &udp(5000, 53, data))
}

fn udp4(data: &[u8]) -> Vec<u8> {
    v4(S, T, 17, &udp(53, 40000, data))
}

//= conformance XLT-07, XLT-08, XLT-11, XLT-13, XLT-14, XLT-15, XLT-16, XLT-41
#[test]
fn the_ipv4_header_is_new() {
    let mut datagram = udp6(b"data");
    (datagram[0], datagram[1]) = (0x6b, 0x91);
    let out = to_v4(&datagram).unwrap();
    let (header, payload) = out.split_at(20);
    assert_eq!((header[0], header[1], word(header, 2)), (0x45, 0xb9, 32));
    assert_eq!((word(header, 4), word(header, 6)), (OUTSIDE_ID, 0));
    assert_eq!((header[8], header[9]), (63, 17));
    assert_eq!(header[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
    assert_eq!((word(payload, 0), word(payload, 2), &payload[8..]), (40000, 53, &b"data"[..]));
}

//= conformance XLT-20, XLT-22, XLT-23, XLT-24, XLT-25, FRAG-03
#[test]
fn the_ipv6_header_is_new() {
    let mut datagram = udp4(b"data");
    datagram[1] = 0x2e;
    seal_v4(&mut datagram);
    let out = to_v6(&datagram).unwrap();
    assert_eq!(out[..4], [0x62, 0xe0, 0, 0]);
    assert_eq!((word(&out, 4), out[6], out[7]), (12, 17, 63));
    assert_eq!(out[8..24], (PREFIX | S).to_be_bytes());
    assert_eq!(out[24..40], H.to_be_bytes());
    assert_eq!((word(&out, 40), word(&out, 42), &out[48..]), (53, 5000, &b"data"[..]));
}

//= conformance XLT-12, XLT-13
#[test]
fn dont_fragment_is_set_above_1260() {
    for (payload, flags) in [(1240, 0), (1241, 0x4000)] {
        let out = to_v4(&udp6(&vec![7; payload - 8])).unwrap();
        assert_eq!((word(&out, 2), word(&out, 6)), ((payload + 20) as u16, flags));
    }
}

//= conformance XLT-10, XLT-15, XLT-17
#[test]
fn extension_headers_are_left_out() {
    let chain = [60, 0, 1, 4, 0, 0, 0, 0, 17, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let out = to_v4(&v6_chain(H, PREFIX | S, 0, &chain, 17, &udp(5000, 53, b"data"))).unwrap();
    assert_eq!((word(&out, 2), out[0], out[9]), (32, 0x45, 17));
    assert_eq!(&out[28..], b"data");
}

//= conformance XLT-23, XLT-28
#[test]
fn options_are_left_out() {
    for words in 1..=10usize {
        let options = [&[148, 4, 0, 0][..], &vec![1; words * 4 - 4]].concat();
        let out = to_v6(&v4_options(S, T, &options, 17, &udp(53, 40000, b"data"))).unwrap();
        assert_eq!((word(&out, 4), out[6], &out[48..]), (12, 17, &b"data"[..]), "{words} words");
    }
}

//= conformance FRAG-16
#[test]
fn an_atomic_fragment_keeps_its_identification() {
    let header = [17, 0, 0, 0, 0x12, 0x34, 0, 0x2a];
    let out = to_v4(&v6_chain(H, PREFIX | S, 44, &header, 17, &udp(5000, 53, &[0; 1400]))).unwrap();
    assert_eq!((word(&out, 4), word(&out, 6), word(&out, 2)), (42, 0, 1428));
}

//= conformance XLT-14, XLT-25, HAIR-07
#[test]
fn the_hop_limit_is_counted_down_once_or_not_at_all() {
    for (decrement, left) in [(true, 63), (false, 64)] {
        let out = run_ip(&udp6(b""), |frame, meta| {
            six_to_four(frame, meta, &Rewrite { decrement, ..outbound(meta) })
        });
        assert_eq!(out.unwrap()[8], left);
        let out = run_ip(&udp4(b""), |frame, meta| {
            four_to_six(frame, meta, &Rewrite { decrement, ..inbound(meta) })
        });
        assert_eq!(out.unwrap()[7], left);
        let out = run_ip(&udp4(b""), |frame, meta| {
            four_to_four(frame, meta, &Rewrite { decrement, ..outbound(meta) })
        });
        assert_eq!(out.unwrap()[8], left);
    }
}

//= conformance XLT-31
#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff() {
    // With a zero word in the payload the checksum is what that word must be for the sum to be complete.
    let missing = word(&to_v4(&udp6(&[0, 0])).unwrap(), 26);
    assert_eq!(word(&to_v4(&udp6(&missing.to_be_bytes())).unwrap(), 26), 0xffff);
    let missing = word(&to_v6(&udp4(&[0, 0])).unwrap(), 46);
    assert_eq!(word(&to_v6(&udp4(&missing.to_be_bytes())).unwrap(), 46), 0xffff);
    //= conformance N44-04
    let missing = word(&nat44(&udp4(&[0, 0])).unwrap(), 26);
    assert_eq!(word(&nat44(&udp4(&missing.to_be_bytes())).unwrap(), 26), 0xffff);
}

//= conformance XLT-32
#[test]
fn a_missing_udp_checksum_is_made_for_ipv6() {
    // Odd length, and bytes behind the UDP datagram that its checksum does not cover.
    let mut payload = udp(53, 40000, b"odd");
    payload.extend([0xff; 4]);
    let mut datagram = v4(S, T, 17, &payload);
    datagram[26..28].fill(0);
    let frame = ethernet(None, &datagram);
    let (_, meta) = read(&frame);
    let mut buffer = Buffer::new(&frame);
    let mut frame = buffer.frame();
    four_to_six(&mut frame, &meta, &inbound(&meta)).unwrap();
    let out = &frame.bytes()[54..];
    let pseudo = [&(PREFIX | S).to_be_bytes()[..], &H.to_be_bytes(), &[0, 0, 0, 11, 0, 0, 0, 17]].concat();
    assert_ne!(word(out, 6), 0);
    assert_eq!(naive_sum(&[&pseudo, &out[..11]]), 0xffff);
    assert_eq!(out[11..], [0xff; 4]);

    let mut plain = udp4(b"data");
    plain[26..28].fill(0);
    assert_ne!(word(&to_v6(&plain).unwrap(), 46), 0);
    //= conformance N44-04
    assert_eq!(word(&nat44(&plain).unwrap(), 26), 0);
}

//= conformance XLT-34
#[test]
fn ipv6_udp_without_checksum_is_refused() {
    let mut datagram = udp6(b"data");
    datagram[46..48].fill(0);
    assert_eq!(to_v4(&datagram), Err(DropReason::UdpChecksumZero));
    // Unless that is allowed: never an update of zero, which would be a wrong checksum.
    let frame = ethernet(None, &datagram);
    let (_, meta) = read(&frame);
    let mut buffer = Buffer::new(&frame);
    let mut frame = buffer.frame();
    six_to_four(&mut frame, &meta, &Rewrite { allow_zero: true, ..outbound(&meta) }).unwrap();
    let out = &frame.bytes()[14..];
    assert_eq!((&out[20..24], word(out, 26), &out[28..32]), (&[0x9c, 0x40, 0, 53][..], 0, &b"data"[..]));
}

//= conformance XLT-35
#[test]
fn a_corrupt_packet_stays_corrupt() {
    let mut datagram = v6(H, PREFIX | S, 6, &tcp(5000, 53, 0x10, &[], b"data"));
    let right = {
        let out = to_v4(&datagram).unwrap();
        word(&out, 36)
    };
    let wrong = word(&datagram, 56).wrapping_add(1);
    datagram[56..58].copy_from_slice(&wrong.to_be_bytes());
    let frame = ethernet(None, &datagram);
    let (_, meta) = read(&frame);
    let mut buffer = Buffer::new(&frame);
    let mut frame = buffer.frame();
    six_to_four(&mut frame, &meta, &outbound(&meta)).unwrap();
    assert_eq!(word(frame.bytes(), 14 + 36), right.wrapping_add(1));
}

/// A prefix whose words add up to nothing, and an address outside it that does not: no checksum needs to know.
//= conformance ADDR-20
#[test]
fn a_checksum_neutral_prefix_is_a_prefix_like_any() {
    for prefix in [a6("64:ff9b:1:fffe::"), a6("64:ff9b::"), PREFIX] {
        for (protocol, payload) in
            [(17, udp(5000, 53, b"data")), (6, tcp(5000, 53, 2, &[], b"")), (58, echo(128, 9, b""))]
        {
            let there = run_ip(&v6(H, prefix | S, protocol, &payload), |frame, meta| {
                six_to_four(frame, meta, &outbound(meta))
            });
            let there = there.unwrap();
            let (source, destination) = (there[12..16].to_vec(), there[16..20].to_vec());
            let mut answer = there;
            answer[12..16].copy_from_slice(&destination);
            answer[16..20].copy_from_slice(&source);
            seal_v4(&mut answer);
            let back = run_ip(&answer, |frame, meta| {
                let to = Endpoints { source: prefix | S, ..inbound(meta).to };
                four_to_six(frame, meta, &rewrite(meta, to))
            });
            assert_eq!(back.unwrap()[8..24], (prefix | S).to_be_bytes());
        }
    }
}

//= conformance XLT-40
#[test]
fn tcp_behind_the_ports_is_unchanged() {
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7];
    let datagram = v6(H, PREFIX | S, 6, &tcp(5000, 53, 2, &options, b"payload"));
    let out = to_v4(&datagram).unwrap();
    assert_eq!(out[24..36], datagram[44..56]);
    assert_eq!(out[38..], datagram[58..]);
}

//= conformance ICMP-01, ICMP-02, ICMP-40, ICMP-41, N64-ICMP-10
#[test]
fn echoes_change_type_and_identifier() {
    for (six, four) in [(128, 8), (129, 0)] {
        let out = to_v4(&v6(H, PREFIX | S, 58, &echo(six, 5000, b"ABC"))).unwrap();
        assert_eq!((out[9], out[20], out[21], word(&out, 24), word(&out, 26)), (1, four, 0, 40000, 7));
        assert_eq!(&out[28..], b"ABC");
        let out = to_v6(&v4(S, T, 1, &echo(four, 40000, b"ABC"))).unwrap();
        assert_eq!((out[6], out[40], out[41], word(&out, 44), word(&out, 46)), (58, six, 0, 5000, 7));
        let out = nat44(&v4(INSIDE, S, 1, &echo(four, 5000, b"ABC"))).unwrap();
        assert_eq!((out[9], out[20], word(&out, 24)), (1, four, 40000));
    }
}

//= conformance XLT-45
#[test]
fn link_header_moves_and_padding_goes() {
    for vlan in [None, Some(100)] {
        for (datagram, grows) in [(udp6(b""), false), (udp4(b""), true)] {
            let mut frame = ethernet(vlan, &datagram);
            frame.resize(80, 0);
            let out = run(&frame, |frame, meta| {
                if grows {
                    four_to_six(frame, meta, &inbound(meta))
                } else {
                    six_to_four(frame, meta, &outbound(meta))
                }
            });
            let link_len = if vlan.is_some() { 18 } else { 14 };
            assert_eq!(out.unwrap().len(), link_len + if grows { 48 } else { 28 });
        }
        let mut frame = ethernet(vlan, &udp4(b""));
        frame.resize(80, 0);
        run(&frame, |frame, meta| four_to_four(frame, meta, &outbound(meta))).unwrap();
    }
}

#[test]
fn growth_needs_headroom() {
    let bytes = ethernet(None, &udp4(b"data"));
    let (_, meta) = read(&bytes);
    for room in [0, 19, 20] {
        let mut buffer = [&vec![0; room][..], &bytes].concat();
        let mut frame = Frame::new(&mut buffer, room, bytes.len());
        let outcome = four_to_six(&mut frame, &meta, &inbound(&meta)).map(|meta| meta.end);
        assert_eq!(outcome, if room < 20 { Err(DropReason::NoMbuf) } else { Ok(66) });
    }
}

#[test]
fn transports_without_ports_are_refused() {
    for (protocol, payload, reason) in [
        (132, vec![0; 12], DropReason::ProtocolUnsupported),
        (58, icmp(135, 0, 0, &[0; 16]), DropReason::IcmpUntranslatable),
        (58, icmp(1, 0, 0, &udp6(b"")), DropReason::IcmpUntranslatable),
    ] {
        assert_eq!(to_v4(&v6(H, PREFIX | S, protocol, &payload)), Err(reason));
    }
    //= conformance N44-23
    for kind in [9, 10, 13, 14, 15, 16, 17, 18, 42] {
        let datagram = v4(S, T, 1, &icmp(kind, 0, 0, &[0; 12]));
        assert_eq!(to_v6(&datagram), Err(DropReason::IcmpUntranslatable));
        assert_eq!(nat44(&datagram), Err(DropReason::IcmpUntranslatable));
    }
}

#[test]
fn a_meta_of_the_other_family_is_refused() {
    let mut buffer = Buffer::new(&ethernet(None, &udp4(b"data")));
    let (_, meta) = read(&ethernet(None, &udp6(b"data")));
    let mut frame = buffer.frame();
    assert_eq!(four_to_six(&mut frame, &meta, &inbound(&meta)), Err(DropReason::Ipv4Malformed));
    assert_eq!(six_to_four(&mut frame, &meta, &outbound(&meta)), Err(DropReason::Ipv6Malformed), "too short");
}

//= conformance N44-03, N44-05, N44-19, FRAG-33
#[test]
fn nat44_rewrites_in_place() {
    let datagram = v4(INSIDE, S, 17, &udp(5000, 53, b"PORT 10,0,0,10"));
    let out = nat44(&datagram).unwrap();
    assert_eq!((word(&out, 4), out[8]), (OUTSIDE_ID, 63));
    assert_eq!(out[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
    assert_eq!((word(&out, 20), word(&out, 22), &out[28..]), (40000, 53, &datagram[28..]));
}

//= conformance N44-25
#[test]
fn nat44_hides_recorded_routes() {
    let options = [148, 4, 0, 0, 7, 7, 8, 10, 0, 0, 1, 68, 4, 5, 0, 0];
    let out = nat44(&v4_options(INSIDE, S, &options, 17, &udp(5000, 53, b""))).unwrap();
    assert_eq!(out[20..36], [148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
}

/// Any data packet of the transports that are translated, in both families.
fn payloads() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let data = || prop::collection::vec(any::<u8>(), 0..90);
    let port = || 1..=u16::MAX;
    prop_oneof![
        (port(), port(), any::<u8>(), data())
            .prop_map(|(s, d, f, data)| (6, tcp(s, d, f, &[1, 1, 1, 0], &data))),
        (port(), port(), data()).prop_map(|(s, d, data)| (17, udp(s, d, &data))),
        (any::<u16>(), any::<bool>(), data())
            .prop_map(|(id, reply, data)| (58, echo(128 + u8::from(reply), id, &data))),
    ]
}

/// The IPv4 form of such a payload.
fn for_v4((protocol, mut payload): (u8, Vec<u8>)) -> (u8, Vec<u8>) {
    if protocol == 58 {
        payload[0] = if payload[0] == 128 { 8 } else { 0 };
        return (1, payload);
    }
    (protocol, payload)
}

fn ports(meta: &Meta, port: u16) -> (u16, u16) {
    if meta.transport == Transport::IcmpQuery { (port, port) } else { (port, meta.destination_port) }
}

proptest! {
    //= conformance XLT-30, XLT-36
    /// `run` has another implementation check every checksum, so incremental is full here.
    #[test]
    fn translated_packets_are_right(
        payload in payloads(), source: u128, destination: u128, new: (u128, u128), port in 1..=u16::MAX, vlan: bool,
    ) {
        let vlan = vlan.then_some(7);
        let frame = ethernet(vlan, &v6(source, destination, payload.0, &payload.1));
        let (v4_source, v4_destination) = (new.0 as u32 as u128, new.1 as u32 as u128);
        let out = run(&frame, |frame, meta| {
            let (sport, dport) = ports(meta, port);
            let length = translated_len(meta, Family::V4);
            let out = six_to_four(frame, meta, &rewrite(meta, endpoints(v4_source, sport, v4_destination, dport)))?;
            assert_eq!(out.ip_len(), length);
            Ok(out)
        }).unwrap();

        // Back to where it came from: everything but the hop limit is restored.
        let original = read(&frame).1;
        let back = run(&out, |frame, meta| four_to_six(frame, meta, &rewrite(meta, Endpoints::of(&original)))).unwrap();
        let hop_limit = usize::from(original.l3) + 7;
        let mut expected = frame.clone();
        expected[hop_limit] -= 2;
        prop_assert_eq!(&back, &expected);

        let payload = for_v4(payload);
        let frame = ethernet(vlan, &v4(v4_source, v4_destination, payload.0, &payload.1));
        run(&frame, |frame, meta| {
            let (sport, dport) = ports(meta, port);
            let length = translated_len(meta, Family::V6);
            let out = four_to_six(frame, meta, &rewrite(meta, endpoints(new.0, sport, new.1, dport)))?;
            assert_eq!(out.ip_len(), length);
            Ok(out)
        }).unwrap();
        run(&frame, |frame, meta| {
            let (sport, dport) = ports(meta, port);
            assert_eq!(translated_len(meta, Family::V4), meta.ip_len());
            four_to_four(frame, meta, &rewrite(meta, endpoints(new.1 as u32 as u128, sport, new.0 as u32 as u128, dport)))
        }).unwrap();
    }

    /// A session keeps one delta: the way back uses its complement.
    #[test]
    fn the_inverse_delta_leads_back(payload in payloads(), to: (u32, u32), port in 1..=u16::MAX) {
        let payload = for_v4(payload);
        let frame = ethernet(None, &v4(INSIDE, S, payload.0, &payload.1));
        let original = read(&frame).1;
        let (sport, dport) = ports(&original, port);
        let there = rewrite(&original, endpoints(to.0.into(), sport, to.1.into(), dport));
        let out = run(&frame, |frame, meta| four_to_four(frame, meta, &there)).unwrap();
        let back = Rewrite { to: Endpoints::of(&original), delta: there.delta.inverse(), identification: original.identification as u16, ..there };
        let mut expected = frame.clone();
        expected[22] -= 2;
        seal_v4(&mut expected[14..]);
        prop_assert_eq!(run(&out, |frame, meta| four_to_four(frame, meta, &back)).unwrap(), expected);
    }
}
