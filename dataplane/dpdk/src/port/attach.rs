//! Devices come and go: hotplug in both directions, and one [`Port`] per port.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_dpdk_sys as sys;

use super::lower::Lower;
use super::{Port, Shared, State, driver_name};
use crate::device::Device;
use crate::eal::{Eal, Runtime};
use crate::error::{Cause, Error};
use crate::log;

/// Ports that have a [`Port`]. Two would hand out the same queue twice.
static CLAIMED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl Port {
    /// Attaches a device. `index` keeps the names of several virtual devices apart; any number that is not in use.
    ///
    /// # Errors
    /// If the kernel interface is missing, PCI is off, the name is taken, or with what the driver said.
    pub fn attach(eal: &Eal, device: &Device, index: u16) -> Result<Self, Error> {
        let runtime = eal.runtime();
        let lower = match device.needs_interface() {
            None => None,
            Some(interface) => Some(Lower::find(interface).ok_or_else(|| Error::NoInterface {
                device: device.clone(),
                interface: interface.to_owned(),
            })?),
        };
        let (bus, name, arguments) = match device.vdev(index) {
            Some((name, arguments)) => ("vdev", name, arguments),
            None if !runtime.pci => return Err(Error::PciOff { device: device.clone() }),
            None => ("pci", device.to_string().trim_start_matches("pci:").to_owned(), String::new()),
        };
        if find(&name)?.is_some() {
            return Err(Error::InUse { name });
        }
        let before = all_ports();
        let (bus_text, name_text, arguments_text) = (text(bus)?, text(&name)?, text(&arguments)?);
        // SAFETY: EAL is running; the strings are NUL-terminated and copied.
        let (code, logged) = log::capture(|| unsafe {
            sys::rte_eal_hotplug_add(bus_text.as_ptr(), name_text.as_ptr(), arguments_text.as_ptr())
        });
        let failed = |code, logged| Error::Attach { device: device.clone(), cause: Cause::new(code, logged) };
        if code != 0 {
            return Err(failed(code, logged));
        }
        // Most drivers name the port after the device; a NIC with several ports on one function does not.
        let found = match find(&name)? {
            Some(id) => Some(id),
            None => all_ports().difference(&before).next().copied(),
        };
        let Some(id) = found else {
            remove(bus, &name);
            return Err(failed(libc::ENODEV, logged));
        };
        Self::claim(id, Some((bus, name)), lower, Arc::clone(runtime))
    }

    /// The port of that name, attached by EAL's arguments (`--vdev`). It is closed on drop, and its device stays.
    ///
    /// # Errors
    /// If there is none, or it has a `Port` already.
    pub fn by_name(eal: &Eal, name: &str) -> Result<Self, Error> {
        let id = find(name)?.ok_or_else(|| Error::NoPort { name: name.to_owned() })?;
        Self::claim(id, None, None, Arc::clone(eal.runtime()))
    }

    /// Closes the port and gives the device back. Dropping it does the same without saying how it went.
    ///
    /// # Errors
    /// If queues are in use: then port and device stay with them.
    pub fn detach(self) -> Result<(), Error> {
        if Arc::strong_count(&self.shared) > 1 {
            return Err(Error::QueuesInUse { name: self.shared.name.clone() });
        }
        Ok(())
    }

    fn claim(
        id: u16,
        device: Option<(&'static str, String)>,
        lower: Option<Lower>,
        runtime: Arc<Runtime>,
    ) -> Result<Self, Error> {
        let name = port_name(id);
        if !CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Err(Error::InUse { name });
        }
        let state = Mutex::new(State::default());
        Ok(Self {
            shared: Arc::new(Shared {
                id,
                name,
                driver: driver_name(id),
                device,
                lower,
                state,
                _runtime: runtime,
            }),
        })
    }
}

/// Time for DPDK's interrupt thread. When a memif is closed, that thread is told to free the connection, its own and the
/// peer's; 22.11 does not wait for it, neither here nor when EAL ends, and it then frees into memory that is gone (one in
/// five processes that ended right after ended with SIGSEGV).
const MEMIF_FAREWELL: Duration = Duration::from_millis(150);

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the port is attached and no queue of it is left. What fails here cannot be helped.
        unsafe {
            if state.started {
                sys::rte_eth_dev_stop(self.id);
            }
            sys::rte_eth_dev_close(self.id);
        }
        if self.driver == "net_memif" {
            std::thread::sleep(MEMIF_FAREWELL);
        }
        if let Some((bus, name)) = &self.device {
            remove(bus, name);
        }
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        // Pools go after this, as fields: the driver has given all buffers back.
    }
}

/// Gives a device back.
fn remove(bus: &str, name: &str) {
    if let (Ok(bus), Ok(name)) = (text(bus), text(name)) {
        // SAFETY: EAL is running; the strings are NUL-terminated.
        unsafe { sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) };
    }
}

/// The port of that name.
fn find(name: &str) -> Result<Option<u16>, Error> {
    let name = text(name)?;
    let mut id = 0;
    // SAFETY: `name` is NUL-terminated, `id` is written.
    let (code, _) = log::capture(|| unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) });
    Ok((code == 0).then_some(id))
}

/// All ports that DPDK knows.
fn all_ports() -> BTreeSet<u16> {
    // SAFETY: looks at a table by index, any index.
    (0..sys::RTE_MAX_ETHPORTS as u16)
        .filter(|id| unsafe { sys::rte_eth_dev_is_valid_port(*id) } != 0)
        .collect()
}

/// DPDK's name of a port.
fn port_name(id: u16) -> String {
    let mut name = [0 as c_char; sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the array has the length that DPDK writes at most, NUL included.
    unsafe {
        if sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) != 0 {
            return format!("port {id}");
        }
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    }
}

fn text(value: &str) -> Result<CString, Error> {
    CString::new(value).map_err(|_| Error::Argument {
        what: "device",
        value: value.to_owned(),
        expected: "it must not contain a NUL byte",
    })
}
