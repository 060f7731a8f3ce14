//! Which rows of the conformance table the code decides and the tests show.
//!
//! A row is covered when it is cited twice: in code, where the behaviour is decided, and in a test that would fail without it.
//! What counts as a test says [`citations`]. Rows without code or test have to be in `docs/conformance-gaps.md` ([`gaps`]), or
//! they are open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

pub mod citations;
pub mod document;
pub mod gaps;
pub mod table;

use citations::{Citation, Place};
use gaps::{Gaps, Section};
use table::{Row, Tier};

/// The table, beside the checkout.
const TABLE: &str = "../shared/conformance.md";
/// What is made of it, for operators.
pub const DOCUMENT: &str = "docs/conformance.md";
/// What is not there.
pub const GAPS: &str = "docs/conformance-gaps.md";
/// Mistakes of others, and the tests that keep them out.
pub const TRAPS: &str = "docs/traps.md";

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Cited in code and in a test.
    Covered,
    /// Shown by a test; it says that something is not there, which no code decides.
    Absence,
    /// Cited in code and in a test, and not kept whole.
    Part(String),
    /// Not there, and said so.
    Gap(String),
    /// An option that does not exist.
    NoOption(String),
    /// Of this release, with the load generator.
    Due,
    /// Of a later release.
    Later,
    /// Of this release, and not cited in code, not in a test, or in neither.
    Open(&'static str),
}

impl Status {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Absence => "absence",
            Self::Part(_) => "in part",
            Self::Gap(_) => "gap",
            Self::NoOption(_) => "no option",
            Self::Due => "due",
            Self::Later => "later",
            Self::Open(_) => "open",
        }
    }
}

/// A row with what is known of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The row.
    pub row: Row,
    /// Where it stands.
    pub status: Status,
    /// Files in which it is decided.
    pub code: BTreeSet<String>,
    /// Test functions that show it, by file.
    pub tests: BTreeMap<String, BTreeSet<String>>,
}

/// The state of all rows, and what is wrong with citations and gaps.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// In the order of the table.
    pub entries: Vec<Entry>,
    /// Sentences, each with the place.
    pub mistakes: Vec<String>,
}

impl Coverage {
    /// Of a checkout.
    ///
    /// # Errors
    /// Of files that cannot be read, and of a table without rows.
    pub fn of(root: &Path) -> Result<Self> {
        let path = [TABLE, DOCUMENT].map(|path| root.join(path)).into_iter().find(|path| path.is_file());
        let path =
            path.with_context(|| format!("neither {TABLE} nor {DOCUMENT} is below {}", root.display()))?;
        let rows = table::rows(&read(&path)?).with_context(|| path.display().to_string())?;
        let gaps = gaps::parse(&read(&root.join(GAPS))?).context(GAPS)?;
        let sources = citations::sources(root)?;
        let mut coverage = Self::from(rows, &citations::all(&sources), &gaps);
        coverage.mistakes.extend(citations::missing_tests(&read(&root.join(TRAPS))?, &sources));
        Ok(coverage)
    }

    fn from(rows: Vec<Row>, citations: &[Citation], gaps: &Gaps) -> Self {
        let mut mistakes = Vec::new();
        let mut by_id: BTreeMap<&str, Vec<&Citation>> = BTreeMap::new();
        let known: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
        for citation in citations {
            if !known.contains(&citation.id) {
                mistakes.push(format!("{}: the table has no row {}", citation.at(), citation.id));
            }
            if citation.place == Place::Neither {
                mistakes.push(format!(
                    "{}: {} is cited in neither code nor test",
                    citation.at(),
                    citation.id
                ));
            }
            by_id.entry(&citation.id).or_default().push(citation);
        }
        mistakes.extend(gaps.mistakes(&rows));
        let mut entries = Vec::new();
        for row in rows {
            let (mut code, mut tests) = (BTreeSet::new(), BTreeMap::new());
            for citation in by_id.get(row.id.as_str()).into_iter().flatten() {
                match &citation.place {
                    Place::Code => drop(code.insert(citation.file.clone())),
                    Place::Test(function) => {
                        let functions: &mut BTreeSet<String> =
                            tests.entry(citation.file.clone()).or_default();
                        functions.insert(function.clone());
                    }
                    Place::Neither => {}
                }
            }
            let status = status(&row, code.is_empty(), tests.is_empty(), gaps, &mut mistakes);
            entries.push(Entry { row, status, code, tests });
        }
        Self { entries, mistakes }
    }

    /// Rows of this release without code or test.
    pub fn open(&self) -> impl Iterator<Item = (&Entry, &'static str)> {
        self.entries.iter().filter_map(|entry| match entry.status {
            Status::Open(missing) => Some((entry, missing)),
            _ => None,
        })
    }
}

fn status(row: &Row, no_code: bool, no_test: bool, gaps: &Gaps, mistakes: &mut Vec<String>) -> Status {
    let covered = !no_code && !no_test;
    if let Some(gap) = gaps.get(&row.id) {
        let contradicted = match gap.section {
            Section::Absence => !no_code,
            Section::Part => false,
            Section::Gap | Section::NoOption => covered,
        };
        if contradicted {
            mistakes.push(format!("{GAPS}: {} is cited where it is decided, and listed here", row.id));
        }
        return match gap.section {
            Section::Gap => Status::Gap(gap.reason.clone()),
            Section::NoOption => Status::NoOption(gap.reason.clone()),
            Section::Part if covered => Status::Part(gap.reason.clone()),
            Section::Part => open(no_code, no_test),
            Section::Absence if no_test => Status::Open("a test"),
            Section::Absence => Status::Absence,
        };
    }
    match row.tier() {
        Tier::Later => Status::Later,
        Tier::Generator => Status::Due,
        Tier::First if covered => Status::Covered,
        Tier::First => open(no_code, no_test),
    }
}

fn open(no_code: bool, no_test: bool) -> Status {
    Status::Open(match (no_code, no_test) {
        (true, true) => "code and a test",
        (true, false) => "code",
        _ => "a test",
    })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "| id | source | level | behaviour | how to show it |\n| --- | --- | --- | --- | --- |
| XLT-01 | 1 | MUST | both | x |\n| XLT-02 | 2 | MUST | code only | x |\n| XLT-03 | 3 | MUST | nothing | x |
| XLT-04 | 4 | CHOICE | absent | x |\n| MAP-18 | 5 | MUST | gap | x |\n| MAP-09 | 6 | MAY | option | x |
| BENCH-01 | 7 | SHOULD | due | x |\n| STAT-01 | 8 | MUST | later | x |\n";
    const GAPS: &str = "## Declared gaps\n| id | why | instead |\n| --- | --- | --- |\n| MAP-18 | w | i |
## Options that do not exist\n| MAP-09 | w | i |\n## Shown by absence\n| XLT-04 | w | i |\n## Kept in part\n| XLT-01 | w | i |\n";

    fn coverage(cited: &[(&str, Place)], gaps: &str) -> Coverage {
        let citation = |(id, place): &(&str, Place)| Citation {
            id: (*id).into(),
            file: "a.rs".into(),
            line: 1,
            place: place.clone(),
        };
        let citations: Vec<_> = cited.iter().map(citation).collect();
        Coverage::from(table::rows(ROWS).unwrap(), &citations, &gaps::parse(gaps).unwrap())
    }

    #[test]
    fn every_row_has_one_status() {
        let test = || Place::Test("shown".into());
        let cited =
            [("XLT-01", Place::Code), ("XLT-01", test()), ("XLT-02", Place::Code), ("XLT-04", test())];
        let coverage = coverage(&cited, GAPS);
        let words: Vec<_> = coverage.entries.iter().map(|entry| entry.status.word()).collect();
        assert_eq!(words, ["in part", "open", "open", "absence", "gap", "no option", "due", "later"]);
        let open: Vec<_> = coverage.open().map(|(entry, missing)| (entry.row.id.as_str(), missing)).collect();
        assert_eq!(open, [("XLT-02", "a test"), ("XLT-03", "code and a test")]);
        assert!(coverage.mistakes.is_empty(), "{:?}", coverage.mistakes);
    }

    #[test]
    fn what_contradicts_itself_is_a_mistake() {
        let test = || Place::Test("shown".into());
        let both =
            [("MAP-18", Place::Code), ("MAP-18", test()), ("XLT-99", Place::Code), ("XLT-04", Place::Code)];
        let mistakes = coverage(&both, &GAPS.replace("MAP-09", "XLT-03")).mistakes.join("\n");
        for part in ["no row XLT-99", "MAP-18 is cited", "XLT-04 is cited", "XLT-03 is of level MUST"] {
            assert!(mistakes.contains(part), "{part} is not in {mistakes}");
        }
    }
}
