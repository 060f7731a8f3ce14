//! Ports of a configuration: attached, set up, set aside between two topologies, given back.

use std::sync::atomic::{AtomicU32, Ordering};

use sluice_dpdk::{
    Capabilities, Device, Eal, Mempool, Port, PortConfig, PortStats, RssConfig, RssFunctions, RxQueue,
    SocketId, TxQueue,
};
use sluice_shm::PortInfo;
use sluice_shm::snapshot::{PortSpec, Snapshot};

use crate::topology::TopologyError;

/// Buffers besides those that sit in queues: in flight, on rings, in caches.
pub(crate) const SPARE_MBUFS: u32 = 8192;
const RX_DESCRIPTORS: u16 = 1024;
const TX_DESCRIPTORS: u16 = 1024;

/// Counts pools and devices: their names must differ from those of an earlier topology, which may still be in use.
pub(crate) static NAMES: AtomicU32 = AtomicU32::new(0);

/// A port and, once it is configured, its queues.
///
/// A port whose device, MTU and number of queues stay is never closed and opened again: `net_af_xdp` of DPDK 22.11 cannot
/// bind to an interface twice in one process.
pub(crate) struct AttachedPort {
    device: String,
    mtu: u16,
    mac: [u8; 6],
    /// Queues, where the device string says how many there are.
    fixed: Option<u16>,
    port: Port,
    /// Receive and transmit queues; none while threads have them.
    pub(crate) queues: Option<(Vec<RxQueue>, Vec<TxQueue>)>,
}

impl AttachedPort {
    /// Sets the port up with the queues that so many workers want, unless it has them. `waiting` is how many packets workers may
    /// keep; `pool` makes a pool of buffers.
    pub(crate) fn configure(
        &mut self,
        workers: usize,
        waiting: u32,
        pool: impl Fn(u32, SocketId) -> Result<Mempool, TopologyError>,
    ) -> Result<(), TopologyError> {
        let Self { device, mtu, fixed, port, queues, .. } = self;
        let failed = |error| TopologyError::Port { device: device.clone(), error: Box::new(error) };
        let offered = port.capabilities().map_err(failed)?;
        let plan = Plan::new(workers, &offered, *fixed);
        if queues.as_ref().is_some_and(|(rx, tx)| (rx.len(), tx.len()) == (plan.rx.into(), plan.tx.into())) {
            return Ok(());
        }
        *queues = None;
        // A pool for each port, on the port's NUMA socket: what one port holds must not starve another. `net_af_xdp` keeps
        // a fill ring and a completion ring of 2048 buffers each per queue, whatever the descriptors.
        let kept = if port.driver() == "net_af_xdp" { 4 } else { 1 };
        let queued = kept * u32::from(plan.rx + plan.tx) * u32::from(RX_DESCRIPTORS.max(TX_DESCRIPTORS));
        let buffers = pool((queued + waiting + SPARE_MBUFS).next_power_of_two() - 1, offered.socket)?;
        let config = PortConfig {
            rx_queues: plan.rx,
            tx_queues: plan.tx,
            rx_descriptors: RX_DESCRIPTORS,
            tx_descriptors: TX_DESCRIPTORS,
            mtu: *mtu,
            rss: plan.rss,
            promiscuous: true,
            all_multicast: true,
        };
        *queues = Some(port.configure(&config, &buffers).map_err(failed)?);
        Ok(())
    }

    /// Whether its kernel interface has been replaced by another of the same name.
    pub(crate) fn is_replaced(&self) -> bool {
        self.port.is_replaced()
    }

    /// Gives it back to the system.
    fn detach(self) {
        let Self { device, port, queues, .. } = self;
        drop(queues);
        if let Err(error) = port.detach() {
            tracing::warn!(%device, %error, "the port could not be given back");
        }
    }

    /// What is known of the port, for control. `queues` is how many it has of each kind, wherever they are.
    pub(crate) fn info(&self, (rx_queues, tx_queues): (u16, u16)) -> PortInfo {
        let Self { device, mac, port, .. } = self;
        let link = port.link().ok();
        let stats = port.stats().ok();
        let count = |read: fn(&PortStats) -> u64| stats.as_ref().map(read).unwrap_or_default();
        PortInfo {
            device: device.clone(),
            driver: port.driver().to_owned(),
            mac: *mac,
            mtu: port.mtu().unwrap_or_default(),
            link_up: link.as_ref().is_some_and(|link| link.up),
            speed_mbps: link.and_then(|link| link.speed_mbps).unwrap_or_default(),
            rx_queues,
            tx_queues,
            rx_packets: count(|stats| stats.rx_packets),
            tx_packets: count(|stats| stats.tx_packets),
            rx_missed: count(|stats| stats.rx_missed),
            rx_errors: count(|stats| stats.rx_errors),
            rx_no_mbuf: count(|stats| stats.rx_no_mbuf),
            tx_errors: count(|stats| stats.tx_errors),
        }
    }
}

/// Ports that are attached and not in the hands of threads.
#[derive(Default)]
pub struct Attached {
    pub(crate) ports: Vec<AttachedPort>,
    macs: Vec<[u8; 6]>,
}

impl Attached {
    /// Ports that threads have let go of.
    pub(crate) fn of(ports: Vec<AttachedPort>) -> Self {
        Self { ports, macs: Vec::new() }
    }

    /// Attaches the devices of a configuration, using those of `parked` that it still names.
    ///
    /// # Errors
    /// Names the device, and what DPDK said of it. What was attached goes back to `parked`.
    pub fn new(eal: &Eal, snapshot: &Snapshot, parked: &mut Self) -> Result<Self, TopologyError> {
        let mut attached = Self::default();
        for spec in &snapshot.ports {
            if let Err(error) = attached.add(eal, spec, parked) {
                parked.ports.append(&mut attached.ports);
                return Err(error);
            }
        }
        Ok(attached)
    }

    fn add(&mut self, eal: &Eal, spec: &PortSpec, parked: &mut Self) -> Result<(), TopologyError> {
        let failed = |error| TopologyError::Port { device: spec.device.clone(), error: Box::new(error) };
        let place = parked.ports.iter().position(|port| port.device == spec.device);
        let port = match place.map(|place| parked.ports.swap_remove(place)) {
            Some(mut port) if !port.is_replaced() => {
                if port.mtu != spec.mtu {
                    port.queues = None;
                    port.mtu = spec.mtu;
                }
                port
            }
            dead => {
                if let Some(dead) = dead {
                    dead.detach();
                }
                let device = Device::parse(&spec.device)
                    .map_err(|error| TopologyError::device(&spec.device, error))?;
                let number = NAMES.fetch_add(1, Ordering::Relaxed) as u16;
                let port = Port::attach(eal, &device, number).map_err(failed)?;
                let mac = port.mac().map_err(failed)?.0;
                let mac = if mac == [0; 6] { made_up_mac() } else { mac };
                let fixed = device.queues();
                AttachedPort { device: spec.device.clone(), mtu: spec.mtu, mac, fixed, port, queues: None }
            }
        };
        self.macs.push(port.mac);
        self.ports.push(port);
        Ok(())
    }

    /// Link-layer addresses, by port.
    pub fn macs(&self) -> &[[u8; 6]] {
        &self.macs
    }

    /// Puts ports aside.
    pub fn park(&mut self, mut other: Self) {
        self.ports.append(&mut other.ports);
    }

    /// Gives all ports back to the system.
    pub fn detach(&mut self) {
        self.ports.drain(..).for_each(AttachedPort::detach);
    }
}

/// How many queues a port gets, and how packets are spread over them.
struct Plan {
    rx: u16,
    tx: u16,
    rss: Option<RssConfig>,
}

impl Plan {
    /// As many as there are workers where the device spreads packets as we tell it. Where somebody else spreads them (the
    /// kernel, for `xdp:` and `packet:`), all queues that there are, for packets come on each. Other software ports may
    /// offer queues, but nothing spreads packets over them: one is all they are good for.
    fn new(workers: usize, offered: &Capabilities, fixed: Option<u16>) -> Self {
        let wanted = RssFunctions::IPV4
            | RssFunctions::IPV4_TCP
            | RssFunctions::IPV4_UDP
            | RssFunctions::IPV4_OTHER
            | RssFunctions::IPV6
            | RssFunctions::IPV6_TCP
            | RssFunctions::IPV6_UDP
            | RssFunctions::IPV6_OTHER;
        let functions = wanted & offered.rss_functions;
        let queues = match fixed {
            Some(queues) => queues,
            None if functions.is_empty() => 1,
            None => workers as u16,
        };
        let rx = queues.min(offered.max_rx_queues.max(1));
        Self {
            rx,
            tx: queues.min(offered.max_tx_queues.max(1)),
            rss: (rx > 1 && !functions.is_empty()).then_some(RssConfig { key: None, functions }),
        }
    }
}

/// An address for a port without one (`net_ring` has none): unicast, locally administered, random.
fn made_up_mac() -> [u8; 6] {
    use std::hash::{BuildHasher, RandomState};
    let [first, rest @ ..] = RandomState::new().hash_one(0).to_le_bytes();
    [first & 0xfc | 2, rest[0], rest[1], rest[2], rest[3], rest[4]]
}
