//! Where the programs under test are.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The data plane.
pub const DATAPLANE: &str = "sluice-dataplane";
/// The control process.
pub const CONTROL: &str = "sluice-control";
/// The command.
pub const SLUICE: &str = "sluice";
/// The packet generator.
pub const PKTGEN: &str = "sluice-pktgen";

/// Path of a program: from the folder that `SLUICE_BIN_DIR` names, else from the target directory that this test was built in.
pub fn path(name: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("SLUICE_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let test = std::env::current_exe().context("this test's own path")?;
            // target/PROFILE/deps/NAME-HASH
            test.ancestors().nth(2).context("a target directory above this test")?.to_path_buf()
        }
    };
    let program = directory.join(name);
    if !program.is_file() {
        bail!(
            "no {} there; build it (cargo build --release -p sluice-dataplane -p sluice-control) and set \
             SLUICE_BIN_DIR=target/release, or run scripts/test",
            program.display()
        );
    }
    program.canonicalize().with_context(|| program.display().to_string())
}
