//! `sluice-dataplane`: the packet process of the Sluice border gateway.
//!
//! It is started once and configured by `sluice-control` through shared memory; see `docs/architecture.md`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use sluice_dataplane::process::Process;
use sluice_dpdk::{Eal, EalArgs, Hugepages, LogLevel};
use sluice_shm::{MAX_WORKERS, RunDir};

/// The packet process of the Sluice border gateway.
///
/// It starts without configuration and takes it from sluice-control, through files in the run directory. Either process
/// may start first, end and come back; the one that is left goes on.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  sluice-dataplane                                  run with /run/sluice, hugepages if there are any
  sluice-dataplane --run-dir /tmp/lab --memory 256  a second instance, on a laptop
  sluice-dataplane --hugepages require              fail rather than run without hugepages"
)]
struct Arguments {
    /// Directory of the regions, sockets and locks that this instance shares with its sluice-control.
    #[arg(long, env = "SLUICE_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Memory for packets and rings, in MiB.
    #[arg(long, default_value_t = 512, value_name = "MB", value_parser = clap::value_parser!(u32).range(64..))]
    memory: u32,
    /// Whether packet memory is taken from hugepages.
    #[arg(long, value_enum, default_value_t = HugepagesArgument::Auto)]
    hugepages: HugepagesArgument,
    /// Most workers that a configuration may ask for in this life of the process.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_WORKERS as i64))]
    max_workers: Option<u16>,
    /// Further arguments for DPDK's EAL, after `--`.
    #[arg(last = true, value_name = "EAL")]
    eal: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HugepagesArgument {
    /// If enough are free, else ordinary pages: slower, and said so.
    Auto,
    /// Or fail.
    Require,
    /// Ordinary pages.
    Never,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SLUICE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("installing a signal handler")?;
    }
    let run_dir = RunDir::from_env(arguments.run_dir);
    run_dir.create()?;
    let _lock = run_dir.lock_dataplane()?;

    let eal = Eal::init(&EalArgs {
        file_prefix: file_prefix(&run_dir),
        hugepages: match arguments.hugepages {
            HugepagesArgument::Auto => Hugepages::Auto,
            HugepagesArgument::Require => Hugepages::Require,
            HugepagesArgument::Never => Hugepages::Never,
        },
        memory_mb: arguments.memory,
        main_core: None,
        allow_pci: true,
        log_level: LogLevel::Warning,
        extra: arguments.eal,
    })
    .context("starting DPDK")?;
    if !eal.uses_hugepages() {
        tracing::warn!("running without hugepages: slower; reserve some with `sysctl vm.nr_hugepages=512`");
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = arguments.max_workers.map_or_else(|| cpus.clamp(8, MAX_WORKERS), usize::from);
    let mut process = Process::new(eal, run_dir.clone(), workers)?;
    tracing::info!(run_dir = %run_dir.path().display(), "dataplane is up");
    process.resume();
    process.run(&stop);
    tracing::info!("dataplane ends");
    Ok(())
}

/// Keeps DPDK's own files of several instances apart: the run directory is what tells them apart anyway.
fn file_prefix(run_dir: &RunDir) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let path = run_dir.path().canonicalize().unwrap_or_else(|_| run_dir.path().to_owned());
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("sluice-{:08x}", hasher.finish() as u32)
}
