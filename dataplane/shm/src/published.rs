//! A small record that one writer changes and anyone reads whole.
//!
//! The sequence is odd while the record changes. A reader that meets a change tries again a bounded number of times and
//! then does without: it never waits for a writer that may be dead.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// How often a reader tries.
const TRIES: usize = 64;

/// A record of `WORDS` words.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Published<const WORDS: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Published<WORDS> {
    /// Replaces the record; by its one writer only.
    pub(crate) fn store<T: IntoBytes + Immutable>(&self, value: &T) {
        const { assert!(size_of::<T>() == WORDS * 8) }
        let sequence = self.sequence.load(Ordering::Relaxed).wrapping_add(1) | 1;
        self.sequence.store(sequence, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, bytes) in self.words.iter().zip(value.as_bytes().as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(1), Ordering::Release);
    }

    /// The record; `None` if it was never stored, or kept changing.
    pub(crate) fn load<T: FromBytes + IntoBytes>(&self) -> Option<T> {
        const { assert!(size_of::<T>() == WORDS * 8) }
        let mut value = T::new_zeroed();
        for _ in 0..TRIES {
            // Relaxed and a fence instead of an acquire load: the mapping may be read-only, where only relaxed loads are
            // promised to be plain loads.
            let before = self.sequence.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            for (bytes, word) in value.as_mut_bytes().as_chunks_mut::<8>().0.iter_mut().zip(&self.words) {
                *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            }
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return Some(value);
            }
            core::hint::spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Published<2> {
        Published { sequence: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; 2] }
    }

    #[test]
    fn what_is_stored_is_loaded_and_nothing_before() {
        let record = empty();
        assert_eq!(record.load::<[u64; 2]>(), None);
        record.store(&[1_u64, 2]);
        assert_eq!(record.load(), Some([1_u64, 2]));
    }

    #[test]
    fn a_writer_that_died_while_storing_is_not_waited_for() {
        let record = empty();
        record.store(&[1_u64, 2]);
        record.sequence.store(3, Ordering::Relaxed);
        assert_eq!(record.load::<[u64; 2]>(), None);
        record.store(&[3_u64, 4]);
        assert_eq!(record.load(), Some([3_u64, 4]));
    }

    #[test]
    fn a_reader_never_sees_half_of_a_change() {
        let record = empty();
        let stop = core::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 1_u64;
                while !stop.load(Ordering::Relaxed) {
                    record.store(&[n, !n]);
                    n += 1;
                }
            });
            for _ in 0..200_000 {
                if let Some([a, b]) = record.load::<[u64; 2]>() {
                    assert_eq!(a, !b);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
