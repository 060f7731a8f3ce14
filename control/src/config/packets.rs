//! The sections that say what becomes of packets without a usual way: fragments, errors, unsolicited ones; and of single fields.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sluice_nat::FragmentSpec;
use sluice_shm::snapshot::{Checksums, Dscp, IcmpErrors, MAX_ICMP_SOURCES, Unsolicited};

use super::problem::Located;
use super::reader::{Cursor, Expected};
use super::value;

/// ICMP errors a second and worker if the file does not say (ICMP-103).
pub(crate) const DEFAULT_ICMP_ERRORS: u32 = 1000;

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
