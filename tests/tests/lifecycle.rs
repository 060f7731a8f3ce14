//! Processes that die, return, start in the other order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{server4, server6};
use sluice_tests::gateway::{Gateway, READY};
use sluice_tests::lab::Lab;
use sluice_tests::programs;
use sluice_tests::service::Service;
use sluice_tests::site::{Device, Site};
use sluice_tests::traffic::{any, datagrams, echo_once, echo_stream, exchange};
use sluice_tests::wait;

/// Addresses of the TAP twins, as the kernel shows them.
fn twin_addresses(lab: &Lab) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for twin in ["inside", "outside"] {
        let text = lab.host("gw").ip(&["-o", "address", "show", "dev", twin, "scope", "global"])?;
        all.extend(text.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned));
    }
    all.sort();
    Ok(all)
}

/// kill -9 of control: flows go on, new ones are made, and a new control takes over.
#[test]
fn control_is_killed_and_replaced() -> Result<()> {
    let lab = Lab::new()?;
    let _service = Service::start(lab.host("server4"), server4())?;
    let mut gateway = Gateway::start(&lab, &Site::default())?;
    let mut stream = echo_stream(lab.host("client6"), server6())?;

    gateway.control.take().context("control")?.crash()?;
    for round in 0..20 {
        echo_once(&mut stream, format!("without control {round}").as_bytes())?;
    }
    let socket = datagrams(lab.host("client4"), any(server4()), server4())?;
    ensure!(exchange(&socket, b"new flow")? == b"new flow", "no new flow without control");
    gateway.counters().context("counters without control")?;

    gateway.start_control()?;
    wait::until(READY, "sluice status of the new control", || {
        gateway.control.as_mut().context("control")?.alive()?;
        gateway.json(&["status"])
    })?;
    echo_once(&mut stream, b"with the new control")?;
    gateway.forwards(READY)?;
    gateway.finish()?;
    lab.finish()
}

/// kill -9 of the data plane: noticed by status; a new one is configured by itself, the twins keep their addresses.
fn dataplane_is_killed_and_replaced(device: Device) -> Result<()> {
    let lab = Lab::new()?;
    let _service = Service::start(lab.host("server4"), server4())?;
    let mut gateway = Gateway::start(&lab, &Site::with(device, 1))?;
    let addresses = twin_addresses(&lab)?;
    ensure!(addresses.len() == 3, "twins have {addresses:?}");

    gateway.dataplane.take().context("the data plane")?.crash()?;
    wait::until(Duration::from_secs(5), "sluice status to notice", || {
        let mut command = gateway.command(&["status"])?;
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
        wait::require(["not running", "dead", "gone", "stopped"].iter().any(|word| text.contains(word)), text)
    })?;
    ensure!(twin_addresses(&lab)? == addresses, "the twins lost their addresses");

    // Every 20 ms, for both families: what counts is when the first answer is there.
    let sockets = [("client6", server6()), ("client4", server4())].map(|(host, remote)| {
        let socket = datagrams(lab.host(host), any(remote), remote)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok::<_, anyhow::Error>(socket)
    });
    let start = Instant::now();
    gateway.start_dataplane()?;
    for socket in sockets {
        let socket = socket?;
        wait::until(READY, "an answer", || exchange(&socket, b"there?"))?;
    }
    eprintln!("forwards {:.2} s after the start of a new data plane", start.elapsed().as_secs_f32());
    wait::until(READY, "sluice status", || {
        let status = gateway.json(&["status"])?;
        wait::require(status["dataplane"]["generation"] == status["control"]["generation"], status)
    })?;
    eprintln!("configured {:.2} s after it", start.elapsed().as_secs_f32());
    ensure!(twin_addresses(&lab)? == addresses, "the twins lost their addresses");
    let socket = datagrams(lab.host("client6"), any(server6()), server6())?;
    ensure!(exchange(&socket, b"again")? == b"again", "no flow through the new data plane");
    gateway.finish()?;
    lab.finish()
}

#[test]
fn dataplane_on_packet_ports_is_killed_and_replaced() -> Result<()> {
    dataplane_is_killed_and_replaced(Device::Packet)
}

#[test]
fn dataplane_on_xdp_ports_is_killed_and_replaced() -> Result<()> {
    dataplane_is_killed_and_replaced(Device::Xdp)
}

/// Hugepages reserved for a test, and given back.
struct Hugepages(i64);

impl Hugepages {
    const COUNT: &str = "/proc/sys/vm/nr_hugepages";

    fn change(by: i64) -> Result<i64> {
        let read = || -> Result<i64> { Ok(std::fs::read_to_string(Self::COUNT)?.trim().parse()?) };
        let before = read()?;
        std::fs::write(Self::COUNT, (before + by).max(0).to_string()).context("reserving hugepages")?;
        Ok(read()? - before)
    }

    fn reserve(pages: i64) -> Result<Self> {
        let got = Self(Self::change(pages)?);
        ensure!(got.0 >= pages, "the kernel reserved {} of {pages} hugepages", got.0);
        Ok(got)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Err(error) = Self::change(-self.0) {
            eprintln!("{} hugepages stay reserved: {error:#}", self.0);
        }
    }
}

/// Every other test runs without hugepages; this one with them, and with nothing else.
#[test]
fn hugepages_are_used_where_there_are_some() -> Result<()> {
    let _pages = Hugepages::reserve(300)?;
    let lab = Lab::new()?;
    let mut gateway = Gateway::prepare(&lab, &Site::default())?;
    gateway.start_dataplane_by(
        "mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages && exec \"$0\" --hugepages require \"$@\"",
    )?;
    gateway.start_control()?;
    gateway.forwards(READY)?;
    let log = gateway.dataplane.as_ref().context("the data plane")?.log();
    ensure!(!log.contains("without hugepages"), "{log}");
    gateway.finish()?;
    lab.finish()
}

/// Control first: it waits, says so, and configures the data plane when that appears.
#[test]
fn control_starts_first() -> Result<()> {
    let lab = Lab::new()?;
    let mut gateway = Gateway::prepare(&lab, &Site::default())?;
    gateway.start_control()?;
    wait::until(READY, "sluice status without a data plane", || {
        let output = gateway.command(&["status"])?.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        wait::require(!text.is_empty(), String::from_utf8_lossy(&output.stderr))
    })?;
    gateway.start_dataplane()?;
    gateway.forwards(READY)?;
    gateway.finish()?;
    lab.finish()
}

/// A second process of either kind in the same run directory is refused and harms nothing.
#[test]
fn a_second_process_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let mut gateway = Gateway::start(&lab, &Site::default())?;
    let run = lab.directory().join("run");
    for program in [sluice_tests::programs::DATAPLANE, sluice_tests::programs::CONTROL] {
        let mut command = lab.host("gw").command("timeout");
        command.arg("10").arg(sluice_tests::programs::path(program)?).arg("--run-dir").arg(&run);
        let output = command.output()?;
        let text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(matches!(output.status.code(), Some(1..=123)), "second {program}: {}\n{text}", output.status);
    }
    gateway.forwards(READY)?;
    gateway.finish()?;
    lab.finish()
}

/// A device that vanishes under the dataplane: the other port goes on and `sluice status` says so. When the device is back
/// the port is taken up again by itself, fenced, with the sessions that there were.
fn a_device_goes_away(device: Device) -> Result<()> {
    let lab = Lab::new()?;
    let _service = Service::start(lab.host("server4"), server4())?;
    let site = Site::with(device, 1);
    let mut gateway = Gateway::start(&lab, &site)?;
    let mut stream = echo_stream(lab.host("client6"), server6())?;
    lab.unplug()?;
    let link = |gateway: &Gateway, up: bool| {
        wait::until(Duration::from_secs(10), "sluice status to notice", || {
            let status = gateway.json(&["status"])?;
            wait::require(status["interfaces"][0]["link_up"] == up, &status["interfaces"][0])
        })
    };
    link(&gateway, false)?;
    lab.host("router").exec(&["ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", "192.0.2.2"])?;
    gateway.settled()?;

    lab.plug()?;
    link(&gateway, true)?;
    echo_once(&mut stream, b"after the device came back").context("the session from before")?;
    gateway.forwards(READY)?;
    let answers = lab.host("client4").exec(&["ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", "10.0.0.1"])?;
    ensure!(!answers.contains("DUP"), "the device is not fenced: {answers}");
    gateway.finish()?;
    lab.finish()
}

#[test]
fn a_device_below_a_packet_port_goes_away() -> Result<()> {
    a_device_goes_away(Device::Packet)
}

#[test]
fn a_device_below_an_xdp_port_goes_away() -> Result<()> {
    a_device_goes_away(Device::Xdp)
}

/// What the machine does not give is named, with what to do about it.
#[test]
fn what_is_missing_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let gateway = Gateway::prepare(&lab, &Site::default())?;
    let run = lab.directory().join("other");
    let output = |words: &[&str], program: &str, more: &[&str]| -> Result<String> {
        let mut command = lab.host("gw").command("timeout");
        command.arg("10").args(words).arg(programs::path(program)?).arg("--run-dir").arg(&run).args(more);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{program} {more:?} ended with {}: {text}", output.status);
        Ok(text.into_owned())
    };
    // No hugetlbfs is mounted in here, whatever the machine has.
    let said = output(&[], programs::DATAPLANE, &["--hugepages", "require"])?;
    ensure!(said.contains("hugepages are required") && said.contains("vm.nr_hugepages"), "{said}");
    let said = output(
        &["setpriv", "--bounding-set=-net_admin"],
        programs::CONTROL,
        &["--config", &gateway.config().display().to_string()],
    )?;
    ensure!(said.contains("CAP_NET_ADMIN"), "{said}");
    drop(gateway);
    lab.finish()
}
