//! A frame inside a buffer that has room before and behind it.
//!
//! IPv4 to IPv6 grows a packet by 20 bytes at the front, ICMP errors change at the back. [`Frame`] is the view that
//! makes both cheap: the buffer never moves, only the frame's bounds do. The dataplane builds one over an mbuf and
//! writes the bounds back; tests build one over a `Vec`.

/// Bounds of a frame in its buffer. All indices below are relative to the start of the frame unless they say otherwise.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Frame<'a> {
    /// A frame at `start..start + len` of `buffer`.
    ///
    /// # Panics
    /// If the bounds lie outside the buffer: whoever makes a frame knows its buffer.
    #[inline]
    pub fn new(buffer: &'a mut [u8], start: usize, len: usize) -> Self {
        assert!(start + len <= buffer.len());
        Self { buffer, start, end: start + len }
    }

    /// The frame's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The frame's bytes, to write.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Offset of the frame in its buffer.
    #[inline]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Length of the frame in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether the frame has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Bytes free before the frame.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Bytes free behind the frame.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.buffer.len() - self.end
    }

    /// Grows the frame by `n` bytes at the front; what they hold is unspecified. False, and nothing changed, without room.
    #[inline]
    #[must_use]
    pub fn push_front(&mut self, n: usize) -> bool {
        if n > self.start {
            return false;
        }
        self.start -= n;
        true
    }

    /// Cuts `n` bytes off the front. False, and nothing changed, if the frame is shorter.
    #[inline]
    #[must_use]
    pub fn pull_front(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        self.start += n;
        true
    }

    /// Sets the length by moving the end; grown bytes are unspecified. False, and nothing changed, without room.
    #[inline]
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        if self.start + len > self.buffer.len() {
            return false;
        }
        self.end = self.start + len;
        true
    }
}
