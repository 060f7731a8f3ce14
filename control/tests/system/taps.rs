//! The twin outlives the dataplane, and control.

use std::net::Ipv4Addr;
use std::time::Duration;

use sluice_control::system::{SystemError, TwinPlan};

use crate::dataplane::{Frames, Process, answer, asks_for};
use crate::world::{addresses, eventually, flags, has_carrier, in_namespace, ip, run};

const MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 1];
const NEIGHBOUR_MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 2];
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SOON: Duration = Duration::from_secs(3);

fn plan() -> TwinPlan {
    TwinPlan {
        name: "outside".into(),
        mac: MAC,
        mtu: 1500,
        addresses: vec!["192.0.2.1/24".parse().unwrap(), "2001:db8:ff::1/64".parse().unwrap()],
        lower: None,
    }
}

fn neighbour_mac() -> Option<String> {
    let shown = ip(&format!("neigh show to {NEIGHBOUR} dev outside"));
    shown[0]["lladdr"].as_str().map(str::to_owned)
}

#[test]
fn a_twin_keeps_everything_when_the_dataplane_is_killed_and_returns() {
    in_namespace(|system| async move {
        let twin = system.tap("outside", 1500).await.unwrap();
        system.configure_twin(&plan()).await.unwrap();
        run("ip route add 198.51.100.0/24 via 192.0.2.2");
        run("ip -6 route add 2001:db8:1::/48 via 2001:db8:ff::2");
        assert!(has_carrier("outside"), "before any dataplane");

        // A first dataplane answers ARP, so that there is a neighbour to keep.
        let first = Frames::of_tap("outside");
        system.resolve_neighbour("outside", NEIGHBOUR.into()).await.unwrap();
        let request = first.receive(SOON, |frame| asks_for(frame, NEIGHBOUR)).expect("an ARP request");
        first.send(&answer(&request, NEIGHBOUR_MAC));
        eventually("a neighbour", || neighbour_mac().is_some()).await;
        run("ip neigh replace 2001:db8:ff::2 lladdr 02:00:5e:10:00:02 dev outside nud stale");
        let six = || ip("neigh show to 2001:db8:ff::2 dev outside")[0]["lladdr"].clone();
        assert!(six().is_string());
        let before = (addresses("outside"), ip("route show"), ip("-6 route show"), neighbour_mac());
        drop(first);

        for _ in 0..3 {
            let dataplane = Process::with_queue_of("outside");
            assert!(has_carrier("outside"), "with a dataplane");
            dataplane.kill();
            assert!(has_carrier("outside"), "after its death");
            let now = (addresses("outside"), ip("route show"), ip("-6 route show"), neighbour_mac());
            assert_eq!(now, before);
            assert!(six().is_string());
        }
        let carrier = ip("-details link show dev outside");
        assert_eq!(carrier[0]["ifindex"], twin.index());

        // A dataplane that returns receives what the kernel sends, all of it: the detached queue takes nothing.
        let returned = Frames::of_tap("outside");
        for last in 10..40 {
            let target = Ipv4Addr::new(192, 0, 2, last);
            system.resolve_neighbour("outside", target.into()).await.unwrap();
            assert!(returned.receive(SOON, |frame| asks_for(frame, target)).is_some(), "{target}");
        }
    });
}

#[test]
fn without_the_held_queue_the_carrier_is_lost() {
    in_namespace(|system| async move {
        let twin = system.tap("outside", 1500).await.unwrap();
        system.configure_twin(&plan()).await.unwrap();
        drop(twin);
        // The reason why control holds it: if a kernel keeps the carrier by itself one day, this test says so.
        eventually("the carrier goes", || !has_carrier("outside")).await;
        let dataplane = Process::with_queue_of("outside");
        eventually("the carrier comes", || has_carrier("outside")).await;
        dataplane.kill();
        eventually("the carrier goes again", || !has_carrier("outside")).await;
    });
}

#[test]
fn a_restarted_control_takes_over_while_the_dataplane_runs() {
    in_namespace(|system| async move {
        let twin = system.tap("outside", 1500).await.unwrap();
        system.configure_twin(&plan()).await.unwrap();
        let index = twin.index();
        let dataplane = Process::with_queue_of("outside");
        drop(twin);
        assert!(has_carrier("outside"), "the dataplane keeps it");

        let twin = system.tap("outside", 1400).await.unwrap();
        assert_eq!((twin.index(), twin.name()), (index, "outside"));
        assert_eq!(system.interface_mtu("outside").await.unwrap(), 1400);
        assert_eq!(addresses("outside").len(), 3, "{:?}", addresses("outside"));
        dataplane.kill();
        assert!(has_carrier("outside"), "control keeps it");

        let dataplane = Process::with_queue_of("outside");
        twin.remove().await.unwrap();
        assert!(
            !system.interface_exists("outside").await.unwrap(),
            "removed although the dataplane has it open"
        );
        drop(dataplane);
    });
}

#[test]
fn a_dataplane_that_opens_first_is_joined() {
    in_namespace(|system| async move {
        let dataplane = Frames::of_tap("outside");
        let twin = system.tap("outside", 1500).await.unwrap();
        system.configure_twin(&plan()).await.unwrap();
        drop(dataplane);
        assert!(has_carrier("outside"));
        assert_eq!(addresses("outside").len(), 3);
        drop(twin);
        assert!(system.interface_exists("outside").await.unwrap(), "persistent");
    });
}

#[test]
fn names_taken_by_something_else_are_refused() {
    in_namespace(|system| async move {
        run("ip link add name veth0 type veth peer name veth1");
        run("ip tuntap add dev tun0 mode tun multi_queue");
        run("ip tuntap add dev single mode tap");
        let veth = system.tap("veth0", 1500).await.unwrap_err();
        assert!(matches!(&veth, SystemError::NotATap { .. }), "{veth}");
        assert!(
            veth.to_string().contains("veth0 exists and is not a TAP but a device of kind veth"),
            "{veth}"
        );
        let tun = system.tap("tun0", 1500).await.unwrap_err();
        assert!(matches!(&tun, SystemError::NotATap { found, .. } if found.contains("TUN")), "{tun}");
        let single = system.tap("single", 1500).await.unwrap_err();
        assert!(matches!(&single, SystemError::SingleQueue { .. }), "{single}");
        let pattern = system.tap("tap%d", 1500).await.unwrap_err();
        assert!(matches!(&pattern, SystemError::BadName { .. }), "{pattern}");
        assert!(flags("veth0").iter().all(|flag| flag != "UP"), "untouched");
    });
}
