//! Zeroed memory for entries, huge pages, prefetch: all `unsafe` of the crate is here.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use crate::entry::Entry;

/// A fixed array of entries, all empty at first.
pub(crate) struct Arena {
    words: Box<[AtomicU32]>,
}

impl Arena {
    /// `entries` empty entries, in huge pages if there are any. The allocator gets them from the kernel as zero pages, which take no memory before the
    /// first write; collecting `AtomicU32::new(0)` would write to all of them.
    pub(crate) fn new(entries: usize, huge_pages: bool) -> Self {
        let mut words = vec![0_u32; entries].into_boxed_slice();
        if huge_pages {
            advise_huge_pages(&mut words);
        }
        let words: *mut [u32] = Box::into_raw(words);
        // SAFETY: the pointer comes from `Box::into_raw`, and `AtomicU32` has the size, bit validity and, as checked
        // below, the alignment of `u32`, so it is the same allocation with the same layout.
        let words = unsafe { Box::from_raw(words as *mut [AtomicU32]) };
        Self { words }
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The entry at `index`, and all that its writer wrote before it.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Entry {
        Entry::from_word(self.words[index].load(Ordering::Acquire))
    }

    /// Replaces the entry at `index`; whoever reads it sees all that was written before.
    #[inline]
    pub(crate) fn set(&self, index: usize, entry: Entry) {
        self.words[index].store(entry.word(), Ordering::Release);
    }

    /// Asks for the cache line of `index`; an index out of range is ignored.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        if let Some(word) = self.words.get(index) {
            prefetch(word);
        }
    }
}

/// Asks for huge pages where `words` fill them. A kernel without them refuses, which costs time and nothing else.
#[cfg(target_os = "linux")]
fn advise_huge_pages(words: &mut [u32]) {
    use std::ffi::{c_int, c_void};

    const HUGE_PAGE: usize = 2 << 20;
    const MADV_HUGEPAGE: c_int = 14;
    // Declared here, for one call to the C library that the standard library links anyway.
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }

    let before = words.as_ptr().align_offset(HUGE_PAGE);
    let Some(inside) = words.get_mut(before..) else { return };
    let length = size_of_val(inside) / HUGE_PAGE * HUGE_PAGE;
    if length > 0 {
        // SAFETY: the range is whole pages inside of memory borrowed exclusively, and the advice changes what backs
        // it, not what it contains.
        let _refused = unsafe { madvise(inside.as_mut_ptr().cast(), length, MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_words: &mut [u32]) {}

const _: () = assert!(size_of::<AtomicU32>() == 4 && align_of::<AtomicU32>() == align_of::<u32>());

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch(word: &AtomicU32) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program can see and never faults; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) }
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn prefetch(word: &AtomicU32) {
    // SAFETY: PRFM reads nothing that the program can see and never faults.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) word, options(nostack, readonly, preserves_flags));
    }
}

/// Elsewhere stable Rust has no prefetch: the stages of a batch still leave their reads independent of each other.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn prefetch(_word: &AtomicU32) {}
