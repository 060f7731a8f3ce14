//! Counters, and the law that every packet ends in exactly one place.
//!
//! Per thread of the data plane:
//! `rx + handoff_in + generated + fragments_made + injected = tx + punt + drops + handoff_out + absorbed + held`

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where packets come into being, and where they end.
const SOURCES: [&str; 5] = ["rx_packets", "handoff_in", "generated", "fragments_made", "injected"];
const ENDS: [&str; 5] = ["tx_packets", "punt", "handoff_out", "absorbed", "held"];

/// Counters of one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Counters by name.
    pub totals: BTreeMap<String, u64>,
    /// Drops by reason.
    pub drops: BTreeMap<String, u64>,
    /// Packets for the kernel by reason.
    pub punts: BTreeMap<String, u64>,
}

/// Counters of every thread of the data plane.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// The threads, workers first.
    pub threads: Vec<Thread>,
}

impl Counters {
    /// From what `sluice counters --worker N --json` writes, one document a thread.
    pub fn parse(documents: &[Value]) -> Result<Self> {
        let threads = documents
            .iter()
            .map(|document| Thread::parse(&document["counters"]))
            .collect::<Result<Vec<_>>>()?;
        ensure!(!threads.is_empty(), "no thread counts anything");
        Ok(Self { threads })
    }

    /// One counter, summed over the threads; an error for a name that nobody counts.
    pub fn total(&self, name: &str) -> Result<u64> {
        self.sum(name, |thread| &thread.totals)
    }

    /// Drops for one reason, summed over the threads.
    pub fn dropped(&self, reason: &str) -> Result<u64> {
        self.sum(reason, |thread| &thread.drops)
    }

    fn sum(&self, name: &str, of: impl Fn(&Thread) -> &BTreeMap<String, u64>) -> Result<u64> {
        let values: Option<Vec<u64>> =
            self.threads.iter().map(|thread| of(thread).get(name).copied()).collect();
        Ok(values.with_context(|| format!("no counter {name}"))?.iter().sum())
    }

    /// An error unless every thread's account balances and what one thread handed over another took.
    pub fn balanced(&self) -> Result<()> {
        for (number, thread) in self.threads.iter().enumerate() {
            let (left, right) = thread.balance();
            ensure!(
                left == right,
                "thread {number}: {left} packets came, {right} ended: {:?}",
                thread.nonzero()
            );
        }
        Ok(())
    }

    /// Drops since an earlier look, by reason, without the zeros.
    pub fn drops_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let all = |counters: &Self| {
            let mut sums = BTreeMap::new();
            for (reason, count) in counters.threads.iter().flat_map(|thread| &thread.drops) {
                *sums.entry(reason.clone()).or_insert(0) += count;
            }
            sums
        };
        let before = all(earlier);
        all(self)
            .into_iter()
            .map(|(reason, count)| {
                let then = before.get(&reason).copied().unwrap_or_default();
                (reason, count - then)
            })
            .filter(|(_, count)| *count != 0)
            .collect()
    }
}

impl Thread {
    fn parse(value: &Value) -> Result<Self> {
        let map = |key: &str| -> Result<BTreeMap<String, u64>> {
            let object = value[key].as_object().with_context(|| format!("no {key} in {value}"))?;
            object
                .iter()
                .map(|(name, count)| {
                    Ok((name.clone(), count.as_u64().with_context(|| format!("{name}: {count}"))?))
                })
                .collect()
        };
        Ok(Self { totals: map("totals")?, drops: map("drops")?, punts: map("punts")? })
    }

    /// Both sides of the law.
    pub fn balance(&self) -> (u64, u64) {
        let sum = |names: &[&str]| names.iter().filter_map(|name| self.totals.get(*name)).sum::<u64>();
        (sum(&SOURCES), sum(&ENDS) + self.drops.values().sum::<u64>())
    }

    fn nonzero(&self) -> Vec<(&str, u64)> {
        let maps = [&self.totals, &self.drops, &self.punts];
        maps.into_iter().flatten().filter(|(_, n)| **n != 0).map(|(name, n)| (name.as_str(), *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(tx: u64) -> [Value; 1] {
        [serde_json::json!({ "counters": {
            "totals": { "rx_packets": 10, "injected": 1, "tx_packets": tx, "punt": 2, "loops": 99,
                "handoff_in": 0, "handoff_out": 0 },
            "drops": { "no_route": 3 }, "punts": { "arp": 2 },
        } })]
    }

    #[test]
    fn the_law_holds_or_names_the_difference() {
        Counters::parse(&document(6)).unwrap().balanced().unwrap();
        let error = Counters::parse(&document(5)).unwrap().balanced().unwrap_err().to_string();
        assert!(error.contains("11 packets came, 10 ended"), "{error}");
    }

    #[test]
    fn drops_are_told_by_their_difference() {
        let before = Counters::parse(&document(6)).unwrap();
        let mut after = before.clone();
        after.threads[0].drops.insert("no_route".to_owned(), 5);
        assert_eq!(after.drops_since(&before), BTreeMap::from([("no_route".to_owned(), 2)]));
        assert!(before.total("no_such").is_err());
    }
}
