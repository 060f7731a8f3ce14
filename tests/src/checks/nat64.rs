//! NAT64: an IPv6-only client and an IPv4-only server.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::{PORT, Scene, server6};
use crate::lab::SERVER;
use crate::traffic::{self, any, datagrams, download, embed, exchange, seen_as, upload};

/// Bulk of a transfer: some thousand full segments each way.
pub const BULK: u64 = 6 << 20;

/// Echo requests of ordinary, odd and full size are answered.
//= conformance N64-ICMP-10, N64-ICMP-01
pub fn ping(scene: &Scene) -> Result<()> {
    let server = embed(SERVER).to_string();
    for size in ["0", "56", "101", "1231", "1452"] {
        scene
            .lab
            .host("client6")
            .exec(&["ping", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, &server])
            .with_context(|| format!("echo of {size} bytes"))?;
    }
    Ok(())
}

/// TCP in both directions, every byte compared.
//= conformance XLT-30
//= conformance XLT-40
pub fn bulk(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    upload(client, server6(), BULK).context("client to server")?;
    download(client, server6(), BULK).context("server to client")
}

/// UDP of many sizes is echoed unchanged.
pub fn udp(scene: &Scene) -> Result<()> {
    let socket = datagrams(scene.lab.host("client6"), any(server6()), server6())?;
    for size in [1_usize, 2, 3, 63, 512, 1233, 1451, 1452] {
        let request: Vec<u8> = (0..size).map(|n| crate::service::pattern(n as u64)).collect();
        let answer = exchange(&socket, &request).with_context(|| format!("{size} bytes"))?;
        ensure!(answer == request, "{size} bytes came back changed");
    }
    Ok(())
}

/// The server sees an address of the pool and a port of its range, and for one inside endpoint always the same, wherever it goes.
//= conformance MAP-01
pub fn mapping(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    let local: SocketAddr = "[2001:db8:501::10]:40001".parse()?;
    let second = crate::service::Service::start(scene.lab.host("server4"), (SERVER, PORT + 1).into())?;
    let mut seen = BTreeSet::new();
    for port in [PORT, second.address().port()] {
        let socket = datagrams(client, local, (embed(SERVER), port).into())?;
        seen.insert(String::from_utf8(exchange(&socket, b"who?")?)?);
    }
    ensure!(seen.len() == 1, "one endpoint, two mappings: {seen:?}");
    let external: SocketAddr = seen.first().context("an answer")?.parse()?;
    let IpAddr::V4(address) = external.ip() else { anyhow::bail!("{external} is not IPv4") };
    ensure!(
        address.octets()[..3] == [198, 51, 100] && address.octets()[3] < 4,
        "{external} is not of the pool"
    );
    ensure!(external.port() >= 1024, "{external} is not in the pool's port range");
    Ok(())
}

/// Two clients with the same source port to the same server get ports of their own, and answers of their own.
//= conformance MAP-02
pub fn same_port(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    let mut seen = BTreeSet::new();
    let mut sockets = Vec::new();
    for address in ["[2001:db8:501::10]:40002", "[2001:db8:501::11]:40002"] {
        let socket = datagrams(client, address.parse()?, server6())?;
        seen.insert(exchange(&socket, b"who?")?);
        sockets.push(socket);
    }
    ensure!(seen.len() == 2, "two clients share {seen:?}");
    for (number, socket) in sockets.iter().enumerate() {
        let text = format!("client {number}");
        ensure!(exchange(socket, text.as_bytes())? == text.as_bytes(), "an answer went astray");
    }
    for address in ["[2001:db8:501::10]:40003", "[2001:db8:501::11]:40003"] {
        let peer = seen_as(client, Some(address.parse()?), server6())?;
        ensure!(peer.ip().is_ipv4(), "{peer}");
    }
    Ok(())
}

/// curl fetches from a real web server by the embedded address, as any program would.
pub fn http(scene: &Scene) -> Result<()> {
    let lab = scene.lab;
    let _nginx = crate::checks::web_server(lab)?;
    let url = format!("http://[{}]:8080/", embed(SERVER));
    let page = crate::wait::until(traffic::PATIENCE, "the web page", || {
        lab.host("client6").exec(&["curl", "-sS", "--max-time", "5", &url])
    })?;
    ensure!(page.contains("198.51.100."), "the web server saw: {page}");
    Ok(())
}

/// traceroute shows the gateway, the router behind it by its embedded address, and the server: one hop each.
//= conformance XLT-14, ICMP-92
pub fn traceroute(scene: &Scene) -> Result<()> {
    let target = embed(SERVER).to_string();
    let text = scene.lab.host("client6").exec(&[
        "traceroute",
        "-6",
        "-n",
        "-q",
        "1",
        "-w",
        "2",
        "-m",
        "5",
        &target,
    ])?;
    let hops: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    let router = embed(crate::lab::ROUTER).to_string();
    ensure!(hops == ["2001:db8:501::1", &router, &target], "hops {hops:?}:\n{text}");
    Ok(())
}
