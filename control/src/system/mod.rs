//! What control asks of the kernel.
//!
//! The kernel speaks for the box: it owns the interface addresses and answers ARP, ND, ping, SSH and BGP on the TAP
//! twins of the ports. This module makes the twins ([`System::tap`], [`System::configure_twin`]), silences the device
//! below a software port ([`System::fence`]), follows and provokes neighbour resolution
//! ([`System::watch_neighbours`], [`System::resolve_neighbour`]) and sets aside the ports of a pool that stands on the
//! box's own address ([`System::reserve_ports`]).
//!
//! Everything goes through netlink, ioctl and `/proc`; no program is started. A [`System`] works in the network
//! namespace of the thread that made it and must be used on that thread: sockets stay in the namespace in which they
//! were opened, but `/proc/sys/net` follows the thread. Control runs a current-thread runtime, so this holds by itself.

mod address;
mod bpf;
mod drop_filter;
mod error;
mod ethtool;
mod fence;
mod fence_record;
mod link;
mod listening;
mod neighbour;
mod netlink;
mod ports;
mod resolve;
mod route;
mod sysctl;
mod tap;
mod twin;
mod watch;
mod xdp;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

pub use error::SystemError;
pub use fence::Fence;
pub use neighbour::{NeighbourEvent, NeighbourState};
pub use ports::ReservedPorts;
pub use resolve::KeepAlive;
pub use tap::TapTwin;
pub use twin::TwinPlan;

use netlink::Netlink;

/// What the functions of this module return.
pub type Result<T, E = SystemError> = std::result::Result<T, E>;

/// The way to the kernel. One per control process; clones share the netlink socket and the set of kept neighbours.
#[derive(Clone, Debug)]
pub struct System {
    netlink: Netlink,
    /// Neighbours that [`System::keep_alive`] was last asked for, by interface index.
    kept: Arc<Mutex<HashSet<(u32, IpAddr)>>>,
}

impl System {
    /// Opens netlink on the current tokio runtime, in the network namespace of the current thread.
    ///
    /// # Errors
    /// [`SystemError::Netlink`] if the socket is refused.
    ///
    /// # Panics
    /// Outside a tokio runtime, as every constructor of a tokio socket does.
    pub fn new() -> Result<Self> {
        Ok(Self { netlink: Netlink::open()?, kept: Arc::default() })
    }

    /// Whether an interface of that name exists.
    pub async fn interface_exists(&self, name: &str) -> Result<bool> {
        Ok(link::find(&self.netlink, name).await?.is_some())
    }

    /// The current MAC address of an Ethernet interface.
    pub async fn interface_mac(&self, name: &str) -> Result<[u8; 6]> {
        let link = link::get(&self.netlink, name).await?;
        link.mac.ok_or_else(|| SystemError::NotEthernet { interface: name.to_owned() })
    }

    /// The current MTU of an interface, in bytes without the link header.
    pub async fn interface_mtu(&self, name: &str) -> Result<u32> {
        Ok(link::get(&self.netlink, name).await?.mtu)
    }
}
