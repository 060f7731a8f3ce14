//! What is made of coverage: lines for a terminal, JSON, and the document for operators.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Coverage, Entry, GAPS, Status, TRAPS};

const WORDS: [&str; 8] = ["covered", "in part", "absence", "gap", "no option", "due", "later", "open"];

/// Rows of a family by status.
type Counts<'a> = BTreeMap<&'static str, usize>;

/// Families in the order of the table, each with its entries.
fn families(coverage: &Coverage) -> Vec<(&str, Vec<&Entry>)> {
    let mut families: Vec<(&str, Vec<&Entry>)> = Vec::new();
    for entry in &coverage.entries {
        let family = entry.row.family();
        match families.iter_mut().find(|(name, _)| *name == family) {
            Some((_, entries)) => entries.push(entry),
            None => families.push((family, vec![entry])),
        }
    }
    families
}

fn counts<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Counts<'a> {
    let mut counts = Counts::new();
    for entry in entries {
        *counts.entry(entry.status.word()).or_default() += 1;
    }
    counts
}

/// Lines for a terminal: a family each, and the sum.
pub fn summary(coverage: &Coverage) -> String {
    let mut text = format!("{:<10}", "family");
    for word in WORDS {
        let _ = write!(text, "{word:>10}");
    }
    let mut line = |name: &str, counts: Counts<'_>| {
        let _ = write!(text, "\n{name:<10}");
        for word in WORDS {
            let cell = counts.get(word).map_or_else(|| "-".to_owned(), usize::to_string);
            let _ = write!(text, "{cell:>10}");
        }
    };
    for (family, entries) in families(coverage) {
        line(family, counts(entries));
    }
    line("all", counts(&coverage.entries));
    text.push('\n');
    text
}

/// Everything, for programs.
pub fn json(coverage: &Coverage) -> Value {
    let row = |entry: &Entry| {
        let tests: Vec<Value> = entry
            .tests
            .iter()
            .flat_map(|(file, functions)| {
                functions.iter().map(move |function| json!({ "file": file, "function": function }))
            })
            .collect();
        json!({
            "id": entry.row.id, "family": entry.row.family(), "level": entry.row.level, "source": entry.row.source,
            "behaviour": entry.row.behaviour, "status": entry.status.word(), "reason": reason(&entry.status),
            "code": entry.code, "tests": tests,
        })
    };
    json!({ "rows": coverage.entries.iter().map(row).collect::<Vec<_>>(), "mistakes": coverage.mistakes })
}

fn reason(status: &Status) -> Option<String> {
    match status {
        Status::Part(reason) | Status::Gap(reason) | Status::NoOption(reason) => Some(reason.clone()),
        Status::Open(missing) => Some(format!("not cited in {missing}")),
        _ => None,
    }
}

/// The document.
pub fn markdown(coverage: &Coverage) -> String {
    let mut text = format!(
        "# Conformance

Written by `scripts/conformance`; do not edit. Which behaviours Sluice keeps, where each is decided, and which test fails
without it. What is missing, and what a user sees instead, is in [{gaps_name}]({gaps_name}); mistakes that translators are
known for, and the tests that keep them out, in [{traps_name}]({traps_name}).

| status | meaning |
| --- | --- |
| covered | cited in the code that decides it and in at least one test that fails without it |
| in part | as covered, but for a part that is not there |
| absence | says that something is not there: a test shows it, and no code decides it |
| gap | declared: not there |
| no option | describes an option (level MAY or CHOICE) that does not exist |
| due | of this release, with the load generator (issue 5) |
| later | of a later release |
| open | of this release, and not cited in code, in a test, or in either |

| family | {heads} |
| --- |{rule}
",
        gaps_name = GAPS.trim_start_matches("docs/"),
        traps_name = TRAPS.trim_start_matches("docs/"),
        heads = WORDS.join(" | "),
        rule = " ---: |".repeat(WORDS.len()),
    );
    let mut line = |name: &str, counts: Counts<'_>| {
        let cells = WORDS.map(|word| counts.get(word).map_or_else(String::new, usize::to_string));
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    };
    for (family, entries) in families(coverage) {
        line(family, counts(entries));
    }
    line("all", counts(&coverage.entries));
    for (family, entries) in families(coverage) {
        let _ = write!(
            text,
            "\n## {family}\n\n| id | level | source | behaviour | decided in | shown by |\n| --- | --- | --- | --- | --- | --- |\n"
        );
        for Entry { row, status, code, tests } in entries {
            let code: Vec<String> = code.iter().map(|file| format!("`{file}`")).collect();
            let mut shown: Vec<String> = tests
                .iter()
                .map(|(file, functions)| {
                    let functions: Vec<String> = functions.iter().map(|name| format!("`{name}`")).collect();
                    format!("`{file}`: {}", functions.join(", "))
                })
                .collect();
            match status {
                Status::Covered => {}
                Status::Absence | Status::Due | Status::Later => {
                    shown.insert(0, format!("**{}**", status.word()))
                }
                Status::Part(_) | Status::Gap(_) | Status::NoOption(_) | Status::Open(_) => {
                    shown.insert(0, format!("**{}**: {}", status.word(), reason(status).unwrap_or_default()));
                }
            }
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                row.id,
                row.level,
                row.source,
                row.behaviour,
                code.join(", "),
                shown.join("; ")
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::table::{self, Row};
    use super::*;

    #[test]
    fn the_document_has_all_that_the_table_said() {
        let row = Row {
            id: "XLT-01".into(),
            source: "791 §3".into(),
            level: "MUST".into(),
            behaviour: "This and *that*.".into(),
        };
        let entry = Entry {
            row: row.clone(),
            status: Status::Open("a test"),
            code: ["a.rs".to_owned()].into(),
            tests: BTreeMap::new(),
        };
        let text = markdown(&Coverage { entries: vec![entry], mistakes: vec![] });
        assert_eq!(table::rows(&text).unwrap(), [row]);
        assert!(text.contains("| `a.rs` | **open**: not cited in a test |"), "{text}");
    }
}
