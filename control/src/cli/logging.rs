//! What `sluice status` and `sluice counters` show of the log: collectors, and what was lost on the way to them.

use super::CliError;
use super::output::{DIM, GREEN, Output, PLAIN, RED, Table, YELLOW, grouped};
use crate::api::{CollectorStatus, LoggingStatus};

/// A row a collector, and what went wrong last; nothing without collectors.
pub(super) fn write_collectors(log: &LoggingStatus, out: &mut Output) -> Result<(), CliError> {
    if log.collectors.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "collector",
        "server",
        "state",
        ">records",
        ">messages",
        ">waiting",
        ">queue full",
        ">not sent",
    ]);
    for collector in &log.collectors {
        let name = match collector.kind.as_str() {
            "ipfix" => format!("ipfix/{}", collector.transport),
            other => other.to_owned(),
        };
        table.row(vec![
            name,
            collector.server.to_string(),
            state(collector),
            grouped(collector.records),
            grouped(collector.messages),
            grouped(collector.waiting),
            grouped(collector.lost_queue),
            grouped(collector.lost_send),
        ]);
    }
    table.write(out)?;
    for collector in &log.collectors {
        if let Some(error) = &collector.error {
            out.line(format!("{DIM}last trouble with {}: {error}{PLAIN}", collector.server))?;
        }
    }
    Ok(())
}

fn state(collector: &CollectorStatus) -> String {
    match (collector.connected, collector.transport.as_str()) {
        (true, "tcp") => format!("{GREEN}connected{PLAIN}"),
        (true, _) => format!("{GREEN}sending{PLAIN}"),
        (false, _) => format!("{RED}no connection{PLAIN}"),
    }
}

/// Events that never reached the daemon, and limits that were not logged each time they were reached.
pub(super) fn write_losses(
    (lost, suppressed): (u64, u64),
    log: Option<&LoggingStatus>,
    out: &mut Output,
) -> Result<(), CliError> {
    if lost > 0 {
        out.line(format!(
            "{YELLOW}{} events were lost{PLAIN}: the ring from the data plane to control was full",
            grouped(lost)
        ))?;
    }
    let kept_back = suppressed + log.map_or(0, |log| log.limits_suppressed);
    if kept_back > 0 {
        out.line(format!(
            "{} refusals at limits were not logged, because the same limit had just been",
            grouped(kept_back)
        ))?;
    }
    Ok(())
}
