//! What is wrong with a configuration file, where, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters that are meant.
    pub length: u32,
}

impl Mark {
    /// The beginning of the file: for what is missing altogether.
    pub const START: Self = Self { line: 1, column: 1, length: 1 };
}

/// A value and the place it was read from. Two of them are equal if their values are: moving a line in the file changes
/// nothing.
#[derive(Clone, Copy, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Mark,
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where.
    pub at: Mark,
    /// Path of keys, such as `pools.public.ports`; empty for the file as a whole.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(at: Mark, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at, path: path.into(), message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{}", self.render(false))]
pub struct ConfigError {
    /// Name of the file, as the operator gave it.
    pub file: String,
    /// At least one.
    pub problems: Vec<Problem>,
    /// The lines that problems point at: number and text.
    pub lines: Vec<(u32, String)>,
}

impl ConfigError {
    pub(crate) fn new(file: &str, source: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at);
        problems.dedup();
        Self { file: file.to_owned(), lines: quoted_lines(source, &problems), problems }
    }

    /// For a person: every problem with its line, coloured with ANSI sequences if asked.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let line = self.lines.iter().find(|(number, _)| *number == problem.at.line);
            // Writing to a String cannot fail.
            let _ = render_one(&mut text, "error", &self.file, problem, line.map(|l| l.1.as_str()), colour);
        }
        text
    }
}

/// Renders warnings the way errors are rendered.
pub fn render_warnings(file: &str, source: &str, warnings: &[Problem], colour: bool) -> String {
    let lines = quoted_lines(source, warnings);
    let mut text = String::new();
    for warning in warnings {
        let line = lines.iter().find(|(number, _)| *number == warning.at.line);
        let _ = render_one(&mut text, "warning", file, warning, line.map(|l| l.1.as_str()), colour);
    }
    text
}

/// The quoted lines are cut to a width that a terminal and a JSON line can carry.
fn quoted_lines(source: &str, problems: &[Problem]) -> Vec<(u32, String)> {
    let mut wanted: Vec<u32> = problems.iter().map(|p| p.at.line).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut wanted = wanted.into_iter().peekable();
    let mut lines = Vec::new();
    for (number, line) in (1u32..).zip(yaml_lines(source)) {
        if wanted.peek() == Some(&number) {
            wanted.next();
            let shown = line.chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect();
            lines.push((number, shown));
        }
    }
    lines
}

/// Lines as YAML counts them: a carriage return alone ends one, too.
fn yaml_lines(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(source);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else { return rest.take() };
        let (line, behind) = text.split_at(end);
        rest = Some(behind.strip_prefix("\r\n").unwrap_or(&behind[1..]));
        Some(line)
    })
}

fn render_one(
    out: &mut String,
    kind: &str,
    file: &str,
    problem: &Problem,
    line: Option<&str>,
    colour: bool,
) -> fmt::Result {
    use fmt::Write as _;
    let (strong, blue, bold, plain) = match (colour, kind) {
        (false, _) => ("", "", "", ""),
        (true, "error") => ("\x1b[1;31m", "\x1b[34m", "\x1b[1m", "\x1b[0m"),
        (true, _) => ("\x1b[1;33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"),
    };
    let Mark { line: number, column, length } = problem.at;
    writeln!(out, "{bold}{file}:{number}:{column}:{plain} {strong}{kind}{plain}: {}", problem.message)?;
    if let Some(line) = line.filter(|line| !line.trim().is_empty()) {
        let width = number.to_string().len();
        let room = line.chars().count().saturating_sub(column as usize - 1).max(1);
        let marks = "^".repeat((length as usize).min(room));
        writeln!(out, "{blue}{number} |{plain} {line}")?;
        writeln!(
            out,
            "{blue}{:width$} |{plain} {:indent$}{strong}{marks}{plain}",
            "",
            "",
            indent = column as usize - 1
        )?;
    }
    if let Some(hint) = &problem.hint {
        writeln!(out, "  {blue}={plain} {hint}")?;
    }
    Ok(())
}
