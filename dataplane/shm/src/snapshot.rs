//! The configuration as control hands it to the dataplane: one immutable snapshot a generation.
//!
//! Control writes the whole snapshot to a file of the run directory and names its generation in a command. The
//! dataplane copies it into private memory before it reads a byte of it, checks length, version and checksum, and compiles
//! it; only then does it answer. A snapshot that cannot be applied changes nothing. The last applied one stays on disk, so
//! that a restarted dataplane forwards before control says a word.

use serde::{Deserialize, Serialize};
use sluice_nat::Spec;

/// Everything the dataplane is told. Positions in the vectors are the numbers used elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Number of this configuration, counted up by control; never 0.
    pub generation: u64,
    /// Cores of the workers, one worker each. Empty: one worker, not pinned.
    pub cores: Vec<u16>,
    /// What a worker does without packets.
    pub idle: IdleMode,
    /// Devices.
    pub ports: Vec<PortSpec>,
    /// Logical interfaces; a packet's interface is found by port and VLAN.
    pub interfaces: Vec<InterfaceSpec>,
    /// Translation: pools, rules, static bindings, limits, timers.
    pub nat: Spec,
    /// Static routes and the connected ones of interface addresses.
    pub routes: Vec<RouteSpec>,
    /// ICMP errors that the gateway makes.
    pub icmp_errors_per_second: IcmpErrors,
    /// IPv4 prefixes whose addresses stand for routers without one in ICMP errors from IPv6 to IPv4 (RFC 6791). Empty: the
    /// external address of the flow does. At most [`MAX_ICMP_SOURCES`] addresses.
    pub icmp_sources: Vec<(u32, u8)>,
    /// What becomes of the DSCP of packets that change family, and which one ICMP errors have.
    pub dscp: Dscp,
    /// What becomes of packets that belong to nothing.
    pub unsolicited: Unsolicited,
    /// What becomes of packets whose checksums are missing or wrong.
    pub checksums: Checksums,
    /// Capacity of the session table; taken when the dataplane starts.
    pub sessions: u32,
}

impl Snapshot {
    /// Whether there are more workers than cores.
    pub fn shares_cores(&self) -> bool {
        shares_cores(&self.cores)
    }
}

/// Whether a core is named twice.
pub fn shares_cores(cores: &[u16]) -> bool {
    let mut distinct = cores.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() < cores.len()
}

/// What a worker does when there is no packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleMode {
    /// Poll on cores of its own; yield where cores are shared; nap where no cores are named.
    #[default]
    Auto,
    /// Look again at once.
    Poll,
    /// Wait on the processor for up to microseconds, without a system call.
    Pause,
    /// Yield, then sleep for up to a millisecond.
    Sleep,
}

impl IdleMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Poll, Self::Pause, Self::Sleep];

    /// The word of the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Poll => "poll",
            Self::Pause => "pause",
            Self::Sleep => "sleep",
        }
    }
}

/// ICMP errors that the gateway makes, by family: tokens a second and burst, per worker (ICMP-102, ICMP-103). 0: never send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpErrors {
    /// About IPv4 packets.
    pub ipv4: u32,
    /// About IPv6 packets.
    pub ipv6: u32,
}

impl IcmpErrors {
    /// The same rate for both families.
    pub const fn both(rate: u32) -> Self {
        Self { ipv4: rate, ipv6: rate }
    }
}

/// Most addresses of [`Snapshot::icmp_sources`].
pub const MAX_ICMP_SOURCES: usize = 256;

/// The DSCP of packets that change family, and of the gateway's own ICMP errors, 0 to 63 (XLT-09, XLT-21, ICMP-108). `None`:
/// they keep their own, errors that of the packet they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dscp {
    /// From IPv6 to IPv4.
    pub to_ipv4: Option<u8>,
    /// From IPv4 to IPv6.
    pub to_ipv6: Option<u8>,
    /// Of ICMP errors that the gateway makes.
    pub icmp_errors: Option<u8>,
}

/// Packets from outside to a port without binding, or refused by filtering, and TCP segments from inside without connection.
/// Without any of these they are dropped in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unsolicited {
    /// SYNs are held for six seconds and then answered with 4:3/3 (N64-TCP-40).
    pub hold_syns: bool,
    /// UDP and ICMP queries are answered: 4:3/3 and 4:3/1 without binding (N64-UDP-09, N64-ICMP-06), 4:3/13 if refused by
    /// filtering (N64-UDP-12).
    pub reject: bool,
    /// TCP segments from inside, other than SYN, are answered with RST (N64-TCP-44).
    pub reset_inside: bool,
}

/// Packets whose checksums are missing or wrong, where the standards leave a choice. Without any, their defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checksums {
    /// ICMP errors that quote an IPv4 header with a wrong checksum are translated, else dropped (ICMP-79).
    pub ignore_quoted: bool,
    /// Whole UDP datagrams without checksum, from IPv4 to IPv6, are dropped and reported, else they get one (XLT-32).
    pub drop_zero_to_ipv6: bool,
    /// UDP without checksum, from IPv6 to IPv4, is translated and still has none, else it is dropped (XLT-34).
    pub allow_zero_to_ipv4: bool,
}

/// A DPDK port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Device string of the configuration, such as `xdp:enp1s0f0`.
    pub device: String,
    /// MTU of the device: the largest of its interfaces.
    pub mtu: u16,
}

/// A logical interface: a port, optionally one VLAN of it, with a TAP twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// Name in the configuration, and of the TAP twin.
    pub name: String,
    /// Port, by position.
    pub port: u16,
    /// VLAN id, or untagged.
    pub vlan: Option<u16>,
    /// IP MTU.
    pub mtu: u16,
    /// Addresses of the box here, with prefix length; IPv4 in the low 32 bits.
    pub ipv4: Vec<(u32, u8)>,
    /// IPv6 addresses of the box here, with prefix length.
    pub ipv6: Vec<(u128, u8)>,
    /// TCP MSS clamping of translated SYNs that leave or enter here.
    pub mss_clamp: MssClamp,
    /// Time Exceeded is sent for packets that arrive here (ICMP-109).
    pub time_exceeded: bool,
    /// Pool addresses and translation prefixes in the subnets of the addresses are answered for here (ADDR-25).
    pub proxy_neighbours: bool,
}

/// TCP MSS clamping (MSS-01, MSS-02, MSS-08).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MssClamp {
    /// From the MTUs for NAT64, not at all for NAT44.
    #[default]
    Auto,
    /// From the MTUs, NAT44 and routed packets included.
    Always,
    /// Never.
    Off,
    /// To at most this.
    To(u16),
}

/// A route. Prefix and next hop are of the same family, except that an IPv4 prefix may have an IPv6 next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// IPv6, else IPv4.
    pub ipv6: bool,
    /// Destination, host bits zero; IPv4 in the low 32 bits.
    pub prefix: u128,
    /// Prefix length.
    pub len: u8,
    /// Where to.
    pub via: Via,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// To a router on an interface.
    Gateway {
        /// Interface, by position.
        interface: u16,
        /// The router is known by an IPv6 address.
        ipv6: bool,
        /// The router's address.
        address: u128,
    },
    /// The destination itself is on the interface's link.
    Connected {
        /// Interface, by position.
        interface: u16,
    },
    /// Nowhere: drop by name.
    Blackhole,
}
