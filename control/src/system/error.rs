//! What can go wrong between control and the kernel.
//!
//! Every message says what was asked, on which interface, what the kernel answered and what to do about it.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;

/// A request that the kernel refused, or one that makes no sense on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// No netlink socket.
    #[error(
        "cannot open a netlink socket: {source}; is the address family AF_NETLINK allowed for this service?"
    )]
    Netlink {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The netlink connection ended before an answer came.
    #[error("the netlink connection ended while asking to {asked}; restart sluice-control")]
    Closed {
        /// What was asked.
        asked: String,
    },
    /// The kernel refused a request about an interface.
    #[error("cannot {asked} on {interface}: {source}{}", advice(source))]
    Refused {
        /// What was asked, as a verb phrase.
        asked: String,
        /// The interface it was asked for.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}; `ip link` lists those that exist in this network namespace")]
    NoSuchInterface {
        /// The name looked for.
        interface: String,
    },
    /// The name cannot be one of a kernel interface.
    #[error("{name:?} cannot be an interface name: 1 to 15 bytes without spaces, `/`, `:` and `%` are")]
    BadName {
        /// The name given.
        name: String,
    },
    /// The interface has no Ethernet address.
    #[error("{interface} is not an Ethernet interface; only those carry a port")]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The name of a twin is taken by something else.
    #[error(
        "{interface} exists and is not a TAP but {found}; rename the interface in the configuration or remove {interface}"
    )]
    NotATap {
        /// The interface.
        interface: String,
        /// The kind of device found.
        found: String,
    },
    /// A TAP that was made for one queue only cannot be shared with the dataplane.
    #[error(
        "{interface} is a TAP of a single queue; remove it (`ip link del {interface}`) so that it is made anew"
    )]
    SingleQueue {
        /// The interface.
        interface: String,
    },
    /// A twin cannot carry IPv6 with so small an MTU.
    #[error("{interface} cannot have {address}: IPv6 needs an MTU of at least 1280, not {mtu}")]
    MtuTooSmall {
        /// The twin.
        interface: String,
        /// The IPv6 address asked for.
        address: IpNet,
        /// The MTU asked for.
        mtu: u16,
    },
    /// The device below the port still has an address that is to move to the twin.
    #[error("{lower} still has {address}, which belongs to its twin {twin}; fence {lower} first")]
    AddressOnLower {
        /// The device below the port.
        lower: String,
        /// Its twin.
        twin: String,
        /// The address that both would have.
        address: IpNet,
    },
    /// A file of `/proc` could not be read or written.
    #[error("cannot {asked} {path}: {source}; control needs root and a writable /proc/sys")]
    Proc {
        /// `read`, or `write VALUE to`.
        asked: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file of `/proc` holds what this code does not understand.
    #[error("{path} holds {found:?}, not a list of ports")]
    ProcFormat {
        /// The file.
        path: PathBuf,
        /// The part not understood.
        found: String,
    },
    /// What a fence remembers cannot be read.
    #[error(
        "the record of a fence cannot be read: {source}; remove the file and restore the interface by hand"
    )]
    Record {
        /// What the parser says.
        #[from]
        source: serde_json::Error,
    },
    /// A fence was written by a version with other fields.
    #[error(
        "the record of a fence has version {found}, not {expected}; restore the interface by hand and remove the file"
    )]
    RecordVersion {
        /// Version found.
        found: u32,
        /// Version known.
        expected: u32,
    },
    /// Part of what a fence had changed could not be put back; the rest was.
    #[error("{interface} is not entirely as it was before: {}", list(failures))]
    Restore {
        /// The interface.
        interface: String,
        /// What failed, in the order of the attempts.
        failures: Vec<SystemError>,
    },
    /// The last port lies before the first.
    #[error("{first}-{last} is not a range of ports")]
    PortRange {
        /// First port given.
        first: u16,
        /// Last port given.
        last: u16,
    },
}

impl SystemError {
    pub(crate) fn refused(asked: impl Into<String>, interface: &str, source: io::Error) -> Self {
        Self::Refused { asked: asked.into(), interface: interface.to_owned(), source }
    }

    /// The error number of a refused request.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Proc { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; control needs CAP_NET_ADMIN (and CAP_BPF for the fence)",
        Some(libc::EBUSY) => "; another process holds it",
        Some(libc::ENODEV) => "; the interface is gone",
        Some(libc::EOPNOTSUPP) => "; the driver or the kernel does not offer this",
        _ => "",
    }
}

fn list(failures: &[SystemError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
