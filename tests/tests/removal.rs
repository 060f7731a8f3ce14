//! Mappings that the operator takes away.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{Scene, server4, server6, with_gateway};
use sluice_tests::site::Site;
use sluice_tests::traffic::{PATIENCE, connect, datagrams, echo_once, exchange, expect_silence};

const HOST: &str = "10.0.0.10";
const POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// A UDP flow of client4.
fn flow(scene: &Scene, port: u16) -> Result<UdpSocket> {
    datagrams(scene.lab.host("client4"), SocketAddr::new(HOST.parse()?, port), server4())
}

/// Inside and external ports of the UDP sessions of client4.
fn ports(scene: &Scene) -> Result<Vec<(u64, u64)>> {
    let sessions = scene.gateway.json_lines(&["sessions", "--inside", HOST, "--protocol", "udp"])?;
    let port = |session: &serde_json::Value, key: &str| {
        session[key].as_u64().with_context(|| format!("no {key} in {session}"))
    };
    sessions
        .iter()
        .map(|session| Ok((port(session, "inside_port")?, port(session, "external_port")?)))
        .collect()
}

fn delete(scene: &Scene, arguments: &[&str]) -> Result<u64> {
    let said = scene.gateway.json(&[&["sessions", "delete", "--inside"], arguments].concat())?;
    said["deleted"].as_u64().with_context(|| format!("the command says {said}"))
}

/// One mapping of many goes, at once, and all that the host can do does not give it the port back.
#[test]
//= conformance MAP-15
fn a_mapping_that_is_taken_away() -> Result<()> {
    let (pool, ports_of_pool) = ("198.51.100.1/32", "2048-2175, block-size: 64");
    let mut site = Site { workers: 2, pool, ports: ports_of_pool, ..Site::default() };
    site.more = "subscribers: { max-port-blocks: 1 }\n".to_owned();
    with_gateway(&site, |scene| {
        let (mine, other) = (flow(scene, 43000)?, flow(scene, 43001)?);
        exchange(&mine, b"made")?;
        exchange(&other, b"made as well")?;
        let before = ports(scene)?;
        let port = before.iter().find(|ports| ports.0 == 43000).context("no session of port 43000")?.1;
        let port = u16::try_from(port)?;

        ensure!(delete(scene, &["10.0.0.10:43000", "--protocol", "udp"])? == 1, "one session");
        ensure!(ports(scene)?.iter().all(|ports| ports.0 != 43000), "the session is listed still");
        let counted = scene.gateway.settled()?;
        let stranger = datagrams(scene.lab.host("server4"), "0.0.0.0:0".parse()?, (POOL, port).into())?;
        expect_silence(&stranger, b"to the old mapping")?;
        let drops = scene.gateway.settled()?.drops_since(&counted);
        ensure!(drops.get("no_binding") == Some(&1), "{drops:?}");
        ensure!(exchange(&other, b"still there")? == b"still there", "another mapping was harmed");

        // The block has 64 ports: the other flow's, 62 more, and the one that rests.
        let more = (44000..44062).map(|port| flow(scene, port)).collect::<Result<Vec<_>>>()?;
        for socket in &more {
            exchange(socket, b"one more").context("a port that is free")?;
        }
        ensure!(exchange(&mine, b"again").is_err(), "the port was given out again");
        let after = ports(scene)?;
        ensure!(
            after.len() == 63 && after.iter().all(|ports| ports.1 != u64::from(port)),
            "{port} in {after:?}"
        );

        let absent = scene.gateway.command(&["sessions", "delete", "--inside", "10.0.0.99"])?.output()?;
        let text = String::from_utf8_lossy(&absent.stderr);
        ensure!(
            absent.status.code() == Some(1) && text.contains("there is no session of 10.0.0.99"),
            "{text}"
        );
        Ok(())
    })
}

/// A connection is cut, and all that an IPv6 host has goes with one command.
#[test]
//= conformance MAP-15
fn all_mappings_of_a_host() -> Result<()> {
    with_gateway(&Site { workers: 2, ..Site::default() }, |scene| {
        let client = scene.lab.host("client6");
        let local: SocketAddr = "[2001:db8:501::10]:43100".parse()?;
        let mut stream = connect(client, Some(local), server6(), PATIENCE)?;
        stream.write_all(b"E")?;
        echo_once(&mut stream, b"before")?;
        let socket = datagrams(client, "[2001:db8:501::10]:43000".parse()?, server6())?;
        exchange(&socket, b"made")?;
        let before = scene.gateway.settled()?;
        ensure!(delete(scene, &["2001:db8:501::10"])? >= 2, "the connection and the flow");
        stream.write_all(b"too late")?;
        let dropped = |scene: &Scene| -> Result<u64> {
            let drops = scene.gateway.settled()?.drops_since(&before);
            drops.get("tcp_no_session").copied().with_context(|| format!("{drops:?}"))
        };
        sluice_tests::wait::until(std::time::Duration::from_secs(5), "the segment to be dropped", || {
            dropped(scene).map(drop)
        })?;
        // New ones are made as ever.
        exchange(&socket, b"made anew")?;
        ensure!(delete(scene, &["[2001:db8:501::10]:43000"])? == 1, "the new one");
        Ok(())
    })
}
