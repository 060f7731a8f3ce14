//! Whole files in, configurations, mistakes, snapshots and differences out.

use proptest::prelude::*;
use sluice_nat::{Geometry, Kind, Session, Shared};
use sluice_shm::snapshot::{Checksums, Dscp, IcmpErrors, IdleMode, MssClamp, Unsolicited, Via};

use super::*;

const LAPTOP: &str = "\
interfaces:
  inside:
    device: packet:veth-in
    addresses: [2001:db8:1::1/64]
  outside:
    device: packet:veth-out
    addresses: [192.0.2.2/24]
pools: { public: { prefixes: [192.0.2.2/32], ports: 32768-65535 } }
nat64: [{ sources: [2001:db8:1::/64] }]
";

const BORDER: &str = "\
interfaces:
  inside:
    device: xdp:enp1s0f1
    addresses: [10.0.0.1/24, 2001:db8:501::1/64]
    mtu: 9000
  outside:
    device: pci:0000:01:00.0
    vlan: 100
    addresses: [192.0.2.2/30, 2001:db8:ff::2/64]
    mss-clamp: 1400
    time-exceeded: off
  transit: { device: 'pci:0000:01:00.0', vlan: 200, mss-clamp: off }
workers: { cores: [2, 4-5], idle: pause }
pools:
  public: { prefixes: [198.51.100.0/30], ports: 1024-65535, block-size: 512, hold-down: 1m, parity: false, reserved-ports: [5060-5061, 4500], pairing: soft, hold-down-ports: 100 }
  business: { prefixes: [203.0.113.7, 203.0.113.64/30], deterministic: { inside: 10.0.0.0/24, dynamic: 2, algorithm: random, key: 000102030405060708090a0b0c0d0e0f } }
nat64:
  - { prefix: 2001:db8:64::/96, sources: 2001:db8:500::/56, pool: public, filtering: { tcp: address-dependent } }
  - { pool: business, interfaces: [inside], allow-non-global: true }
nat44:
  - { sources: [10.0.0.0/8], pool: public, except: [10.9.0.0/16], filtering: address-and-port-dependent }
static-bindings:
  - { protocol: tcp, inside: \"[2001:db8:500::1]:22\", external: \"198.51.100.1:2222\" }
  - { protocol: udp, inside: \"10.0.0.7:53\", external: \"192.0.2.9:53\" }
  - { protocol: icmp, inside: \"[2001:db8:9::1]:0\", external: \"198.51.100.1:7\", prefix: 64:ff9b::/96 }
subscribers: { ipv6-prefix-length: 56, max-sessions: 10k, max-port-blocks: 4, new-sessions-per-second: 0, max-mappings: { udp: 2k, icmp: 50 }, max-subscribers: 1k }
timers: { udp: 5m, tcp-established: 2h4m, tcp-opening: 30, icmp: 60s, udp-short: { ports: [53, 123], time: 30 }, tcp-idle-probe: off }
routes:
  - { to: 0.0.0.0/0, via: 192.0.2.1 }
  - { to: '::/0', via: fe80::1, interface: outside }
  - { to: 10.20.0.0/16, interface: inside }
  - { to: 192.168.0.0/16, blackhole: true }
icmp-errors-per-second: never
sessions: 2M
unsolicited: { tcp-syn: hold, other: reject, tcp-from-inside: reset }
dscp: { to-ipv4: 8, to-ipv6: copy, icmp-errors: 48 }
icmp-source-pool: [203.0.113.128/28, 203.0.113.200]
fragments: { timeout: 5s, datagrams: 1k, waiting: 512, per-source: 64, lowest-ipv6-mtu: 1500, ipv4-identification: remap }
checksums: { quoted-ipv4-header: ignore, udp-zero-to-ipv6: drop, udp-zero-to-ipv4: allow }
";

fn good(source: &str) -> Config {
    match load("t.yaml", source) {
        Ok(checked) => checked.config,
        Err(error) => panic!("{}", error.render(false)),
    }
}

fn border() -> Config {
    good(&BORDER.replace("2h4m", "3h"))
}

#[test]
fn a_small_case_is_small_and_has_careful_defaults() {
    assert!(LAPTOP.lines().count() < 10);
    let config = good(LAPTOP);
    assert_eq!(config.pools[0].block_size, 256);
    assert_eq!((config.pools[0].hold_down, config.pools[0].parity), (120, true));
    assert_eq!((config.sessions, config.icmp_errors_per_second), (1 << 20, IcmpErrors::both(1000)));
    assert!(config.interfaces[0].proxy_neighbours);
    assert_eq!((config.interfaces[0].mtu, config.interfaces[0].mss_clamp), (1500, MssClamp::Auto));
    //= conformance ADDR-17
    assert_eq!(config.nat64[0].prefix.value.to_string(), "64:ff9b::/96");
    //= conformance N64-TCP-40, N64-TCP-44
    assert_eq!(config.unsolicited, Unsolicited::default());
    assert!(!config.unsolicited.hold_syns && !config.unsolicited.reject && !config.unsolicited.reset_inside);
    //= conformance ICMP-79, XLT-32, XLT-34
    assert_eq!(config.checksums, Checksums::default());
    //= conformance ICMP-108
    assert_eq!(config.dscp, Dscp::default());
    //= conformance N64-TCP-22
    assert!(config.timers.tcp_idle_probe);
    assert_eq!(config.workers, model::Workers { cores: Vec::new(), idle: IdleMode::Auto });
}

#[test]
fn every_key_is_understood() {
    let config = border();
    assert_eq!(
        (config.workers.cores.as_slice(), config.workers.idle),
        ([2, 4, 5].as_slice(), IdleMode::Pause)
    );
    assert_eq!(config.interfaces[1].vlan, Some(100));
    assert_eq!(config.interfaces[1].mss_clamp, MssClamp::To(1400));
    assert!(!config.interfaces[1].time_exceeded);
    assert_eq!(config.interfaces[2].mss_clamp, MssClamp::Off);
    assert_eq!((config.pools[0].hold_down, config.pools[0].parity), (60, false));
    let reserved: Vec<String> = config.pools[0].reserved_ports.iter().map(ToString::to_string).collect();
    assert_eq!(reserved, ["4500", "5060-5061"], "in order");
    assert_eq!(config.pools[0].hold_down_ports, 100);
    assert_eq!(config.pools[0].pairing, sluice_nat::Pairing::Soft);
    assert_eq!(config.pools[1].pairing, sluice_nat::Pairing::Strict);
    let variables = config.pools[1].deterministic.as_ref().map(|variables| variables.value);
    let algorithm = sluice_nat::Algorithm::Random([0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f]);
    let inside = (0x0a00_0000, 24);
    assert_eq!(variables, Some(sluice_nat::DeterministicSpec { inside, dynamic: 2, algorithm }));
    assert_eq!(config.pools[1].prefixes[0].value.to_string(), "203.0.113.7/32");
    assert_eq!(config.nat64[1].interfaces, [0]);
    assert!(config.nat64[1].allow_non_global);
    assert_eq!(config.subscribers.max_sessions, 10_000);
    assert_eq!(config.subscribers.max_mappings, [50, sluice_nat::Limits::NONE, 2000]);
    assert_eq!(config.subscribers.max_subscribers, 1000);
    assert_eq!(
        (config.timers.udp, config.timers.tcp_established, config.timers.tcp_opening),
        (300, 10_800, 30)
    );
    assert_eq!((config.timers.udp_short, config.timers.tcp_idle_probe), (30, false));
    assert_eq!(config.timers.udp_short_ports.iter().collect::<Vec<_>>(), [53, 123]);
    assert_eq!(config.static_bindings.iter().map(|b| b.rule).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!((config.icmp_errors_per_second, config.sessions), (IcmpErrors::both(0), 2_000_000));
    assert_eq!(config.gateways().len(), 2);
    let fragments = config.fragments;
    assert_eq!((fragments.timeout, fragments.datagrams, fragments.waiting), (5, 1000, 512));
    assert_eq!((fragments.per_source, fragments.lowest_ipv6_mtu), (64, 1500));
    assert!(fragments.remap_identification);
    assert_eq!(config.icmp_sources.len(), 2);
    assert_eq!(config.dscp, Dscp { to_ipv4: Some(8), to_ipv6: None, icmp_errors: Some(48) });
    assert!(config.unsolicited.hold_syns && config.unsolicited.reject && config.unsolicited.reset_inside);
    let all = Checksums { ignore_quoted: true, drop_zero_to_ipv6: true, allow_zero_to_ipv4: true };
    assert_eq!(config.checksums, all);
}

//= conformance FRAG-02, FRAG-19
#[test]
fn fragments_have_floors() {
    for (key, found) in [("timeout: 1", "at least 2 seconds"), ("lowest-ipv6-mtu: 1279", "from 1280")] {
        let source = format!("{LAPTOP}fragments: {{ {key} }}\n");
        let error = load("t.yaml", &source).unwrap_err().render(false);
        assert!(error.contains(found), "{error}");
    }
    assert_eq!(good(LAPTOP).fragments, sluice_nat::FragmentSpec::default());
}

#[test]
//= conformance ICMP-102
fn icmp_errors_have_a_rate_for_each_family() {
    let errors = |text: &str| {
        let key = "icmp-errors-per-second: ";
        good(&BORDER.replace("2h4m", "3h").replace(&format!("{key}never"), &format!("{key}{text}")))
            .icmp_errors_per_second
    };
    assert_eq!(errors("50"), IcmpErrors::both(50));
    assert_eq!(errors("{ ipv4: never, ipv6: 20 }"), IcmpErrors { ipv4: 0, ipv6: 20 });
    assert_eq!(errors("{ ipv6: never }"), IcmpErrors { ipv4: 1000, ipv6: 0 });
}

#[test]
//= conformance XLT-42
fn routes_to_parts_of_a_translation_prefix_keep_them_native() {
    let config = LAPTOP.to_owned()
        + "routes:\n  - { to: '64:ff9b::c633:6400/120', blackhole: true }\n  - { to: '64:ff9b::/96', blackhole: true }\n  - { to: '64:ff9b::/32', blackhole: true }\n";
    let native = compile(&good(&config), 1).nat.native;
    assert_eq!(native, [(0x0064_ff9b << 96 | 0xc633_6400, 120)]);
}

/// Mapping is endpoint-independent, always: no key says otherwise.
#[test]
//= conformance MAP-21
fn there_is_no_other_mapping_to_be_had() {
    let config =
        BORDER.replace("2h4m", "3h").replace("except: [10.9.0.0/16],", "mapping: address-dependent,");
    let error = load("t.yaml", &config).unwrap_err();
    assert!(error.problems[0].message.contains("unknown key `mapping`"), "{}", error.render(false));
}

/// Name, what is replaced in the border file by what, line and column, words of the message, words of the hint.
type Mistake = (&'static str, &'static str, &'static str, (u32, u32), &'static str, &'static str);

#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    ("unknown key", "pools:\n", "pols:\n", (14, 1), "unknown key `pols`, did you mean `pools`?", ""),
    ("unknown key in a mapping", "mtu: 9000", "mtus: 9000", (5, 5), "unknown key `mtus`, did you mean `mtu`?", ""),
    ("unknown key unlike any", "mtu: 9000", "colour: red", (5, 5), "unknown key `colour` in an interface", "`device`"),
    ("underscore for dash", "mss-clamp: 1400", "mss_clamp: 1400", (10, 5), "did you mean `mss-clamp`?", ""),
    ("device without scheme", "device: xdp:enp1s0f1", "device: enp1s0f1", (3, 13), "expected a device", "write `xdp:enp1s0f1`"),
    ("device scheme", "device: xdp:enp1s0f1", "device: xpd:enp1s0f1", (3, 13), "begins with `pci`", "did you mean `xdp:enp1s0f1`?"),
    ("interface name too long", "  inside:\n", "  a-name-that-is-too-long:\n", (2, 3), "expected the name of an interface", "1 to 15 characters"),
    ("interface name of the kernel", "  inside:\n", "  all:\n", (2, 3), "expected the name of an interface", "`all`"),
    ("name of the lower device", "  inside:\n", "  enp1s0f1:\n", (2, 3), "TAP twin of the same name", "name of its own"),
    ("address without length", "10.0.0.1/24,", "10.0.0.1,", (4, 17), "an address with its prefix length", "10.0.0.1/24"),
    ("network address", "10.0.0.1/24,", "10.0.0.0/24,", (4, 17), "an address that a host can have", ""),
    ("mtu", "mtu: 9000", "mtu: 500", (5, 10), "expected a number from 1280 to 9600, found `500`", ""),
    ("vlan", "vlan: 100", "vlan: 4095", (8, 11), "expected a number from 1 to 4094", ""),
    ("same port twice", "vlan: 200", "vlan: 100", (12, 22), "VLAN 100 of `pci:0000:01:00.0` is already interface `outside` (line 7)", "`vlan`"),
    ("subnet twice", "192.0.2.2/30,", "10.0.0.2/24,", (9, 17), "overlaps 10.0.0.1/24 of interface `inside`", "every subnet"),
    ("cores", "[2, 4-5]", "two", (13, 19), "cores such as 2", ""),
    ("idle", "idle: pause", "idle: sleeps", (13, 35), "expected one of `auto`, `poll`, `pause`, `sleep`, found `sleeps`", "did you mean `sleep`?"),
    ("host bits", "198.51.100.0/30]", "198.51.100.1/30]", (15, 24), "a prefix without host bits", "write `198.51.100.0/30`"),
    ("no prefix in a pool", "[198.51.100.0/30]", "[]", (15, 23), "at least one IPv4 prefix", "without an address"),
    ("multicast pool", "198.51.100.0/30]", "224.0.0.0/30]", (15, 24), "unicast addresses", ""),
    ("ports", "1024-65535", "65535-1024", (15, 49), "range of ports that rises", "write `1024-65535`"),
    ("port 0", "1024-65535", "0-65535", (15, 49), "a range of ports such as", ""),
    ("block size", "512", "500", (15, 73), "a power of two from 64 to 4096, found `500`", "256 and 512"),
    ("hold-down", "1m,", "1h,", (15, 89), "at most 240 seconds", ""),
    ("resting ports", "hold-down-ports: 100", "hold-down-ports: 0", (15, 175), "`all` or a number of ports from 1 to 4096, found `0`", "`hold-down: 0`"),
    ("a reserved port that is none", " 4500]", " sip]", (15, 136), "a port, or a range of ports such as 5060-5061, found `sip`", ""),
    ("reserved ports that fall", "5060-5061", "5061-5060", (15, 125), "range of ports that rises", "write `5060-5061`"),
    ("all ports reserved", "[5060-5061, 4500]", "[4096-65535, 1-5000]", (15, 124), "no port of 1024-65535 is left", "keep some"),
    ("pairing", "pairing: soft", "pairing: sofd", (15, 152), "expected one of `strict`, `soft`, found `sofd`", "did you mean `soft`?"),
    ("pools overlap", "203.0.113.64/30]", "198.51.100.2/31]", (16, 39), "198.51.100.2/31 overlaps 198.51.100.0/30 of pool `public` (line 15)", "one pool"),
    ("pool swallows an address", "203.0.113.64/30]", "192.0.2.0/29]", (16, 39), "contains 192.0.2.2, the address of interface `outside`", "192.0.2.2/32"),
    ("PORT-20", "algorithm: random", "algorithm: 1", (16, 118), "expected one of `sequential`, `random`, found `1`", "0 and 4 of RFC 7422"),
    ("a key that is none", "0c0d0e0f", "0c0d0e", (16, 131), "32 hexadecimal digits", "openssl"),
    ("a key too many", "algorithm: random,", "algorithm: sequential,", (16, 135), "a sequential order has no key", ""),
    ("no key", ", key: 000102030405060708090a0b0c0d0e0f", "", (16, 72), "`key` is missing", "openssl"),
    ("too many inside hosts", "10.0.0.0/24, dynamic", "10.0.0.0/12, dynamic", (16, 72), "with fewer than 64 ports for each", "longer `inside`"),
    ("too many pool addresses", "203.0.113.64/30]", "11.0.0.0/19]", (16, 39), "more than 4096 addresses", ""),
    ("ADDR-07", "2001:db8:64::/96", "2001:db8:64::/72", (18, 15), "length 32, 40, 48, 56, 64 or 96", "2001:db8:64::/96"),
    ("ADDR-09", "2001:db8:64::/96", "2001:db8:1:2:ab00::/96", (18, 15), "bits 64 to 71 are zero", ""),
    ("ADDR-12", "2001:db8:64::/96", "64:ff9b::/64", (18, 15), "the well-known prefix as a /96", "write `64:ff9b::/96`"),
    ("prefixes overlap", "2001:db8:64::/96", "2001:db8::/32", (4, 30), "is inside the translation prefix", ""),
    ("source of the other family", "2001:db8:500::/56,", "10.0.0.0/8,", (18, 42), "an IPv6 prefix, found `10.0.0.0/8`", ""),
    ("pool name", "pool: public, filtering", "pool: pubic, filtering", (18, 67), "name of a pool, found `pubic`", "did you mean `public`?"),
    ("pool missing", "pool: public, filtering", "filtering", (18, 5), "`pool` is missing, and there are 2 pools", "`public`, `business`"),
    ("filtering", "address-dependent", "adress-dependent", (18, 93), "expected one of", "did you mean `address-dependent`?"),
    ("interface name in a rule", "interfaces: [inside]", "interfaces: [insde]", (19, 36), "name of an interface", "did you mean `inside`?"),
    ("nat44 without sources", "sources: [10.0.0.0/8], pool", "pool", (21, 5), "`sources` is missing", ""),
    ("protocol", "protocol: tcp", "protocol: sctp", (23, 17), "expected one of `tcp`, `udp`, `icmp`, found `sctp`", ""),
    ("inside without brackets", "\"[2001:db8:500::1]:22\"", "\"2001:db8:500::1\"", (23, 30), "an address and a port", "brackets"),
    ("no rule serves", "\"10.0.0.7:53\"", "\"172.16.0.7:53\"", (24, 30), "no nat44 rule serves the inside address 172.16.0.7", "`sources`"),
    ("external IPv6", "\"192.0.2.9:53\"", "\"[::1]:53\"", (24, 55), "an IPv4 address and a port", ""),
    // The same external endpoint for another protocol is fine (PORT-21).
    ("external of two protocols", "external: \"198.51.100.1:7\"", "external: \"198.51.100.1:2222\"", (0, 0), "", ""),
    ("external twice", "- { protocol: icmp", "- { protocol: tcp, inside: \"10.0.0.8:1\", external: \"198.51.100.1:2222\" }\n  - { protocol: icmp", (25, 54), "tcp 198.51.100.1:2222 already has a static binding (line 23)", ""),
    ("static port 0", "10.0.0.7:53", "10.0.0.7:0", (24, 30), "a port from 1 to 65535", ""),
    ("N64-UDP-05", "udp: 5m", "udp: 60", (27, 16), "at least 120 seconds, found `60`", "RFC 4787"),
    ("N64-TCP-34", "3h", "1h", (27, 37), "at least 7200 seconds, found `1h`", "RFC 5382"),
    ("N64-ICMP-05", "60s", "30", (27, 64), "at least 60 seconds, found `30`", "RFC 5508"),
    ("N64-UDP-16, port", "[53, 123]", "[53, 5353]", (27, 94), "a number from 1 to 1023, found `5353`", "well-known ports only"),
    ("N64-UDP-16, time", "time: 30 ", "time: 10m ", (27, 106), "at most 300 seconds", ""),
    ("N64-UDP-16, no time", ", time: 30 ", " ", (27, 80), "`time` is missing", ""),
    ("duration", "udp: 5m", "udp: soon", (27, 16), "a duration such as", ""),
    ("idle probe", "probe: off", "probe: never", (27, 128), "expected true or false, found `never`", ""),
    ("subscriber prefix", "length: 56", "length: 32", (26, 36), "a number from 48 to 128", ""),
    ("LIM-02", "udp: 2k", "udp: 0", (26, 128), "a count from 1", ""),
    ("LIM-02, key", "icmp: 50", "imcp: 50", (26, 132), "unknown key `imcp`, did you mean `icmp`?", ""),
    ("LIM-14", "max-subscribers: 1k", "max-subscribers: none", (26, 161), "a count from 1", ""),
    ("gateway off-link", "via: 192.0.2.1 }", "via: 192.0.9.1 }", (29, 27), "not in a subnet of any interface", "192.0.2.0/30"),
    ("gateway is the box", "via: 192.0.2.1 }", "via: 192.0.2.2 }", (29, 27), "is this box itself, on `outside`", ""),
    ("link-local without interface", "via: fe80::1, interface: outside", "via: fe80::1", (30, 24), "link-local", "`interface`"),
    ("no target", "interface: inside }", "}", (31, 5), "exactly one of `via`", ""),
    ("route twice", "10.20.0.0/16, interface: inside", "0.0.0.0/0, interface: inside", (31, 11), "already a route to 0.0.0.0/0 (line 29)", ""),
    ("connected route", "10.20.0.0/16", "10.0.0.0/24", (31, 11), "is the subnet of interface `inside`", ""),
    ("sessions", "sessions: 2M", "sessions: 2G", (34, 11), "a count from 4096", ""),
    ("icmp errors", "never", "seldom", (33, 25), "or `never`", ""),
    ("unsolicited SYNs", "tcp-syn: hold", "tcp-syn: holt", (35, 25), "expected one of `drop`, `hold`, found `holt`", "did you mean `hold`?"),
    ("unsolicited others", "other: reject", "other: hold", (35, 38), "expected one of `drop`, `reject`, found `hold`", ""),
    ("unknown segments from inside", "inside: reset", "inside: reject", (35, 63), "expected one of `drop`, `reset`, found `reject`", ""),
    ("ICMP-94, RFC 1918", "203.0.113.200", "10.0.0.1", (37, 38), "the same host for everybody, found `10.0.0.1`", "RFC 6791"),
    ("ICMP-94, RFC 1918 too", "203.0.113.200", "172.31.0.0/16", (37, 38), "the same host for everybody", "172.16.0.0/12"),
    ("ICMP-94, RFC 1918 as well", "203.0.113.200", "192.168.1.1", (37, 38), "the same host for everybody", "192.168.0.0/16"),
    ("ICMP-94, RFC 6598", "203.0.113.200", "100.64.0.0/9", (37, 38), "prefix without host bits", ""),
    ("ICMP-94, RFC 6598", "203.0.113.200", "100.64.9.9", (37, 38), "the same host for everybody", "100.64.0.0/10"),
    ("too many ICMP sources", "203.0.113.200", "198.51.0.0/24", (37, 19), "expected at most 256 addresses, found 272", ""),
    ("quoted headers", "ipv4-header: ignore", "ipv4-header: off", (39, 34), "expected one of `check`, `ignore`, found `off`", ""),
    ("UDP without checksum to IPv6", "to-ipv6: drop", "to-ipv6: allow", (39, 60), "expected one of `compute`, `drop`, found `allow`", ""),
    ("UDP without checksum to IPv4", "to-ipv4: allow", "to-ipv4: compute", (39, 84), "expected one of `drop`, `allow`, found `compute`", ""),
    ("dscp", "to-ipv4: 8", "to-ipv4: 0x20", (36, 18), "`copy` or a DSCP from 0 to 63, found `0x20`", "DSCP 8"),
    ("dscp of errors", "icmp-errors: 48", "icmp-errors: cs6", (36, 49), "`copy` or a DSCP from 0 to 63, found `cs6`", "upper six bits"),
    ("bgp", "sessions: 2M", "bgp: { local-as: 64513 }", (34, 1), "`bgp` is not in this release", "BIRD or FRR"),
    ("list in place of a mapping", "workers: { cores: [2, 4-5], idle: pause }", "workers: [2, 4-5]", (13, 10), "a mapping with the keys of workers, found a list", ""),
];

#[test]
fn workers_may_share_cores() {
    let source = BORDER.replace("2h4m", "3h").replace("[2, 4-5]", "[0, 1, 0-1]");
    assert_eq!(good(&source).workers.cores, [0, 1, 0, 1]);
}

#[test]
fn every_mistake_has_its_place_and_its_remedy() {
    let base = BORDER.replace("2h4m", "3h");
    let mut failures = String::new();
    for (name, from, to, at, message, hint) in MISTAKES {
        assert!(base.contains(from), "{name}: `{from}` is not in the file");
        let result = load("t.yaml", &base.replacen(from, to, 1));
        if message.is_empty() {
            assert!(result.is_ok(), "{name}");
            continue;
        }
        let error = result.err().unwrap_or_else(|| panic!("{name}: was accepted"));
        let right = error.problems.iter().any(|p| {
            p.message.contains(message)
                && (p.at.line, p.at.column) == *at
                && p.hint.as_deref().unwrap_or_default().contains(hint)
        });
        if !right {
            failures.push_str(&format!(
                "--- {name}: expected {at:?} {message} / {hint}, got\n{}",
                error.render(false)
            ));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_lines() {
    let source = BORDER
        .replace("mtu: 9000", "mtu: 1")
        .replace("[2, 4-5]", "[2, two]")
        .replace("block-size: 512", "block-size: 513")
        .replace("udp: 5m", "udp: 5");
    let error = load("t.yaml", &source).unwrap_err();
    let lines: Vec<u32> = error.problems.iter().map(|p| p.at.line).collect();
    // Line 27 has two: `2h4m` is no duration.
    assert_eq!(lines, [5, 13, 15, 27, 27], "{}", error.render(false));
}

#[test]
fn a_mistake_is_shown_with_its_line() {
    let error = load("t.yaml", "interfaces: {}\npols: {}\n").unwrap_err();
    let text = error.render(false);
    assert!(text.contains("t.yaml:2:1: error: unknown key `pols`, did you mean `pools`?\n"), "{text}");
    assert!(text.contains("2 | pols: {}\n  | ^^^^\n"), "{text}");
    assert!(error.render(true).contains("\x1b[1;31merror\x1b[0m"));
}

#[test]
fn one_mistake_does_not_make_others_of_every_reference() {
    let source = LAPTOP.replace("prefixes: [192.0.2.2/32]", "prefixes: nonsense");
    let error = load("t.yaml", &source).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{}", error.render(false));
    let source = LAPTOP.replace("device: packet:veth-in", "device: veth-in");
    assert_eq!(load("t.yaml", &source).unwrap_err().problems.len(), 1);
}

#[test]
fn rules_without_a_pool_are_refused() {
    //= conformance ADDR-24
    let error = load("t.yaml", &LAPTOP.replace("pools:", "#pools:")).unwrap_err();
    assert!(error.problems[0].message.contains("there is no pool"), "{}", error.render(false));
}

#[test]
fn empty_and_odd_files_are_errors_with_words() {
    for source in ["", "# nothing\n", "[]", "hello", "interfaces:\n", "42", "---\n...\n"] {
        assert!(load("t.yaml", source).is_err(), "{source:?}");
    }
}

#[test]
fn what_is_most_likely_not_meant_is_a_warning() {
    let unused = LAPTOP.replace("nat64: [{ sources: [2001:db8:1::/64] }]\n", "");
    let warnings = load("t.yaml", &unused).unwrap().warnings;
    assert!(warnings[0].message.contains("`public` is not used by any rule"), "{warnings:?}");
    let on_link = LAPTOP.replace("192.0.2.2/32", "192.0.2.64/30");
    assert!(load("t.yaml", &on_link).unwrap().warnings.is_empty(), "ARP is answered for them");
    let on_link = on_link.replace("[192.0.2.2/24]", "[192.0.2.2/24]\n    proxy-neighbours: false");
    assert!(
        load("t.yaml", &on_link).unwrap().warnings[0]
            .message
            .contains("in the subnet of interface `outside`")
    );
    let sharing =
        |idle| LAPTOP.replace("pools:", &format!("workers: {{ cores: [0, 0], idle: {idle} }}\npools:"));
    let warnings = load("t.yaml", &sharing("poll")).unwrap().warnings;
    assert!(warnings[0].message.contains("workers share a core, and `poll` keeps it"), "{warnings:?}");
    for source in [LAPTOP, &sharing("sleep"), &sharing("auto")] {
        assert!(load("t.yaml", source).unwrap().warnings.is_empty());
    }
}

#[test]
//= conformance PORT-08
fn reserved_ports_that_the_pool_has_not_are_a_warning() {
    let source = |ports| LAPTOP.replace("32768-65535 }", &format!("32768-65535, reserved-ports: {ports} }}"));
    let warnings = load("t.yaml", &source("[4500, 40000]")).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].message.contains("4500 is not among the ports of the pool, 32768-65535"),
        "{warnings:?}"
    );
    let nat = compile(&good(&source("[50000-50001, 40000]")), 1).nat;
    assert_eq!(nat.pools[0].reserved, [(40_000, 40_000), (50_000, 50_001)]);
    let diff = Diff::between(Some(&good(LAPTOP)), &good(&source("40000"))).render(false);
    assert!(diff.contains("~ public.reserved-ports: [] → [40000]"), "{diff}");
}

#[test]
fn the_snapshot_is_what_the_file_says() {
    let snapshot = compile(&border(), 7);
    assert_eq!((snapshot.generation, snapshot.cores.as_slice()), (7, [2, 4, 5].as_slice()));
    assert_eq!(snapshot.idle, IdleMode::Pause);
    let ports: Vec<_> = snapshot.ports.iter().map(|p| (p.device.as_str(), p.mtu)).collect();
    assert_eq!(ports, [("xdp:enp1s0f1", 9000), ("pci:0000:01:00.0", 1500)]);
    let interfaces: Vec<_> = snapshot
        .interfaces
        .iter()
        .map(|i| (i.name.as_str(), i.port, i.vlan, i.ipv4.len(), i.ipv6.len()))
        .collect();
    assert_eq!(
        interfaces,
        [("inside", 0, None, 1, 1), ("outside", 1, Some(100), 1, 1), ("transit", 1, Some(200), 0, 0)]
    );
    assert_eq!(snapshot.interfaces[0].ipv4, [(0x0a00_0001, 24)]);
    let kinds: Vec<Kind> = snapshot.nat.rules.iter().map(|rule| rule.kind).collect();
    assert_eq!(kinds, [Kind::Nat64, Kind::Nat64, Kind::Nat44]);
    assert_eq!(snapshot.nat.rules[1].prefix64, Some((0x0064_ff9b << 96, 96)));
    assert_eq!(snapshot.nat.rules[1].interfaces, [0]);
    assert_eq!(snapshot.nat.statics.iter().map(|s| s.rule).collect::<Vec<_>>(), [0, 2, 1]);
    assert_eq!(snapshot.sessions % 4096, 0);
    assert!(snapshot.sessions >= 2_000_000);
    let routes: Vec<_> = snapshot.routes.iter().map(|r| (r.ipv6, r.len, r.via.clone())).collect();
    let connected = |interface| Via::Connected { interface };
    assert_eq!(
        routes,
        [
            (false, 24, connected(0)),
            (true, 64, connected(0)),
            (false, 30, connected(1)),
            (true, 64, connected(1)),
            (false, 0, Via::Gateway { interface: 1, ipv6: false, address: 0xc000_0201 }),
            (true, 0, Via::Gateway { interface: 1, ipv6: true, address: (0xfe80 << 112) | 1 }),
            (false, 16, connected(0)),
            (false, 16, Via::Blackhole),
        ]
    );
}

#[test]
fn what_passes_the_check_passes_the_engine() {
    let sessions: &'static [Session] = Vec::leak((0..4096).map(|_| Session::default()).collect());
    let geometry = Geometry { workers: 2, max_addresses: 4096, seed: [1, 2, 3, 4] };
    let shared = Shared::new(sessions, geometry);
    for config in [good(LAPTOP), border()] {
        let spec = compile(&config, 1).nat;
        if let Err(error) = shared.compile(&spec, 1, None) {
            panic!("{error}");
        }
    }
}

#[test]
fn a_difference_is_told_in_the_words_of_the_file() {
    let old = border();
    let source = BORDER
        .replace("2h4m", "3h")
        .replace("  transit: { device: 'pci:0000:01:00.0', vlan: 200, mss-clamp: off }\n", "")
        .replace("hold-down: 1m", "hold-down: 2m")
        .replace(
            "  - { to: 192.168.0.0/16, blackhole: true }\n",
            "  - { to: 172.16.0.0/12, blackhole: true }\n",
        )
        .replace("pool: business, interfaces: [inside], allow-non-global: true", "pool: business")
        .replace("sessions: 2M", "sessions: 4M");
    let diff = Diff::between(Some(&old), &good(&source));
    let golden = "\
interfaces:
  - transit: { device: pci:0000:01:00.0, vlan: 200, addresses: [], mtu: 1500, mss-clamp: off, time-exceeded: true, proxy-neighbours: true }
pools:
  ~ public.hold-down: 60 → 120
nat64:
  - { prefix: 64:ff9b::/96, sources: all, pool: business, filtering: endpoint-independent, interfaces: [inside], allow-non-global: true }
  + { prefix: 64:ff9b::/96, sources: all, pool: business, filtering: endpoint-independent, interfaces: all, allow-non-global: false }
routes:
  - 192.168.0.0/16: { via: blackhole }
  + 172.16.0.0/12: { via: blackhole }
limits:
  ~ sessions: 2000000 → 4000000
needs a rebuild of the ports: the session table changes from 2002944 to 4001792 records when the dataplane is restarted
";
    assert_eq!(diff.render(false), golden);
    assert!(diff.render(true).contains("\x1b[31m- "));
}

/// Each with its default in place of what the file says.
#[test]
fn a_difference_names_what_was_chosen() {
    let shown = |key: &str, default: &str| {
        let (old, new) =
            (BORDER.replace("2h4m", "3h"), BORDER.replace("2h4m", "3h").replacen(key, default, 1));
        Diff::between(Some(&good(&old)), &good(&new)).render(false)
    };
    for (key, default, line) in [
        ("header: ignore", "header: check", "checksums:\n  ~ quoted-ipv4-header: ignore → check\n"),
        ("probe: off", "probe: on", "timers:\n  ~ tcp-idle-probe: false → true\n"),
        ("inside: reset", "inside: drop", "unsolicited:\n  ~ tcp-from-inside: reset → drop\n"),
        ("icmp-errors: 48", "icmp-errors: copy", "dscp:\n  ~ icmp-errors: 48 → copy\n"),
        ("ipv4: allow", "ipv4: drop", "checksums:\n  ~ udp-zero-to-ipv4: allow → drop\n"),
        ("ipv6: drop", "ipv6: compute", "checksums:\n  ~ udp-zero-to-ipv6: drop → compute\n"),
    ] {
        assert_eq!(shown(key, default), line);
    }
}

#[test]
fn comments_order_of_keys_and_spelled_out_defaults_are_no_difference() {
    let source = format!("# a comment\n\n{LAPTOP}sessions: 1Mi\ntimers: {{ udp: 300 }}\n");
    let diff = Diff::between(Some(&good(LAPTOP)), &good(&source));
    assert!(diff.is_empty(), "{}", diff.render(false));
    assert_eq!(diff.render(false), "no change\n");
}

#[test]
fn what_changes_live_and_what_does_not() {
    let old = good(LAPTOP);
    let reasons = |from: &str, to: &str| Diff::between(Some(&old), &good(&LAPTOP.replace(from, to))).rebuild;
    assert!(reasons("[2001:db8:1::1/64]", "[2001:db8:1::2/64]").is_empty());
    assert!(reasons("32768-65535", "40000-65535").is_empty());
    assert_eq!(
        reasons("packet:veth-in", "xdp:veth-in"),
        ["device xdp:veth-in is new", "device packet:veth-in is gone"]
    );
    assert_eq!(
        reasons("pools:", "workers: { cores: 1 }\npools:"),
        ["the workers' cores change from [] to [1]"]
    );
    assert!(reasons("pools:", "workers: { idle: sleep }\npools:").is_empty());
    let mtu = reasons("addresses: [192.0.2.2/24]", "mtu: 9000");
    assert_eq!(mtu, ["device packet:veth-out changes its MTU from 1500 to 9000"]);
}

#[test]
fn the_examples_of_the_package_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "yaml")) {
        let name = path.display().to_string();
        if let Err(error) = load(&name, &read(&path).unwrap()) {
            panic!("{}", error.render(false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = load("t.yaml", &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_damage_to_a_file_panics(at in 0..BORDER.len(), cut in 0..40_usize, put in "[ -~\n]{0,6}") {
        let end = (at + cut).min(BORDER.len());
        let source = format!("{}{put}{}", &BORDER[..at], &BORDER[end..]);
        if let Err(error) = load("t.yaml", &source) {
            prop_assert!(!error.problems.is_empty());
            let _ = error.render(true);
        }
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([a-z]{1,8}: |- |\\{|\\}|\\[|\\]|&a |\\*a|<<: |, |\n  |\n|[0-9./:]{1,9}|'|\"|#|!!|%){0,40}") {
        let _ = load("t.yaml", &text);
    }
}

const LOGGING: &str = "
logging:
  events: [blocks, sessions]
  destinations: true
  instance: 2
  limit-events: { interval: 5m, per-second: 3 }
  syslog: [{ server: '192.0.2.50', hostname: gw1, facility: local4, enterprise: 4711, source: 192.0.2.2 }]
  ipfix:
    - { server: '192.0.2.51:9995', domain: 7, template-refresh: 5m, mtu: 1500 }
    - { server: '[2001:db8::51]:4739', transport: tcp }
";

#[test]
fn a_log_has_collectors_and_says_what_it_has() {
    use super::logging::{Facility, LimitEvents, Transport};
    let config = good(&format!("{LAPTOP}{LOGGING}"));
    let log = &config.logging;
    assert_eq!(log.events(), ["blocks", "sessions"]);
    assert_eq!((log.destinations, log.instance), (true, Some(2)));
    assert_eq!(log.limit_events, LimitEvents { interval: 300, per_second: 3 });
    let syslog = &log.syslog[0];
    assert_eq!((syslog.server.to_string().as_str(), syslog.facility), ("192.0.2.50:514", Facility(20)));
    assert_eq!((syslog.enterprise, syslog.hostname.as_deref()), (4711, Some("gw1")));
    let [udp, tcp] = &log.ipfix[..] else { panic!("{log:?}") };
    assert_eq!((udp.transport, udp.domain, udp.template_refresh, udp.mtu), (Transport::Udp, 7, 300, 1500));
    assert_eq!((tcp.transport, tcp.domain, tcp.server.port()), (Transport::Tcp, 1, 4739));
    let spec = compile(&config, 1).nat.log;
    assert_eq!((spec.blocks, spec.bindings, spec.sessions), (true, false, true));
}

#[test]
fn a_log_that_says_nothing_is_of_blocks_and_without_destinations() {
    //= conformance LOG-04, LOG-22, LOG-23
    let config = good(&format!("{LAPTOP}logging: {{ ipfix: [{{ server: '192.0.2.51' }}] }}\n"));
    assert_eq!((config.logging.events(), config.logging.destinations), (vec!["blocks"], false));
    assert_eq!((config.logging.ipfix[0].mtu, config.logging.ipfix[0].template_refresh), (512, 600));
    let spec = compile(&config, 1).nat.log;
    assert_eq!((spec.blocks, spec.bindings, spec.sessions), (true, false, false));
    // Without collectors, sessions that nobody gets cost the engine nothing.
    let nobody = good(&format!("{LAPTOP}logging: {{ events: sessions }}\n"));
    assert!(!compile(&nobody, 1).nat.log.sessions);
    assert!(
        load("t.yaml", &format!("{LAPTOP}logging: {{ events: sessions }}\n")).unwrap().warnings.len() == 1
    );
}

#[test]
fn mistakes_in_a_log_are_named() {
    //= conformance LOG-22
    for (text, message) in [
        ("events: [binding]", "did you mean `bindings`?"),
        ("evnts: [blocks]", "unknown key `evnts`, did you mean `events`?"),
        ("events: [bindings, sessions]", "without destinations"),
        ("destinations: true", "destinations are logged with sessions"),
        ("syslog: [{ facility: local0 }]", "the key `server` is missing"),
        ("syslog: { server: 192.0.2.1 }", "a list of syslog collectors"),
        ("syslog: [{ server: log.example.net }]", "an address and a port such as"),
        ("syslog: [{ server: '0.0.0.0:514' }]", "the address and port of one host"),
        ("syslog: [{ server: 192.0.2.1, facility: locl0 }]", "did you mean `local0`?"),
        ("syslog: [{ server: 192.0.2.1, hostname: a b }]", "printable ASCII"),
        ("syslog: [{ server: 192.0.2.1, source: '2001:db8::1' }]", "same family as the server"),
        ("syslog: [{ server: 192.0.2.1 }, { server: '192.0.2.1:514' }]", "gets every record already"),
        ("ipfix: [{ server: 192.0.2.1, transport: sctp }]", "one of `udp`, `tcp`"),
        ("ipfix: [{ server: 192.0.2.1, transport: tcp, mtu: 1500 }]", "`mtu` is for UDP"),
        ("ipfix: [{ server: 192.0.2.1, mtu: 100 }]", "a number from 256 to 9000"),
        ("limit-events: { interval: 0 }", "at least 1 seconds"),
    ] {
        let found = load("t.yaml", &format!("{LAPTOP}logging: {{ {text} }}\n")).unwrap_err().render(false);
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn a_change_of_the_log_is_shown_and_needs_no_rebuild() {
    let (old, new) = (good(LAPTOP), good(&format!("{LAPTOP}{LOGGING}")));
    let diff = Diff::between(Some(&old), &new);
    assert!(diff.rebuild.is_empty());
    let text = diff.render(false);
    for line in [
        "+ what: { events: [blocks, sessions], destinations: true, instance: 2, limit-events: { interval: 300, per-second: 3 } }",
        "+ syslog 192.0.2.50:514: { source: 192.0.2.2, hostname: gw1, facility: local4, enterprise: 4711 }",
        "+ ipfix tcp [2001:db8::51]:4739: { source: none, domain: 1 }",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let other = good(&format!("{LAPTOP}{}", LOGGING.replace("gw1", "gw2")));
    assert_eq!(
        Diff::between(Some(&new), &other).render(false),
        "logging:\n  ~ syslog 192.0.2.50:514.hostname: gw1 → gw2\n"
    );
}

#[test]
fn a_carriage_return_alone_ends_a_line_of_the_quote_as_it_does_in_yaml() {
    // Found by the fuzzer: the place was counted in YAML's lines, and the line shown in those of line feeds.
    let error = load("mac.yaml", "pools: {}\rinterfaces: [\r").expect_err("not closed");
    let problem = &error.problems[0];
    let shown = error.lines.iter().find(|(number, _)| *number == problem.at.line).map(|line| line.1.as_str());
    assert!(problem.at.line > 1, "{problem:?}");
    assert!(shown.is_some_and(|shown| shown.chars().count() + 1 >= problem.at.column as usize), "{error}");
    assert!(!error.lines.iter().any(|(_, shown)| shown.contains("pools") && shown.contains("interfaces")));
}
