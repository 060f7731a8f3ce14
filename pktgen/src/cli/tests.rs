//! What arguments mean, and what is refused.

use clap::CommandFactory;

use super::*;
use crate::plan::ip;

fn quick(arguments: &str) -> Result<Plan, String> {
    let line = format!("sluice-pktgen quick {arguments}");
    match Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?.command {
        Command::Quick(quick) => quick.plan(1).map_err(|error| error.to_string()),
        Command::Selftest(_) => panic!(),
    }
}

fn error(arguments: &str) -> String {
    quick(arguments).unwrap_err()
}

const PORTS: &str = "--inside packet:in0 --outside packet:out0";

#[test]
fn the_command_line_is_consistent_and_every_command_has_an_example() {
    Cli::command().debug_assert();
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example"), "{} has no example", command.get_name());
    }
}

//= conformance BENCH-10, BENCH-11
#[test]
fn defaults_are_addresses_for_benchmarks() {
    let plan = quick(&format!("{PORTS} --nat64")).unwrap();
    let text = |family, address| ip(family, address).to_string();
    assert_eq!(text(Family::V6, plan.inside.address), "2001:2::2");
    assert_eq!(text(Family::V6, plan.inside.gateway), "2001:2::1");
    assert_eq!(text(Family::V4, plan.outside.address), "198.19.0.2");
    assert_eq!(text(Family::V6, plan.remote_inside()), "2001:2:0:64::c613:2");
    assert_eq!((plan.size, plan.rate, plan.hint()), (84, Some(10_000), None));
    let plan = quick(&format!("{PORTS} --nat44 --rate max")).unwrap();
    assert_eq!(text(Family::V4, plan.inside.address), "198.18.0.2");
    assert_eq!((plan.size, plan.rate), (64, None));
}

#[test]
fn hosts_get_a_prefix_each_where_there_is_room() {
    let plan = quick(&format!("{PORTS} --nat64 --hosts 16 --sources 2001:2:0:1000::/60")).unwrap();
    assert_eq!(ip(Family::V6, plan.hosts.address(15)).to_string(), "2001:2:0:100f::2");
    let text = error(&format!("{PORTS} --nat64 --hosts 17 --sources 2001:2:0:1000::/60"));
    assert!(text.contains("--hosts 17") && text.contains("/60"), "{text}");
    let plan = quick(&format!("{PORTS} --nat44 --hosts 253 --sources 198.18.7.0/24")).unwrap();
    assert_eq!(ip(Family::V4, plan.hosts.address(252)).to_string(), "198.18.7.254");
    assert!(quick(&format!("{PORTS} --nat44 --hosts 254 --sources 198.18.7.0/24")).is_err());
}

#[test]
fn mistakes_are_refused_and_named() {
    for (arguments, expected) in [
        ("--inside packet:a --outside packet:a --nat44", "two ports are needed"),
        ("--inside packet:a --outside xdp:a --nat44", "two ports are needed"),
        ("--inside ring:a --outside packet:b --nat44", "ring:a cannot be connected"),
        ("--inside null:a --outside packet:b --nat44", "null:a cannot be connected"),
        ("--inside eth0 --outside packet:b --nat44", "`eth0` is no device"),
        ("--inside packet:a --outside packet:b", "required"),
        ("--inside packet:a --outside packet:b --nat44 --nat64", "cannot be used with"),
        ("--inside packet:a --outside packet:b --nat64 2001:2::/95", "32, 40, 48, 56, 64 or 96"),
        ("--inside packet:a --outside packet:b --nat64 2001:2::1/96", "no bits set"),
        ("--inside packet:a --outside packet:b --nat64 198.18.0.0/15", "expected an IPv6 prefix"),
        (
            "--inside packet:a --outside packet:b --nat64 --inside-address 198.18.0.2",
            "the inside of this translation is IPv6",
        ),
        (
            "--inside packet:a --outside packet:b --nat44 --outside-address 2001:2::9",
            "the outside of this translation is IPv4",
        ),
        ("--inside packet:a --outside packet:b --nat44 --sources 2001:2::/64", "--sources 2001:2::"),
        ("--inside packet:a --outside packet:b --nat64 --size 64", "84 to 1518 bytes"),
        ("--inside packet:a --outside packet:b --nat44 --flows 0", "0 is not in"),
        ("--inside packet:a --outside packet:b --nat44 --flows 70000", "give more --hosts"),
        ("--inside packet:a --outside packet:b --nat44 --rate fast", "or max"),
        ("--inside packet:a --outside packet:b --nat44 --rate 0", "expected 1 to"),
        ("--inside packet:a --outside packet:b --nat44 --seconds nan", "expected seconds"),
        ("--inside packet:a --outside packet:b --nat44 --allow-loss 101", "0 to 100"),
        ("--inside packet:a --outside packet:b --nat44 --gateway-mac ff:ff:ff:ff:ff:ff", "one station"),
        (
            "--inside packet:a --outside packet:b --nat44 --inside-gateway 198.18.0.2",
            "both the inside address",
        ),
        ("--inside packet:a --outside packet:b --nat44 --remote 198.19.0.1", "both the responder's address"),
    ] {
        let text = error(arguments);
        assert!(text.contains(expected), "{arguments}: {text}");
    }
}

#[test]
fn one_mac_address_or_two() {
    for (text, count) in [("02:00:00:00:00:01", 1), ("02:00:00:00:00:01,02:00:00:00:00:02", 2)] {
        let line = format!("sluice-pktgen quick {PORTS} --nat44 --gateway-mac {text}");
        let Command::Quick(quick) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        assert_eq!(quick.gateway_mac.len(), count);
    }
}

#[test]
fn rates_are_written_for_people() {
    for (text, rate) in [("1", 1), ("20k", 20_000), ("1.5M", 1_500_000)] {
        assert_eq!(parse_rate(text), Ok(Rate(Some(rate))));
    }
}

#[test]
fn a_selftest_connects_the_ports_to_each_other() {
    for family in ["4", "6"] {
        let cli = Cli::try_parse_from(["sluice-pktgen", "selftest", "--family", family]).unwrap();
        let Command::Selftest(selftest) = cli.command else { panic!() };
        let plan = selftest.plan(1).unwrap();
        assert_eq!((plan.inside.gateway, plan.outside.gateway), (plan.outside.address, plan.inside.address));
    }
}
