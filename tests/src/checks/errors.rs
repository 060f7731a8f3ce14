//! ICMP errors and path MTU: they reach the socket that they concern.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Scene, nat64::BULK, server4, server6};
use crate::capture::Capture;
use crate::lab::SERVER;
use crate::netns::Netns;
use crate::traffic::{any, datagrams, embed, exchange, upload};
use crate::wait;

/// A datagram to a closed port is refused at once: the server's port unreachable comes back to the client's socket.
//= conformance ICMP-13
//= conformance N44-13, ICMP-96
pub fn closed_port(scene: &Scene) -> Result<()> {
    for (host, remote) in [("client6", (embed(SERVER), 9).into()), ("client4", SocketAddr::from((SERVER, 9)))]
    {
        let socket = datagrams(scene.lab.host(host), any(remote), remote)?;
        let start = Instant::now();
        let error = exchange(&socket, b"anyone?").err().context("a closed port answered")?;
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        ensure!(kind == Some(ErrorKind::ConnectionRefused), "{host}: {error:#}");
        ensure!(start.elapsed() < Duration::from_secs(1), "{host} waited {:?}", start.elapsed());
    }
    Ok(())
}

/// An address that nobody has: the router's host unreachable comes back.
//= conformance ICMP-11
pub fn unreachable_host(scene: &Scene) -> Result<()> {
    let nobody = Ipv4Addr::new(203, 0, 113, 77);
    for (host, address) in [("client6", embed(nobody).to_string()), ("client4", nobody.to_string())] {
        let mut command = scene.lab.host(host).command("ping");
        let text = command.args(["-c", "1", "-W", "5", &address]).output()?;
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        ensure!(text.contains("nreachable"), "{host}: {text}");
    }
    Ok(())
}

/// Hop limits: a datagram that may take one hop ends at the gateway, with two at the router.
pub fn hop_limit(scene: &Scene) -> Result<()> {
    let server = embed(SERVER).to_string();
    let router = embed(crate::lab::ROUTER).to_string();
    for (host, hops, target, from) in [
        ("client6", "1", server.as_str(), "2001:db8:501::1"),
        ("client6", "2", &server, &router),
        ("client4", "1", "203.0.113.10", "10.0.0.1"),
        ("client4", "2", "203.0.113.10", "192.0.2.1"),
    ] {
        let mut command = scene.lab.host(host).command("ping");
        let output = command.args(["-n", "-c", "1", "-W", "2", "-t", hops, target]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("Time")).unwrap_or_default();
        ensure!(
            line.contains(&format!("{from} ")) || line.contains(&format!("{from}:")),
            "{host} {hops}: {text}"
        );
    }
    Ok(())
}

/// A path that narrows behind the gateway: uploads work, and the client has learnt the MTU, for IPv6 20 bytes more.
//= conformance ICMP-14
//= conformance N44-17
pub fn narrow_path(scene: &Scene) -> Result<()> {
    let router = scene.lab.host("router");
    // Locked, so that the router applies it to what it forwards.
    router.ip(&["route", "add", "203.0.113.10/32", "dev", "eth1", "mtu", "lock", "1400"])?;
    let result = narrow_path_clients(scene);
    router.ip(&["route", "del", "203.0.113.10/32"])?;
    for host in ["client4", "client6"] {
        scene.lab.host(host).ip(&["route", "flush", "cache"])?;
        scene.lab.host(host).ip(&["-6", "route", "flush", "cache"])?;
    }
    result
}

fn narrow_path_clients(scene: &Scene) -> Result<()> {
    let lab = scene.lab;
    upload(lab.host("client6"), server6(), BULK / 4).context("NAT64")?;
    known_mtu(lab.host("client6"), &embed(SERVER).to_string(), "1420")?;
    upload(lab.host("client4"), server4(), BULK / 4).context("NAT44")?;
    known_mtu(lab.host("client4"), &SERVER.to_string(), "1400")
}

/// NAT64's 20 bytes: a full-size IPv4 datagram does not fit the inside as IPv6. The server is told 1480 and asked again it gets through.
//= conformance FRAG-04, XLT-49
pub fn twenty_bytes(scene: &Scene) -> Result<()> {
    let socket = datagrams(scene.lab.host("client6"), any(server6()), server6())?;
    let external: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
    // 1472 + 28 = 1500 bytes of IPv4 with DF, 1520 of IPv6: too big.
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let _ = exchange(&socket, b"big:1472");
    known_mtu(scene.lab.host("server4"), &external.ip().to_string(), "1480")?;
    ensure!(exchange(&socket, b"big:1452")?.len() == 1452, "the largest that fits does not pass");
    scene.lab.host("server4").ip(&["route", "flush", "cache"])?;
    Ok(())
}

/// What a host's kernel knows about the path to an address.
fn known_mtu(host: &Netns, address: &str, mtu: &str) -> Result<()> {
    wait::until(
        Duration::from_secs(3),
        &format!("{} to learn MTU {mtu} towards {address}", host.name()),
        || {
            let route = host.ip(&["route", "get", address])?;
            wait::require(route.contains(&format!("mtu {mtu}")), route.trim())
        },
    )
}

/// What the server announces reaches the client clamped to the inside MTU, and the other way round.
//= conformance MSS-01
pub fn mss_clamped(scene: &Scene, inside_mtu: u16) -> Result<()> {
    for (host, remote, header, clamped) in
        [("client6", server6(), 60, true), ("client4", server4(), 40, false)]
    {
        let capture = Capture::start(scene.lab.host(host))?;
        upload(scene.lab.host(host), remote, 10_000)?;
        let frames = capture.finish()?;
        let announced: Vec<u16> = frames.iter().filter_map(|frame| answer_mss(frame)).collect();
        let limit = if clamped { inside_mtu - header } else { 1460 };
        ensure!(!announced.is_empty(), "{host}: no SYN+ACK seen");
        ensure!(
            announced.iter().all(|mss| *mss <= limit),
            "{host}: announced {announced:?}, expected at most {limit}"
        );
    }
    Ok(())
}

/// MSS of a SYN+ACK.
fn answer_mss(frame: &[u8]) -> Option<u16> {
    let flags = match frame.get(12..14)? {
        [0x08, 0x00] => frame.get(14 + usize::from(frame[14] & 15) * 4 + 13)?,
        [0x86, 0xdd] => frame.get(54 + 13)?,
        _ => return None,
    };
    const SYN_ACK: u8 = 0x12;
    if flags & SYN_ACK != SYN_ACK {
        return None;
    }
    crate::capture::syn_mss(frame)
}
