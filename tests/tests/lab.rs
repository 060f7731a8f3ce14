//! The lab itself, with the kernel in the gateway's place: what later tests lean on works, and goes away.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use sluice_tests::capture::{Capture, syn_mss};
use sluice_tests::checks::server4;
use sluice_tests::lab::Lab;
use sluice_tests::service::Service;
use sluice_tests::traffic::{any, datagrams, download, exchange, seen_as, upload};
use sluice_tests::wait;

/// A lab whose gateway is the kernel, without translation: the router is told the way back.
fn kernel_lab() -> Result<Lab> {
    let lab = Lab::new()?;
    let gw = lab.host("gw");
    gw.ip(&["address", "add", "10.0.0.1/24", "dev", "lan0"])?;
    gw.ip(&["address", "add", "192.0.2.2/30", "dev", "wan0"])?;
    gw.ip(&["route", "add", "default", "via", "192.0.2.1"])?;
    gw.sysctl("net.ipv4.ip_forward=1")?;
    lab.host("router").ip(&["route", "add", "10.0.0.0/24", "via", "192.0.2.2"])?;
    Ok(lab)
}

#[test]
fn peers_talk_and_are_seen() -> Result<()> {
    let lab = kernel_lab()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let client = lab.host("client4");
    let capture = Capture::start(client)?;
    assert_eq!(seen_as(client, Some("10.0.0.10:5000".parse()?), server4())?.to_string(), "10.0.0.10:5000");
    upload(client, server4(), 1 << 20)?;
    download(client, server4(), 1 << 20)?;
    let socket = datagrams(client, any(server4()), server4())?;
    assert_eq!(exchange(&socket, b"echo this")?, b"echo this");
    let frames = capture.finish()?;
    assert!(frames.iter().filter_map(|frame| syn_mss(frame)).all(|mss| mss == 1460));
    assert!(frames.iter().all(|frame| frame.len() <= 1514), "segmentation was left to the cable");
    drop(service);
    lab.finish()
}

#[test]
fn narrow_path_is_learnt_from_the_router() -> Result<()> {
    let lab = kernel_lab()?;
    let _service = Service::start(lab.host("server4"), server4())?;
    lab.host("router").ip(&["route", "add", "203.0.113.10/32", "dev", "eth1", "mtu", "lock", "1400"])?;
    upload(lab.host("client4"), server4(), 300_000)?;
    let route = lab.host("client4").ip(&["route", "get", "203.0.113.10"])?;
    assert!(route.contains("mtu 1400"), "{route}");
    lab.finish()
}

#[test]
fn a_panic_leaves_nothing_behind() -> Result<()> {
    let mut path = None;
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lab = Lab::new().unwrap();
        path = Some((lab.host("gw").path(), lab.directory().to_path_buf()));
        panic!("as a failing test would");
    }));
    assert!(result.is_err());
    let (namespace, directory) = path.context("the lab was made")?;
    assert!(!namespace.exists() && !directory.exists());
    Ok(())
}

const HELPER: &str = "SLUICE_TEST_LAB_HELPER";

/// Not a test of its own: what the next one kills.
#[test]
fn helper_that_is_killed() -> Result<()> {
    if std::env::var_os(HELPER).is_none() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut sleep = lab.host("gw").command("sleep");
    let mut child = sleep.arg("600").spawn()?;
    println!("\nlab {}", lab.host("gw").path().display());
    child.wait()?;
    Ok(())
}

#[test]
fn a_killed_test_leaves_nothing_behind() -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "helper_that_is_killed", "--nocapture"])
        .env(HELPER, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().context("its output")?);
    let mut namespace = None;
    for line in output.lines() {
        if let Some(path) = line?.strip_prefix("lab ") {
            namespace = Some(std::path::PathBuf::from(path));
            break;
        }
    }
    let namespace = namespace.context("the helper names its namespace")?;
    assert!(namespace.exists());
    child.kill()?;
    child.wait()?;
    wait::until(Duration::from_secs(10), "the killed test's namespace to go", || {
        wait::require(!namespace.exists(), &namespace)
    })
}
