//! Prints what a packet costs, beside the yardstick of the same run; or what listing the sessions costs.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use core_affinity::CoreId;
use serde::Serialize;
use sluice_benches::listing::{self, Plan};
use sluice_benches::reader::Reader;
use sluice_benches::{Error, SIZES, suite};

/// Runs of a row: enough for the least of them to be a quiet one.
const RUNS: usize = 21;
const QUICK_RUNS: usize = 5;

/// Measures the translation engine in cycles a packet, beside the memory-limit yardstick of the same run
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Five runs of each row instead of twenty-one
    #[arg(long, global = true)]
    quick: bool,
    /// Also write all results to a file
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Core to run on [default: the last]
    #[arg(long, value_name = "NUMBER", global = true)]
    core: Option<usize>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Measures what `sluice sessions` costs the worker beside it, and how fast it is
    #[command(after_help = "Example:\n  cargo build --release -p sluice-benches -p sluice-control\n  \
        target/release/sluice-bench sessions --json sessions.json")]
    Sessions(Sessions),
}

#[derive(Args)]
struct Sessions {
    /// Live sessions of the table, which is full
    #[arg(long, value_name = "N", default_value_t = SIZES[2], value_parser = clap::value_parser!(u32).range(4096..))]
    sessions: u32,
    /// The reader [default: `sluice` beside this program]
    #[arg(long, value_name = "PATH")]
    sluice: Option<PathBuf>,
    /// Core of the reader [default: the first that is not the worker's]
    #[arg(long, value_name = "NUMBER")]
    reader_core: Option<usize>,
    /// Where the run directory is made: a tmpfs, as /run is
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
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
    // Asked for before the first is chosen: afterwards there is one only.
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = match arguments.core {
        None => cores.last().copied(),
        Some(core) => Some(find(&cores, core)?),
    };
    // Stays on one core, so that its caches are the ones that fill. Where the system does not allow it, goes on without.
    let pinned = core.filter(|&core| core_affinity::set_for_current(core)).map(|core| core.id);
    let runs = if arguments.quick { QUICK_RUNS } else { RUNS };
    let progress = |what: &str| eprintln!("measuring: {what}");
    let json = arguments.json.as_deref();
    match &arguments.what {
        None => show(&suite::measure(runs, pinned, progress)?, json),
        Some(What::Sessions(sessions)) => {
            let reader = sessions.reader(&cores, core)?;
            let (directory, sessions) = (sessions.dir.as_path(), sessions.sessions);
            let plan = Plan { directory, sessions, rounds: runs, core: pinned, reader: &reader };
            show(&listing::measure(&plan, progress)?, json)
        }
    }
}

fn find(cores: &[CoreId], core: usize) -> Result<CoreId, Error> {
    let found = cores.iter().find(|id| id.id == core);
    found.copied().ok_or(Error::Core { core, found: cores.len() })
}

impl Sessions {
    fn reader(&self, cores: &[CoreId], worker: Option<CoreId>) -> Result<Reader, Error> {
        let core = match self.reader_core {
            Some(core) => find(cores, core)?,
            None => cores.iter().copied().find(|&core| Some(core) != worker).ok_or(Error::OneCore)?,
        };
        let beside = || std::env::current_exe().ok().map(|program| program.with_file_name("sluice"));
        let program = self.sluice.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("sluice"));
        Ok(Reader { program, core })
    }
}

/// Prints the table and writes the file. Whoever closes the pipe has seen enough.
fn show<T: Display + Serialize>(report: &T, json: Option<&Path>) -> Result<(), Error> {
    let _ = write!(std::io::stdout().lock(), "{report}");
    let Some(path) = json else { return Ok(()) };
    let written = serde_json::to_vec_pretty(report)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(path, bytes));
    written.map_err(|error| Error::Write { path: path.into(), error })
}
