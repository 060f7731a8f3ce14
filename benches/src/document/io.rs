//! The table of what was measured with I/O: a line for each kind of ports, packets and sessions.

use std::fmt::{self, Write as _};

use super::cell;
use crate::io::links::Kind;
use crate::plot::short;
use crate::report::Row;

/// A line a row of the gateway, with testpmd's beside it.
pub(super) fn table(out: &mut String, rows: &[&Row]) -> fmt::Result {
    writeln!(
        out,
        "| ports | packets | sessions | gateway, Mpps | testpmd, Mpps | share | lost, gateway / testpmd | |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for kind in Kind::ALL {
        let mut any = false;
        for row in rows {
            let Some(what) = packets(&row.bench, kind) else { continue };
            any = true;
            line(out, rows, row, kind, what)?;
        }
        if !any {
            writeln!(out, "| {} | | | not measured in this run | | | | |", kind.name())?;
        }
    }
    Ok(())
}

/// `nat64.outbound`, if the row is the gateway's on such ports.
fn packets(bench: &str, kind: Kind) -> Option<&str> {
    let what = bench.strip_prefix("io.")?.strip_prefix(kind.name())?.strip_prefix('.')?;
    (what.split('.').count() == 2).then_some(what)
}

fn line(out: &mut String, rows: &[&Row], row: &Row, kind: Kind, what: &str) -> fmt::Result {
    let find = |bench: String| rows.iter().find(|one| one.bench == bench && one.sessions == row.sessions);
    let text = |row: Option<&&Row>| row.map_or_else(|| "not measured".to_owned(), |row| cell(row));
    let bound = format!("io.{}.testpmd.mac.{what}", kind.name());
    let share = find(format!("{}.share", row.bench));
    let lost = |bench: &str| {
        let row = find(format!("{bench}.lost"));
        row.map_or_else(|| "–".to_owned(), |row| format!("{:.1} %", row.median))
    };
    let note = share.and_then(|share| share.note.as_deref()).unwrap_or_default();
    let (lost, bound) = (format!("{} / {}", lost(&row.bench), lost(&bound)), find(bound));
    let share = share.map_or_else(
        || "not measured".to_owned(),
        |share| format!("**{:.0} %** ({:.0}–{:.0})", share.median, share.min, share.max),
    );
    let what = what.replace('.', " ");
    write!(out, "| {} | {what} | {} | {} |", kind.name(), short(row.sessions), cell(row))?;
    writeln!(out, " {} | {share} | {lost} | {note} |", text(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_and_testpmd_stand_in_a_line() {
        let row = |bench: &str, unit: &str, figure: f64| Row::new(bench, 1 << 20, unit, vec![figure]);
        let mut rows = [
            row("io.memif.nat64.outbound", "Mpps", 8.14),
            row("io.memif.testpmd.mac.nat64.outbound", "Mpps", 19.3),
            row("io.memif.nat64.outbound.share", "percent", 42.2),
            row("io.memif.nat64.outbound.lost", "percent", 0.0),
        ];
        rows[2].note = Some("careful".into());
        let mut out = String::new();
        table(&mut out, &rows.each_ref()).unwrap();
        let wanted =
            "| memif | nat64 outbound | 1M | 8.14 | 19.3 | **42 %** (42–42) | 0.0 % / – | careful |\n";
        assert!(out.contains(wanted), "{out}");
        assert!(out.contains("| xdp | | | not measured in this run |"), "{out}");
        assert_eq!(out.lines().count(), 5);
    }
}
