//! The configuration reader: any text gives a configuration, or problems that lie in the text. What is accepted can be
//! compiled, travels as a snapshot, and is accepted by the engine as well.

use std::sync::OnceLock;

use sluice_control::config;
use sluice_nat::{Geometry, Session, Shared, Spec};
use sluice_shm::RunDir;
use sluice_shm::snapshot_file::{decode, encode};

/// Pool addresses up to which the engine is asked: its port state has memory for each.
const ADDRESSES: u64 = 64;

/// Reads a configuration.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let checked = match config::load("fuzz.yaml", &text) {
        Ok(checked) => checked,
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.render(true).is_empty());
            error.problems.iter().for_each(|problem| lies_in(&text, problem));
            return;
        }
    };
    checked.warnings.iter().for_each(|problem| lies_in(&text, problem));
    let snapshot = config::compile(&checked.config, 1);
    let bytes = encode(&snapshot).expect("of a generation, and not too long");
    let read = decode(&RunDir::new("/nowhere"), &bytes).expect("just written");
    assert_eq!(read, snapshot);
    if addresses(&snapshot.nat) <= ADDRESSES {
        let compiled = shared().compile(&snapshot.nat, 1, None);
        assert!(compiled.is_ok(), "{compiled:?} of what the reader accepts");
    }
}

fn lies_in(text: &str, problem: &config::Problem) {
    let at = problem.at;
    // As YAML counts them: a carriage return alone ends a line, too.
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    assert!(at.line >= 1 && at.line as usize <= lines.len(), "{problem:?} in {} lines", lines.len());
    let columns = lines[at.line as usize - 1].chars().count();
    assert!(at.column >= 1 && at.column as usize <= columns + 1, "{problem:?} in {columns} columns");
}

fn addresses(spec: &Spec) -> u64 {
    let prefixes = spec.pools.iter().flat_map(|pool| &pool.prefixes);
    prefixes.map(|&(_, len)| 1u64 << (32 - u32::from(len).min(32))).sum()
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<std::sync::Arc<Shared>> = OnceLock::new();
    SHARED.get_or_init(|| {
        let records: &'static [Session] = Box::leak(vec![Session::default()].into_boxed_slice());
        Shared::new(records, Geometry { workers: 2, max_addresses: 4096, seed: [1; 4] })
    })
}
