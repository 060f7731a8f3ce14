//! Hosts on a tagged VLAN of the inside port.

use anyhow::{Context, Result, ensure};

use super::{Check, Scene, server4, server6};
use crate::traffic::{any, datagrams, download, exchange, seen_as, upload};

/// Everything about the VLAN, with an interface for it.
pub const ALL: &[Check] = &[
    ("VLAN: both families", both_families),
    ("VLAN: bulk", bulk),
    ("VLAN: the box", the_box),
    ("VLAN: hop limit", hop_limit),
];

/// TCP and UDP of both families, up to the full size of the link, which the tag does not count against.
pub fn both_families(scene: &Scene) -> Result<()> {
    let host = scene.lab.host("tagged");
    for (remote, largest) in [(server6(), 1452), (server4(), 1472)] {
        let seen = seen_as(host, None, remote).with_context(|| format!("TCP to {remote}"))?;
        ensure!(seen.to_string().starts_with("198.51.100."), "seen as {seen}");
        let socket = datagrams(host, any(remote), remote)?;
        for size in [1, 17, 18, 19, 600, largest] {
            let request = vec![0x5a; size];
            ensure!(
                exchange(&socket, &request).with_context(|| format!("{size} bytes to {remote}"))? == request,
                "{size} bytes came back changed"
            );
        }
    }
    Ok(())
}

/// TCP in both directions.
pub fn bulk(scene: &Scene) -> Result<()> {
    let host = scene.lab.host("tagged");
    for remote in [server6(), server4()] {
        upload(host, remote, 1 << 20)?;
        download(host, remote, 1 << 20)?;
    }
    Ok(())
}

/// The box answers on the VLAN, after ARP and neighbour discovery on the VLAN.
pub fn the_box(scene: &Scene) -> Result<()> {
    let host = scene.lab.host("tagged");
    host.ip(&["neigh", "flush", "all"])?;
    for address in ["10.0.20.1", "2001:db8:520::1"] {
        host.exec(&["ping", "-n", "-c", "2", "-i", "0.1", "-W", "2", address]).context(address)?;
    }
    // From the box, through the twin of the VLAN.
    for address in ["10.0.20.10", "2001:db8:520::10"] {
        let gw = scene.lab.host("gw");
        gw.exec(&["ping", "-n", "-c", "2", "-i", "0.1", "-W", "2", address])
            .with_context(|| format!("from the box to {address}"))?;
    }
    Ok(())
}

/// Errors that the gateway makes come from the VLAN's own address.
//= conformance ICMP-110
pub fn hop_limit(scene: &Scene) -> Result<()> {
    for (address, gateway, family) in
        [(server6().ip(), "2001:db8:520::1", "-6"), (server4().ip(), "10.0.20.1", "-4")]
    {
        let address = address.to_string();
        let host = scene.lab.host("tagged");
        let text = host.exec(&["traceroute", family, "-n", "-q", "1", "-w", "2", "-m", "1", &address])?;
        ensure!(text.contains(gateway), "the first hop is not {gateway}: {text}");
    }
    Ok(())
}

/// Frames of a VLAN that no interface has go nowhere, under a name of their own.
pub fn unknown(scene: &Scene) -> Result<()> {
    let before = scene.gateway.settled()?;
    let host = scene.lab.host("tagged");
    let answered = host.exec(&["ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", "10.0.20.1"]);
    ensure!(answered.is_err(), "a VLAN that is not configured was answered");
    let drops = scene.gateway.settled()?.drops_since(&before);
    ensure!(drops.get("vlan_unknown").is_some_and(|&count| count > 0), "dropped: {drops:?}");
    Ok(())
}
