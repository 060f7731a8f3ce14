//! What a change of configuration means: the difference in the words of the file, and what it costs.
//!
//! Compared are values, not text: a comment, another order of keys or a default that is now spelled out is no change.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use similar::{Algorithm, ChangeTag, TextDiff, capture_diff_slices};
use sluice_nat::{Filtering, Limits, Pairing, PoolSpec, Protocol, Timers};
use sluice_shm::snapshot::MssClamp;

use super::compile::compile;
use super::logging::Transport;
use super::model::{Config, Interface, Nat44, Nat64, Pool, Route, StaticBinding, Target};
use super::variables::fingerprint;

/// What happens to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Other value.
    Changed,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens.
    pub sign: Sign,
    /// Section of the file.
    pub section: String,
    /// The item, in the words of the file.
    pub text: String,
}

/// All differences of two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// By section, in the order of the file.
    pub changes: Vec<Change>,
    /// Why the dataplane has to rebuild its ports, which interrupts forwarding; empty if everything changes live.
    pub rebuild: Vec<String>,
}

impl Diff {
    /// Compares. No old configuration is an empty one.
    pub fn between(old: Option<&Config>, new: &Config) -> Self {
        let mut diff = Self::default();
        let mut section = |name: &str, before: Vec<Item>, after: Vec<Item>, ordered: bool| {
            let changes = if ordered { sequence(&before, &after) } else { keyed(&before, &after) };
            diff.changes.extend(changes.into_iter().map(|(sign, text)| Change {
                sign,
                section: name.to_owned(),
                text,
            }));
        };
        let all = |items: fn(&Config) -> Vec<Item>| (old.map(items).unwrap_or_default(), items(new));
        for (name, items, ordered) in SECTIONS {
            let (before, after) = all(*items);
            section(name, before, after, *ordered);
        }
        if let Some(old) = old {
            diff.rebuild = rebuild(old, new);
        }
        diff
    }

    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// For a person, coloured with ANSI sequences if asked.
    pub fn render(&self, colour: bool) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        if self.is_empty() {
            return "no change\n".to_owned();
        }
        let mut section = "";
        for change in &self.changes {
            if change.section != section {
                section = &change.section;
                let _ = writeln!(text, "{section}:");
            }
            let (mark, code) = match change.sign {
                Sign::Added => ('+', "32"),
                Sign::Removed => ('-', "31"),
                Sign::Changed => ('~', "33"),
            };
            let _ = if colour {
                writeln!(text, "  \x1b[{code}m{mark} {}\x1b[0m", change.text)
            } else {
                writeln!(text, "  {mark} {}", change.text)
            };
        }
        for reason in &self.rebuild {
            let _ = writeln!(text, "needs a rebuild of the ports: {reason}");
        }
        text
    }
}

/// An item: its key and its fields. Items without fields are compared as a whole.
struct Item {
    key: String,
    fields: Vec<(&'static str, String)>,
}

type Items = fn(&Config) -> Vec<Item>;

/// Name, items, and whether their order has a meaning.
const SECTIONS: &[(&str, Items, bool)] = &[
    ("interfaces", |c| c.interfaces.iter().map(interface).collect(), false),
    ("workers", workers, false),
    ("pools", |c| c.pools.iter().map(pool).collect(), false),
    ("nat64", |c| c.nat64.iter().map(|r| nat64(c, r)).collect(), true),
    ("nat44", |c| c.nat44.iter().map(|r| nat44(c, r)).collect(), true),
    ("static-bindings", |c| c.static_bindings.iter().map(|b| binding(c, b)).collect(), false),
    ("subscribers", subscribers, false),
    ("timers", timers, false),
    ("fragments", fragments, false),
    ("icmp-source-pool", icmp_sources, false),
    ("dscp", dscp, false),
    ("unsolicited", unsolicited, false),
    ("checksums", checksums, false),
    ("routes", |c| c.routes.iter().map(|r| route(c, r)).collect(), false),
    ("limits", general, false),
    ("logging", logging, false),
];

/// Fields of a section without keys.
fn settings(fields: Vec<(&'static str, String)>) -> Item {
    Item { key: String::new(), fields }
}

fn list<T: Display>(items: &[T]) -> String {
    let all: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", all.join(", "))
}

fn keyed(before: &[Item], after: &[Item]) -> Vec<(Sign, String)> {
    let mut changes = Vec::new();
    let find = |items: &[Item], key: &str| items.iter().position(|item| item.key == key);
    for old in before {
        if find(after, &old.key).is_none() {
            changes.push((Sign::Removed, whole(old)));
        }
    }
    for new in after {
        match find(before, &new.key) {
            None if new.key.is_empty() => {
                changes
                    .extend(new.fields.iter().map(|(name, value)| (Sign::Added, format!("{name}: {value}"))));
            }
            None => changes.push((Sign::Added, whole(new))),
            Some(n) => {
                for ((name, old), (_, new_value)) in before[n].fields.iter().zip(&new.fields) {
                    if old != new_value {
                        let key = if new.key.is_empty() { String::new() } else { format!("{}.", new.key) };
                        changes.push((Sign::Changed, format!("{key}{name}: {}", words(old, new_value))));
                    }
                }
            }
        }
    }
    changes
}

/// `old → new`; of two long lists only the entries that differ.
fn words(old: &str, new: &str) -> String {
    if old.len() + new.len() < 120 || !old.starts_with('[') || !new.starts_with('[') {
        return format!("{old} → {new}");
    }
    let entries = |text: &str| text.trim_matches(['[', ']']).replace(", ", "\n");
    let (old, new) = (entries(old), entries(new));
    let diff = TextDiff::from_lines(&old, &new);
    let changed: Vec<String> = diff
        .iter_all_changes()
        .filter_map(|change| {
            let entry = change.value().trim_end();
            match change.tag() {
                ChangeTag::Equal => None,
                ChangeTag::Insert => Some(format!("+{entry}")),
                ChangeTag::Delete => Some(format!("-{entry}")),
            }
        })
        .collect();
    changed.join(" ")
}

/// First match wins among rules, so a rule that moved is a change.
fn sequence(before: &[Item], after: &[Item]) -> Vec<(Sign, String)> {
    let (old, new): (Vec<String>, Vec<String>) =
        (before.iter().map(whole).collect(), after.iter().map(whole).collect());
    let mut changes = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        for change in op.iter_changes(&old, &new) {
            match change.tag() {
                ChangeTag::Equal => {}
                ChangeTag::Delete => changes.push((Sign::Removed, change.value())),
                ChangeTag::Insert => changes.push((Sign::Added, change.value())),
            }
        }
    }
    changes
}

fn whole(item: &Item) -> String {
    let fields: Vec<String> = item.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    match (item.key.is_empty(), fields.is_empty()) {
        (true, _) => format!("{{ {} }}", fields.join(", ")),
        (false, true) => item.key.clone(),
        (false, false) => format!("{}: {{ {} }}", item.key, fields.join(", ")),
    }
}

fn interface(i: &Interface) -> Item {
    let addresses: Vec<_> = i.addresses.iter().map(|a| a.value).collect();
    Item {
        key: i.name.value.clone(),
        fields: vec![
            ("device", i.device.to_string()),
            ("vlan", i.vlan.map_or_else(|| "none".to_owned(), |v| v.to_string())),
            ("addresses", list(&addresses)),
            ("mtu", i.mtu.to_string()),
            (
                "mss-clamp",
                match i.mss_clamp {
                    MssClamp::Auto => "auto".to_owned(),
                    MssClamp::Always => "always".to_owned(),
                    MssClamp::Off => "off".to_owned(),
                    MssClamp::To(size) => size.to_string(),
                },
            ),
            ("time-exceeded", i.time_exceeded.to_string()),
            ("proxy-neighbours", i.proxy_neighbours.to_string()),
        ],
    }
}

fn workers(c: &Config) -> Vec<Item> {
    let workers = &c.workers;
    vec![settings(vec![("cores", list(&workers.cores)), ("idle", workers.idle.name().to_owned())])]
}

fn pool(p: &Pool) -> Item {
    let prefixes: Vec<_> = p.prefixes.iter().map(|n| n.value).collect();
    Item {
        key: p.name.value.clone(),
        fields: vec![
            ("prefixes", list(&prefixes)),
            ("ports", format!("{}-{}", p.ports.0, p.ports.1)),
            ("block-size", p.block_size.to_string()),
            ("hold-down", p.hold_down.to_string()),
            ("hold-down-ports", resting(p.hold_down_ports)),
            ("parity", p.parity.to_string()),
            ("reserved-ports", list(&p.reserved_ports)),
            ("pairing", if p.pairing == Pairing::Soft { "soft" } else { "strict" }.to_owned()),
            ("deterministic", deterministic(p)),
        ],
    }
}

fn resting(ports: u16) -> String {
    if ports == PoolSpec::ALL { "all".to_owned() } else { ports.to_string() }
}

/// All variables, but not the key: a difference is shown to whoever reads along.
fn deterministic(p: &Pool) -> String {
    let Some(variables) = &p.deterministic else { return "none".to_owned() };
    let (first, length) = variables.inside;
    let order = match variables.algorithm {
        sluice_nat::Algorithm::Sequential => "sequential".to_owned(),
        sluice_nat::Algorithm::Random(key) => format!("random, key: (hash {:08x})", fingerprint(key)),
    };
    let (inside, dynamic) = (std::net::Ipv4Addr::from_bits(first), variables.dynamic);
    format!("{{ inside: {inside}/{length}, dynamic: {dynamic}, algorithm: {order} }}")
}

fn pool_name(c: &Config, pool: usize) -> String {
    c.pools.get(pool).map_or_else(String::new, |p| p.name.value.clone())
}

fn interface_name(c: &Config, number: u16) -> String {
    c.interface(number).map_or_else(String::new, |i| i.name.value.clone())
}

fn interface_names(c: &Config, numbers: &[u16]) -> String {
    if numbers.is_empty() {
        return "all".to_owned();
    }
    list(&numbers.iter().map(|n| interface_name(c, *n)).collect::<Vec<_>>())
}

fn filtering(all: &[Filtering; 3]) -> String {
    let word = |f: Filtering| match f {
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address-and-port-dependent",
    };
    if all.iter().all(|f| *f == all[0]) {
        return word(all[0]).to_owned();
    }
    let each: Vec<String> = Protocol::ALL.iter().map(|p| format!("{p}: {}", word(all[p.index()]))).collect();
    format!("{{ {} }}", each.join(", "))
}

fn nat64(c: &Config, r: &Nat64) -> Item {
    Item {
        key: String::new(),
        fields: vec![
            ("prefix", r.prefix.value.to_string()),
            ("sources", if r.sources.is_empty() { "all".to_owned() } else { list(&r.sources) }),
            ("pool", pool_name(c, r.pool)),
            ("filtering", filtering(&r.filtering)),
            ("interfaces", interface_names(c, &r.interfaces)),
            ("allow-non-global", r.allow_non_global.to_string()),
        ],
    }
}

fn nat44(c: &Config, r: &Nat44) -> Item {
    let sources: Vec<_> = r.sources.iter().map(|s| s.value).collect();
    Item {
        key: String::new(),
        fields: vec![
            ("sources", list(&sources)),
            ("pool", pool_name(c, r.pool)),
            ("except", list(&r.except)),
            ("interfaces", interface_names(c, &r.interfaces)),
            ("filtering", filtering(&r.filtering)),
        ],
    }
}

fn binding(c: &Config, b: &StaticBinding) -> Item {
    let prefix = match b.inside.0.is_ipv6() {
        true => c.nat64.get(b.rule).map_or_else(String::new, |r| r.prefix.value.to_string()),
        false => "none".to_owned(),
    };
    let inside = match b.inside.value {
        (std::net::IpAddr::V6(a), port) => format!("[{a}]:{port}"),
        (std::net::IpAddr::V4(a), port) => format!("{a}:{port}"),
    };
    Item {
        key: format!("{} {}:{}", b.protocol, b.external.0, b.external.1),
        fields: vec![("inside", inside), ("prefix", prefix)],
    }
}

fn route(c: &Config, r: &Route) -> Item {
    let target = match r.target {
        Target::Gateway { address, interface } => format!("{address} on {}", interface_name(c, interface)),
        Target::Interface(interface) => interface_name(c, interface),
        Target::Blackhole => "blackhole".to_owned(),
    };
    Item { key: r.to.value.to_string(), fields: vec![("via", target)] }
}

fn subscribers(c: &Config) -> Vec<Item> {
    let s = &c.subscribers;
    vec![settings(vec![
        ("ipv6-prefix-length", s.ipv6_prefix_length.to_string()),
        ("max-sessions", s.max_sessions.to_string()),
        ("max-port-blocks", s.max_port_blocks.to_string()),
        ("new-sessions-per-second", s.new_sessions_per_second.to_string()),
        ("max-mappings", mappings(&s.max_mappings)),
        ("max-subscribers", limit(s.max_subscribers)),
    ])]
}

fn limit(count: u32) -> String {
    if count == Limits::NONE { "none".to_owned() } else { count.to_string() }
}

fn mappings(all: &[u32; 3]) -> String {
    if all.iter().all(|count| *count == all[0]) {
        return limit(all[0]);
    }
    let each: Vec<String> = Protocol::ALL.iter().map(|p| format!("{p}: {}", limit(all[p.index()]))).collect();
    format!("{{ {} }}", each.join(", "))
}

fn timers(c: &Config) -> Vec<Item> {
    let t = &c.timers;
    vec![settings(vec![
        ("udp", t.udp.to_string()),
        ("tcp-established", t.tcp_established.to_string()),
        ("tcp-opening", t.tcp_opening.to_string()),
        ("tcp-transitory", t.tcp_transitory.to_string()),
        ("icmp", t.icmp.to_string()),
        ("udp-inbound-refresh", t.udp_inbound_refresh.to_string()),
        ("udp-short", udp_short(t)),
        ("tcp-idle-probe", t.tcp_idle_probe.to_string()),
    ])]
}

fn icmp_sources(c: &Config) -> Vec<Item> {
    c.icmp_sources.iter().map(|net| Item { key: net.value.to_string(), fields: Vec::new() }).collect()
}

fn dscp(c: &Config) -> Vec<Item> {
    let word = |dscp: Option<u8>| dscp.map_or_else(|| "copy".to_owned(), |dscp| dscp.to_string());
    vec![settings(vec![
        ("to-ipv4", word(c.dscp.to_ipv4)),
        ("to-ipv6", word(c.dscp.to_ipv6)),
        ("icmp-errors", word(c.dscp.icmp_errors)),
    ])]
}

fn unsolicited(c: &Config) -> Vec<Item> {
    let u = &c.unsolicited;
    let word = |yes: bool, word: &str| if yes { word.to_owned() } else { "drop".to_owned() };
    vec![settings(vec![
        ("tcp-syn", word(u.hold_syns, "hold")),
        ("other", word(u.reject, "reject")),
        ("tcp-from-inside", word(u.reset_inside, "reset")),
    ])]
}

fn checksums(c: &Config) -> Vec<Item> {
    let quoted = if c.checksums.ignore_quoted { "ignore" } else { "check" };
    let to_ipv6 = if c.checksums.drop_zero_to_ipv6 { "drop" } else { "compute" };
    let to_ipv4 = if c.checksums.allow_zero_to_ipv4 { "allow" } else { "drop" };
    vec![settings(vec![
        ("quoted-ipv4-header", quoted.to_owned()),
        ("udp-zero-to-ipv6", to_ipv6.to_owned()),
        ("udp-zero-to-ipv4", to_ipv4.to_owned()),
    ])]
}

fn udp_short(t: &Timers) -> String {
    if t.udp_short_ports.is_empty() {
        return "none".to_owned();
    }
    let ports: Vec<_> = t.udp_short_ports.iter().collect();
    format!("{{ ports: {}, time: {} }}", list(&ports), t.udp_short)
}

fn fragments(c: &Config) -> Vec<Item> {
    let f = &c.fragments;
    vec![settings(vec![
        ("timeout", f.timeout.to_string()),
        ("datagrams", f.datagrams.to_string()),
        ("waiting", f.waiting.to_string()),
        ("per-source", f.per_source.to_string()),
        ("lowest-ipv6-mtu", f.lowest_ipv6_mtu.to_string()),
        ("ipv4-identification", if f.remap_identification { "remap" } else { "copy" }.to_owned()),
    ])]
}

fn general(c: &Config) -> Vec<Item> {
    let errors = c.icmp_errors_per_second;
    vec![settings(vec![
        ("icmp-errors-per-second.ipv4", errors.ipv4.to_string()),
        ("icmp-errors-per-second.ipv6", errors.ipv6.to_string()),
        ("sessions", c.sessions.to_string()),
    ])]
}

fn logging(c: &Config) -> Vec<Item> {
    let l = &c.logging;
    if !l.is_on() {
        return Vec::new();
    }
    let limits = l.limit_events;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let mut items = vec![Item {
        key: "what".to_owned(),
        fields: vec![
            ("events", list(&l.events())),
            ("destinations", l.destinations.to_string()),
            ("instance", or_none(l.instance.map(|n| n.to_string()))),
            (
                "limit-events",
                format!("{{ interval: {}, per-second: {} }}", limits.interval, limits.per_second),
            ),
        ],
    }];
    items.extend(l.syslog.iter().map(|s| Item {
        key: format!("syslog {}", s.server),
        fields: vec![
            ("source", or_none(s.source.map(|a| a.to_string()))),
            ("hostname", or_none(s.hostname.clone())),
            ("facility", s.facility.name().to_owned()),
            ("enterprise", s.enterprise.to_string()),
        ],
    }));
    items.extend(l.ipfix.iter().map(|i| {
        let mut fields =
            vec![("source", or_none(i.source.map(|a| a.to_string()))), ("domain", i.domain.to_string())];
        if i.transport == Transport::Udp {
            fields.push(("template-refresh", i.template_refresh.to_string()));
            fields.push(("mtu", i.mtu.to_string()));
        }
        Item { key: format!("ipfix {} {}", i.transport.name(), i.server), fields }
    }));
    items
}

/// What the dataplane takes only while it builds its ports and workers.
fn rebuild(old: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (compile(old, 1), compile(new, 1));
    let mut reasons = Vec::new();
    for port in &after.ports {
        match before.ports.iter().find(|p| p.device == port.device) {
            None => reasons.push(format!("device {} is new", port.device)),
            Some(p) if p.mtu != port.mtu => {
                reasons
                    .push(format!("device {} changes its MTU from {} to {}", port.device, p.mtu, port.mtu));
            }
            Some(_) => {}
        }
    }
    for port in &before.ports {
        if !after.ports.iter().any(|p| p.device == port.device) {
            reasons.push(format!("device {} is gone", port.device));
        }
    }
    if before.cores != after.cores {
        reasons.push(format!(
            "the workers' cores change from {} to {}",
            list(&before.cores),
            list(&after.cores)
        ));
    }
    let room = |config: &Config| (config.fragments.datagrams, config.fragments.waiting);
    if room(old) != room(new) {
        reasons.push("the room for fragments changes".to_owned());
    }
    if before.sessions != after.sessions {
        reasons.push(format!(
            "the session table changes from {} to {} records when the dataplane is restarted",
            before.sessions, after.sessions
        ));
    }
    reasons
}
