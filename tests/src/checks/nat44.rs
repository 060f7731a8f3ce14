//! NAT44: an IPv4 client with a private address and a public server.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::{Scene, nat64::BULK, server4};
use crate::lab::SERVER;
use crate::traffic::{self, any, datagrams, download, exchange, upload};

/// Echo requests of ordinary, odd and full size are answered.
//= conformance N44-02
pub fn ping(scene: &Scene) -> Result<()> {
    for size in ["0", "56", "101", "1231", "1472"] {
        scene
            .lab
            .host("client4")
            .exec(&["ping", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, &SERVER.to_string()])
            .with_context(|| format!("echo of {size} bytes"))?;
    }
    Ok(())
}

/// TCP in both directions, every byte compared.
//= conformance N44-03
pub fn bulk(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client4");
    upload(client, server4(), BULK).context("client to server")?;
    download(client, server4(), BULK).context("server to client")
}

/// UDP of many sizes is echoed unchanged.
pub fn udp(scene: &Scene) -> Result<()> {
    let socket = datagrams(scene.lab.host("client4"), any(server4()), server4())?;
    for size in [1_usize, 2, 3, 63, 512, 1233, 1471, 1472] {
        let request: Vec<u8> = (0..size).map(|n| crate::service::pattern(n as u64)).collect();
        let answer = exchange(&socket, &request).with_context(|| format!("{size} bytes"))?;
        ensure!(answer == request, "{size} bytes came back changed");
    }
    Ok(())
}

/// Two clients with the same source port to the same server get ports of their own.
//= conformance MAP-02
pub fn same_port(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client4");
    let mut seen = BTreeSet::new();
    for address in ["10.0.0.10:40002", "10.0.0.11:40002"] {
        let socket = datagrams(client, address.parse()?, server4())?;
        let external: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
        ensure!(external.ip().to_string().starts_with("198.51.100."), "{external} is not of the pool");
        seen.insert(external);
    }
    ensure!(seen.len() == 2, "two clients share {seen:?}");
    Ok(())
}

/// curl fetches from a real web server.
pub fn http(scene: &Scene) -> Result<()> {
    let lab = scene.lab;
    let _nginx = super::web_server(lab)?;
    let url = format!("http://{SERVER}:8080/");
    let page = crate::wait::until(traffic::PATIENCE, "the web page", || {
        lab.host("client4").exec(&["curl", "-sS", "--max-time", "5", &url])
    })?;
    ensure!(page.starts_with("198.51.100."), "the web server saw: {page}");
    Ok(())
}

/// traceroute shows the gateway, the router behind it and the server: one hop each.
//= conformance N44-05
pub fn traceroute(scene: &Scene) -> Result<()> {
    let target = SERVER.to_string();
    let text = scene.lab.host("client4").exec(&[
        "traceroute",
        "-4",
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
    ensure!(hops == ["10.0.0.1", "192.0.2.1", target.as_str()], "hops {hops:?}:\n{text}");
    Ok(())
}
