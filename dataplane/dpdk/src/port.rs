//! Ports: attach a device, ask what it can, configure it, take its queues.
//!
//! [`Port`] is the control side, one per device. [`Port::configure`] starts the port and hands out its queues; each
//! queue has one owner and keeps the port alive, so a port is stopped and closed when the last of them goes.
//!
//! Software drivers differ in what they leave behind; measured with 22.11.11 on veth, kernel 6.18:
//!
//! - `net_af_xdp` keeps its socket when its port is closed: it deletes the XDP program, but never its memory area
//!   (`xsk_umem__delete` is not called), which holds the socket. A second attach in the same process, and a second
//!   `configure`, fail with `EBUSY` inside until the process ends. After a kill the socket is gone and the program is not;
//!   the next process takes that program over.
//! - It does not return the buffers in its fill and completion rings either, 2048 of each and per queue whatever the
//!   number of descriptors. A pool for it needs more than that, and is best not shared with other ports.
//! - Packets lost because its receive ring was full are in no counter; likewise `net_af_packet`, whose ring has 512 frames
//!   whatever the number of descriptors.
//! - Neither needs promiscuous mode on veth. `net_af_xdp` has no all-multicast.

mod attach;
mod config;
mod info;
mod lower;
mod setup;

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_dpdk_sys as sys;

pub use config::{PortConfig, RssConfig};
pub use info::{Capabilities, Link, MacAddress, PortStats};

use crate::eal::Runtime;
use crate::error::{Cause, Error};
use crate::log;
use crate::mempool::{Mempool, SocketId};
use crate::rss::RssFunctions;

/// A port.
#[derive(Debug)]
pub struct Port {
    shared: Arc<Shared>,
}

/// What port and queues hold together. Its drop closes the port.
#[derive(Debug)]
pub(crate) struct Shared {
    id: u16,
    name: String,
    driver: String,
    /// Bus and device name, to give the device back; `None` if someone else attached it.
    device: Option<(&'static str, String)>,
    /// The kernel interface below, if there is one.
    lower: Option<lower::Lower>,
    /// Control calls of DPDK are not thread-safe, so each holds this. The packet path never does.
    state: Mutex<State>,
    /// Last, so that EAL is there while the port is closed.
    _runtime: Arc<Runtime>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    /// Every pool that queues were ever set up with: drivers hold buffers until they are closed.
    pools: Vec<Mempool>,
    /// Every hash key: DPDK keeps the pointer, and drivers read it when the port starts.
    #[expect(clippy::vec_box, reason = "the keys must stay where they are when the list grows")]
    keys: Vec<Box<setup::Key>>,
}

impl Port {
    /// DPDK's number of the port, as in [`crate::Mbuf::port`].
    pub fn id(&self) -> u16 {
        self.shared.id
    }

    /// DPDK's name of the port.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.shared.driver
    }

    /// What the driver offers.
    ///
    /// # Errors
    /// If the driver does not answer, as after its device was unplugged.
    pub fn capabilities(&self) -> Result<Capabilities, Error> {
        let shared = &self.shared;
        let _control = shared.control();
        let info = shared.info()?;
        // SAFETY: the port is attached.
        let socket = unsafe { sys::rte_eth_dev_socket_id(shared.id) };
        Ok(Capabilities {
            driver: shared.driver.clone(),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            rx_offloads: info.rx_offload_capa,
            tx_offloads: info.tx_offload_capa,
            rss_functions: RssFunctions::from_bits(info.flow_type_rss_offloads),
            rss_key_length: info.hash_key_size,
            reta_size: info.reta_size,
            socket: SocketId(socket),
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            interface_index: (info.if_index != 0).then_some(info.if_index),
            mac: shared.mac()?,
        })
    }

    /// The link, without waiting for it to settle. It is down if the kernel interface below has gone.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn link(&self) -> Result<Link, Error> {
        let _control = self.shared.control();
        let mut link = sys::sluice_link::default();
        // SAFETY: the port is attached, `link` is written.
        let read = || unsafe { sys::sluice_link_get(self.shared.id, &mut link) };
        self.shared.check("reading the link", read)?;
        Ok(Link {
            up: link.up != 0 && self.shared.lower.as_ref().is_none_or(lower::Lower::is_up),
            // 0 and all ones are "none" and "unknown".
            speed_mbps: (link.speed_mbps != 0 && link.speed_mbps != u32::MAX).then_some(link.speed_mbps),
            full_duplex: link.full_duplex != 0,
        })
    }

    /// Whether the kernel interface below has gone and another of its name has come: this port is dead, and one attached now
    /// would not be.
    pub fn is_replaced(&self) -> bool {
        self.shared.lower.as_ref().is_some_and(lower::Lower::is_replaced)
    }

    /// The port's address.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn mac(&self) -> Result<MacAddress, Error> {
        let _control = self.shared.control();
        self.shared.mac()
    }

    /// The MTU that the port was set to. Drivers without the notion say what was configured.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn mtu(&self) -> Result<u16, Error> {
        let _control = self.shared.control();
        let mut mtu = 0;
        // SAFETY: the port is attached, `mtu` is written.
        let read = || unsafe { sys::rte_eth_dev_get_mtu(self.shared.id, &mut mtu) };
        self.shared.check("reading the MTU", read)?;
        Ok(mtu)
    }

    /// The counters that every driver has.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let _control = self.shared.control();
        let mut raw = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: the port is attached; all-zero is valid for a structure of counters, whatever the driver leaves out.
        let raw = unsafe {
            self.shared
                .check("reading counters", || sys::rte_eth_stats_get(self.shared.id, raw.as_mut_ptr()))?;
            raw.assume_init()
        };
        Ok(PortStats {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_mbuf: raw.rx_nombuf,
        })
    }

    /// Sets the counters to zero.
    ///
    /// # Errors
    /// If the driver cannot.
    pub fn reset_stats(&self) -> Result<(), Error> {
        let _control = self.shared.control();
        // SAFETY: the port is attached.
        self.shared.check("resetting counters", || unsafe { sys::rte_eth_stats_reset(self.shared.id) })
    }

    /// All counters of the driver, by DPDK's names.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, Error> {
        let shared = &self.shared;
        let _control = shared.control();
        let step = "reading extended counters";
        // SAFETY: the port is attached; without an array it returns how many there are.
        let count = shared
            .count(step, || unsafe { sys::rte_eth_xstats_get_names(shared.id, std::ptr::null_mut(), 0) })?;
        let size = count as u32;
        let mut names: Vec<sys::rte_eth_xstat_name> = Vec::with_capacity(count);
        let mut values: Vec<sys::rte_eth_xstat> = Vec::with_capacity(count);
        // SAFETY: both arrays have room for `count` entries, and only as many as were written are counted.
        unsafe {
            let written =
                shared.count(step, || sys::rte_eth_xstats_get_names(shared.id, names.as_mut_ptr(), size))?;
            names.set_len(written.min(count));
            let written =
                shared.count(step, || sys::rte_eth_xstats_get(shared.id, values.as_mut_ptr(), size))?;
            values.set_len(written.min(count));
        }
        let text = |entry: &sys::rte_eth_xstat_name| {
            let bytes: Vec<u8> = entry.name.iter().map(|c| *c as u8).take_while(|byte| *byte != 0).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ok(values
            .iter()
            .filter_map(|entry| Some((text(names.get(usize::try_from(entry.id).ok()?)?), entry.value)))
            .collect())
    }
}

impl Shared {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Excludes other control calls on this port.
    fn control(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a control call and turns its return code into an error that names the step.
    fn check(&self, step: &str, call: impl FnOnce() -> i32) -> Result<(), Error> {
        self.count(step, call).map(drop)
    }

    /// As [`Shared::check`], for calls that return a number.
    fn count(&self, step: &str, call: impl FnOnce() -> i32) -> Result<usize, Error> {
        let (code, logged) = log::capture(call);
        usize::try_from(code).map_err(|_| Error::Port {
            name: self.name.clone(),
            driver: self.driver.clone(),
            step: step.to_owned(),
            cause: Cause::new(code, logged),
        })
    }

    fn info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
        // SAFETY: the port is attached; all-zero is valid for numbers and nullable pointers, and DPDK clears it anyway.
        unsafe {
            self.check("asking for capabilities", || sys::rte_eth_dev_info_get(self.id, info.as_mut_ptr()))?;
            Ok(info.assume_init())
        }
    }

    fn mac(&self) -> Result<MacAddress, Error> {
        let mut address = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: the port is attached, `address` is written.
        self.check("reading the address", || unsafe { sys::rte_eth_macaddr_get(self.id, &mut address) })?;
        Ok(MacAddress(address.addr_bytes))
    }
}

/// The driver of a port that nobody holds yet; empty if it does not answer.
fn driver_name(id: u16) -> String {
    let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
    // SAFETY: as in `Shared::info`; the name is a static string of the driver, or null.
    unsafe {
        if sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) != 0 {
            return String::new();
        }
        let name = info.assume_init().driver_name;
        if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
    }
}
