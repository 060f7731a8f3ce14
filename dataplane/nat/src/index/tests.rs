use std::collections::HashMap;

use super::*;
use crate::hash::{HashSeed, Rng};

fn place(index: &Index, key: u64) -> Place {
    index.place(HashSeed::new([11, 22, 33, 44]).of_two(key, 5))
}

#[test]
fn the_other_bucket_of_the_other_bucket_is_the_first() {
    for entries in [1, 20, 1000, 65_536, 1_000_001] {
        let index = Index::new(entries, Touch::WhenUsed);
        for n in 0..1000u32 {
            let (bucket, tag) = (n * 7919 % index.buckets.len() as u32, (n * 65_521 + 1) as u16);
            let other = index.other(bucket, tag);
            assert_ne!(other, bucket);
            assert!((other as usize) < index.buckets.len());
            assert_eq!(index.other(other, tag), bucket);
        }
    }
}

#[test]
fn agrees_with_a_hash_map_at_95_percent_load_and_while_emptied() {
    let mut index = Index::new(40_000, Touch::WhenUsed);
    let target = index.buckets.len() as u32 * 10 * 95 / 100;
    let mut keys: Vec<u64> = Vec::new();
    let mut map: HashMap<u64, u32> = HashMap::new();
    let mut rng = Rng::new([9; 4], 0);
    let mut fill = |index: &mut Index, keys: &mut Vec<u64>, map: &mut HashMap<u64, u32>| {
        while index.len() < target {
            let key = rng.next();
            let number = key as u32;
            assert!(index.insert(place(index, key), number), "no room at {}", index.len());
            keys.push(number.into());
            *keys.last_mut().expect("just pushed") = key;
            map.insert(key, number);
        }
    };
    let check = |index: &Index, map: &HashMap<u64, u32>| {
        for (&key, &number) in map {
            assert_eq!(index.find(place(index, key), |found| found == number), Some(number));
        }
    };
    let mut pick = Rng::new([7; 4], 0);
    for _ in 0..3 {
        fill(&mut index, &mut keys, &mut map);
        check(&index, &map);
        for _ in 0..target / 2 {
            let key = keys.swap_remove(pick.below(keys.len() as u32) as usize);
            let number = map.remove(&key).expect("was entered");
            assert!(index.remove(place(&index, key), number));
            assert_eq!(index.find(place(&index, key), |found| found == number), None);
        }
        check(&index, &map);
    }
    for key in keys {
        assert!(index.remove(place(&index, key), map[&key]));
    }
    assert_eq!(index.len(), 0);
    assert!(
        index.buckets.iter().all(|bucket| bucket.0 == [0; 8]),
        "counts and marks of an empty index are zero"
    );
}

#[test]
fn a_full_index_refuses_and_keeps_what_it_has() {
    let mut index = Index::new(16, Touch::WhenUsed);
    let mut entered = Vec::new();
    let mut rng = Rng::new([3; 4], 0);
    for number in 0..200 {
        let at = place(&index, rng.next());
        if index.insert(at, number) {
            entered.push((at, number));
        }
    }
    assert!(entered.len() as u32 <= index.buckets.len() as u32 * 10);
    for (at, number) in entered {
        assert_eq!(index.find(at, |found| found == number), Some(number));
    }
}

#[test]
fn an_index_takes_as_many_entries_as_it_was_made_for_and_goes_on_doing_so() {
    for entries in [1, 7, 18, 19, 36, 100, 1000, 1024, 65_536] {
        for seed in 0..8 {
            let mut rng = Rng::new([seed; 4], 0);
            let mut index = Index::dense(entries, Touch::WhenUsed);
            let mut places: Vec<Place> = (0..entries).map(|_| place(&index, rng.next())).collect();
            for (number, &at) in (0..).zip(&places) {
                assert!(index.insert(at, number), "{number} of {entries}, seed {seed}");
            }
            // Full as it is, others come for those that go.
            for _ in 0..entries {
                let number = rng.below(entries);
                assert!(index.remove(places[number as usize], number));
                places[number as usize] = place(&index, rng.next());
                assert!(index.insert(places[number as usize], number), "{entries}, seed {seed}");
            }
            for (number, &at) in (0..).zip(&places) {
                assert_eq!(index.find(at, |found| found == number), Some(number));
            }
        }
    }
}

#[test]
fn at_design_load_few_entries_stand_in_their_second_bucket() {
    let mut index = Index::new(80_000, Touch::WhenUsed);
    let mut rng = Rng::new([5; 4], 0);
    for number in 0..80_000 {
        assert!(index.insert(place(&index, rng.next()), number));
    }
    let second: u64 = (0..index.buckets.len() as u32).map(|n| index.bucket(n).0[2] >> COUNT_SHIFT).sum();
    assert!(second < 80_000 * 7 / 100, "{second}");
}
