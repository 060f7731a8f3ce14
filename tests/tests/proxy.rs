//! Pool addresses and translation prefixes that lie on a connected link: the gateway answers for them there.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{PORT, Scene, server4, with_gateway};
use sluice_tests::site::Site;
use sluice_tests::traffic::{any, datagrams, exchange};

/// The lab's gateway with a pool in the subnet of the outside link, and a translation prefix in that of the inside link.
fn on_the_links(answers: bool) -> String {
    let site = Site { pool: "192.0.2.8/30", ..Site::default() };
    let text = site.yaml().replace("192.0.2.2/30", "192.0.2.2/28");
    let text = text.replace("prefix: 2001:db8:64::/96", "prefix: 2001:db8:501:0:64::/96");
    text.replace("    mss-clamp:", &format!("    proxy-neighbours: {answers}\n    mss-clamp:"))
}

/// What the server sees of a client's datagram.
fn seen(scene: &Scene, host: &str, remote: SocketAddr) -> Result<SocketAddr> {
    let socket = datagrams(scene.lab.host(host), any(remote), remote)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    Ok(String::from_utf8(exchange(&socket, b"who?")?)?.parse()?)
}

//= conformance ADDR-25
#[test]
fn pools_and_prefixes_on_a_link_are_answered_for() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        scene.lab.host("router").ip(&["address", "add", "192.0.2.1/28", "dev", "eth0"])?;
        scene.gateway.write_config(&on_the_links(true))?;
        scene.gateway.apply()?;
        let embedded: SocketAddr = format!("[2001:db8:501:0:64::203.0.113.10]:{PORT}").parse()?;
        let before = scene.gateway.settled()?;
        for (host, remote) in [("client4", server4()), ("client6", embedded)] {
            let external = seen(scene, host, remote).with_context(|| host.to_owned())?;
            ensure!(external.ip().to_string().starts_with("192.0.2."), "{host} is seen as {external}");
        }
        let answers =
            scene.gateway.settled()?.total("neighbour_answers")? - before.total("neighbour_answers")?;
        ensure!(answers >= 2, "{answers} questions answered");
        // The kernel still answers for the box, on the same links.
        for (host, address) in
            [("router", "192.0.2.2"), ("client4", "10.0.0.1"), ("client6", "2001:db8:501::1")]
        {
            let host = scene.lab.host(host);
            host.ip(&["neigh", "flush", "all"])?;
            host.exec(&["ping", "-n", "-c", "1", "-W", "3", address]).with_context(|| address.to_owned())?;
        }

        scene.gateway.write_config(&on_the_links(false))?;
        scene.gateway.apply()?;
        for host in ["router", "client6"] {
            scene.lab.host(host).ip(&["neigh", "flush", "all"])?;
        }
        let before = scene.gateway.settled()?.total("neighbour_answers")?;
        for (host, remote) in [("client4", server4()), ("client6", embedded)] {
            ensure!(seen(scene, host, remote).is_err(), "{host} was answered for though that is off");
        }
        ensure!(scene.gateway.settled()?.total("neighbour_answers")? == before, "a question was answered");
        Ok(())
    })
}
