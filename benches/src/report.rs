//! Results, and the files that hold them: JSON lines, so that several programs can add to one file.
//!
//! A line with `machine` and `method` says where the lines behind it come from. Every other line is a [`Row`]:
//!
//! ```json
//! {"bench":"engine.nat64.outbound.udp","sessions":1024,"unit":"cycles","cycles":61.5,"min":60.9,"max":62.0,"runs":[…]}
//! ```

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::machine::Machine;
use crate::meter::{BATCH, PACKETS_PER_RUN, RING, Run};
use crate::yardstick::{LOAD, SLOTS};

/// The row that others are compared with.
pub const YARDSTICK: &str = "engine.yardstick";
/// Unit of most rows: cycles of the time stamp counter a packet, or an operation.
pub const CYCLES: &str = "cycles";

/// How it was measured. What a program does not say is left empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Method {
    /// Which program, or part of one.
    pub part: String,
    /// What a reader should know, in a sentence or two.
    pub text: String,
    /// Runs of each row.
    pub runs: usize,
    /// Packets handled together.
    pub batch: usize,
    /// Packets between two readings of the counter.
    pub ring: usize,
    /// Packets of a run.
    pub packets_per_run: usize,
    /// Slots of a bucket of the yardstick, and how many of them are in use on average.
    pub yardstick_slots: usize,
    /// See [`Method::yardstick_slots`].
    pub yardstick_load: usize,
}

impl Method {
    /// The method of the engine's part, with a number of runs.
    pub fn engine(runs: usize) -> Self {
        let text = format!(
            "Packets come in rings of {RING} and are handled in batches of {BATCH} on one thread; a ring is filled outside of the \
             measured time, and rings that the kernel interrupted are left out. The coarse clock moves once a run. The rows of a \
             size take turns, run by run. A ratio is the median by the least of the yardstick with as many sessions, in the same \
             process."
        );
        Self {
            part: "engine".into(),
            text,
            runs,
            batch: BATCH,
            ring: RING,
            packets_per_run: PACKETS_PER_RUN,
            yardstick_slots: SLOTS,
            yardstick_load: LOAD,
        }
    }
}

/// Where rows come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// On what.
    pub machine: Machine,
    /// How.
    pub method: Method,
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

/// A result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Line", into = "Line")]
pub struct Row {
    /// Its name, with dots: the family first.
    pub bench: String,
    /// Sessions in the tables; 0: their number does not matter.
    pub sessions: u32,
    /// [`CYCLES`], or another unit.
    pub unit: String,
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// The figure of each run, in the order they were made.
    pub runs: Vec<f64>,
    /// Share of rings that were interrupted and left out.
    pub interrupted: Option<f64>,
    /// Least of the yardstick with as many sessions.
    pub yardstick: Option<f64>,
    /// What a reader has to know of this figure.
    pub note: Option<String>,
}

/// A row as it is written: figures in cycles are called `cycles`, all others `value`.
#[derive(Clone, Serialize, Deserialize)]
struct Line {
    bench: String,
    #[serde(default)]
    sessions: u32,
    #[serde(default = "cycles")]
    unit: String,
    #[serde(alias = "cycles", skip_serializing)]
    value: f64,
    #[serde(rename = "cycles", skip_deserializing, skip_serializing_if = "Option::is_none")]
    written_cycles: Option<f64>,
    #[serde(rename = "value", skip_deserializing, skip_serializing_if = "Option::is_none")]
    written_value: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    runs: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    yardstick: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    ratio_min: Option<f64>,
}

fn cycles() -> String {
    CYCLES.into()
}

impl From<Row> for Line {
    fn from(row: Row) -> Self {
        let in_cycles = row.unit == CYCLES;
        Self {
            ratio: row.ratio(),
            ratio_min: row.ratio_min(),
            bench: row.bench,
            sessions: row.sessions,
            unit: row.unit,
            value: row.median,
            written_cycles: in_cycles.then_some(row.median),
            written_value: (!in_cycles).then_some(row.median),
            min: Some(row.min),
            max: Some(row.max),
            runs: row.runs,
            interrupted: row.interrupted,
            yardstick: row.yardstick,
            note: row.note,
        }
    }
}

impl From<Line> for Row {
    fn from(line: Line) -> Self {
        Self {
            bench: line.bench,
            sessions: line.sessions,
            unit: line.unit,
            median: line.value,
            min: line.min.unwrap_or(line.value),
            max: line.max.unwrap_or(line.value),
            runs: line.runs,
            interrupted: line.interrupted,
            yardstick: line.yardstick,
            note: line.note,
        }
    }
}

impl Row {
    /// A row from the figures of its runs.
    pub fn new(bench: impl Into<String>, sessions: u32, unit: &str, runs: Vec<f64>) -> Self {
        let Spread { min, median, max, .. } = Spread::of(&runs);
        let (bench, unit) = (bench.into(), unit.to_owned());
        Self { bench, sessions, unit, median, min, max, runs, interrupted: None, yardstick: None, note: None }
    }

    /// A row of cycles a packet, or an operation.
    pub fn of_cycles(bench: impl Into<String>, sessions: u32, runs: &[Run]) -> Self {
        let cut: usize = runs.iter().map(|run| run.interrupted).sum();
        let rings: usize = runs.iter().map(|run| run.rings).sum();
        let figures = runs.iter().map(|run| run.cycles_per_packet).collect();
        Self {
            interrupted: Some(cut as f64 / rings.max(1) as f64),
            ..Self::new(bench, sessions, CYCLES, figures)
        }
    }

    /// Median by yardstick.
    pub fn ratio(&self) -> Option<f64> {
        self.yardstick.map(|yardstick| self.median / yardstick)
    }

    /// Least by yardstick: what it would be on a quiet machine.
    pub fn ratio_min(&self) -> Option<f64> {
        self.yardstick.map(|yardstick| self.min / yardstick)
    }

    /// The first part of its name.
    pub fn family(&self) -> &str {
        self.bench.split('.').next().unwrap_or_default()
    }
}

/// Results of one program or of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Where they come from.
    pub sources: Vec<Source>,
    /// Results.
    pub rows: Vec<Row>,
}

impl Report {
    /// Reads files of results, one after the other. Rows whose program did not measure the yardstick are compared with the one that
    /// another did.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Line`].
    pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let mut report = Self::default();
        for path in paths {
            let path = path.as_ref();
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Error::Read { path: path.into(), error })?;
            for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                report.add(line).map_err(|error| Error::Line { path: path.into(), line: at + 1, error })?;
            }
        }
        report.compare();
        Ok(report)
    }

    fn add(&mut self, line: &str) -> Result<(), serde_json::Error> {
        let value: serde_json::Value = serde_json::from_str(line)?;
        if value.get("machine").is_some() {
            let source = serde_json::from_value(value)?;
            self.sources.push(source);
        } else {
            self.rows.push(serde_json::from_value(value)?);
        }
        Ok(())
    }

    /// Gives every row in cycles that has sessions its yardstick, if one was measured for as many.
    pub fn compare(&mut self) {
        let least: Vec<(u32, f64)> = self
            .rows
            .iter()
            .filter(|row| row.bench == YARDSTICK)
            .map(|row| (row.sessions, row.min))
            .collect();
        for row in self.rows.iter_mut().filter(|row| row.unit == CYCLES && row.yardstick.is_none()) {
            row.yardstick = least.iter().find(|(sessions, _)| *sessions == row.sessions).map(|found| found.1);
        }
    }

    /// Writes all of it to a file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::Write { path: path.into(), error };
        let mut text = Vec::new();
        for source in &self.sources {
            serde_json::to_writer(&mut text, source).map_err(|error| failed(error.into()))?;
            text.push(b'\n');
        }
        for row in &self.rows {
            serde_json::to_writer(&mut text, row).map_err(|error| failed(error.into()))?;
            text.push(b'\n');
        }
        std::fs::File::create(path).and_then(|mut file| file.write_all(&text)).map_err(failed)
    }

    /// A row by name and sessions.
    pub fn row(&self, bench: &str, sessions: u32) -> Option<&Row> {
        self.rows.iter().find(|row| row.bench == bench && row.sessions == sessions)
    }
}

#[cfg(test)]
mod tests;
