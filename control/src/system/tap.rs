//! The TAP twin of a logical interface.
//!
//! A TAP made with `TUNSETPERSIST` outlives its openers, but when the last queue of a multi-queue TAP is closed the
//! kernel takes its carrier away, and with the carrier go the neighbours. A *detached* queue
//! (`TUNSETQUEUE`, `IFF_DETACH_QUEUE`) counts as an opener without receiving a packet, so control holds one for as
//! long as the twin is wanted; the dataplane attaches and loses its own beside it.
//!
//! The dataplane must open with exactly `IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE`: the kernel takes over the
//! features of whoever opened last, so a differing `IFF_VNET_HDR` would change the frames of everyone.

use std::ffi::{c_int, c_short, c_ulong};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use rtnetlink::packet_route::link::InfoKind;

use super::link::{self, Link};
use super::netlink::Netlink;
use super::{Result, System, SystemError};

const DEVICE: &str = "/dev/net/tun";

/// A TAP and the queue that keeps its carrier. Dropping it leaves the TAP in place, without that queue.
#[derive(Debug)]
pub struct TapTwin {
    name: String,
    index: u32,
    netlink: Netlink,
    /// The detached queue.
    _queue: File,
}

impl TapTwin {
    /// The name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's index of the interface. It stays as long as the TAP does.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Removes the TAP with its addresses and routes, also if the dataplane has it open.
    pub async fn remove(self) -> Result<()> {
        link::remove(&self.netlink, self.index, &self.name).await
    }
}

impl System {
    /// Makes the TAP of that name, or takes over the one that exists, and holds a detached queue of it.
    ///
    /// Taking over is how a restarted control finds the twins of its previous life: addresses, routes and neighbours
    /// are untouched. The MTU is set; the link is left as it is, [`System::configure_twin`] brings it up.
    ///
    /// # Errors
    /// [`SystemError::NotATap`] and [`SystemError::SingleQueue`] if the name is taken by a device that cannot be a twin.
    pub async fn tap(&self, name: &str, mtu: u16) -> Result<TapTwin> {
        if let Some(found) = link::find(&self.netlink, name).await? {
            check_kind(&found)?;
        }
        let queue = open_queue(name)?;
        let link = link::get(&self.netlink, name).await?;
        link::set_mtu(&self.netlink, &link, mtu).await?;
        Ok(TapTwin { name: link.name, index: link.index, netlink: self.netlink.clone(), _queue: queue })
    }
}

/// The tun driver makes TUN and TAP devices; only the latter have an Ethernet address.
fn check_kind(found: &Link) -> Result<()> {
    let interface = found.name.clone();
    match &found.kind {
        Some(InfoKind::Tun) if found.mac.is_some() => Ok(()),
        Some(InfoKind::Tun) => {
            Err(SystemError::NotATap { interface, found: "a TUN device (IP without Ethernet)".into() })
        }
        Some(kind) => Err(SystemError::NotATap { interface, found: format!("a device of kind {kind}") }),
        None => Err(SystemError::NotATap { interface, found: "a device of a driver of its own".into() }),
    }
}

/// Opens a queue of the TAP, makes the TAP persistent and detaches the queue.
fn open_queue(name: &str) -> Result<File> {
    let refused = |asked: &str, source| SystemError::refused(asked, name, source);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(DEVICE)
        .map_err(|source| refused("open /dev/net/tun (the kernel's module tun)", source))?;

    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;
    match ioctl_request(&file, libc::TUNSETIFF, name, flags) {
        // The kernel has one answer for all that does not match; the kind was checked, the number of queues was not.
        Err(source) if source.raw_os_error() == Some(libc::EINVAL) => {
            return Err(SystemError::SingleQueue { interface: name.to_owned() });
        }
        result => result.map_err(|source| refused("attach to the TAP", source))?,
    }
    ioctl_value(&file, libc::TUNSETPERSIST, 1)
        .map_err(|source| refused("make the TAP persistent", source))?;
    ioctl_request(&file, libc::TUNSETQUEUE, "", libc::IFF_DETACH_QUEUE)
        .map_err(|source| refused("detach the queue of control", source))?;
    Ok(file)
}

fn ioctl_request(file: &File, request: c_ulong, name: &str, flags: c_int) -> io::Result<()> {
    // SAFETY: `ifreq` is plain data of integers, arrays and pointers, for which all zeroes is a valid value.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: `check_name` refused names of IFNAMSIZ bytes and more.
    for (to, from) in ifreq.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: both requests that come here take a pointer to one `ifreq`, which lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, &raw mut ifreq) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ioctl_value(file: &File, request: c_ulong, value: c_int) -> io::Result<()> {
    // SAFETY: the request takes its argument by value and touches no memory of this process.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, c_ulong::from(value as u32)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
