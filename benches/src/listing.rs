//! What `sluice sessions` on a full table costs the worker beside it, and how fast it is.
//!
//! The worker runs on one core. On another runs, in turns, nothing, a loop that touches no memory, and the listings, each
//! started again when it ends. A round is one run of each workload beside each of them, so that a minute in which the machine
//! is busy falls on all; the order moves on by one a round. What a neighbour costs is said twice: as the median over the rounds
//! of its run by the run of the same round beside nothing, and as lower quartile by lower quartile of all runs, which says more
//! on a machine with other users: they only ever make a run slower.
//!
//! The loop is there because two cores may share more than memory: clock, power, on virtual machines the core itself. What
//! a listing costs over the loop is the cost of its reading.
//!
//! The sessions' last packets lie in the future of the region's clock, so that all are listed as idle for 0 seconds.

use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use sluice_nat::Direction;

use crate::flows::DIRECTIONS;
use crate::gateway::Gateway;
use crate::lookup::Lookup;
use crate::machine::Machine;
use crate::meter::{Meter, PACKETS_PER_RUN, RING, Run, Workload};
use crate::reader::{Form, Reader, keep_computing};
use crate::report::Spread;
use crate::whole::Whole;
use crate::{Error, Population};

/// What runs on the core beside the worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Nothing,
    Loop,
    Listing(Form),
}

/// All of them, that to which the others are compared first.
const NEIGHBOURS: [Neighbour; 5] = [
    Neighbour::Nothing,
    Neighbour::Loop,
    Neighbour::Listing(Form::Table),
    Neighbour::Listing(Form::Json),
    Neighbour::Listing(Form::Count),
];

impl Neighbour {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Loop => "a loop without memory".to_owned(),
            Self::Listing(form) => format!("sluice {}", form.arguments().join(" ")),
        }
    }
}

/// What a workload took beside a neighbour.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The workload.
    pub workload: String,
    /// What ran on the other core.
    pub beside: String,
    /// Cycles a packet of each round.
    pub runs: Vec<f64>,
    /// Of [`Cost::runs`].
    pub cycles: Spread,
    /// Of each round: its run by the run beside nothing.
    pub ratio: Spread,
    /// Lower quartile of [`Cost::cycles`] by that beside nothing.
    pub ratio_quarter: f64,
    /// Share of rings that were interrupted and left out.
    pub interrupted: f64,
}

/// How fast a listing was, in milliseconds from its start.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Its form.
    pub form: Form,
    /// Sessions that it listed, each time.
    pub listed: u64,
    /// Bytes that it wrote.
    pub bytes: u64,
    /// Until its first line was read from a pipe; the worker rests.
    pub first_line: Spread,
    /// Until the end of the pipe; the worker rests.
    pub end: Spread,
    /// Until its end, its output going nowhere; the worker works, except perhaps during the end of the last of a round.
    pub end_beside_worker: Spread,
    /// Listings beside the worker.
    pub listings_beside_worker: usize,
}

/// All results.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// Core of the listings.
    pub reader_core: usize,
    /// Live sessions, and room for them.
    pub sessions: u32,
    /// Packets of a run.
    pub packets_per_run: usize,
    /// Rounds.
    pub rounds: usize,
    /// The worker's side.
    pub costs: Vec<Cost>,
    /// The reader's side.
    pub speeds: Vec<Speed>,
}

/// What is measured.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Where the run directory is made.
    pub directory: &'a Path,
    /// Live sessions.
    pub sessions: u32,
    /// Rounds.
    pub rounds: usize,
    /// Core of the worker, which the calling thread is on.
    pub core: Option<usize>,
    /// Who lists.
    pub reader: &'a Reader,
}

/// Measures. `progress` hears what comes next.
///
/// # Errors
/// Of engine, run directory and reader, and [`Error::Lost`].
pub fn measure(plan: &Plan<'_>, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    let mut machine = Machine::before(plan.core);
    progress(&format!("{} sessions are made", plan.sessions));
    let mut gateway = Gateway::new(plan.directory, plan.sessions)?;
    machine.see_memory();
    progress("time of a listing");
    let mut timed = Vec::new();
    for _ in 0..plan.rounds {
        for form in Form::ALL {
            timed.push((form, plan.reader.list(gateway.path(), form, plan.sessions.into())?));
        }
    }
    let mut work = Work::new(&gateway.population);
    let mut beside = NEIGHBOURS.map(|neighbour| Beside { neighbour, runs: Vec::new(), listings: Vec::new() });
    for round in 0..plan.rounds {
        progress(&format!("cycles a packet, round {} of {}", round + 1, plan.rounds));
        for turn in 0..beside.len() {
            let place = (turn + round) % beside.len();
            beside[place].round(plan.reader, &mut gateway, &mut work)?;
        }
    }
    machine.after();
    let speeds = Form::ALL.map(|form| {
        let of = |pick: fn(&crate::reader::Listing) -> Duration| -> Vec<Duration> {
            timed.iter().filter(|(other, _)| *other == form).map(|(_, listing)| pick(listing)).collect()
        };
        let busy = beside.iter().find(|beside| beside.neighbour == Neighbour::Listing(form));
        let busy = busy.map(|beside| beside.listings.as_slice()).unwrap_or_default();
        Speed {
            form,
            listed: plan.sessions.into(),
            bytes: timed.iter().find(|(other, _)| *other == form).map_or(0, |(_, listing)| listing.bytes),
            first_line: milliseconds(&of(|listing| listing.first_line)),
            end: milliseconds(&of(|listing| listing.end)),
            end_beside_worker: milliseconds(busy),
            listings_beside_worker: busy.len(),
        }
    });
    Ok(Report {
        machine,
        reader_core: plan.reader.core.id,
        sessions: plan.sessions,
        packets_per_run: PACKETS_PER_RUN,
        rounds: plan.rounds,
        costs: costs(&work.names, &beside),
        speeds: speeds.into(),
    })
}

/// The workloads, and the clock that they share.
struct Work {
    meter: Meter,
    names: Vec<String>,
    workloads: Vec<Box<dyn Workload<State = Population>>>,
}

impl Work {
    fn new(population: &Population) -> Self {
        let engine = Direction::Outbound;
        let whole = DIRECTIONS.map(|direction| format!("engine.whole.{}", population.flows.name(direction)));
        let names = std::iter::once(format!("engine.lookup.{}", population.flows.name(engine)))
            .chain(whole)
            .collect();
        let workloads: [Box<dyn Workload<State = Population>>; 3] = [
            Box::new(Lookup::new(engine)),
            Box::new(Whole::new(DIRECTIONS[0])),
            Box::new(Whole::new(DIRECTIONS[1])),
        ];
        Self { meter: Meter::new(), names, workloads: workloads.into() }
    }

    /// One run of each.
    fn runs(&mut self, population: &mut Population) -> Result<Vec<Run>, Error> {
        self.workloads.iter_mut().map(|workload| self.meter.run(&mut **workload, population)).collect()
    }
}

/// A neighbour, and what was measured beside it.
struct Beside {
    neighbour: Neighbour,
    /// Of each round, the run of each workload.
    runs: Vec<Vec<Run>>,
    /// What its listings took.
    listings: Vec<Duration>,
}

impl Beside {
    fn round(&mut self, reader: &Reader, gateway: &mut Gateway, work: &mut Work) -> Result<(), Error> {
        let stop = AtomicBool::new(false);
        let run = gateway.path().to_owned();
        let keep_busy = || match self.neighbour {
            Neighbour::Nothing => Ok(Vec::new()),
            Neighbour::Loop => {
                keep_computing(reader.core, &stop);
                Ok(Vec::new())
            }
            Neighbour::Listing(form) => reader.keep_listing(&run, form, &stop),
        };
        let (runs, listings) = thread::scope(|scope| {
            let busy = scope.spawn(keep_busy);
            let runs = work.runs(&mut gateway.population);
            stop.store(true, Ordering::Relaxed);
            (runs, busy.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        self.runs.push(runs?);
        self.listings.extend(listings?);
        Ok(())
    }

    /// Cycles a packet of a workload, round by round.
    fn of(&self, workload: usize) -> Vec<f64> {
        self.runs.iter().map(|round| round[workload].cycles_per_packet).collect()
    }
}

fn costs(workloads: &[String], beside: &[Beside; NEIGHBOURS.len()]) -> Vec<Cost> {
    let mut costs = Vec::new();
    for (place, workload) in workloads.iter().enumerate() {
        let alone = beside[0].of(place);
        for neighbour in beside {
            let runs = neighbour.of(place);
            let ratios: Vec<f64> = runs.iter().zip(&alone).map(|(with, without)| with / without).collect();
            let interrupted: usize = neighbour.runs.iter().map(|round| round[place].interrupted).sum();
            let rings = PACKETS_PER_RUN / RING * runs.len().max(1);
            let cycles = Spread::of(&runs);
            costs.push(Cost {
                workload: workload.clone(),
                beside: neighbour.neighbour.name(),
                cycles,
                ratio: Spread::of(&ratios),
                ratio_quarter: cycles.quarter / Spread::of(&alone).quarter,
                interrupted: interrupted as f64 / rings as f64,
                runs,
            });
        }
    }
    costs
}

fn milliseconds(times: &[Duration]) -> Spread {
    Spread::of(&times.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "method   {} sessions, {} rounds of {} packets beside each neighbour, which is on core {}; ratios to the runs beside \
             nothing: of the lower quartiles, and median over the rounds\n",
            self.sessions, self.rounds, self.packets_per_run, self.reader_core,
        )?;
        writeln!(
            f,
            "{:32}  {:24}  {:>7} {:>7} {:>7} {:>7}  {:>7} {:>7}  {:>7}",
            "workload", "beside", "min", "quarter", "median", "max", "quarter", "rounds", "cut off"
        )?;
        for (number, cost) in self.costs.iter().enumerate() {
            if number > 0 && number % NEIGHBOURS.len() == 0 {
                writeln!(f)?;
            }
            let cycles = cost.cycles;
            writeln!(
                f,
                "{:32}  {:24}  {:>7.1} {:>7.1} {:>7.1} {:>7.1}  {:>7.3} {:>7.3}  {:>6.2}%",
                cost.workload,
                cost.beside,
                cycles.min,
                cycles.quarter,
                cycles.median,
                cycles.max,
                cost.ratio_quarter,
                cost.ratio.median,
                cost.interrupted * 100.0,
            )?;
        }
        writeln!(f, "\nmilliseconds, as median (least - most)")?;
        let spread = |spread: Spread| format!("{:.1} ({:.1} - {:.1})", spread.median, spread.min, spread.max);
        writeln!(
            f,
            "{:24}  {:>9} {:>11}  {:>24}  {:>28}  {:>28}",
            "command", "sessions", "bytes", "first line", "end", "end beside the worker"
        )?;
        for speed in &self.speeds {
            writeln!(
                f,
                "{:24}  {:>9} {:>11}  {:>24}  {:>28}  {:>28}",
                Neighbour::Listing(speed.form).name(),
                speed.listed,
                speed.bytes,
                spread(speed.first_line),
                spread(speed.end),
                spread(speed.end_beside_worker),
            )?;
        }
        Ok(())
    }
}
