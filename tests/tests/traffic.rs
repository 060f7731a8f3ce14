//! Real traffic through the gateway: every kind of software port, with 1, 2 and 4 workers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_tests::checks::{Check, Scene, box_itself, errors, nat44, nat64, refused, run_all, with_gateway};
use sluice_tests::site::{Device, Site};

const CHECKS: &[Check] = &[
    ("nat64 ping", nat64::ping),
    ("nat64 TCP bulk", nat64::bulk),
    ("nat64 UDP echo", nat64::udp),
    ("nat64 mapping", nat64::mapping),
    ("nat64 same source port", nat64::same_port),
    ("nat64 HTTP", nat64::http),
    ("nat64 traceroute", nat64::traceroute),
    ("nat44 ping", nat44::ping),
    ("nat44 TCP bulk", nat44::bulk),
    ("nat44 UDP echo", nat44::udp),
    ("nat44 same source port", nat44::same_port),
    ("nat44 HTTP", nat44::http),
    ("nat44 traceroute", nat44::traceroute),
    ("closed port", errors::closed_port),
    ("unreachable host", errors::unreachable_host),
    ("hop limit", errors::hop_limit),
    ("narrow path", errors::narrow_path),
    ("twenty bytes", errors::twenty_bytes),
    ("MSS", |scene| errors::mss_clamped(scene, 1500)),
    ("box answers ping", box_itself::ping),
    ("box has local services", box_itself::local_service),
    ("box starts connections", box_itself::outgoing),
    ("nobody answers twice", box_itself::answered_once),
    ("unsolicited", refused::unsolicited),
    ("unsolicited SYN", refused::unsolicited_syn),
    ("embedded addresses", refused::embedded_addresses),
    ("source in the prefix", refused::source_in_prefix),
    ("foreign source", refused::foreign_source),
    ("open binding", refused::open_binding),
    ("cycles", cycles_are_counted),
];

/// After all that, some worker has looked closely at packets, and every loop of every worker is busy or idle.
fn cycles_are_counted(scene: &Scene) -> Result<()> {
    let cycles = scene.gateway.json(&["cycles", "--total"])?;
    let sampled = |worker: &&Value| worker["sampled_packets"].as_u64() > Some(0);
    let worker = cycles["workers"].as_array().and_then(|workers| workers.iter().find(sampled));
    let worker = worker.with_context(|| format!("no packet was sampled: {cycles}"))?;
    for stage in ["receive", "transmit", "upkeep"] {
        ensure!(worker["stages"][stage].as_f64() > Some(0.0), "no cycles of {stage}: {worker}");
    }
    ensure!(worker["cycles_per_packet"].as_f64() > Some(0.0), "no cycles a packet: {worker}");
    let load = worker["load_percent"].as_f64();
    ensure!(load > Some(0.0) && load <= Some(100.0), "a load of {load:?} percent");
    Ok(())
}

fn all(device: Device, workers: usize) -> Result<()> {
    with_gateway(&Site::with(device, workers), |scene| run_all(scene, CHECKS))
}

#[test]
fn packet_ports_with_1_worker() -> Result<()> {
    all(Device::Packet, 1)
}

#[test]
fn packet_ports_with_2_workers() -> Result<()> {
    all(Device::Packet, 2)
}

#[test]
fn packet_ports_with_4_workers() -> Result<()> {
    all(Device::Packet, 4)
}

#[test]
fn xdp_ports_with_1_worker() -> Result<()> {
    all(Device::Xdp, 1)
}

#[test]
fn xdp_ports_with_2_workers() -> Result<()> {
    all(Device::Xdp, 2)
}

#[test]
fn xdp_ports_with_4_workers() -> Result<()> {
    all(Device::Xdp, 4)
}

/// The kernel spreads packets over the queues of these ports by a hash of its own, which knows nothing of who owns a flow.
#[test]
fn packet_ports_with_3_queues_and_2_workers() -> Result<()> {
    let devices = ["lan0", "wan0"].map(|cable| Some(format!("packet:{cable},queues=3")));
    with_gateway(&Site { devices, workers: 2, ..Site::default() }, |scene| {
        for interface in scene.gateway.json(&["status"])?["interfaces"].as_array().into_iter().flatten() {
            ensure!(interface["rx_queues"] == 3, "not 3 queues: {interface}");
        }
        run_all(scene, CHECKS)?;
        // Both workers have queues of both ports, so only flows that came to the wrong one were handed over.
        let handed = scene.gateway.settled()?.total("handoff_in")?;
        ensure!(handed > 1000, "{handed} packets were handed over: the hash agreed with the owners");
        Ok(())
    })
}
