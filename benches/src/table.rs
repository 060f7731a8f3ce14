//! Results as text for a terminal.

use std::fmt;

use crate::machine::Machine;
use crate::report::{CYCLES, Report, Row};

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtual_machine { "virtual machine" } else { "bare metal" };
        writeln!(f, "cpu      {}, {} CPUs, {kind}, {}", self.cpu, self.cpus, self.caches.join(", "))?;
        let core = self.core.map_or_else(|| "not pinned".to_owned(), |core| format!("pinned to core {core}"));
        writeln!(f, "counter  {} at {:.0} MHz, {core}", self.unit, self.unit_mhz)?;
        writeln!(
            f,
            "memory   pages of {} KiB, huge pages {}: {} of {} MiB on them",
            self.page_size / 1024,
            self.huge_pages,
            self.huge_kib / 1024,
            self.anonymous_kib / 1024,
        )?;
        writeln!(
            f,
            "system   Linux {}, load {:.1} before, {:.1} after",
            self.kernel, self.load[0], self.load[1]
        )?;
        let flags = if self.rustflags.is_empty() { "none" } else { &self.rustflags };
        write!(f, "build    {}, {}, opt-level {}, flags: {flags}", self.rustc, self.target, self.opt_level)?;
        if self.debug_assertions {
            write!(f, "\n         WITH DEBUG ASSERTIONS: these numbers mean nothing, build with --release")?;
        }
        Ok(())
    }
}

/// A figure with as many digits as it is good for.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Families in the order in which they were first measured, and in each the rows by sessions.
pub fn families(rows: &[Row]) -> Vec<(&str, Vec<&Row>)> {
    let mut families: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match families.iter_mut().find(|(family, _)| *family == row.family()) {
            Some((_, members)) => members.push(row),
            None => families.push((row.family(), vec![row])),
        }
    }
    families.iter_mut().for_each(|(_, members)| members.sort_by_key(|row| row.sessions));
    families
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.sources.first() {
            writeln!(f, "{}", source.machine)?;
        }
        for source in &self.sources {
            let method = &source.method;
            writeln!(f, "method   {}, {} runs of each row: {}", method.part, method.runs, method.text)?;
        }
        let width = self.rows.iter().map(|row| row.bench.len()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "\n{:>8}  {:width$}  {:>9} {:>9} {:>9} {:12}  {:>9} {:>6} {:>6}  {:>7}",
            "sessions", "bench", "min", "median", "max", "unit", "yardstick", "ratio", "best", "cut off"
        )?;
        for (number, (_, rows)) in families(&self.rows).iter().enumerate() {
            let mut last = None;
            for row in rows {
                if last.is_some_and(|sessions| sessions != row.sessions) || last.is_none() && number > 0 {
                    writeln!(f)?;
                }
                last = Some(row.sessions);
                line(f, row, width)?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, row: &Row, width: usize) -> fmt::Result {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let sessions = or_dash((row.sessions > 0).then(|| row.sessions.to_string()));
    let compared = row.yardstick.filter(|_| row.unit == CYCLES);
    writeln!(
        f,
        "{sessions:>8}  {:width$}  {:>9} {:>9} {:>9} {:12}  {:>9} {:>6} {:>6}  {:>7}",
        row.bench,
        figure(row.min),
        figure(row.median),
        figure(row.max),
        row.unit,
        or_dash(compared.map(figure)),
        or_dash(compared.and(row.ratio()).map(|ratio| format!("{ratio:.2}"))),
        or_dash(compared.and(row.ratio_min()).map(|ratio| format!("{ratio:.2}"))),
        or_dash(row.interrupted.map(|share| format!("{:.2}%", share * 100.0))),
    )?;
    row.note.as_ref().map_or(Ok(()), |note| writeln!(f, "{:>8}  ({note})", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_row_and_families_stay_together() {
        let mut report = Report::default();
        for (bench, sessions) in [("engine.a", 2048), ("memory.b", 0), ("engine.a", 1024)] {
            report.rows.push(Row::new(bench, sessions, CYCLES, vec![45.0]));
        }
        report.rows[0].yardstick = Some(9.0);
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
        assert!(lines[1].starts_with("    1024  engine.a") && lines[2].contains(" 5.00 "));
        assert!(lines[3].starts_with("       -  memory.b"));
    }

    #[test]
    fn figures_have_three_digits_or_so() {
        assert_eq!([12_345.6, 123.45, 10.0, 9.876].map(figure), ["12346", "123.5", "10.0", "9.88"]);
    }
}
