//! `sluice apply`: show the difference, ask, apply.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::client::{Client, unexpected};
use super::output::{BOLD, GREEN, Output, PLAIN, YELLOW};
use super::{CliError, Global, check};
use crate::api::{Request, Response};
use crate::config::{self, problem};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice apply --dry-run border.yaml\n  sluice apply border.yaml\n  sluice apply --yes border.yaml      (asks nothing, for scripts)"
)]
pub(crate) struct Apply {
    /// Configuration file
    file: PathBuf,
    /// Apply without asking
    #[arg(long, short)]
    yes: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let source = config::read(&self.file)?;
        let file = self.file.display().to_string();
        // Here first: a mistake is shown even if no daemon runs.
        if let Err(error) = config::load(&file, &source) {
            return Err(check::show(out, error)?);
        }
        let mut client = Client::connect(&global.run())?;
        let plan = client.ask(Request::Plan { file: file.clone(), source: source.clone() });
        let Response::Plan(plan) = plan? else { return Err(unexpected()) };
        if out.json {
            if self.dry_run {
                return out.json(&plan);
            }
        } else {
            out.text(problem::render_warnings(&file, &source, &plan.warnings, true))?;
            out.text(plan.diff.render(true))?;
            out.flush()?;
            if self.dry_run {
                return Ok(());
            }
        }
        if !self.yes
            && !plan.diff.is_empty()
            && std::io::stdin().is_terminal()
            && !confirm(!plan.diff.rebuild.is_empty())?
        {
            return Err(CliError::Declined);
        }
        let answer = client.ask(Request::Apply { file, source, base: Some(plan.base) })?;
        let Response::Applied(done) = answer else { return Err(unexpected()) };
        if out.json {
            return out.json(&serde_json::json!({ "plan": plan, "applied": done }));
        }
        let word = match (done.unchanged, done.pending) {
            (true, _) => "nothing to do",
            (false, true) => "accepted",
            (false, false) => "applied",
        };
        out.line(format!("{BOLD}{GREEN}{word}{PLAIN}: generation {}", done.generation))?;
        for note in &done.notes {
            out.line(format!("{YELLOW}note:{PLAIN} {note}"))?;
        }
        Ok(())
    }
}

fn confirm(interrupts: bool) -> Result<bool, CliError> {
    let mut stderr = anstream::stderr().lock();
    let warning = if interrupts { " Forwarding is interrupted while ports are rebuilt." } else { "" };
    write!(stderr, "Apply?{warning} [y/N] ")?;
    stderr.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
