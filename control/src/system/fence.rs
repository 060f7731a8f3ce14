//! Silencing the device below a software port.
//!
//! A device that the dataplane uses through AF_XDP or a packet socket still belongs to the kernel, which would answer
//! what the dataplane receives, even with its addresses elsewhere. The fence takes that away: ingress is dropped behind
//! the taps, there are no addresses, IPv6 and ARP are off; and the frames are as on the wire: no offloads, everything
//! received. What was different before is remembered, and only that is put back.
//!
//! Looking and changing are two steps, so that control can write down what to restore before anything is changed:
//! [`System::survey`], [`Fence::to_json`], [`System::raise`]. [`System::fence`] is both at once.

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkFlags;

use super::address::{self, Origin};
use super::drop_filter::{self, Parts};
use super::ethtool::Features;
use super::fence_record::{Kept, Record, VERSION};
use super::link::{self, Link};
use super::netlink::Netlink;
use super::sysctl::{self, Family};
use super::{Result, System, SystemError, route};

/// What the flags of a fenced device are.
const FLAGS: LinkFlags =
    LinkFlags::Noarp.union(LinkFlags::Promisc).union(LinkFlags::Allmulti).union(LinkFlags::Up);

/// What was changed on a device, and the way back. Dropping it leaves the fence up.
#[derive(Clone, Debug)]
#[must_use = "the fence stays until restore() is called"]
pub struct Fence {
    record: Record,
    netlink: Netlink,
}

impl Fence {
    /// Name of the fenced device.
    pub fn interface(&self) -> &str {
        &self.record.interface
    }

    /// For a file of the run directory, so that the next life of control can restore.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.record)?)
    }

    /// What [`Fence::to_json`] made. To put it back call [`Fence::restore`]; to go on with it, [`System::raise`].
    pub fn from_json(system: &System, text: &str) -> Result<Self> {
        Ok(Self { record: Record::from_json(text)?, netlink: system.netlink.clone() })
    }

    /// Puts back what was different before, and nothing else. A device that is gone has nothing to put back.
    ///
    /// # Errors
    /// [`SystemError::Restore`] with all that failed; the rest is done nevertheless.
    pub async fn restore(self) -> Result<()> {
        let Self { record, netlink } = self;
        let Some(link) = link::find(&netlink, &record.interface).await? else { return Ok(()) };
        if link.index != record.index {
            return Ok(());
        }
        let mut failures = Vec::new();
        failures.extend(set_offloads(&link, &record.offloads, true).err());
        let flags = LinkFlags::from_bits_retain(record.flags_off).difference(LinkFlags::Up);
        let asked = "switch ARP on, promiscuous mode and allmulticast off";
        failures.extend(switch(&netlink, &link, asked, LinkFlags::empty(), flags).await.err());
        if let Some(value) = &record.disable_ipv6 {
            let path = sysctl::of_interface(Family::V6, &link.name, "disable_ipv6");
            failures.extend(sysctl::write(&path, value).err());
        }
        for kept in &record.addresses {
            if let Some(RouteNetlinkMessage::NewAddress(message)) = kept.message() {
                failures.extend(address::add_again(&netlink, &link, message).await.err());
            }
        }
        for kept in &record.routes {
            if let Some(RouteNetlinkMessage::NewRoute(message)) = kept.message() {
                failures.extend(route::add(&netlink, &link, message).await.err());
            }
        }
        // Last, so that the kernel does not hear anything while it is half configured.
        let parts = Parts { qdisc: record.no_qdisc, filter: record.no_filter };
        failures.extend(drop_filter::remove(&netlink, &link, parts).await.err());
        let down = LinkFlags::from_bits_retain(record.flags_off) & LinkFlags::Up;
        failures.extend(switch(&netlink, &link, "take the link down", LinkFlags::empty(), down).await.err());
        if failures.is_empty() {
            Ok(())
        } else {
            Err(SystemError::Restore { interface: link.name, failures })
        }
    }
}

impl System {
    /// Fences the device of an `xdp:` or `packet:` port: [`System::survey`] and [`System::raise`].
    ///
    /// # Errors
    /// What the kernel refuses; what was changed by then has been put back.
    pub async fn fence(&self, interface: &str) -> Result<Fence> {
        let fence = self.survey(interface).await?;
        self.raise(fence).await
    }

    /// Whether another device has the name of the fenced one by now.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn is_replaced(&self, fence: &Fence) -> Result<bool> {
        let link = link::find(&self.netlink, fence.interface()).await?;
        Ok(link.is_some_and(|link| link.index != fence.record.index))
    }

    /// Looks what a fence would change, and changes nothing.
    ///
    /// # Errors
    /// [`SystemError::NoSuchInterface`], [`SystemError::NotEthernet`].
    pub async fn survey(&self, interface: &str) -> Result<Fence> {
        let link = link::get(&self.netlink, interface).await?;
        if link.mac.is_none() || link.flags.contains(LinkFlags::Loopback) {
            return Err(SystemError::NotEthernet { interface: link.name });
        }
        let parts = drop_filter::find(&self.netlink, &link).await?;
        let offloads = Features::open(&link.name)
            .and_then(|features| features.unwanted())
            .map_err(|source| SystemError::refused("read the offloads", &link.name, source))?;
        let path = sysctl::of_interface(Family::V6, &link.name, "disable_ipv6");
        let addresses = address::list(&self.netlink, &link).await?.into_iter();
        let routes = route::list(&self.netlink, &link).await?.into_iter();
        let record = Record {
            version: VERSION,
            flags_off: FLAGS.difference(link.flags).bits(),
            disable_ipv6: sysctl::read_if_present(&path)?.filter(|value| value != "1"),
            no_qdisc: !parts.qdisc,
            no_filter: !parts.filter,
            offloads,
            addresses: addresses
                .filter(|message| address::origin(message, link.mac) == Origin::Set)
                .map(Kept::address)
                .collect(),
            routes: routes.map(Kept::route).collect(),
            interface: link.name,
            index: link.index,
        };
        Ok(Fence { record, netlink: self.netlink.clone() })
    }

    /// Puts the fence up that was surveyed, or one that was up in an earlier life of control.
    ///
    /// What has come to the device since (an address from a DHCP client, say) is removed as well and remembered beside
    /// the rest. A device that was made anew since is surveyed anew.
    ///
    /// # Errors
    /// What the kernel refuses; everything remembered has been put back then.
    pub async fn raise(&self, fence: Fence) -> Result<Fence> {
        let now = self.survey(fence.interface()).await?;
        let mut fence = if now.record.index == fence.record.index { fence } else { now.clone() };
        fence.record.absorb(now.record);
        match self.change(&fence.record).await {
            Ok(()) => Ok(fence),
            Err(error) => {
                if let Err(more) = fence.restore().await {
                    tracing::error!(%more, "after a fence that failed");
                }
                Err(error)
            }
        }
    }

    async fn change(&self, record: &Record) -> Result<()> {
        let link = link::get(&self.netlink, &record.interface).await?;
        // First, so that the kernel has heard the last frame when its addresses go.
        drop_filter::add(&self.netlink, &link).await?;
        let path = sysctl::of_interface(Family::V6, &link.name, "disable_ipv6");
        sysctl::ensure(&path, "1")?;
        for message in address::list(&self.netlink, &link).await? {
            address::remove(&self.netlink, &link, message).await?;
        }
        set_offloads(&link, &record.offloads, false)?;
        let asked = "switch ARP off, promiscuous mode and allmulticast on, and bring the link up";
        switch(&self.netlink, &link, asked, FLAGS, FLAGS.difference(link.flags)).await
    }
}

async fn switch(
    netlink: &Netlink,
    link: &Link,
    asked: &str,
    flags: LinkFlags,
    mask: LinkFlags,
) -> Result<()> {
    if mask.is_empty() { Ok(()) } else { link::set_flags(netlink, link, asked, flags, mask).await }
}

fn set_offloads(link: &Link, names: &[String], on: bool) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let asked = if on { "switch offloads on" } else { "switch offloads off" };
    Features::open(&link.name)
        .and_then(|features| features.set(names, on))
        .map_err(|source| SystemError::refused(asked, &link.name, source))
}
