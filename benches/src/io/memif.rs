//! A memif, its client's side, for the generator alone: frames are written where the peer reads them, and received ones are
//! counted where the peer has put them.
//!
//! DPDK's own driver copies each frame once more on each side and allocates a buffer for it, which is about all that testpmd
//! does: a generator on it would be slower than what it is to measure. This one costs a fraction of that, so that the
//! device under test is the limit. Protocol and layout of the shared memory are those of memif 2.0, sizes those that the
//! driver has by default; the peer cannot tell the difference.
//!
//! ```text
//! region: ring to the server │ ring to the client │ 1024 buffers of 2048 bytes for the first │ 1024 for the second
//! ring:   0 cookie u32, flags u16, head u16 │ 64 tail u16 │ 128 descriptors: flags u16, region u16, length u32, offset u32, …
//! ```
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType, connect, recv, sendmsg, socket,
};

use super::frame::{ROOM, Room};
use super::wire::{Source, Wire};

const LOG_SLOTS: u8 = 10;
const SLOTS: u16 = 1 << LOG_SLOTS;
const BUFFER: usize = 2048;
const DESCRIPTOR: usize = 16;
const TAIL: usize = 64;
const DESCRIPTORS: usize = 128;
const RING: usize = DESCRIPTORS + DESCRIPTOR * SLOTS as usize;
const BUFFERS: usize = 2 * RING;
const REGION: usize = BUFFERS + 2 * BUFFER * SLOTS as usize;

const COOKIE: u32 = 0x3e3_1f20;
/// No interrupts, please.
const POLLED: u16 = 1;
const VERSION: u16 = 2 << 8;

/// How long the peer may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const MESSAGE: usize = 128;

// As the driver lays it out: descriptors and buffers begin on cache lines.
const _: () = assert!(RING.is_multiple_of(64) && BUFFER >= ROOM);

/// A connected memif.
#[derive(Debug)]
pub struct Memif {
    memory: Memory,
    /// Position behind the last frame that was sent, and behind the last that was received.
    head: u16,
    seen: u16,
    /// Counts down to the next frame that is shown.
    until_shown: usize,
    // The peer takes the connection for closed when these are.
    _channel: OwnedFd,
    _interrupts: [OwnedFd; 2],
}

#[derive(Clone, Copy)]
enum Ring {
    ToServer = 0,
    ToClient = 1,
}

impl Memif {
    /// Connects to a server that listens on a socket, or soon will.
    ///
    /// # Errors
    /// If none listens in time, or it does not want us.
    pub fn connect(path: &Path) -> Result<Self> {
        let channel = reach(path)?;
        set_socket_timeout(&channel, Timeout::Recv, Some(PATIENCE))?;
        expect(&channel, HELLO)?;

        let file = memfd_create("sluice-bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, REGION as u64)?;
        let memory = Memory::map(file.as_fd())?;
        memory.lay_out();

        let mut init = Message::new(INIT);
        init.put(2, &VERSION.to_le_bytes());
        init.put(33, b"sluice-bench");
        init.send(&channel, None)?;
        expect(&channel, ACK)?;
        let mut region = Message::new(ADD_REGION);
        region.put(4, &(REGION as u64).to_le_bytes());
        region.send(&channel, Some(file.as_fd()))?;
        expect(&channel, ACK)?;
        let interrupts = [eventfd(0, EventfdFlags::NONBLOCK)?, eventfd(0, EventfdFlags::NONBLOCK)?];
        for (ring, interrupt) in [Ring::ToServer, Ring::ToClient].into_iter().zip(&interrupts) {
            let to_server = matches!(ring, Ring::ToServer);
            let mut add = Message::new(ADD_RING);
            add.put(2, &u16::from(to_server).to_le_bytes());
            add.put(8, &(ring as u32 * RING as u32).to_le_bytes());
            add.put(12, &[LOG_SLOTS]);
            add.send(&channel, Some(interrupt.as_fd()))?;
            expect(&channel, ACK)?;
        }
        let mut connect = Message::new(CONNECT);
        connect.put(2, b"sluice-bench");
        connect.send(&channel, None)?;
        expect(&channel, CONNECTED)?;
        // All buffers are free to be filled.
        memory.head(Ring::ToClient).store(SLOTS, Ordering::Release);
        Ok(Self { memory, head: 0, seen: 0, until_shown: 0, _channel: channel, _interrupts: interrupts })
    }
}

impl Wire for Memif {
    #[inline]
    fn send(&mut self, count: usize, source: &mut impl Source) -> usize {
        let taken = self.memory.tail(Ring::ToServer).load(Ordering::Acquire);
        let free = SLOTS - self.head.wrapping_sub(taken);
        let count = count.min(usize::from(free));
        for _ in 0..count {
            let slot = self.head & (SLOTS - 1);
            // SAFETY: the slot is ours until the head has passed it, and no other reference to it exists.
            let room = unsafe { self.memory.buffer(Ring::ToServer, slot).cast::<Room>().as_mut() };
            let length = source.write(room);
            self.memory.length(Ring::ToServer, slot).store(length as u32, Ordering::Relaxed);
            self.head = self.head.wrapping_add(1);
        }
        if count > 0 {
            self.memory.head(Ring::ToServer).store(self.head, Ordering::Release);
        }
        count
    }

    #[inline]
    fn receive(&mut self, stride: usize, mut show: impl FnMut(&[u8])) -> usize {
        let filled = self.memory.tail(Ring::ToClient).load(Ordering::Acquire);
        let count = usize::from(filled.wrapping_sub(self.seen));
        for _ in 0..count {
            let slot = self.seen & (SLOTS - 1);
            let length = self.memory.length(Ring::ToClient, slot);
            if self.until_shown == 0 {
                self.until_shown = stride;
                let mut copy = [0u8; 128];
                let length = (length.load(Ordering::Relaxed) as usize).min(copy.len());
                // SAFETY: a buffer is longer than the copy, and the peer leaves it alone until the head passes it again.
                unsafe {
                    let from = self.memory.buffer(Ring::ToClient, slot).as_ptr();
                    from.copy_to_nonoverlapping(copy.as_mut_ptr(), length);
                }
                show(&copy[..length]);
            }
            self.until_shown -= 1;
            // The peer is told anew how long the buffer is.
            length.store(BUFFER as u32, Ordering::Relaxed);
            self.seen = self.seen.wrapping_add(1);
        }
        if count > 0 {
            self.memory.head(Ring::ToClient).store(self.seen.wrapping_add(SLOTS), Ordering::Release);
        }
        count
    }
}

/// The shared region.
#[derive(Debug)]
struct Memory(NonNull<u8>);

// SAFETY: the mapping belongs to this object alone in this process, and goes with it wherever it goes.
unsafe impl Send for Memory {}

impl Memory {
    fn map(file: BorrowedFd<'_>) -> Result<Self> {
        // SAFETY: a new mapping that overlaps no other.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                REGION,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                file,
                0,
            )?
        };
        NonNull::new(base.cast()).map(Self).ok_or(Errno::FAULT)
    }

    /// Rings as a client hands them over: empty, each descriptor with its buffer.
    fn lay_out(&self) {
        for ring in [Ring::ToServer, Ring::ToClient] {
            // SAFETY: places of the header and of descriptors, and nobody else has the memory yet.
            unsafe {
                self.at(ring as usize * RING).cast::<u32>().write(COOKIE);
                self.at(ring as usize * RING + 4).cast::<u16>().write(POLLED);
            }
            for slot in 0..SLOTS {
                let buffer = BUFFERS + (ring as usize * usize::from(SLOTS) + usize::from(slot)) * BUFFER;
                self.length(ring, slot).store(BUFFER as u32, Ordering::Relaxed);
                // SAFETY: as above; the offset lies behind the length.
                unsafe { self.descriptor(ring, slot).add(8).cast::<u32>().write(buffer as u32) };
            }
        }
    }

    /// A place in the region. All of them are below its length by the constants above.
    #[inline(always)]
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < REGION);
        // SAFETY: within the mapping.
        unsafe { self.0.add(offset) }
    }

    #[inline(always)]
    fn head(&self, ring: Ring) -> &AtomicU16 {
        // SAFETY: aligned, within the mapping, and only ever accessed as an atomic once the peer has it.
        unsafe { self.at(ring as usize * RING + 6).cast::<AtomicU16>().as_ref() }
    }

    #[inline(always)]
    fn tail(&self, ring: Ring) -> &AtomicU16 {
        // SAFETY: as above.
        unsafe { self.at(ring as usize * RING + TAIL).cast::<AtomicU16>().as_ref() }
    }

    #[inline(always)]
    fn descriptor(&self, ring: Ring, slot: u16) -> NonNull<u8> {
        self.at(ring as usize * RING + DESCRIPTORS + usize::from(slot) * DESCRIPTOR)
    }

    #[inline(always)]
    fn length(&self, ring: Ring, slot: u16) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.descriptor(ring, slot).add(4).cast::<AtomicU32>().as_ref() }
    }

    #[inline(always)]
    fn buffer(&self, ring: Ring, slot: u16) -> NonNull<u8> {
        self.at(BUFFERS + (ring as usize * usize::from(SLOTS) + usize::from(slot)) * BUFFER)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and no reference into it outlives this object. A failure leaves it mapped.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), REGION) };
    }
}

/// A control message.
struct Message([u8; MESSAGE]);

impl Message {
    fn new(kind: u16) -> Self {
        let mut message = Self([0; MESSAGE]);
        message.put(0, &kind.to_le_bytes());
        message
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn send(&self, channel: &OwnedFd, file: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = file.map(|file| [file]);
        if let Some(files) = &files {
            ancillary.push(SendAncillaryMessage::ScmRights(files));
        }
        sendmsg(channel, &[IoSlice::new(&self.0)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
    }
}

/// A connection to a socket that may not be there yet.
fn reach(path: &Path) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let channel = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        match connect(&channel, &address) {
            Err(Errno::NOENT | Errno::CONNREFUSED) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result.map(|()| channel),
        }
    }
}

/// Takes the next message, which is to be of a kind.
fn expect(channel: &OwnedFd, kind: u16) -> Result<()> {
    let mut message = [0; MESSAGE];
    let (length, _) = recv(channel, &mut message, RecvFlags::empty())?;
    if length == MESSAGE && message[..2] == kind.to_le_bytes() { Ok(()) } else { Err(Errno::PROTO) }
}
