//! How long the longest of many steps takes by itself, on a machine that interrupts.
//!
//! A virtual machine stands still for hundreds of microseconds now and then, and a loop that does nothing shows it. But the
//! engine does the same in every run that begins with the same tables: interruptions hit other steps in each run, work hits
//! the same ones. So a step counts with the least that it took in any run. Memory has to be new in each, or else what is done
//! when it is first touched would be found in the first run only.

use crate::Error;

/// Runs that are enough: a step that was interrupted in every one of them would count as work.
pub const LEAST_RUNS: usize = 5;

/// What each step took at the least.
#[derive(Clone, Debug, Default)]
pub struct Least {
    steps: Vec<u64>,
    runs: usize,
    /// The longest step of each run, interruptions and all.
    longest: Vec<u64>,
}

impl Least {
    /// Takes a run into account.
    ///
    /// # Errors
    /// [`Error::OtherSteps`] if it had more or fewer steps than those before: then it did something else.
    pub fn add(&mut self, run: Vec<u64>) -> Result<(), Error> {
        self.longest.push(run.iter().copied().max().unwrap_or(0));
        self.runs += 1;
        if self.runs == 1 {
            self.steps = run;
            return Ok(());
        }
        if run.len() != self.steps.len() {
            return Err(Error::OtherSteps { expected: self.steps.len(), found: run.len() });
        }
        self.steps.iter_mut().zip(run).for_each(|(least, took)| *least = took.min(*least));
        Ok(())
    }

    /// The longest step.
    pub fn longest(&self) -> u64 {
        self.steps.iter().copied().max().unwrap_or(0)
    }

    /// The longest step but for the very first, in which all that a worker does is done for the first time.
    pub fn longest_later(&self) -> u64 {
        self.steps.iter().skip(1).copied().max().unwrap_or(0)
    }

    /// The longest step of each run as it was, in order of the runs.
    pub fn interrupted(&self) -> &[u64] {
        &self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_are_left_out_and_work_is_not() {
        let mut least = Least::default();
        for run in [vec![5, 900, 40, 7], vec![700, 6, 41, 7], vec![5, 6, 45, 800]] {
            least.add(run).unwrap();
        }
        assert_eq!((least.longest(), least.interrupted()), (40, &[900, 700, 800][..]));
        let mut first = Least::default();
        first.add(vec![50, 7]).unwrap();
        assert_eq!((first.longest(), first.longest_later()), (50, 7));
    }

    #[test]
    fn a_run_with_other_steps_is_refused() {
        let mut least = Least::default();
        least.add(vec![1; 3]).unwrap();
        assert!(matches!(least.add(vec![1; 4]), Err(Error::OtherSteps { expected: 3, found: 4 })));
    }
}
