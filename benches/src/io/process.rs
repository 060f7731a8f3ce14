//! A program under test: its output in a file, its end by its own number, and no longer life than ours.

use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::IoError;

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A running program. Dropping it kills it, and so does our own end, however it comes.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with its output in `directory`. Of the thread that calls this the kernel watches the end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(name: &'static str, words: &[String], directory: &Path) -> Result<Self, IoError> {
        let log = directory.join(format!("{name}.log"));
        let failed = |error| IoError::File { path: log.clone(), error };
        let file = File::create(&log).map_err(failed)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words).stdin(Stdio::null());
        command.stdout(file.try_clone().map_err(failed)?).stderr(file);
        let child = command
            .spawn()
            .map_err(|error| IoError::Command { command: words.join(" "), why: error.to_string() })?;
        Ok(Self { name, child, log })
    }

    /// Its number. `setpriv` replaces itself, so this is the program's own.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        read_to_string(&self.log).unwrap_or_default()
    }

    /// # Errors
    /// [`IoError::Ended`] if it has.
    pub fn alive(&mut self) -> Result<(), IoError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(IoError::Ended { name: self.name, status, log: tail(&self.log()) }),
            _ => Ok(()),
        }
    }

    /// Stops it in its tracks, or lets it go on.
    pub fn pause(&self, pause: bool) {
        self.signal(if pause { Signal::STOP } else { Signal::CONT });
    }

    /// Of a process that has not been waited for, so that the number is still its own.
    fn signal(&self, signal: Signal) {
        if let Some(number) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended meanwhile is found out by who asks for it next.
            let _ = kill_process(number, signal);
        }
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// [`IoError::Ended`] if it ends badly, or has ended before it was asked; [`IoError::NotReady`] if it does not end.
    pub fn stop(mut self) -> Result<(), IoError> {
        self.alive()?;
        self.signal(Signal::TERM);
        self.pause(false);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(IoError::Ended { name: self.name, status, log: tail(&self.log()) });
                }
                _ => std::thread::sleep(POLL),
            }
        }
        let why = format!("it does not end after SIGTERM:\n{}", tail(&self.log()));
        Err(IoError::NotReady { name: self.name, seconds: PATIENCE.as_secs(), why })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; returns what it wrote.
///
/// # Errors
/// [`IoError::Command`].
pub fn run(words: &[&str]) -> Result<String, IoError> {
    let failed = |why: String| IoError::Command { command: words.join(" "), why };
    let [program, arguments @ ..] = words else { return Err(failed("nothing to run".into())) };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// The last lines of a log.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
