//! The few inputs of many that reach everything the many reach, from the control file of a libFuzzer merge.

use std::collections::{HashMap, HashSet};

/// Files that cover all edges together, at most so many: always the one that adds most, of equals the smallest.
///
/// The control file names the inputs in its head (two counts, then a path a line), and says of each by number how long it
/// is (`STARTED`) and which edges it was the first to reach in its merge or reaches at all (`FT`, `COV`).
pub fn choose(control: &str, most: usize) -> Vec<String> {
    let mut lines = control.lines();
    let count = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
    lines.next();
    let paths: Vec<&str> = lines.by_ref().take(count).collect();
    let mut sizes: HashMap<usize, u64> = HashMap::new();
    let mut reached: HashMap<usize, HashSet<u64>> = HashMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let (Some(word), Some(Ok(number))) = (words.next(), words.next().map(str::parse)) else { continue };
        let numbers = words.filter_map(|word| word.parse().ok());
        match word {
            "STARTED" => drop(sizes.insert(number, numbers.sum())),
            "FT" | "COV" => reached
                .entry(number)
                .or_default()
                .extend(numbers.map(|n: u64| n * 2 + u64::from(word == "FT"))),
            _ => {}
        }
    }
    let mut covered = HashSet::new();
    let mut chosen = Vec::new();
    while chosen.len() < most {
        let gain = |number: &usize| reached[number].difference(&covered).count();
        let size = |number: &usize| std::cmp::Reverse(sizes.get(number).copied().unwrap_or(0));
        let Some(best) = reached.keys().copied().max_by_key(|number| (gain(number), size(number))) else {
            break;
        };
        if gain(&best) == 0 {
            break;
        }
        covered.extend(reached.remove(&best).unwrap_or_default());
        chosen.extend(paths.get(best).map(|path| (*path).to_owned()));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_reach_what_many_reach() {
        let control = "3\n0\n/a\n/b\n/c\nSTARTED 0 10\nFT 0 1 2\nCOV 0 5\nSTARTED 1 20\nFT 1 1 2 3\nCOV 1 5\n\
                       STARTED 2 5\nFT 2 9\nCOV 2\n";
        assert_eq!(choose(control, 9), ["/b", "/c"]);
        assert_eq!(choose(control, 1), ["/b"]);
        assert!(choose("", 3).is_empty());
    }
}
