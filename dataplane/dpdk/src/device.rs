//! What the configuration calls a port, and what DPDK calls it.
//!
//! | text | driver |
//! | --- | --- |
//! | `pci:0000:01:00.1` | whatever drives that NIC |
//! | `xdp:IFACE[,queues=N][,copy][,budget=N]` | `net_af_xdp` |
//! | `packet:IFACE[,queues=N]` | `net_af_packet` |
//! | `tap:IFACE` | `net_tap` |
//! | `memif:PATH[,role=server\|client][,id=N]` | `net_memif` |
//! | `ring:NAME` | `net_ring`: what is sent is received |
//! | `null:NAME[,size=N][,copy]` | `net_null`: receives empty frames, discards what is sent |
//! | `pcap:[rx=FILE][,tx=FILE]`, `pcap:iface=IFACE` | `net_pcap` |
//!
//! Pure text, without DPDK: [`Device::parse`] and `Display` are inverses.

use std::fmt;
use std::str::FromStr;

/// Longest name of a kernel interface (`IFNAMSIZ` less the NUL).
const LONGEST_INTERFACE: usize = 15;

/// Longest name that still fits a DPDK device name behind the driver's.
const LONGEST_NAME: usize = 40;

/// Longest path of a UNIX socket.
const LONGEST_SOCKET: usize = 107;

/// Frames of `net_null`, in bytes, and bounds that make sense.
const NULL_SIZE: u16 = 64;

/// Which side of a memif creates the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemifRole {
    /// Creates the socket and listens.
    Server,
    /// Connects, and provides the memory.
    Client,
}

/// Where `net_pcap` reads and writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PcapSource {
    /// Files; at least one of the two.
    Files {
        /// Read once, then nothing more is received.
        rx: Option<String>,
        /// Written from the start.
        tx: Option<String>,
    },
    /// A kernel interface, through libpcap: slow, and there for its breadth.
    Interface(String),
}

/// A port, as written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Device {
    /// A PCI function, in its full form `0000:01:00.1`.
    Pci(String),
    /// A kernel interface through AF_XDP.
    Xdp {
        /// The interface.
        interface: String,
        /// Queues, from the interface's queue 0; at most its combined channels.
        queues: u16,
        /// Copy even where the driver could hand over buffers.
        copy: bool,
        /// Packets that the worker polls out of the kernel's driver itself when it finds nothing; 0 leaves that to the
        /// kernel's interrupts. On veth an empty poll costs 250 to 550 ns with the driver's own default of 64, 14 ns with
        /// 0, for the same throughput.
        budget: u16,
    },
    /// A kernel interface through a packet socket.
    Packet {
        /// The interface.
        interface: String,
        /// Sockets, over which the kernel spreads packets by the hash of their addresses.
        queues: u16,
    },
    /// A TAP interface that the port creates.
    Tap {
        /// Its name.
        interface: String,
    },
    /// Shared memory with another process.
    Memif {
        /// The UNIX socket.
        socket: String,
        /// Our side.
        role: MemifRole,
        /// Which connection on the socket.
        id: u32,
    },
    /// Loopback in memory.
    Ring {
        /// Its name, unique in the process.
        name: String,
    },
    /// Source of empty frames and sink of all.
    Null {
        /// Its name, unique in the process.
        name: String,
        /// Bytes of a frame.
        size: u16,
        /// Touch every byte, as a copying driver would.
        copy: bool,
    },
    /// Captured packets.
    Pcap(PcapSource),
}

/// Why a text is no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No colon, or an unknown word before it.
    #[error(
        "`{0}` is no device: expected pci:, xdp:, packet:, tap:, memif:, ring:, null: or pcap: and what it is on"
    )]
    Kind(String),
    /// The part that names the thing is wrong.
    #[error("`{found}` in `{device}` is no {expected}")]
    Name {
        /// The whole text.
        device: String,
        /// The part.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An option is unknown, or its value is wrong.
    #[error("`{found}` in `{device}` is no option here: expected {expected}")]
    Option {
        /// The whole text.
        device: String,
        /// The option.
        found: String,
        /// What there is.
        expected: &'static str,
    },
}

impl Device {
    /// Reads a device.
    ///
    /// # Errors
    /// With the part that is wrong and what was expected there.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let Some((kind, rest)) = text.split_once(':') else { return Err(DeviceError::Kind(text.to_owned())) };
        let mut words = rest.split(',');
        let first = words.next().unwrap_or_default();
        let parser = Parser { text };
        match kind {
            "pci" => {
                parser.no_options(words)?;
                parser.pci(first).map(Self::Pci)
            }
            "xdp" => parser.xdp(first, words),
            "packet" => parser.packet(first, words),
            "tap" => {
                parser.no_options(words)?;
                Ok(Self::Tap { interface: parser.interface(first)? })
            }
            "memif" => parser.memif(first, words),
            "ring" => {
                parser.no_options(words)?;
                Ok(Self::Ring { name: parser.name(first)? })
            }
            "null" => parser.null(first, words),
            "pcap" => parser.pcap(rest.split(',')),
            _ => Err(DeviceError::Kind(text.to_owned())),
        }
    }

    /// DPDK's driver, where the device says which; `None` for PCI.
    pub fn driver(&self) -> Option<&'static str> {
        Some(match self {
            Self::Pci(_) => return None,
            Self::Xdp { .. } => "net_af_xdp",
            Self::Packet { .. } => "net_af_packet",
            Self::Tap { .. } => "net_tap",
            Self::Memif { .. } => "net_memif",
            Self::Ring { .. } => "net_ring",
            Self::Null { .. } => "net_null",
            Self::Pcap(_) => "net_pcap",
        })
    }

    /// Name and arguments of the virtual device; `None` for PCI. `index` keeps the names of several devices of one driver
    /// apart; `ring:` and `null:` have names of their own.
    pub fn vdev(&self, index: u16) -> Option<(String, String)> {
        let driver = self.driver()?;
        let device = match self {
            Self::Pci(_) => return None,
            Self::Xdp { interface, queues, copy, budget } => {
                let copy = if *copy { ",force_copy=1" } else { "" };
                (
                    format!("{driver}{index}"),
                    format!(
                        "iface={interface},start_queue=0,queue_count={queues},busy_budget={budget}{copy}"
                    ),
                )
            }
            Self::Packet { interface, queues } => {
                (format!("{driver}{index}"), format!("iface={interface},qpairs={queues}"))
            }
            Self::Tap { interface } => (format!("{driver}{index}"), format!("iface={interface}")),
            Self::Memif { socket, role, id } => (
                format!("{driver}{index}"),
                // Abstract sockets are the driver's default; a path belongs to the file system and its permissions.
                format!("role={role},id={id},socket={socket},socket-abstract=no"),
            ),
            Self::Ring { name } => (format!("{driver}_{name}"), String::new()),
            Self::Null { name, size, copy } => {
                (format!("{driver}_{name}"), format!("size={size},copy={}", u8::from(*copy)))
            }
            Self::Pcap(PcapSource::Interface(interface)) => {
                (format!("{driver}{index}"), format!("iface={interface}"))
            }
            Self::Pcap(PcapSource::Files { rx, tx }) => {
                let words: Vec<String> = [("rx_pcap", rx), ("tx_pcap", tx)]
                    .into_iter()
                    .filter_map(|(key, file)| file.as_ref().map(|file| format!("{key}={file}")))
                    .collect();
                (format!("{driver}{index}"), words.join(","))
            }
        };
        Some(device)
    }

    /// How many queues it has, where that is not ours to choose when the port is configured: packets come on each.
    pub fn queues(&self) -> Option<u16> {
        match self {
            Self::Xdp { queues, .. } | Self::Packet { queues, .. } => Some(*queues),
            _ => None,
        }
    }

    /// The kernel interface that it takes over or creates, which control has to fence.
    pub fn kernel_interface(&self) -> Option<&str> {
        match self {
            Self::Xdp { interface, .. }
            | Self::Packet { interface, .. }
            | Self::Tap { interface }
            | Self::Pcap(PcapSource::Interface(interface)) => Some(interface),
            _ => None,
        }
    }

    /// Whether that interface has to exist before the port is attached: all but TAP, which creates it.
    pub fn needs_interface(&self) -> Option<&str> {
        if matches!(self, Self::Tap { .. }) { None } else { self.kernel_interface() }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        Self::parse(text)
    }
}

impl fmt::Display for MemifRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => write!(f, "pci:{address}"),
            Self::Xdp { interface, queues, copy, budget } => {
                write!(f, "xdp:{interface}")?;
                if *queues != 1 {
                    write!(f, ",queues={queues}")?;
                }
                if *budget != 0 {
                    write!(f, ",budget={budget}")?;
                }
                f.write_str(if *copy { ",copy" } else { "" })
            }
            Self::Packet { interface, queues } => {
                write!(f, "packet:{interface}")?;
                if *queues == 1 { Ok(()) } else { write!(f, ",queues={queues}") }
            }
            Self::Tap { interface } => write!(f, "tap:{interface}"),
            Self::Memif { socket, role, id } => {
                write!(f, "memif:{socket}")?;
                if *role != MemifRole::Client {
                    write!(f, ",role={role}")?;
                }
                if *id != 0 {
                    write!(f, ",id={id}")?;
                }
                Ok(())
            }
            Self::Ring { name } => write!(f, "ring:{name}"),
            Self::Null { name, size, copy } => {
                write!(f, "null:{name}")?;
                if *size != NULL_SIZE {
                    write!(f, ",size={size}")?;
                }
                f.write_str(if *copy { ",copy" } else { "" })
            }
            Self::Pcap(PcapSource::Interface(interface)) => write!(f, "pcap:iface={interface}"),
            Self::Pcap(PcapSource::Files { rx, tx }) => {
                f.write_str("pcap:")?;
                if let Some(file) = rx {
                    write!(f, "rx={file}")?;
                }
                if let Some(file) = tx {
                    write!(f, "{}tx={file}", if rx.is_some() { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// Reads the parts of a device, with the whole at hand for messages.
struct Parser<'a> {
    text: &'a str,
}

impl Parser<'_> {
    fn bad_name<T>(&self, found: &str, expected: &'static str) -> Result<T, DeviceError> {
        Err(DeviceError::Name { device: self.text.to_owned(), found: found.to_owned(), expected })
    }

    fn bad_option<T>(&self, found: &str, expected: &'static str) -> Result<T, DeviceError> {
        Err(DeviceError::Option { device: self.text.to_owned(), found: found.to_owned(), expected })
    }

    fn no_options<'w>(&self, mut words: impl Iterator<Item = &'w str>) -> Result<(), DeviceError> {
        words.next().map_or(Ok(()), |found| self.bad_option(found, "none"))
    }

    /// Domain, bus, device and function; the domain may be left out.
    fn pci(&self, text: &str) -> Result<String, DeviceError> {
        const EXPECTED: &str = "PCI address such as 0000:01:00.1";
        let hex =
            |part: &str, digits: usize| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
        let full = if text.len() == 7 { format!("0000:{text}") } else { text.to_owned() };
        let parts: Vec<&str> = full.split([':', '.']).collect();
        match parts.as_slice() {
            [domain, bus, device, function]
                if hex(domain, 4)
                    && hex(bus, 2)
                    && hex(device, 2)
                    && matches!(function.as_bytes(), [b'0'..=b'7'])
                    && full.bytes().filter(|byte| *byte == b':').count() == 2
                    && full.as_bytes().get(10) == Some(&b'.') =>
            {
                Ok(full.to_ascii_lowercase())
            }
            _ => self.bad_name(text, EXPECTED),
        }
    }

    fn interface(&self, text: &str) -> Result<String, DeviceError> {
        let bad = |byte: u8| byte == b'/' || byte == b':' || byte == b'=' || !byte.is_ascii_graphic();
        if text.is_empty()
            || text.len() > LONGEST_INTERFACE
            || text.bytes().any(bad)
            || text == "."
            || text == ".."
        {
            return self.bad_name(text, "interface name (1 to 15 characters, no space, slash or colon)");
        }
        Ok(text.to_owned())
    }

    fn name(&self, text: &str) -> Result<String, DeviceError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > LONGEST_NAME || !text.bytes().all(good) {
            return self.bad_name(text, "name (1 to 40 letters, digits, `_` or `-`)");
        }
        Ok(text.to_owned())
    }

    fn path(&self, text: &str, longest: usize) -> Result<String, DeviceError> {
        let bad = |byte: u8| byte.is_ascii_control() || matches!(byte, b'"' | b'[' | b']' | b'=');
        if text.is_empty() || text.len() > longest || text.bytes().any(bad) {
            return self.bad_name(text, "path (not empty, not too long, without quote, bracket or `=`)");
        }
        Ok(text.to_owned())
    }

    fn xdp<'w>(&self, first: &str, words: impl Iterator<Item = &'w str>) -> Result<Device, DeviceError> {
        const EXPECTED: &str = "queues=1 to queues=64, budget=0 to budget=1024, or copy";
        let (mut queues, mut copy, mut budget) = (1, false, 0);
        for word in words {
            match word.split_once('=') {
                None if word == "copy" => copy = true,
                Some(("queues", number)) => match number.parse() {
                    Ok(number @ 1..=64) => queues = number,
                    _ => return self.bad_option(word, EXPECTED),
                },
                Some(("budget", number)) => match number.parse() {
                    Ok(number @ 0..=1024) => budget = number,
                    _ => return self.bad_option(word, EXPECTED),
                },
                _ => return self.bad_option(word, EXPECTED),
            }
        }
        Ok(Device::Xdp { interface: self.interface(first)?, queues, copy, budget })
    }

    fn packet<'w>(&self, first: &str, words: impl Iterator<Item = &'w str>) -> Result<Device, DeviceError> {
        let mut queues = 1;
        for word in words {
            match word.strip_prefix("queues=").map(str::parse) {
                Some(Ok(number @ 1..=16)) => queues = number,
                _ => return self.bad_option(word, "queues=1 to queues=16"),
            }
        }
        Ok(Device::Packet { interface: self.interface(first)?, queues })
    }

    fn memif<'w>(&self, first: &str, words: impl Iterator<Item = &'w str>) -> Result<Device, DeviceError> {
        const EXPECTED: &str = "role=server, role=client or id=NUMBER";
        let (mut role, mut id) = (MemifRole::Client, 0);
        for word in words {
            match word.split_once('=') {
                Some(("role", "server")) => role = MemifRole::Server,
                Some(("role", "client")) => role = MemifRole::Client,
                Some(("id", number)) => match number.parse() {
                    Ok(number) => id = number,
                    Err(_) => return self.bad_option(word, EXPECTED),
                },
                _ => return self.bad_option(word, EXPECTED),
            }
        }
        Ok(Device::Memif { socket: self.path(first, LONGEST_SOCKET)?, role, id })
    }

    fn null<'w>(&self, first: &str, words: impl Iterator<Item = &'w str>) -> Result<Device, DeviceError> {
        const EXPECTED: &str = "size=14 to size=9216, or copy";
        let (mut size, mut copy) = (NULL_SIZE, false);
        for word in words {
            match word.split_once('=') {
                None if word == "copy" => copy = true,
                Some(("size", number)) => match number.parse() {
                    Ok(number @ 14..=9216) => size = number,
                    _ => return self.bad_option(word, EXPECTED),
                },
                _ => return self.bad_option(word, EXPECTED),
            }
        }
        Ok(Device::Null { name: self.name(first)?, size, copy })
    }

    fn pcap<'w>(&self, words: impl Iterator<Item = &'w str>) -> Result<Device, DeviceError> {
        const EXPECTED: &str = "rx=FILE, tx=FILE, or iface=INTERFACE alone";
        const LONGEST_PATH: usize = 4095;
        let (mut rx, mut tx, mut interface) = (None, None, None);
        for word in words {
            match word.split_once('=') {
                Some(("rx", file)) => rx = Some(self.path(file, LONGEST_PATH)?),
                Some(("tx", file)) => tx = Some(self.path(file, LONGEST_PATH)?),
                Some(("iface", name)) => interface = Some(self.interface(name)?),
                _ => return self.bad_option(word, EXPECTED),
            }
        }
        match (interface, &rx, &tx) {
            (Some(interface), None, None) => Ok(Device::Pcap(PcapSource::Interface(interface))),
            (None, Some(_), _) | (None, _, Some(_)) => Ok(Device::Pcap(PcapSource::Files { rx, tx })),
            _ => self.bad_option(self.text, EXPECTED),
        }
    }
}

#[cfg(test)]
mod tests;
