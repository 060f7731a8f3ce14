//! What can be wrong with a received test frame.

use std::fmt;

/// The kinds, in the order in which a frame is checked: the first that applies is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The frame is shorter than its headers say, or they contradict each other.
    Length,
    /// A fragment, or fragments would be needed: what is sent fits every link.
    Fragment,
    /// Checksum of the IPv4 header.
    IpChecksum,
    /// Checksum of UDP, a missing one included.
    UdpChecksum,
    /// The signature is gone.
    Signature,
    /// The frame came back on the side that it was sent from.
    Direction,
    /// The number of the flow or of the frame was never sent.
    NeverSent,
    /// Destination MAC address.
    Mac,
    /// IPv4 where IPv6 was expected, or the other way.
    Family,
    /// Hop limit that was not kept or counted down.
    HopLimit,
    /// Destination address or port.
    Destination,
    /// Source address or port.
    Source,
    /// Length of the payload, or a byte of it.
    Payload,
    /// The flow came from another external address and port before.
    TupleChanged,
    /// Another flow has this external address and port.
    TupleShared,
}

impl FaultKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Fragment => "fragment",
            Self::IpChecksum => "IPv4 header checksum",
            Self::UdpChecksum => "UDP checksum",
            Self::Signature => "signature",
            Self::Direction => "direction",
            Self::NeverSent => "flow and sequence",
            Self::Mac => "destination MAC address",
            Self::Family => "address family",
            Self::HopLimit => "hop limit",
            Self::Destination => "destination",
            Self::Source => "source",
            Self::Payload => "payload",
            Self::TupleChanged => "external tuple changed",
            Self::TupleShared => "external tuple shared",
        }
    }
}

/// One fault of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl Fault {
    /// A fault.
    #[cold]
    pub fn new(kind: FaultKind, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self { kind, expected: expected.to_string(), found: found.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.kind.name(), self.expected, self.found)
    }
}
