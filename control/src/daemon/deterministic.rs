//! The log of the variables of deterministic pools (RFC 7422, section 3): with them, the ports of any time can be told without a
//! log of ports.

use std::time::{Duration, Instant};

use sluice_nat::Deterministic;

use crate::config::{Config, Variables, pool_spec, variables};

/// A record that nobody finds again is none: the variables are repeated so often.
const AGAIN: Duration = Duration::from_secs(86_400);

/// What was recorded last, and when.
#[derive(Default)]
pub(crate) struct Record {
    last: Option<(Vec<Variables>, Instant)>,
}

impl Record {
    /// Logs the variables if they are others than before, or a day has passed.
    pub(crate) fn keep(&mut self, config: &Config, now: Instant) {
        for line in self.due(config, now) {
            tracing::info!(target: "deterministic", "{line}");
        }
    }

    /// What is to be logged now.
    //= conformance LOG-26
    fn due(&mut self, config: &Config, now: Instant) -> Vec<String> {
        let of = |pool| {
            let spec = pool_spec(pool);
            let map = Deterministic::of(&spec).ok().flatten()?;
            Some(variables(&spec, &map))
        };
        if self.last.is_none() && config.pools.iter().all(|pool| pool.deterministic.is_none()) {
            return Vec::new();
        }
        if let Some((_, at)) = &self.last
            && now.duration_since(*at) < AGAIN
            && self.is_same(config.pools.iter().filter_map(of))
        {
            return Vec::new();
        }
        let all: Vec<Variables> = config.pools.iter().filter_map(of).collect();
        let mut lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        let before = self.last.take().map(|(before, _)| before).unwrap_or_default();
        // The end of a pool's ranges is a change as well.
        let gone = before.iter().filter(|old| !all.iter().any(|new| new.pool == old.pool));
        lines.extend(gone.map(|old| format!("pool {}: deterministic no more", old.pool)));
        self.last = Some((all, now));
        lines
    }

    fn is_same(&self, now: impl Iterator<Item = Variables>) -> bool {
        self.last.as_ref().is_some_and(|(last, _)| now.eq(last.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config(pool: &str) -> Config {
        let text = format!(
            "interfaces: {{ lan: {{ device: 'null:lan', addresses: [198.51.100.14/28] }} }}\n\
             pools: {{ public: {{ prefixes: [192.0.2.1]{pool} }} }}\n\
             nat44: [{{ sources: [198.51.100.0/28] }}]\n"
        );
        load("t.yaml", &text).unwrap_or_else(|error| panic!("{}", error.render(false))).config
    }

    //= conformance LOG-26
    #[test]
    fn variables_are_logged_when_they_change_and_once_a_day() {
        let start = Instant::now();
        let mut record = Record::default();
        assert!(record.due(&config(""), start).is_empty());
        let first = config(", deterministic: { inside: 198.51.100.0/28, dynamic: 2 }");
        let line = "pool public: I=198.51.100.0/28 O=192.0.2.1/32 C=14 D=2 M=4032 A=0 R=1024";
        assert_eq!(record.due(&first, start), [line]);
        assert!(record.due(&first, start + AGAIN - Duration::from_secs(1)).is_empty());
        assert_eq!(record.due(&first, start + AGAIN), [line]);
        let second = config(", deterministic: { inside: 198.51.100.0/28, dynamic: 4 }");
        let line = "pool public: I=198.51.100.0/28 O=192.0.2.1/32 C=14 D=4 M=3584 A=0 R=1024";
        assert_eq!(record.due(&second, start + AGAIN), [line]);
        assert_eq!(record.due(&config(""), start + AGAIN), ["pool public: deterministic no more"]);
        assert!(record.due(&config(""), start + AGAIN).is_empty());
    }
}
