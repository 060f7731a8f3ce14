//! The headers of a traced packet in one line: addresses and ports, TTL, lengths.
//!
//! Reads what is there and says where it ends: a record holds the first 128 bytes only, and a dropped packet may be nonsense.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLANS: [u16; 2] = [0x8100, 0x88a8];

/// A frame in hexadecimal and its whole length. `None` if there is nothing.
pub(crate) fn frame(hex: &str, length: u16) -> Option<String> {
    let bytes = unhex(hex)?;
    if bytes.is_empty() {
        return None;
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    if ethernet(&bytes, &mut text).is_none() {
        text.push_str(" (cut short)");
    }
    let _ = write!(text, ", {length} bytes");
    Some(text.trim_start().to_owned())
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ethernet(bytes: &[u8], text: &mut String) -> Option<()> {
    let mut at = 12;
    let mut kind = be16(bytes, at)?;
    while VLANS.contains(&kind) {
        let _ = write!(text, "vlan {} ", be16(bytes, at + 2)? & 0xfff);
        at += 4;
        kind = be16(bytes, at)?;
    }
    let payload = bytes.get(at + 2..)?;
    match kind {
        IPV4 => ipv4(payload, text),
        IPV6 => ipv6(payload, text),
        ARP => arp(payload, text),
        other => {
            let _ = write!(text, "ethertype {other:#06x}");
            Some(())
        }
    }
}

fn arp(bytes: &[u8], text: &mut String) -> Option<()> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
    let (sender, target) = (address(14)?, address(24)?);
    let _ = match be16(bytes, 6)? {
        1 => write!(text, "arp who has {target}, tell {sender}"),
        2 => write!(text, "arp {sender} is here"),
        other => write!(text, "arp operation {other}"),
    };
    Some(())
}

fn ipv4(bytes: &[u8], text: &mut String) -> Option<()> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into());
    let (source, destination) = (address(12)?, address(16)?);
    let fragment = be16(bytes, 6)?;
    let packet = Packet { source, destination, protocol: *bytes.get(9)?, hops: ("ttl", *bytes.get(8)?) };
    let later = fragment & 0x1fff != 0;
    transport(&packet, bytes.get(header..).filter(|_| !later), text);
    if later {
        let _ = write!(text, ", fragment at {}", (fragment & 0x1fff) * 8);
    }
    Some(())
}

fn ipv6(bytes: &[u8], text: &mut String) -> Option<()> {
    let address =
        |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into());
    let (source, destination) = (address(8)?, address(24)?);
    let (mut protocol, mut at) = (*bytes.get(6)?, 40);
    let mut later = None;
    // Hop-by-hop, routing, destination options, fragment: at most so many as the gateway itself walks.
    for _ in 0..8 {
        match protocol {
            0 | 43 | 60 => {
                let (Some(next), Some(length)) = (bytes.get(at), bytes.get(at + 1)) else { break };
                protocol = *next;
                at += (usize::from(*length) + 1) * 8;
            }
            44 => {
                let (Some(next), Some(offset)) = (bytes.get(at), be16(bytes, at + 2)) else { break };
                protocol = *next;
                later = (offset & 0xfff8 != 0).then_some(offset & 0xfff8).or(later);
                at += 8;
            }
            _ => break,
        }
    }
    let packet = Packet { source, destination, protocol, hops: ("hop limit", *bytes.get(7)?) };
    transport(&packet, bytes.get(at..).filter(|_| later.is_none()), text);
    if let Some(offset) = later {
        let _ = write!(text, ", fragment at {offset}");
    }
    Some(())
}

struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    hops: (&'static str, u8),
}

fn transport(packet: &Packet, bytes: Option<&[u8]>, text: &mut String) {
    let bytes = bytes.unwrap_or_default();
    let Packet { source, destination, protocol, hops } = packet;
    let ports = be16(bytes, 0).zip(be16(bytes, 2));
    let _ = match (protocol, ports) {
        (6, Some((from, to))) => {
            let flags = bytes.get(13).map(|f| tcp_flags(*f)).unwrap_or_default();
            write!(text, "tcp {} → {}{flags}", at(*source, from), at(*destination, to))
        }
        (17, Some((from, to))) => write!(text, "udp {} → {}", at(*source, from), at(*destination, to)),
        (1 | 58, Some((kind, _))) => {
            let (kind, code) = (kind >> 8, kind & 0xff);
            let name = icmp_name(*protocol, kind);
            let _ = write!(
                text,
                "{} {source} → {destination} {name}",
                if *protocol == 1 { "icmp" } else { "icmpv6" }
            );
            match (kind, be16(bytes, 4)) {
                (0 | 8, Some(id)) if *protocol == 1 => write!(text, " id {id}"),
                (128 | 129, Some(id)) if *protocol == 58 => write!(text, " id {id}"),
                _ => write!(text, " {kind}/{code}"),
            }
        }
        _ => write!(text, "protocol {protocol} {source} → {destination}"),
    };
    let _ = write!(text, ", {} {}", hops.0, hops.1);
}

fn at(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

fn tcp_flags(flags: u8) -> String {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    let set: Vec<&str> =
        NAMES.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, n)| *n).collect();
    format!(" {}", if set.is_empty() { "no flags".to_owned() } else { set.join("+") })
}

fn icmp_name(protocol: u8, kind: u16) -> &'static str {
    match (protocol, kind) {
        (1, 0) | (58, 129) => "echo reply",
        (1, 8) | (58, 128) => "echo request",
        (1, 3) | (58, 1) => "unreachable",
        (58, 2) => "packet too big",
        (1, 11) | (58, 3) => "time exceeded",
        (1, 12) | (58, 4) => "parameter problem",
        (58, 133) => "router solicitation",
        (58, 134) => "router advertisement",
        (58, 135) => "neighbour solicitation",
        (58, 136) => "neighbour advertisement",
        _ => "type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: &str = "020000000001020000000002";

    #[test]
    fn headers_are_read_from_either_family() {
        // UDP 192.0.2.1:5000 → 198.51.100.9:53, TTL 64.
        let v4 = format!("{MACS}0800450000200000000040110000c0000201c6336409138800350000");
        assert_eq!(frame(&v4, 46).unwrap(), "udp 192.0.2.1:5000 → 198.51.100.9:53, ttl 64, 46 bytes");
        // The same in IPv6 behind VLAN 5, a SYN.
        let v6 = format!(
            "{MACS}8100000586dd60000000001406 3f{}{}1388005000000000000000005002",
            "20010db8000000000000000000000001", "0064ff9b0000000000000000c6336409"
        );
        assert_eq!(
            frame(&v6.replace(' ', ""), 78).unwrap(),
            "vlan 5 tcp [2001:db8::1]:5000 → [64:ff9b::c633:6409]:80 syn, hop limit 63, 78 bytes"
        );
        let ping = format!("{MACS}0800450000200000000040010000c0000201c6336409080000001234");
        assert!(frame(&ping, 46).unwrap().contains("echo request id 4660"), "{:?}", frame(&ping, 46));
    }

    #[test]
    fn a_frame_that_is_cut_says_so() {
        assert_eq!(frame("", 0), None);
        assert_eq!(frame(&format!("{MACS}0800"), 14).unwrap(), "(cut short), 14 bytes");
        assert_eq!(frame("zz", 1), None);
        let full = format!("{MACS}86dd6000000000083a40{}", "00".repeat(40));
        for end in (2..full.len()).step_by(2) {
            assert!(frame(&full[..end], 60).is_some());
        }
    }
}
