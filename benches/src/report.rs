//! Results, as a table for people and as JSON for programs.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::machine::Machine;
use crate::meter::{BATCH, PACKETS_PER_RUN, RING, Run};
use crate::yardstick::{LOAD, SLOTS};

/// Version of the JSON form; it grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Method {
    /// Packets handled together.
    pub batch: usize,
    /// Packets between two readings of the counter.
    pub ring: usize,
    /// Packets of a run.
    pub packets_per_run: usize,
    /// Runs of each row; the rows of a size take turns.
    pub runs: usize,
    /// Slots of a bucket of the yardstick.
    pub yardstick_slots: usize,
    /// Slots of a bucket in use, on average.
    pub yardstick_load: usize,
}

impl Method {
    /// The method with a number of runs.
    pub fn new(runs: usize) -> Self {
        Self {
            batch: BATCH,
            ring: RING,
            packets_per_run: PACKETS_PER_RUN,
            runs,
            yardstick_slots: SLOTS,
            yardstick_load: LOAD,
        }
    }
}

/// Least, median and most of some figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The lower quartile: what is left of other users of the machine is less in it than in the median.
    pub quarter: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of figures in any order; of none, it is no number.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            at(middle)
        } else {
            (at(middle.saturating_sub(1)) + at(middle)) / 2.0
        };
        let last = sorted.len().saturating_sub(1);
        Self { min: at(0), quarter: at(last / 4), median, max: at(last) }
    }
}

/// What one workload took.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The workload.
    pub name: String,
    /// Sessions in the tables.
    pub sessions: u32,
    /// Cycles a packet of each run, in the order they were made.
    pub runs: Vec<f64>,
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub max: f64,
    /// Share of rings that were interrupted and left out.
    pub interrupted: f64,
    /// Least of the yardstick with as many sessions, in the same process; none for workloads without sessions.
    pub yardstick: Option<f64>,
    /// [`Row::median`] by [`Row::yardstick`].
    pub ratio: Option<f64>,
    /// [`Row::min`] by [`Row::yardstick`]: what it would be on a quiet machine.
    pub ratio_min: Option<f64>,
}

impl Row {
    /// A row from its runs.
    pub fn new(name: String, sessions: u32, runs: &[Run]) -> Self {
        let figures: Vec<f64> = runs.iter().map(|run| run.cycles_per_packet).collect();
        let Spread { min, median, max, .. } = Spread::of(&figures);
        let interrupted: usize = runs.iter().map(|run| run.interrupted).sum();
        let rings = PACKETS_PER_RUN / RING * runs.len().max(1);
        Self {
            name,
            sessions,
            min,
            median,
            max,
            interrupted: interrupted as f64 / rings as f64,
            runs: figures,
            yardstick: None,
            ratio: None,
            ratio_min: None,
        }
    }

    /// Compares with the yardstick.
    #[must_use]
    pub fn against(mut self, yardstick: f64) -> Self {
        self.yardstick = Some(yardstick);
        self.ratio = Some(self.median / yardstick);
        self.ratio_min = Some(self.min / yardstick);
        self
    }
}

/// All results of a process.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// On what.
    pub machine: Machine,
    /// How.
    pub method: Method,
    /// Results.
    pub rows: Vec<Row>,
}

impl Report {
    /// A report without results.
    pub fn new(machine: Machine, runs: usize) -> Self {
        Self { schema: SCHEMA, machine, method: Method::new(runs), rows: Vec::new() }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtual_machine { "virtual machine" } else { "bare metal" };
        writeln!(f, "cpu      {}, {} CPUs, {kind}, {}", self.cpu, self.cpus, self.caches.join(", "))?;
        let core = self.core.map_or_else(|| "not pinned".to_owned(), |core| format!("pinned to core {core}"));
        writeln!(f, "counter  {} at {:.0} MHz, {core}", self.unit, self.unit_mhz)?;
        writeln!(
            f,
            "memory   pages of {} KiB, huge pages {}: {} of {} MiB on them",
            self.page_size / 1024,
            self.huge_pages,
            self.huge_kib / 1024,
            self.anonymous_kib / 1024,
        )?;
        writeln!(
            f,
            "system   Linux {}, load {:.1} before, {:.1} after",
            self.kernel, self.load[0], self.load[1]
        )?;
        let flags = if self.rustflags.is_empty() { "none" } else { self.rustflags };
        write!(f, "build    {}, {}, opt-level {}, flags: {flags}", self.rustc, self.target, self.opt_level)?;
        if self.debug_assertions {
            write!(f, "\n         WITH DEBUG ASSERTIONS: these numbers mean nothing, build with --release")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        let method = &self.method;
        writeln!(
            f,
            "method   {} runs of {} packets, in batches of {}; {} a packet; ratio: median by the least of the yardstick\n",
            method.runs, method.packets_per_run, method.batch, self.machine.unit,
        )?;
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(8);
        writeln!(
            f,
            "{:>8}  {:width$}  {:>7} {:>7} {:>7}  {:>9} {:>6} {:>6}  {:>7}",
            "sessions", "workload", "min", "median", "max", "yardstick", "ratio", "best", "cut off"
        )?;
        let mut last = None;
        for row in &self.rows {
            if last.is_some_and(|sessions| sessions != row.sessions) {
                writeln!(f)?;
            }
            last = Some(row.sessions);
            let optional = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let mut line = String::new();
            write!(
                line,
                "{:>8}  {:width$}  {:>7.1} {:>7.1} {:>7.1}  {:>9} {:>6} {:>6}  {:>6.2}%",
                row.sessions,
                row.name,
                row.min,
                row.median,
                row.max,
                optional(row.yardstick, 1),
                optional(row.ratio, 2),
                optional(row.ratio_min, 2),
                row.interrupted * 100.0,
            )?;
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(figures: &[f64]) -> Vec<Run> {
        figures.iter().map(|&cycles_per_packet| Run { cycles_per_packet, interrupted: 25 }).collect()
    }

    #[test]
    fn a_row_says_least_median_most_and_ratio() {
        let row = Row::new("x".into(), 1024, &runs(&[30.0, 10.0, 20.0])).against(8.0);
        assert_eq!((row.min, row.median, row.max), (10.0, 20.0, 30.0));
        assert_eq!((row.ratio, row.ratio_min), (Some(2.5), Some(1.25)));
        assert_eq!(row.interrupted, 0.01);
        assert_eq!(row.runs, [30.0, 10.0, 20.0]);
        assert_eq!(Row::new("x".into(), 1, &runs(&[1.0, 2.0])).median, 1.5);
    }

    #[test]
    fn the_json_has_what_a_reader_needs() {
        let mut report = Report::new(Machine::before(Some(1)), 3);
        report.rows.push(Row::new("yardstick".into(), 1024, &runs(&[1.0, 2.0, 3.0])).against(1.0));
        report.rows.push(Row::new("checksum".into(), 0, &runs(&[4.0, 5.0, 6.0])));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["machine"]["core"], 1);
        assert!(json["machine"]["cpu"].is_string() && json["machine"]["unit_mhz"].is_f64());
        assert_eq!(json["method"]["batch"], 32);
        assert_eq!(json["method"]["packets_per_run"], 2_560_000);
        assert_eq!(
            (&json["method"]["yardstick_slots"], &json["method"]["yardstick_load"]),
            (&10.into(), &8.into())
        );
        let row = &json["rows"][0];
        assert_eq!(row["name"], "yardstick");
        assert_eq!(row["sessions"], 1024);
        assert_eq!(row["runs"].as_array().unwrap().len(), 3);
        assert_eq!((&row["min"], &row["median"], &row["max"]), (&1.0.into(), &2.0.into(), &3.0.into()));
        assert_eq!(row["ratio"], 2.0);
        assert!(json["rows"][1]["ratio"].is_null() && json["rows"][1]["yardstick"].is_null());
    }

    #[test]
    fn the_table_has_a_line_a_row_under_its_heading() {
        let mut report = Report::new(Machine::default(), 1);
        report.rows.push(Row::new("engine NAT64 outbound".into(), 1024, &runs(&[45.0])).against(9.0));
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        let heading = lines.iter().position(|line| line.starts_with("sessions")).unwrap();
        assert_eq!(lines.len(), heading + 2);
        assert_eq!(lines[heading].len(), lines[heading + 1].len());
        assert!(
            lines[heading + 1].contains("engine NAT64 outbound") && lines[heading + 1].contains(" 5.00 ")
        );
    }
}
