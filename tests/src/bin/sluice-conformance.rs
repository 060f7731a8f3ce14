//! What `scripts/conformance` runs: see there.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use sluice_tests::conformance::{Coverage, DOCUMENT, document};

const USAGE: &str = r#"usage: scripts/conformance [--check | --json | --uncovered]

Prints how much of the conformance table is covered, and writes docs/conformance.md. A row is covered when code and a
test cite it (a comment //= with its id); others have to be in docs/conformance-gaps.md. Rows and behaviours come from
../shared/conformance.md, or where that is not there from docs/conformance.md itself.

  --check       writes nothing: fails if docs/conformance.md is not what would be written
  --json        all rows with their status, code and tests, for programs; writes nothing
  --uncovered   only the rows of this release that are open, with what is missing; writes nothing
  -h, --help    this text

Ends with 1 if a row of this release is open, a citation or a gap is wrong, or (--check) the document is stale.

examples:
  scripts/conformance                                        after citing a row
  scripts/conformance --uncovered | grep ^ICMP
  scripts/conformance --json | jq -r '.rows[] | select(.id == "N64-TCP-07") | .tests[].function'
"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mode = match arguments.as_slice() {
        [] => "",
        [mode @ ("--check" | "--json" | "--uncovered")] => mode,
        ["-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(mode) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(mode: &str) -> Result<bool> {
    let root = Path::new(".");
    let coverage = Coverage::of(root)?;
    let mut well = coverage.mistakes.is_empty() && coverage.open().next().is_none();
    match mode {
        "--json" => println!("{:#}", document::json(&coverage)),
        "--uncovered" => {
            for (entry, missing) in coverage.open() {
                println!("{} needs {missing}: {}", entry.row.id, entry.row.behaviour);
            }
        }
        _ => {
            print!("{}", document::summary(&coverage));
            let text = document::markdown(&coverage);
            let stale = std::fs::read_to_string(root.join(DOCUMENT)).ok().as_ref() != Some(&text);
            if stale && mode == "--check" {
                eprintln!("error: {DOCUMENT} is not what the sources say: run scripts/conformance");
                well = false;
            } else if stale {
                std::fs::write(root.join(DOCUMENT), text).context(DOCUMENT)?;
                println!("{DOCUMENT} written");
            }
            let open: Vec<&str> = coverage.open().map(|(entry, _)| entry.row.id.as_str()).collect();
            if !open.is_empty() {
                eprintln!("error: {} rows are open (--uncovered says why): {}", open.len(), open.join(", "));
            }
        }
    }
    for mistake in &coverage.mistakes {
        eprintln!("error: {mistake}");
    }
    Ok(well)
}
