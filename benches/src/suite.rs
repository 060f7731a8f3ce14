//! The table: which workloads are measured, in which order.
//!
//! The rows of a size take turns, run by run, so that a minute in which the machine is busy with something else falls on all
//! of them, the yardstick included.

use sluice_nat::{Direction, Kind};

use crate::checksum::FullChecksum;
use crate::lookup::Lookup;
use crate::machine::Machine;
use crate::meter::{Meter, Run, Workload};
use crate::report::{Report, Row};
use crate::rewrite::{DeltaAlone, RewriteAlone};
use crate::whole::{Parse, Whole};
use crate::yardstick::{Walk, Yardstick};
use crate::{Error, Population, SIZES};

/// Both directions.
pub const DIRECTIONS: [Direction; 2] = [Direction::Outbound, Direction::Inbound];
/// All kinds of translation.
pub const KINDS: [Kind; 2] = [Kind::Nat64, Kind::Nat44];

/// A workload on a population, and what it took so far.
struct Entry {
    name: String,
    workload: Box<dyn Workload<State = Population>>,
    runs: Vec<Run>,
    /// Whether the yardstick says anything about it.
    has_sessions: bool,
}

impl Entry {
    fn new(name: String, has_sessions: bool, workload: impl Workload<State = Population> + 'static) -> Self {
        Self { name, workload: Box::new(workload), runs: Vec::new(), has_sessions }
    }
}

/// Measures all rows `runs` times. `progress` hears what comes next.
///
/// # Errors
/// Of the engine, and [`Error::Lost`].
pub fn measure(runs: usize, core: Option<usize>, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    let mut report = Report::new(Machine::before(core), runs);
    let mut meter = Meter::new();
    progress("rewrite and checksums alone");
    alone(&mut report, &mut meter)?;
    for sessions in SIZES {
        progress(&format!("{sessions} sessions"));
        of_size(&mut report, &mut meter, sessions)?;
    }
    report.machine.after();
    Ok(report)
}

/// Workloads for which the number of sessions does not matter.
fn alone(report: &mut Report, meter: &mut Meter) -> Result<(), Error> {
    let mut groups = Vec::new();
    for kind in KINDS {
        let population = Population::new(kind, SIZES[0])?;
        let entries = DIRECTIONS.map(|direction| {
            Entry::new(population.row("rewrite", direction), false, RewriteAlone::new(direction))
        });
        let direction = Direction::Outbound;
        let parse = Entry::new(population.row("parse", direction), false, Parse::new(direction));
        groups.push((population, std::iter::once(parse).chain(entries).collect::<Vec<_>>()));
    }
    if let Some((population, entries)) = groups.first_mut() {
        let direction = Direction::Outbound;
        entries.push(Entry::new(population.row("delta", direction), false, DeltaAlone::new(direction)));
        for len in [46, 1500] {
            let name = format!("full checksum {len} bytes");
            entries.push(Entry::new(name, false, FullChecksum::new(len)));
        }
    }
    for _ in 0..report.method.runs {
        take_turns(&mut groups, meter)?;
    }
    let rows = groups.into_iter().flat_map(|(_, entries)| entries);
    report.rows.extend(rows.map(|entry| Row::new(entry.name, 0, &entry.runs)));
    Ok(())
}

/// All rows of a size.
fn of_size(report: &mut Report, meter: &mut Meter, sessions: u32) -> Result<(), Error> {
    let mut yardstick = Yardstick::new(sessions);
    let mut walk = Walk::default();
    let mut groups = Vec::new();
    for kind in KINDS {
        let population = Population::new(kind, sessions)?;
        let engine = DIRECTIONS
            .map(|direction| Entry::new(population.row("engine", direction), true, Lookup::new(direction)));
        let whole = DIRECTIONS.map(|direction| {
            Entry::new(population.row("engine + rewrite", direction), true, Whole::new(direction))
        });
        groups.push((population, engine.into_iter().chain(whole).collect()));
    }
    report.machine.see_memory();
    let mut reference = Vec::new();
    for _ in 0..report.method.runs {
        reference.push(meter.run(&mut walk, &mut yardstick)?);
        take_turns(&mut groups, meter)?;
    }
    let reference = Row::new("yardstick".into(), sessions, &reference);
    let least = reference.min;
    report.rows.push(reference.against(least));
    for entry in groups.into_iter().flat_map(|(_, entries)| entries) {
        let row = Row::new(entry.name, sessions, &entry.runs);
        report.rows.push(if entry.has_sessions { row.against(least) } else { row });
    }
    Ok(())
}

/// One run of each workload.
fn take_turns(groups: &mut [(Population, Vec<Entry>)], meter: &mut Meter) -> Result<(), Error> {
    for (population, entries) in groups {
        for entry in entries {
            entry.runs.push(meter.run(&mut *entry.workload, population)?);
        }
    }
    Ok(())
}
