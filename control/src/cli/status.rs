//! `sluice status`: how the gateway is.
//!
//! Everything but the daemon's own part is read from the shared memory, so it shows what is there when the daemon is not.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sluice_shm::{
    Counter, CountersSnapshot, DataplaneInfo, DataplaneState, Observer, PortInfo, RunDir, StateReader,
    now_ns, read_snapshot, snapshot::Snapshot,
};

use super::client::Client;
use super::cycles::{load_percent, share};
use super::logging::{write_collectors, write_losses};
use super::output::{BOLD, DIM, GREEN, Output, PLAIN, RED, Table, YELLOW, grouped, scaled, span};
use super::{CliError, Global};
use crate::api::{self, Request, Response};

#[derive(Args)]
#[command(after_help = "Examples:\n  sluice status\n  sluice status --json | jq .accounting")]
pub(crate) struct Status {}

/// Everything that is shown, and what `--json` writes.
#[derive(Serialize)]
struct Report {
    control: Option<api::Status>,
    dataplane: Option<DataplaneInfo>,
    dataplane_heartbeat_age_ms: Option<u64>,
    /// Share of the time since the start in which each worker had packets.
    load_percent: Vec<Option<f64>>,
    interfaces: Vec<InterfaceReport>,
    tables: Vec<TableReport>,
    events: Option<EventsReport>,
    accounting: Option<Accounting>,
}

/// Events of the data plane that did not reach control.
#[derive(Serialize)]
struct EventsReport {
    lost: u64,
    suppressed: u64,
}

#[derive(Serialize)]
struct InterfaceReport {
    name: String,
    device: String,
    vlan: Option<u16>,
    #[serde(flatten)]
    port: Option<PortInfo>,
    rx_packets_per_second: f64,
    tx_packets_per_second: f64,
    rx_bits_per_second: f64,
    tx_bits_per_second: f64,
    drops: u64,
}

#[derive(Serialize)]
struct TableReport {
    table: &'static str,
    used: u64,
    capacity: Option<u64>,
}

#[derive(Serialize)]
struct Accounting {
    arrived: u64,
    ended: u64,
    balanced: bool,
}

impl Status {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let run = global.run();
        let control = ask_daemon(&run);
        let observer = Observer::open(&run)?;
        if control.is_none() && observer.is_none() {
            return Err(CliError::Nothing(format!(
                "nothing runs in {}: neither sluice-control nor the dataplane; start them, or name another directory with \
                 --run-dir",
                run.path().display()
            )));
        }
        let report = collect(&run, control, observer.as_ref());
        if out.json {
            return out.json(&report);
        }
        write(&report, out)
    }
}

/// The daemon's part, if it answers soon.
pub(super) fn ask_daemon(run: &RunDir) -> Option<api::Status> {
    let mut client = Client::connect(run).ok()?;
    client.set_patience(Duration::from_secs(2)).ok()?;
    match client.ask(Request::Status).ok()? {
        Response::Status(status) => Some(*status),
        _ => None,
    }
}

fn collect(run: &RunDir, control: Option<api::Status>, observer: Option<&Observer>) -> Report {
    let snapshot = read_snapshot(run).ok();
    let Some(observer) = observer else {
        return Report {
            control,
            dataplane: None,
            dataplane_heartbeat_age_ms: None,
            load_percent: Vec::new(),
            interfaces: interfaces(snapshot.as_ref(), &[], &CountersSnapshot::default(), 1.0),
            tables: Vec::new(),
            events: None,
            accounting: None,
        };
    };
    let now = now_ns();
    let info = observer.info();
    let counters = observer.counters();
    let load_percent = counters.iter().take(info.active_workers).map(load_percent).collect();
    let total: CountersSnapshot = counters.into_iter().sum();
    let until = if info.alive { now } else { info.heartbeat_ns };
    let seconds = (until.saturating_sub(info.started_ns) as f64 / 1e9).max(0.001);
    let (arrived, ended) = total.balance();
    Report {
        control,
        dataplane_heartbeat_age_ms: info.heartbeat_age_ns(now).map(|ns| ns / 1_000_000),
        load_percent,
        interfaces: interfaces(snapshot.as_ref(), &observer.ports(), &total, seconds),
        tables: tables(run, snapshot.as_ref(), &total),
        events: Some(EventsReport {
            lost: total.get(Counter::EventsLost),
            suppressed: total.get(Counter::EventsSuppressed),
        }),
        accounting: Some(Accounting { arrived, ended, balanced: arrived == ended }),
        dataplane: Some(info),
    }
}

fn interfaces(
    snapshot: Option<&Snapshot>,
    ports: &[Option<PortInfo>],
    total: &CountersSnapshot,
    seconds: f64,
) -> Vec<InterfaceReport> {
    let Some(snapshot) = snapshot else { return Vec::new() };
    let describe = |(number, interface): (usize, &sluice_shm::snapshot::InterfaceSpec)| {
        let device = snapshot.ports.get(usize::from(interface.port)).map_or("", |p| p.device.as_str());
        let kept = &device[..device.floor_char_boundary(64)];
        let counters = total.interface(number);
        let rate = |n: u64| n as f64 / seconds;
        InterfaceReport {
            name: interface.name.clone(),
            device: device.to_owned(),
            vlan: interface.vlan,
            port: ports.iter().flatten().find(|port| port.device == kept).cloned(),
            rx_packets_per_second: rate(counters.rx_packets),
            tx_packets_per_second: rate(counters.tx_packets),
            rx_bits_per_second: rate(counters.rx_bytes * 8),
            tx_bits_per_second: rate(counters.tx_bytes * 8),
            drops: counters.drops,
        }
    };
    snapshot.interfaces.iter().enumerate().map(describe).collect()
}

fn tables(run: &RunDir, snapshot: Option<&Snapshot>, total: &CountersSnapshot) -> Vec<TableReport> {
    let known = |n: u64| (n > 0).then_some(n);
    let sessions = StateReader::open(run).ok().map(|reader| u64::from(reader.capacity()));
    let blocks = snapshot.map(|s| s.nat.pools.iter().map(blocks_of).sum());
    vec![
        TableReport { table: "sessions", used: total.get(Counter::Sessions), capacity: sessions },
        TableReport {
            table: "bindings",
            used: total.get(Counter::Bindings),
            capacity: known(total.get(Counter::BindingCapacity)),
        },
        TableReport {
            table: "subscribers",
            used: total.get(Counter::Subscribers),
            capacity: known(total.get(Counter::SubscriberCapacity)),
        },
        TableReport { table: "port blocks", used: total.get(Counter::PortBlocks), capacity: blocks },
    ]
}

/// Blocks begin at multiples of their size; those at the ends of the range may be cut.
fn blocks_of(pool: &sluice_nat::PoolSpec) -> u64 {
    let size = u64::from(pool.block_size.max(1));
    let each = u64::from(pool.port_max) / size - u64::from(pool.port_min) / size + 1;
    let addresses: u64 = pool.prefixes.iter().map(|(_, len)| 1u64 << (32 - u32::from((*len).min(32)))).sum();
    each * addresses
}

fn write(report: &Report, out: &mut Output) -> Result<(), CliError> {
    match &report.control {
        Some(control) => write_control(control, out)?,
        None => out.line(format!("{BOLD}control{PLAIN}    {RED}not running{PLAIN}"))?,
    }
    match &report.dataplane {
        Some(info) => write_dataplane(info, report, out)?,
        None => out.line(format!("{BOLD}dataplane{PLAIN}  {RED}not running{PLAIN}"))?,
    }
    if !report.interfaces.is_empty() {
        out.line("")?;
        write_interfaces(report, out)?;
    }
    if !report.tables.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["table", ">used", ">capacity", ">full"]);
        for row in &report.tables {
            let capacity = row.capacity.map_or_else(|| "-".to_owned(), grouped);
            let full = match row.capacity {
                Some(capacity) if capacity > 0 => {
                    format!("{:.1}%", row.used as f64 * 100.0 / capacity as f64)
                }
                _ => "-".to_owned(),
            };
            table.row(vec![row.table.to_owned(), grouped(row.used), capacity, full]);
        }
        table.write(out)?;
    }
    let log = report.control.as_ref().map(|control| &control.logging);
    if let Some(log) = log.filter(|log| !log.collectors.is_empty()) {
        out.line("")?;
        write_collectors(log, out)?;
    }
    let (lost, suppressed) = report.events.as_ref().map_or((0, 0), |events| (events.lost, events.suppressed));
    if lost + suppressed > 0 {
        out.line("")?;
        write_losses((lost, suppressed), log, out)?;
    }
    if let Some(accounting) = &report.accounting {
        out.line("")?;
        write_accounting(accounting.arrived, accounting.ended, out)?;
    }
    Ok(())
}

/// The line under status and counters: is every packet accounted for?
pub(super) fn write_accounting(arrived: u64, ended: u64, out: &mut Output) -> Result<(), CliError> {
    if arrived == ended {
        return out.line(format!(
            "accounting {GREEN}balanced{PLAIN}: {} packets arrived or were made, all of them ended in one place",
            grouped(arrived)
        ));
    }
    let (less, more) =
        if arrived > ended { ("not yet ended", arrived - ended) } else { ("ended twice", ended - arrived) };
    out.line(format!(
        "accounting {YELLOW}{} {less}{PLAIN}: {} arrived or were made, {} ended (packets under way are in between)",
        grouped(more),
        grouped(arrived),
        grouped(ended)
    ))
}

fn write_control(control: &api::Status, out: &mut Output) -> Result<(), CliError> {
    let file = control.file.as_ref().map(|f| format!(" of {f}")).unwrap_or_default();
    let applied = match (control.generation, control.pending) {
        (0, _) => "no configuration".to_owned(),
        (n, true) => format!("generation {n}{file} {YELLOW}waits for a dataplane{PLAIN}"),
        (n, false) => format!("generation {n}{file}"),
    };
    out.line(format!(
        "{BOLD}control{PLAIN}    {GREEN}running{PLAIN}, pid {}, up {}, {applied}",
        control.pid,
        span(control.uptime)
    ))?;
    if !control.neighbours.is_empty() {
        let all: Vec<String> = control.neighbours.iter().map(|(state, n)| format!("{n} {state}")).collect();
        out.line(format!("           neighbours: {}", all.join(", ")))?;
    }
    if !control.fences.is_empty() {
        out.line(format!("           fenced: {}", control.fences.join(", ")))?;
    }
    if let Some(trouble) = &control.trouble {
        out.line(format!("           {RED}{trouble}{PLAIN}"))?;
    }
    Ok(())
}

/// The dataplane beats many times a second; a second without is a process that hangs.
const LATE_MS: u64 = 1000;

fn write_dataplane(info: &DataplaneInfo, report: &Report, out: &mut Output) -> Result<(), CliError> {
    let state = match (info.alive, info.state) {
        (false, _) => format!("{RED}dead{PLAIN}"),
        (true, DataplaneState::Running) => format!("{GREEN}running{PLAIN}"),
        (true, DataplaneState::Starting) => format!("{YELLOW}starting{PLAIN}"),
        (true, DataplaneState::Stopping) => format!("{YELLOW}stopping{PLAIN}"),
    };
    let heartbeat = match report.dataplane_heartbeat_age_ms {
        None => "no heartbeat yet".to_owned(),
        Some(ms) if ms > LATE_MS => format!("{RED}last heartbeat {ms} ms ago{PLAIN}"),
        Some(ms) => format!("heartbeat {ms} ms ago"),
    };
    let uptime = span(now_ns().saturating_sub(info.started_ns) / 1_000_000_000);
    let workers = match info.active_workers {
        0 => "no workers yet".to_owned(),
        1 => "1 worker".to_owned(),
        n => format!("{n} workers"),
    };
    out.line(format!(
        "{BOLD}dataplane{PLAIN}  {state}, pid {}, up {uptime}, {heartbeat}, {workers}, generation {}",
        info.pid, info.generation
    ))?;
    if report.load_percent.iter().all(Option::is_none) {
        return Ok(());
    }
    let loads = report.load_percent.iter().map(|load| share(*load)).collect::<Vec<_>>().join(", ");
    out.line(format!("           load: {loads} of the time since the start"))
}

fn write_interfaces(report: &Report, out: &mut Output) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "interface",
        "device",
        "link",
        "mac",
        ">mtu",
        ">rx pkt/s",
        ">rx bit/s",
        ">tx pkt/s",
        ">tx bit/s",
        ">drops",
        ">missed",
    ]);
    for interface in &report.interfaces {
        let vlan = interface.vlan.map(|v| format!(".{v}")).unwrap_or_default();
        let (link, mac, mtu, missed) = match &interface.port {
            None => (format!("{DIM}no port{PLAIN}"), "-".to_owned(), "-".to_owned(), "-".to_owned()),
            Some(port) => {
                let speed = match port.speed_mbps {
                    0 | u32::MAX => String::new(),
                    mbps => format!(" {}", scaled(f64::from(mbps) * 1e6)),
                };
                let link = match port.link_up {
                    true => format!("{GREEN}up{PLAIN}{speed}"),
                    false => format!("{RED}down{PLAIN}"),
                };
                (link, mac(port.mac), port.mtu.to_string(), grouped(port.rx_missed + port.rx_no_mbuf))
            }
        };
        table.row(vec![
            interface.name.clone(),
            format!("{}{vlan}", interface.device),
            link,
            mac,
            mtu,
            scaled(interface.rx_packets_per_second),
            scaled(interface.rx_bits_per_second),
            scaled(interface.tx_packets_per_second),
            scaled(interface.tx_bits_per_second),
            grouped(interface.drops),
            missed,
        ]);
    }
    table.write(out)?;
    out.line(format!("{DIM}rates are averages since the dataplane started{PLAIN}"))
}

pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
