//! What the operator asked for, as plain data.
//!
//! Control makes a [`Spec`] from the configuration file, it travels to the dataplane inside the snapshot, and
//! the engine compiles it. Addresses are integers in host byte order; an IPv4 address in a `u128` stands in the low 32 bits.

use crate::tcp::TimerClass;
use crate::types::{Direction, Kind, Protocol};

/// Everything the engine is told.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Spec {
    /// Pools of external addresses; rules refer to them by position.
    pub pools: Vec<PoolSpec>,
    /// Translation rules, first match wins. Their position is the rule id in the session record.
    pub rules: Vec<RuleSpec>,
    /// Static bindings.
    pub statics: Vec<StaticSpec>,
    /// IPv6 destinations inside a translation prefix, and longer than it, that are routed untranslated (XLT-42).
    pub native: Vec<(u128, u8)>,
    /// Limits for every subscriber.
    pub limits: Limits,
    /// Timers, in seconds.
    pub timers: Timers,
    /// What becomes of fragments, and what is made one.
    pub fragments: FragmentSpec,
    /// What is reported for the log.
    pub log: LogSpec,
}

/// What the engine reports of what it makes and ends. Limits that are reached are reported always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogSpec {
    /// Port blocks.
    pub blocks: bool,
    /// Dynamic bindings.
    pub bindings: bool,
    /// Sessions. Two events for each: off unless asked for (LOG-23).
    pub sessions: bool,
}

impl Default for LogSpec {
    fn default() -> Self {
        Self { blocks: true, bindings: true, sessions: false }
    }
}

/// A pool of external IPv4 addresses. Addresses of different pools do not overlap.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PoolSpec {
    /// The operator's name for it.
    pub name: String,
    /// Address ranges: prefix and length, host bits zero. Every address of them is used, first and last included.
    pub prefixes: Vec<(u32, u8)>,
    /// First port or identifier that is given out.
    pub port_min: u16,
    /// Last port or identifier that is given out.
    pub port_max: u16,
    /// Ports a block, a power of two from 64 to 4096.
    pub block_size: u16,
    /// Seconds a freed UDP port or ICMP identifier rests (PORT-10). TCP ports rest 0 seconds (PORT-11). After a loss of state
    /// the blocks that were in use rest as long, whatever the protocol (PORT-13).
    pub hold_down: u32,
    /// Ports of a block, of each protocol, that rest at a time at most: what is freed beyond may be given out at once (PORT-10).
    /// [`PoolSpec::ALL`]: no bound but that of the block.
    pub max_resting: u16,
    /// Keep the parity of UDP ports when such a port is free (PORT-05).
    pub parity: bool,
    /// Ports that are never given out dynamically, in any protocol: first and last of each range (PORT-08). Static bindings
    /// may have them.
    pub reserved: Vec<(u16, u16)>,
    /// What becomes of a subscriber whose address has no port left.
    pub pairing: Pairing,
    /// Inside hosts have port ranges that follow from their addresses (PORT-17).
    pub deterministic: Option<DeterministicSpec>,
}

impl PoolSpec {
    /// All ports of a block may rest.
    pub const ALL: u16 = u16::MAX;
}

/// How closely a subscriber is kept to one external address (RFC 7857, section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Pairing {
    /// All its mappings are on one address; when that has no port left, new ones are refused (MAP-06).
    #[default]
    Strict,
    /// When its address has no port left, it gets ports of another one.
    Soft,
}

/// The variables of RFC 7422 that a pool does not have anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DeterministicSpec {
    /// I: the IPv4 prefix of the inside hosts, host bits zero.
    pub inside: (u32, u8),
    /// D: for how many hosts' worth of ports an address has some that are given out dynamically.
    pub dynamic: u16,
    /// A: in which order hosts get their ranges.
    pub algorithm: Algorithm,
}

/// The order in which inside hosts get their ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Algorithm {
    /// A = 0: one after the other, an address after the other.
    Sequential,
    /// A = 4: by a permutation that only this key tells.
    Random([u64; 2]),
}

/// Who may send to a binding from outside (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Filtering {
    /// Anyone (MAP-07).
    #[default]
    EndpointIndependent,
    /// Addresses that the inside host has a session to (MAP-08).
    AddressDependent,
    /// Addresses and ports that the inside host has a session to (MAP-09).
    AddressAndPortDependent,
}

/// A translation rule.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RuleSpec {
    /// NAT64 or NAT44.
    pub kind: Kind,
    /// Realm of the inside addresses, 0 to 63.
    pub realm: u8,
    /// Translation prefix and its length; NAT64 only.
    pub prefix64: Option<(u128, u8)>,
    /// Inside sources that the rule serves, of the inside family. Empty: all.
    pub sources: Vec<(u128, u8)>,
    /// Destinations (IPv4) that are routed untranslated; NAT44 only (N44-18).
    pub except: Vec<(u32, u8)>,
    /// Interfaces on which inside packets may arrive, by position. Empty: all.
    pub interfaces: Vec<u16>,
    /// Pool, by position.
    pub pool: u16,
    /// Filtering of inbound packets by [`Protocol::index`].
    pub filtering: [Filtering; 3],
    /// Non-global IPv4 addresses may be reached through the well-known prefix (ADDR-14).
    pub wkp_allow_non_global: bool,
}

/// A static binding: made by the operator, never expires.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StaticSpec {
    /// Rule whose kind, realm, prefix and filtering apply, by position.
    pub rule: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Inside address.
    pub inside: u128,
    /// Inside port or identifier.
    pub inside_port: u16,
    /// External address, of any pool or of none.
    pub external: u32,
    /// External port or identifier. It is never given out dynamically.
    pub external_port: u16,
}

/// Limits of one subscriber. Lowering one refuses new state and keeps what exists (LIM-15).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Bits of an IPv6 address that make a subscriber, 48 to 128 (MAP-05). IPv4 subscribers are single addresses.
    pub ipv6_prefix_length: u8,
    /// Sessions (LIM-04), and three quarters of them for those that strangers open (LIM-11).
    pub max_sessions: u32,
    /// Port blocks (LIM-01).
    pub max_port_blocks: u16,
    /// New sessions a second, with a burst of the same number (LIM-03). 0: no limit.
    pub new_sessions_per_second: u32,
    /// Mappings, and with them external ports or identifiers, by [`Protocol::index`] (LIM-02). Static ones do not count.
    /// [`Limits::NONE`]: no limit but that of the blocks.
    pub max_mappings: [u32; 3],
    /// Subscribers that have state at a time, of all workers together (LIM-14). [`Limits::NONE`]: as many as the tables hold.
    pub max_subscribers: u32,
}

impl Limits {
    /// No limit.
    pub const NONE: u32 = u32::MAX;

    /// Sessions of a subscriber beyond which none is opened from a side. Strangers leave a quarter, or whoever knows an external
    /// address and port could keep its owner from opening any.
    #[inline]
    pub fn max_sessions_from(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Outbound => self.max_sessions,
            Direction::Inbound => self.max_sessions - self.max_sessions / 4,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ipv6_prefix_length: 64,
            max_sessions: 4096,
            max_port_blocks: 8,
            new_sessions_per_second: 500,
            max_mappings: [Self::NONE; 3],
            max_subscribers: Self::NONE,
        }
    }
}

/// Fragments. All bounds are those of one worker; room is taken when it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FragmentSpec {
    /// Seconds that fragments may arrive over, at least 2 (FRAG-19).
    pub timeout: u32,
    /// Datagrams of which fragments have come and others are to come (FRAG-18). 0: no fragment is translated.
    pub datagrams: u32,
    /// Fragments that wait for the first, or the last, of their datagram.
    pub waiting: u32,
    /// Datagrams, and waiting fragments, of one source: an IPv4 address or an IPv6 /64.
    pub per_source: u16,
    /// IPv4 packets that may be fragmented reach IPv6 hosts in packets of at most this, 1280 or more (FRAG-02).
    pub lowest_ipv6_mtu: u16,
    /// Fragments from IPv6 get an IPv4 identification of our own instead of the lower half of theirs (FRAG-33).
    pub remap_identification: bool,
}

impl Default for FragmentSpec {
    fn default() -> Self {
        Self {
            timeout: 2,
            datagrams: 4096,
            waiting: 1024,
            per_source: 256,
            lowest_ipv6_mtu: 1280,
            remap_identification: false,
        }
    }
}

/// Idle timers in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timers {
    /// UDP, at least 120 (N64-UDP-04, -05).
    pub udp: u32,
    /// UDP of NAT44 to [`Timers::udp_short_ports`], at most as long as `udp` (N64-UDP-16).
    pub udp_short: u32,
    /// Destination ports below 1024 with a shorter timer, a bit each. None: no such timer.
    pub udp_short_ports: PortSet,
    /// Established TCP, at least 7200 (N64-TCP-34).
    pub tcp_established: u32,
    /// TCP opening and V4 INIT.
    pub tcp_opening: u32,
    /// TCP closing: both FINs seen, or RST.
    pub tcp_transitory: u32,
    /// ICMP queries, at least 60 (N64-ICMP-05).
    pub icmp: u32,
    /// Inbound packets refresh UDP sessions (N64-UDP-07).
    pub udp_inbound_refresh: bool,
    /// The inside host of an established connection that was idle for its whole time is probed (N64-TCP-22). Without, only a
    /// segment of its own accord brings the connection back from the transitory timer.
    pub tcp_idle_probe: bool,
}

/// Well-known ports, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PortSet([u64; 16]);

impl PortSet {
    /// Ports that it has room for.
    pub const END: u16 = 1024;

    /// Puts a port in. False, and nothing changes, if it is none of the well-known ones.
    pub fn insert(&mut self, port: u16) -> bool {
        let known = (1..Self::END).contains(&port);
        if known {
            self.0[usize::from(port / 64)] |= 1 << (port % 64);
        }
        known
    }

    /// Whether a port is in it.
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        self.0.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
    }

    /// Whether it has no port.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its ports.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..Self::END).filter(|&port| self.contains(port))
    }
}

impl Timers {
    /// Seconds of a timer.
    pub fn seconds(&self, class: TimerClass) -> u32 {
        match class {
            TimerClass::Udp => self.udp,
            // Sessions that were made under it keep their class when it is configured no more.
            TimerClass::UdpShort if self.udp_short_ports.is_empty() => self.udp,
            TimerClass::UdpShort => self.udp_short,
            TimerClass::Icmp => self.icmp,
            TimerClass::TcpOpening => self.tcp_opening,
            TimerClass::TcpEstablished => self.tcp_established,
            TimerClass::TcpTransitory => self.tcp_transitory,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            //= conformance N64-UDP-04
            udp: 300,
            udp_short: 0,
            udp_short_ports: PortSet::default(),
            tcp_established: 7200,
            tcp_opening: 240,
            tcp_transitory: 240,
            icmp: 60,
            udp_inbound_refresh: true,
            tcp_idle_probe: true,
        }
    }
}
