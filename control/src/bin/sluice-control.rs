//! The control daemon: configuration, TAP twins, neighbours and the API of one gateway.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sluice_control::daemon::{self, Options};
use sluice_shm::RunDir;

/// Configures a Sluice gateway, holds its interfaces in the kernel and answers `sluice`
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  sluice-control --config /etc/sluice/sluice.yaml\n\nSLUICE_LOG sets what is logged, such as `debug` or `sluice_control=trace`."
)]
struct Arguments {
    /// Directory of sockets and shared memory, the same as the dataplane's [default: /run/sluice]
    #[arg(long, env = "SLUICE_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Configuration to apply at the start; without it, the one that was applied last
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("SLUICE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sluice-control: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options = Options { run: RunDir::from_env(arguments.run_dir), config: arguments.config };
    match runtime.block_on(daemon::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-control: {error}");
            ExitCode::FAILURE
        }
    }
}
