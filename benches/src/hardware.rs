//! What needs `unsafe`, all of it: the cycle counter, prefetch, advice on pages, and free memory given back.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

/// What [`cycles`] counts.
#[cfg(target_arch = "x86_64")]
pub const UNIT: &str = "TSC cycles";
/// What [`cycles`] counts.
#[cfg(not(target_arch = "x86_64"))]
pub const UNIT: &str = "ns";

/// The processor's time stamp counter. Loads before the call are done when it is read, so that a measurement contains its
/// last cache miss; what follows does not start earlier.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn cycles() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: both instructions are part of every x86_64 processor and touch no memory. Linux lets user code read the
    // counter unless it was started with the TSC switched off, and then stops the program instead of giving wrong values.
    unsafe {
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        now
    }
}

/// Nanoseconds: other processors have no counter of cycles that a program may read.
#[cfg(not(target_arch = "x86_64"))]
pub fn cycles() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// How often the counter of [`cycles`] counts in a microsecond: found by waiting for a twentieth of a second.
pub fn cycles_per_microsecond() -> f64 {
    let (before, start) = (cycles(), Instant::now());
    std::thread::sleep(Duration::from_millis(50));
    let (after, elapsed) = (cycles(), start.elapsed());
    (after - before) as f64 / (elapsed.as_secs_f64() * 1e6)
}

/// Asks for the cache line of `line`. A hint: it changes nothing that a program can see.
#[inline(always)]
pub fn prefetch<T>(line: &T) {
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

/// Cycles that reading the counter adds to what lies between two readings.
pub fn reading() -> u64 {
    let between = || {
        let before = cycles();
        cycles() - before
    };
    std::iter::repeat_with(between).take(1000).min().unwrap_or(0)
}

/// Gives memory that was freed back to the system, so that what is allocated next can be seen to be new.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no preconditions; it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Large tables have mappings of their own from now on. Otherwise the C library takes the ones that follow upon a table that was
/// given back from its heap, where what lies between them counts too.
pub fn keep_allocator_steady() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator, which takes its own locks.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// An empty vector with room for `capacity` items, on huge pages if the system gives them: the numbers that the benchmarks
/// are compared with are for pages of 2 MiB. [`crate::machine`] says what was given.
pub fn huge_vec<T>(capacity: usize) -> Vec<T> {
    const PAGE: usize = 4096;
    let mut vec = Vec::<T>::with_capacity(capacity);
    let start = (vec.as_mut_ptr() as usize).next_multiple_of(PAGE);
    let end = (vec.as_mut_ptr() as usize + vec.capacity() * size_of::<T>()) & !(PAGE - 1);
    if start < end {
        // SAFETY: the range lies within one allocation of ours, and this advice changes neither content nor access rights.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
    vec
}
