//! A deterministic pool: the ports that hosts are seen with are those that `sluice deterministic` computes.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{server4, server6, with_gateway};
use sluice_tests::site::{Device, Site};
use sluice_tests::traffic::seen_as;

#[test]
//= conformance PORT-17
//= conformance PORT-18
//= conformance PORT-19
//= conformance LOG-26
fn hosts_are_seen_with_the_ports_that_are_computed() -> Result<()> {
    let ports = "1024-65535, deterministic: { inside: 10.0.0.0/24, dynamic: 1 }";
    with_gateway(&Site { ports, ..Site::with(Device::Packet, 2) }, |scene| {
        let gateway = scene.gateway;
        let client4 = scene.lab.host("client4");
        for host in ["10.0.0.10", "10.0.0.11"] {
            let told = gateway.json(&["deterministic", host])?;
            let port = |key: &str| told[key].as_u64().with_context(|| format!("{key} in {told}"));
            let range = port("first")?..=port("last")?;
            for local in 0..20 {
                let local: SocketAddr = format!("{host}:{}", 47000 + local).parse()?;
                let seen = seen_as(client4, Some(local), server4())?;
                ensure!(told["external"] == seen.ip().to_string(), "{host} is seen as {seen}, told {told}");
                ensure!(range.contains(&seen.port().into()), "{host} is seen as {seen}, told {told}");
                let whose = gateway.json(&["deterministic", &seen.to_string()])?;
                ensure!(whose["inside"] == host, "{seen} is said to be of {whose}");
            }
        }
        // Hosts without a range have ports of none.
        let seen = seen_as(scene.lab.host("client6"), None, server6())?;
        ensure!(gateway.sluice(&["deterministic", &seen.to_string()]).is_err(), "{seen} is of a range");
        let log = std::fs::read_to_string(scene.lab.directory().join("control.log"))?;
        let record = "pool public: I=10.0.0.0/24 O=198.51.100.0/30 C=64 D=1 M=960 A=0 R=1024";
        ensure!(log.matches(record).count() == 1, "the variables are not on record:\n{log}");
        Ok(())
    })
}
