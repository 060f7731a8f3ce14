//! A twin as the configuration wants it: MAC, MTU, exactly these addresses, and a kernel that answers for it and
//! nothing else.

use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressFlags;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};

use super::address::{self, Origin};
use super::link::{self, Link};
use super::sysctl::{self, Family};
use super::{Result, System, SystemError};

/// What a twin should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinPlan {
    /// Name of the TAP, from [`System::tap`].
    pub name: String,
    /// MAC address of the port.
    pub mac: [u8; 6],
    /// MTU of the logical interface.
    pub mtu: u16,
    /// The addresses it shall have. Others are removed, but for the link-local one that the kernel makes.
    pub addresses: Vec<IpNet>,
    /// The kernel device below the port, if it has one (`xdp:`, `packet:`). It must be fenced first.
    pub lower: Option<String>,
}

/// Settings of IPv4. `rp_filter` is loose because the way back to a subscriber may lie in the dataplane's FIB only;
/// `arp_ignore` and `arp_announce` because two twins may stand in one broadcast domain, and each speaks for itself;
/// `promote_secondaries` so that removing an address does not remove its neighbours in the subnet; `arp_notify` so that
/// hosts hear of a new MAC address at once.
const SYSCTL_V4: [(&str, &str); 6] = [
    ("forwarding", "0"),
    ("rp_filter", "2"),
    ("arp_ignore", "1"),
    ("arp_announce", "2"),
    ("promote_secondaries", "1"),
    ("arp_notify", "1"),
];

/// Settings of IPv6. Duplicate address detection is off in both its switches: the kernel obeys `accept_dad` only if
/// that of `all` is off as well, and no probes (`dad_transmits`) end it at once in any case. `force_forwarding`
/// (Linux 6.17) would forward although `forwarding` is off.
const SYSCTL_V6: [(&str, &str); 7] = [
    ("forwarding", "0"),
    ("force_forwarding", "0"),
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_dad", "0"),
    ("dad_transmits", "0"),
    ("ndisc_notify", "1"),
];

impl System {
    /// Makes the twin what the plan says and brings it up. Applying the same plan again changes nothing.
    ///
    /// # Errors
    /// [`SystemError::MtuTooSmall`] for IPv6 below 1280 bytes, [`SystemError::AddressOnLower`] if the lower device was
    /// not fenced, and whatever the kernel refuses.
    pub async fn configure_twin(&self, plan: &TwinPlan) -> Result<()> {
        let link = link::get(&self.netlink, &plan.name).await?;
        let v6 = plan.addresses.iter().copied().find(|net| matches!(net, IpNet::V6(_)));
        if let Some(address) = v6.filter(|_| plan.mtu < 1280) {
            return Err(SystemError::MtuTooSmall { interface: link.name, address, mtu: plan.mtu });
        }
        self.check_lower(plan).await?;

        link::set_mtu(&self.netlink, &link, plan.mtu).await?;
        write_sysctls(&link, v6.is_some())?;
        self.set_mac(&link, plan.mac).await?;
        self.set_alias(&link, plan.lower.as_deref()).await?;
        if !link.is_up() {
            link::set_flags(&self.netlink, &link, "bring the link up", LinkFlags::Up, LinkFlags::Up).await?;
        }
        self.set_addresses(&link, plan).await
    }

    /// An address on both devices would make the kernel route through the lower one, where nothing is received.
    async fn check_lower(&self, plan: &TwinPlan) -> Result<()> {
        let Some(name) = &plan.lower else { return Ok(()) };
        let Some(lower) = link::find(&self.netlink, name).await? else { return Ok(()) };
        for message in address::list(&self.netlink, &lower).await? {
            if let Some(address) = address::network(&message).filter(|net| plan.addresses.contains(net)) {
                return Err(SystemError::AddressOnLower {
                    lower: lower.name,
                    twin: plan.name.clone(),
                    address,
                });
            }
        }
        Ok(())
    }

    async fn set_mac(&self, link: &Link, mac: [u8; 6]) -> Result<()> {
        if link.mac == Some(mac) {
            return Ok(());
        }
        let asked = format!("set the MAC address to {}", shown(mac));
        let attribute = LinkAttribute::Address(mac.to_vec());
        link::set_attribute(&self.netlink, link, &asked, attribute).await?;
        if !link.is_up() {
            return Ok(());
        }
        // The kernel makes the link-local address when the link comes up and not again for a new MAC address. Taking
        // the link down for it would lose every route; changing the mode of its generation there and back does not.
        for message in address::list(&self.netlink, link).await? {
            if address::origin(&message, link.mac) == Origin::LinkLocal {
                address::remove(&self.netlink, link, message).await?;
            }
        }
        let mode = sysctl::of_interface(Family::V6, &link.name, "addr_gen_mode");
        if let Some(value) = sysctl::read_if_present(&mode)?.filter(|value| value != "1") {
            sysctl::write(&mode, "1")?;
            sysctl::write(&mode, &value)?;
        }
        Ok(())
    }

    /// `ip link` shows what the TAP is for.
    async fn set_alias(&self, link: &Link, lower: Option<&str>) -> Result<()> {
        let alias = match lower {
            Some(lower) => format!("sluice twin of {lower}"),
            None => "sluice twin".to_owned(),
        };
        if link.alias.as_deref() == Some(&alias) {
            return Ok(());
        }
        link::set_attribute(&self.netlink, link, "set the alias", LinkAttribute::IfAlias(alias)).await
    }

    async fn set_addresses(&self, link: &Link, plan: &TwinPlan) -> Result<()> {
        // What is new comes first: removing the only address of a family would flush the routes of the interface.
        let useless = AddressFlags::Tentative | AddressFlags::Dadfailed;
        let found = address::list(&self.netlink, link).await?;
        for message in &found {
            if address::network(message).is_some_and(|net| plan.addresses.contains(&net))
                && address::flags(message).intersects(useless)
            {
                address::remove(&self.netlink, link, message.clone()).await?;
            }
        }
        self.add_missing(link, plan).await?;
        for message in found {
            let wanted = address::network(&message).is_none_or(|net| plan.addresses.contains(&net));
            if !wanted && address::origin(&message, Some(plan.mac)) != Origin::LinkLocal {
                address::remove(&self.netlink, link, message).await?;
            }
        }
        // A removed primary may have taken a secondary with it where promotion is switched off for all interfaces.
        self.add_missing(link, plan).await
    }

    async fn add_missing(&self, link: &Link, plan: &TwinPlan) -> Result<()> {
        let present: Vec<IpNet> =
            address::list(&self.netlink, link).await?.iter().filter_map(address::network).collect();
        for net in plan.addresses.iter().filter(|net| !present.contains(net)) {
            address::add(&self.netlink, link, *net).await?;
        }
        Ok(())
    }
}

fn write_sysctls(link: &Link, v6_wanted: bool) -> Result<()> {
    for (key, value) in SYSCTL_V4 {
        sysctl::ensure(&sysctl::of_interface(Family::V4, &link.name, key), value)?;
    }
    for (key, value) in SYSCTL_V6 {
        // Absent where the kernel has no IPv6 or is older than the setting.
        sysctl::ensure(&sysctl::of_interface(Family::V6, &link.name, key), value)?;
    }
    // After the others, because this is what makes the kernel configure the interface. Machines that switch IPv6 off
    // by default keep it so on interfaces for which no IPv6 address is asked.
    if v6_wanted {
        let path = sysctl::of_interface(Family::V6, &link.name, "disable_ipv6");
        sysctl::write(&path, "0")?;
    }
    Ok(())
}

fn shown(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
