//! A port of the generator: frames go out and come in, a burst at a time.

use std::time::{Duration, Instant};

use sluice_dpdk::{Burst, Device, Eal, Mempool, MempoolConfig, Port, PortConfig, RxQueue, TxQueue};

use super::frame::{ROOM, Room};

/// Frames that are sent together.
pub const BURST: usize = 32;
/// How long a link may take to come up.
const LINK_WAIT: Duration = Duration::from_secs(10);

/// Where frames come from.
pub trait Source {
    /// Writes the next; returns its length.
    fn write(&mut self, room: &mut Room) -> usize;
}

/// A port.
pub trait Wire {
    /// Sends up to `count` frames, [`BURST`] at most; returns how many the port took.
    fn send(&mut self, count: usize, source: &mut impl Source) -> usize;

    /// Takes what has come and shows every `stride`-th frame; returns how many there were.
    fn receive(&mut self, stride: usize, show: impl FnMut(&[u8])) -> usize;
}

/// A port of DPDK.
#[derive(Debug)]
pub struct DpdkWire {
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    /// Frames that the port did not take at once.
    waiting: Burst<BURST>,
    until_shown: usize,
    // Behind its queues.
    port: Port,
}

impl DpdkWire {
    /// Opens a port. `index` keeps names apart.
    ///
    /// # Errors
    /// If the device is missing or its driver refuses.
    pub fn open(eal: &Eal, device: &Device, index: u16) -> Result<Self, sluice_dpdk::Error> {
        let config = MempoolConfig { count: 16_383, ..MempoolConfig::default() };
        let pool = Mempool::new(&format!("io{index}"), &config)?;
        let mut port = Port::attach(eal, device, index)?;
        let config = PortConfig { promiscuous: true, ..PortConfig::default() };
        let (mut rx, mut tx) = port.configure(&config, &pool)?;
        Ok(Self { rx: rx.remove(0), tx: tx.remove(0), pool, waiting: Burst::new(), until_shown: 0, port })
    }

    /// Waits until the link is up; `false` if it does not come up in time.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn wait_for_link(&self) -> Result<bool, sluice_dpdk::Error> {
        let deadline = Instant::now() + LINK_WAIT;
        while !self.port.link()?.up {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }
}

impl Wire for DpdkWire {
    #[inline]
    fn send(&mut self, count: usize, source: &mut impl Source) -> usize {
        // Frames that wait stay frames: they are not made again.
        let fresh = if self.waiting.is_empty() { self.pool.alloc_bulk(&mut self.waiting, count) } else { 0 };
        for mbuf in self.waiting.iter_mut().take(fresh) {
            let start = mbuf.headroom();
            mbuf.set_bounds(start, ROOM);
            let length = mbuf.data_mut().first_chunk_mut().map_or(0, |room| source.write(room));
            mbuf.set_bounds(start, length);
        }
        self.tx.tx(&mut self.waiting)
    }

    #[inline]
    fn receive(&mut self, stride: usize, mut show: impl FnMut(&[u8])) -> usize {
        let mut burst = Burst::<BURST>::new();
        let count = self.rx.rx(&mut burst);
        for mbuf in burst.iter() {
            if self.until_shown == 0 {
                self.until_shown = stride;
                show(mbuf.data());
            }
            self.until_shown -= 1;
        }
        count
    }
}
