//! The box itself: what the kernel answers through the TAP twins.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::Scene;
use crate::service::Service;
use crate::traffic::{download, seen_as, upload};

/// The box answers ping on every address, asked from both sides; ARP and neighbour discovery are answered before that.
//= conformance ICMP-111
pub fn ping(scene: &Scene) -> Result<()> {
    route_of_the_box(scene)?;
    for (host, address) in [
        ("client6", "2001:db8:501::1"),
        ("client4", "10.0.0.1"),
        ("router", "192.0.2.2"),
        ("server4", "192.0.2.2"),
    ] {
        let host = scene.lab.host(host);
        // Neighbour discovery starts from nothing.
        host.ip(&["neigh", "flush", "all"])?;
        host.exec(&["ping", "-n", "-c", "2", "-i", "0.1", "-W", "2", address])
            .with_context(|| format!("{} to {address}", host.name()))?;
    }
    Ok(())
}

/// The box's own way to the rest of the world, as on any host: packets that the kernel sends follow the kernel's routes.
pub fn route_of_the_box(scene: &Scene) -> Result<()> {
    scene.lab.host("gw").ip(&["route", "replace", "default", "via", "192.0.2.1", "dev", "outside"])?;
    Ok(())
}

/// A server on the box, as an SSH daemon would be, is reached through the TAP twin and answers through it.
pub fn local_service(scene: &Scene) -> Result<()> {
    for (address, client) in
        [("10.0.0.1:2200", "client4"), ("[2001:db8:501::1]:2200", "client6"), ("192.0.2.2:2200", "router")]
    {
        let address: SocketAddr = address.parse()?;
        let _service = Service::start(scene.lab.host("gw"), address)?;
        let client = scene.lab.host(client);
        let seen = seen_as(client, None, address)?;
        ensure!(
            !seen.ip().to_string().starts_with("198.51.100."),
            "a connection to the box was translated: {seen}"
        );
        upload(client, address, 200_000).context("to the box")?;
        download(client, address, 200_000).context("from the box")?;
    }
    Ok(())
}

/// What the box itself starts goes out of the port.
pub fn outgoing(scene: &Scene) -> Result<()> {
    let gateway = scene.lab.host("gw");
    for address in ["10.0.0.10", "2001:db8:501::10", "192.0.2.1"] {
        gateway
            .exec(&["ping", "-n", "-c", "2", "-i", "0.1", "-W", "2", address])
            .with_context(|| address.to_owned())?;
    }
    Ok(())
}

/// Nobody is answered twice: the lower devices of the ports stay silent.
pub fn answered_once(scene: &Scene) -> Result<()> {
    for (host, address) in
        [("client4", "10.0.0.1"), ("client6", "2001:db8:501::1"), ("client4", "203.0.113.10")]
    {
        let text = scene.lab.host(host).exec(&["ping", "-n", "-c", "5", "-i", "0.05", "-W", "1", address])?;
        ensure!(!text.contains("DUP!") && !text.contains("duplicates"), "{host}: {text}");
    }
    Ok(())
}
