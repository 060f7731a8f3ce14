//! A fixed array of owned mbufs: what one call to a driver receives or sends.
//!
//! The array holds raw pointers so that drivers write and read it in place. Every pointer below `len` is an owned mbuf;
//! those at and above it are stale copies that nobody reads. Dropping or clearing frees in bulk, one pool operation for
//! the whole burst.

use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;
use std::slice;

use sluice_dpdk_sys as sys;

use crate::mbuf::Mbuf;

/// Up to `N` owned packets, in order.
///
/// ```
/// # use sluice_dpdk::Burst;
/// let burst: Burst = Burst::new();
/// assert!(burst.is_empty() && Burst::<32>::CAPACITY == 32);
/// ```
pub struct Burst<const N: usize = 32> {
    mbufs: [MaybeUninit<Mbuf>; N],
    len: usize,
}

impl<const N: usize> Burst<N> {
    /// How many packets it has room for. Drivers count in 16 bits.
    pub const CAPACITY: usize = {
        assert!(N > 0 && N <= u16::MAX as usize);
        N
    };

    /// An empty burst.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        let _checked = Self::CAPACITY;
        Self { mbufs: [const { MaybeUninit::uninit() }; N], len: 0 }
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is no room.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == N
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// Gives the packet back if the burst is full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.mbufs.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the slot was below `len`, so it is owned; it no longer is, so it is read once.
        Some(unsafe { self.mbufs[self.len].assume_init_read() })
    }

    /// Takes all packets, in order. What the iterator does not give out is freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_, N> {
        let len = std::mem::take(&mut self.len);
        Drain { burst: self, next: 0, len }
    }

    /// The packets.
    #[inline]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: the first `len` slots are initialized, and MaybeUninit<T> is laid out as T.
        unsafe { slice::from_raw_parts(self.mbufs.as_ptr().cast(), self.len) }
    }

    /// The packets, to change.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: as in `as_slice`, borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.mbufs.as_mut_ptr().cast(), self.len) }
    }

    /// Iterates over the packets.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, Mbuf> {
        self.as_slice().iter()
    }

    /// Iterates over the packets, to change them.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, Mbuf> {
        self.as_mut_slice().iter_mut()
    }

    /// Frees all packets in one operation.
    #[inline]
    pub fn clear(&mut self) {
        let len = std::mem::take(&mut self.len);
        // SAFETY: the first `len` slots are owned mbufs, and `len` is 0 now, so they are not used again.
        unsafe { free(self.head(), len) };
    }

    /// The array, as drivers see it. `Mbuf` is a transparent pointer.
    #[inline]
    pub(crate) fn head(&mut self) -> *mut *mut sys::rte_mbuf {
        self.mbufs.as_mut_ptr().cast()
    }

    /// The free part of the array: room for `N - len` pointers.
    #[inline]
    pub(crate) fn tail(&mut self) -> *mut *mut sys::rte_mbuf {
        self.head().wrapping_add(self.len)
    }

    /// Counts `n` mbufs that were written to [`Burst::tail`].
    ///
    /// # Safety
    /// They were, each is as [`Mbuf::from_raw`] demands, and there was room.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(self.len + n <= N);
        self.len += n;
    }

    /// Forgets the first `n` packets, which someone else owns now, and moves the rest to the front.
    ///
    /// # Safety
    /// `n <= len`, and the new owner does not rely on the array.
    #[inline]
    pub(crate) unsafe fn forget_front(&mut self, n: usize) {
        debug_assert!(n <= self.len);
        self.len -= n;
        if self.len > 0 {
            // SAFETY: both ranges lie within the initialized part; they may overlap.
            unsafe { ptr::copy(self.mbufs.as_ptr().add(n), self.mbufs.as_mut_ptr(), self.len) };
        }
    }
}

/// Frees `len` mbufs.
///
/// # Safety
/// `first` points to `len` owned mbufs that are not used afterwards.
#[inline]
unsafe fn free(first: *mut *mut sys::rte_mbuf, len: usize) {
    if len > 0 {
        // SAFETY: the caller's promise. Pools outlive their buffers.
        unsafe { sys::sluice_mbuf_free_bulk(first, len as u32) };
    }
}

impl<const N: usize> Default for Burst<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for Burst<N> {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

impl<const N: usize> fmt::Debug for Burst<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Packets taken out of a burst that stays. See [`Burst::drain`].
#[derive(Debug)]
pub struct Drain<'a, const N: usize> {
    burst: &'a mut Burst<N>,
    next: usize,
    len: usize,
}

impl<const N: usize> Iterator for Drain<'_, N> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.len {
            return None;
        }
        let index = self.next;
        self.next += 1;
        // SAFETY: slots from `next` to `len` are owned by this iterator, and each is read once.
        Some(unsafe { self.burst.mbufs[index].assume_init_read() })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len - self.next, Some(self.len - self.next))
    }
}

impl<const N: usize> ExactSizeIterator for Drain<'_, N> {}

impl<const N: usize> Drop for Drain<'_, N> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: what was not given out is still owned here. A forgotten iterator leaks, as the burst's length is 0.
        unsafe { free(self.burst.head().wrapping_add(self.next), self.len - self.next) };
    }
}

/// Packets of a burst that is used up.
#[derive(Debug)]
pub struct IntoIter<const N: usize> {
    burst: ManuallyDrop<Burst<N>>,
    next: usize,
}

impl<const N: usize> Iterator for IntoIter<N> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.burst.len {
            return None;
        }
        let index = self.next;
        self.next += 1;
        // SAFETY: slots from `next` to `len` are owned by this iterator, and each is read once.
        Some(unsafe { self.burst.mbufs[index].assume_init_read() })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.burst.len - self.next;
        (left, Some(left))
    }
}

impl<const N: usize> ExactSizeIterator for IntoIter<N> {}

impl<const N: usize> Drop for IntoIter<N> {
    #[inline]
    fn drop(&mut self) {
        let left = self.burst.len - self.next;
        // SAFETY: what was not given out is still owned here, and the burst itself is never dropped.
        unsafe { free(self.burst.head().wrapping_add(self.next), left) };
    }
}

impl<const N: usize> IntoIterator for Burst<N> {
    type Item = Mbuf;
    type IntoIter = IntoIter<N>;

    #[inline]
    fn into_iter(self) -> IntoIter<N> {
        IntoIter { burst: ManuallyDrop::new(self), next: 0 }
    }
}

impl<'a, const N: usize> IntoIterator for &'a mut Burst<N> {
    type Item = &'a mut Mbuf;
    type IntoIter = slice::IterMut<'a, Mbuf>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
