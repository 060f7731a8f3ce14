//! Applying a configuration: one transaction, all of it or nothing.
//!
//! ```text
//! check → kernel: twins, fences, reserved ports → snapshot file → Apply → answer
//!       → twins get MAC and addresses → what is no longer needed goes → routers are resolved
//! ```
//!
//! Up to the answer only things are added that the present configuration does not see, so going back is taking them away.

use std::time::Duration;

use sluice_shm::{Command, SnapshotError, write_snapshot};

use super::Daemon;
use super::kernel::{KernelError, Prepared};
use super::link::LinkError;
use crate::api::{ApiError, Applied, ApplyDone, Plan};
use crate::config::{self, Checked, Config, ConfigError, Diff};

/// Ports that are rebuilt may take seconds each: a NIC negotiates its link.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a configuration was not applied. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file is wrong.
    #[error("{} of {} must be mended first", problems(.0), .0.file)]
    Config(#[from] ConfigError),
    /// Somebody else was faster.
    #[error(
        "the configuration has changed to generation {found} since the difference was shown (it was {expected}); look at the \
         difference again"
    )]
    Base {
        /// Generation that the plan was made for.
        expected: u64,
        /// The present one.
        found: u64,
    },
    /// The kernel's part.
    #[error("{0}; what was in force stays in force")]
    Kernel(#[from] KernelError),
    /// The snapshot file.
    #[error("{0}; what was in force stays in force")]
    Snapshot(#[from] SnapshotError),
    /// The dataplane's part.
    #[error("{0}; what was in force stays in force")]
    Dataplane(#[from] LinkError),
}

fn problems(error: &ConfigError) -> String {
    match error.problems.len() {
        1 => "one mistake".to_owned(),
        n => format!("{n} mistakes"),
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Config(config) => Self { message, config: Some(config) },
            _ => Self::new(message),
        }
    }
}

/// A configuration in force, or waiting for a dataplane.
pub(crate) struct Current {
    pub(crate) generation: u64,
    pub(crate) file: String,
    pub(crate) source: String,
    pub(crate) config: Config,
}

impl Current {
    pub(crate) fn to_api(&self) -> Applied {
        Applied {
            generation: self.generation,
            file: self.file.clone(),
            source: self.source.clone(),
            config: serde_json::to_value(&self.config).unwrap_or_default(),
        }
    }
}

impl Daemon {
    /// What applying a file would change.
    pub(crate) fn plan(&self, file: &str, source: &str) -> Result<Plan, ApplyError> {
        let checked = config::load(file, source)?;
        let current = self.current.as_ref();
        Ok(Plan {
            base: current.map_or(0, |c| c.generation),
            diff: Diff::between(current.map(|c| &c.config), &checked.config),
            warnings: checked.warnings,
        })
    }

    /// Applies a file.
    pub(crate) async fn apply(
        &mut self,
        file: &str,
        source: &str,
        base: Option<u64>,
    ) -> Result<ApplyDone, ApplyError> {
        let Checked { config, warnings } = config::load(file, source)?;
        for warning in warnings {
            tracing::warn!("{file}:{}: {}", warning.at.line, warning.message);
        }
        let present = self.current.as_ref().map_or(0, |c| c.generation);
        if let Some(expected) = base.filter(|base| *base != present) {
            return Err(ApplyError::Base { expected, found: present });
        }
        let same = self.current.as_ref().is_some_and(|c| c.config == config);
        if same && self.trouble.is_none() {
            if let Some(current) = &mut self.current {
                // The text may differ in comments, and `sluice config` shows the text.
                (current.file, current.source) = (file.to_owned(), source.to_owned());
            }
            self.keep_source();
            return Ok(self.done(true));
        }
        self.look();
        let prepared = self.kernel.prepare(&config, self.link.is_attached()).await?;
        let generation = self.next_generation();
        if let Err(error) = self.hand_over(&config, generation).await {
            self.go_back(prepared).await;
            return Err(error);
        }
        let new = Current { generation, file: file.to_owned(), source: source.to_owned(), config };
        let old = self.current.replace(new);
        self.pending = !self.link.is_running();
        if let Err(error) = self.settle().await {
            // The dataplane has it already: it gets the old one again, under a number of its own.
            self.current = old;
            if let Some(old) = &mut self.current {
                let config = old.config.clone();
                let generation = self.next_generation();
                if let Err(second) = self.hand_over(&config, generation).await {
                    tracing::error!("going back: {second}");
                }
                if let Some(old) = &mut self.current {
                    old.generation = generation;
                }
            }
            self.go_back(prepared).await;
            let _ = self.settle().await;
            return Err(error.into());
        }
        let config = self.current.as_ref().map(|c| c.config.clone());
        if let Some(config) = &config {
            self.logging.follow(config);
        }
        self.kernel.tidy(config.as_ref()).await;
        self.trouble = None;
        self.keep_source();
        tracing::info!(generation, file, pending = self.pending, "configuration applied");
        self.record_variables();
        Ok(self.done(false))
    }

    fn done(&self, unchanged: bool) -> ApplyDone {
        let mut notes = Vec::new();
        if self.pending {
            notes.push("no dataplane is running: the configuration is applied when it starts".to_owned());
        } else {
            notes.extend(
                self.kernel
                    .unready()
                    .map(|name| format!("interface {name} gets its addresses as soon as its port is up")),
            );
        }
        let generation = self.current.as_ref().map_or(0, |c| c.generation);
        ApplyDone { generation, pending: self.pending, unchanged, notes }
    }

    /// Higher than any that the dataplane or an earlier daemon may have seen.
    fn next_generation(&mut self) -> u64 {
        self.last_generation = self.last_generation.max(self.link.generation()) + 1;
        self.last_generation
    }

    /// Writes the snapshot and has the dataplane take it, if there is one.
    async fn hand_over(&mut self, config: &Config, generation: u64) -> Result<(), ApplyError> {
        write_snapshot(&self.run, &config::compile(config, generation))?;
        if self.link.is_running() {
            self.link.call(Command::Apply { generation }, PATIENCE).await?;
            self.unpushed = false;
        } else {
            // It may be starting up: DPDK takes its time. It is handed the configuration as soon as it reads commands.
            self.unpushed = self.link.is_attached();
        }
        Ok(())
    }

    /// Makes the files and the kernel what they were. The old snapshot has its old number, so that a dataplane that
    /// comes late to the refused command finds another generation than the command names, and refuses as well.
    async fn go_back(&mut self, prepared: Prepared) {
        self.kernel.undo(prepared).await;
        let restored = match &self.current {
            Some(current) => write_snapshot(&self.run, &config::compile(&current.config, current.generation))
                .map_err(|error| error.to_string()),
            None => std::fs::remove_file(self.run.snapshot()).map_err(|error| error.to_string()),
        };
        if let Err(error) = restored {
            tracing::error!("the previous snapshot could not be put back: {error}");
        }
    }

    /// Brings the kernel's side in line with a dataplane that has the configuration.
    pub(crate) async fn settle(&mut self) -> Result<(), KernelError> {
        let Some(current) = &self.current else { return Ok(()) };
        let names = current.config.interfaces.iter().map(|i| i.name.value.clone()).collect();
        self.neighbours.set_interfaces(names);
        self.kernel.configure(&current.config, &self.link).await?;
        self.kept_by_kernel = self.kernel.keep_alive(&current.config).await;
        self.neighbours.tell(&mut self.link);
        Ok(())
    }

    /// Hands the configuration to a dataplane that does not have it: it was pending, or this is a new life.
    pub(crate) async fn push(&mut self) {
        let Some(current) = &self.current else { return };
        let (generation, config) = (current.generation, current.config.clone());
        if self.link.generation() != generation {
            if let Err(error) = self.hand_over(&config, generation).await {
                tracing::error!(generation, "the configuration was not taken: {error}");
                self.trouble = Some(format!("generation {generation} is not in force: {error}"));
                return;
            }
            // What was told before belonged to no configuration that the dataplane knew.
            self.neighbours.tell_all_again();
            tracing::info!(generation, "configuration handed to the dataplane");
        }
        self.pending = false;
        self.trouble = None;
    }

    /// Keeps the text for `sluice config` without a daemon, and for the next daemon without `--config`.
    fn keep_source(&self) {
        let Some(current) = &self.current else { return };
        let path = super::source_path(&self.run);
        let temporary = path.with_extension("new");
        let written =
            std::fs::write(&temporary, &current.source).and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::error!("cannot write {}: {error}", path.display());
        }
    }
}
