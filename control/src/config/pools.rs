//! The section of pools.

use sluice_nat::{Algorithm, DeterministicSpec, PoolSpec};

use super::model::{Pool, PortRange};
use super::problem::{Located, Problem};
use super::reader::{Cursor, Expected};
use super::value;

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
