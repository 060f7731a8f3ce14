//! Rows of the table, from the table itself or from the document that was made of it.

use anyhow::{Context, Result, ensure};

/// One behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name, as `N64-TCP-07`.
    pub id: String,
    /// RFC and section.
    pub source: String,
    /// The strongest requirement word.
    pub level: String,
    /// What is to be seen.
    pub behaviour: String,
}

/// When a row is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The first release.
    First,
    /// The first release, with the load generator (issue 5).
    Generator,
    /// Later.
    Later,
}

impl Row {
    /// `N64-TCP` of `N64-TCP-07`.
    pub fn family(&self) -> &str {
        self.id.rsplit_once('-').map_or(self.id.as_str(), |(family, _)| family)
    }

    /// As the introduction of the table has it.
    pub fn tier(&self) -> Tier {
        let number: u32 =
            self.id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
        match (self.family(), number) {
            ("STAT" | "DISC", _) => Tier::Later,
            ("LOG", 1..=17 | 21..=28) => Tier::First,
            ("BENCH", 1..=37 | 60..=67) => Tier::Generator,
            ("LOG" | "BENCH", _) => Tier::Later,
            _ => Tier::First,
        }
    }
}

/// Whether a word is the name of a row: capitals and digits in parts, the last of them a number.
pub fn is_id(word: &str) -> bool {
    let Some((family, number)) = word.rsplit_once('-') else { return false };
    let capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    family.starts_with(|first: char| first.is_ascii_uppercase())
        && family.bytes().all(capital)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Cells of a table's row that is about a row of ours.
pub fn cells(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    is_id(cells.first()?).then_some(cells)
}

/// The rows of a text. Which column is which, the heads of its tables say.
///
/// # Errors
/// Of a row in a table without such a head, of a name that occurs twice, and of a text without rows.
pub fn rows(text: &str) -> Result<Vec<Row>> {
    let mut columns = None;
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        if line.starts_with("| id |") {
            let heads: Vec<&str> = line.split('|').map(str::trim).skip(1).collect();
            let place = |name: &str| heads.iter().position(|head| *head == name);
            columns = place("source").zip(place("level")).zip(place("behaviour"));
        }
        let Some(cells) = cells(line) else { continue };
        let ((source, level), behaviour) = columns.with_context(|| format!("{} has no head", cells[0]))?;
        let cell = |place: usize| {
            cells
                .get(place)
                .map(|cell| (*cell).to_owned())
                .with_context(|| format!("{} is cut short", cells[0]))
        };
        let id = cells[0].to_owned();
        ensure!(rows.iter().all(|row| row.id != id), "{id} is there twice");
        rows.push(Row { id, source: cell(source)?, level: cell(level)?, behaviour: cell(behaviour)? });
    }
    ensure!(!rows.is_empty(), "no rows");
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rows() {
        for id in ["XLT-01", "N64-TCP-07", "ICMP-P46-11", "BENCH-100"] {
            assert!(is_id(id), "{id}");
        }
        for word in ["id", "---", "XLT", "XLT-", "xlt-01", "Source of errors", "BENCH-1a", "-01"] {
            assert!(!is_id(word), "{word}");
        }
    }

    #[test]
    fn rows_are_read_by_the_heads_of_their_columns() {
        let row = |source: &str| Row {
            id: "XLT-01".into(),
            source: source.into(),
            level: "MUST".into(),
            behaviour: "this".into(),
        };
        let table = "| id | source | level | behaviour | how |\n| XLT-01 | 791 | MUST | this | x |";
        assert_eq!(rows(table).unwrap(), [row("791")]);
        let document = "| id | level | source | behaviour | x |\n| --- |\n| XLT-01 | MUST | 791 | this | y |";
        assert_eq!(rows(document).unwrap(), [row("791")]);
        assert!(rows("| XLT-01 | 791 | MUST | this |").is_err());
        assert!(rows("| id | source | level | behaviour |\n").is_err());
    }

    #[test]
    fn tiers_are_those_of_the_introduction() {
        let tier = |id: &str| {
            let (source, level, behaviour) = Default::default();
            Row { id: id.into(), source, level, behaviour }.tier()
        };
        assert!(["XLT-50", "ICMP-P64-00", "N64-ICMP-01", "LOG-17", "LOG-21"].map(tier) == [Tier::First; 5]);
        assert!(["BENCH-37", "BENCH-60"].map(tier) == [Tier::Generator; 2]);
        assert!(
            ["STAT-01", "DISC-08", "LOG-18", "LOG-29", "BENCH-38", "BENCH-68"].map(tier) == [Tier::Later; 6]
        );
    }
}
