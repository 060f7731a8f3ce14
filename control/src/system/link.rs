//! Interfaces: finding them, their flags, MAC address and MTU.

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};

use super::netlink::Netlink;
use super::{Result, SystemError};

/// What the kernel says of an interface.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `None` unless it is an Ethernet device.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u32,
    pub(crate) flags: LinkFlags,
    pub(crate) alias: Option<String>,
    /// The driver's name for the kind of a virtual device.
    pub(crate) kind: Option<InfoKind>,
    /// Attached XDP programs and their modes, as the kernel lists them.
    pub(crate) xdp: Vec<LinkXdp>,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    fn from_message(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            flags: message.header.flags,
            alias: None,
            kind: None,
            xdp: Vec::new(),
        };
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) if ethernet => link.mac = bytes.try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Xdp(xdp) => link.xdp = xdp,
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.into_iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

/// Refuses what the kernel would refuse as a name, and `%`, which it would take for a pattern.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let bad = name.is_empty()
        || name.len() >= libc::IFNAMSIZ
        || name == "."
        || name == ".."
        || name.bytes().any(|b| b.is_ascii_whitespace() || matches!(b, 0 | b'/' | b':' | b'%'));
    if bad { Err(SystemError::BadName { name: name.to_owned() }) } else { Ok(()) }
}

/// Looks an interface up by name; `None` if there is none.
pub(crate) async fn find(netlink: &Netlink, name: &str) -> Result<Option<Link>> {
    check_name(name)?;
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match netlink.fetch("look it up", name, RouteNetlinkMessage::GetLink(message)).await {
        Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
            _ => None,
        })),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks an interface up by name; it is an error if there is none.
pub(crate) async fn get(netlink: &Netlink, name: &str) -> Result<Link> {
    find(netlink, name).await?.ok_or_else(|| SystemError::NoSuchInterface { interface: name.to_owned() })
}

/// Switches the flags in `mask` to their value in `flags`; all others stay.
pub(crate) async fn set_flags(
    netlink: &Netlink,
    link: &Link,
    asked: &str,
    flags: LinkFlags,
    mask: LinkFlags,
) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.flags = flags & mask;
    message.header.change_mask = mask;
    netlink.change(asked, &link.name, RouteNetlinkMessage::SetLink(message), 0).await
}

/// Changes one attribute of an interface.
pub(crate) async fn set_attribute(
    netlink: &Netlink,
    link: &Link,
    asked: &str,
    attribute: LinkAttribute,
) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.attributes.push(attribute);
    netlink.change(asked, &link.name, RouteNetlinkMessage::SetLink(message), 0).await
}

/// Sets the MTU unless it has that value.
pub(crate) async fn set_mtu(netlink: &Netlink, link: &Link, mtu: u16) -> Result<()> {
    if link.mtu == u32::from(mtu) {
        return Ok(());
    }
    set_attribute(netlink, link, &format!("set the MTU to {mtu}"), LinkAttribute::Mtu(mtu.into())).await
}

/// Removes an interface. One that is gone already is no error.
pub(crate) async fn remove(netlink: &Netlink, index: u32, name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    match netlink.change("remove it", name, RouteNetlinkMessage::DelLink(message), 0).await {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_not_take_are_refused() {
        for name in ["", ".", "..", "a/b", "a b", "tap%d", "eth0:1", "sixteen-bytes-xx", "a\nb"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "inside", "eth0.100", "fifteen-bytes-x"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
