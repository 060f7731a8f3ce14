//! What only a frame written by hand can ask: malformed packets, odd link headers, routers that are not there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Check, PORT, Scene, nat44, nat64, server4, server6};
use crate::accounting::Counters;
use crate::capture::Capture;
use crate::lab::SERVER;
use crate::traffic::{any, datagrams, embed, exchange};
use crate::wait;
use crate::wire::{Wire, echo, icmp, mac_of, other, other6, tcp, udp};

/// What depends on the ports, or on how many workers there are.
pub const PATHS: &[Check] = &[
    ("padding", padding),
    ("priority tag", priority_tag),
    ("errors of inside routers", inside_routers),
    ("first packets wait", first_packets_wait),
    ("flood of the box", flood_of_the_box),
    ("hostile", hostile),
];

/// Malformed and senseless packets, each under its name.
pub const NAMES: &[Check] = &[
    ("malformed IPv4", malformed_v4),
    ("malformed IPv6", malformed_v6),
    ("flows that make no sense", senseless),
];

const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x501, 0, 0, 0, 0, 0x10);
/// Ports of a flow that nobody uses.
const PORTS: (u16, u16) = (46001, 9999);

/// Where the network header begins.
const L3: usize = 14;

fn wire6(scene: &Scene) -> Result<Wire> {
    Wire::open(scene.lab.host("client6"), "eth0", scene.gateway, "inside")
}

fn wire4(scene: &Scene) -> Result<Wire> {
    Wire::open(scene.lab.host("client4"), "eth0", scene.gateway, "inside")
}

/// The gateway sends no frame that is shorter than Ethernet allows; what it adds is zeros.
//= conformance XLT-45
pub fn padding(scene: &Scene) -> Result<()> {
    let hosts = ["router", "client6", "client4"].map(|host| scene.lab.host(host));
    let captures = hosts.map(Capture::start);
    for (host, remote) in [("client6", server6()), ("client4", server4())] {
        let socket = datagrams(scene.lab.host(host), any(remote), remote)?;
        exchange(&socket, b"1")?;
    }
    let gateway = [mac_of(scene.gateway, "inside")?, mac_of(scene.gateway, "outside")?];
    for capture in captures {
        let frames = capture?.finish()?;
        let ours: Vec<_> =
            frames.iter().filter(|frame| gateway.iter().any(|mac| frame[6..12] == *mac)).collect();
        ensure!(!ours.is_empty(), "the gateway sent nothing here");
        for frame in ours {
            ensure!(frame.len() >= 60, "{} bytes: {frame:02x?}", frame.len());
            let end = match frame[12..14] {
                [0x08, 0x00] => L3 + usize::from(u16::from_be_bytes([frame[16], frame[17]])),
                [0x86, 0xdd] => L3 + 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]])),
                _ => continue,
            };
            ensure!(frame[end..].iter().all(|&byte| byte == 0), "padding is not zero: {frame:02x?}");
        }
    }
    Ok(())
}

/// Frames with a tag that only carries a priority (VLAN 0) are those of the untagged interface: ARP, the box, flows.
pub fn priority_tag(scene: &Scene) -> Result<()> {
    let wire = wire4(scene)?;
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0x00, 0xa0, 0x00], &frame[12..]].concat();

    let mut arp = [[0xff; 6].as_slice(), &wire.mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &wire.mac].concat();
    arp.extend([&CLIENT4.octets()[..], &[0; 6], &[10, 0, 0, 1], &[0; 18]].concat());
    wire.send(&tagged(&arp))?;
    wire.expect("answer to a tagged ARP request", Duration::from_secs(3), |frame| {
        frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[6..12] == wire.gateway
    })?;

    let id = 0x5a5a;
    let local = echo(wire.v4(CLIENT4, Ipv4Addr::new(10, 0, 0, 1)), false, id);
    let flow = echo(wire.v4(CLIENT4, SERVER), false, id + 1);
    for (frame, id) in [(local, id), (flow, id + 1)] {
        wire.send(&tagged(&frame))?;
        wire.expect("answer to a tagged echo request", Duration::from_secs(3), |frame| {
            frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 0 && frame[38..40] == id.to_be_bytes()
        })?;
    }
    Ok(())
}

/// A router inside, with an address that no rule serves, reports on a packet that was translated: the error goes out from the
/// flow's external address, and what it quotes is what the server had sent.
//= conformance N44-14
//= conformance ICMP-93
pub fn inside_routers(scene: &Scene) -> Result<()> {
    let server = Wire::open(scene.lab.host("router"), "eth0", scene.gateway, "outside")?;
    for (host, local, remote) in [
        ("client4", SocketAddr::from((CLIENT4, 46010)), server4()),
        ("client6", SocketAddr::from((CLIENT6, 46010)), server6()),
    ] {
        let socket = datagrams(scene.lab.host(host), local, remote)?;
        let external: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
        let IpAddr::V4(address) = external.ip() else { anyhow::bail!("{external} is not IPv4") };
        let error = if host == "client4" {
            let wire = wire4(scene)?;
            let quoted = udp(wire.v4(SERVER, CLIENT4), (PORT, 46010), b"quoted");
            icmp(wire.v4(Ipv4Addr::new(10, 77, 0, 1), SERVER), false, (3, 1), &quoted[L3..])
        } else {
            let wire = wire6(scene)?;
            let router = "2001:db8:501:0:8000::77".parse()?;
            let quoted = udp(wire.v6(embed(SERVER), CLIENT6), (PORT, 46010), b"quoted");
            icmp(wire.v6(router, embed(SERVER)), true, (1, 3), &quoted[L3..])
        };
        let wire = if host == "client4" { wire4(scene)? } else { wire6(scene)? };
        wire.send(&error)?;
        let found = server.expect("translated error", Duration::from_secs(3), |frame| {
            frame[12..14] == [8, 0] && frame[23] == 1 && frame[34..36] == [3, 1]
        })?;
        let inner = &found[L3 + 28..];
        ensure!(found[26..30] == address.octets(), "{host}: the error came from {:?}", &found[26..30]);
        ensure!(found[30..34] == SERVER.octets(), "{host}: it went to {:?}", &found[30..34]);
        ensure!(inner[12..16] == SERVER.octets(), "{host}: it quotes source {:?}", &inner[12..16]);
        ensure!(inner[16..20] == address.octets(), "{host}: it quotes destination {:?}", &inner[16..20]);
        let ports = [u16::from_be_bytes([inner[20], inner[21]]), u16::from_be_bytes([inner[22], inner[23]])];
        ensure!(ports == [PORT, external.port()], "{host}: it quotes ports {ports:?}");
        let length = usize::from(u16::from_be_bytes([found[16], found[17]]));
        ensure!(sums_up(&found[L3..L3 + 20]), "{host}: the outer header's checksum is wrong");
        ensure!(sums_up(&found[L3 + 20..L3 + length]), "{host}: the ICMP checksum is wrong");
        ensure!(sums_up(&inner[..20]), "{host}: the quoted header's checksum is wrong");
    }
    Ok(())
}

/// Whether the Internet checksum over bytes that contain their checksum is right.
fn sums_up(bytes: &[u8]) -> bool {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// The first packet to a neighbour that has to be asked for first is not lost: it waits.
pub fn first_packets_wait(scene: &Scene) -> Result<()> {
    let gw = scene.lab.host("gw");
    let before = scene.gateway.settled()?;
    for round in 0..3 {
        for (host, remote) in [("client6", server6()), ("client4", server4())] {
            let socket = datagrams(scene.lab.host(host), any(remote), remote)?;
            for twin in ["inside", "outside"] {
                gw.ip(&["neigh", "flush", "dev", twin])?;
            }
            // One datagram, and no second try: both directions have to ask.
            exchange(&socket, b"first").with_context(|| format!("{host}, round {round}"))?;
        }
    }
    let drops = scene.gateway.settled()?.drops_since(&before);
    ensure!(!drops.contains_key("neighbour_unresolved"), "packets that waited were dropped: {drops:?}");
    Ok(())
}

/// Sends frames one by one; each must end under exactly the name beside it.
fn each_under_its_name(scene: &Scene, wire: &Wire, frames: Vec<(&str, Vec<u8>)>) -> Result<()> {
    // The gateway knows the hosts, so that the errors that it makes find their way.
    for (host, source, address) in
        [("client6", CLIENT6.to_string(), "2001:db8:501::1"), ("client4", CLIENT4.to_string(), "10.0.0.1")]
    {
        scene.lab.host(host).exec(&["ping", "-c", "1", "-W", "3", "-I", &source, address])?;
    }
    let mut before = scene.gateway.settled()?;
    for (number, (reason, frame)) in frames.iter().enumerate() {
        let end = || -> Result<Counters> {
            wire.send(frame)?;
            let now = wait::until(Duration::from_secs(3), "the frame to be dropped", || {
                let now = scene.gateway.counters()?;
                wait::require(!now.drops_since(&before).is_empty(), "nothing")?;
                Ok(now)
            })?;
            let drops = now.drops_since(&before);
            ensure!(drops == BTreeMap::from([((*reason).to_owned(), 1)]), "it was dropped as {drops:?}");
            Ok(now)
        };
        before = end().with_context(|| format!("frame {number}, to be dropped as {reason}: {frame:02x?}"))?;
    }
    Ok(())
}

/// Changes bytes of a frame behind the link header.
fn patched(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(place, value) in changes {
        frame[L3 + place] = value;
    }
    frame
}

/// With the IPv4 header's checksum made right again.
fn summed(mut frame: Vec<u8>) -> Vec<u8> {
    let header = usize::from(frame[L3] & 15) * 4;
    frame[L3 + 10..L3 + 12].fill(0);
    let mut sum: u32 =
        frame[L3..L3 + header].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[L3 + 10..L3 + 12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

/// Every way in which an IPv4 packet can be wrong has a name.
//= conformance XLT-37
//= conformance XLT-38
pub fn malformed_v4(scene: &Scene) -> Result<()> {
    let wire = wire4(scene)?;
    let good = || udp(wire.v4(CLIENT4, SERVER), PORTS, &[7; 32]);
    let segment = || tcp(wire.v4(CLIENT4, SERVER), PORTS, 2);
    let source = |address: [u8; 4]| udp(wire.v4(address.into(), SERVER), PORTS, &[7; 32]);
    let quoting = |quoted: &[u8]| icmp(wire.v4(CLIENT4, SERVER), false, (3, 1), quoted);
    // A source route of one hop that has not been reached: 8 bytes of options before the datagram.
    let mut routed = good();
    routed.splice(L3 + 20..L3 + 20, [131, 7, 4, 192, 0, 2, 1, 0]);
    let length = (routed.len() - L3) as u16;
    routed[L3 + 2..L3 + 4].copy_from_slice(&length.to_be_bytes());
    let routed = summed(patched(routed, &[(0, 0x47)]));
    let mut elsewhere = good();
    elsewhere[0..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x99]);
    each_under_its_name(
        scene,
        &wire,
        vec![
            ("not_for_us", elsewhere),
            ("ipv4_malformed", good()[..L3].to_vec()),
            ("ipv4_malformed", patched(good(), &[(0, 0x65)])),
            ("ipv4_malformed", summed(patched(good(), &[(0, 0x44)]))),
            ("ipv4_malformed", summed(patched(good(), &[(2, 0x20)]))),
            ("ipv4_malformed", patched(good(), &[(8, 63)])),
            ("ipv4_source_route", routed),
            ("transport_malformed", summed(patched(good(), &[(2, 0), (3, 24)]))),
            ("transport_malformed", patched(good(), &[(24, 0xff)])),
            ("transport_malformed", patched(segment(), &[(32, 0x40)])),
            ("port_zero", patched(good(), &[(22, 0), (23, 0)])),
            ("fragment", summed(patched(quoting(&good()[L3..L3 + 56]), &[(6, 0x20)]))),
            ("fragment_malformed", summed(patched(good(), &[(6, 0x1f), (7, 0xff)]))),
            ("fragment_timeout", summed(patched(good(), &[(6, 0), (7, 0x05)]))),
            ("hop_limit_exceeded", summed(patched(good(), &[(8, 1)]))),
            ("source_illegal", source([127, 0, 0, 1])),
            ("source_illegal", source([224, 0, 0, 5])),
            ("source_illegal", source([0, 0, 0, 0])),
            ("protocol_unsupported", other(wire.v4(CLIENT4, SERVER), &[0; 40])),
            ("icmp_untranslatable", icmp(wire.v4(CLIENT4, SERVER), false, (13, 0), &[0; 12])),
            ("icmp_quote_malformed", quoting(&good()[L3..L3 + 12])),
            ("icmp_no_session", quoting(&udp(wire.v4(SERVER, CLIENT4), (9998, 46999), b"quoted")[L3..])),
        ],
    )
}

/// Every way in which an IPv6 packet can be wrong has a name.
//= conformance XLT-18
//= conformance XLT-46
//= conformance XLT-48
pub fn malformed_v6(scene: &Scene) -> Result<()> {
    let wire = wire6(scene)?;
    let to = embed(SERVER);
    let good = || udp(wire.v6(CLIENT6, to), PORTS, &[7; 32]);
    let source =
        |address: &str| -> Result<Vec<u8>> { Ok(udp(wire.v6(address.parse()?, to), PORTS, &[7; 32])) };
    let chain = |header: u8, headers: &[u8]| other6(wire.v6(CLIENT6, to), header, headers);
    // Ten empty destination options, one behind the other.
    let options = [60, 0, 1, 4, 0, 0, 0, 0].repeat(10);
    // A routing header with a segment left, and UDP behind it.
    let mut routing = vec![17, 2, 0, 1, 0, 0, 0, 0];
    routing.extend(to.octets());
    routing.extend(&good()[L3 + 40..]);
    // Hop-by-hop with a jumbo payload.
    let jumbo = patched(chain(0, &[17, 0, 0xc2, 4, 0, 1, 0, 0]), &[(4, 0), (5, 0)]);
    let mut group = good();
    group[0..6].fill(0xff);
    let mut elsewhere = good();
    elsewhere[0..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x99]);
    // Fragment headers: first (offset 0, more), and last (offset 8 octets, no more).
    let piece = |offset: [u8; 2]| {
        chain(44, &[&[17, 0, offset[0], offset[1], 0, 0, 0, 9], &good()[L3 + 40..]].concat())
    };
    each_under_its_name(
        scene,
        &wire,
        vec![
            ("not_for_us", elsewhere),
            ("not_unicast", group),
            ("ipv6_malformed", good()[..L3 + 20].to_vec()),
            ("ipv6_malformed", patched(good(), &[(0, 0x45)])),
            ("ipv6_malformed", patched(good(), &[(4, 0x20)])),
            ("ipv6_extension_chain", chain(60, &options)),
            ("ipv6_routing_header", chain(43, &routing)),
            ("ipv6_jumbogram", jumbo),
            ("transport_malformed", patched(good(), &[(44, 0xff)])),
            ("port_zero", patched(good(), &[(42, 0), (43, 0)])),
            ("udp_checksum_zero", patched(good(), &[(46, 0), (47, 0)])),
            ("fragment_malformed", piece([0xff, 0xf8])),
            ("fragment_timeout", piece([0, 8])),
            ("hop_limit_exceeded", patched(good(), &[(7, 1)])),
            ("source_illegal", source("::1")?),
            ("source_illegal", source("ff02::1")?),
            ("source_illegal", source("fe80::1")?),
            ("protocol_unsupported", chain(132, &[0; 40])),
            ("icmp_untranslatable", icmp(wire.v6(CLIENT6, to), true, (200, 0), &[0; 12])),
            ("icmp_quote_malformed", icmp(wire.v6(CLIENT6, to), true, (1, 3), &good()[L3..L3 + 12])),
            (
                "icmp_no_session",
                icmp(
                    wire.v6(CLIENT6, to),
                    true,
                    (1, 3),
                    &udp(wire.v6(to, CLIENT6), (9998, 46999), b"quoted")[L3..],
                ),
            ),
        ],
    )
}

/// Segments that belong to no connection, or to none that could be.
//= conformance N64-TCP-09
//= conformance N64-TCP-36
pub fn senseless(scene: &Scene) -> Result<()> {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let (six, four) = (wire6(scene)?, wire4(scene)?);
    for (reason, flags) in [
        ("tcp_no_session", ACK),
        ("tcp_no_session", RST),
        ("tcp_no_session", SYN | ACK),
        ("tcp_flags_illegal", SYN | FIN),
        ("tcp_flags_illegal", 0),
    ] {
        let segment = tcp(six.v6(CLIENT6, embed(SERVER)), PORTS, flags);
        each_under_its_name(scene, &six, vec![(reason, segment)])?;
        let segment = tcp(four.v4(CLIENT4, SERVER), PORTS, flags);
        each_under_its_name(scene, &four, vec![(reason, segment)])?;
    }
    Ok(())
}

/// More packets for the box than its share are dropped by name, and meanwhile the box can still be found: neighbour discovery
/// is not held back by the flood.
pub fn flood_of_the_box(scene: &Scene) -> Result<()> {
    /// What a worker gives to the kernel in a second, and at once after a quiet second.
    const LIMIT: u64 = 50_000;
    let wire = wire6(scene)?;
    let frame = udp(wire.v6(CLIENT6, "2001:db8:501::1".parse()?), PORTS, &[0; 18]);
    let before = scene.gateway.settled()?;
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let pinged = std::thread::scope(|scope| {
        let flood = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                wire.send(&frame)?;
            }
            Ok(())
        });
        // Long enough for the limit to be reached before the box is looked for.
        std::thread::sleep(Duration::from_millis(1500));
        let client = scene.lab.host("client6");
        let pinged = client.ip(&["neigh", "flush", "all"]).and_then(|_| {
            client.exec(&["ping", "-n", "-c", "3", "-i", "0.2", "-W", "3", &embed(SERVER).to_string()])
        });
        stop.store(true, Ordering::Relaxed);
        flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        pinged
    });
    let seconds = start.elapsed().as_secs() + 2;
    pinged.context("while the box was flooded")?;
    let after = scene.gateway.settled()?;
    let [came, policed] =
        [after.total("rx_packets")? - before.total("rx_packets")?, after.dropped("punt_policed")?];
    if came > LIMIT * (seconds + 1) {
        ensure!(
            policed > before.dropped("punt_policed")?,
            "{came} packets in {seconds} s, none over the limit"
        );
    } else {
        eprintln!("          only {came} packets in {seconds} s arrived: the limit is not reached");
    }
    Ok(())
}

/// Thousands of damaged packets, from both sides: the gateway goes on, and accounts for every one.
pub fn hostile(scene: &Scene) -> Result<()> {
    let (six, four) = (wire6(scene)?, wire4(scene)?);
    let out = Wire::open(scene.lab.host("router"), "eth0", scene.gateway, "outside")?;
    let pool = Ipv4Addr::new(198, 51, 100, 1);
    let quoted6 = udp(six.v6(embed(SERVER), CLIENT6), (PORT, 46010), b"quoted");
    let quoted4 = udp(out.v4(pool, SERVER), (40000, PORT), b"quoted");
    let seeds: Vec<(&Wire, Vec<u8>)> = vec![
        (&six, udp(six.v6(CLIENT6, embed(SERVER)), PORTS, &[1; 40])),
        (&six, tcp(six.v6(CLIENT6, embed(SERVER)), PORTS, 2)),
        (&six, echo(six.v6(CLIENT6, embed(SERVER)), true, 77)),
        (&six, icmp(six.v6(CLIENT6, embed(SERVER)), true, (1, 3), &quoted6[L3..])),
        (
            &six,
            other6(six.v6(CLIENT6, embed(SERVER)), 44, &[17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]),
        ),
        (&four, udp(four.v4(CLIENT4, SERVER), PORTS, &[1; 40])),
        (&four, tcp(four.v4(CLIENT4, SERVER), PORTS, 2)),
        (&four, echo(four.v4(CLIENT4, SERVER), false, 77)),
        (&out, udp(out.v4(SERVER, pool), (PORT, 40000), &[1; 40])),
        (&out, tcp(out.v4(SERVER, pool), (PORT, 40000), 2)),
        (&out, icmp(out.v4(SERVER, pool), false, (3, 4), &quoted4[L3..])),
    ];
    let before = scene.gateway.settled()?;
    // Any state will do; it is printed, so that a failure can be had again.
    let mut state = std::process::id() as u64 | 1 << 40;
    eprintln!("          seed {state:#x}");
    let mut dice = |sides: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % sides
    };
    for _ in 0..20_000 {
        let (wire, seed) = &seeds[dice(seeds.len())];
        let mut frame = seed.clone();
        for _ in 0..=dice(4) {
            let place = L3 + dice(frame.len() - L3);
            frame[place] = match dice(3) {
                0 => dice(256) as u8,
                1 => frame[place] ^ 1 << dice(8),
                _ => [0, 1, 0x7f, 0x80, 0xff][dice(5)],
            };
        }
        if dice(4) == 0 {
            frame.truncate(L3 + dice(frame.len() - L3 + 1));
        }
        wire.send(&frame)?;
    }
    eprintln!("          dropped {:?}", scene.gateway.settled()?.drops_since(&before));
    // The client may be at its limit of new sessions a second, which is as it should be.
    for (what, check) in [("NAT64", nat64::udp as fn(&Scene) -> Result<()>), ("NAT44", nat44::udp)] {
        wait::until(Duration::from_secs(10), &format!("{what} after that"), || check(scene))?;
    }
    Ok(())
}
