//! Files mapped into memory. The only module of the crate with `unsafe` in it.
//!
//! What lies in a mapping can change under our hands at any time, by any process that may open the file. So it is
//! only ever seen through atomics: a reference to a plain integer there would be undefined behaviour as soon as the other side
//! writes. `memmap2` was looked at and left: it hands out byte slices, which is what must not be done here.
//!
//! One hole cannot be closed from here: whoever may write to a file may also truncate it, and the next access ends in
//! SIGBUS. The run directory's permissions are the guard against that.

use core::ops::Deref;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU32, AtomicU64};
use std::fs::File;
use std::sync::Arc;

use rustix::fs::fstatfs;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use sluice_nat::Session;

use crate::control_region::{ControlHeader, DataplaneHeader};
use crate::counters::WorkerCounters;
use crate::published::Published;
use crate::ring::RingIndices;
use crate::state_region::StateHeader;

/// A huge page.
const HUGE_PAGE: usize = 2 << 20;
/// A page.
const PAGE: usize = 4096;
/// What a tmpfs says of its type.
const TMPFS: i128 = 0x0102_1994;

/// Types that may be looked at inside a mapping.
///
/// # Safety
///
/// The type is made of atomic integers only: any bytes are a valid value, and other processes may change
/// them at any time.
pub(crate) unsafe trait Shareable {}

// SAFETY: an atomic integer.
unsafe impl Shareable for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl Shareable for AtomicU64 {}
// SAFETY: `repr(C)`, eight `AtomicU64`.
unsafe impl Shareable for Session {}
// SAFETY: `repr(C)`, `AtomicU64` only.
unsafe impl Shareable for WorkerCounters {}
// SAFETY: `repr(C)`, `AtomicU64` only.
unsafe impl Shareable for RingIndices {}
// SAFETY: `repr(C)`, `AtomicU64` only.
unsafe impl Shareable for DataplaneHeader {}
// SAFETY: `repr(C)`, `AtomicU64` only.
unsafe impl Shareable for ControlHeader {}
// SAFETY: `repr(C)`, `AtomicU64` only.
unsafe impl Shareable for StateHeader {}
// SAFETY: `repr(C)`, `AtomicU64` only.
unsafe impl<const WORDS: usize> Shareable for Published<WORDS> {}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loads only; a store would be SIGSEGV, so nothing that can store is handed out from such a mapping.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// A shared mapping of the first `len` bytes of a file.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only accessed through `Shareable` types.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file. The caller has checked that the file is that long.
    pub(crate) fn new(file: &File, len: usize, access: Access) -> rustix::io::Result<Arc<Self>> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice aliases no memory that Rust knows of.
        let base = unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, file, 0)? };
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::FAULT)?;
        Ok(Arc::new(Self { base, len }))
    }

    /// As [`Mapping::new`], to read and write, at an address where huge pages can lie.
    pub(crate) fn aligned(file: &File, len: usize) -> rustix::io::Result<Arc<Self>> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let room = len.next_multiple_of(HUGE_PAGE) + HUGE_PAGE;
        // SAFETY: a new mapping at an address of the kernel's choice, without access.
        let reserved = unsafe { mmap_anonymous(null_mut(), room, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let before = reserved.addr().wrapping_neg() % HUGE_PAGE;
        let base = reserved.wrapping_byte_add(before);
        // SAFETY: it replaces a part of the mapping that was just made, which nobody else knows.
        let mapped = unsafe { mmap(base, len, protection, MapFlags::SHARED | MapFlags::FIXED, file, 0) };
        // What is left of the reserved room goes back, or all of it.
        let (behind, end) = match mapped {
            Ok(_) => (before + len.next_multiple_of(PAGE), room),
            Err(_) => (before, room),
        };
        for (from, to) in [(0, before), (behind, end)].into_iter().filter(|(from, to)| from < to) {
            // SAFETY: parts of the reserved mapping on whole pages, which nobody uses.
            let _ = unsafe { munmap(reserved.wrapping_byte_add(from), to - from) };
        }
        let base = NonNull::new(mapped?.cast()).ok_or(rustix::io::Errno::FAULT)?;
        Ok(Arc::new(Self { base, len }))
    }

    /// Gets all pages now, huge ones if the kernel has them, so that nobody waits for one later. A file on a disk keeps its
    /// holes. What the kernel refuses, it gives when it is touched.
    pub(crate) fn populate(&self, file: &File) {
        if !fstatfs(file).is_ok_and(|system| i128::from(system.f_type) == TMPFS) {
            return;
        }
        let base = self.base.as_ptr().cast();
        // SAFETY: the range is this mapping, and no content changes.
        let _ = unsafe { madvise(base, self.len, Advice::LinuxPopulateWrite) };
        // SAFETY: the same. Small pages become huge ones, however the file system was mounted (Linux 6.1); not those that are
        // not there yet.
        unsafe { libc::madvise(base, self.len, libc::MADV_COLLAPSE) };
    }

    /// The value at an offset.
    ///
    /// # Panics
    ///
    /// If the value would not lie wholly inside the mapping, aligned: a layout computed wrong is a bug of this crate.
    pub(crate) fn at<T: Shareable>(self: &Arc<Self>, offset: usize) -> Shared<T> {
        let target = self.check::<T>(offset, 1);
        Shared { target, mapping: Arc::clone(self) }
    }

    /// `count` values from an offset. Panics like [`Mapping::at`].
    pub(crate) fn slice_at<T: Shareable>(self: &Arc<Self>, offset: usize, count: usize) -> Shared<[T]> {
        let first = self.check::<T>(offset, count);
        Shared { target: NonNull::slice_from_raw_parts(first, count), mapping: Arc::clone(self) }
    }

    fn check<T>(&self, offset: usize, count: usize) -> NonNull<T> {
        let end = size_of::<T>().checked_mul(count).and_then(|bytes| bytes.checked_add(offset));
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{count} values at {offset} in a mapping of {}",
            self.len
        );
        // SAFETY: `offset` is at most `len`, checked above.
        let target = unsafe { self.base.add(offset) }.cast::<T>();
        assert!(target.is_aligned(), "value at {offset} is not aligned to {}", align_of::<T>());
        target
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of `mmap`, and no `Shared` is left: each holds the mapping.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A reference into a mapping that keeps the mapping.
#[derive(Debug)]
pub(crate) struct Shared<T: ?Sized> {
    target: NonNull<T>,
    mapping: Arc<Mapping>,
}

// SAFETY: a `Shared` is a `&T` and an `Arc` of a mapping that may be used and dropped by any thread.
unsafe impl<T: ?Sized + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Shared<T> {}

impl<T: ?Sized> Shared<T> {
    /// Gives the mapping to the rest of the process's life.
    pub(crate) fn leak(self) -> &'static T {
        core::mem::forget(self.mapping);
        // SAFETY: the pointer was checked when made, and the mapping is never unmapped now.
        unsafe { self.target.as_ref() }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: checked for bounds and alignment when made; `mapping` keeps the memory; `T: Shareable` was asked for
        // by the only two functions that make one.
        unsafe { self.target.as_ref() }
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { target: self.target, mapping: Arc::clone(&self.mapping) }
    }
}
