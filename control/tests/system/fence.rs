//! A fenced device: the dataplane hears everything, the kernel nothing; and the way back.

use std::net::Ipv4Addr;
use std::time::Duration;

use sluice_control::system::{Fence, System, SystemError};

use crate::dataplane::{ARP, Frames, IPV4, IPV6, arp, asks_for, ether_type};
use crate::world::{Peer, addresses, flags, in_namespace, ip, run, sysctl};

const SOON: Duration = Duration::from_secs(3);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OFFLOADS: [&str; 5] = [
    "tx-checksum-ip-generic",
    "scatter-gather",
    "generic-segmentation-offload",
    "tcp-segmentation-offload",
    "generic-receive-offload",
];

/// `eth0` here with addresses and routes, `eth1` at the peer, both up.
fn connected() -> Peer {
    let peer = Peer::new();
    peer.cable("eth0", "eth1");
    run("ethtool -K eth0 gro on");
    run("ip link set dev eth0 up");
    peer.run("ip link set dev eth1 up");
    run("ip addr add 192.0.2.1/24 dev eth0");
    run("ip addr add 192.0.2.7/24 dev eth0 label eth0:seven");
    run("ip addr add 203.0.113.1 peer 203.0.113.2/32 dev eth0");
    run("ip addr add 2001:db8:ff::1/64 dev eth0 nodad");
    run("ip route add default via 192.0.2.2 metric 50");
    run("ip route add 10.7.0.0/16 via 192.0.2.2 src 192.0.2.7 table 1234");
    run("ip -6 route add default via 2001:db8:ff::2");
    peer.run("ip addr add 192.0.2.2/24 dev eth1");
    peer.run("ip addr add 2001:db8:ff::2/64 dev eth1 nodad");
    peer
}

/// All that a fence may touch, as other programs see it.
fn state() -> Vec<String> {
    let features = run("ethtool -k eth0");
    let mut state = vec![flags("eth0").join(","), features];
    state
        .push(addresses("eth0").into_iter().filter(|a| !a.starts_with("fe80")).collect::<Vec<_>>().join(" "));
    for command in ["ip -4 -o addr show dev eth0", "ip -4 route show table all"] {
        state.push(run(command));
    }
    state.push(
        run("ip -6 route show").lines().filter(|l| !l.starts_with("fe80")).collect::<Vec<_>>().join("\n"),
    );
    // Without the queueing disciplines for sending, which a link gets when it comes up for the first time.
    state.push(run("tc qdisc show dev eth0").lines().filter(|line| line.contains("ffff:")).collect());
    state.push(sysctl("ipv6/conf/eth0/disable_ipv6"));
    state
}

/// Whether the peer reaches us, by IPv4 and by IPv6. The first answers may be missing: a link needs a moment.
fn reaches(peer: &Peer) -> [bool; 2] {
    ["192.0.2.1", "2001:db8:ff::1"].map(|to| peer.attempt(&format!("ping -c 5 -i 0.5 -W 1 {to}")).0)
}

/// Whether a single ping is answered.
fn pings(peer: &Peer) -> [bool; 2] {
    ["192.0.2.1", "2001:db8:ff::1"].map(|to| peer.attempt(&format!("ping -c 1 -W 1 {to}")).0)
}

#[test]
fn behind_a_fence_the_kernel_is_deaf_and_the_dataplane_is_not() {
    in_namespace(|system| async move {
        let peer = connected();
        assert_eq!(reaches(&peer), [true, true], "before");
        let before = state();

        let fence = system.fence("eth0").await.unwrap();
        assert_eq!(fence.interface(), "eth0");
        assert_eq!(addresses("eth0"), [""; 0]);
        let now = flags("eth0");
        for flag in ["NOARP", "PROMISC", "ALLMULTI", "UP"] {
            assert!(now.contains(&flag.to_owned()), "{flag}: {now:?}");
        }
        let features = run("ethtool -k eth0");
        for name in OFFLOADS {
            assert!(features.contains(&format!("{name}: off")), "{name}\n{features}");
        }

        // The address elsewhere, as on the twin: the kernel would answer for it on any interface.
        run("ip addr add 192.0.2.1/24 dev lo");
        run("ip addr add 2001:db8:ff::1/64 dev lo nodad");
        let dataplane = Frames::of_device("eth0");
        peer.run("ip neigh flush dev eth1");
        assert_eq!(pings(&peer), [false, false], "ARP and ND are not answered");
        assert!(dataplane.receive(SOON, |frame| asks_for(frame, OWN)).is_some(), "but heard");
        // With the MAC address known the ping itself comes.
        let mac = system.interface_mac("eth0").await.unwrap().map(|byte| format!("{byte:02x}")).join(":");
        peer.run(&format!("ip neigh replace 192.0.2.1 lladdr {mac} dev eth1 nud permanent"));
        peer.run(&format!("ip neigh replace 2001:db8:ff::1 lladdr {mac} dev eth1 nud permanent"));
        assert_eq!(pings(&peer), [false, false], "ping is not answered");
        for kind in [IPV4, IPV6] {
            assert!(dataplane.receive(SOON, |frame| ether_type(frame) == kind).is_some(), "{kind:04x}");
        }
        // Multicast groups that nobody here has joined, and other people's unicast.
        let there = peer.call(|| Frames::of_device("eth1"));
        let stranger = ([2, 0, 0, 0, 0, 7], Ipv4Addr::new(198, 51, 100, 7));
        for destination in [[1, 0, 0x5e, 9, 9, 9], [2, 0, 0, 0, 0, 8]] {
            there.send(&arp(1, stranger, stranger, destination));
            assert!(dataplane.receive(SOON, |frame| frame.starts_with(&destination)).is_some());
        }
        // The other direction is open.
        let marked = [2, 0, 0, 0, 0, 9];
        dataplane.send(&arp(1, (marked, OWN), stranger, [0xff; 6]));
        assert!(there.receive(SOON, |frame| ether_type(frame) == ARP && frame[6..12] == marked).is_some());

        run("ip addr del 192.0.2.1/24 dev lo");
        run("ip addr del 2001:db8:ff::1/64 dev lo");
        peer.run("ip neigh flush nud permanent dev eth1");
        fence.restore().await.unwrap();
        assert_eq!(state(), before);
        assert_eq!(reaches(&peer), [true, true], "after");
    });
}

#[test]
fn only_what_was_changed_is_put_back() {
    for qdisc in ["clsact", "ingress"] {
        in_namespace(move |system| async move {
            let peer = Peer::new();
            peer.cable("eth0", "eth1");
            // Somebody else's settings, that happen to be those of a fence.
            run("ip link set dev eth0 promisc on");
            run(&format!("tc qdisc add dev eth0 {qdisc}"));
            run("ethtool -K eth0 gso off");
            run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
            let before = state();
            let fence = system.fence("eth0").await.unwrap();
            assert!(flags("eth0").contains(&"UP".to_owned()));
            assert!(run("tc filter show dev eth0 ingress").contains("sluice-fence"), "{qdisc}");
            fence.restore().await.unwrap();
            assert_eq!(state(), before, "{qdisc}");
            assert_eq!(run("tc filter show dev eth0 ingress"), "", "{qdisc}");
            assert!(!flags("eth0").contains(&"UP".to_owned()), "it was down");
        });
    }
}

#[test]
fn a_fence_that_fails_half_way_is_taken_down() {
    in_namespace(|system| async move {
        let _peer = connected();
        // The place of the filter is taken by another one.
        run("tc qdisc add dev eth0 clsact");
        run("tc filter add dev eth0 ingress pref 1 protocol ip u32 match u32 0 0 flowid 1:1");
        let before = state();
        let error = system.fence("eth0").await.unwrap_err();
        assert!(error.to_string().contains("at preference 1"), "{error}");
        assert_eq!(state(), before);
        assert!(run("tc filter show dev eth0 ingress").contains("u32"));
    });
}

#[test]
fn a_killed_control_restores_at_its_next_start() {
    in_namespace(|system| async move {
        let peer = connected();
        let before = state();
        let fence = system.survey("eth0").await.unwrap();
        assert_eq!(state(), before, "a look changes nothing");
        let written = fence.to_json().unwrap();
        let fence = system.raise(fence).await.unwrap();
        assert_ne!(state(), before);
        // Killed: no destructor puts anything back.
        drop(fence);
        drop(system);

        let system = System::new().unwrap();
        let fence = Fence::from_json(&system, &written).unwrap();
        fence.restore().await.unwrap();
        assert_eq!(state(), before);
        assert_eq!(reaches(&peer), [true, true]);
    });
}

#[test]
fn a_fence_of_an_earlier_life_is_taken_over_with_what_came_since() {
    in_namespace(|system| async move {
        let _peer = connected();
        let before = state();
        let fence = system.fence("eth0").await.unwrap();
        let written = fence.to_json().unwrap();
        drop(fence);
        // A network manager puts an address back.
        run("ip addr add 198.51.100.9/24 dev eth0");

        let system = System::new().unwrap();
        let fence = Fence::from_json(&system, &written).unwrap();
        let fence = system.raise(fence).await.unwrap();
        assert_eq!(addresses("eth0"), [""; 0]);
        fence.restore().await.unwrap();
        assert!(addresses("eth0").contains(&"198.51.100.9/24".to_owned()));
        run("ip addr del 198.51.100.9/24 dev eth0");
        assert_eq!(state(), before);
    });
}

#[test]
fn a_device_that_is_gone_or_made_anew_needs_no_restoring() {
    in_namespace(|system| async move {
        let peer = connected();
        let fence = system.fence("eth0").await.unwrap();
        let written = fence.to_json().unwrap();
        run("ip link del dev eth0");
        fence.restore().await.unwrap();
        peer.cable("eth0", "eth2");
        Fence::from_json(&system, &written).unwrap().restore().await.unwrap();
        assert_eq!(addresses("eth0"), [""; 0]);
        let fence = system.raise(Fence::from_json(&system, &written).unwrap()).await.unwrap();
        assert!(flags("eth0").contains(&"NOARP".to_owned()));
        fence.restore().await.unwrap();
        assert_eq!(addresses("eth0"), [""; 0], "these were another device's");
    });
}

#[test]
fn what_is_no_ethernet_device_is_refused() {
    in_namespace(|system| async move {
        let lo = system.fence("lo").await.unwrap_err();
        assert!(matches!(&lo, SystemError::NotEthernet { .. }), "{lo}");
        let none = system.fence("eth9").await.unwrap_err();
        assert_eq!(
            none.to_string(),
            "there is no interface eth9; `ip link` lists those that exist in this network namespace"
        );
        assert!(ip("link show dev lo")[0]["flags"].to_string().contains("LOOPBACK"));
    });
}
