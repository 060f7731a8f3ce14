//! `sluice check`: is the file fine?

use std::path::PathBuf;

use clap::Args;

use super::output::{BOLD, GREEN, Output, PLAIN};
use super::{CliError, Global};
use crate::config::{self, Checked, Config, ConfigError, problem};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice check border.yaml\n  sluice check --json border.yaml | jq '.problems[].message'"
)]
pub(crate) struct Check {
    /// Configuration file
    file: PathBuf,
}

impl Check {
    pub(crate) fn run(self, _: &Global, out: &mut Output) -> Result<(), CliError> {
        let source = config::read(&self.file)?;
        let file = self.file.display().to_string();
        match config::load(&file, &source) {
            Ok(Checked { config, warnings }) => {
                if out.json {
                    return out.json(&serde_json::json!({
                        "file": file, "ok": true, "problems": [], "warnings": warnings, "config": config,
                    }));
                }
                out.text(problem::render_warnings(&file, &source, &warnings, true))?;
                out.line(format!("{BOLD}{GREEN}OK{PLAIN} {file}: {}", summary(&config)))
            }
            Err(error) => Err(show(out, error)?),
        }
    }
}

/// Shows the mistakes of a file; the error that remains says how many.
pub(crate) fn show(out: &mut Output, error: ConfigError) -> Result<CliError, CliError> {
    if out.json {
        out.json(&serde_json::json!({
            "file": error.file, "ok": false, "problems": error.problems, "warnings": [],
        }))?;
    } else {
        out.text(error.render(true))?;
    }
    out.flush()?;
    Ok(CliError::Config(error))
}

fn summary(config: &Config) -> String {
    let plural = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let addresses: u64 =
        config.pools.iter().flat_map(|p| &p.prefixes).map(|net| 1u64 << (32 - net.prefix_len())).sum();
    let mut parts = vec![
        plural(config.interfaces.len(), "interface", "interfaces"),
        plural(config.workers.cores.len().max(1), "worker", "workers"),
    ];
    if !config.pools.is_empty() {
        let pools = plural(config.pools.len(), "pool", "pools");
        parts.push(format!("{pools} with {}", plural(addresses as usize, "address", "addresses")));
    }
    for (count, one, many) in [
        (config.nat64.len(), "NAT64 rule", "NAT64 rules"),
        (config.nat44.len(), "NAT44 rule", "NAT44 rules"),
        (config.static_bindings.len(), "static binding", "static bindings"),
        (config.routes.len(), "route", "routes"),
    ] {
        if count > 0 {
            parts.push(plural(count, one, many));
        }
    }
    parts.push(format!("room for {} sessions", config.sessions));
    parts.join(", ")
}
