//! `sluice counters`: what was counted, by name, with its meaning.

use std::thread;
use std::time::Duration;

use clap::Args;
use sluice_packet::reason::{DropReason, PuntReason};
use sluice_shm::{Counter, CountersSnapshot, Observer};

use super::logging::write_collectors;
use super::output::{BOLD, DIM, Output, PLAIN, Table, grouped};
use super::status::{ask_daemon, write_accounting};
use super::{CliError, Global};
use crate::api::LoggingStatus;
use crate::daemon::thread_name;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice counters\n  sluice counters --worker 0 --all\n  sluice counters --watch            (what was counted in each second)"
)]
pub(crate) struct Counters {
    /// Only this worker; the numbers after the workers' are the main and the punt thread
    #[arg(long, value_name = "N")]
    worker: Option<usize>,
    /// Show counters that are zero as well
    #[arg(long)]
    all: bool,
    /// Show what was counted since the last time, every second
    #[arg(long)]
    watch: bool,
}

impl Counters {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let mut observer = global.observe()?;
        let mut before = self.read(&observer)?;
        if !self.watch {
            return self.show(&before, &before, &observer, global, out);
        }
        loop {
            thread::sleep(Duration::from_secs(1));
            let epoch = observer.info().epoch;
            // A dataplane that was restarted has a new region.
            observer = global.observe()?;
            let now = self.read(&observer)?;
            let since = if observer.info().epoch == epoch { now.since(&before) } else { now.clone() };
            if !out.json {
                out.line(format!("{BOLD}in the last second{PLAIN}"))?;
            }
            self.show(&since, &now, &observer, global, out)?;
            out.line("")?;
            out.flush()?;
            before = now;
        }
    }

    fn read(&self, observer: &Observer) -> Result<CountersSnapshot, CliError> {
        let mut threads = observer.counters();
        match self.worker {
            None => Ok(threads.into_iter().sum()),
            Some(n) if n < threads.len() => Ok(threads.swap_remove(n)),
            Some(n) => Err(CliError::Nothing(format!(
                "there is no thread {n}: the dataplane has workers 0 to {}, the main thread {} and the punt thread {}",
                observer.workers() - 1,
                observer.workers(),
                observer.workers() + 1
            ))),
        }
    }

    /// The daemon's log, which is no thread's: its counts are totals, with `--watch` as well.
    fn log(&self, global: &Global) -> Option<LoggingStatus> {
        if self.worker.is_some() {
            return None;
        }
        ask_daemon(&global.run()).map(|status| status.logging)
    }

    /// `shown` may be a difference; the accounting is of everything so far.
    fn show(
        &self,
        shown: &CountersSnapshot,
        total: &CountersSnapshot,
        observer: &Observer,
        global: &Global,
        out: &mut Output,
    ) -> Result<(), CliError> {
        let (arrived, ended) = total.balance();
        if out.json {
            let log = self.log(global).map(|log| serde_json::json!(log));
            let value = serde_json::json!({
                "log": log,
                "thread": self.worker.map(|n| thread_name(n, observer.workers())),
                "counters": shown,
                "accounting": { "arrived": arrived, "ended": ended, "balanced": arrived == ended },
            });
            return if self.watch { out.json_line(&value) } else { out.json(&value) };
        }
        let general = Counter::ALL.iter().map(|c| (c.name(), shown.get(*c), c.help()));
        let drops = DropReason::ALL.iter().map(|r| (r.name(), shown.drops(*r), r.help()));
        let punts = PuntReason::ALL.iter().map(|r| (r.name(), shown.punts(*r), r.help()));
        self.section("counter", general, out)?;
        self.section("drop", drops, out)?;
        self.section("punt", punts, out)?;
        if let Some(log) = self.log(global).filter(|log| !log.collectors.is_empty()) {
            write_collectors(&log, out)?;
            out.line("")?;
        }
        match self.worker {
            None => write_accounting(arrived, ended, out),
            Some(n) => {
                out.text(format!("{} alone: ", thread_name(n, observer.workers())))?;
                write_accounting(arrived, ended, out)
            }
        }
    }

    fn section<'a>(
        &self,
        head: &str,
        rows: impl Iterator<Item = (&'a str, u64, &'a str)>,
        out: &mut Output,
    ) -> Result<(), CliError> {
        let mut table = Table::new(&[head, ">value", "meaning"]);
        for (name, value, help) in rows.filter(|(_, value, _)| self.all || *value != 0) {
            table.row(vec![name.to_owned(), grouped(value), format!("{DIM}{help}{PLAIN}")]);
        }
        if table.is_empty() {
            return Ok(());
        }
        table.write(out)?;
        out.line("")
    }
}
