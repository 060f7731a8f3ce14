//! `sluice-pktgen`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_pktgen::run::main()
}
