//! One side of the tester: a port's queues, a pool of its own, and frames that wait for room.

use std::time::{Duration, Instant};

use sluice_dpdk::{
    Burst, Device, Eal, Mempool, MempoolConfig, Port, PortConfig, PortStats, RxQueue, TxQueue,
};
use sluice_packet::Endpoints;

use crate::signature::Signature;
use crate::template::Template;

/// How long a link may take to come up; a memif waits for its peer process.
const LINK_WAIT: Duration = Duration::from_secs(10);

/// A port with its one queue each way, not yet part of a side.
#[derive(Debug)]
pub struct Opened {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
}

/// A side.
#[derive(Debug)]
pub struct Side {
    /// The tester's MAC address here.
    pub mac: [u8; 6],
    ports: Vec<Port>,
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    /// Test frames that the driver has not taken yet.
    waiting: Burst,
    /// ARP and ND, which must not wait behind them.
    slow: Burst,
}

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// DPDK says no.
    #[error(transparent)]
    Dpdk(#[from] sluice_dpdk::Error),
    /// No carrier.
    #[error("{device}: the link is down after {} s; is its other end there, and up?", LINK_WAIT.as_secs())]
    LinkDown {
        /// The port.
        device: Device,
    },
}

impl Opened {
    /// Opens a port. `index` keeps names apart.
    ///
    /// # Errors
    /// If the device is missing or its driver refuses.
    pub fn open(eal: &Eal, device: &Device, index: u16) -> Result<Self, SideError> {
        // `net_af_xdp` keeps up to 4096 buffers in its rings for good, so a port has a pool to itself.
        let config = MempoolConfig { count: 8191, ..MempoolConfig::default() };
        let pool = Mempool::new(&format!("pktgen{index}"), &config)?;
        let mut port = Port::attach(eal, device, index)?;
        // Frames to other stations are a finding, so they have to be received.
        let config = PortConfig { promiscuous: true, ..PortConfig::default() };
        let (mut rx, mut tx) = port.configure(&config, &pool)?;
        Ok(Self { port, rx: rx.remove(0), tx: tx.remove(0), pool })
    }

    /// Waits until the link is up.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn wait_for_link(&self, device: &Device) -> Result<(), SideError> {
        let deadline = Instant::now() + LINK_WAIT;
        while !self.port.link()?.up {
            if Instant::now() > deadline {
                return Err(SideError::LinkDown { device: device.clone() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A side on this port. `number` and `seed` make a MAC address for ports that have none of their own.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn into_side(self, number: u8, seed: u64) -> Result<Side, SideError> {
        let mac = mac(&self.port, number, seed)?;
        Ok(Side::new(mac, vec![self.port], self.rx, self.tx, self.pool))
    }

    /// Two sides on two loopbacks: what one sends, the other receives.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn cross(self, other: Self, seed: u64) -> Result<(Side, Side), SideError> {
        let macs = (mac(&self.port, 1, seed)?, mac(&other.port, 2, seed)?);
        let inside = Side::new(macs.0, vec![self.port], other.rx, self.tx, self.pool);
        let outside = Side::new(macs.1, vec![other.port], self.rx, other.tx, other.pool);
        Ok((inside, outside))
    }
}

/// The port's own address. Rings have none, so they get one of the tester's.
//= conformance BENCH-08
fn mac(port: &Port, number: u8, seed: u64) -> Result<[u8; 6], SideError> {
    let own = port.mac()?.0;
    if own != [0; 6] {
        return Ok(own);
    }
    let [a, b, c, d, ..] = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Ok([a & 0xfc, number, number, b, c, d])
}

impl Side {
    fn new(mac: [u8; 6], ports: Vec<Port>, rx: RxQueue, tx: TxQueue, pool: Mempool) -> Self {
        Self { mac, ports, rx, tx, pool, waiting: Burst::new(), slow: Burst::new() }
    }

    /// Receives into an empty burst.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        self.rx.rx(burst)
    }

    /// Test frames that there is room for now.
    #[inline]
    pub fn room(&self) -> usize {
        Burst::<32>::CAPACITY - self.waiting.len()
    }

    /// Adds a test frame; `false` if there is no room or no buffer, and `next` is not asked, or if it has none.
    /// [`Side::flush`] sends it.
    #[inline]
    pub fn push(
        &mut self,
        template: &Template,
        next: impl FnOnce() -> Option<(Endpoints, Signature)>,
    ) -> bool {
        if self.waiting.is_full() {
            return false;
        }
        let Some(mut mbuf) = self.pool.alloc() else { return false };
        let Some((ends, signature)) = next() else { return false };
        let start = mbuf.headroom();
        mbuf.set_bounds(start, template.len());
        template.write(mbuf.data_mut(), &ends, &signature) && self.waiting.push(mbuf).is_ok()
    }

    /// Sends a frame that is none of the test's. It is dropped if there is no room: whoever asked asks again.
    pub fn send_slow(&mut self, bytes: &[u8]) {
        let Some(mut mbuf) = self.pool.alloc() else { return };
        let start = mbuf.headroom();
        mbuf.set_bounds(start, bytes.len());
        mbuf.data_mut().copy_from_slice(bytes);
        if self.slow.push(mbuf).is_ok() {
            self.tx.tx(&mut self.slow);
        }
    }

    /// Offers the driver what waits; returns whether nothing waits any more.
    #[inline]
    pub fn flush(&mut self) -> bool {
        self.tx.tx(&mut self.slow);
        self.tx.tx(&mut self.waiting);
        self.waiting.is_empty()
    }

    /// What the tester's own port has lost: frames that nobody else should be blamed for.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn own_losses(&self) -> Result<u64, SideError> {
        let lost = |stats: PortStats| stats.rx_missed + stats.rx_errors + stats.tx_errors + stats.rx_no_mbuf;
        let mut total = 0;
        for port in &self.ports {
            total += lost(port.stats()?);
        }
        Ok(total)
    }
}
