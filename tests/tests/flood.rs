//! Floods: established flows go on as if nobody else were there.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_tests::accounting::Counters;
use sluice_tests::gateway::{Gateway, READY};
use sluice_tests::lab::Lab;
use sluice_tests::site::Site;
use sluice_tests::{programs, wait};

/// More frames than the gateway sends while the flows are opened.
const OPENED: u64 = 1000;
const LOAD: &str = "--outside-address 192.0.2.1 --outside-gateway 192.0.2.2 --flows 64 --hosts 16 --rate 2k --seconds 2 \
                    --new-flows max --unsolicited 20k --linger 5 --allow-loss 100 --json";
const NAT64: &str = "--nat64 2001:db8:64::/96 --inside-address 2001:db8:501::10 --inside-gateway 2001:db8:501::1 \
                     --sources 2001:db8:540::/48";
const NAT44: &str = "--nat44 --inside-address 10.0.0.10 --inside-gateway 10.0.0.1";

/// How a stranger's frame may end that opens no flow.
const REFUSED: [&str; 8] = [
    "session_table_full",
    "no_binding",
    "miss_budget",
    "pool_exhausted",
    "subscriber_sessions",
    "subscriber_ports",
    "subscriber_rate",
    "binding_table_full",
];

/// As many new flows as the ports carry, from the very hosts that have established ones, more than there are records for; and
/// from outside frames that nobody asked for. The generator verifies every frame of the established flows. It is told to allow
/// loss only so that it says how much there was: a frame that its end of a link had no room for is the link's loss, which the
/// gateway counts as such; there is no other.
fn flood(kind: &str) -> Result<()> {
    let lab = Lab::new()?;
    let directory = lab.directory().display().to_string();
    let ends = |role: &str| {
        ["inside", "outside"].map(|side| format!("memif:{directory}/{side}.sock,role={role},id=0"))
    };
    let mut site = Site { devices: ends("server").map(Some), ..Site::default() };
    site.nat64.push("{ prefix: 2001:db8:64::/96, sources: [2001:db8:540::/48], pool: public }".to_owned());
    site.routes.push("{ to: 2001:db8:540::/48, via: 2001:db8:501::10 }".to_owned());
    site.more = "sessions: 4096\n".to_owned();
    let mut gateway = Gateway::prepare(&lab, &site)?;
    gateway.start_dataplane()?;
    gateway.start_control()?;
    wait::until(READY, "the ports", || {
        let status = gateway.json(&["status"])?;
        let twins = status["control"]["twins"].as_array().context("twins")?;
        wait::require(twins.len() == 2 && twins.iter().all(|twin| twin["ready"] == true), twins)
    })?;
    let [inside, outside] = ends("client");
    let mut command = lab.host("gw").command(programs::path(programs::PKTGEN)?);
    command.args(["quick", "--inside", &inside, "--outside", &outside]);
    command.args(kind.split(' ')).args(LOAD.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let generator = command.spawn()?;
    // A peer that leaves can crash the driver (see `docs/decisions.md`): the counters are read while it lingers.
    let counted = wait::until(READY, "the flood to be over", || {
        let before = gateway.settled()?;
        ensure!(before.total("tx_packets")? >= OPENED, "still opening flows");
        std::thread::sleep(Duration::from_millis(500));
        let after = gateway.settled()?;
        let [before, now] = [&before, &after].map(|counters| counters.total("rx_packets"));
        wait::require(before? == now?, "packets still come")?;
        Ok(after)
    });
    let missed = counted.is_ok().then(|| gateway.json(&["status"])).transpose();
    let output = generator.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{kind}: {}\n{text}", output.status);
    let missed = missed_by_ports(&missed?.context("status")?)?;
    judge(&serde_json::from_slice(&output.stdout)?, &counted?, missed).with_context(|| text.into_owned())?;
    drop(gateway);
    lab.finish()
}

/// Frames that the gateway's ports had no room for.
fn missed_by_ports(status: &Value) -> Result<u64> {
    let interfaces = status["interfaces"].as_array().context("interfaces")?;
    let counts = interfaces.iter().flat_map(|one| ["rx_missed", "rx_no_mbuf"].map(|name| one[name].as_u64()));
    counts.map(|count| count.with_context(|| status.to_string())).sum()
}

/// Holds what the generator says against what the gateway has counted.
fn judge(report: &Value, counters: &Counters, missed: u64) -> Result<()> {
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).with_context(|| path.to_owned());
    let none = Counters::default();
    let drops = counters.drops_since(&none);
    let full = drops.get("tx_full").copied().unwrap_or(0);
    let not_taken = full + missed + number("/tester_losses")?;
    let lost = number("/outbound/lost")? + number("/inbound/lost")?;
    ensure!(lost <= not_taken, "{lost} frames of established flows lost, the ports {not_taken}: {drops:?}");
    ensure!(number("/flows_opened")? == 64 && number("/outbound/sent")? > 0, "nothing was measured");

    let refused: u64 = REFUSED.iter().filter_map(|reason| drops.get(*reason)).sum();
    ensure!(refused + full == drops.values().sum::<u64>(), "dropped for another reason: {drops:?}");
    for reason in ["session_table_full", "no_binding"] {
        ensure!(drops.contains_key(reason), "no {reason}: {drops:?}");
    }
    let strangers = number("/new_flows/sent")? + number("/unsolicited/sent")?;
    let opened = counters.total("sessions_created")? - number("/flows_opened")?;
    ensure!(counters.total("sessions")? <= 4096, "more sessions than records");
    ensure!(
        (refused + opened..=refused + opened + missed).contains(&strangers),
        "{strangers} strangers, {refused} refused, {opened} opened: {drops:?}"
    );
    let came_out = number("/new_flows/came_out")? + number("/unsolicited/came_out")?;
    ensure!(came_out <= opened && opened <= came_out + not_taken, "{opened} opened, {came_out} came out");
    println!(
        "{} frames of established flows verified, {lost} lost; of {strangers} strangers {opened} opened a flow: {drops:?}",
        number("/outbound/received")? + number("/inbound/received")?
    );
    Ok(())
}

#[test]
fn nat64_flows_lose_nothing_beside_a_flood() -> Result<()> {
    flood(NAT64)
}

#[test]
fn nat44_flows_lose_nothing_beside_a_flood() -> Result<()> {
    flood(NAT44)
}
