//! `sluice trace`: packets on their way, through the daemon.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use sluice_packet::reason::{DropReason, PuntReason};

use super::client::Client;
use super::decode;
use super::output::{BOLD, DIM, GREEN, Output, PLAIN, RED, YELLOW, note};
use super::sessions::ProtocolName;
use super::{CliError, Global};
use crate::api::{Request, Response, TraceRequest, TracedPacket};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice trace --count 5\n  sluice trace --drops --interface inside\n  sluice trace --address 2001:db8::10 --protocol tcp --port 443 --timeout 60\n\nA packet that is handed to another worker appears once for each of them."
)]
pub(crate) struct Trace {
    /// Packets to show
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Only packets from or to this address, as they come in
    #[arg(long)]
    address: Option<IpAddr>,
    /// Only packets from or to this port, or with this ICMP identifier
    #[arg(long)]
    port: Option<u16>,
    /// Only packets of this protocol
    #[arg(long)]
    protocol: Option<ProtocolName>,
    /// Only packets that come in on this interface
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only packets that are dropped
    #[arg(long)]
    drops: bool,
    /// Seconds after which the trace ends
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

impl Trace {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let mut client = Client::connect(&global.run())?;
        client.set_patience(Duration::from_secs(u64::from(self.timeout) + 10))?;
        client.send(Request::Trace(TraceRequest {
            count: self.count,
            timeout: self.timeout,
            address: self.address,
            port: self.port,
            protocol: self.protocol.map(ProtocolName::number),
            interface: self.interface,
            drops: self.drops,
        }))?;
        loop {
            match client.receive()? {
                Some(Response::TracePacket(packet)) if out.json => out.json_line(&packet)?,
                Some(Response::TracePacket(packet)) => write(&packet, out)?,
                Some(Response::TraceEnd { packets, missed, reason }) => {
                    if !out.json {
                        let missed = if missed > 0 { format!(", {missed} missed") } else { String::new() };
                        out.flush()?;
                        note(&format!("{packets} packets{missed}: {reason}"));
                    }
                    return Ok(());
                }
                Some(_) => return Err(super::client::unexpected()),
                None => return Ok(()),
            }
            // A person watches: every packet at once.
            out.flush()?;
        }
    }
}

fn write(packet: &TracedPacket, out: &mut Output) -> Result<(), CliError> {
    let none = || "-".to_owned();
    out.line(format!(
        "{BOLD}{} → {}{PLAIN}  {DIM}{} at {:.6} s{PLAIN}",
        packet.interface_in.clone().unwrap_or_else(none),
        packet.interface_out.clone().unwrap_or_else(none),
        packet.thread,
        packet.time_ns as f64 / 1e9,
    ))?;
    if let Some(text) = decode::frame(&packet.before, packet.before_length) {
        out.line(format!("  in   {text}"))?;
    }
    for stage in &packet.stages {
        out.line(format!("  {DIM}{:>8} ns{PLAIN}  {:<16} {}", stage.offset_ns, stage.stage, stage.info))?;
    }
    if let Some(text) = decode::frame(&packet.after, packet.after_length) {
        out.line(format!("  out  {text}"))?;
    }
    out.line(format!("  {}", end(packet)))?;
    out.line("")
}

fn end(packet: &TracedPacket) -> String {
    let reason = packet.reason.as_deref().unwrap_or_default();
    match packet.end.as_str() {
        "transmit" => format!("{GREEN}transmitted{PLAIN}"),
        "drop" => {
            let help = DropReason::ALL.iter().find(|r| r.name() == reason).map_or("", |r| r.help());
            format!("{RED}dropped: {reason}{PLAIN}  {DIM}{help}{PLAIN}")
        }
        "punt" => {
            let help = PuntReason::ALL.iter().find(|r| r.name() == reason).map_or("", |r| r.help());
            format!("{YELLOW}to the kernel: {reason}{PLAIN}  {DIM}{help}{PLAIN}")
        }
        "hand-off" => format!("handed to worker {reason}"),
        "held" => "waits for its next hop to be resolved, or for a SYN from inside".to_owned(),
        other => format!("end: {other}"),
    }
}
