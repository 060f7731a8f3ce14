//! Neighbours as the dataplane needs them: an address, a MAC address, and whether to forward.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};

/// A neighbour has become known, has changed or is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourEvent {
    /// Name of the interface, as it was when the neighbour changed.
    pub interface: String,
    /// The kernel's index of the interface.
    pub index: u32,
    /// The neighbour.
    pub address: IpAddr,
    /// Its MAC address, if one is known.
    pub mac: Option<[u8; 6]>,
    /// What to do with it.
    pub state: NeighbourState,
}

/// The kernel's states, reduced to what they mean for forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Confirmed, or set by hand (REACHABLE, PERMANENT, NOARP): forward.
    Reachable,
    /// Known, not confirmed of late (STALE, DELAY, PROBE): forward all the same.
    Stale,
    /// Did not answer: drop.
    Failed,
    /// Being asked for the first time.
    Incomplete,
    /// The kernel has forgotten it.
    Deleted,
}

/// Identity of a neighbour: interface index and address.
pub(crate) type Key = (u32, IpAddr);

/// What the kernel says of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) state: NeighbourState,
}

/// Reads a kernel message. `None` for what is no neighbour to forward to: entries of bridges, proxies, groups and
/// broadcasts, and entries that are empty.
pub(crate) fn read(message: &NeighbourMessage) -> Option<(Key, Entry)> {
    let header = &message.header;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let mut address = None;
    let mut mac: Option<[u8; 6]> = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let address = address.filter(|address| !address.is_multicast())?;
    if mac.is_some_and(|mac| mac[0] & 1 != 0) {
        return None;
    }
    let state = match header.state {
        Nud::Reachable | Nud::Permanent | Nud::Noarp => NeighbourState::Reachable,
        Nud::Stale | Nud::Delay | Nud::Probe => NeighbourState::Stale,
        Nud::Failed => NeighbourState::Failed,
        Nud::Incomplete => NeighbourState::Incomplete,
        _ => return None,
    };
    // The kernel repeats the last MAC address of an entry that failed; it is no use to anyone.
    let mac = mac.filter(|_| matches!(state, NeighbourState::Reachable | NeighbourState::Stale));
    Some(((header.ifindex, address), Entry { mac, state }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(address: &str, mac: [u8; 6], state: Nud) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 7;
        message.header.state = state;
        let destination = match address.parse().unwrap() {
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
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        message
    }

    #[test]
    fn states_mean_what_to_do() {
        let mac = [2, 0, 0, 0, 0, 9];
        for (nud, state, with_mac) in [
            (Nud::Reachable, NeighbourState::Reachable, true),
            (Nud::Permanent, NeighbourState::Reachable, true),
            (Nud::Stale, NeighbourState::Stale, true),
            (Nud::Delay, NeighbourState::Stale, true),
            (Nud::Probe, NeighbourState::Stale, true),
            (Nud::Failed, NeighbourState::Failed, false),
            (Nud::Incomplete, NeighbourState::Incomplete, false),
        ] {
            let (key, entry) = read(&message("192.0.2.9", mac, nud)).unwrap();
            assert_eq!(key, (7, "192.0.2.9".parse().unwrap()));
            assert_eq!(entry, Entry { mac: with_mac.then_some(mac), state }, "{nud:?}");
        }
        assert_eq!(read(&message("192.0.2.9", mac, Nud::None)), None);
    }

    #[test]
    fn groups_and_broadcasts_are_no_neighbours() {
        let group = [0x33, 0x33, 0, 0, 0, 1];
        assert_eq!(read(&message("ff02::1", group, Nud::Noarp)), None);
        assert_eq!(read(&message("224.0.0.22", [1, 0, 0x5e, 0, 0, 22], Nud::Noarp)), None);
        assert_eq!(read(&message("192.0.2.255", [0xff; 6], Nud::Noarp)), None);
    }
}
