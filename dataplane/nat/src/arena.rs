//! What needs `unsafe`, all of it: zeroed arrays whose pages are touched only when used, advice on
//! pages, and two processor instructions.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

mod sealed {
    /// Types for which all bits zero is a value.
    pub(crate) trait Zeroed {}
}

/// A bucket of an index, a cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Bucket(pub(crate) [u64; 8]);

impl sealed::Zeroed for Bucket {}
impl sealed::Zeroed for AtomicU8 {}
impl sealed::Zeroed for AtomicU32 {}
impl sealed::Zeroed for AtomicU64 {}

/// An array of zeroes. `vec![]` would write each of them; this asks the system for pages that are zero already.
pub(crate) fn zeroed<T: sealed::Zeroed>(len: usize) -> Box<[T]> {
    let memory = Box::<[T]>::new_zeroed_slice(len);
    // SAFETY: `Zeroed` is sealed in this module and implemented only for integers, for which zero bytes are a value.
    unsafe { memory.assume_init() }
}

/// Memory from which huge pages are worth while.
const HUGE_WORTH: usize = 4 << 20;

/// Asks the system to back a table by huge pages as it is touched: random look-ups in tables of many megabytes miss the
/// TLB at every step otherwise. A wish, not a need; small tables keep small pages.
pub(crate) fn wish_huge_pages<T>(table: &mut Vec<T>) {
    let bytes = table.capacity() * size_of::<T>();
    wish_huge(table.as_mut_ptr() as usize, bytes);
}

/// As [`wish_huge_pages`], for an array that has its length.
pub(crate) fn wish_huge_pages_boxed<T>(table: &mut [T]) {
    wish_huge(table.as_mut_ptr() as usize, size_of_val(table));
}

fn wish_huge(address: usize, bytes: usize) {
    if bytes < HUGE_WORTH {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let start = address.next_multiple_of(PAGE);
        let end = (address + bytes) & !(PAGE - 1);
        // SAFETY: the range lies within one allocation of the callers', and this advice changes neither content nor access rights.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

/// Asks for the cache line of `line`. A hint: it changes nothing that a program can see.
#[inline(always)]
pub(crate) fn prefetch<T>(line: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching never faults, and the address comes from a reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: PRFM never faults, and the address comes from a reference.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) core::ptr::from_ref(line), options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// Which of the twelve 16-bit lanes of three words are equal to `lane`, as bits.
#[inline(always)]
pub(crate) fn equal_lanes(words: [u64; 3], lane: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
        };
        // SAFETY: SSE2 is part of every x86_64 processor.
        unsafe {
            let wanted = _mm_set1_epi16(lane.cast_signed());
            let low = _mm_set_epi64x(words[1].cast_signed(), words[0].cast_signed());
            let high = _mm_set_epi64x(0, words[2].cast_signed());
            let equal = _mm_packs_epi16(_mm_cmpeq_epi16(low, wanted), _mm_cmpeq_epi16(high, wanted));
            _mm_movemask_epi8(equal) as u32 & 0xfff
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let lanes = words.iter().flat_map(|word| (0..4).map(move |at| (word >> (at * 16)) as u16));
        lanes.enumerate().fold(0, |bits, (at, found)| bits | u32::from(found == lane) << at)
    }
}
