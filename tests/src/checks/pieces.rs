//! Fragments and path MTU between real kernels: large pings and datagrams, small links on either side.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Scene, server4, server6};
use crate::lab::SERVER;
use crate::netns::Netns;
use crate::process::Process;
use crate::traffic::{any, datagrams, embed, exchange};
use crate::wait;

/// A ping of so many bytes is answered.
fn ping(host: &Netns, size: u32, more: &[&str], target: &str) -> Result<()> {
    let size_text = size.to_string();
    let arguments =
        [&["ping", "-n", "-c", "2", "-i", "0.05", "-W", "2", "-s", &size_text], more, &[target]].concat();
    host.exec(&arguments).with_context(|| format!("ping of {size} bytes {more:?}")).map(drop)
}

/// Pings that both ends cut into fragments, and one that IPv6 hosts get in pieces because it may be cut.
//= conformance FRAG-01, FRAG-05, FRAG-17, FRAG-24, FRAG-26
pub fn large_pings(scene: &Scene) -> Result<()> {
    let (six, four) = (embed(SERVER).to_string(), SERVER.to_string());
    for size in [1453, 3000, 8000, 40_000] {
        ping(scene.lab.host("client6"), size, &[], &six).context("NAT64")?;
        ping(scene.lab.host("client4"), size, &["-M", "dont"], &four).context("NAT44")?;
    }
    Ok(())
}

/// Datagrams up to the largest that UDP has, echoed by a real server and compared. What is larger than a link was cut by kernels on
/// the way there and back; what fits may be cut by the gateway.
//= conformance FRAG-08, FRAG-24, FRAG-38
pub fn large_datagrams(scene: &Scene) -> Result<()> {
    for (host, server) in [("client6", server6()), ("client4", server4())] {
        let socket = datagrams(scene.lab.host(host), any(server), server)?;
        for size in [1233_usize, 1452, 1473, 2000, 4321, 9000, 65_000] {
            let request: Vec<u8> = (0..size).map(|n| crate::service::pattern(n as u64)).collect();
            let answer = exchange(&socket, &request).with_context(|| format!("{host}, {size} bytes"))?;
            ensure!(answer == request, "{host}: {size} bytes came back changed");
        }
    }
    Ok(())
}

/// A path with a small link on one side or on the other: pings that may not be cut are refused with the MTU of the path, and TCP
/// finds its way, both ways, by iperf3.
//= conformance FRAG-04, FRAG-12, FRAG-13, MSS-09
pub fn small_links(scene: &Scene) -> Result<()> {
    let lab = scene.lab;
    let six = embed(SERVER).to_string();
    let mut server = lab.host("server4").command("iperf3");
    server.args(["-s", "-B", &SERVER.to_string()]);
    let _server = Process::spawn("iperf3", server, &lab.directory().join("iperf3.log"))?;
    // The router's links: what is beyond the gateway outside. The client's own link: what is inside.
    for (name, host, interface, mtu) in [
        ("behind the router", "router", "eth1", "1300"),
        ("very small, behind the router", "router", "eth1", "1000"),
        ("inside", "client6", "eth0", "1280"),
        ("inside, IPv4", "client4", "eth0", "1200"),
    ] {
        let peer = if host == "router" { Some(("server4", "eth0")) } else { None };
        let set = |mtu: &str| -> Result<()> {
            for (host, interface) in [Some((host, interface)), peer].into_iter().flatten() {
                lab.host(host).ip(&["link", "set", interface, "mtu", mtu])?;
            }
            Ok(())
        };
        set(mtu)?;
        let result = ["client6", "client4"].into_iter().try_for_each(|client| {
            let target = if client == "client6" { six.clone() } else { SERVER.to_string() };
            for direction in [&[][..], &["-R"]] {
                let moved = iperf(lab.host(client), &target, direction)
                    .with_context(|| format!("{name}: {client} {direction:?}"))?;
                ensure!(moved > 100_000, "{name}: {client} {direction:?} moved {moved} bytes");
            }
            Ok(())
        });
        set("1500")?;
        for client in ["client6", "client4", "server4"] {
            lab.host(client).ip(&["-4", "route", "flush", "cache"])?;
            lab.host(client).ip(&["-6", "route", "flush", "cache"])?;
        }
        // IPv6 addresses go with an MTU below what IPv6 needs; here none does.
        result?;
    }
    Ok(())
}

/// Bytes that a short TCP transfer brought to its receiver.
fn iperf(host: &Netns, target: &str, direction: &[&str]) -> Result<u64> {
    let arguments =
        [&["iperf3", "-c", target, "-J", "-n", "2M", "--connect-timeout", "3000"], direction].concat();
    let text = wait::until(Duration::from_secs(8), "iperf3", || host.exec(&arguments))?;
    let report: Value = serde_json::from_str(&text)?;
    report["end"]["sum_received"]["bytes"].as_u64().with_context(|| format!("no bytes in {text}"))
}

/// A ping that may not be cut, larger than a link behind the gateway: the client hears the MTU, 20 bytes more for IPv6, and keeps
/// it.
//= conformance FRAG-13, ICMP-14
pub fn pings_not_to_be_cut(scene: &Scene) -> Result<()> {
    let lab = scene.lab;
    let target = "203.0.113.10/32";
    lab.host("router").ip(&["route", "add", target, "dev", "eth1", "mtu", "lock", "1400"])?;
    let result = (|| {
        for (host, address, size, mtu) in [
            ("client4", SERVER.to_string(), "1472", "mtu = 1400"),
            ("client6", embed(SERVER).to_string(), "1452", "mtu=1420"),
        ] {
            let mut command = lab.host(host).command("ping");
            let output = command
                .args(["-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", size, &address])
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            let said = text.to_lowercase().replace("mtu = ", "mtu=").contains(&mtu.replace("mtu = ", "mtu="));
            ensure!(said, "{host}: no {mtu} in {text}");
        }
        Ok(())
    })();
    lab.host("router").ip(&["route", "del", target])?;
    for client in ["client6", "client4"] {
        lab.host(client).ip(&["-4", "route", "flush", "cache"])?;
        lab.host(client).ip(&["-6", "route", "flush", "cache"])?;
    }
    result
}
