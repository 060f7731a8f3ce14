//! Packets from outside that nobody inside asked for, where the configuration says more than silence.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{Scene, server4, with_gateway};
use sluice_tests::site::{Device, Site};
use sluice_tests::traffic::{any, connect, datagrams, embed, exchange};
use sluice_tests::wait;
use sluice_tests::wire::{Wire, echo, tcp, udp};

const SYN: u8 = 2;
/// Hosts that are not there, so that nobody but the gateway answers.
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 78);
/// Behind the network header.
const L4: usize = 34;

fn outside(scene: &Scene) -> Result<Wire> {
    Wire::open(scene.lab.host("router"), "eth0", scene.gateway, "outside")
}

fn site(device: Device, workers: usize) -> Site {
    let more = "unsolicited: { tcp-syn: hold, other: reject }\n".to_owned();
    Site { more, ..Site::with(device, workers) }
}

/// Whether a frame is an ICMP error to a host, of a type 3 and this code.
fn unreachable(frame: &[u8], to: Ipv4Addr, code: u8) -> bool {
    frame[12..14] == [8, 0]
        && frame[23] == 1
        && frame[30..34] == to.octets()
        && frame[L4..L4 + 2] == [3, code]
}

fn drops(scene: &Scene, before: &sluice_tests::accounting::Counters) -> Result<BTreeMap<String, u64>> {
    Ok(scene.gateway.settled()?.drops_since(before))
}

/// The answer to a held SYN comes after six seconds, once, and quotes it.
fn answered(wire: &Wire, began: Instant, external: (Ipv4Addr, u16)) -> Result<()> {
    let error = wire.expect("answer to a held SYN", Duration::from_secs(8), |frame| {
        frame[12..14] == [8, 0] && frame[23] == 1 && frame[30..34] == STRANGER.octets()
    })?;
    let waited = began.elapsed();
    ensure!(unreachable(&error, STRANGER, 3), "it says {:?}", &error[L4..L4 + 2]);
    ensure!(waited >= Duration::from_secs(6), "it came after {waited:?}");
    ensure!(waited < Duration::from_secs(7), "it came after {waited:?}");
    let quoted = &error[L4 + 8..];
    ensure!(quoted[12..16] == STRANGER.octets() && quoted[16..20] == external.0.octets(), "it quotes others");
    ensure!(quoted[20..24] == [[0, 80], external.1.to_be_bytes()].concat(), "it quotes other ports");
    Ok(())
}

/// Crossing SYNs, the outer ones first and to ports that nobody has: the inner ones go out of those ports (there is one an
/// address), the connections are established, and the outer SYNs are forgotten. One that nobody answers hears so.
//= conformance N64-TCP-03
//= conformance N64-TCP-04
//= conformance N64-TCP-05
//= conformance N44-08
fn crossing(workers: usize) -> Result<()> {
    let site = site(Device::Packet, workers);
    with_gateway(&site, |scene| {
        // Only now, for whoever pinged at the start has used addresses up.
        let narrow = Site { pool: "192.0.2.128/30", ports: "7000-7000, block-size: 64", ..site.clone() };
        scene.gateway.write_config(&narrow.yaml())?;
        scene.gateway.apply()?;
        let wire = outside(scene)?;
        let inside = Wire::open(scene.lab.host("client4"), "eth0", scene.gateway, "inside")?;
        let external = |host: u8| Ipv4Addr::new(192, 0, 2, 128 + host);
        let before = scene.gateway.settled()?;
        let began = Instant::now();
        for _ in 0..2 {
            wire.send(&tcp(wire.v4(STRANGER, external(1)), (80, 7000), SYN))?;
        }
        for host in 0..4 {
            wire.send(&tcp(wire.v4(PEER, external(host)), (81, 7000), SYN))?;
        }
        // The second SYN of the stranger is the first one sent again.
        let held = |count| {
            wait::until(Duration::from_secs(2), "held SYNs", || {
                let held = scene.gateway.counters()?.total("held")?;
                wait::require(held == count, format!("{held} are held"))
            })
        };
        held(5)?;
        ensure!(scene.gateway.json_lines(&["sessions"])?.iter().all(|it| it["protocol"] != "tcp"), "state");
        std::thread::sleep(Duration::from_secs(2));
        // Four subscribers, each with an address and a port of its own, on one worker or several.
        for host in 10..14 {
            inside.send(&tcp(inside.v4(Ipv4Addr::new(10, 0, 0, host), PEER), (4000, 81), SYN))?;
            wire.expect("the SYN from inside", Duration::from_secs(2), |frame| {
                frame[23] == 6 && frame[30..34] == PEER.octets() && frame[L4..L4 + 4] == [0x1b, 0x58, 0, 81]
            })?;
        }
        held(1)?;
        let sessions = scene.gateway.json_lines(&["sessions", "--remote", &PEER.to_string()])?;
        ensure!(sessions.len() == 4, "{sessions:?}");
        ensure!(sessions.iter().all(|it| it["state"] == "established"), "{sessions:?}");
        answered(&wire, began, (external(1), 7000))?;
        // Nobody else hears anything.
        let late = wire.expect("", Duration::from_secs(1), |frame| {
            frame[12..14] == [8, 0] && frame[23] == 1 && frame[L4..L4 + 2] == [3, 3]
        });
        ensure!(late.is_err(), "another error was sent: {late:02x?}");
        let drops = drops(scene, &before)?;
        let expected = [("unsolicited_syn", 2), ("syn_superseded", 4)];
        ensure!(drops == expected.map(|(name, count)| (name.to_owned(), count)).into(), "{drops:?}");
        ensure!(scene.gateway.counters()?.total("held")? == 0, "something is held still");
        Ok(())
    })
}

#[test]
fn crossing_syns_meet_in_1_worker() -> Result<()> {
    crossing(1)
}

#[test]
fn crossing_syns_meet_in_4_workers() -> Result<()> {
    crossing(4)
}

/// A binding that filters: the SYN of a stranger is held as well. UDP and ICMP queries are told at once what was wrong.
#[test]
//= conformance N64-TCP-06
//= conformance N64-UDP-09
//= conformance N64-UDP-12
//= conformance N64-ICMP-06
//= conformance HAIR-04
fn strangers_are_told() -> Result<()> {
    let site = Site { filtering: "address-dependent", ..site(Device::Packet, 2) };
    with_gateway(&site, |scene| {
        let wire = outside(scene)?;
        let stream = connect(scene.lab.host("client4"), None, server4(), Duration::from_secs(5))?;
        let sessions = scene.gateway.json_lines(&["sessions", "--protocol", "tcp"])?;
        let session = sessions.first().context("the session")?;
        let address: Ipv4Addr = session["external"].as_str().context("its external address")?.parse()?;
        let port = u16::try_from(session["external_port"].as_u64().context("its external port")?)?;
        let before = scene.gateway.settled()?;
        let began = Instant::now();
        wire.send(&tcp(wire.v4(STRANGER, address), (80, port), SYN))?;

        let socket = datagrams(scene.lab.host("client4"), any(server4()), server4())?;
        let mapped: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
        let SocketAddr::V4(mapped) = mapped else { anyhow::bail!("{mapped} is not IPv4") };
        // A port of no block: clients have a handful of a thousand.
        let unused = Ipv4Addr::new(198, 51, 100, 3);
        for (what, frame, code) in [
            ("filtered", udp(wire.v4(PEER, *mapped.ip()), (80, mapped.port()), b"hello"), 13),
            ("to a free port", udp(wire.v4(PEER, unused), (80, 64999), b"hello"), 3),
            ("to a free identifier", echo(wire.v4(PEER, unused), false, 64998), 1),
        ] {
            wire.send(&frame)?;
            wire.expect(what, Duration::from_secs(2), |frame| unreachable(frame, PEER, code))?;
        }
        // Back through the translator to the sender inside: 6:1/4, which its socket hears as a refusal.
        let hairpin = SocketAddr::from((embed(unused), 64997));
        let socket = datagrams(scene.lab.host("client6"), any(hairpin), hairpin)?;
        socket.send(b"hello")?;
        let heard = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
        ensure!(heard == Err(std::io::ErrorKind::ConnectionRefused), "{heard:?}");

        answered(&wire, began, (address, port))?;
        let drops = drops(scene, &before)?;
        let expected = [("filtered", 2), ("no_binding", 2), ("hairpin_no_binding", 1)];
        ensure!(drops == expected.map(|(name, count)| (name.to_owned(), count)).into(), "{drops:?}");
        drop(stream);
        Ok(())
    })
}
