//! What needs `unsafe`, all of it: zeroed arrays whose pages are touched only when used, advice on pages, and two processor
//! instructions.
#![allow(unsafe_code)]

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::alloc::{Layout, handle_alloc_error};

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
impl<T: sealed::Zeroed, const N: usize> sealed::Zeroed for [T; N] {}

/// An array of zeroes. `vec![]` would write each of them; this asks the system for pages that are zero already.
pub(crate) fn zeroed<T: sealed::Zeroed>(len: usize) -> Box<[T]> {
    let memory = Box::<[T]>::new_zeroed_slice(len);
    // SAFETY: `Zeroed` is sealed in this module and implemented only for integers and arrays of them, for which zero bytes are a value.
    unsafe { memory.assume_init() }
}

/// Zeroed memory of its own. An allocator would write zeros to what is aligned to more than it aligns by itself, and by that give
/// it small pages before anyone can wish for others.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the memory belongs to this object alone, as that of a box does.
unsafe impl<T: Send> Send for Pages<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Pages<T> {}

impl<T: sealed::Zeroed> Pages<T> {
    /// Room for `len` items; whether its pages come when it is made or one by one as they are touched, see [`Touch`]. Without
    /// memory the process ends, as with any other allocation.
    pub(crate) fn new(len: usize, touch: Touch) -> Self {
        let Ok(layout) = Layout::array::<T>(len.max(1)) else {
            panic!("{len} items are more than memory can hold")
        };
        // SAFETY: a new private mapping, which replaces nothing.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                layout.size(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(start.cast::<T>()) {
            // Pages are aligned to more than any type here.
            Some(place) if start != libc::MAP_FAILED => {
                prepare(start as usize, layout.size(), touch);
                Self { start: place, len }
            }
            _ => handle_alloc_error(layout),
        }
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` items lie there, zeroed when they were mapped; `new` lets only types through for which that is a value.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Pages<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        let bytes = size_of::<T>() * self.len.max(1);
        // SAFETY: the mapping that `new` made, of the same size, and nobody borrows from it any more. Items need no drop.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}

/// When memory gets its pages. It has to be one or the other: a huge page that is given when a packet touches it can take the
/// system ten milliseconds to put together, and every other packet of the worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// All at the start, huge ones if the system has them: for tables of which any session may touch any part.
    AtStart,
    /// Small ones as they are needed: for tables that are filled from one end, or mostly not at all.
    WhenUsed,
}

/// Memory from which huge pages are worth while.
const HUGE_WORTH: usize = 4 << 20;

/// See [`Touch`], for a table that is still empty.
pub(crate) fn prepare_table<T>(table: &mut Vec<T>, touch: Touch) {
    let bytes = table.capacity() * size_of::<T>();
    prepare(table.as_mut_ptr() as usize, bytes, touch);
}

/// Gets the pages of a part of a table that is otherwise touched when used.
pub(crate) fn touch<T>(part: &[T]) {
    prepare(part.as_ptr() as usize, size_of_val(part), Touch::AtStart);
}

/// Asks the system for pages. Random look-ups in tables of many megabytes miss the TLB at every step without huge ones. A wish,
/// not a need: a system that cannot give them, or not now, gives small ones, and as they are touched.
fn prepare(address: usize, bytes: usize, touch: Touch) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let start = address.next_multiple_of(PAGE);
        let Some(len) = ((address + bytes) & !(PAGE - 1)).checked_sub(start) else { return };
        let advise = |advice| {
            // SAFETY: the range lies within one allocation of the callers', and this advice changes neither content nor access
            // rights.
            unsafe { libc::madvise(start as *mut libc::c_void, len, advice) };
        };
        match touch {
            Touch::AtStart => {
                if bytes >= HUGE_WORTH {
                    advise(libc::MADV_HUGEPAGE);
                }
                advise(libc::MADV_POPULATE_WRITE);
            }
            Touch::WhenUsed if bytes >= HUGE_WORTH => advise(libc::MADV_NOHUGEPAGE),
            Touch::WhenUsed => {}
        }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Pages of a mapping that are there.
    fn present(pages: &Pages<Bucket>) -> usize {
        let mut there = vec![0u8; size_of_val::<[Bucket]>(pages).div_ceil(4096)];
        // SAFETY: a mapping of this process, and a byte for each of its pages.
        let asked = unsafe {
            libc::mincore(pages.as_ptr().cast_mut().cast(), there.len() * 4096, there.as_mut_ptr())
        };
        assert_eq!(asked, 0);
        there.iter().filter(|&&page| page & 1 == 1).count()
    }

    /// Whether the system does as it is advised. Kernels before 5.14 refuse, emulators may say yes and do nothing.
    fn populates() -> bool {
        let pages = Pages::<Bucket>::new(64, Touch::WhenUsed);
        // SAFETY: a mapping of this process, whose content the advice does not change.
        unsafe { libc::madvise(pages.as_ptr().cast_mut().cast(), 4096, libc::MADV_POPULATE_WRITE) };
        present(&pages) == 1
    }

    /// Sessions that touched an index first waited up to ten milliseconds for a huge page.
    #[test]
    fn a_table_that_is_touched_anywhere_has_its_pages_from_the_start() {
        for buckets in [1 << 10, 1 << 17] {
            assert_eq!(present(&Pages::new(buckets, Touch::WhenUsed)), 0);
            if populates() {
                assert_eq!(present(&Pages::new(buckets, Touch::AtStart)), buckets * 64 / 4096);
            }
        }
    }
}
