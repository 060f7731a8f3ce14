//! Links between the generator's two ports and those of the device under test.

use std::path::{Path, PathBuf};

use sluice_dpdk::Device;

use super::error::IoError;
use super::process::run;

/// Kinds of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared memory between two processes.
    Memif,
    /// `AF_XDP` sockets on veth.
    Xdp,
    /// Packet sockets on veth.
    Packet,
}

impl Kind {
    /// All of them, the one without a kernel in the way first.
    pub const ALL: [Self; 3] = [Self::Memif, Self::Xdp, Self::Packet];

    /// Whether the kernel carries the packets.
    pub fn has_kernel(self) -> bool {
        self != Self::Memif
    }

    /// Its name in those of rows and devices.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memif => "memif",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
        }
    }
}

/// The generator's end of a link.
#[derive(Clone, Debug)]
pub enum End {
    /// The socket that the device under test listens on.
    Memif(PathBuf),
    /// A port of DPDK.
    Port(Device),
}

/// Two links, inside and outside. Kernel interfaces go when it is dropped.
#[derive(Debug)]
pub struct Links {
    /// Ports of the device under test.
    pub device: [Device; 2],
    /// Those of the generator.
    pub generator: [End; 2],
    interfaces: Vec<String>,
}

impl Links {
    /// Makes two links. `number` keeps names apart: `net_af_xdp` takes an interface once in a process.
    ///
    /// # Errors
    /// [`IoError::Command`].
    pub fn new(kind: Kind, number: usize, directory: &Path) -> Result<Self, IoError> {
        let mut interfaces = Vec::new();
        let mut ends = Vec::new();
        for side in ["in", "out"] {
            ends.push(match kind {
                Kind::Memif => {
                    let socket = directory.join(format!("{side}{number}.sock"));
                    (device(&format!("memif:{},role=server", socket.display()))?, End::Memif(socket))
                }
                Kind::Xdp | Kind::Packet => {
                    let [here, there] = ["gen", "dut"].map(|end| format!("{end}{side}{number}"));
                    run(&["ip", "link", "add", &here, "type", "veth", "peer", "name", &there])?;
                    interfaces.push(here.clone());
                    for interface in [&here, &there] {
                        plain(interface)?;
                    }
                    let [here, there] = [here, there].map(|name| device(&format!("{}:{name}", kind.name())));
                    (there?, End::Port(here?))
                }
            });
        }
        let outside = ends.pop();
        match (ends.pop(), outside) {
            (Some((inside, here)), Some((outside, there))) => {
                Ok(Self { device: [inside, outside], generator: [here, there], interfaces })
            }
            _ => Err(IoError::Silent),
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for interface in &self.interfaces {
            // At the latest it goes with the network that it is in.
            let _ = run(&["ip", "link", "delete", interface]);
        }
    }
}

fn device(text: &str) -> Result<Device, IoError> {
    Device::parse(text).map_err(|error| IoError::Command { command: text.to_owned(), why: error.to_string() })
}

/// An interface that sends what it is given and says nothing by itself.
fn plain(interface: &str) -> Result<(), IoError> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    std::fs::write(&path, "1").map_err(|error| IoError::File { path: path.into(), error })?;
    for offload in ["tx", "rx", "gso", "tso", "gro"] {
        // Not every kernel lets all of them be chosen.
        let _ = run(&["ethtool", "-K", interface, offload, "off"]);
    }
    run(&["ip", "link", "set", interface, "up"]).map(drop)
}
