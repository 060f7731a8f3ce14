//! A twin is exactly what its plan says.

use sluice_control::system::{SystemError, TwinPlan};

use crate::world::{addresses, flags, in_namespace, ip, run, sysctl};

const MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 1];
const LINK_LOCAL: &str = "fe80::5eff:fe10:1/64";

fn plan(addresses: &[&str]) -> TwinPlan {
    TwinPlan {
        name: "inside".into(),
        mac: MAC,
        mtu: 1400,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        lower: None,
    }
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn a_plan_is_carried_out_and_again_changes_nothing() {
    in_namespace(|system| async move {
        let _twin = system.tap("inside", 1500).await.unwrap();
        let plan =
            plan(&["10.0.0.1/24", "192.0.2.9/31", "192.0.2.77/32", "2001:db8:501::1/64", "fe80::1/64"]);
        system.configure_twin(&plan).await.unwrap();

        assert_eq!(system.interface_mac("inside").await.unwrap(), MAC);
        assert_eq!(system.interface_mtu("inside").await.unwrap(), 1400);
        assert!(flags("inside").contains(&"UP".to_owned()));
        let mut expected = vec!["10.0.0.1/24", "192.0.2.9/31", "192.0.2.77/32"];
        expected.extend(["2001:db8:501::1/64", "fe80::1/64", LINK_LOCAL]);
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(sorted(addresses("inside")), sorted(expected));
        // At once, not after two seconds: nobody can answer or ask from a tentative address.
        let tentative = ip("addr show dev inside tentative");
        assert!(!tentative.to_string().contains("local"), "{tentative}");
        for (path, value) in [
            ("ipv4/conf/inside/forwarding", "0"),
            ("ipv4/conf/inside/rp_filter", "2"),
            ("ipv4/conf/inside/arp_ignore", "1"),
            ("ipv4/conf/inside/arp_announce", "2"),
            ("ipv6/conf/inside/forwarding", "0"),
            ("ipv6/conf/inside/accept_ra", "0"),
            ("ipv6/conf/inside/autoconf", "0"),
            ("ipv6/conf/inside/accept_dad", "0"),
            ("ipv6/conf/inside/disable_ipv6", "0"),
        ] {
            assert_eq!(sysctl(path), value, "{path}");
        }

        let state = || {
            (ip("-details addr show dev inside"), ip("route show table all"), ip("-6 route show table all"))
        };
        let before = state();
        system.configure_twin(&plan).await.unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn addresses_that_are_not_in_the_plan_go() {
    in_namespace(|system| async move {
        let _twin = system.tap("inside", 1500).await.unwrap();
        system.configure_twin(&plan(&["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"])).await.unwrap();
        run("ip addr add 203.0.113.1/24 dev inside");
        run("ip addr add fe80::77/64 dev inside nodad");
        // The primary goes; the secondary of its subnet stays and becomes primary.
        system.configure_twin(&plan(&["10.0.0.2/24", "2001:db8::2/64"])).await.unwrap();
        let expected = ["10.0.0.2/24", "2001:db8::2/64", LINK_LOCAL].map(str::to_owned);
        assert_eq!(sorted(addresses("inside")), sorted(expected.to_vec()));
        system.configure_twin(&plan(&[])).await.unwrap();
        assert_eq!(addresses("inside"), [LINK_LOCAL]);
    });
}

#[test]
fn another_length_is_another_address() {
    in_namespace(|system| async move {
        let _twin = system.tap("inside", 1500).await.unwrap();
        system.configure_twin(&plan(&["10.0.0.1/24", "2001:db8::1/64"])).await.unwrap();
        system.configure_twin(&plan(&["10.0.0.1/16", "2001:db8::1/56"])).await.unwrap();
        let expected = ["10.0.0.1/16", "2001:db8::1/56", LINK_LOCAL].map(str::to_owned);
        assert_eq!(sorted(addresses("inside")), sorted(expected.to_vec()));
    });
}

#[test]
fn a_new_mac_address_brings_its_link_local_address_and_costs_no_route() {
    in_namespace(|system| async move {
        let _twin = system.tap("inside", 1500).await.unwrap();
        let mut plan = plan(&["10.0.0.1/24", "2001:db8::1/64"]);
        system.configure_twin(&plan).await.unwrap();
        run("ip route add 198.51.100.0/24 via 10.0.0.2");
        run("ip -6 route add 2001:db8:1::/48 via 2001:db8::2");
        plan.mac[5] = 9;
        system.configure_twin(&plan).await.unwrap();
        let now = addresses("inside");
        assert!(now.contains(&"fe80::5eff:fe10:9/64".to_owned()), "{now:?}");
        assert!(!now.contains(&LINK_LOCAL.to_owned()), "{now:?}");
        assert!(!ip("addr show dev inside tentative").to_string().contains("local"));
        assert!(run("ip route show").contains("198.51.100.0/24 via 10.0.0.2"));
        assert!(run("ip -6 route show").contains("2001:db8:1::/48 via 2001:db8::2"));
    });
}

#[test]
fn ipv6_that_is_off_by_default_is_switched_on_for_ipv6_addresses_only() {
    in_namespace(|system| async move {
        run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        let _twin = system.tap("inside", 1500).await.unwrap();
        system.configure_twin(&plan(&["10.0.0.1/24"])).await.unwrap();
        assert_eq!(addresses("inside"), ["10.0.0.1/24"]);
        system.configure_twin(&plan(&["10.0.0.1/24", "2001:db8::1/64"])).await.unwrap();
        let expected = ["10.0.0.1/24", "2001:db8::1/64", LINK_LOCAL].map(str::to_owned);
        assert_eq!(sorted(addresses("inside")), sorted(expected.to_vec()));
    });
}

#[test]
fn plans_that_cannot_be_are_refused() {
    in_namespace(|system| async move {
        let missing = system.configure_twin(&plan(&[])).await.unwrap_err();
        assert!(matches!(&missing, SystemError::NoSuchInterface { .. }), "{missing}");

        let _twin = system.tap("inside", 1500).await.unwrap();
        let mut small = plan(&["2001:db8::1/64"]);
        small.mtu = 1279;
        let small = system.configure_twin(&small).await.unwrap_err();
        assert!(matches!(&small, SystemError::MtuTooSmall { mtu: 1279, .. }), "{small}");

        run("ip link add name eth0 type veth peer name eth1");
        run("ip addr add 10.0.0.1/24 dev eth0");
        let mut twice = plan(&["10.0.0.1/24"]);
        twice.lower = Some("eth0".into());
        let error = system.configure_twin(&twice).await.unwrap_err();
        assert!(matches!(&error, SystemError::AddressOnLower { .. }), "{error}");
        let _fence = system.fence("eth0").await.unwrap();
        system.configure_twin(&twice).await.unwrap();
        assert_eq!(ip("link show dev inside")[0]["ifalias"], "sluice twin of eth0");
    });
}
