//! Functions of `shim/shim.c`: DPDK's inline functions with a symbol.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::bindings::{FILE, rte_mempool};
use crate::mbuf::rte_mbuf;

/// Link state as `sluice_link_get` fills it.
#[allow(non_camel_case_types)]
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct sluice_link {
    /// Megabits a second; `u32::MAX` if the driver does not know.
    pub speed_mbps: u32,
    /// 1 if full duplex.
    pub full_duplex: u8,
    /// 1 if up.
    pub up: u8,
}

unsafe extern "C" {
    /// Receives up to `n` packets into `mbufs`; returns how many. The caller owns them.
    pub fn sluice_rx_burst(port: u16, queue: u16, mbufs: *mut *mut rte_mbuf, n: u16) -> u16;
    /// Hands up to `n` packets to the driver, from the front; returns how many it took. Those belong to the driver.
    pub fn sluice_tx_burst(port: u16, queue: u16, mbufs: *mut *mut rte_mbuf, n: u16) -> u16;
    /// A pool with its buffers back to back if addresses are virtual; null with DPDK's errno set.
    pub fn sluice_pool_create(
        name: *const c_char,
        count: c_uint,
        cache: c_uint,
        data_room: u16,
        socket: c_int,
    ) -> *mut rte_mempool;
    /// Not 0 if the buffers lie back to back in one area of memory.
    pub fn sluice_pool_packed(pool: *const rte_mempool) -> c_int;
    /// One mbuf with reference count 1 and no data, or null.
    pub fn sluice_mbuf_alloc(pool: *mut rte_mempool) -> *mut rte_mbuf;
    /// `n` mbufs or none; 0 is success.
    pub fn sluice_mbuf_alloc_bulk(pool: *mut rte_mempool, mbufs: *mut *mut rte_mbuf, n: c_uint) -> c_int;
    /// Frees a chain.
    pub fn sluice_mbuf_free(mbuf: *mut rte_mbuf);
    /// Frees `n` chains, whatever pools they came from.
    pub fn sluice_mbuf_free_bulk(mbufs: *mut *mut rte_mbuf, n: c_uint);
    /// DPDK's errno of the calling thread.
    pub fn sluice_errno() -> c_int;
    /// The calling thread's lcore, or [`crate::LCORE_ID_ANY`].
    pub fn sluice_lcore_id() -> c_uint;
    /// Fills `out` without waiting for the link to settle; 0 is success, else a negative errno.
    pub fn sluice_link_get(port: u16, out: *mut sluice_link) -> c_int;
    /// A stream whose writes are given to `sink` (cookie, bytes, length); null without memory.
    pub fn sluice_log_stream(sink: extern "C" fn(*mut c_void, *const c_char, usize) -> isize) -> *mut FILE;
}
