//! The sections of the file that stand for themselves: interfaces, workers, limits, timers.

use sluice_nat::{Limits, PortSet, Protocol, Timers};
use sluice_shm::snapshot::{IdleMode, MssClamp, shares_cores};

use super::device::{Device, is_kernel_name};
use super::model::{Interface, Workers};
use super::node::Kind;
use super::problem::{Located, Problem};
use super::reader::{Cursor, Expected};
use super::value;

/// Capacity of the session table if the file does not say: 64 MiB of records.
pub(crate) const DEFAULT_SESSIONS: u32 = 1 << 20;

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

pub(crate) fn sessions(section: Option<Cursor<'_>>) -> u32 {
    section
        .and_then(|c| c.scalar("a count", |text| value::count(text, 4096, 1 << 28)))
        .unwrap_or(DEFAULT_SESSIONS)
}
