//! Inputs to begin with: packets of every kind, configurations, messages.

use sluice_nat::Protocol;
use sluice_reference::bytes::{ipv4, ipv6, pseudo, seal};
use sluice_reference::dice::{Dice, Seeded};
use sluice_shm::messages::Message;
use sluice_shm::snapshot::Snapshot;
use sluice_shm::snapshot_file::encode;
use sluice_shm::{Address, Command, NeighbourState, Request};
use zerocopy::IntoBytes;

const H: u128 = 0x2001_0db8_0001 << 80 | 0x10;
const REMOTE: u128 = 0x2001_0db8_0064 << 80 | 0xc633_6409;
const T: u32 = 0xc000_0201;
const S: u32 = 0xc633_6409;

/// Named seeds of a target.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "parser" => frames(),
        // Resealed, and not.
        "translator" => frames().into_iter().map(|(name, frame)| (name, [vec![1], frame].concat())).collect(),
        "engine" | "fragments" => games(),
        "yaml" => configurations(),
        "messages" => messages(),
        _ => Vec::new(),
    }
}

fn frame(kind: u16, tag: Option<u16>, parts: &[&[u8]]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(tag) = tag {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    parts.iter().for_each(|part| frame.extend(*part));
    frame
}

/// Bytes of a transport with data, its checksum right.
fn transport(v6: bool, protocol: u8, head: &[u8], data: &[u8]) -> Vec<u8> {
    let mut payload = [head, data].concat();
    let (source, destination) = if v6 { (H, REMOTE) } else { (S.into(), T.into()) };
    let whole = pseudo(v6, source, destination, protocol, payload.len());
    seal(&whole, protocol, &mut payload);
    payload
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    [ipv4(S, T, protocol, 64, 0, 7, 0x4000, payload.len()), payload.to_vec()].concat()
}

/// With options, which a multiple of four bytes long.
fn v4_options(options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet =
        [ipv4(S, T, protocol, 64, 0, 7, 0, options.len() + payload.len()), options.to_vec()].concat();
    packet[0] = 0x45 + (options.len() / 4) as u8;
    packet[10..12].fill(0);
    let checksum = !sluice_reference::bytes::sum(&[&packet]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn v6(next: u8, chain: &[u8], payload: &[u8]) -> Vec<u8> {
    [ipv6(H, REMOTE, next, 64, 0, chain.len() + payload.len()), chain.to_vec(), payload.to_vec()].concat()
}

const UDP: [u8; 8] = [0x13, 0x88, 0, 53, 0, 12, 0, 0];
const SYN: [u8; 28] =
    [0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x70, 2, 0x20, 0, 0, 0, 0, 0, 1, 2, 4, 5, 0xb4, 1, 1, 0];

fn frames() -> Vec<(String, Vec<u8>)> {
    let udp = |v6| transport(v6, 17, &UDP, b"data");
    let syn = |v6| transport(v6, 6, &SYN, b"");
    let echo = |v6: bool, kind| transport(v6, if v6 { 58 } else { 1 }, &[kind, 0, 0, 0, 0, 9, 0, 1], b"data");
    let error4 = |kind, code, rest: u32, quote: &[u8]| {
        transport(false, 1, &[&[kind, code, 0, 0][..], &rest.to_be_bytes()].concat(), quote)
    };
    let error6 = |kind, code, rest: u32, quote: &[u8]| {
        transport(true, 58, &[&[kind, code, 0, 0][..], &rest.to_be_bytes()].concat(), quote)
    };
    let mut extended = v4(17, &udp(false));
    extended.resize(128, 0);
    extended.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 1, 2, 3, 4]);
    let chain = [60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9];
    let mut bare = v4(17, &udp(false));
    bare[26..28].fill(0);
    let arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2];
    let solicitation =
        [&[135, 0, 0, 0, 0, 0, 0, 0][..], &H.to_be_bytes(), &[1, 1, 2, 0, 0, 0, 0, 1]].concat();
    let four: Vec<(&str, Vec<u8>)> = vec![
        ("udp4", v4(17, &udp(false))),
        ("udp4-no-checksum", bare),
        ("syn4", v4(6, &syn(false))),
        ("echo4", v4(1, &echo(false, 8))),
        ("options4", v4_options(&[7, 7, 4, 0, 0, 0, 0, 68, 4, 5, 0, 0], 17, &udp(false))),
        ("source-route4", v4_options(&[131, 7, 8, 1, 2, 3, 4, 0], 6, &syn(false))),
        ("too-big4", v4(1, &error4(3, 4, 1400, &v4(17, &udp(false))))),
        ("time-exceeded4-extension", v4(1, &error4(11, 0, 32 << 16, &extended))),
        ("parameter-problem4", v4(1, &error4(12, 0, 8 << 24, &v4(1, &echo(false, 8))))),
    ];
    let six: Vec<(&str, Vec<u8>)> = vec![
        ("udp6", v6(17, &[], &udp(true))),
        ("syn6", v6(6, &[], &syn(true))),
        ("echo6", v6(58, &[], &echo(true, 128))),
        ("chain6", v6(0, &chain, &udp(true))),
        ("atomic6", v6(44, &[17, 0, 0, 0, 0, 0, 0, 9], &udp(true))),
        ("routing6", v6(43, &[17, 0, 0, 1, 0, 0, 0, 0], &udp(true))),
        ("too-big6", v6(58, &[], &error6(2, 0, 1400, &v6(17, &[], &udp(true))))),
        (
            "time-exceeded6",
            v6(58, &[], &error6(3, 0, 10 << 24, &v6(0, &chain, &[&udp(true)[..], &[0; 90]].concat()))),
        ),
        ("unreachable6", v6(58, &[], &error6(1, 4, 0, &v6(6, &[], &syn(true))))),
        ("solicitation6", v6(58, &[], &solicitation)),
    ];
    let mut all = vec![("arp".to_owned(), frame(0x0806, None, &[&arp]))];
    for (kind, packets) in [(0x0800, four), (0x86dd, six)] {
        for (number, (name, packet)) in packets.into_iter().enumerate() {
            let tag = (number % 4 == 1).then_some(9);
            all.push((name.to_owned(), frame(kind, tag, &[&packet])));
        }
    }
    all
}

/// Random dice; what they mean is the game's to find out.
fn games() -> Vec<(String, Vec<u8>)> {
    (0..6u64)
        .map(|seed| {
            let mut dice = Seeded::new(seed);
            let bytes = (0..500 + 300 * seed).map(|_| dice.roll(256) as u8).collect();
            (format!("dice-{seed}"), bytes)
        })
        .collect()
}

fn configurations() -> Vec<(String, Vec<u8>)> {
    let all: [(&str, &[u8]); 3] = [
        ("border", include_bytes!("../../../deploy/examples/border.yaml")),
        ("hosting", include_bytes!("../../../deploy/examples/hosting.yaml")),
        ("laptop", include_bytes!("../../../deploy/examples/laptop.yaml")),
    ];
    let small: [(&str, &[u8]); 3] = [
        ("nothing", b""),
        ("alias", b"a: &a [1]\nb: *a\n"),
        ("small", b"interfaces:\n  in: { device: tap:x, addresses: [10.0.0.1/24] }\npools:\n  p: { prefixes: [198.51.100.0/30] }\nnat44:\n  - { sources: [10.0.0.0/8], pool: p }\nstatic-bindings:\n  - { protocol: tcp, inside: 10.0.0.2, inside-port: 22, external: 198.51.100.1, external-port: 2222 }\n"),
    ];
    all.into_iter().chain(small).map(|(name, text)| (name.to_owned(), text.to_vec())).collect()
}

fn messages() -> Vec<(String, Vec<u8>)> {
    let request = Request {
        sequence: 7,
        command: Command::NeighbourSet {
            interface: 1,
            address: Address::v4(T),
            mac: [2, 0, 0, 0, 0, 1],
            state: NeighbourState::Reachable,
        },
    };
    let mut all = vec![("request".to_owned(), [&[0][..], request.to_wire().as_bytes()].concat())];
    for (kind, name) in [(1u8, "reply"), (2, "notice"), (3, "trace")] {
        for first in 0..3u8 {
            let bytes = [vec![kind, first, 0, first, 0, first], vec![0; 90]].concat();
            all.push((format!("{name}-{first}"), bytes));
        }
    }
    let snapshot = Snapshot {
        generation: 3,
        nat: sluice_reference::scenario::spec(&mut Seeded::new(3)),
        sessions: 4096,
        ..Snapshot::default()
    };
    if let (Ok(file), Ok(body)) = (encode(&snapshot), postcard::to_stdvec(&snapshot)) {
        all.push(("snapshot-body".to_owned(), [vec![4], body].concat()));
        all.push(("snapshot-file".to_owned(), [vec![5], file].concat()));
    }
    let _ = Protocol::ALL;
    all.push(("state-region".to_owned(), vec![6, 0, 0, 64, 9, 0, 72, 1]));
    all.push(("control-region".to_owned(), vec![6, 1, 0, 64, 9, 0, 128, 3]));
    all
}
