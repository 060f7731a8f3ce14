//! An owned packet buffer.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use sluice_dpdk_sys as sys;
use sluice_packet::Frame;

/// A packet in a buffer of a [`crate::Mempool`]; dropping it returns the buffer.
///
/// ```text
/// buf_addr                                            buf_addr + buf_len
///    | headroom |        data        |      tailroom     |
///    0       data_off       data_off + data_len
/// ```
///
/// A driver that received a packet into several buffers gives a chain, of which this is the first: see
/// [`Mbuf::segments`]. Bytes and bounds here are those of the first segment.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf has one owner (reference count 1) and can be freed on any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    #[inline(always)]
    fn raw(&self) -> &sys::rte_mbuf {
        // SAFETY: a live mbuf, by the contract of `from_raw`; nobody else writes it.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn raw_mut(&mut self) -> &mut sys::rte_mbuf {
        // SAFETY: a live mbuf with one owner, borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    /// The buffer from its first byte to its last.
    #[inline(always)]
    fn buffer_mut(&mut self) -> &mut [u8] {
        let raw = self.raw();
        // SAFETY: `buf_addr` and `buf_len` are DPDK's and never written here; the memory was mapped zeroed, so every byte
        // is initialized, and the only owner is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(raw.buf_addr.cast::<u8>(), usize::from(raw.buf_len)) }
    }

    /// The packet's bytes.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: data lies within the buffer: drivers and `set_bounds` keep data_off + data_len <= buf_len.
        unsafe {
            let start = raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off));
            slice::from_raw_parts(start, usize::from(raw.data_len))
        }
    }

    /// The packet's bytes, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let (start, len) = (usize::from(self.raw().data_off), self.len());
        &mut self.buffer_mut()[start..start + len]
    }

    /// Bytes of data in the first segment.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.raw().data_len)
    }

    /// Whether there is no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the buffer: headroom, data and tailroom.
    #[inline]
    pub fn capacity(&self) -> usize {
        usize::from(self.raw().buf_len)
    }

    /// Bytes before the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    /// The packet as a frame over the whole buffer. Bounds that change in it are not the mbuf's until
    /// [`Mbuf::set_bounds`]; [`Mbuf::with_frame`] does both.
    #[inline(always)]
    pub fn frame(&mut self) -> Frame<'_> {
        let (start, len) = (self.headroom(), self.len());
        Frame::new(self.buffer_mut(), start, len)
    }

    /// Runs `f` on the frame and takes over its bounds.
    #[inline(always)]
    pub fn with_frame<R>(&mut self, f: impl FnOnce(&mut Frame<'_>) -> R) -> R {
        let mut frame = self.frame();
        let result = f(&mut frame);
        let (start, len) = (frame.start(), frame.len());
        self.set_bounds(start, len);
        result
    }

    /// Sets where data starts in the buffer, and its length.
    ///
    /// # Panics
    /// If that is not inside the buffer.
    #[inline(always)]
    pub fn set_bounds(&mut self, start: usize, len: usize) {
        let raw = self.raw_mut();
        assert!(start <= usize::from(raw.buf_len) && len <= usize::from(raw.buf_len) - start);
        // Both fit: they are at most buf_len, which is a u16. Further segments keep their share of the total.
        raw.pkt_len = raw.pkt_len - u32::from(raw.data_len) + len as u32;
        raw.data_off = start as u16;
        raw.data_len = len as u16;
    }

    /// Buffers in the chain: 1, unless a driver scattered the packet.
    #[inline]
    pub fn segments(&self) -> u16 {
        self.raw().nb_segs
    }

    /// The port it was received on; meaningless in a fresh buffer.
    #[inline]
    pub fn port(&self) -> u16 {
        self.raw().port
    }

    /// The RSS hash, if the NIC computed one.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let raw = self.raw();
        (raw.ol_flags & sys::RTE_MBUF_F_RX_RSS_HASH != 0).then_some(raw.rss)
    }

    /// Starts loading the line where the frame begins. For mbufs fresh from a driver, which has just written the
    /// descriptor that says where that is; `net_af_xdp` and others place frames as they like, so it cannot be guessed.
    #[inline]
    pub fn prefetch(&self) {
        let raw = self.raw();
        prefetch_line(raw.buf_addr.cast::<u8>().wrapping_add(usize::from(raw.data_off)));
    }

    /// Starts loading the descriptor, for mbufs that come from another core: first this, later [`Mbuf::prefetch`].
    #[inline]
    pub fn prefetch_descriptor(&self) {
        prefetch_line(self.0.as_ptr().cast());
    }

    /// Gives up ownership; the buffer is lost unless [`Mbuf::from_raw`] takes it again.
    #[inline]
    #[must_use = "the buffer is lost unless it is taken back"]
    pub fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    /// Takes ownership of a raw mbuf.
    ///
    /// # Safety
    /// It is a live, direct mbuf (the first of its chain) with reference count 1 whose pool has no private area, its data
    /// lies within its buffer, and nobody else uses it. A pointer from [`Mbuf::into_raw`] qualifies, once.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Self {
        Self(raw)
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the only owner gives the chain back. Its pool is alive: a pool with buffers in use is not freed.
        unsafe { sys::sluice_mbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("headroom", &self.headroom())
            .field("segments", &self.segments())
            .field("port", &self.port())
            .finish()
    }
}

/// Starts loading a cache line for reading; a hint, on any address.
#[inline(always)]
fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: PRFM never faults.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
