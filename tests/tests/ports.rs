//! The gateway on every kind of software port besides the kernel interfaces that all other tests use.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_tests::checks::{Scene, box_itself, nat44, nat64, run_all, server4, with_gateway};
use sluice_tests::gateway::{Gateway, READY};
use sluice_tests::lab::{Lab, SERVER};
use sluice_tests::programs;
use sluice_tests::service::Service;
use sluice_tests::site::Site;
use sluice_tests::traffic::embed;
use sluice_tests::wait;
use sluice_tests::wire::udp;

/// What `sluice status` says of an interface.
fn interface(gateway: &Gateway, name: &str) -> Result<Value> {
    let status = gateway.json(&["status"])?;
    let interfaces = status["interfaces"].as_array().context("interfaces")?;
    interfaces.iter().find(|one| one["name"] == name).cloned().with_context(|| format!("{name} in {status}"))
}

/// Waits until both interfaces have their ports.
fn ready(gateway: &Gateway) -> Result<()> {
    wait::until(READY, "the ports", || {
        let status = gateway.json(&["status"])?;
        let twins = status["control"]["twins"].as_array().context("twins")?;
        wait::require(twins.len() == 2 && twins.iter().all(|twin| twin["ready"] == true), twins)
    })
}

/// Over `memif:`, with the packet generator in a process of its own at the other ends: every frame verified, many
/// subscribers. The accounts are looked at before the generator leaves: a peer that leaves can crash the driver (see
/// `docs/decisions.md`), so nothing is asked of the gateway after that.
fn memif_ports(workers: usize, kind: &str) -> Result<()> {
    let lab = Lab::new()?;
    let directory = lab.directory().display().to_string();
    let socket = |side: &str, role: &str| format!("memif:{directory}/{side}.sock,role={role},id=0");
    let ends = |role: &str| [socket("inside", role), socket("outside", role)];
    let mut site = Site { devices: ends("server").map(Some), workers, ..Site::default() };
    // A /64 for each of the generator's hosts, behind the one that it speaks from.
    site.nat64.push("{ prefix: 2001:db8:64::/96, sources: [2001:db8:540::/48], pool: public }".to_owned());
    site.routes.push("{ to: 2001:db8:540::/48, via: 2001:db8:501::10 }".to_owned());
    let mut gateway = Gateway::prepare(&lab, &site)?;
    gateway.start_dataplane()?;
    gateway.start_control()?;
    ready(&gateway)?;
    let [inside, outside] = ends("client");
    let load = "--outside-address 192.0.2.1 --outside-gateway 192.0.2.2 --rate 2k --seconds 1 --flows 64 --hosts 16 --linger 6";
    let mut command = lab.host("gw").command(programs::path(programs::PKTGEN)?);
    command.args(["quick", "--inside", &inside, "--outside", &outside]);
    command.args(kind.split(' ')).args(load.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let generator = command.spawn()?;
    let counted = wait::until(READY, "2000 frames each way", || {
        let sent = gateway.counters()?.total("tx_packets")?;
        wait::require(sent >= 4000, sent)
    })
    .and_then(|()| {
        ensure!(interface(&gateway, "inside")?["driver"] == "net_memif", "the driver is not net_memif");
        gateway.settled()
    });
    let output = generator.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{kind}: {}\n{text}", output.status);
    counted?;
    drop(gateway);
    lab.finish()
}

const NAT64: &str = "--nat64 2001:db8:64::/96 --inside-address 2001:db8:501::10 --inside-gateway 2001:db8:501::1 \
                     --sources 2001:db8:540::/48";
const NAT44: &str = "--nat44 --inside-address 10.0.0.10 --inside-gateway 10.0.0.1";

#[test]
fn nat64_on_memif_ports_with_1_worker() -> Result<()> {
    memif_ports(1, NAT64)
}

#[test]
fn nat64_on_memif_ports_with_4_workers() -> Result<()> {
    memif_ports(4, NAT64)
}

#[test]
fn nat44_on_memif_ports_with_2_workers() -> Result<()> {
    memif_ports(2, NAT44)
}

/// On a `tap:` port whose other side is plugged into the switch.
#[test]
fn a_tap_port() -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let site = Site { devices: [Some("tap:tin0".to_owned()), None], ..Site::default() };
    let mut gateway = Gateway::prepare(&lab, &site)?;
    gateway.start_dataplane()?;
    gateway.start_control()?;
    ready(&gateway)?;
    let lan = lab.host("lan");
    // The cable that is not used is unplugged: nothing keeps the kernel from answering there.
    lab.host("gw").ip(&["link", "set", "lan0", "down"])?;
    lab.host("gw").ip(&["link", "set", "tin0", "netns", lan.name()])?;
    // The driver gives the kernel's side of the TAP the port's own address, which a bridge would keep to itself.
    lan.ip(&["link", "set", "tin0", "address", "02:00:00:00:00:77"])?;
    lan.ip(&["link", "set", "tin0", "master", "br0"])?;
    lan.ip(&["link", "set", "tin0", "up"])?;
    gateway.forwards(READY)?;
    ensure!(interface(&gateway, "inside")?["driver"] == "net_tap", "the driver is not net_tap");
    run_all(
        &Scene { lab: &lab, gateway: &gateway, service: &service },
        &[
            ("nat64 ping", nat64::ping),
            ("nat64 UDP echo", nat64::udp),
            ("nat64 TCP bulk", nat64::bulk),
            ("nat44 UDP echo", nat44::udp),
            ("nat44 TCP bulk", nat44::bulk),
            ("box answers ping", box_itself::ping),
        ],
    )?;
    gateway.finish()?;
    drop(service);
    lab.finish()
}

/// A site with one interface more.
fn with_more(line: String) -> Site {
    Site { interfaces: vec![line], ..Site::default() }
}

fn apply(scene: &Scene, site: &Site) -> Result<()> {
    scene.gateway.write_config(&site.yaml())?;
    scene.gateway.apply().map(drop)
}

/// A `ring:` port receives what it sends: what the box asks there comes back, frame by frame.
#[test]
fn a_ring_port() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        apply(scene, &with_more("loop: { device: ring:loop0, addresses: [10.50.0.1/24] }".to_owned()))?;
        let asked = scene.lab.host("gw").exec(&["ping", "-c", "1", "-W", "1", "10.50.0.2"]);
        ensure!(asked.is_err(), "somebody answered on a loop");
        scene.gateway.settled()?;
        wait::until(Duration::from_secs(5), "as many frames in as out", || {
            let status = interface(scene.gateway, "loop")?;
            let [sent, received] = ["tx_packets", "rx_packets"].map(|name| status[name].as_u64());
            wait::require(sent > Some(0) && sent == received, &status)
        })?;
        ensure!(interface(scene.gateway, "loop")?["driver"] == "net_ring", "the driver is not net_ring");
        run_all(scene, &[("nat64 UDP echo", nat64::udp), ("nat44 UDP echo", nat44::udp)])
    })
}

/// A `null:` port floods the worker with empty frames for as long as it is there. Others have their share meanwhile, and
/// when it has gone, every one of its frames is accounted for.
#[test]
fn a_null_port() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let before = scene.gateway.settled()?;
        apply(scene, &with_more("flood: { device: null:flood0, addresses: [10.51.0.1/24] }".to_owned()))?;
        ensure!(interface(scene.gateway, "flood")?["driver"] == "net_null", "the driver is not net_null");
        for check in [nat64::udp, nat44::udp, nat64::bulk] {
            check(scene).context("beside the flood")?;
        }
        apply(scene, &Site::default())?;
        let drops = scene.gateway.settled()?.drops_since(&before);
        let flooded: u64 = drops.values().sum();
        ensure!(flooded > 10_000, "the flood was {flooded} frames: {drops:?}");
        Ok(())
    })
}

/// A `pcap:` port plays a file into the gateway, and writes what it is to send into another.
#[test]
fn a_pcap_port() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let [played, written] =
            ["played", "written"].map(|name| scene.lab.directory().join(name).with_extension("pcap"));
        // The driver's first port of a process has this address.
        let port = [0x02, b'p', b'c', b'a', b'p', 0];
        let host = [2, 0, 0, 0, 0, 9];
        let builder = || etherparse::PacketBuilder::ethernet2(host, port);
        let frames = [
            udp(builder().ipv4([10, 60, 0, 9], SERVER.octets(), 64), (4444, 7000), b"who?"),
            udp(
                builder().ipv6(
                    "2001:db8:560::9".parse::<std::net::Ipv6Addr>()?.octets(),
                    embed(SERVER).octets(),
                    64,
                ),
                (4444, 7000),
                b"who?",
            ),
        ];
        write_capture(&played, &frames)?;
        let mut site = with_more(format!(
            "capture: {{ device: \"pcap:rx={},tx={}\", addresses: [10.60.0.1/24, 2001:db8:560::1/64] }}",
            played.display(),
            written.display()
        ));
        site.nat64
            .push("{ prefix: 2001:db8:64::/96, sources: [2001:db8:560::/64], pool: public }".to_owned());
        site.nat44.push("{ sources: [10.60.0.0/24], pool: public }".to_owned());
        apply(scene, &site)?;
        let status = interface(scene.gateway, "capture")?;
        ensure!(status["driver"] == "net_pcap", "{status}");
        ensure!(
            status["mac"] == serde_json::json!(port),
            "the file was written for another address: {status}"
        );
        for inside in ["10.60.0.9", "2001:db8:560::9"] {
            wait::until(Duration::from_secs(5), &format!("the session of {inside}"), || {
                let sessions = scene.gateway.json_lines(&["sessions", "--inside", inside])?;
                wait::require(sessions.len() == 1, sessions)
            })?;
        }
        // The server has answered. Nobody tells the gateway where the hosts of the file are: it has to ask.
        wait::until(Duration::from_secs(5), "questions on the port", || {
            let sent = interface(scene.gateway, "capture")?["tx_packets"].as_u64();
            wait::require(sent >= Some(2), sent)
        })?;
        apply(scene, &Site::default())?;
        let asked = read_capture(&written)?;
        for (what, kind) in [("ARP", [0x08, 0x06]), ("neighbour discovery", [0x86, 0xdd])] {
            ensure!(asked.iter().any(|frame| frame[12..14] == kind), "no {what} in the file: {asked:02x?}");
        }
        Ok(())
    })
}

/// Little-endian, microseconds, Ethernet.
const MAGIC: u32 = 0xa1b2_c3d4;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

fn write_capture(path: &Path, frames: &[Vec<u8>]) -> Result<()> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut file = words(&[MAGIC, 4 << 16 | 2, 0, 0, 65535, 1]);
    for frame in frames {
        file.extend(words(&[0, 0, frame.len() as u32, frame.len() as u32]));
        file.extend(frame);
    }
    std::fs::write(path, file).with_context(|| path.display().to_string())
}

fn read_capture(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut rest = file.get(FILE_HEADER..).context("a capture file")?;
    let mut frames = Vec::new();
    while let Some((header, behind)) = rest.split_at_checked(FRAME_HEADER) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (frame, behind) = behind.split_at_checked(length).context("a whole frame")?;
        frames.push(frame.to_vec());
        rest = behind;
    }
    Ok(frames)
}
