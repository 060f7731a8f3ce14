//! The real `sluice sessions`: how long it takes, and what runs on the core beside the worker's.

use std::hint::black_box;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use serde::Serialize;

use crate::Error;

/// What sessions are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A line each, under a heading.
    Table,
    /// An object each.
    Json,
    /// Their number alone.
    Count,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Table, Self::Json, Self::Count];

    /// The command line, but for program and directory.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Table => &["sessions"],
            Self::Json => &["sessions", "--json"],
            Self::Count => &["sessions", "--count"],
        }
    }

    /// Sessions listed, from lines of output and its beginning.
    fn listed(self, lines: u64, head: &[u8]) -> u64 {
        match self {
            Self::Table => lines.saturating_sub(1),
            Self::Json => lines,
            // `1 048 576 of 2 097 152 sessions`
            Self::Count => {
                let text = String::from_utf8_lossy(head);
                let number = text.split(" of ").next().unwrap_or_default();
                number.replace(' ', "").parse().unwrap_or(0)
            }
        }
    }
}

/// What one run of the command took.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// From its start to its first line in our hands.
    pub first_line: Duration,
    /// From its start to its end.
    pub end: Duration,
    /// Bytes that it wrote.
    pub bytes: u64,
}

/// The program, its directory and its core.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Path of `sluice`.
    pub program: PathBuf,
    /// Core that it runs on.
    pub core: CoreId,
}

impl Reader {
    /// Lists the sessions of a run directory through a pipe, read on the caller's core, and checks that all `live` ones are
    /// there.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::Failed`], [`Error::Listed`].
    pub fn list(&self, run: &Path, form: Form, live: u64) -> Result<Listing, Error> {
        let mut command = self.command(run, form);
        command.stdout(Stdio::piped());
        let failed = |error| Error::Run { path: self.program.clone(), error };
        let (start, child) = self.spawn(&mut command);
        let mut child = child.map_err(failed)?;
        let (mut lines, mut bytes, mut first_line, mut head) = (0, 0, None, Vec::new());
        if let Some(mut pipe) = child.stdout.take() {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let read = pipe.read(&mut buffer).map_err(failed)?;
                let text = &buffer[..read];
                if text.is_empty() {
                    break;
                }
                bytes += read as u64;
                lines += text.iter().filter(|&&byte| byte == b'\n').count() as u64;
                if lines > 0 && first_line.is_none() {
                    first_line = Some(start.elapsed());
                }
                if head.len() < 64 {
                    head.extend_from_slice(text);
                }
            }
        }
        let status = child.wait().map_err(failed)?;
        let end = start.elapsed();
        if !status.success() {
            return Err(Error::Failed { command: text(&command), status });
        }
        let listed = form.listed(lines, &head);
        if listed != live {
            return Err(Error::Listed { command: text(&command), listed, live });
        }
        Ok(Listing { first_line: first_line.unwrap_or(end), end, bytes })
    }

    /// Starts a command on the reader's core: it inherits the core of the thread that starts it.
    fn spawn(&self, command: &mut Command) -> (Instant, io::Result<Child>) {
        let start = || {
            core_affinity::set_for_current(self.core);
            (Instant::now(), command.spawn())
        };
        thread::scope(|scope| scope.spawn(start).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Lists the sessions again and again, to nowhere, until told to stop. Returns what each time took; the last listing is
    /// finished. The calling thread stays on the reader's core.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::Failed`].
    pub fn keep_listing(&self, run: &Path, form: Form, stop: &AtomicBool) -> Result<Vec<Duration>, Error> {
        core_affinity::set_for_current(self.core);
        let mut command = self.command(run, form);
        command.stdout(Stdio::null());
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            let status =
                command.status().map_err(|error| Error::Run { path: self.program.clone(), error })?;
            if !status.success() {
                return Err(Error::Failed { command: text(&command), status });
            }
            took.push(start.elapsed());
        }
        Ok(took)
    }

    fn command(&self, run: &Path, form: Form) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--run-dir").arg(run).args(form.arguments()).stdin(Stdio::null());
        command
    }
}

/// Computes without memory until told to stop: what a busy core beside the worker's costs, whatever it is busy with. The
/// calling thread stays on the core.
pub fn keep_computing(core: CoreId, stop: &AtomicBool) {
    core_affinity::set_for_current(core);
    let mut number = 1u64;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..1 << 16 {
            number = black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(5));
        }
    }
}

fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_what_was_written() {
        assert_eq!(Form::Table.listed(5, b"proto"), 4);
        assert_eq!(Form::Table.listed(0, b""), 0);
        assert_eq!(Form::Json.listed(5, b"{}"), 5);
        assert_eq!(Form::Count.listed(1, b"1 048 576 of 2 097 152 sessions\n"), 1_048_576);
        assert_eq!(Form::Count.listed(1, b"nonsense"), 0);
    }

    #[test]
    fn a_reader_that_fails_or_leaves_sessions_out_is_an_error() {
        let of = |program: &str| Reader { program: program.into(), core: CoreId { id: 0 } };
        let list = |program| of(program).list(Path::new("/x"), Form::Table, 3);
        assert!(matches!(list("/nonexistent/sluice"), Err(Error::Run { .. })));
        assert!(matches!(list("false"), Err(Error::Failed { .. })));
        let error = list("echo").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`echo --run-dir /x sessions` listed 0 of 3 sessions: its time means nothing"
        );
        assert_eq!(of("echo").list(Path::new("/x"), Form::Table, 0).unwrap().bytes, 22);
    }
}
