//! `sluice config`: the applied configuration.

use clap::Args;

use super::client::{Client, unexpected};
use super::output::{DIM, Output, PLAIN};
use super::{CliError, Global};
use crate::api::{Request, Response};
use crate::{config, daemon};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice config > now.yaml\n  sluice config --json | jq '.config.pools'      (every default filled in)"
)]
pub(crate) struct ShowConfig {}

impl ShowConfig {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let run = global.run();
        match Client::connect(&run) {
            Ok(mut client) => {
                let Response::Config(applied) = client.ask(Request::Config)? else {
                    return Err(unexpected());
                };
                if out.json {
                    return out.json(&applied);
                }
                out.line(format!("{DIM}# generation {} of {}{PLAIN}", applied.generation, applied.file))?;
                out.text(&applied.source)
            }
            Err(unreachable) => {
                // The daemon is away; what it applied last is still there.
                let Ok(source) = config::read(&daemon::source_path(&run)) else { return Err(unreachable) };
                if out.json {
                    let checked = config::load("applied.yaml", &source).map_err(CliError::Config)?;
                    return out.json(&serde_json::json!({ "source": source, "config": checked.config }));
                }
                out.line(format!("{DIM}# applied last; sluice-control is not running{PLAIN}"))?;
                out.text(&source)
            }
        }
    }
}
