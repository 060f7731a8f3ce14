//! What a single scalar of the file may be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sluice_nat::{Filtering, Pairing, PoolSpec, Protocol};
use sluice_shm::snapshot::{IdleMode, MssClamp};

use super::model::PortRange;
use super::reader::{Expected, list, nearest};

type Parsed<T> = Result<T, Expected>;

pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(Expected::new("true or false")),
    }
}

pub(crate) fn number(text: &str, min: u32, max: u32) -> Parsed<u32> {
    let expected = || Expected::new(format!("a number from {min} to {max}"));
    digits(text).and_then(|n| u32::try_from(n).ok()).filter(|n| (min..=max).contains(n)).ok_or_else(expected)
}

/// Decimal digits only: `+5`, `0x10` and `1_000` mean different things to different people.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A count with an optional suffix: `k` and `M` are thousands and millions, `Ki` and `Mi` powers of two.
pub(crate) fn count(text: &str, min: u32, max: u32) -> Parsed<u32> {
    let (head, factor) = [("Ki", 1 << 10), ("Mi", 1 << 20), ("k", 1000), ("K", 1000), ("M", 1_000_000)]
        .into_iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|head| (head, factor)))
        .unwrap_or((text, 1u64));
    digits(head.trim_end())
        .and_then(|n| n.checked_mul(factor))
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| Expected::new(format!("a count from {min} to {max}, such as 500k, 1M or 1Mi")))
}

/// Seconds, or a number with `s`, `m`, `h` or `d`.
pub(crate) fn duration(text: &str) -> Parsed<u32> {
    let expected = || Expected::new("a duration such as 300, 5m or 2h");
    let (head, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86400),
        _ => (text, 1),
    };
    digits(head)
        .and_then(|n| n.checked_mul(factor))
        // The engine's clock counts quarters of a second in 32 bits and compares over half of that.
        .and_then(|n| u32::try_from(n).ok().filter(|n| *n <= 30 * 86400))
        .ok_or_else(|| {
            let e = expected();
            if digits(head).is_some() { e.hint("30 days are the most") } else { e }
        })
}

/// A duration with a floor and the reason of the floor.
pub(crate) fn duration_from(text: &str, floor: u32, reason: &str) -> Parsed<u32> {
    let seconds = duration(text)?;
    if seconds < floor {
        return Err(Expected::new(format!("at least {floor} seconds")).hint(reason));
    }
    Ok(seconds)
}

pub(crate) fn address(text: &str) -> Parsed<IpAddr> {
    text.parse().map_err(|_| Expected::new("an IPv4 or IPv6 address"))
}

/// A prefix whose host bits are zero. A bare address is a prefix of its own.
pub(crate) fn prefix(text: &str) -> Parsed<IpNet> {
    let expected = || Expected::new("a prefix such as 192.0.2.0/24 or 2001:db8::/48");
    let net: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().map_err(|_| expected())?,
    };
    if net.trunc() != net {
        return Err(Expected::new("a prefix without host bits").hint(format!("write `{}`", net.trunc())));
    }
    Ok(net)
}

pub(crate) fn prefix4(text: &str) -> Parsed<Ipv4Net> {
    match prefix(text)? {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(_) => Err(Expected::new("an IPv4 prefix")),
    }
}

pub(crate) fn prefix6(text: &str) -> Parsed<Ipv6Net> {
    match prefix(text)? {
        IpNet::V6(net) => Ok(net),
        IpNet::V4(_) => Err(Expected::new("an IPv6 prefix")),
    }
}

/// The address of an interface: with prefix length, host bits kept.
pub(crate) fn interface_address(text: &str) -> Parsed<IpNet> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(Expected::new("an address with its prefix length").hint(format!(
            "write `{text}/{}`, or whatever the length of its subnet is",
            if text.contains(':') { 64 } else { 24 }
        )));
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| Expected::new("an address with prefix length, such as 10.0.0.1/24 or 2001:db8::1/64"))?;
    let unusable = match net.addr() {
        IpAddr::V4(a) => {
            a.is_unspecified()
                || a.is_multicast()
                || a.is_broadcast()
                || a.is_loopback()
                || (net.prefix_len() < 31 && (net.addr() == net.network() || net.addr() == net.broadcast()))
        }
        IpAddr::V6(a) => a.is_unspecified() || a.is_multicast() || a.is_loopback(),
    };
    if unusable {
        return Err(Expected::new("an address that a host can have")
            .hint("network, broadcast, multicast and loopback addresses are not"));
    }
    Ok(net)
}

/// A range of ports, `1024-65535`.
pub(crate) fn port_range(text: &str) -> Parsed<(u16, u16)> {
    let parse = || {
        let (first, last) = text.split_once('-')?;
        let port = |t: &str| digits(t.trim()).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        Some((port(first)?, port(last)?))
    };
    match parse() {
        Some((first, last)) if first <= last => Ok((first, last)),
        Some((first, last)) => {
            Err(Expected::new("a range of ports that rises").hint(format!("write `{last}-{first}`")))
        }
        None => Err(Expected::new("a range of ports such as 1024-65535")),
    }
}

/// A port, or a range of ports.
pub(crate) fn ports(text: &str) -> Parsed<PortRange> {
    if text.contains('-') {
        return port_range(text).map(|(first, last)| PortRange { first, last });
    }
    match number(text, 1, 65535) {
        Ok(port) => Ok(PortRange { first: port as u16, last: port as u16 }),
        Err(_) => Err(Expected::new("a port, or a range of ports such as 5060-5061")),
    }
}

/// How many ports of a block may rest at a time.
pub(crate) fn resting(text: &str) -> Parsed<u16> {
    if text == "all" {
        return Ok(PoolSpec::ALL);
    }
    let hint = "`hold-down: 0` lets none rest";
    let expected = || Expected::new("`all` or a number of ports from 1 to 4096").hint(hint);
    number(text, 1, 4096).map(|ports| ports as u16).map_err(|_| expected())
}

/// How closely subscribers are kept to one address.
pub(crate) fn pairing(text: &str) -> Parsed<Pairing> {
    word(text, &[("strict", Pairing::Strict), ("soft", Pairing::Soft)])
}

/// Cores: a number, or a range `2-5`.
pub(crate) fn cores(text: &str) -> Parsed<Vec<u16>> {
    let core = |t: &str| digits(t.trim()).and_then(|n| u16::try_from(n).ok()).filter(|n| *n < 4096);
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => match (core(first), core(last)) {
                (Some(first), Some(last)) if first <= last => all.extend(first..=last),
                _ => return Err(Expected::new("a range of cores such as 2-5")),
            },
            None => all.push(core(part).ok_or_else(|| Expected::new("cores such as 2, 2-5 or [2, 3]"))?),
        }
    }
    Ok(all)
}

/// `address:port` with brackets around an IPv6 address. For ICMP the port is the identifier.
pub(crate) fn endpoint(text: &str) -> Parsed<(IpAddr, u16)> {
    let parse = || {
        let (host, port) = text.rsplit_once(':')?;
        let address: IpAddr = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
            None => host.parse::<Ipv4Addr>().ok()?.into(),
        };
        Some((address, digits(port).and_then(|n| u16::try_from(n).ok())?))
    };
    parse().ok_or_else(|| {
        let expected = Expected::new("an address and a port such as 192.0.2.1:443 or \"[2001:db8::1]:443\"");
        match text.parse::<Ipv6Addr>() {
            Ok(_) => expected.hint(format!("put the IPv6 address in brackets and quotes: \"[{text}]:443\"")),
            Err(_) => expected,
        }
    })
}

/// Where a collector listens: an address, and a port unless it is the usual one. Names are not looked up: a box that cannot
/// reach its resolver is the one whose log is wanted.
pub(crate) fn server(text: &str, usual: u16) -> Parsed<SocketAddr> {
    let (address, port) = match text.parse::<IpAddr>() {
        Ok(address) => (address, usual),
        Err(_) => endpoint(text)?,
    };
    if address.is_unspecified() || address.is_multicast() || port == 0 {
        return Err(Expected::new("the address and port of one host"));
    }
    Ok(SocketAddr::new(address, port))
}

/// One of a few words, with the nearest named if it is none of them.
pub(crate) fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Parsed<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let names = || words.iter().map(|(word, _)| *word);
        let expected = Expected::new(format!("one of {}", list(names())));
        match nearest(text, names()) {
            Some(near) => expected.hint(format!("did you mean `{near}`?")),
            None => expected,
        }
    })
}

pub(crate) fn filtering(text: &str) -> Parsed<Filtering> {
    word(
        text,
        &[
            ("endpoint-independent", Filtering::EndpointIndependent),
            ("address-dependent", Filtering::AddressDependent),
            ("address-and-port-dependent", Filtering::AddressAndPortDependent),
        ],
    )
}

pub(crate) fn protocol(text: &str) -> Parsed<Protocol> {
    word(text, &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("icmp", Protocol::Icmp)])
}

/// A DSCP, or `copy`: none of our own.
pub(crate) fn dscp(text: &str) -> Parsed<Option<u8>> {
    if text == "copy" {
        return Ok(None);
    }
    number(text, 0, 63).map(|dscp| Some(dscp as u8)).map_err(|_| {
        let hint = "the DSCP is the upper six bits of TOS or traffic class: TOS 32 (0x20) is DSCP 8";
        Expected::new("`copy` or a DSCP from 0 to 63").hint(hint)
    })
}

/// Whether the order of deterministic ranges is random: A=4 of RFC 7422, else A=0.
pub(crate) fn algorithm(text: &str) -> Parsed<bool> {
    word(text, &[("sequential", false), ("random", true)]).map_err(|expected| match expected.hint {
        Some(_) => expected,
        None => expected.hint("these are the algorithms 0 and 4 of RFC 7422; there are no others here"),
    })
}

/// A key of 128 bits.
pub(crate) fn key(text: &str) -> Parsed<[u64; 2]> {
    let expected = || {
        Expected::new("a key of 32 hexadecimal digits, in quotes")
            .hint("make one with `openssl rand -hex 16`")
    };
    if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(expected());
    }
    let key = u128::from_str_radix(text, 16).map_err(|_| expected())?;
    Ok([(key >> 64) as u64, key as u64])
}

/// Whether SYNs that nobody asked for are held.
pub(crate) fn unsolicited_syn(text: &str) -> Parsed<bool> {
    word(text, &[("drop", false), ("hold", true)])
}

/// Whether other packets that nobody asked for are answered.
pub(crate) fn unsolicited_other(text: &str) -> Parsed<bool> {
    word(text, &[("drop", false), ("reject", true)])
}

/// Whether ICMP errors that quote a header with a wrong checksum are translated.
pub(crate) fn quoted_header(text: &str) -> Parsed<bool> {
    word(text, &[("check", false), ("ignore", true)])
}

/// Whether UDP without checksum is dropped on its way to IPv6.
pub(crate) fn zero_to_ipv6(text: &str) -> Parsed<bool> {
    word(text, &[("compute", false), ("drop", true)])
}

/// Whether UDP without checksum passes from IPv6 to IPv4.
pub(crate) fn zero_to_ipv4(text: &str) -> Parsed<bool> {
    word(text, &[("drop", false), ("allow", true)])
}

/// Whether TCP segments from inside without connection are answered.
pub(crate) fn unsolicited_inside(text: &str) -> Parsed<bool> {
    word(text, &[("drop", false), ("reset", true)])
}

pub(crate) fn idle(text: &str) -> Parsed<IdleMode> {
    word(text, &IdleMode::ALL.map(|mode| (mode.name(), mode)))
}

/// Whether fragments get another IPv4 identification.
pub(crate) fn identification(text: &str) -> Parsed<bool> {
    word(text, &[("copy", false), ("remap", true)])
}

pub(crate) fn mss_clamp(text: &str) -> Parsed<MssClamp> {
    if let Some(size) = digits(text) {
        return match u16::try_from(size) {
            Ok(size) if (216..=9560).contains(&size) => Ok(MssClamp::To(size)),
            _ => Err(Expected::new("a segment size from 216 to 9560")),
        };
    }
    word(text, &[("auto", MssClamp::Auto), ("always", MssClamp::Always), ("off", MssClamp::Off)])
        .map_err(|e| Expected { what: format!("{} or a segment size", e.what), hint: e.hint })
}
