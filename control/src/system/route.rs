//! Routes that hang on an interface, which the kernel drops when its addresses go.

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteType,
};

use super::Result;
use super::link::Link;
use super::netlink::Netlink;

/// Routes through the interface that somebody has set: not those that the kernel makes from addresses and router
/// advertisements, for these come back by themselves. In an order in which they can be set again.
pub(crate) async fn list(netlink: &Netlink, link: &Link) -> Result<Vec<RouteMessage>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let answers =
            netlink.dump("list the routes", &link.name, RouteNetlinkMessage::GetRoute(request)).await?;
        routes.extend(answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) if was_set(&route) && uses(&route, link.index) => {
                Some(settable(route))
            }
            _ => None,
        }));
    }
    // A gateway has to be reachable at the moment its route is set.
    routes.sort_by_key(has_gateway);
    Ok(routes)
}

/// Sets a route again. One that exists already is no error.
pub(crate) async fn add(netlink: &Netlink, link: &Link, route: RouteMessage) -> Result<()> {
    let request = RouteNetlinkMessage::NewRoute(route);
    match netlink.change("set a route again", &link.name, request, NLM_F_CREATE | NLM_F_EXCL).await {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

fn was_set(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Unicast
        && !matches!(
            route.header.protocol,
            RouteProtocol::Kernel | RouteProtocol::Ra | RouteProtocol::IcmpRedirect
        )
        && !route.header.flags.contains(RouteFlags::Cloned)
        && route.header.table != RT_TABLE_LOCAL
}

/// The kernel's table of its own addresses.
const RT_TABLE_LOCAL: u8 = 255;

fn uses(route: &RouteMessage, index: u32) -> bool {
    route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(oif) => *oif == index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == index),
        _ => false,
    })
}

fn has_gateway(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        )
    })
}

/// Takes out what the kernel reports but does not accept.
fn settable(mut route: RouteMessage) -> RouteMessage {
    route.header.flags &= RouteFlags::Onlink;
    route.attributes.retain(|attribute| {
        !matches!(
            attribute,
            RouteAttribute::CacheInfo(_)
                | RouteAttribute::Expires(_)
                | RouteAttribute::MulticastExpires(_)
                | RouteAttribute::Uid(_)
                // Stands beside the resolved next hop, of which one is enough, and the object may be gone.
                | RouteAttribute::NhId(_)
        )
    });
    for attribute in &mut route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            for hop in hops {
                hop.flags &= RouteNextHopFlags::Onlink;
            }
        }
    }
    // More than 255 tables exist; the attribute tells which, and the header must not contradict.
    if route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Table(_))) {
        route.header.table = RouteHeader::RT_TABLE_UNSPEC;
    }
    route
}
