//! What is not there: `docs/conformance-gaps.md`, four tables of name, reason, and what a user sees instead.

use anyhow::{Result, ensure};

use super::GAPS;
use super::table::{self, Row};

/// So many gaps may be declared in all, and no more.
const MOST_GAPS: usize = 9;

/// Under which heading a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// A declared gap.
    Gap,
    /// An option that does not exist; only rows of level MAY and CHOICE may be here.
    NoOption,
    /// It says that something is not there: a test shows that, and no code decides it.
    Absence,
    /// Kept, but for a part that is not there.
    Part,
}

impl Section {
    const ALL: [(&'static str, Self); 4] = [
        ("## Declared gaps", Self::Gap),
        ("## Options that do not exist", Self::NoOption),
        ("## Shown by absence", Self::Absence),
        ("## Kept in part", Self::Part),
    ];
}

/// Why a row is here.
#[derive(Clone, Debug)]
pub struct Gap {
    /// Name of the row.
    pub id: String,
    /// The heading it is under.
    pub section: Section,
    /// Why it is not there.
    pub reason: String,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Gaps(Vec<Gap>);

/// Reads the file.
///
/// # Errors
/// Of a heading that is missing, a row before the first, and a row without reason or without what a user sees.
pub fn parse(text: &str) -> Result<Gaps> {
    for (heading, _) in Section::ALL {
        ensure!(text.lines().any(|line| line == heading), "there is no heading \"{heading}\"");
    }
    let (mut gaps, mut section) = (Vec::new(), None);
    for line in text.lines() {
        if line.starts_with("## ") {
            section = Section::ALL.iter().find(|(heading, _)| *heading == line).map(|(_, section)| *section);
        }
        let Some(cells) = table::cells(line) else { continue };
        ensure!(
            cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()),
            "{} needs three cells",
            cells[0]
        );
        let Some(section) = section else { anyhow::bail!("{} is under no heading", cells[0]) };
        gaps.push(Gap { id: cells[0].to_owned(), section, reason: cells[1].to_owned() });
    }
    Ok(Gaps(gaps))
}

impl Gaps {
    /// The gap of a row.
    pub fn get(&self, id: &str) -> Option<&Gap> {
        self.0.iter().find(|gap| gap.id == id)
    }

    /// What is wrong with them.
    pub fn mistakes(&self, rows: &[Row]) -> Vec<String> {
        let mut mistakes = Vec::new();
        let declared = self.0.iter().filter(|gap| gap.section == Section::Gap).count();
        if declared > MOST_GAPS {
            mistakes.push(format!("{GAPS}: {declared} declared gaps, and at most {MOST_GAPS} may be"));
        }
        for (at, gap) in self.0.iter().enumerate() {
            if self.0[..at].iter().any(|other| other.id == gap.id) {
                mistakes.push(format!("{GAPS}: {} is there twice", gap.id));
            }
            match rows.iter().find(|row| row.id == gap.id) {
                None => mistakes.push(format!("{GAPS}: the table has no row {}", gap.id)),
                Some(row) if gap.section == Section::NoOption && !may_be_missing(&row.level) => {
                    mistakes.push(format!("{GAPS}: {} is of level {}, no option", row.id, row.level));
                }
                Some(_) => {}
            }
        }
        mistakes
    }
}

/// Levels of which the table says that an option needs no test before it exists.
fn may_be_missing(level: &str) -> bool {
    level.starts_with("MAY") || level.starts_with("CHOICE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_a_reason_and_a_heading() {
        let headings: String = Section::ALL.iter().map(|(heading, _)| format!("{heading}\n")).collect();
        assert!(parse(&headings).is_ok());
        assert!(parse("## Declared gaps\n").is_err());
        assert!(parse(&format!("{headings}| XLT-01 | because |  |\n")).is_err());
        assert!(parse(&format!("| XLT-01 | because | this |\n{headings}")).is_err());
        let many: String = (10..20).map(|n| format!("| XLT-{n} | because | this |\n")).collect();
        let gaps = parse(&headings.replacen('\n', &format!("\n{many}"), 1)).unwrap();
        assert!(gaps.mistakes(&[]).iter().any(|mistake| mistake.contains("10 declared gaps")));
    }
}
