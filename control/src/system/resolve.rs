//! Making the kernel resolve neighbours, and keep those in use resolved.
//!
//! `NTF_USE` on a request to add a neighbour does what a packet to it would do: the kernel starts ARP or neighbour
//! discovery and leaves the state of a known entry alone. `NTF_EXT_MANAGED` (Linux 5.16) makes the kernel repeat that
//! by itself. A request without the latter takes it away again, so it is sent along for every neighbour that is kept.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::{self, Link};
use super::sysctl::{self, Family};
use super::{Result, System};

/// `gc_thresh1` to `gc_thresh3`: entries below which nothing is collected, above which collection is eager, and the
/// hard limit. The kernel's own 128, 512 and 1024 are too few for one /22 of servers.
const GC_THRESHOLDS: [(&str, u32); 3] =
    [("gc_thresh1", 4096), ("gc_thresh2", 16_384), ("gc_thresh3", 32_768)];

/// Half of the shortest time after which the kernel takes a reachable entry for stale (15 s of `base_reachable_time`).
const REPEAT: Duration = Duration::from_secs(7);

/// Who keeps the neighbours of [`System::keep_alive`] resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// The kernel, until told otherwise.
    ByKernel,
    /// The caller, by calling again within this time: the kernel does not know `NTF_EXT_MANAGED`.
    CallAgainWithin(Duration),
}

impl System {
    /// Makes the kernel ask for the MAC address of a neighbour now, if it does not know it.
    ///
    /// The answer comes as an event of [`System::watch_neighbours`]. A neighbour whose entry is stale is not asked at
    /// once but after `delay_first_probe_time` (5 s), as after a packet; stale entries forward.
    ///
    /// # Errors
    /// Whatever the kernel refuses, a link that is down for example.
    pub async fn resolve_neighbour(&self, interface: &str, address: IpAddr) -> Result<()> {
        let link = link::get(&self.netlink, interface).await?;
        if self.is_static(&link, address).await {
            return Ok(());
        }
        let kept = self.kept().contains(&(link.index, address));
        self.use_neighbour(&link, address, kept).await
    }

    /// Keeps these neighbours resolved, and no others that an earlier call has named.
    ///
    /// All are tried; the first error is returned. An interface that is gone is an error too.
    pub async fn keep_alive(&self, neighbours: &[(String, IpAddr)]) -> Result<KeepAlive> {
        let mut wanted = HashSet::new();
        let mut by_kernel = true;
        let mut outcome: Result<()> = Ok(());
        for (interface, address) in neighbours {
            let kept = async {
                let link = link::get(&self.netlink, interface).await?;
                if self.is_static(&link, *address).await {
                    return Ok(());
                }
                self.use_neighbour(&link, *address, true).await?;
                // Kernels that do not know the flag accept the request and ignore it.
                by_kernel &= self.is_managed(&link, *address).await?;
                wanted.insert((link.index, *address));
                Ok(())
            };
            outcome = outcome.and(kept.await);
        }
        let before = std::mem::replace(&mut *self.kept(), wanted.clone());
        for (index, address) in before.difference(&wanted) {
            self.release(*index, *address).await;
        }
        outcome?;
        Ok(if by_kernel { KeepAlive::ByKernel } else { KeepAlive::CallAgainWithin(REPEAT) })
    }

    /// Raises the limits of the neighbour tables, which are too low for a gateway. Limits that are higher stay.
    ///
    /// They belong to the whole machine; inside a network namespace of its own there is nothing to set.
    pub fn set_gc_thresh(&self) -> Result<()> {
        for family in [Family::V4, Family::V6] {
            // The highest first, so that they are in order at every moment.
            for (key, least) in GC_THRESHOLDS.iter().rev() {
                let path = sysctl::of_neighbours(family, key);
                let present = sysctl::read_if_present(&path)?.and_then(|value| value.parse::<u32>().ok());
                if present.is_some_and(|value| value < *least) {
                    sysctl::write(&path, &least.to_string())?;
                }
            }
        }
        Ok(())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashSet<(u32, IpAddr)>> {
        // A set of plain values is whole at every moment, also if a holder has panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn use_neighbour(&self, link: &Link, address: IpAddr, managed: bool) -> Result<()> {
        let asked = format!("resolve the neighbour {address}");
        let message = request(link.index, address, managed);
        self.netlink
            .change(&asked, &link.name, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
            .await
    }

    async fn is_managed(&self, link: &Link, address: IpAddr) -> Result<bool> {
        let found = self.entries(link, address).await?;
        Ok(found.iter().flat_map(|found| &found.attributes).any(|attribute| {
            matches!(attribute, NeighbourAttribute::ExtFlags(flags) if flags.contains(NeighbourExtFlags::Managed))
        }))
    }

    /// Whether the operator has said who the neighbour is. Such an entry needs no keeping, and would not survive it: the request
    /// makes an ordinary one of it, which fails if nobody answers. No entry is none of the operator's.
    async fn is_static(&self, link: &Link, address: IpAddr) -> bool {
        let found = self.entries(link, address).await.unwrap_or_default();
        found
            .iter()
            .any(|found| matches!(found.header.state, NeighbourState::Permanent | NeighbourState::Noarp))
    }

    /// What the kernel has of a neighbour. An error if it has nothing.
    async fn entries(&self, link: &Link, address: IpAddr) -> Result<Vec<NeighbourMessage>> {
        let mut message = request(link.index, address, false);
        message.header.flags = NeighbourFlags::empty();
        let asked = format!("look up the neighbour {address}");
        let answers =
            self.netlink.fetch(&asked, &link.name, RouteNetlinkMessage::GetNeighbour(message)).await?;
        let found = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(found) => Some(found),
            _ => None,
        });
        Ok(found.collect())
    }

    /// Takes the managed flag away. The neighbour or its interface may be gone, which is as good.
    async fn release(&self, index: u32, address: IpAddr) {
        let message = RouteNetlinkMessage::NewNeighbour(request(index, address, false));
        let name = format!("interface {index}");
        if let Err(error) = self.netlink.change("stop keeping a neighbour", &name, message, 0).await {
            tracing::debug!(%error, %address, "a neighbour that is no longer kept");
        }
    }
}

fn request(index: u32, address: IpAddr, managed: bool) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Use;
    let destination = match address {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(v4)
        }
        IpAddr::V6(v6) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(v6)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    if managed {
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    }
    message
}
