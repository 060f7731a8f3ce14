//! IP addresses of an interface: listing, adding, removing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Result;
use super::link::Link;
use super::netlink::Netlink;

/// Everything the kernel says of the addresses of an interface, both families, in its order.
pub(crate) async fn list(netlink: &Netlink, link: &Link) -> Result<Vec<AddressMessage>> {
    let mut request = AddressMessage::default();
    request.header.index = link.index;
    let answers =
        netlink.dump("list the addresses", &link.name, RouteNetlinkMessage::GetAddress(request)).await?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(address) if address.header.index == link.index => Some(address),
            _ => None,
        })
        .collect())
}

/// The interface's own address with its prefix length. On a point-to-point address that is `IFA_LOCAL`, not the peer.
pub(crate) fn network(message: &AddressMessage) -> Option<IpNet> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(peer) => address = address.or(Some(*peer)),
            _ => {}
        }
    }
    IpNet::new(address?, message.header.prefix_len).ok()
}

/// All flags: the header has room for eight only.
pub(crate) fn flags(message: &AddressMessage) -> AddressFlags {
    let wide = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    wide.unwrap_or(AddressFlags::from_bits_retain(message.header.flags.bits().into()))
}

/// Who put an address on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody: a person, a program, this one.
    Set,
    /// The kernel's own link-local address, which it makes when the link comes up.
    LinkLocal,
    /// The kernel, from a router advertisement; it will again.
    Advertised,
}

/// Where an address comes from. `mac` is that of the interface, for kernels before 5.18, which do not say.
pub(crate) fn origin(message: &AddressMessage, mac: Option<[u8; 6]>) -> Origin {
    let protocol = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => Some(*protocol),
        _ => None,
    });
    match (protocol, network(message)) {
        (Some(AddressProtocol::LinkLocal), _) => Origin::LinkLocal,
        (Some(AddressProtocol::RouterAnnouncement), _) => Origin::Advertised,
        (None, Some(IpNet::V6(net))) if mac.is_some_and(|mac| net.addr() == link_local(mac)) => {
            Origin::LinkLocal
        }
        _ => Origin::Set,
    }
}

/// The link-local address that the kernel derives from a MAC address (RFC 4291, appendix A).
pub(crate) fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Adds an address, or changes the flags of one that exists.
///
/// IPv6 addresses skip duplicate address detection: a tentative address answers nothing and cannot be the source of
/// a neighbour solicitation for about two seconds, and the twin's MAC address is the port's own.
pub(crate) async fn add(netlink: &Netlink, link: &Link, net: IpNet) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = link.index;
    message.header.prefix_len = net.prefix_len();
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    match net {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            // A /31 has no broadcast address (RFC 3021).
            if v4.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
            }
        }
        IpNet::V6(v6) => {
            message.header.family = AddressFamily::Inet6;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            if v6.addr().is_unicast_link_local() {
                message.header.scope = AddressScope::Link;
            }
        }
    }
    send(netlink, link, message).await
}

/// Adds an address again from the message in which the kernel had listed it.
pub(crate) async fn add_again(netlink: &Netlink, link: &Link, mut message: AddressMessage) -> Result<()> {
    if message.header.family == AddressFamily::Inet6 {
        // It was this machine's a moment ago; detection would leave it tentative for two seconds.
        let all = flags(&message).union(AddressFlags::Nodad);
        message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Flags(_)));
        message.attributes.push(AddressAttribute::Flags(all));
    }
    send(netlink, link, message).await
}

async fn send(netlink: &Netlink, link: &Link, message: AddressMessage) -> Result<()> {
    let asked = format!("add the address {}", shown(&message));
    let message = RouteNetlinkMessage::NewAddress(message);
    netlink.change(&asked, &link.name, message, NLM_F_CREATE | NLM_F_REPLACE).await
}

/// Removes an address. One that is gone already is no error: a primary takes its secondaries with it.
pub(crate) async fn remove(netlink: &Netlink, link: &Link, message: AddressMessage) -> Result<()> {
    let asked = format!("remove the address {}", shown(&message));
    match netlink.change(&asked, &link.name, RouteNetlinkMessage::DelAddress(message), 0).await {
        Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        result => result,
    }
}

/// The address as a person writes it.
pub(crate) fn shown(message: &AddressMessage) -> String {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED).into();
    network(message).unwrap_or(unknown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_address_of_a_mac() {
        let address = link_local([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01]);
        assert_eq!(address, "fe80::5eff:fe10:1".parse::<Ipv6Addr>().unwrap());
    }
}
