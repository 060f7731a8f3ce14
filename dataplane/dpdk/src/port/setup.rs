//! Configuring a port: queues, hash, MTU, start.

use std::mem::MaybeUninit;
use std::sync::Arc;

use sluice_dpdk_sys as sys;

use super::{Port, PortConfig, RssConfig, Shared, State};
use crate::error::Error;
use crate::mempool::{HEADROOM, Mempool};
use crate::queue::{RxQueue, TxQueue};
use crate::rss::{KEY_LENGTH, RssFunctions};

/// The MTU of Ethernet, which a driver without the function carries anyway.
const ETHERNET_MTU: u16 = 1500;

/// A hash key, as long as a driver can ask for. Bytes beyond 40 meet data that no packet of ours has, so they are zero.
pub(super) type Key = [u8; u8::MAX as usize];

/// Bytes of a frame beside its MTU: Ethernet, two VLAN tags.
const FRAMING: u16 = 22;

/// Bytes that the kernel keeps free before a frame that it gives to `net_af_xdp`, behind our own headroom.
const XDP_HEADROOM: u16 = 256;

/// Entries in one element of the indirection table, as DPDK passes it.
const RETA_GROUP: usize = 64;

impl Port {
    /// Configures and starts the port, and hands out its queues. May be repeated once all queues are dropped; traffic
    /// stops meanwhile.
    ///
    /// # Errors
    /// Naming what was asked for and what the driver offers, or the step that the driver refused.
    pub fn configure(
        &mut self,
        config: &PortConfig,
        pool: &Mempool,
    ) -> Result<(Vec<RxQueue>, Vec<TxQueue>), Error> {
        let shared = &self.shared;
        if Arc::strong_count(shared) > 1 {
            return Err(Error::QueuesInUse { name: shared.name.clone() });
        }
        let mut state = shared.control();
        let info = shared.info()?;
        shared.check_queues(config, &info)?;
        shared.check_pool(config, pool)?;
        shared.stop(&mut state)?;
        shared.apply(config, &info, &mut state)?;
        // Before the driver can hold a buffer of it.
        state.pools.push(pool.clone());
        shared.set_up_queues(config, pool)?;
        shared.set_mtu(config.mtu)?;
        // SAFETY: the port is configured and its queues are set up.
        shared.check("starting", || unsafe { sys::rte_eth_dev_start(shared.id) })?;
        state.started = true;
        shared.receive_modes(config)?;
        let rx = (0..config.rx_queues).map(|queue| RxQueue::new(Arc::clone(shared), queue)).collect();
        let tx = (0..config.tx_queues).map(|queue| TxQueue::new(Arc::clone(shared), queue)).collect();
        Ok((rx, tx))
    }

    /// Sets key and functions of the hash on a running port.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn set_rss(&self, rss: &RssConfig) -> Result<(), Error> {
        let shared = &self.shared;
        let _control = shared.control();
        let info = shared.info()?;
        let mut key = long_key(rss);
        let mut raw = rss_conf(rss, &mut key, info.hash_key_size);
        // SAFETY: the port is attached; `raw` and the key it points to live through the call.
        shared.check("setting the hash", || unsafe { sys::rte_eth_dev_rss_hash_update(shared.id, &mut raw) })
    }

    /// Sets the indirection table: for each hash value modulo the table's size, a queue. `queues` is repeated to fill it.
    ///
    /// # Errors
    /// If the driver has no such table, or refuses.
    pub fn set_indirection(&self, queues: &[u16]) -> Result<(), Error> {
        let shared = &self.shared;
        let _control = shared.control();
        let size = shared.info()?.reta_size;
        if size == 0 || queues.is_empty() {
            return Err(shared.unsupported(
                format!("an indirection table of {} entries", queues.len()),
                format!("one of {size}"),
            ));
        }
        let groups = usize::from(size).div_ceil(RETA_GROUP);
        let mut table: Vec<sys::rte_eth_rss_reta_entry64> = (0..groups)
            .map(|group| sys::rte_eth_rss_reta_entry64 {
                mask: u64::MAX,
                reta: std::array::from_fn(|slot| queues[(group * RETA_GROUP + slot) % queues.len()]),
            })
            .collect();
        // SAFETY: the port is attached; the table has the size that it says, rounded up.
        shared.check("setting the indirection table", || unsafe {
            sys::rte_eth_dev_rss_reta_update(shared.id, table.as_mut_ptr(), size)
        })
    }
}

impl Shared {
    fn unsupported(&self, asked: String, offered: String) -> Error {
        Error::Unsupported { name: self.name.clone(), driver: self.driver.clone(), asked, offered }
    }

    fn check_queues(&self, config: &PortConfig, info: &sys::rte_eth_dev_info) -> Result<(), Error> {
        if config.rx_queues > info.max_rx_queues || config.tx_queues > info.max_tx_queues {
            return Err(self.unsupported(
                format!("{} receive and {} transmit queues", config.rx_queues, config.tx_queues),
                format!("{} and {}", info.max_rx_queues, info.max_tx_queues),
            ));
        }
        if config.mtu < info.min_mtu || config.mtu > info.max_mtu {
            return Err(self.unsupported(
                format!("MTU {}", config.mtu),
                format!("{} to {}", info.min_mtu, info.max_mtu),
            ));
        }
        let offered = RssFunctions::from_bits(info.flow_type_rss_offloads);
        match config.rss {
            Some(rss) if !offered.contains(rss.functions) => {
                Err(self.unsupported(format!("a hash over {}", rss.functions), offered.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// What drivers do not check: they lose the packets that do not fit, or scatter them.
    fn check_pool(&self, config: &PortConfig, pool: &Mempool) -> Result<(), Error> {
        let xdp = self.driver == "net_af_xdp";
        if xdp && !pool.is_packed() {
            let asked = "a pool whose buffers do not lie back to back".to_owned();
            let offered = "use of one whose do (addresses must be virtual: --iova-mode=va)".to_owned();
            return Err(self.unsupported(asked, offered));
        }
        let size = pool.config().data_room;
        let before = HEADROOM + if xdp { XDP_HEADROOM } else { 0 };
        let most = size.saturating_sub(before).saturating_sub(FRAMING);
        if config.mtu > most {
            let offered = format!("at most {most} with buffers of {size} bytes");
            return Err(self.unsupported(format!("MTU {}", config.mtu), offered));
        }
        Ok(())
    }

    fn stop(&self, state: &mut State) -> Result<(), Error> {
        if std::mem::take(&mut state.started) {
            // SAFETY: the port is attached and no queue object is left that could use it.
            self.check("stopping", || unsafe { sys::rte_eth_dev_stop(self.id) })?;
        }
        Ok(())
    }

    /// Counts of queues, hash and offloads.
    fn apply(
        &self,
        config: &PortConfig,
        info: &sys::rte_eth_dev_info,
        state: &mut State,
    ) -> Result<(), Error> {
        let mut raw = modes(config, info.rx_offload_capa);
        if let Some(rss) = config.rss.filter(|rss| !rss.functions.is_empty()) {
            let mut key = Box::new(long_key(&rss));
            raw.rx_adv_conf.rss_conf = rss_conf(&rss, &mut key, info.hash_key_size);
            state.keys.push(key);
        }
        let step =
            format!("configuring {} receive and {} transmit queues", config.rx_queues, config.tx_queues);
        // SAFETY: the port is attached and stopped; the structure is copied, and the key that it points to is kept in the
        // port's state until the port is closed.
        self.check(&step, || unsafe {
            sys::rte_eth_dev_configure(self.id, config.rx_queues, config.tx_queues, &raw)
        })
    }

    fn set_up_queues(&self, config: &PortConfig, pool: &Mempool) -> Result<(), Error> {
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is configured, both numbers are written.
        self.check("adjusting descriptors", || unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rx, &mut tx)
        })?;
        // SAFETY: the port is attached.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) } as u32;
        for queue in 0..config.rx_queues {
            let step = format!("setting up receive queue {queue} with {rx} descriptors");
            // SAFETY: the port is configured with this queue; no configuration means the driver's; the pool is kept in
            // the port's state until the port is closed.
            self.check(&step, || unsafe {
                sys::rte_eth_rx_queue_setup(self.id, queue, rx, socket, std::ptr::null(), pool.as_raw())
            })?;
        }
        for queue in 0..config.tx_queues {
            let step = format!("setting up transmit queue {queue} with {tx} descriptors");
            // SAFETY: as above.
            self.check(&step, || unsafe {
                sys::rte_eth_tx_queue_setup(self.id, queue, tx, socket, std::ptr::null())
            })?;
        }
        Ok(())
    }

    /// Not every software port has the function, and none of them needs it for the MTU of Ethernet.
    fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        // SAFETY: the port is configured.
        let result = self.check(&format!("setting the MTU to {mtu}"), || unsafe {
            sys::rte_eth_dev_set_mtu(self.id, mtu)
        });
        if mtu <= ETHERNET_MTU { Ok(()) } else { result }
    }

    /// After the start: drivers that keep the modes in hardware lose them at reset.
    fn receive_modes(&self, config: &PortConfig) -> Result<(), Error> {
        let tolerate = |result: Result<(), Error>| match result {
            Err(Error::Port { cause, .. }) if cause.errno() == libc::ENOTSUP => Ok(()),
            other => other,
        };
        if config.promiscuous {
            // SAFETY: the port is started.
            let enable = || unsafe { sys::rte_eth_promiscuous_enable(self.id) };
            tolerate(self.check("receiving all frames", enable))?;
        }
        if config.all_multicast {
            // SAFETY: the port is started.
            let enable = || unsafe { sys::rte_eth_allmulticast_enable(self.id) };
            tolerate(self.check("receiving all multicast", enable))?;
        }
        Ok(())
    }
}

fn long_key(rss: &RssConfig) -> Key {
    let mut key: Key = [0; u8::MAX as usize];
    if let Some(given) = rss.key {
        key[..KEY_LENGTH].copy_from_slice(&given);
    }
    key
}

/// DPDK's form of the hash configuration; `key` must live as long as it is used.
fn rss_conf(rss: &RssConfig, key: &mut Key, driver_length: u8) -> sys::rte_eth_rss_conf {
    let (pointer, length) = match rss.key {
        Some(_) if driver_length == 0 => (key.as_mut_ptr(), KEY_LENGTH as u8),
        Some(_) => (key.as_mut_ptr(), driver_length),
        None => (std::ptr::null_mut(), 0),
    };
    sys::rte_eth_rss_conf { rss_key: pointer, rss_key_len: length, rss_hf: rss.functions.bits() }
}

/// Modes of a port. Whatever a device offers, nothing is left to it but the hash: checksums and sizes are made here, so that
/// packets are the same on every device (XLT-47).
//= conformance XLT-47
fn modes(config: &PortConfig, offered: u64) -> sys::rte_eth_conf {
    // SAFETY: all-zero is DPDK's way to say "default" in every field of this structure.
    let mut raw = unsafe { MaybeUninit::<sys::rte_eth_conf>::zeroed().assume_init() };
    raw.rxmode.mtu = u32::from(config.mtu);
    if config.rss.is_some_and(|rss| !rss.functions.is_empty()) {
        raw.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
        raw.rxmode.offloads = offered & sys::RTE_ETH_RX_OFFLOAD_RSS_HASH;
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    //= conformance XLT-47
    #[test]
    fn no_device_is_asked_to_touch_packets() {
        let rss = RssConfig { key: None, functions: RssFunctions::from_bits(u64::MAX) };
        for rss in [None, Some(rss)] {
            let raw = modes(&PortConfig { rss, ..PortConfig::default() }, u64::MAX);
            assert_eq!(raw.txmode.offloads, 0);
            assert_eq!(raw.rxmode.offloads & !sys::RTE_ETH_RX_OFFLOAD_RSS_HASH, 0);
        }
    }
}
