//! Pools of packet buffers. A few per process (one per NUMA socket), made at start.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use sluice_dpdk_sys as sys;

use crate::burst::Burst;
use crate::eal::Runtime;
use crate::error::{Cause, Error, last_errno};
use crate::log;
use crate::mbuf::Mbuf;

/// Longest pool name: DPDK adds prefixes and keeps 32 bytes.
const LONGEST_NAME: usize = 25;

/// Bytes before the data of a fresh buffer, for headers that grow.
pub const HEADROOM: u16 = sys::RTE_PKTMBUF_HEADROOM as u16;

/// A NUMA socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub i32);

impl SocketId {
    /// Wherever there is memory.
    pub const ANY: Self = Self(sys::SOCKET_ID_ANY);
}

/// Size of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Buffers. A power of two minus one wastes no memory.
    pub count: u32,
    /// Buffers in each lcore's cache; at most 512 and two thirds of `count`. They are out of reach of other lcores.
    pub cache: u32,
    /// Bytes of a buffer, [`HEADROOM`] included. A frame with `net_af_xdp` has 384 bytes before
    /// it, as the kernel adds 256.
    pub data_room: u16,
    /// Where the memory is.
    pub socket: SocketId,
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self { count: 8191, cache: 256, data_room: 2048 + HEADROOM, socket: SocketId::ANY }
    }
}

/// A handle to a pool; clones are handles to the same one.
///
/// The memory is given back when the last handle goes, if every buffer is back by then. If not, pool and EAL stay for the
/// rest of the process: an [`Mbuf`] holds no reference, which would be a shared counter written per packet.
#[derive(Debug, Clone)]
pub struct Mempool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    raw: NonNull<sys::rte_mempool>,
    config: MempoolConfig,
    runtime: Arc<Runtime>,
}

// SAFETY: DPDK's default mempool handler is multi-producer and multi-consumer; caches are per lcore.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Makes a pool. Names are unique in a process, 25 bytes at most.
    ///
    /// # Errors
    /// If EAL is not running, for a name or sizes that DPDK does not take, and without memory.
    pub fn new(name: &str, config: &MempoolConfig) -> Result<Self, Error> {
        let runtime = Runtime::current()?;
        let refuse = |what, value: String, expected| Err(Error::Argument { what, value, expected });
        if name.is_empty() || name.len() > LONGEST_NAME {
            return refuse("mempool name", name.to_owned(), "1 to 25 bytes");
        }
        if config.cache > sys::RTE_MEMPOOL_CACHE_MAX_SIZE || config.cache * 3 / 2 > config.count {
            return refuse(
                "mempool cache",
                config.cache.to_string(),
                "at most 512 and two thirds of the count",
            );
        }
        if config.data_room < HEADROOM {
            return refuse(
                "mempool data room",
                config.data_room.to_string(),
                "at least the headroom, 128 bytes",
            );
        }
        let Ok(text) = CString::new(name) else {
            return refuse("mempool name", name.to_owned(), "it must not contain a NUL byte");
        };
        // SAFETY: `text` is NUL-terminated and is copied; the numbers were checked. EAL is running.
        let (raw, logged) = log::capture(|| unsafe {
            sys::sluice_pool_create(
                text.as_ptr(),
                config.count,
                config.cache,
                config.data_room,
                config.socket.0,
            )
        });
        let Some(raw) = NonNull::new(raw) else {
            return Err(Error::Mempool {
                name: name.to_owned(),
                count: config.count,
                data_room: config.data_room,
                cause: Cause::new(last_errno(), logged),
            });
        };
        Ok(Self { inner: Arc::new(Inner { raw, config: *config, runtime }) })
    }

    /// One buffer, without data; `None` if the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive. A fresh mbuf has one owner, which is the caller.
        let raw = NonNull::new(unsafe { sys::sluice_mbuf_alloc(self.as_raw()) })?;
        // SAFETY: as above.
        Some(unsafe { Mbuf::from_raw(raw) })
    }

    /// Adds up to `n` buffers without data to `out`, as many as it has room for; returns how many.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&self, out: &mut Burst<N>, n: usize) -> usize {
        let want = n.min(N - out.len());
        if want == 0 {
            return 0;
        }
        // SAFETY: the tail has room for `want` pointers, and on success all of them are mbufs with one owner.
        unsafe {
            if sys::sluice_mbuf_alloc_bulk(self.as_raw(), out.tail(), want as u32) == 0 {
                out.grow(want);
                return want;
            }
        }
        // All or nothing failed: take what is left.
        let mut got = 0;
        while got < want {
            let Some(mbuf) = self.alloc() else { break };
            if out.push(mbuf).is_err() {
                break;
            }
            got += 1;
        }
        got
    }

    /// Buffers free, those in caches included. Walks all caches: not for the packet path, and exact only at rest.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { sys::rte_mempool_avail_count(self.as_raw()) }
    }

    /// Buffers out of the pool, in a program's hands or a driver's queues.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { sys::rte_mempool_in_use_count(self.as_raw()) }
    }

    /// Whether all buffers lie back to back in one piece of memory, which `net_af_xdp` takes for granted. Not so if
    /// addresses are physical, or if hugepages were too scattered.
    pub fn is_packed(&self) -> bool {
        // SAFETY: the pool is alive.
        unsafe { sys::sluice_pool_packed(self.as_raw()) != 0 }
    }

    /// What it was made with.
    pub fn config(&self) -> &MempoolConfig {
        &self.inner.config
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut sys::rte_mempool {
        self.inner.raw.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the pool is alive. No handle is left to allocate with, and ports hold a handle until they are closed, so
        // with no buffer in use none can come back; a racing free shows as a buffer in use, which keeps the pool.
        unsafe {
            if sys::rte_mempool_in_use_count(self.raw.as_ptr()) == 0 {
                sys::rte_mempool_free(self.raw.as_ptr());
                return;
            }
        }
        std::mem::forget(Arc::clone(&self.runtime));
    }
}
