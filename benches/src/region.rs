//! Memory for session records.
//!
//! An engine wants its records for ever, as a mapped region is there for ever. What one benchmark leaves the next one uses, so
//! that a process does not grow with every table that it measures.

use std::cell::RefCell;

use sluice_nat::Session;

use crate::hardware::huge_vec;

thread_local! {
    static SPARE: RefCell<Vec<&'static [Session]>> = const { RefCell::new(Vec::new()) };
}

/// Free records. Whoever drops it makes no further use of them.
#[derive(Debug)]
pub struct Region {
    whole: &'static [Session],
    len: usize,
}

impl Region {
    /// A region of `len` records: the smallest spare one that is large enough, or new memory.
    pub fn new(len: usize) -> Self {
        let spare = SPARE.with_borrow_mut(|spare| {
            let fits = spare.iter().enumerate().filter(|(_, region)| region.len() >= len);
            fits.min_by_key(|(_, region)| region.len()).map(|(at, _)| at).map(|at| spare.swap_remove(at))
        });
        spare.map_or_else(|| Self::fresh(len), |whole| Self { whole, len })
    }

    /// A region of memory that nobody used before: what it costs can be seen.
    pub fn fresh(len: usize) -> Self {
        let mut records = huge_vec::<Session>(len);
        records.resize_with(len, Session::default);
        Self { whole: records.leak(), len }
    }

    /// Its records.
    pub fn records(&self) -> &'static [Session] {
        &self.whole[..self.len]
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.records().iter().filter(|record| record.is_live()).for_each(Session::delete);
        SPARE.with_borrow_mut(|spare| spare.push(self.whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Flows, Population};
    use sluice_nat::Kind;

    #[test]
    fn what_one_leaves_the_next_one_finds_empty() {
        let population = Population::new(Flows::udp(Kind::Nat44, 2000)).unwrap();
        drop(population);
        let region = Region::new(1500);
        assert_eq!((region.whole.len(), region.records().len()), (2000, 1500));
        assert!(region.whole.iter().all(|record| !record.is_live()));
        assert_eq!(Region::new(1500).whole.len(), 1500);
    }
}
