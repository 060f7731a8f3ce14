//! Ports of the box's own address.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use sluice_control::system::{ReservedPorts, SystemError};

use crate::world::{in_namespace, run, sysctl};

const RESERVED: &str = "ipv4/ip_local_reserved_ports";

#[test]
fn reserving_adds_to_what_is_reserved_and_takes_out_only_that() {
    in_namespace(|system| async move {
        run("sysctl -qw net.ipv4.ip_local_reserved_ports=8080,20000-20100");
        let first = system.reserve_ports(20_050, 30_000).await.unwrap();
        assert_eq!(sysctl(RESERVED), "8080,20000-30000");
        let second = system.reserve_ports(8080, 8081).await.unwrap();
        assert_eq!(sysctl(RESERVED), "8080-8081,20000-30000");
        // The first goes after a restart of control.
        let written = first.to_json().unwrap();
        drop(first);
        ReservedPorts::from_json(&written).unwrap().restore().await.unwrap();
        assert_eq!(sysctl(RESERVED), "8080-8081,20000-20100");
        second.restore().await.unwrap();
        assert_eq!(sysctl(RESERVED), "8080,20000-20100");
        let error = system.reserve_ports(2, 1).await.unwrap_err();
        assert!(matches!(error, SystemError::PortRange { first: 2, last: 1 }));
    });
}

#[test]
fn the_last_reservation_leaves_an_empty_list() {
    in_namespace(|system| async move {
        let reserved = system.reserve_ports(1024, 65_535).await.unwrap();
        assert_eq!(sysctl(RESERVED), "1024-65535");
        reserved.restore().await.unwrap();
        assert_eq!(sysctl(RESERVED), "");
    });
}

#[test]
fn sockets_in_the_way_are_named() {
    in_namespace(|system| async move {
        run("ip addr add 192.0.2.1/24 dev lo");
        run("ip addr add 192.0.2.2/24 dev lo");
        let own = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(system.listening_conflicts(1, 65_535, own).await.unwrap(), [""; 0]);

        let _all = TcpListener::bind("0.0.0.0:2222").unwrap();
        let _own = UdpSocket::bind("192.0.2.1:3333").unwrap();
        let _six = TcpListener::bind("[::]:4444").unwrap();
        let _other = TcpListener::bind("192.0.2.2:2223").unwrap();
        let connected = UdpSocket::bind("192.0.2.1:3334").unwrap();
        connected.connect("192.0.2.2:53").unwrap();
        let found = system.listening_conflicts(2000, 5000, own).await.unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        let owner = format!("pid {})", std::process::id());
        for (line, socket) in
            found.iter().zip(["tcp 0.0.0.0:2222 (", "tcp [::]:4444 (", "udp 192.0.2.1:3333 ("])
        {
            assert!(line.starts_with(socket) && line.ends_with(&owner), "{line}");
        }
        assert_eq!(system.listening_conflicts(2223, 3332, own).await.unwrap(), [""; 0], "outside the range");
    });
}
