//! What the dataplane tells about a port.

use serde::Serialize;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::published::Published;

/// A port of the dataplane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortInfo {
    /// Device string of the configuration; at most 64 bytes are kept.
    pub device: String,
    /// Name of the DPDK driver; at most 32 bytes are kept.
    pub driver: String,
    /// MAC address of the device, which is its TAP twins' too.
    pub mac: [u8; 6],
    /// MTU of the device.
    pub mtu: u16,
    /// The link is up.
    pub link_up: bool,
    /// Speed of the link; 0: not known.
    pub speed_mbps: u32,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Packets that the device received.
    pub rx_packets: u64,
    /// Packets that the device transmitted.
    pub tx_packets: u64,
    /// Packets that the device lost because no worker fetched them in time.
    pub rx_missed: u64,
    /// Packets that came in damaged.
    pub rx_errors: u64,
    /// Packets that found no memory buffer.
    pub rx_no_mbuf: u64,
    /// Packets that the device could not transmit.
    pub tx_errors: u64,
}

/// A port in the region.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct PortWire {
    device: [u8; 64],
    driver: [u8; 32],
    mac: [u8; 6],
    mtu: u16,
    speed_mbps: u32,
    rx_queues: u16,
    tx_queues: u16,
    link_up: u8,
    spare: [u8; 7],
    counters: [u64; 6],
}

/// Words of a port in the region.
pub(super) const PORT_WORDS: usize = size_of::<PortWire>() / 8;

/// A port at its place.
pub(super) type PortRecord = Published<PORT_WORDS>;

impl PortInfo {
    pub(super) fn to_wire(&self) -> PortWire {
        let mut wire = PortWire::new_zeroed();
        put_text(&mut wire.device, &self.device);
        put_text(&mut wire.driver, &self.driver);
        wire.mac = self.mac;
        wire.mtu = self.mtu;
        wire.link_up = u8::from(self.link_up);
        wire.speed_mbps = self.speed_mbps;
        wire.rx_queues = self.rx_queues;
        wire.tx_queues = self.tx_queues;
        wire.counters = [
            self.rx_packets,
            self.tx_packets,
            self.rx_missed,
            self.rx_errors,
            self.rx_no_mbuf,
            self.tx_errors,
        ];
        wire
    }

    /// Any bytes are some port: there is nothing here that another value could break.
    pub(super) fn from_wire(wire: &PortWire) -> Self {
        let [rx_packets, tx_packets, rx_missed, rx_errors, rx_no_mbuf, tx_errors] = wire.counters;
        Self {
            device: text(&wire.device),
            driver: text(&wire.driver),
            mac: wire.mac,
            mtu: wire.mtu,
            link_up: wire.link_up == 1,
            speed_mbps: wire.speed_mbps,
            rx_queues: wire.rx_queues,
            tx_queues: wire.tx_queues,
            rx_packets,
            tx_packets,
            rx_missed,
            rx_errors,
            rx_no_mbuf,
            tx_errors,
        }
    }
}

/// Text, closed by a zero unless it fills the field.
fn put_text(field: &mut [u8], text: &str) {
    let length = text.floor_char_boundary(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

fn text(field: &[u8]) -> String {
    let length = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    // Control characters would reach an operator's terminal.
    String::from_utf8_lossy(&field[..length]).replace(char::is_control, "?")
}
