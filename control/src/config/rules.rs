//! The sections that refer to others: translation rules, static bindings, routes.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use sluice_nat::{Filtering, Protocol};

use super::model::{Interface, Nat44, Nat64, Pool, Route, StaticBinding, Target};
use super::node::Kind;
use super::problem::{Located, Problem};
use super::reader::{Cursor, Expected, Fields, list, nearest};
use super::value;

/// What rules refer to.
pub(crate) struct Names<'a> {
    pub(crate) interfaces: &'a [Interface],
    pub(crate) pools: &'a [Pool],
}

impl Names<'_> {
    fn interface(&self, cursor: &Cursor<'_>) -> Option<u16> {
        cursor.scalar("the name of an interface", |text| {
            let names = || self.interfaces.iter().map(|i| i.name.as_str());
            let found = self.interfaces.iter().position(|i| i.name.as_str() == text);
            found.and_then(|n| u16::try_from(n).ok()).ok_or_else(|| unknown("interface", text, names()))
        })
    }

    fn interfaces(&self, cursor: Option<Cursor<'_>>) -> Vec<u16> {
        cursor.map_or_else(Vec::new, |c| {
            c.items("interfaces").iter().filter_map(|item| self.interface(item)).collect()
        })
    }

    /// The pool of a rule; with a single pool in the file it need not be named.
    fn pool(&self, cursor: Option<Cursor<'_>>, rule: &Cursor<'_>) -> Option<usize> {
        if let Some(cursor) = cursor {
            return cursor.scalar("the name of a pool", |text| {
                let names = || self.pools.iter().map(|p| p.name.as_str());
                let found = self.pools.iter().position(|p| p.name.as_str() == text);
                found.ok_or_else(|| unknown("pool", text, names()))
            });
        }
        match self.pools.len() {
            1 => Some(0),
            //= conformance ADDR-24
            0 => {
                rule.error_hint(
                    format!("{}: there is no pool, so nothing can be translated", rule.path),
                    "add `pools: { public: { prefixes: [198.51.100.0/30] } }` with the addresses that are routed to this box",
                );
                None
            }
            n => {
                rule.error_hint(
                    format!("{}: the key `pool` is missing, and there are {n} pools", rule.path),
                    format!("name one of {}", list(self.pools.iter().map(|p| p.name.as_str()))),
                );
                None
            }
        }
    }
}

fn unknown<'c>(what: &str, text: &str, names: impl Iterator<Item = &'c str> + Clone) -> Expected {
    let expected =
        Expected::new(format!("the name of {} {what}", if what == "interface" { "an" } else { "a" }));
    match nearest(text, names.clone()) {
        Some(near) => expected.hint(format!("did you mean `{near}`?")),
        None if names.clone().next().is_none() => expected.hint(format!("the file has no {what} yet")),
        None => expected.hint(format!("there is {}", list(names))),
    }
}

pub(crate) fn nat64(section: Option<Cursor<'_>>, names: &Names<'_>) -> Vec<Nat64> {
    let rules = section.map(|s| s.entries("nat64 rules")).unwrap_or_default();
    rules.iter().filter_map(|rule| nat64_rule(rule, names)).collect()
}

fn nat64_rule(rule: &Cursor<'_>, names: &Names<'_>) -> Option<Nat64> {
    let mut fields = rule.map("a nat64 rule")?;
    let prefix = fields.get("prefix");
    let sources = fields.get("sources");
    let pool = fields.get("pool");
    let filter = filtering(&mut fields);
    let interfaces = fields.get("interfaces");
    let allow_non_global = fields.get("allow-non-global");
    fields.finish();
    //= conformance ADDR-17
    let well_known = Located { value: well_known(), at: rule.at() };
    let given = prefix.is_some();
    let prefix = prefix.map_or(Some(well_known), |c| c.located("a translation prefix", translation_prefix));
    let sources = sources.map_or_else(Vec::new, |c| {
        c.items("IPv6 prefixes").iter().filter_map(|i| i.scalar("an IPv6 prefix", value::prefix6)).collect()
    });
    let allow_non_global_at = allow_non_global.as_ref().map(Cursor::at);
    let allow = allow_non_global.and_then(|c| c.scalar("true or false", value::boolean)).unwrap_or(false);
    let pool = names.pool(pool, rule);
    let prefix = prefix?;
    if let Some(at) = allow_non_global_at
        && allow
        && given
        && prefix.value != self::well_known()
    {
        rule.sink.warn(
            Problem::new(
                at,
                &rule.path,
                format!("{}: `allow-non-global` changes nothing for {}", rule.path, prefix.value),
            )
            .hint("only the well-known prefix 64:ff9b::/96 refuses non-global IPv4 addresses; leave it out"),
        );
    }
    Some(Nat64 {
        prefix,
        sources,
        pool: pool?,
        filtering: filter,
        interfaces: names.interfaces(interfaces),
        allow_non_global: allow,
    })
}

pub(crate) fn well_known() -> Ipv6Net {
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)
}

/// A prefix that IPv4 addresses can be embedded under.
fn translation_prefix(text: &str) -> Result<Ipv6Net, Expected> {
    let net = value::prefix6(text)?;
    //= conformance ADDR-07
    if ![32, 40, 48, 56, 64, 96].contains(&net.prefix_len()) {
        return Err(Expected::new("a translation prefix of length 32, 40, 48, 56, 64 or 96 (RFC 6052)")
            .hint(format!("write `{}/96` if a /96 was meant", net.network())));
    }
    //= conformance ADDR-12
    let reserved = well_known();
    if net != reserved && (net.contains(&reserved) || reserved.contains(&net)) {
        return Err(Expected::new("the well-known prefix as a /96").hint("write `64:ff9b::/96`"));
    }
    //= conformance ADDR-09
    if net.prefix_len() == 96 && net.network().octets()[8] != 0 {
        return Err(Expected::new("a /96 whose bits 64 to 71 are zero (RFC 6052, section 2.2)")
            .hint("choose another /96 of the same /64, such as the one that ends in `::`"));
    }
    if net.network().is_multicast() || net.network().is_unspecified() || net.network().is_unicast_link_local()
    {
        return Err(Expected::new("a unicast prefix"));
    }
    Ok(net)
}

fn filtering(fields: &mut Fields<'_>) -> [Filtering; 3] {
    let mut all = [Filtering::EndpointIndependent; 3];
    let Some(cursor) = fields.get("filtering") else { return all };
    if !matches!(cursor.node.kind, Kind::Map(_)) {
        let one = cursor.scalar(
            "a kind of filtering, or a mapping with one for `tcp`, `udp` and `icmp`",
            value::filtering,
        );
        return [one.unwrap_or_default(); 3];
    }
    if let Some(mut fields) = cursor.map("filtering") {
        for (key, protocol) in [("icmp", Protocol::Icmp), ("tcp", Protocol::Tcp), ("udp", Protocol::Udp)] {
            if let Some(one) = fields.get(key).and_then(|c| c.scalar("a kind of filtering", value::filtering))
            {
                all[protocol.index()] = one;
            }
        }
        fields.finish();
    }
    all
}

pub(crate) fn nat44(section: Option<Cursor<'_>>, names: &Names<'_>) -> Vec<Nat44> {
    let rules = section.map(|s| s.entries("nat44 rules")).unwrap_or_default();
    rules.iter().filter_map(|rule| nat44_rule(rule, names)).collect()
}

fn nat44_rule(rule: &Cursor<'_>, names: &Names<'_>) -> Option<Nat44> {
    let mut fields = rule.map("a nat44 rule")?;
    // Without sources every destination would be an inside one, and nothing would ever be translated.
    let sources = fields.require("sources", "[10.0.0.0/8]");
    let pool = fields.get("pool");
    let except = fields.get("except");
    let interfaces = fields.get("interfaces");
    let filter = filtering(&mut fields);
    fields.finish();
    let pool = names.pool(pool, rule);
    let sources: Vec<_> = sources.map_or_else(Vec::new, |c| {
        c.items("IPv4 prefixes").iter().filter_map(|i| i.located("an IPv4 prefix", value::prefix4)).collect()
    });
    let except = except.map_or_else(Vec::new, |c| {
        c.items("IPv4 prefixes").iter().filter_map(|i| i.scalar("an IPv4 prefix", value::prefix4)).collect()
    });
    let interfaces = names.interfaces(interfaces);
    Some(Nat44 { sources, pool: pool?, except, interfaces, filtering: filter })
}

pub(crate) fn static_bindings(
    section: Option<Cursor<'_>>,
    nat64: &[Nat64],
    nat44: &[Nat44],
) -> Vec<StaticBinding> {
    let entries = section.map(|s| s.entries("static bindings")).unwrap_or_default();
    entries.iter().filter_map(|entry| static_binding(entry, nat64, nat44)).collect()
}

fn static_binding(entry: &Cursor<'_>, nat64: &[Nat64], nat44: &[Nat44]) -> Option<StaticBinding> {
    let mut fields = entry.map("a static binding")?;
    let protocol = fields.require("protocol", "tcp");
    let inside = fields.require("inside", "\"[2001:db8::1]:22\"");
    let external = fields.require("external", "\"192.0.2.1:2222\"");
    let prefix = fields.get("prefix");
    fields.finish();
    let protocol = protocol.and_then(|c| c.scalar("`tcp`, `udp` or `icmp`", value::protocol));
    let inside = inside.and_then(|c| c.located("an address and a port", value::endpoint));
    let external = external.and_then(|c| {
        c.located("an IPv4 address and a port", |text| match value::endpoint(text)? {
            (IpAddr::V4(address), port) => Ok((address, port)),
            (IpAddr::V6(_), _) => Err(Expected::new("an IPv4 address and a port")),
        })
    });
    let prefix_given = prefix.is_some();
    let prefix = prefix.and_then(|c| c.scalar("a translation prefix", translation_prefix));
    let (protocol, inside, external) = (protocol?, inside?, external?);
    if prefix_given && prefix.is_none() {
        return None;
    }
    for (at, port) in [(inside.at, inside.1), (external.at, external.1)] {
        // Identifiers of ICMP queries may be 0, ports may not (N44-22).
        if port == 0 && protocol != Protocol::Icmp {
            entry.sink.push(Problem::new(
                at,
                &entry.path,
                format!("{}: expected a port from 1 to 65535, found `0`", entry.path),
            ));
        }
    }
    let rule = match inside.0 {
        IpAddr::V6(address) => nat64.iter().position(|rule| {
            prefix.is_none_or(|p| rule.prefix.value == p)
                && (rule.sources.is_empty() || rule.sources.iter().any(|s| s.contains(&address)))
        }),
        IpAddr::V4(address) => {
            nat44.iter().position(|rule| rule.sources.iter().any(|s| s.contains(&address)))
        }
    };
    let Some(rule) = rule else {
        let kind = if inside.0.is_ipv6() { "nat64" } else { "nat44" };
        if entry.sink.has_under(kind) {
            return None;
        }
        let with = prefix.map_or_else(String::new, |p| format!(" with prefix {p}"));
        entry.sink.push(
            Problem::new(
                inside.at,
                format!("{}.inside", entry.path),
                format!("{}: no {kind} rule{with} serves the inside address {}", entry.path, inside.0),
            )
            .hint(format!("add the address to the `sources` of a {kind} rule: the binding takes filtering and realm from it")),
        );
        return None;
    };
    Some(StaticBinding { protocol, inside, external, rule })
}

pub(crate) fn routes(section: Option<Cursor<'_>>, names: &Names<'_>) -> Vec<Route> {
    let entries = section.map(|s| s.entries("routes")).unwrap_or_default();
    entries.iter().filter_map(|entry| route(entry, names)).collect()
}

fn route(entry: &Cursor<'_>, names: &Names<'_>) -> Option<Route> {
    let mut fields = entry.map("a route")?;
    let to = fields.require("to", "0.0.0.0/0");
    let via = fields.get("via");
    let interface = fields.get("interface");
    let blackhole = fields.get("blackhole");
    fields.finish();
    let to = to.and_then(|c| c.located("a prefix", value::prefix));
    let via_given = via.is_some();
    let via = via.and_then(|c| c.located("the address of a router", value::address));
    let interface_given = interface.is_some();
    let interface = interface.and_then(|c| names.interface(&c));
    let blackhole = blackhole.and_then(|c| c.scalar("true or false", value::boolean)).unwrap_or(false);
    if blackhole && (via_given || interface_given) || !(blackhole || via_given || interface_given) {
        entry.error_hint(
            format!("{}: expected exactly one of `via`, `interface` and `blackhole: true`", entry.path),
            "`via` may be joined by `interface` for a link-local router",
        );
        return None;
    }
    let target = if blackhole {
        Target::Blackhole
    } else if via_given {
        let via = via?;
        if interface_given && interface.is_none() {
            return None;
        }
        gateway(entry, &via, interface, names)?
    } else {
        Target::Interface(interface?)
    };
    let to = to?;
    if let Target::Gateway { address: IpAddr::V4(router), .. } = target
        && to.addr().is_ipv6()
    {
        entry.error(format!(
            "{}: the IPv6 prefix {} cannot have the IPv4 router {router}",
            entry.path, to.value
        ));
        return None;
    }
    Some(Route { to, target })
}

/// Finds the interface whose subnet a router is in: the longest one.
fn gateway(
    entry: &Cursor<'_>,
    via: &Located<IpAddr>,
    named: Option<u16>,
    names: &Names<'_>,
) -> Option<Target> {
    let complain = |message: String, hint: String| {
        entry.sink.push(Problem::new(via.at, format!("{}.via", entry.path), message).hint(hint));
    };
    let address = via.value;
    if let IpAddr::V6(v6) = address
        && v6.is_unicast_link_local()
    {
        let Some(interface) = named else {
            complain(
                format!("{}: the router {address} is link-local, and there is no `interface`", entry.path),
                "add the `interface` that the router is on".to_owned(),
            );
            return None;
        };
        return Some(Target::Gateway { address, interface });
    }
    let mut best: Option<(u8, u16)> = None;
    for (number, interface) in (0u16..).zip(names.interfaces) {
        for own in &interface.addresses {
            if own.addr() == address {
                complain(
                    format!(
                        "{}: the router {address} is this box itself, on `{}`",
                        entry.path, interface.name.value
                    ),
                    "name the router's own address".to_owned(),
                );
                return None;
            }
            if own.contains(&address)
                && named.is_none_or(|n| n == number)
                && best.is_none_or(|(length, _)| own.prefix_len() > length)
            {
                best = Some((own.prefix_len(), number));
            }
        }
    }
    let Some((_, interface)) = best else {
        if entry.sink.has_under("interfaces") {
            return None;
        }
        let subnets: Vec<String> = names
            .interfaces
            .iter()
            .flat_map(|i| i.addresses.iter().map(|a| a.value.trunc()))
            .filter(|net: &IpNet| net.addr().is_ipv4() == address.is_ipv4())
            .map(|net| net.to_string())
            .collect();
        let connected =
            if subnets.is_empty() { "none of that family".to_owned() } else { subnets.join(", ") };
        complain(
            format!("{}: the router {address} is not in a subnet of any interface", entry.path),
            format!("connected are: {connected}"),
        );
        return None;
    };
    Some(Target::Gateway { address, interface })
}
