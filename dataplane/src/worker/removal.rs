//! Mappings that the operator takes away: some records a loop, and a word to the main thread when all were looked at.

use std::sync::atomic::Ordering;

use sluice_nat::Removal;

use super::{Worker, events};

/// What a loop may spend of it: so many records looked at, which lie one behind the other, or an eighth as many sessions deleted,
/// of which each costs as much as one that expires.
const BUDGET: usize = 256;

/// A removal under way.
#[derive(Debug)]
pub(super) struct Task {
    number: u32,
    removal: Removal,
    /// Next record to look at.
    from: u32,
    sessions: u32,
    /// Whether all records have been looked at once.
    again: bool,
}

impl Task {
    pub(super) fn new(number: u32, removal: Removal) -> Self {
        Self { number, removal, from: 0, sessions: 0, again: false }
    }
}

/// The number of a removal that is done, and how many sessions it deleted, in one word.
pub(crate) fn pack(number: u32, sessions: u32) -> u64 {
    u64::from(number) << 32 | u64::from(sessions)
}

/// What [`pack`] made.
pub(crate) fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

impl Worker {
    /// The next few records of a removal.
    //= conformance MAP-15
    #[cold]
    pub(super) fn remove_some(&mut self) {
        let Some(mut task) = self.removing.take() else { return };
        let mut probes = std::mem::take(&mut self.scratch.probes);
        let mut sink = events::Sink::new(&mut self.sight, &mut probes, self.began_ns);
        let done = self.engine.remove(&task.removal, task.from, BUDGET, self.now, &mut sink);
        self.scratch.probes = probes;
        task.sessions += done.sessions;
        match done.next {
            Some(next) => self.removing = Some(Task { from: next, ..task }),
            // A mapping may have got another session behind our back, before the first of its others was met.
            None if task.sessions > 0 && !task.again => {
                self.removing = Some(Task { from: 0, again: true, ..task });
            }
            None => self.removed.store(pack(task.number, task.sessions), Ordering::Release),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_count_share_a_word() {
        for (number, sessions) in [(1, 0), (u32::MAX, 7), (5, u32::MAX)] {
            assert_eq!(unpack(pack(number, sessions)), (number, sessions));
        }
    }
}
