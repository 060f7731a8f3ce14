//! Citations of rows: comments in Rust that say `//= conformance` and one or more names.
//!
//! A citation is in a **test** if it stands
//! - in a file below a folder `tests` of a crate, or in one that is called `tests.rs` or ends in `_tests.rs`;
//! - below `#[cfg(test)]` on a module or function, also when the module is a file of its own;
//! - below `tests/src/checks`, the behaviours that whole-system tests run.
//!
//! In the rest of `tests/src`, which only helps tests, it is in **neither**. Everywhere else it is in **code**. The test that a
//! citation belongs to is the function that follows it, or the one that it stands in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::TRAPS;

const MARK: &str = "//= conformance ";

/// Where a citation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where something is decided.
    Code,
    /// In a test, with its function.
    Test(String),
    /// In what only helps tests.
    Neither,
}

/// One row, cited once.
#[derive(Clone, Debug)]
pub struct Citation {
    /// The row.
    pub id: String,
    /// Path from the root of the checkout.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Code or test.
    pub place: Place,
}

impl Citation {
    /// `file:line`.
    pub fn at(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// Text of every Rust file by its path from the root.
pub type Sources = BTreeMap<String, String>;

/// All Rust files of a checkout, but not what was built from them.
///
/// # Errors
/// Of a file or folder that cannot be read.
pub fn sources(root: &Path) -> Result<Sources> {
    let mut sources = Sources::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && !name.starts_with("target") {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                sources.insert(path.strip_prefix(root)?.to_string_lossy().into_owned(), text);
            }
        }
    }
    Ok(sources)
}

/// Every citation of the files.
pub fn all(sources: &Sources) -> Vec<Citation> {
    let modules: Vec<String> = sources.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let mut citations = Vec::new();
    for (file, text) in sources {
        let in_module = |module: &String| {
            file.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        let whole = is_test_file(file) || modules.iter().any(in_module);
        let lines: Vec<&str> = text.lines().collect();
        let regions = test_regions(&lines);
        for (at, line) in lines.iter().enumerate() {
            let Some(ids) = cited(line) else { continue };
            let place = if file.starts_with("tests/src/") && !file.starts_with("tests/src/checks") {
                Place::Neither
            } else if whole || regions.iter().any(|region| region.contains(&at)) {
                Place::Test(function(&lines, at))
            } else {
                Place::Code
            };
            for id in ids.split(',').map(str::trim) {
                citations.push(Citation {
                    id: id.into(),
                    file: file.clone(),
                    line: at + 1,
                    place: place.clone(),
                });
            }
        }
    }
    citations
}

/// The names that a line cites: of a line of its own, or behind code.
fn cited(line: &str) -> Option<&str> {
    // What stands in a string is about citations, and none itself.
    line.split_once(MARK).filter(|(before, _)| !before.contains('"')).map(|(_, ids)| ids)
}

fn is_test_file(file: &str) -> bool {
    let (folders, name) = file.rsplit_once('/').unwrap_or(("", file));
    let below_tests =
        folders.strip_prefix("tests/").unwrap_or(folders).split('/').any(|folder| folder == "tests");
    below_tests || file.starts_with("tests/src/checks") || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// Paths, without `.rs`, of modules that are files of their own and only for tests.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    };
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]");
    let name = |line: &str| Some(line.split_once("mod ")?.1.strip_suffix(';')?.to_owned());
    declared.filter_map(|pair| name(pair[1])).map(|name| format!("{folder}/{name}")).collect()
}

/// Lines below `#[cfg(test)]`: to the brace that stands where the attribute does, as rustfmt has it.
fn test_regions(lines: &[&str]) -> Vec<std::ops::Range<usize>> {
    let mut regions = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim() == "#[cfg(test)]") {
        if lines.get(at + 1).is_some_and(|next| next.ends_with(';')) {
            continue;
        }
        let close = format!("{}}}", &line[..indent(line)]);
        let length = lines[at..].iter().position(|line| *line == close).unwrap_or(lines.len() - at);
        regions.push(at..at + length);
    }
    regions
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Name of the function that follows a citation, or else of the one around it.
fn function(lines: &[&str], at: usize) -> String {
    let aside = |line: &&&str| {
        ["//", "#", ")"].iter().any(|mark| line.trim_start().starts_with(mark)) || line.is_empty()
    };
    let next = lines[at + 1..].iter().find(|line| !aside(line));
    let around = || {
        lines[..at].iter().rev().filter(|line| indent(line) < indent(lines[at])).find_map(|line| name(line))
    };
    next.and_then(|line| name(line)).or_else(around).unwrap_or("the file").to_owned()
}

/// Name of the function that begins on a line.
fn name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let rest = code
        .strip_prefix("fn ")
        .or_else(|| code.starts_with("pub").then(|| code.split_once(" fn "))?.map(|(_, rest)| rest))?;
    rest.split(['(', '<']).next()
}

/// Tests that the list of traps names and that are not there, as sentences. A test is named as `file.rs::function`.
pub fn missing_tests(traps: &str, sources: &Sources) -> Vec<String> {
    let named = traps.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs::"));
    let exists = |(file, function): &(&str, &str)| {
        sources
            .get(&format!("{file}.rs"))
            .is_some_and(|text| text.lines().any(|line| name(line) == Some(function)))
    };
    named
        .filter(|test| !exists(test))
        .map(|(file, function)| format!("{TRAPS}: there is no test {file}.rs::{function}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cite(file: &str, text: &str) -> Vec<(String, Place)> {
        let sources = Sources::from([(file.to_owned(), text.replace("@ ", MARK))]);
        all(&sources).into_iter().map(|citation| (citation.id, citation.place)).collect()
    }

    #[test]
    fn code_and_tests_are_told_apart() {
        let text = "fn decide() {\n    @ XLT-01\n}\n\n#[cfg(test)]\nmod tests {\n    @ XLT-02, XLT-03\n    #[test]\n    fn shows() {}\n}\n";
        let test = || Place::Test("shows".into());
        let expected = [("XLT-01", Place::Code), ("XLT-02", test()), ("XLT-03", test())];
        assert_eq!(cite("a/src/b.rs", text), expected.map(|(id, place)| (id.into(), place)));
    }

    #[test]
    fn a_citation_inside_a_function_is_of_that_function() {
        let text = "pub(crate) fn outer<T>() {\n    @ XLT-01\n    let x = 1;\n}\n";
        assert_eq!(cite("a/tests/b.rs", text), [("XLT-01".into(), Place::Test("outer".into()))]);
    }

    #[test]
    fn files_that_are_tests() {
        for file in [
            "nat/tests/nat/tcp.rs",
            "nat/src/tcp/tests.rs",
            "shm/src/ring/loom_tests.rs",
            "tests/tests/a.rs",
            "tests/src/checks/mod.rs",
            "packet/src/icmp_error/tests/extension.rs",
        ] {
            assert!(is_test_file(file), "{file}");
        }
        for file in ["tests/src/lab.rs", "nat/src/tcp.rs", "nat/src/contests.rs"] {
            assert!(!is_test_file(file), "{file}");
        }
        let neither = cite("tests/src/lab.rs", "@ XLT-01\nfn lab() {}\n");
        assert_eq!(neither, [("XLT-01".into(), Place::Neither)]);
    }

    #[test]
    fn modules_that_are_files_of_their_own() {
        let declared = "#[cfg(test)]\nmod flood;\nmod rig;\n".to_owned();
        let text = || format!("{MARK}XLT-01\nfn f() {{}}\n");
        let sources = Sources::from([
            ("b/src/worker.rs".to_owned(), declared),
            ("b/src/worker/flood.rs".to_owned(), text()),
            ("b/src/worker/flood/more.rs".to_owned(), text()),
            ("b/src/worker/rig.rs".to_owned(), text()),
        ]);
        let tests = all(&sources).into_iter().filter(|citation| citation.place != Place::Code).count();
        assert_eq!(tests, 2);
    }

    #[test]
    fn traps_name_tests_that_exist() {
        let sources = Sources::from([("a/b.rs".to_owned(), "    fn here() {}\n".to_owned())]);
        assert!(missing_tests("| x | `a/b.rs::here` |", &sources).is_empty());
        assert_eq!(missing_tests("`a/b.rs::gone` and `a/c.rs::here`", &sources).len(), 2);
    }
}
