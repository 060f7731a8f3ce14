//! What was found before, and some thousand inputs like it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sluice_fuzz::{TARGETS, mutate::mutate, seeds};
use sluice_reference::dice::{Dice, Seeded};

/// Mutations of a target: as many as fit, and no more.
const MUTATIONS: usize = 4000;
const TIME: Duration = Duration::from_millis(800);

fn files(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target);
    let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

#[test]
fn what_was_found_stays_found() {
    for target in TARGETS {
        let corpus = files("corpus", target.name);
        assert!(!corpus.is_empty(), "{} has no corpus: scripts/fuzz writes one", target.name);
        for (path, bytes) in corpus.into_iter().chain(files("crashes", target.name)) {
            println!("{}", path.display());
            (target.run)(&bytes);
        }
    }
}

#[test]
fn mutations_of_the_corpus_do_no_harm() {
    for target in TARGETS {
        let seeds = seeds::of(target.name).into_iter().map(|seed| seed.1);
        let inputs: Vec<Vec<u8>> =
            files("corpus", target.name).into_iter().map(|file| file.1).chain(seeds).collect();
        let mut dice = Seeded::new(7);
        let start = Instant::now();
        for number in 0..MUTATIONS {
            if start.elapsed() > TIME {
                println!("{}: time for {number} mutations", target.name);
                break;
            }
            let [one, other] = [(); 2].map(|()| &inputs[dice.roll(inputs.len() as u32) as usize]);
            (target.run)(&mutate(one, other, &mut dice));
        }
    }
}

#[test]
fn the_corpus_is_small() {
    let all = TARGETS
        .iter()
        .flat_map(|target| files("corpus", target.name).into_iter().chain(files("crashes", target.name)));
    let (count, bytes) = all.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.1.len()));
    assert!(count < 300 && bytes < 1 << 20, "{count} files, {bytes} bytes");
}
