//! Limits: who is at one is refused by name and told, and nobody else notices.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{PORT, Scene, server4, server6, with_gateway};
use sluice_tests::lab::SERVER;
use sluice_tests::site::Site;
use sluice_tests::traffic::{datagrams, exchange, seen_as};
use sluice_tests::wire::{Wire, udp};

/// A flow of client6 or client4 from a port of its own.
fn flow(scene: &Scene, local: &str, port: u16) -> Result<UdpSocket> {
    let local = SocketAddr::new(local.parse()?, port);
    let (host, remote) = if local.is_ipv6() { ("client6", server6()) } else { ("client4", server4()) };
    datagrams(scene.lab.host(host), local, remote)
}

/// One session more for an inside address must be refused, and the host is told: unreachable, not silence.
fn refused(scene: &Scene, source: &str) -> Result<()> {
    let (host, server) =
        if source.contains(':') { ("client6", server6().ip()) } else { ("client4", server4().ip()) };
    let mut ping = scene.lab.host(host).command("ping");
    let output = ping.args(["-n", "-c", "1", "-W", "2", "-I", source, &server.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("nreachable"), "{source}: {text}");
    Ok(())
}

/// A subscriber at its limit of sessions.
#[test]
//= conformance LIM-04
//= conformance LIM-06
fn a_subscriber_at_its_limit() -> Result<()> {
    let more = "subscribers: { max-sessions: 8 }\n".to_owned();
    with_gateway(&Site { more, ..Site::default() }, |scene| {
        for (subscriber, prefix, other) in
            [("2001:db8:501::10", "2001:db8:501::/64", "10.0.0.11"), ("10.0.0.10", "10.0.0.10", "10.0.0.11")]
        {
            let before = scene.gateway.settled()?;
            // What the lab has sent so far counts as well.
            let mut flows = Vec::new();
            loop {
                let socket = flow(scene, subscriber, 42000 + flows.len() as u16)?;
                socket.set_read_timeout(Some(Duration::from_millis(500)))?;
                if exchange(&socket, b"a flow").is_err() {
                    break;
                }
                flows.push(socket);
                ensure!(flows.len() <= 8, "{subscriber} has {} flows", flows.len());
            }
            let sessions = scene.gateway.json_lines(&["sessions", "--inside", prefix])?.len();
            ensure!(sessions == 8, "{subscriber} was refused with {sessions} sessions");
            refused(scene, subscriber)?;
            for socket in &flows {
                ensure!(exchange(socket, b"still there")? == b"still there", "an existing flow was harmed");
            }
            exchange(&flow(scene, other, 43000)?, b"another").context("another subscriber")?;
            let drops = scene.gateway.settled()?.drops_since(&before);
            ensure!(drops.get("subscriber_sessions") == Some(&2), "{drops:?}");
        }
        Ok(())
    })
}

/// A pool of two blocks, below port 1024 because the configuration says so: the third subscriber finds it empty.
#[test]
//= conformance PORT-22
fn an_exhausted_pool() -> Result<()> {
    let mut site = Site { pool: "198.51.100.1/32", ports: "512-639, block-size: 64", ..Site::default() };
    site.more = "subscribers: { max-port-blocks: 1 }\n".to_owned();
    with_gateway(&site, |scene| {
        for (host, remote) in [("client6", server6()), ("client4", server4())] {
            let seen = seen_as(scene.lab.host(host), None, remote)?;
            ensure!((512..640).contains(&seen.port()), "{host} is seen as {seen}");
        }
        // An error that finds its way needs a neighbour that is known.
        scene.lab.host("client4").exec(&[
            "ping",
            "-n",
            "-c",
            "1",
            "-W",
            "2",
            "-I",
            "10.0.0.11",
            "10.0.0.1",
        ])?;
        let before = scene.gateway.settled()?;
        refused(scene, "10.0.0.11")?;
        let drops = scene.gateway.settled()?.drops_since(&before);
        ensure!(drops.get("pool_exhausted") == Some(&1), "{drops:?}");
        exchange(&flow(scene, "10.0.0.10", 42000)?, b"mine").context("who has a block")?;
        Ok(())
    })
}

/// A table of sessions that is full: new ones are refused by name, and those that exist do not notice.
#[test]
//= conformance MAP-12
fn a_full_table() -> Result<()> {
    let more = "sessions: 4096\nsubscribers: { max-sessions: 20000, max-port-blocks: 200, new-sessions-per-second: 20000 }\n";
    with_gateway(&Site { more: more.to_owned(), ..Site::default() }, |scene| {
        let mine = flow(scene, "2001:db8:501::10", 42000)?;
        exchange(&mine, b"before")?;
        let wire = Wire::open(scene.lab.host("client4"), "eth0", scene.gateway, "inside")?;
        let before = scene.gateway.settled()?;
        for port in 0..5000_u16 {
            wire.send(&udp(wire.v4("10.0.0.10".parse()?, SERVER), (20000 + port, PORT), b"a flow"))?;
            if port % 16 == 0 {
                // A worker makes a bounded number of sessions a loop.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let after = scene.gateway.settled()?;
        let drops = after.drops_since(&before);
        ensure!(drops.contains_key("session_table_full"), "{drops:?}");
        ensure!(after.total("sessions")? == 4096, "{} sessions", after.total("sessions")?);
        ensure!(exchange(&mine, b"after")? == b"after", "an existing session was harmed");
        refused(scene, "2001:db8:501::10")
    })
}
