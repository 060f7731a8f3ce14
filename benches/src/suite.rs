//! Which rows are measured, and in which order.
//!
//! The rows of a size take turns, run by run, so that a minute in which the machine is busy with something else falls on all
//! of them, the yardstick included.

mod engine;
mod slow;

use crate::Error;
use crate::machine::{Machine, available_kib};
use crate::meter::{Meter, Run};
use crate::population::Arrival;
use crate::report::{Method, Report, Row, Source, YARDSTICK};
use crate::yardstick::{Walk, Yardstick};

/// Sessions of the benchmarks: lines that fit the second-level cache, the third, and neither on most machines.
pub const SIZES: [u32; 4] = [1 << 10, 1 << 16, 1 << 20, 1 << 22];
/// One more, where there is so much memory.
pub const LARGE: u32 = 1 << 24;
/// Runs of its rows: filling its tables takes longer than measuring them.
const LARGE_RUNS: usize = 3;
/// KiB of memory for a thousand sessions of the engine's rows: four tables and the yardstick.
const KIB_A_THOUSAND: u64 = 900;

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Fewer rows.
    pub quick: bool,
    /// Runs of each row.
    pub runs: usize,
    /// Names of rows, or how they begin; `*` stands for anything. None: all rows.
    pub only: Option<String>,
    /// Core that the process is pinned to.
    pub core: Option<usize>,
}

impl Plan {
    /// Whether a row is wanted.
    pub fn wants(&self, bench: &str) -> bool {
        self.only.as_ref().is_none_or(|only| fits(only, bench))
    }

    /// Whether this row is wanted, or perhaps another of its family.
    fn wants_part_of(&self, bench: &str) -> bool {
        self.wants(bench)
            || self.only.as_ref().is_some_and(|only| only.split('.').next() == bench.split('.').next())
    }

    /// Whether rows are to be left out that nobody asked for by name.
    fn is_short(&self) -> bool {
        self.quick && self.only.is_none()
    }

    /// Runs of the engine's rows by size.
    fn sizes(&self) -> Vec<(u32, usize)> {
        let mut sizes: Vec<_> = SIZES.map(|size| (size, self.runs)).into();
        if !self.quick && enough_memory(LARGE) {
            sizes.push((LARGE, self.runs.min(LARGE_RUNS)));
        }
        sizes
    }

    /// Sizes of the rows about the longest turn. The largest takes minutes, so it has to be asked for by name.
    pub(crate) fn longest_sizes(&self) -> &'static [u32] {
        match (self.quick, self.only.is_some()) {
            (true, _) => &[1 << 17],
            (false, false) => &[1 << 20],
            (false, true) => &[1 << 20, 10_000_000],
        }
    }

    /// Sizes of the rows about new sessions.
    fn setup_sizes(&self) -> &'static [u32] {
        if self.is_short() { &SIZES[..3] } else { &SIZES }
    }
}

/// Whether there is memory for the engine's rows with so many sessions.
fn enough_memory(sessions: u32) -> bool {
    available_kib() > u64::from(sessions) / 1000 * KIB_A_THOUSAND
}

/// Whether a name begins as a pattern says.
pub fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => name.starts_with(pattern),
        Some((first, rest)) => name.strip_prefix(first).is_some_and(|name| {
            (0..=name.len()).filter_map(|at| name.get(at..)).any(|name| fits(rest, name))
        }),
    }
}

/// A measurement under way.
struct Suite<'a> {
    plan: &'a Plan,
    meter: Meter,
    report: Report,
    machine: Machine,
    progress: &'a mut dyn FnMut(&str),
}

/// Measures all rows of a plan. `progress` hears what comes next.
///
/// # Errors
/// Of the engine, [`Error::Lost`], [`Error::NoRow`].
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    let machine = Machine::before(plan.core);
    let report = Report::default();
    let mut suite = Suite { plan, meter: Meter::new(), report, machine, progress: &mut progress };
    // Memory first, while the process is small.
    suite.memory()?;
    suite.handoff()?;
    suite.alone()?;
    for (sessions, runs) in plan.sizes() {
        suite.engine(sessions, runs)?;
    }
    for &sessions in plan.setup_sizes() {
        suite.setup(sessions)?;
    }
    suite.ports()?;
    suite.expiry()?;
    suite.finish()
}

impl Suite<'_> {
    fn finish(mut self) -> Result<Report, Error> {
        if self.report.rows.is_empty() {
            return Err(Error::NoRow(self.plan.only.clone().unwrap_or_default()));
        }
        self.machine.after();
        self.report.sources.push(Source { machine: self.machine, method: Method::engine(self.plan.runs) });
        self.report.compare();
        Ok(self.report)
    }

    fn say(&mut self, what: &str) {
        (self.progress)(what);
    }

    fn add(&mut self, bench: impl Into<String>, sessions: u32, runs: &[Run]) {
        self.report.rows.push(Row::of_cycles(bench, sessions, runs));
    }

    /// Measures the yardstick for rows that do not take turns with it, unless it was measured already.
    fn yardstick(&mut self, sessions: u32) -> Result<(), Error> {
        if self.report.row(YARDSTICK, sessions).is_some() {
            return Ok(());
        }
        let (mut table, mut walk) = (Yardstick::new(sessions), Walk::new(Arrival::Uniform));
        let runs: Result<Vec<Run>, Error> =
            (0..self.plan.runs).map(|_| self.meter.run(&mut walk, &mut table)).collect();
        self.add(YARDSTICK, sessions, &runs?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_the_beginning_of_a_name() {
        let name = "engine.nat64.outbound.udp";
        for pattern in ["", "engine", "engine.nat64.outbound.udp", "engine.*.udp", "*outbound", "*"] {
            assert!(fits(pattern, name), "{pattern}");
        }
        for pattern in ["nat64", "engine.nat44", "engine.*.tcp", "engine.nat64.outbound.udp.zipf", "*x"] {
            assert!(!fits(pattern, name), "{pattern}");
        }
        assert!(Plan::default().wants("anything"));
    }

    #[test]
    fn a_plan_without_rows_is_an_error() {
        let plan = Plan { runs: 1, only: Some("nonsense".into()), ..Plan::default() };
        assert!(matches!(measure(&plan, |_| ()), Err(Error::NoRow(name)) if name == "nonsense"));
    }

    #[test]
    fn rows_that_were_asked_for_come_with_their_yardstick() {
        let plan = Plan { runs: 1, quick: true, only: Some("setup.nat44".into()), core: None };
        let mut small = Vec::new();
        let machine = Machine::default();
        let mut progress = |what: &str| small.push(what.to_owned());
        let mut suite = Suite {
            plan: &plan,
            meter: Meter::new(),
            report: Report::default(),
            machine,
            progress: &mut progress,
        };
        suite.setup(1024).unwrap();
        let report = suite.finish().unwrap();
        let names: Vec<_> = report.rows.iter().map(|row| row.bench.as_str()).collect();
        assert_eq!(names, [YARDSTICK, "setup.nat44"]);
        assert!(report.rows[1].ratio().is_some() && small.len() == 1);
    }
}
