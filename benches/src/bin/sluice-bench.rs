//! Prints what a packet costs, beside the yardstick of the same run.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sluice_benches::{Error, Report, suite};

/// Runs of a row: enough for the least of them to be a quiet one.
const RUNS: usize = 21;
const QUICK_RUNS: usize = 5;

/// Measures the translation engine in cycles a packet, beside the memory-limit yardstick of the same run
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Five runs of each row instead of twenty-one
    #[arg(long)]
    quick: bool,
    /// Also write all results to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Core to run on [default: the last]
    #[arg(long, value_name = "NUMBER")]
    core: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let core = pin(arguments.core)?;
    let runs = if arguments.quick { QUICK_RUNS } else { RUNS };
    let report = suite::measure(runs, core, |what| eprintln!("measuring: {what}"))?;
    print(&report);
    match &arguments.json {
        Some(path) => write(&report, path),
        None => Ok(()),
    }
}

/// Stays on one core, so that its caches are the ones that fill. Where the system does not allow it, goes on without.
fn pin(wanted: Option<usize>) -> Result<Option<usize>, Error> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = match wanted {
        None => cores.last(),
        Some(core) => {
            let found = cores.iter().find(|id| id.id == core);
            Some(found.ok_or(Error::Core { core, found: cores.len() })?)
        }
    };
    Ok(core.filter(|&&core| core_affinity::set_for_current(core)).map(|core| core.id))
}

/// Prints the table. Whoever closes the pipe has seen enough.
fn print(report: &Report) {
    let _ = write!(std::io::stdout().lock(), "{report}");
}

fn write(report: &Report, path: &PathBuf) -> Result<(), Error> {
    let written = serde_json::to_vec_pretty(report)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(path, bytes));
    written.map_err(|error| Error::Write { path: path.clone(), error })
}
