//! Devices, interfaces and cores that change while the gateway runs: ports and threads are built anew under live sessions.

use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sluice_tests::checks::{Scene, errors, guests, nat44, nat64, run_all, server4, server6, with_gateway};
use sluice_tests::site::{Device, Site};
use sluice_tests::traffic::{echo_once, echo_stream};

/// Connections of both families that a change must not touch, and the sessions behind them.
struct Witness {
    streams: [TcpStream; 2],
}

impl Witness {
    fn new(scene: &Scene) -> Result<Self> {
        let lab = scene.lab;
        let streams =
            [echo_stream(lab.host("client6"), server6())?, echo_stream(lab.host("client4"), server4())?];
        Ok(Self { streams })
    }

    fn lives(&mut self, when: &str) -> Result<()> {
        for (stream, kind) in self.streams.iter_mut().zip(["NAT64", "NAT44"]) {
            for _ in 0..5 {
                echo_once(stream, when.as_bytes()).with_context(|| format!("{kind} connection {when}"))?;
            }
        }
        Ok(())
    }
}

/// Applies a site and gives what `sluice apply` said.
fn apply(scene: &Scene, site: &Site) -> Result<String> {
    scene.gateway.write_config(&site.yaml())?;
    scene.gateway.apply()
}

/// Applies a site that must be refused, and gives the message.
fn refused(scene: &Scene, site: &Site) -> Result<String> {
    match apply(scene, site) {
        Ok(said) => bail!("this was applied: {said}"),
        Err(error) => Ok(error.to_string()),
    }
}

/// Names of the gateway's kernel interfaces.
fn links(scene: &Scene) -> Result<Vec<String>> {
    let links: Value = serde_json::from_str(&scene.lab.host("gw").ip(&["-j", "link"])?)?;
    let links = links.as_array().context("a list of links")?;
    Ok(links.iter().filter_map(|link| link["ifname"].as_str()).map(str::to_owned).collect())
}

/// A VLAN interface comes and goes on a port in use.
fn a_vlan_comes_and_goes(plain: Site) -> Result<()> {
    with_gateway(&plain, |scene| {
        let mut witness = Witness::new(scene)?;
        // Before: frames with a tag that no interface has are dropped by name.
        run_all(scene, &[("unknown VLAN", guests::unknown)])?;
        apply(scene, &plain.clone().and_guests())?;
        witness.lives("after the VLAN came")?;
        run_all(scene, guests::ALL)?;
        run_all(scene, &[("narrow path", errors::narrow_path), ("nat64 bulk", nat64::bulk)])?;
        witness.lives("with traffic on the VLAN")?;
        apply(scene, &plain)?;
        witness.lives("after the VLAN went")?;
        ensure!(
            !links(scene)?.contains(&"guests".to_owned()),
            "its twin is still there: {:?}",
            links(scene)?
        );
        run_all(
            scene,
            &[("unknown VLAN", guests::unknown), ("nat64 UDP", nat64::udp), ("nat44 UDP", nat44::udp)],
        )
    })
}

#[test]
fn a_vlan_comes_and_goes_on_packet_ports() -> Result<()> {
    a_vlan_comes_and_goes(Site::with(Device::Packet, 1))
}

#[test]
fn a_vlan_comes_and_goes_on_xdp_ports_with_2_workers() -> Result<()> {
    a_vlan_comes_and_goes(Site::with(Device::Xdp, 2))
}

/// More queues than workers: one of the transmit queues is nobody's, and must not get lost.
#[test]
fn a_vlan_comes_and_goes_on_ports_with_3_queues() -> Result<()> {
    let devices = ["lan0", "wan0"].map(|cable| Some(format!("packet:{cable},queues=3")));
    a_vlan_comes_and_goes(Site { devices, ..Site::default() })
}

/// Workers move to another core with their sessions.
#[test]
fn workers_move_to_another_core() -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        eprintln!("one core only: there is nowhere to move");
        return Ok(());
    }
    let site = Site::with(Device::Xdp, 1);
    with_gateway(&site, |scene| {
        let mut witness = Witness::new(scene)?;
        let sessions = scene.gateway.settled()?.total("sessions")?;
        apply(scene, &Site { first_core: 1, ..site.clone() })?;
        witness.lives("on the other core")?;
        let after = scene.gateway.settled()?.total("sessions")?;
        ensure!(after >= sessions, "{sessions} sessions before, {after} after");
        Ok(())
    })
}

/// More and fewer workers: sessions begin anew, as the documentation says, and everything works with the new number.
#[test]
fn the_number_of_workers_changes() -> Result<()> {
    with_gateway(&Site::with(Device::Packet, 1), |scene| {
        for workers in [2, 4, 1] {
            eprintln!("{workers} workers");
            apply(scene, &Site::with(Device::Packet, workers))?;
            let status = scene.gateway.json(&["status"])?;
            let running = status["dataplane"]["active_workers"].as_u64();
            ensure!(running == Some(workers as u64), "{running:?} workers run, not {workers}: {status}");
            run_all(
                scene,
                &[
                    ("nat64 bulk", nat64::bulk),
                    ("nat64 same source port", nat64::same_port),
                    ("nat44 UDP", nat44::udp),
                    ("closed port", errors::closed_port),
                ],
            )?;
        }
        Ok(())
    })
}

/// A configuration that names what is not there, or what the dataplane cannot do, changes nothing: not even a session.
fn a_refused_change_goes_back(device: Device) -> Result<()> {
    let good = Site::with(device, 1);
    with_gateway(&good, |scene| {
        let mut witness = Witness::new(scene)?;
        let generation = |scene: &Scene| -> Result<Option<u64>> {
            Ok(scene.gateway.json(&["status"])?["control"]["generation"].as_u64())
        };
        let before = (links(scene)?, generation(scene)?);
        let more = |line: &str| Site { interfaces: vec![line.to_owned()], ..good.clone() };
        for (what, site, message) in [
            // Control itself cannot find it.
            ("no interface", more("more: { device: packet:nosuch, addresses: [10.9.0.1/24] }"), "nosuch"),
            // Only the dataplane finds out, with its threads taken down: there is no such PCI device.
            ("no NIC", more("more: { device: pci:0000:7f:1f.7, addresses: [10.9.0.1/24] }"), "0000:7f:1f.7"),
            // Likewise, among ports that could be had.
            (
                "no file",
                more("more: { device: \"pcap:rx=/nonexistent/file.pcap\", addresses: [10.9.0.1/24] }"),
                "nonexistent",
            ),
            ("no core", Site { more: String::new(), ..good.clone() }, ""),
        ] {
            if message.is_empty() {
                let text = good.yaml().replace("cores: [0]", "cores: [4095]");
                scene.gateway.write_config(&text)?;
                let Err(error) = scene.gateway.apply() else { bail!("{what}: applied") };
                ensure!(error.to_string().contains("4095"), "{what}: {error}");
            } else {
                let error = refused(scene, &site)?;
                ensure!(error.contains(message), "{what}: the message does not name {message}: {error}");
                ensure!(
                    error.contains("what was in force stays in force"),
                    "{what}: what holds now is not said: {error}"
                );
            }
            witness.lives(&format!("after {what}"))?;
            ensure!((links(scene)?, generation(scene)?) == before, "{what}: something is left of it");
        }
        if device == Device::Xdp {
            let rebound = Site { devices: [Some("xdp:lan0,budget=64".to_owned()), None], ..good.clone() };
            let error = refused(scene, &rebound)?;
            ensure!(error.contains("restart of the dataplane"), "{error}");
            witness.lives("after other options of a port in use")?;
        }
        apply(scene, &good.clone().and_guests())?;
        witness.lives("after a good change")?;
        run_all(scene, guests::ALL)
    })
}

#[test]
fn a_refused_change_goes_back_on_packet_ports() -> Result<()> {
    a_refused_change_goes_back(Device::Packet)
}

#[test]
fn a_refused_change_goes_back_on_xdp_ports() -> Result<()> {
    a_refused_change_goes_back(Device::Xdp)
}

/// The dataplane has taken the change up, and then the twin of the new interface cannot be configured, because the kernel's
/// settings of it are read-only, as in a container: all of it goes back.
#[test]
fn a_twin_that_cannot_be_configured_takes_the_change_back() -> Result<()> {
    let good = Site::default();
    with_gateway(&good, |scene| {
        let mut witness = Witness::new(scene)?;
        let gw = scene.lab.host("gw");
        let before = links(scene)?;
        // A twin that exists is taken over; only so are its settings there to be locked.
        gw.ip(&["tuntap", "add", "guests", "mode", "tap", "multi_queue"])?;
        let control = scene.gateway.control.as_ref().context("control")?.pid().to_string();
        let lock = "d=/proc/sys/net/ipv4/conf/guests; mount --bind $d $d && mount -o remount,bind,ro $d";
        gw.exec(&["nsenter", "--mount", "--target", &control, "sh", "-c", lock])?;
        let error = refused(scene, &good.clone().and_guests())?;
        ensure!(error.contains("conf/guests") && error.contains("stays in force"), "{error}");
        witness.lives("after going back")?;
        ensure!(links(scene)? == before, "left behind: {:?}", links(scene)?);
        run_all(scene, &[("unknown VLAN", guests::unknown), ("nat64 UDP", nat64::udp)])?;

        apply(scene, &good.clone().and_guests())?;
        witness.lives("after the change at last")?;
        run_all(scene, guests::ALL)
    })
}
