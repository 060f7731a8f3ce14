//! Sockets of this machine that stand in the way of a pool on an interface's own address.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::sysctl;
use super::{Result, System};

/// Tables of sockets, and the state in which a socket of that protocol takes what comes from anyone.
const TABLES: [(&str, &str, &str); 4] = [
    ("tcp", "tcp", TCP_LISTEN),
    ("udp", "udp", UDP_UNCONNECTED),
    ("tcp", "tcp6", TCP_LISTEN),
    ("udp", "udp6", UDP_UNCONNECTED),
];
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// A socket that takes packets from anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    protocol: &'static str,
    local: SocketAddr,
    inode: u64,
}

impl System {
    /// Sockets that listen on this address, or on all, at a port from `first` to `last`: one line each, like
    /// `tcp 0.0.0.0:2222 (sshd, pid 812)`. Empty if the ports are free for a pool.
    ///
    /// Connected UDP sockets are left out, they come and go. Whether a socket bound to `::` takes IPv4 as well is not
    /// in `/proc`; it is counted as if.
    pub async fn listening_conflicts(&self, first: u16, last: u16, address: IpAddr) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (protocol, file, state) in TABLES {
            // Of the thread: `/proc/net` shows the namespace of the process's first thread.
            let path = Path::new("/proc/thread-self/net").join(file);
            let Some(text) = sysctl::read_if_present(&path)? else { continue };
            let table = text.lines().skip(1).filter_map(|line| parse(protocol, state, line));
            found.extend(
                table.filter(|l| (first..=last).contains(&l.local.port()) && covers(l.local.ip(), address)),
            );
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let owners = owners();
        let mut lines: Vec<String> = found.iter().map(|listener| shown(listener, &owners)).collect();
        // Sockets that share a port are one conflict.
        lines.sort();
        lines.dedup();
        Ok(lines)
    }
}

/// Whether a socket bound to `bound` receives what is sent to `address`.
fn covers(bound: IpAddr, address: IpAddr) -> bool {
    match (bound, address) {
        (IpAddr::V6(v6), IpAddr::V4(v4)) => v6.is_unspecified() || v6.to_ipv4_mapped() == Some(v4),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
        _ => bound.is_unspecified() || bound == address,
    }
}

/// A line of the table: slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode.
fn parse(protocol: &'static str, wanted: &str, line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let ip = parse_address(address)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == wanted).then_some(Listener { protocol, local: (ip, port).into(), inode })
}

/// Addresses stand there as 32-bit words in host order, in hexadecimal.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Process name and id by inode of the socket, as far as they may be seen.
fn owners() -> HashMap<u64, (String, u32)> {
    let mut owners = HashMap::new();
    for process in entries("/proc".into()) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        for descriptor in entries(process.join("fd")) {
            let Ok(target) = std::fs::read_link(&descriptor) else { continue };
            let inode =
                target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
                owners.entry(inode).or_insert_with(|| (name.trim_end().to_owned(), pid));
            }
        }
    }
    owners
}

fn entries(directory: PathBuf) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn shown(listener: &Listener, owners: &HashMap<u64, (String, u32)>) -> String {
    let mut line = format!("{} {}", listener.protocol, listener.local);
    if let Some((name, pid)) = owners.get(&listener.inode) {
        let _ = write!(line, " ({name}, pid {pid})");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let ssh = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let listener = parse("tcp", TCP_LISTEN, ssh).unwrap();
        assert_eq!((listener.local, listener.inode), ("0.0.0.0:22".parse().unwrap(), 4711));
        assert_eq!(parse("tcp", UDP_UNCONNECTED, ssh), None, "state");
        assert_eq!(parse("tcp", TCP_LISTEN, "   0: 00000000"), None, "cut off");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_the_kernel() {
        assert_eq!(parse_address("0100007F"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(parse_address("00000000000000000000000001000000"), Some("::1".parse().unwrap()));
        assert_eq!(parse_address("0100007"), None);
        assert_eq!(parse_address("zzzzzzzz"), None);
    }

    #[test]
    fn who_receives_what() {
        let own: IpAddr = "192.0.2.1".parse().unwrap();
        for (bound, expected) in [
            ("0.0.0.0", true),
            ("::", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
            ("::1", false),
        ] {
            assert_eq!(covers(bound.parse().unwrap(), own), expected, "{bound}");
        }
        assert!(!covers("0.0.0.0".parse().unwrap(), "2001:db8::1".parse().unwrap()));
    }
}
