//! Writing: text with colours for a terminal, JSON for programs, tables that line up.

use std::fmt;
use std::io::{self, Write};

use anstream::adapter::strip_str;
use serde::Serialize;

use super::CliError;

pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const RED: &str = "\x1b[31m";
pub(crate) const GREEN: &str = "\x1b[32m";
pub(crate) const YELLOW: &str = "\x1b[33m";
pub(crate) const PLAIN: &str = "\x1b[0m";

/// Standard output. Colours are taken out of text unless it is a terminal; errors of writing are kept, because a closed pipe
/// ends a command quietly.
///
/// Looking for colours takes as long as writing does: what has none is not searched.
pub(crate) struct Output {
    stream: io::BufWriter<io::StdoutLock<'static>>,
    colours: bool,
    pub(crate) json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout().lock();
        let colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        Self { stream: io::BufWriter::with_capacity(64 << 10, stdout), colours, json }
    }

    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.text(text)?;
        self.raw(b"\n")
    }

    pub(crate) fn text(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        let text = text.as_ref();
        if self.colours {
            return self.raw(text.as_bytes());
        }
        strip_str(text).try_for_each(|plain| self.raw(plain.as_bytes()))
    }

    /// What has no colours.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// A whole document.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut self.stream, value).map_err(io::Error::from)?;
        Ok(self.stream.write_all(b"\n")?)
    }

    /// One object a line, for streams.
    pub(crate) fn json_line<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.stream, value).map_err(io::Error::from)?;
        Ok(self.stream.write_all(b"\n")?)
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.stream.flush()?)
    }

    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.flush()
    }
}

/// Standard error, with colours for a terminal. Nothing can be done if that fails.
pub(crate) fn complain(error: &CliError, json: bool) {
    let mut stream = anstream::stderr().lock();
    let _ = if json {
        writeln!(stream, "{}", serde_json::json!({ "error": error.to_string() }))
    } else {
        writeln!(stream, "{BOLD}{RED}error:{PLAIN} {error}")
    };
}

pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Columns as wide as their widest cell; numbers to the right.
pub(crate) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Column heads; one that begins with `>` is of a column of numbers.
    pub(crate) fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        let heads = heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect();
        Self { right, rows: vec![heads] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    pub(crate) fn write(&self, out: &mut Output) -> Result<(), CliError> {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - visible(cell));
                let last = column + 1 == row.len();
                match (self.right[column], last) {
                    (true, _) => line.extend([pad.as_str(), cell]),
                    (false, true) => line.push_str(cell),
                    (false, false) => line.extend([cell, pad.as_str()]),
                }
                if !last {
                    line.push_str("  ");
                }
            }
            match number {
                0 => out.line(format!("{DIM}{}{PLAIN}", line.trim_end()))?,
                _ => out.line(line.trim_end())?,
            }
        }
        Ok(())
    }
}

/// Characters that a terminal shows: colours take no room.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for c in text.chars() {
        match (escape, c) {
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, '\x1b') => escape = true,
            (false, _) => count += 1,
        }
    }
    count
}

/// `1234567` as `1 234 567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1234567` as `1.23M`.
pub(crate) fn scaled(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1e12 => (n / 1e12, "T"),
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let places = if unit.is_empty() || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}{unit}")
}

/// `3725` seconds as `1h02m`.
pub(crate) fn span(seconds: u64) -> String {
    let mut text = String::new();
    // Strings take everything.
    let _ = write_span(&mut text, seconds);
    text
}

/// The same into a string or line that there is already.
pub(crate) fn write_span(to: &mut impl fmt::Write, seconds: u64) -> fmt::Result {
    match seconds {
        0..=99 => write!(to, "{seconds}s"),
        100..=5_999 => write!(to, "{}m{:02}s", seconds / 60, seconds % 60),
        6_000..=172_799 => write!(to, "{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => write!(to, "{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(
            [scaled(0.0), scaled(999.0), scaled(1500.0), scaled(12.34e6)],
            ["0", "999", "1.50k", "12.3M"]
        );
        assert_eq!([span(5), span(330), span(7500), span(200_000)], ["5s", "5m30s", "2h05m", "2d07h"]);
        assert_eq!(visible("\x1b[1mab\x1b[0m"), 2);
    }
}
