//! The first cache line of DPDK's packet buffer, field by field.
//!
//! ```text
//!  0 buf_addr        8 buf_iova
//! 16 data_off       18 refcnt     20 nb_segs   22 port      24 ol_flags
//! 32 packet_type    36 pkt_len    40 data_len  42 vlan_tci  44 hash (8 bytes)
//! 52 vlan_tci_outer 54 buf_len    56 pool
//! ```
//!
//! The layout is part of DPDK's ABI and has been the same since 20.11. `shim.c` asserts it against the installed headers,
//! the constants below assert this mirror against the same numbers.

use core::ffi::c_void;
use core::mem::{align_of, offset_of, size_of};

use crate::bindings::rte_mempool;

/// A packet buffer: this descriptor, and behind it headroom, data and tailroom at `buf_addr`.
#[allow(non_camel_case_types)]
#[repr(C, align(64))]
pub struct rte_mbuf {
    /// Start of the buffer, headroom included.
    pub buf_addr: *mut c_void,
    /// Its address for the device; not valid in builds where IOVA is always virtual.
    pub buf_iova: u64,
    /// Offset of the first data byte from `buf_addr`.
    pub data_off: u16,
    /// Owners of the buffer; written atomically by DPDK, 1 for every mbuf that Sluice owns.
    pub refcnt: u16,
    /// Segments in the chain, counted in its first mbuf.
    pub nb_segs: u16,
    /// Port on which the packet was received.
    pub port: u16,
    /// Offload flags, receive and transmit.
    pub ol_flags: u64,
    /// What the driver recognized, as `RTE_PTYPE_*`.
    pub packet_type: u32,
    /// Bytes in all segments.
    pub pkt_len: u32,
    /// Bytes in this segment.
    pub data_len: u16,
    /// VLAN tag, if stripped.
    pub vlan_tci: u16,
    /// RSS hash, if `ol_flags` says so.
    pub rss: u32,
    /// Second half of the hash union.
    pub hash_hi: u32,
    /// Outer VLAN tag, if stripped.
    pub vlan_tci_outer: u16,
    /// Size of the buffer at `buf_addr`.
    pub buf_len: u16,
    /// Where the mbuf came from and returns to.
    pub pool: *mut rte_mempool,
    /// Second cache line: chain, transmit offloads, dynamic fields. Not for Rust to touch.
    second_line: [u8; 64],
}

const _: () = {
    assert!(size_of::<rte_mbuf>() == 128);
    assert!(align_of::<rte_mbuf>() == 64);
    assert!(offset_of!(rte_mbuf, buf_addr) == 0);
    assert!(offset_of!(rte_mbuf, data_off) == 16);
    assert!(offset_of!(rte_mbuf, refcnt) == 18);
    assert!(offset_of!(rte_mbuf, nb_segs) == 20);
    assert!(offset_of!(rte_mbuf, port) == 22);
    assert!(offset_of!(rte_mbuf, ol_flags) == 24);
    assert!(offset_of!(rte_mbuf, packet_type) == 32);
    assert!(offset_of!(rte_mbuf, pkt_len) == 36);
    assert!(offset_of!(rte_mbuf, data_len) == 40);
    assert!(offset_of!(rte_mbuf, vlan_tci) == 42);
    assert!(offset_of!(rte_mbuf, rss) == 44);
    assert!(offset_of!(rte_mbuf, vlan_tci_outer) == 52);
    assert!(offset_of!(rte_mbuf, buf_len) == 54);
    assert!(offset_of!(rte_mbuf, pool) == 56);
};
