//! The `sluice` command.
//!
//! One file a subcommand. What can be seen without the daemon (`check`, `status`, `counters`, `cycles`, `sessions`) is read from the
//! shared memory, read-only; the rest asks the daemon.

mod apply;
mod check;
mod client;
mod config;
mod counters;
mod cycles;
mod decode;
mod delete;
mod deterministic;
mod line;
mod logging;
mod output;
mod sessions;
mod status;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use sluice_shm::{Observer, RunDir, ShmError, SnapshotError};

use crate::api::ApiError;
use crate::config::{ConfigError, ReadError};
use output::Output;

/// Configure and look into a Sluice gateway
#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    after_help = "Examples:\n  sluice check border.yaml\n  sluice apply border.yaml\n  sluice status\n  sluice sessions --inside 2001:db8::/64 --limit 20\n\nExit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// Directory of sockets and shared memory [default: /run/sluice]
    #[arg(long, global = true, env = "SLUICE_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Write JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    pub(crate) fn run(&self) -> RunDir {
        RunDir::from_env(self.run_dir.clone())
    }

    /// The dataplane's shared memory, whether it runs or has run.
    fn observe(&self) -> Result<Observer, CliError> {
        let run = self.run();
        Observer::open(&run)?.ok_or_else(|| {
            CliError::Nothing(format!(
                "no dataplane has run in {}; start it, or name another directory with --run-dir",
                run.path().display()
            ))
        })
    }
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file; needs no daemon and no root
    Check(check::Check),
    /// Show what a configuration file changes, and apply it
    Apply(apply::Apply),
    /// Show processes, interfaces and how full the tables are
    Status(status::Status),
    /// Show counters of packets, drops by reason, and whether every packet is accounted for
    Counters(counters::Counters),
    /// Show how busy the workers are and what a packet costs them, stage by stage
    Cycles(cycles::Cycles),
    /// List sessions, or delete some
    Sessions(sessions::Sessions),
    /// Tell the ports of an inside host, or the host of a port, where pools are deterministic
    Deterministic(deterministic::ShowDeterministic),
    /// Follow packets through the gateway, stage by stage
    Trace(trace::Trace),
    /// Show the applied configuration
    Config(config::ShowConfig),
    /// Write completions for a shell to standard output
    #[command(after_help = "Example:\n  sluice completions bash > /etc/bash_completion.d/sluice")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Why a command failed. The message is all that a person sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The file is wrong; its mistakes have been shown.
    #[error("{}: {} found; nothing was changed", .0.file, count(.0))]
    Config(ConfigError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Shm(#[from] ShmError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The daemon refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("cannot reach sluice-control at {}: {error}; is it running, and with this run directory (--run-dir)?", path.display())]
    Connect { path: PathBuf, error: std::io::Error },
    #[error("the connection to sluice-control broke: {0}")]
    Broken(String),
    #[error("{0}")]
    Nothing(String),
    #[error("not applied")]
    Declined,
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
}

fn count(error: &ConfigError) -> String {
    match error.problems.len() {
        1 => "one mistake".to_owned(),
        n => format!("{n} mistakes"),
    }
}

/// Runs the command of the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Output::new(cli.global.json);
    let global = &cli.global;
    let result = match cli.command {
        Command::Check(command) => command.run(global, &mut out),
        Command::Apply(command) => command.run(global, &mut out),
        Command::Status(command) => command.run(global, &mut out),
        Command::Counters(command) => command.run(global, &mut out),
        Command::Cycles(command) => command.run(global, &mut out),
        Command::Sessions(command) => command.run(global, &mut out),
        Command::Deterministic(command) => command.run(global, &mut out),
        Command::Trace(command) => command.run(global, &mut out),
        Command::Config(command) => command.run(global, &mut out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut script);
            out.raw(&script)
        }
    };
    match result.and_then(|()| out.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough: `sluice sessions | head`.
        Err(CliError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error, global.json);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        Cli::command().debug_assert();
        let of = |command: &clap::Command| command.get_subcommands().cloned().collect::<Vec<_>>();
        let commands = of(&Cli::command());
        for command in commands.iter().flat_map(of).chain(commands.clone()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
        }
    }
}
