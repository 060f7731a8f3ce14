//! Small types that carry meaning: ticks, indices, protocols, directions.

/// Ticks a second of the coarse clock that the engine is given. The engine never reads a clock itself.
pub const TICKS_PER_SECOND: u32 = 4;

/// A moment on the coarse clock: `CLOCK_BOOTTIME` in quarters of a second since the region's clock base.
/// It wraps after 34 years; differences are taken with wrapping arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick of a whole number of seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds.wrapping_mul(TICKS_PER_SECOND))
    }

    /// This moment, `ticks` later.
    #[must_use]
    pub const fn after(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// Ticks from `earlier` to this moment; 0 if `earlier` is in fact later.
    pub const fn since(self, earlier: Tick) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0);
        if ticks > u32::MAX / 2 { 0 } else { ticks }
    }
}

/// Position of a session record in the region. [`SessionIndex::NONE`] stands for "no session", so that batches of
/// lookups need no `Option` and fit a register each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SessionIndex(pub u32);

impl SessionIndex {
    /// No session.
    pub const NONE: Self = Self(u32::MAX);

    /// Whether there is a session.
    #[inline]
    pub const fn is_some(self) -> bool {
        self.0 != u32::MAX
    }
}

/// Number of a worker, 0 to [`WorkerId::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// The most workers a gateway has.
    pub const MAX: usize = 64;
}

/// A translated transport. The three have binding tables of their own (MAP-02, MAP-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Protocol {
    /// ICMP and ICMPv6 queries; the identifier takes the place of both ports on the inside and of the external port
    /// outside, the remote port is 0.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Protocol {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Icmp, Self::Tcp, Self::Udp];

    /// 0, 1, 2: a position in arrays of one entry per protocol.
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Icmp => 0,
            Self::Tcp => 1,
            Self::Udp => 2,
        }
    }

    /// From the byte of a record.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Icmp),
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

impl core::fmt::Display for Protocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Which families a session joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Kind {
    /// IPv6 inside, IPv4 outside.
    Nat64 = 1,
    /// IPv4 on both sides.
    Nat44 = 2,
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Nat64 => "nat64",
            Self::Nat44 => "nat44",
        })
    }
}

/// Kind and realm of a session in one byte: kind in the low two bits, realm (0 to 63) above. A realm tells apart inside
/// networks that use the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct KindRealm(pub u8);

impl KindRealm {
    /// Packs both. The realm is cut to six bits.
    #[inline]
    pub const fn new(kind: Kind, realm: u8) -> Self {
        Self(kind as u8 | realm << 2)
    }

    /// The kind; `None` for a byte that no engine wrote.
    #[inline]
    pub const fn kind(self) -> Option<Kind> {
        match self.0 & 3 {
            1 => Some(Kind::Nat64),
            2 => Some(Kind::Nat44),
            _ => None,
        }
    }

    /// The realm.
    #[inline]
    pub const fn realm(self) -> u8 {
        self.0 >> 2
    }
}

/// The way of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Inside to outside.
    Outbound,
    /// Outside to inside.
    Inbound,
}
