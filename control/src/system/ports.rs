//! Ports of the box's own address that belong to a pool.
//!
//! A pool on an interface's own address shares it with the kernel. `ip_local_reserved_ports` keeps the kernel from
//! picking those ports for connections of its own; it does not keep a process from binding one by number, so
//! [`System::listening_conflicts`](super::System::listening_conflicts) is asked first.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sysctl;
use super::{Result, System, SystemError};

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Ports that were added to the kernel's reserved ones, and nothing that was reserved before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "the ports stay reserved until restore() is called"]
pub struct ReservedPorts {
    /// First and last port of each range added.
    added: Vec<(u16, u16)>,
}

impl ReservedPorts {
    /// Takes the ports out again that were added; others stay, also those reserved meanwhile by somebody else.
    pub async fn restore(self) -> Result<()> {
        let mut ports = current()?;
        for (first, last) in self.added {
            for port in first..=last {
                ports.remove(&port);
            }
        }
        write(&ports)
    }

    /// For a file of the run directory, so that the next life of control can restore.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What [`ReservedPorts::to_json`] made.
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }
}

impl System {
    /// Adds a range of ports to those that the kernel does not pick by itself. Both ends belong to the range.
    ///
    /// # Errors
    /// [`SystemError::PortRange`] if the range is empty.
    pub async fn reserve_ports(&self, first: u16, last: u16) -> Result<ReservedPorts> {
        if first > last {
            return Err(SystemError::PortRange { first, last });
        }
        let mut ports = current()?;
        let added: BTreeSet<u16> = (first..=last).filter(|port| ports.insert(*port)).collect();
        if !added.is_empty() {
            write(&ports)?;
        }
        Ok(ReservedPorts { added: ranges(&added) })
    }
}

fn current() -> Result<BTreeSet<u16>> {
    let path = Path::new(RESERVED);
    parse(&sysctl::read(path)?).map_err(|found| SystemError::ProcFormat { path: path.into(), found })
}

fn write(ports: &BTreeSet<u16>) -> Result<()> {
    let list: Vec<String> = ranges(ports)
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    // An empty write changes nothing; a newline empties the list.
    sysctl::write(Path::new(RESERVED), &format!("{}\n", list.join(",")))
}

/// The kernel's own form: `80,1000-2000`.
fn parse(text: &str) -> Result<BTreeSet<u16>, String> {
    let mut ports = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => ports.extend(first..=last),
            _ => return Err(part.to_owned()),
        }
    }
    Ok(ports)
}

fn ranges(ports: &BTreeSet<u16>) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_there_and_back() {
        for (text, expected) in [
            ("", vec![]),
            ("80", vec![(80, 80)]),
            ("80,443,1000-2000", vec![(80, 80), (443, 443), (1000, 2000)]),
            ("65534,65535", vec![(65534, 65535)]),
            ("0-65535", vec![(0, 65535)]),
        ] {
            assert_eq!(ranges(&parse(text).unwrap()), expected, "{text:?}");
        }
        assert_eq!(parse("80,x-9"), Err("x-9".to_owned()));
    }
}
