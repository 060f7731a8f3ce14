//! A data plane that is killed loses its sessions, but not the memory of which ports they had.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{server4, server6};
use sluice_tests::gateway::{Gateway, READY};
use sluice_tests::lab::Lab;
use sluice_tests::service::Service;
use sluice_tests::site::Site;
use sluice_tests::traffic::{datagrams, exchange};
use sluice_tests::wait;

/// The port block from which an inside address is served for UDP.
fn block(lab: &Lab, local: &str) -> Result<u16> {
    let local = SocketAddr::new(local.parse()?, 42000);
    let (host, remote) = if local.is_ipv6() { ("client6", server6()) } else { ("client4", server4()) };
    let socket = datagrams(lab.host(host), local, remote)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    wait::until(READY, "an answer", || {
        let seen: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
        ensure!((1024..1280).contains(&seen.port()), "{local} is seen as {seen}");
        Ok(seen.port() / 64)
    })
}

/// A new session of an inside address is refused for want of ports, and the host is told.
fn refused(lab: &Lab, gateway: &Gateway, host: &str, source: &str) -> Result<()> {
    let server = if source.contains(':') { server6().ip() } else { server4().ip() };
    // The error needs a neighbour that is known: the address asks the gateway for something first.
    let gateway_address = if source.contains(':') { "2001:db8:501::1" } else { "10.0.0.1" };
    lab.host(host).exec(&["ping", "-n", "-c", "1", "-W", "2", "-I", source, gateway_address])?;
    let before = gateway.settled()?;
    let mut ping = lab.host(host).command("ping");
    let output = ping.args(["-n", "-c", "1", "-W", "2", "-I", source, &server.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("nreachable"), "{source}: {text}");
    let drops = gateway.settled()?.drops_since(&before);
    ensure!(drops.get("pool_exhausted") == Some(&1), "{source}: {drops:?}");
    Ok(())
}

/// kill -9 of the data plane and a new one that has the configuration; what it has logged since.
fn next_life(gateway: &mut Gateway) -> Result<String> {
    let mut dataplane = gateway.dataplane.take().context("the data plane")?;
    dataplane.crash()?;
    let before = dataplane.log().len();
    gateway.start_dataplane()?;
    wait::until(READY, "the new data plane to take up the configuration", || {
        let dataplane = gateway.dataplane.as_mut().context("the data plane")?;
        dataplane.alive()?;
        let log = dataplane.log().get(before..).unwrap_or_default().to_owned();
        ensure!(log.contains("took up the last configuration"), "{log}");
        Ok(log)
    })
}

/// One address with four blocks. Whoever had one before the kill, nobody has it after, and not after another kill either.
#[test]
//= conformance PORT-13
fn blocks_of_a_killed_data_plane_rest() -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let mut site = Site { pool: "198.51.100.1/32", ports: "1024-1279, block-size: 64", ..Site::default() };
    site.more = "subscribers: { max-port-blocks: 1 }\n".to_owned();
    let mut gateway = Gateway::start(&lab, &site)?;
    let log = gateway.dataplane.as_ref().context("the data plane")?.log();
    ensure!(log.contains("no record of sessions before this start"), "{log}");
    let mut used = HashSet::from([block(&lab, "10.0.0.10")?, block(&lab, "2001:db8:501::10")?]);
    ensure!(used.len() == 2, "{used:?}");

    let log = next_life(&mut gateway)?;
    ensure!(log.contains("rest, for so long at most") && log.contains("blocks=2"), "{log}");
    // Another subscriber than before, and one of those; then nothing is left for the other one.
    for subscriber in ["10.0.0.11", "2001:db8:501::10"] {
        let found = block(&lab, subscriber)?;
        ensure!(used.insert(found), "{subscriber} has block {found} of {used:?}");
    }
    refused(&lab, &gateway, "client4", "10.0.0.10")?;

    let log = next_life(&mut gateway)?;
    ensure!(log.contains("blocks=4"), "{log}");
    for (host, subscriber) in [("client4", "10.0.0.11"), ("client6", "2001:db8:501::10")] {
        refused(&lab, &gateway, host, subscriber)?;
    }
    // Who wants no rest has none: the hold-down of the pool is what is meant.
    site.ports = "1024-1279, block-size: 64, hold-down: 0s";
    gateway.write_config(&site.yaml())?;
    gateway.apply()?;
    let found = block(&lab, "10.0.0.10")?;
    ensure!(used.contains(&found), "block {found}");
    wait::until(Duration::from_secs(5), "the journal to be gone", || {
        let journal = lab.directory().join("run/blocks.bin");
        wait::require(!journal.exists(), journal.display())
    })?;
    gateway.finish()?;
    drop(service);
    lab.finish()
}
