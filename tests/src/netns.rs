//! One network namespace.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace that the lab made. The lab removes it.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes it, with its loopback up and without duplicate address detection, which would make every new IPv6 address wait.
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let netns = Self { name: name.to_owned() };
        netns.ip(&["link", "set", "lo", "up"])?;
        for setting in ["accept_dad=0", "accept_ra=0", "router_solicitations=0"] {
            for scope in ["all", "default"] {
                netns.sysctl(&format!("net.ipv6.conf.{scope}.{setting}"))?;
            }
        }
        // Kernels answer one host with at most one unreachable a second after a burst of six. Several inside hosts are one
        // host to the server when they share an external address: what a check hears must not depend on the ones before.
        netns.sysctl("net.ipv4.icmp_ratelimit=0")?;
        netns.sysctl("net.ipv6.icmp.ratelimit=0")?;
        Ok(netns)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program inside and gives its output; an error if it fails.
    pub fn exec(&self, arguments: &[&str]) -> Result<String> {
        let [program, rest @ ..] = arguments else { bail!("no program named") };
        let mut command = self.command(program);
        command.args(rest);
        output(&mut command)
    }

    /// `ip` inside: links, addresses, routes.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Sets one kernel parameter of the namespace.
    pub fn sysctl(&self, assignment: &str) -> Result<String> {
        self.exec(&["sysctl", "-qw", assignment])
    }

    /// Runs a closure on a thread inside. Sockets stay in the namespace in which they were made, so most closures
    /// only open one and hand it out.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(self.path()).with_context(|| self.path().display().to_string())?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                    .context("entering the namespace (root is needed)")?;
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Runs `ip`.
pub fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    output(&mut command)
}

/// Runs a command to its end and gives its output; an error, with all that it said, if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}\n{text}{errors}", output.status);
    }
    Ok(text)
}
