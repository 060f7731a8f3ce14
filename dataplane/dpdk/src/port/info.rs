//! What a port is and how it does: capabilities, link, statistics.

use std::fmt;

use crate::mempool::SocketId;
use crate::rss::RssFunctions;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a driver offers on a port.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The driver's name, as in `net_af_xdp`.
    pub driver: String,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// `RTE_ETH_RX_OFFLOAD_*`.
    pub rx_offloads: u64,
    /// `RTE_ETH_TX_OFFLOAD_*`.
    pub tx_offloads: u64,
    /// What it can hash; empty for software ports.
    pub rss_functions: RssFunctions,
    /// Bytes of the hash key; 0 if unknown.
    pub rss_key_length: u8,
    /// Entries of the indirection table.
    pub reta_size: u16,
    /// Where its memory should be.
    pub socket: SocketId,
    /// Smallest MTU.
    pub min_mtu: u16,
    /// Largest MTU.
    pub max_mtu: u16,
    /// The kernel interface below it, if any.
    pub interface_index: Option<u32>,
    /// Its address.
    pub mac: MacAddress,
}

/// State of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Up.
    pub up: bool,
    /// Megabits a second; `None` if the driver does not know. Software ports report a constant.
    pub speed_mbps: Option<u32>,
    /// Full duplex.
    pub full_duplex: bool,
}

/// Counters that every driver has, since the port was attached or they were reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets lost because the queue was full.
    pub rx_missed: u64,
    /// Broken packets.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets lost because the mempool was empty.
    pub rx_no_mbuf: u64,
}
