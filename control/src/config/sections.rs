//! The sections of the file that stand for themselves: interfaces, workers, pools, limits, timers.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sluice_nat::{Algorithm, DeterministicSpec, FragmentSpec, Limits, PoolSpec, PortSet, Protocol, Timers};
use sluice_shm::snapshot::{
    Checksums, Dscp, IcmpErrors, IdleMode, MAX_ICMP_SOURCES, MssClamp, Unsolicited, shares_cores,
};

use super::device::{Device, is_kernel_name};
use super::model::{Interface, Pool, PortRange, Workers};
use super::node::Kind;
use super::problem::{Located, Problem};
use super::reader::{Cursor, Expected};
use super::value;

/// Capacity of the session table if the file does not say: 64 MiB of records.
pub(crate) const DEFAULT_SESSIONS: u32 = 1 << 20;
/// ICMP errors a second and worker if the file does not say (ICMP-103).
pub(crate) const DEFAULT_ICMP_ERRORS: u32 = 1000;

/// Numbers are positions of arrays in shared memory: see `sluice_shm`.
const MAX_INTERFACES: usize = 64;
const MAX_WORKERS: usize = 64;

pub(crate) fn interfaces(section: Option<Cursor<'_>>) -> Vec<Interface> {
    let Some(section) = section else { return Vec::new() };
    let all: Vec<Interface> = section
        .named("interface")
        .into_iter()
        .filter_map(|(name, cursor)| interface(name, &cursor))
        .collect();
    if all.len() > MAX_INTERFACES {
        section.error(format!("expected at most {MAX_INTERFACES} interfaces, found {}", all.len()));
    }
    all
}

fn interface(name: Located<String>, cursor: &Cursor<'_>) -> Option<Interface> {
    // The name is also that of the TAP twin, and the kernel has files called `all` and `default` beside those of interfaces.
    if !is_kernel_name(&name) || matches!(name.as_str(), "lo" | "all" | "default") {
        cursor.sink.push(
            Problem::new(
                name.at,
                &cursor.path,
                format!("expected the name of an interface, found `{}`", name.value.escape_debug()),
            )
            .hint(
                "1 to 15 characters without `/`, `:`, `%` and blanks, not `lo`, `all` or `default`: the kernel sees it too",
            ),
        );
    }
    let mut fields = cursor.map("an interface")?;
    let device = fields.require("device", "xdp:enp1s0f0");
    let vlan = fields.get("vlan");
    let addresses = fields.get("addresses");
    let mtu = fields.get("mtu");
    let mss_clamp = fields.get("mss-clamp");
    let time_exceeded = fields.get("time-exceeded");
    let proxy_neighbours = fields.get("proxy-neighbours");
    fields.finish();
    let addresses = addresses.map_or_else(Vec::new, |cursor| {
        cursor
            .items("addresses")
            .iter()
            .filter_map(|item| item.located("an address with prefix length", value::interface_address))
            .collect()
    });
    let device = device
        .and_then(|cursor| cursor.located("a device", Device::parse))
        .unwrap_or(Located { value: Device::unreadable(), at: cursor.at() });
    Some(Interface {
        name,
        device,
        vlan: vlan.and_then(|c| c.scalar("a VLAN id", |t| value::number(t, 1, 4094))).map(|v| v as u16),
        addresses,
        mtu: mtu.and_then(|c| c.scalar("an MTU", |t| value::number(t, 1280, 9600))).unwrap_or(1500) as u16,
        mss_clamp: mss_clamp
            .and_then(|c| c.scalar("`auto`, `always`, `off` or a segment size", value::mss_clamp))
            .unwrap_or(MssClamp::Auto),
        time_exceeded: time_exceeded.and_then(|c| c.scalar("true or false", value::boolean)).unwrap_or(true),
        proxy_neighbours: proxy_neighbours
            .and_then(|c| c.scalar("true or false", value::boolean))
            .unwrap_or(true),
    })
}

pub(crate) fn workers(section: Option<Cursor<'_>>) -> Workers {
    let Some(section) = section else { return Workers::default() };
    let Some(mut fields) = section.map("workers") else { return Workers::default() };
    let cores = fields.get("cores");
    let idle = fields.get("idle");
    fields.finish();
    let workers = Workers {
        cores: cores.map(|cursor| self::cores(&cursor)).unwrap_or_default(),
        idle: idle
            .as_ref()
            .and_then(|c| c.scalar("`auto`, `poll`, `pause` or `sleep`", value::idle))
            .unwrap_or_default(),
    };
    if let Some(cursor) = idle
        && matches!(workers.idle, IdleMode::Poll | IdleMode::Pause)
        && shares_cores(&workers.cores)
    {
        let message = format!(
            "{}: workers share a core, and `{}` keeps it from the others",
            cursor.path,
            workers.idle.name()
        );
        cursor.sink.warn(
            Problem::new(cursor.at(), &cursor.path, message)
                .hint("leave `idle` out, write `sleep`, or give every worker a core of its own"),
        );
    }
    workers
}

fn cores(cursor: &Cursor<'_>) -> Vec<u16> {
    let mut cores = Vec::new();
    for item in cursor.items("cores") {
        // A core may be named again: its workers then take turns, which is how a small machine tries many workers.
        cores.extend(item.scalar("cores such as 2-5", value::cores).unwrap_or_default());
    }
    if cores.len() > MAX_WORKERS {
        cursor.error(format!("expected at most {MAX_WORKERS} cores, found {}", cores.len()));
    }
    cores
}

pub(crate) fn pools(section: Option<Cursor<'_>>) -> Vec<Pool> {
    section
        .map(|section| section.named("pool").into_iter().filter_map(|(name, c)| pool(name, &c)).collect())
        .unwrap_or_default()
}

fn pool(name: Located<String>, cursor: &Cursor<'_>) -> Option<Pool> {
    let mut fields = cursor.map("a pool")?;
    let prefixes = fields.require("prefixes", "[198.51.100.0/30]");
    let ports = fields.get("ports");
    let block_size = fields.get("block-size");
    let hold_down = fields.get("hold-down");
    let hold_down_ports = fields.get("hold-down-ports");
    let parity = fields.get("parity");
    let reserved = fields.get("reserved-ports");
    let pairing = fields.get("pairing");
    let deterministic = fields.get("deterministic");
    fields.finish();

    let mut networks = Vec::new();
    if let Some(cursor) = &prefixes {
        let items = cursor.items("IPv4 prefixes");
        if items.is_empty() && cursor.node.found() == "an empty list" {
            //= conformance ADDR-24
            cursor.expected(Expected::new("at least one IPv4 prefix").hint(
                "a pool without an address cannot translate anything; name the addresses that are routed to this box",
            ));
        }
        for item in items {
            let Some(network) = item.located("an IPv4 prefix", value::prefix4) else { continue };
            let (first, last) = (network.network(), network.broadcast());
            let usable = sluice_packet::is_routable_unicast_v4;
            if !usable(first.to_bits()) || !usable(last.to_bits()) {
                item.expected(Expected::new("unicast addresses that packets are routed to"));
            }
            networks.push(network);
        }
    }
    let block_size = block_size.and_then(|c| c.scalar("a power of two", block_size_of)).unwrap_or(256);
    let ports = ports.and_then(|c| c.scalar("a range of ports", value::port_range)).unwrap_or((1024, 65535));
    Some(Pool {
        name,
        prefixes: networks,
        ports,
        block_size: block_size as u16,
        hold_down: hold_down.and_then(|c| c.scalar("a duration", hold_down_time)).unwrap_or(120),
        //= conformance PORT-10
        hold_down_ports: hold_down_ports
            .and_then(|c| c.scalar("`all` or a number", value::resting))
            .unwrap_or(PoolSpec::ALL),
        parity: parity.and_then(|c| c.scalar("true or false", value::boolean)).unwrap_or(true),
        reserved_ports: reserved.map(|c| reserved_ports(&c, ports)).unwrap_or_default(),
        pairing: pairing.and_then(|c| c.scalar("`strict` or `soft`", value::pairing)).unwrap_or_default(),
        deterministic: deterministic.and_then(|c| self::deterministic(&c)),
    })
}

/// Ports that a pool keeps from dynamic use, in order.
//= conformance PORT-08
fn reserved_ports(cursor: &Cursor<'_>, (min, max): (u16, u16)) -> Vec<PortRange> {
    let mut all: Vec<PortRange> = Vec::new();
    for item in cursor.items("ports") {
        let Some(range) = item.scalar("a port or a range of ports", value::ports) else { continue };
        if range.last < min || range.first > max {
            let message = format!("{}: {range} is not among the ports of the pool, {min}-{max}", item.path);
            item.sink.warn(Problem::new(item.at(), &item.path, message).hint("it is never given out anyway"));
        }
        all.push(range);
    }
    all.sort_unstable();
    // The first port of the pool that no range has.
    let mut left = u32::from(min);
    for range in &all {
        if u32::from(range.first) <= left {
            left = left.max(u32::from(range.last) + 1);
        }
    }
    if left > max.into() {
        cursor.error_hint(
            format!("{}: no port of {min}-{max} is left", cursor.path),
            "reserved ports are not given out to anybody; keep some of them",
        );
    }
    all
}

/// Port ranges that follow from inside addresses.
fn deterministic(cursor: &Cursor<'_>) -> Option<Located<DeterministicSpec>> {
    let mut fields = cursor.map("deterministic")?;
    let inside = fields.require("inside", "10.0.0.0/24");
    let dynamic = fields.get("dynamic");
    let algorithm = fields.get("algorithm");
    let key = fields.get("key");
    fields.finish();
    let inside = inside.and_then(|c| c.scalar("an IPv4 prefix", value::prefix4));
    let dynamic = match dynamic {
        Some(cursor) => cursor.scalar("a number", |text| value::number(text, 0, 1000)),
        None => Some(1),
    };
    //= conformance PORT-20
    let random = match algorithm {
        Some(cursor) => cursor.scalar("`sequential` or `random`", value::algorithm),
        None => Some(false),
    };
    let key_at = key.as_ref().map(Cursor::at);
    let key = key.and_then(|c| c.scalar("a key of 32 hexadecimal digits", value::key));
    let algorithm = match (random?, key_at) {
        (false, None) => Algorithm::Sequential,
        (false, Some(at)) => {
            let message = format!("{}.key: a sequential order has no key", cursor.path);
            cursor.sink.push(
                Problem::new(at, format!("{}.key", cursor.path), message)
                    .hint("leave it out, or write `algorithm: random`"),
            );
            return None;
        }
        (true, None) => {
            cursor.error_hint(
                format!("{}: the key `key` is missing, which a random order follows from", cursor.path),
                "make one with `openssl rand -hex 16`, and keep it as long as the log",
            );
            return None;
        }
        (true, Some(_)) => Algorithm::Random(key?),
    };
    let inside = inside?;
    let inside = (inside.network().to_bits(), inside.prefix_len());
    Some(Located {
        value: DeterministicSpec { inside, dynamic: dynamic? as u16, algorithm },
        at: cursor.at(),
    })
}

fn block_size_of(text: &str) -> Result<u32, Expected> {
    match value::number(text, 64, 4096) {
        Ok(size) if size.is_power_of_two() => Ok(size),
        Ok(size) => Err(Expected::new("a power of two from 64 to 4096").hint(format!(
            "{} and {} are the nearest",
            size.next_power_of_two() / 2,
            size.next_power_of_two()
        ))),
        Err(_) => Err(Expected::new("a power of two from 64 to 4096")),
    }
}

/// The engine keeps the time since a port was freed in a byte.
fn hold_down_time(text: &str) -> Result<u32, Expected> {
    let most = sluice_nat::ConfigError::HOLD_DOWN_MAX;
    match value::duration(text)? {
        seconds if seconds <= most => Ok(seconds),
        _ => {
            Err(Expected::new(format!("at most {most} seconds")).hint("120 is the default (RFC 6888 REQ-8)"))
        }
    }
}

pub(crate) fn subscribers(section: Option<Cursor<'_>>) -> Limits {
    let default = Limits::default();
    let Some(mut fields) = section.and_then(|s| s.map("subscribers")) else { return default };
    let length = fields.get("ipv6-prefix-length");
    let sessions = fields.get("max-sessions");
    let blocks = fields.get("max-port-blocks");
    let rate = fields.get("new-sessions-per-second");
    let mappings = fields.get("max-mappings");
    let subscribers = fields.get("max-subscribers");
    fields.finish();
    Limits {
        ipv6_prefix_length: length
            .and_then(|c| c.scalar("a prefix length", |t| value::number(t, 48, 128)))
            .map_or(default.ipv6_prefix_length, |n| n as u8),
        max_sessions: sessions
            .and_then(|c| c.scalar("a count", |t| value::count(t, 1, 1 << 28)))
            .unwrap_or(default.max_sessions),
        max_port_blocks: blocks
            .and_then(|c| c.scalar("a number", |t| value::number(t, 1, 1024)))
            .map_or(default.max_port_blocks, |n| n as u16),
        new_sessions_per_second: rate
            .and_then(|c| c.scalar("a count, 0 for no limit", |t| value::count(t, 0, 100_000_000)))
            .unwrap_or(default.new_sessions_per_second),
        max_mappings: mappings.map_or(default.max_mappings, |c| self::mappings(&c)),
        //= conformance LIM-14
        max_subscribers: subscribers
            .and_then(|c| c.scalar("a count", |t| value::count(t, 1, 1 << 28)))
            .unwrap_or(default.max_subscribers),
    }
}

/// One limit for each protocol, or one for those that are named.
//= conformance LIM-02
fn mappings(cursor: &Cursor<'_>) -> [u32; 3] {
    let count = |c: &Cursor<'_>| {
        let what = "a count, or a mapping with one for `tcp`, `udp` and `icmp`";
        c.scalar(what, |t| value::count(t, 1, 1 << 28)).unwrap_or(Limits::NONE)
    };
    if !matches!(cursor.node.kind, Kind::Map(_)) {
        return [count(cursor); 3];
    }
    let mut all = [Limits::NONE; 3];
    if let Some(mut fields) = cursor.map("max-mappings") {
        for (key, protocol) in [("icmp", Protocol::Icmp), ("tcp", Protocol::Tcp), ("udp", Protocol::Udp)] {
            all[protocol.index()] = fields.get(key).map_or(Limits::NONE, |c| count(&c));
        }
        fields.finish();
    }
    all
}

pub(crate) fn timers(section: Option<Cursor<'_>>) -> Timers {
    let default = Timers::default();
    let Some(mut fields) = section.and_then(|s| s.map("timers")) else { return default };
    let mut timer = |key: &'static str, fallback: u32, floor: u32, reason: &str| {
        fields
            .get(key)
            .and_then(|c| c.scalar("a duration", |t| value::duration_from(t, floor, reason)))
            .unwrap_or(fallback)
    };
    let timers = Timers {
        //= conformance N64-UDP-05
        udp: timer(
            "udp",
            default.udp,
            120,
            "RFC 4787 REQ-5 and RFC 6146 forbid a shorter UDP timer; 300 is the default",
        ),
        //= conformance N64-TCP-34
        tcp_established: timer(
            "tcp-established",
            default.tcp_established,
            7200,
            "RFC 5382 REQ-5 and RFC 7857 forbid less than two hours for established connections; 2h is the default",
        ),
        tcp_opening: timer("tcp-opening", default.tcp_opening, 1, "0 would refuse every connection"),
        tcp_transitory: timer("tcp-transitory", default.tcp_transitory, 1, "0 would cut closing connections"),
        //= conformance N64-ICMP-05
        icmp: timer(
            "icmp",
            default.icmp,
            60,
            "RFC 5508 REQ-2 forbids a shorter ICMP timer; 60 is the default",
        ),
        ..default
    };
    let refresh = fields.get("udp-inbound-refresh");
    let short = fields.get("udp-short");
    let probe = fields.get("tcp-idle-probe");
    fields.finish();
    let (udp_short, udp_short_ports) =
        short.and_then(|c| udp_short(&c, timers.udp)).unwrap_or((default.udp_short, default.udp_short_ports));
    Timers {
        udp_inbound_refresh: refresh
            .and_then(|c| c.scalar("true or false", value::boolean))
            .unwrap_or(default.udp_inbound_refresh),
        //= conformance N64-TCP-22
        tcp_idle_probe: probe
            .and_then(|c| c.scalar("true or false", value::boolean))
            .unwrap_or(default.tcp_idle_probe),
        udp_short,
        udp_short_ports,
        ..timers
    }
}

/// A shorter timer for some ports: of NAT44 only, for RFC 6146 has no such exception.
//= conformance N64-UDP-16
fn udp_short(cursor: &Cursor<'_>, longest: u32) -> Option<(u32, PortSet)> {
    let mut fields = cursor.map("udp-short")?;
    let ports = fields.require("ports", "[53, 123]");
    let time = fields.require("time", "30");
    fields.finish();
    let time = time.and_then(|c| {
        c.scalar("a duration", |text| {
            match value::duration_from(text, 1, "0 would end every session at once")? {
                seconds if seconds <= longest => Ok(seconds),
                _ => Err(Expected::new(format!("at most {longest} seconds, the time of all other ports"))),
            }
        })
    });
    let mut set = PortSet::default();
    for item in ports?.items("ports") {
        let port = item.scalar("a port from 1 to 1023", |text| {
            let hint = "RFC 4787 REQ-5 allows shorter timers for well-known ports only";
            value::number(text, 1, u32::from(PortSet::END) - 1).map_err(|expected| expected.hint(hint))
        });
        set.insert(port.unwrap_or_default() as u16);
    }
    Some((time?, set))
}

/// Bounds are those of `sluice_nat`, which checks them once more.
pub(crate) fn fragments(section: Option<Cursor<'_>>) -> FragmentSpec {
    let default = FragmentSpec::default();
    let Some(mut fields) = section.and_then(|s| s.map("fragments")) else { return default };
    let timeout = fields.get("timeout");
    let datagrams = fields.get("datagrams");
    let waiting = fields.get("waiting");
    let per_source = fields.get("per-source");
    let lowest_ipv6_mtu = fields.get("lowest-ipv6-mtu");
    let identification = fields.get("ipv4-identification");
    fields.finish();
    let count = |cursor: Option<Cursor<'_>>, most, fallback| {
        cursor.and_then(|c| c.scalar("a count", |text| value::count(text, 0, most))).unwrap_or(fallback)
    };
    FragmentSpec {
        timeout: timeout
            .and_then(|c| {
                c.scalar("a duration", |text| {
                    value::duration_from(text, 2, "RFC 6146 wants at least 2 seconds (FRAGMENT_MIN)")
                })
            })
            .unwrap_or(default.timeout),
        datagrams: count(datagrams, 1 << 16, default.datagrams),
        waiting: count(waiting, 1 << 15, default.waiting),
        per_source: per_source
            .and_then(|c| c.scalar("a number", |text| value::number(text, 1, 65_535)))
            .map_or(default.per_source, |n| n as u16),
        //= conformance FRAG-02
        lowest_ipv6_mtu: lowest_ipv6_mtu
            .and_then(|c| c.scalar("an MTU", |text| value::number(text, 1280, 65_535)))
            .map_or(default.lowest_ipv6_mtu, |n| n as u16),
        remap_identification: identification
            .and_then(|c| c.scalar("`copy` or `remap`", value::identification))
            .unwrap_or(default.remap_identification),
    }
}

/// A rate for both families, or a mapping with one for each.
//= conformance ICMP-102
pub(crate) fn icmp_errors(section: Option<Cursor<'_>>) -> IcmpErrors {
    let rate = |cursor: Cursor<'_>| {
        cursor.scalar("a number, `never`, or a mapping of `ipv4` and `ipv6` to these", |text| match text {
            "never" => Ok(0),
            _ => {
                value::number(text, 0, 1_000_000).map_err(|e| Expected::new(format!("{} or `never`", e.what)))
            }
        })
    };
    let default = IcmpErrors::both(DEFAULT_ICMP_ERRORS);
    match section {
        None => default,
        Some(section) if section.is_map() => {
            let Some(mut fields) = section.map("icmp-errors-per-second") else { return default };
            let (ipv4, ipv6) = (fields.get("ipv4"), fields.get("ipv6"));
            fields.finish();
            IcmpErrors {
                ipv4: ipv4.and_then(rate).unwrap_or(default.ipv4),
                ipv6: ipv6.and_then(rate).unwrap_or(default.ipv6),
            }
        }
        Some(section) => rate(section).map_or(default, IcmpErrors::both),
    }
}

/// A pool of RFC 6791, whose addresses have to mean something to whoever sees them.
//= conformance ICMP-94
pub(crate) fn icmp_sources(section: Option<Cursor<'_>>) -> Vec<Located<Ipv4Net>> {
    let Some(cursor) = section else { return Vec::new() };
    let mut all = Vec::new();
    let mut count = 0;
    for item in cursor.items("IPv4 prefixes") {
        let Some(net) = item.located("an IPv4 prefix", value::prefix4) else { continue };
        let of_one_site = PRIVATE.iter().find(|private| private.contains(&*net) || net.contains(*private));
        let usable = sluice_packet::is_routable_unicast_v4;
        if let Some(private) = of_one_site {
            let hint = format!(
                "{private} means another host everywhere else (RFC 6791, section 3.1); use public addresses"
            );
            item.expected(Expected::new("addresses that are the same host for everybody").hint(hint));
        } else if !usable(net.network().to_bits()) || !usable(net.broadcast().to_bits()) {
            item.expected(Expected::new("unicast addresses"));
        }
        count += 1u64 << (32 - net.prefix_len());
        all.push(net);
    }
    if count > MAX_ICMP_SOURCES as u64 {
        cursor
            .error(format!("{}: expected at most {MAX_ICMP_SOURCES} addresses, found {count}", cursor.path));
    }
    all
}

/// RFC 1918 and RFC 6598.
const PRIVATE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// What RFC 7915 calls ignoring the traffic class, or TOS; and the class of errors, which RFC 5508 has configurable.
//= conformance XLT-09, XLT-21, ICMP-108
pub(crate) fn dscp(section: Option<Cursor<'_>>) -> Dscp {
    let Some(mut fields) = section.and_then(|s| s.map("dscp")) else { return Dscp::default() };
    let mut one = |key| fields.get(key).and_then(|c| c.scalar("`copy` or a DSCP", value::dscp)).flatten();
    let dscp = Dscp { to_ipv4: one("to-ipv4"), to_ipv6: one("to-ipv6"), icmp_errors: one("icmp-errors") };
    fields.finish();
    dscp
}

pub(crate) fn unsolicited(section: Option<Cursor<'_>>) -> Unsolicited {
    let default = Unsolicited::default();
    let Some(mut fields) = section.and_then(|s| s.map("unsolicited")) else { return default };
    let syn = fields.get("tcp-syn");
    let other = fields.get("other");
    let inside = fields.get("tcp-from-inside");
    fields.finish();
    //= conformance N64-TCP-40, N44-08
    let hold_syns = syn.and_then(|c| c.scalar("`drop` or `hold`", value::unsolicited_syn));
    //= conformance N64-UDP-12
    let reject = other.and_then(|c| c.scalar("`drop` or `reject`", value::unsolicited_other));
    //= conformance N64-TCP-44
    let reset_inside = inside.and_then(|c| c.scalar("`drop` or `reset`", value::unsolicited_inside));
    Unsolicited {
        hold_syns: hold_syns.unwrap_or(default.hold_syns),
        reject: reject.unwrap_or(default.reject),
        reset_inside: reset_inside.unwrap_or(default.reset_inside),
    }
}

pub(crate) fn checksums(section: Option<Cursor<'_>>) -> Checksums {
    let default = Checksums::default();
    let Some(mut fields) = section.and_then(|s| s.map("checksums")) else { return default };
    let quoted = fields.get("quoted-ipv4-header");
    let to_ipv6 = fields.get("udp-zero-to-ipv6");
    let to_ipv4 = fields.get("udp-zero-to-ipv4");
    fields.finish();
    //= conformance ICMP-79
    let ignore_quoted = quoted.and_then(|c| c.scalar("`check` or `ignore`", value::quoted_header));
    //= conformance XLT-32
    let drop_zero_to_ipv6 = to_ipv6.and_then(|c| c.scalar("`compute` or `drop`", value::zero_to_ipv6));
    //= conformance XLT-34
    let allow_zero_to_ipv4 = to_ipv4.and_then(|c| c.scalar("`drop` or `allow`", value::zero_to_ipv4));
    Checksums {
        ignore_quoted: ignore_quoted.unwrap_or(default.ignore_quoted),
        drop_zero_to_ipv6: drop_zero_to_ipv6.unwrap_or(default.drop_zero_to_ipv6),
        allow_zero_to_ipv4: allow_zero_to_ipv4.unwrap_or(default.allow_zero_to_ipv4),
    }
}

pub(crate) fn sessions(section: Option<Cursor<'_>>) -> u32 {
    section
        .and_then(|c| c.scalar("a count", |text| value::count(text, 4096, 1 << 28)))
        .unwrap_or(DEFAULT_SESSIONS)
}
