//! What a port is configured with.

use crate::rss::{KEY_LENGTH, RssFunctions};

/// Distribution of received packets over queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RssConfig {
    /// The hash key; `None` for the driver's.
    pub key: Option<[u8; KEY_LENGTH]>,
    /// What is hashed: intersect with [`crate::Capabilities::rss_functions`] first.
    pub functions: RssFunctions,
}

/// Configuration of a port. The caller clamps counts to [`crate::Capabilities`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of a receive queue; adjusted to what the driver takes.
    pub rx_descriptors: u16,
    /// Descriptors of a transmit queue; adjusted to what the driver takes.
    pub tx_descriptors: u16,
    /// Bytes of a packet behind its Ethernet header.
    pub mtu: u16,
    /// Distribution over queues; `None` on ports that have no hash.
    pub rss: Option<RssConfig>,
    /// Receive all frames. Drivers without the function are not an error: software ports receive all anyway.
    pub promiscuous: bool,
    /// Receive all multicast frames, which ND needs; likewise.
    pub all_multicast: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            rss: None,
            promiscuous: false,
            all_multicast: true,
        }
    }
}
