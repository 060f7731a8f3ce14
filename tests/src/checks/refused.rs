//! What must not pass, each with exactly its named counter.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{PORT, Scene, server6};
use crate::traffic::{any, connect, datagrams, embed, exchange, expect_silence};

/// Runs `work` and requires that exactly these drops were counted meanwhile.
fn drops_exactly(scene: &Scene, expected: &[(&str, u64)], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = scene.gateway.settled()?;
    work()?;
    let found = scene.gateway.settled()?.drops_since(&before);
    let expected: BTreeMap<String, u64> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    ensure!(found == expected, "drops {found:?}, expected {expected:?}");
    Ok(())
}

/// A pool port without binding: clients of the checks use a handful of blocks, drawn from a thousand.
const UNUSED: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 3), 64999);

/// Unsolicited datagrams and echo requests from outside end under `no_binding`, one each.
//= conformance N64-UDP-09
//= conformance N64-ICMP-06, ICMP-111
pub fn unsolicited(scene: &Scene) -> Result<()> {
    let server = scene.lab.host("server4");
    drops_exactly(scene, &[("no_binding", 3)], || {
        let socket = datagrams(server, "0.0.0.0:0".parse()?, SocketAddr::from(UNUSED))?;
        expect_silence(&socket, b"one")?;
        expect_silence(&socket, b"two")?;
        let mut command = server.command("ping");
        let output = command.args(["-c", "1", "-W", "1", &UNUSED.0.to_string()]).output()?;
        ensure!(!output.status.success(), "a pool address answered ping");
        Ok(())
    })
}

/// An unsolicited SYN ends under a name of its own and is not answered.
//= conformance N64-TCP-40
pub fn unsolicited_syn(scene: &Scene) -> Result<()> {
    let server = scene.lab.host("server4");
    drops_exactly(scene, &[("unsolicited_syn", 1)], || {
        // Shorter than the first retransmission: exactly one SYN.
        let result = connect(server, None, SocketAddr::from(UNUSED), Duration::from_millis(400));
        ensure!(result.is_err(), "an unsolicited connection was accepted");
        Ok(())
    })
}

/// Embedded addresses that are no unicast host go nowhere.
//= conformance ADDR-19
pub fn embedded_addresses(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    let bad = [
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(0, 1, 2, 3),
        Ipv4Addr::new(255, 255, 255, 255),
    ];
    let before = scene.gateway.settled()?;
    for address in bad {
        let remote = SocketAddr::from((embed(address), PORT));
        let socket = datagrams(client, any(remote), remote)?;
        expect_silence(&socket, b"nobody")?;
    }
    let drops = scene.gateway.settled()?.drops_since(&before);
    ensure!(drops.values().sum::<u64>() == bad.len() as u64, "drops {drops:?}");
    ensure!(
        drops.keys().all(|reason| ["embedded_address_illegal", "not_unicast"].contains(&reason.as_str())),
        "drops {drops:?}"
    );
    Ok(())
}

/// A source inside the translation prefix would loop: it is dropped by name.
//= conformance XLT-03
pub fn source_in_prefix(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    let source = embed(Ipv4Addr::new(192, 0, 2, 55));
    client.ip(&["address", "add", &format!("{source}/128"), "dev", "eth0", "nodad"])?;
    let result = drops_exactly(scene, &[("src_in_pref64", 1)], || {
        let socket = datagrams(client, (source, 0).into(), server6())?;
        expect_silence(&socket, b"loop")
    });
    client.ip(&["address", "del", &format!("{source}/128"), "dev", "eth0"])?;
    result
}

/// A host on the inside link that no rule serves: not translated, one named drop, and at most an ICMP error comes back.
pub fn foreign_source(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    let source = "2001:db8:501:0:8000::9";
    client.ip(&["address", "add", &format!("{source}/64"), "dev", "eth0", "nodad"])?;
    // The box knows the host before, so that nothing waits for neighbour discovery when the ICMP error goes back.
    client.exec(&["ping", "-c", "2", "-i", "0.2", "-W", "2", "-I", source, "2001:db8:501::1"])?;
    let result = drops_exactly(scene, &[("no_rule", 1)], || {
        let socket = datagrams(client, format!("[{source}]:0").parse()?, server6())?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        ensure!(exchange(&socket, b"foreign").is_err(), "a foreign source was served");
        Ok(())
    });
    client.ip(&["address", "del", &format!("{source}/64"), "dev", "eth0"])?;
    result
}

/// Address-dependent filtering: only the server that was talked to may answer; the other is dropped by name.
//= conformance N64-UDP-11
pub fn filtered(scene: &Scene) -> Result<()> {
    let socket = datagrams(scene.lab.host("client6"), any(server6()), server6())?;
    let external: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
    drops_exactly(scene, &[("filtered", 1)], || {
        let stranger = datagrams(scene.lab.host("router"), "203.0.113.1:0".parse()?, external)?;
        expect_silence(&stranger, b"hello")
    })?;
    ensure!(exchange(&socket, b"still there")? == b"still there", "the session was harmed");
    Ok(())
}

/// Endpoint-independent filtering: anyone may send to a binding. The client's socket is not connected, so it hears both.
//= conformance MAP-07
pub fn open_binding(scene: &Scene) -> Result<()> {
    let client = scene.lab.host("client6");
    let socket = client.run(|| Ok(std::net::UdpSocket::bind("[2001:db8:501::10]:0")?))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(b"who?", server6())?;
    let mut block = [0; 200];
    let (count, _) = socket.recv_from(&mut block)?;
    let external: SocketAddr = std::str::from_utf8(&block[..count])?.parse()?;
    let stranger = datagrams(scene.lab.host("router"), "203.0.113.1:5555".parse()?, external)?;
    stranger.send(b"hello from elsewhere")?;
    let (count, from) = socket.recv_from(&mut block)?;
    ensure!(&block[..count] == b"hello from elsewhere", "something else came");
    ensure!(from == SocketAddr::from((embed(Ipv4Addr::new(203, 0, 113, 1)), 5555)), "it came from {from}");
    Ok(())
}
