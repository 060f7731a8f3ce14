//! Prints what packets and sessions cost, beside the yardstick of the same run; makes documents of such results; or prints what
//! listing the sessions costs.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use core_affinity::CoreId;
use serde::Serialize;
use sluice_benches::io::{self, links::Kind, subject};
use sluice_benches::listing::{self, Plan};
use sluice_benches::reader::Reader;
use sluice_benches::suite::{self, Plan as Rows};
use sluice_benches::{Error, Report, SIZES, document, plot, worker};

/// Runs of a row.
const RUNS: usize = 7;
const QUICK_RUNS: usize = 3;
/// Rounds beside a reader: enough for the least of them to be a quiet one.
const ROUNDS: usize = 21;
const QUICK_ROUNDS: usize = 5;

/// Measures the translation engine in cycles a packet, beside the memory-limit yardstick of the same run
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Fewer runs and rows
    #[arg(long, global = true)]
    quick: bool,
    /// Also write all results to a file, as JSON lines
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Core to run on [default: the last]
    #[arg(long, value_name = "NUMBER", global = true)]
    core: Option<usize>,
    /// Measure only rows whose name begins so; * stands for anything
    #[arg(long, value_name = "PATTERN", global = true)]
    only: Option<String>,
    /// Runs of each row [default: 7, quick: 3]
    #[arg(long, value_name = "NUMBER", global = true)]
    runs: Option<usize>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Measures what `sluice sessions` costs the worker beside it, and how fast it is
    #[command(after_help = "Example:\n  cargo build --release -p sluice-benches -p sluice-control\n  \
        target/release/sluice-bench sessions --json sessions.json")]
    Sessions(Sessions),
    /// Measures whole workers between ports of memory, from Ethernet in to transmit
    Worker,
    /// Measures the whole gateway with I/O, beside testpmd on the same kind of ports
    #[command(after_help = "Needs root, dpdk-testpmd, and a network of its own:\n  \
        unshare --net --mount sh -c 'mount -t sysfs sysfs /sys && target/release/sluice-bench io'")]
    Io(Io),
    /// Makes documents of results
    Report(Documents),
}

#[derive(Args)]
struct Io {
    /// Flows, each with a session
    #[arg(long, value_name = "N", default_value_t = SIZES[2], value_parser = clap::value_parser!(u32).range(1024..=1 << 22))]
    sessions: u32,
    /// Kinds of ports [default: all, quick: memif]
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    ports: Vec<Kind>,
    /// Windows of time of each row [default: 15, quick: 9]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    windows: Option<u8>,
    /// Length of a window in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..))]
    window: u64,
    /// Core of the generator [default: the first that is not the device's]
    #[arg(long, value_name = "NUMBER")]
    generator_core: Option<usize>,
    /// Where files of the run are made: a tmpfs
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
}

fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| "expected memif, xdp or packet".to_owned())
}

#[derive(Args)]
struct Documents {
    /// Files of JSON lines, of this program or of others
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print all rows
    #[arg(long)]
    table: bool,
    /// Write a page; `NAME-notes.md` beside it is appended to it
    #[arg(long, value_name = "NAME.md")]
    markdown: Option<PathBuf>,
    /// Draw the picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
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
    match &arguments.what {
        Some(What::Report(documents)) => documents.make(),
        Some(What::Sessions(sessions)) => sessions.measure(arguments),
        Some(What::Worker) => measure(arguments, |plan| worker::measure(plan, say)),
        Some(What::Io(io)) => io.measure(arguments),
        None => measure(arguments, |plan| suite::measure(plan, say)),
    }
}

/// All rows of a part.
fn measure(arguments: &Arguments, part: impl FnOnce(&Rows) -> Result<Report, Error>) -> Result<(), Error> {
    let quick = arguments.quick;
    let runs = arguments.runs.unwrap_or(if quick { QUICK_RUNS } else { RUNS });
    let core = pin(choose(&core_affinity::get_core_ids().unwrap_or_default(), arguments.core)?);
    let report = part(&Rows { quick, runs, only: arguments.only.clone(), core })?;
    print(&report);
    arguments.json.as_ref().map_or(Ok(()), |path| report.write(path))
}

fn say(what: &str) {
    eprintln!("measuring: {what}");
}

/// The core that was asked for, or the last.
fn choose(cores: &[CoreId], core: Option<usize>) -> Result<Option<CoreId>, Error> {
    core.map_or_else(|| Ok(cores.last().copied()), |core| find(cores, core).map(Some))
}

/// Stays on one core, so that its caches are the ones that fill. Where the system does not allow it, goes on without.
fn pin(core: Option<CoreId>) -> Option<usize> {
    core.filter(|&core| core_affinity::set_for_current(core)).map(|core| core.id)
}

fn find(cores: &[CoreId], core: usize) -> Result<CoreId, Error> {
    let found = cores.iter().find(|id| id.id == core);
    found.copied().ok_or(Error::Core { core, found: cores.len() })
}

impl Sessions {
    fn measure(&self, arguments: &Arguments) -> Result<(), Error> {
        // Asked for before the first is chosen: afterwards there is one only.
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let worker = choose(&cores, arguments.core)?;
        let core = pin(worker);
        let reader = self.reader(&cores, worker)?;
        let rounds = if arguments.quick { QUICK_ROUNDS } else { ROUNDS };
        let plan = Plan { directory: &self.dir, sessions: self.sessions, rounds, core, reader: &reader };
        show(&listing::measure(&plan, say)?, arguments.json.as_deref())
    }

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

impl Io {
    fn measure(&self, arguments: &Arguments) -> Result<(), Error> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let device = choose(&cores, arguments.core)?;
        let generator = match self.generator_core {
            Some(core) => find(&cores, core)?,
            None => {
                cores.iter().copied().find(|&core| Some(core) != device).ok_or(io::error::IoError::OneCore)?
            }
        };
        let failed = |error| Error::Directory { path: self.dir.clone(), error };
        let directory =
            tempfile::Builder::new().prefix("sluice-io.").tempdir_in(&self.dir).map_err(failed)?;
        let quick = arguments.quick;
        let mut kinds = match (self.ports.is_empty(), quick) {
            (false, _) => self.ports.clone(),
            (true, true) => vec![Kind::Memif],
            (true, false) => Kind::ALL.to_vec(),
        };
        // Rows of a kind are measured together.
        if let Some(only) = &arguments.only {
            let pattern = only.split('.').take(2).collect::<Vec<_>>().join(".");
            kinds.retain(|kind| suite::fits(&pattern, &format!("io.{}", kind.name())));
        }
        if kinds.is_empty() {
            return Err(Error::NoRow(arguments.only.clone().unwrap_or_default()));
        }
        let core = device.map_or(0, |core| core.id);
        // Where there are only two cores the generator shares its own: it is the faster of the two.
        let spare = cores.iter().filter(|&&core| Some(core) != device && core != generator);
        let spare: Vec<usize> = spare.map(|core| core.id).collect();
        let others = if spare.is_empty() { vec![generator.id] } else { spare };
        let plan = io::Plan {
            quick,
            kinds,
            sessions: self.sessions,
            windows: self.windows.map_or(if quick { 9 } else { 15 }, usize::from),
            window: std::time::Duration::from_millis(self.window),
            generator,
            site: subject::Site {
                directory: directory.path().to_owned(),
                programs: subject::programs(),
                core,
                others,
            },
        };
        let report = io::measure(&plan, say)?;
        print(&report);
        arguments.json.as_ref().map_or(Ok(()), |path| report.write(path))
    }
}

impl Documents {
    fn make(&self) -> Result<(), Error> {
        let report = Report::read(&self.files)?;
        if self.table {
            print(&report);
        }
        if let Some(path) = &self.markdown {
            let beside = path.with_extension("").into_os_string();
            let mut notes = beside;
            notes.push("-notes.md");
            // Whoever has nothing to say writes none.
            let notes = std::fs::read_to_string(notes).unwrap_or_default();
            let picture =
                self.svg.as_ref().and_then(|svg| svg.file_name()).map(|name| name.to_string_lossy());
            write(path, document::markdown(&report, picture.as_deref(), &notes).as_bytes())?;
        }
        match (&self.svg, plot::svg(&report)) {
            (Some(path), Some(picture)) => write(path, picture.as_bytes()),
            _ => Ok(()),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|error| Error::Write { path: path.into(), error })
}

/// Whoever closes the pipe has seen enough.
fn print(report: &impl Display) {
    let _ = write!(std::io::stdout().lock(), "{report}");
}

/// Prints the table and writes the file.
fn show<T: Display + Serialize>(report: &T, json: Option<&Path>) -> Result<(), Error> {
    print(report);
    let Some(path) = json else { return Ok(()) };
    let failed = |error: serde_json::Error| Error::Write { path: path.into(), error: error.into() };
    write(path, &serde_json::to_vec_pretty(report).map_err(failed)?)
}
