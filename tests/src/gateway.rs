//! The data plane and control of one lab, and the `sluice` command against them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::accounting::Counters;
use crate::lab::{Lab, SERVER};
use crate::netns::output;
use crate::process::Process;
use crate::site::Site;
use crate::{programs, wait};

/// How long the processes may take to start, to forward, to end.
pub const READY: Duration = Duration::from_secs(20);

/// A gateway in a lab. Declare it after the lab, so that it ends first.
pub struct Gateway<'lab> {
    lab: &'lab Lab,
    run: PathBuf,
    config: PathBuf,
    /// The data plane, while it runs.
    pub dataplane: Option<Process>,
    /// The control process, while it runs.
    pub control: Option<Process>,
}

impl<'lab> Gateway<'lab> {
    /// A gateway of which nothing runs yet; its configuration file is written.
    pub fn prepare(lab: &'lab Lab, site: &Site) -> Result<Self> {
        let run = lab.directory().join("run");
        std::fs::create_dir_all(&run)?;
        let gateway =
            Self { lab, run, config: lab.directory().join("sluice.yaml"), dataplane: None, control: None };
        gateway.write_config(&site.yaml())?;
        Ok(gateway)
    }

    /// A running gateway that forwards.
    pub fn start(lab: &'lab Lab, site: &Site) -> Result<Self> {
        let mut gateway = Self::prepare(lab, site)?;
        gateway.start_dataplane()?;
        gateway.start_control()?;
        gateway.forwards(READY)?;
        Ok(gateway)
    }

    /// Replaces the configuration file; nothing is applied yet.
    pub fn write_config(&self, text: &str) -> Result<()> {
        std::fs::write(&self.config, text).with_context(|| self.config.display().to_string())
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Starts the data plane.
    pub fn start_dataplane(&mut self) -> Result<()> {
        let mut command = self.lab.host("gw").command(programs::path(programs::DATAPLANE)?);
        command.arg("--run-dir").arg(&self.run);
        self.dataplane =
            Some(Process::spawn("dataplane", command, &self.lab.directory().join("dataplane.log"))?);
        Ok(())
    }

    /// Starts the data plane through a shell script, which finds the command line in `"$0" "$@"`. The script runs in a mount
    /// namespace of its own.
    pub fn start_dataplane_by(&mut self, script: &str) -> Result<()> {
        let mut command = self.lab.host("gw").command("sh");
        command
            .args(["-c", script])
            .arg(programs::path(programs::DATAPLANE)?)
            .arg("--run-dir")
            .arg(&self.run);
        self.dataplane =
            Some(Process::spawn("dataplane", command, &self.lab.directory().join("dataplane.log"))?);
        Ok(())
    }

    /// Starts control with the configuration file.
    pub fn start_control(&mut self) -> Result<()> {
        let mut command = self.lab.host("gw").command(programs::path(programs::CONTROL)?);
        command.arg("--run-dir").arg(&self.run).arg("--config").arg(&self.config);
        self.control = Some(Process::spawn("control", command, &self.lab.directory().join("control.log"))?);
        Ok(())
    }

    /// Waits until both families pass, which also resolves the neighbours.
    pub fn forwards(&mut self, limit: Duration) -> Result<()> {
        let lab = self.lab;
        let server6 = crate::traffic::embed(SERVER).to_string();
        let server4 = SERVER.to_string();
        for (host, address) in [("client4", &server4), ("client6", &server6)] {
            wait::until(limit, &format!("{host} to reach the server"), || {
                for process in [&mut self.dataplane, &mut self.control].into_iter().flatten() {
                    process.alive()?;
                }
                lab.host(host).exec(&["ping", "-c", "1", "-W", "1", address])
            })?;
        }
        Ok(())
    }

    /// The `sluice` command, ready to run in the gateway's namespace.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.lab.host("gw").command(programs::path(programs::SLUICE)?);
        command.arg("--run-dir").arg(&self.run).args(arguments);
        Ok(command)
    }

    /// Runs `sluice` and gives its output; an error if it fails.
    pub fn sluice(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.command(arguments)?)
    }

    /// Runs `sluice ... --json` and reads its output as one JSON document.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.sluice(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("sluice {arguments:?} --json wrote {text}"))
    }

    /// Runs `sluice ... --json` and reads its output as one JSON document a line.
    pub fn json_lines(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let text = self.sluice(&[arguments, &["--json"]].concat())?;
        text.lines()
            .map(|line| {
                serde_json::from_str(line)
                    .with_context(|| format!("sluice {arguments:?} --json wrote {line}"))
            })
            .collect()
    }

    /// All counters now, thread by thread: the workers', then those of the main and the punt thread.
    pub fn counters(&self) -> Result<Counters> {
        let status = self.json(&["status"])?;
        let workers =
            status["dataplane"]["workers"].as_u64().with_context(|| format!("no workers in {status}"))?;
        let threads: Result<Vec<Value>> = (0..workers + 2)
            .map(|thread| self.json(&["counters", "--worker", &thread.to_string()]))
            .collect();
        Counters::parse(&threads?)
    }

    /// Applies the configuration file to the running gateway.
    pub fn apply(&self) -> Result<String> {
        let path = self.config.display().to_string();
        self.sluice(&["apply", "--yes", &path])
    }

    /// The counters once nothing is in flight inside the gateway: every thread's account balances, and what was handed
    /// over has arrived. Neighbour discovery goes on meanwhile, so numbers need not stand still.
    pub fn settled(&self) -> Result<Counters> {
        wait::until(Duration::from_secs(10), "the accounts to balance", || {
            let counters = self.counters()?;
            counters.balanced()?;
            Ok(counters)
        })
    }

    /// The end of a test: the accounts balance, both processes still run, and end cleanly when asked.
    pub fn finish(mut self) -> Result<()> {
        self.settled()?;
        for (name, process) in [("control", self.control.take()), ("dataplane", self.dataplane.take())] {
            let Some(mut process) = process else { continue };
            process.alive()?;
            let status = process.stop(Duration::from_secs(10))?;
            ensure!(status.success(), "{name} ended with {status} after SIGTERM:\n{}", process.log());
        }
        Ok(())
    }
}
