//! What is known of a packet once its headers are read.

use crate::{DropReason, IcmpMessage, icmpv4, icmpv6};

/// Address family of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Protocol number of the family's ICMP.
    #[inline]
    pub const fn icmp(self) -> u8 {
        match self {
            Self::V4 => icmpv4::PROTOCOL,
            Self::V6 => icmpv6::PROTOCOL,
        }
    }

    /// Transport of an ICMP message by its type.
    #[inline]
    pub const fn icmp_transport(self, kind: u8) -> Transport {
        let (echo, error) = match self {
            Self::V4 => (icmpv4::is_echo(kind), icmpv4::is_error(kind)),
            Self::V6 => (icmpv6::is_echo(kind), icmpv6::is_error(kind)),
        };
        match (echo, error) {
            (true, _) => Transport::IcmpQuery,
            (_, true) => Transport::IcmpError,
            _ => Transport::IcmpOther,
        }
    }
}

/// Transport of a packet, as far as translation cares. ICMP of the wrong family is [`Transport::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo request or reply: a flow with an identifier in place of ports.
    IcmpQuery,
    /// An error about another packet, of known or unknown type.
    IcmpError,
    /// Any other ICMP message, neighbour discovery included, and the later fragments of all of ICMP.
    IcmpOther,
    /// Any other protocol.
    Other,
}

/// Which part of a datagram a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// All of it.
    No,
    /// All of it, with an IPv6 fragment header that says so (RFC 6946).
    Atomic,
    /// The beginning, with the transport header.
    First,
    /// A part without transport header.
    Later,
}

/// What the first fragment of a datagram tells of all its fragments: enough to treat them as packets of its flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Source port; the identifier of an echo.
    pub source_port: u16,
    /// Destination port; the identifier of an echo.
    pub destination_port: u16,
    /// The identification that the fragments leave with, where they do not keep theirs.
    pub identification: u16,
    /// What a checksum needs that only all fragments together tell: of an echo, the length of its ICMP message; of UDP over
    /// IPv4 without checksum, the sum of the datagram. Else zero.
    pub whole: u16,
    /// Flags of TCP, type of ICMP.
    pub kind: u8,
}

/// The facts of a packet. Offsets are from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Identification: the IPv4 field, or the fragment header's; zero without one.
    pub identification: u32,
    /// Source port; the identifier of an echo; zero if there is none.
    pub source_port: u16,
    /// Destination port; the identifier of an echo; zero if there is none.
    pub destination_port: u16,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of what follows the IP header, its options and its extension headers.
    pub l4: u16,
    /// Offset of the end of the datagram; link padding lies behind it.
    pub end: u16,
    /// Fragment offset in units of 8 bytes.
    pub fragment_offset: u16,
    /// Family.
    pub family: Family,
    /// Transport.
    pub transport: Transport,
    /// Which part of a datagram.
    pub fragment: Fragment,
    /// The protocol, or the last next header.
    pub protocol: u8,
    /// Hop limit or time to live.
    pub hop_limit: u8,
    /// Traffic class or type of service.
    pub tos: u8,
    /// Flags of TCP, else zero.
    pub tcp_flags: u8,
    /// Type of ICMP, else zero.
    pub icmp_type: u8,
    /// Code of ICMP, else zero.
    pub icmp_code: u8,
    /// What a first fragment needs to know of its whole datagram (see [`Head::whole`]), else zero.
    pub whole: u16,
    /// Don't Fragment of IPv4.
    pub dont_fragment: bool,
    /// More Fragments.
    pub more_fragments: bool,
    /// Whether there are IPv4 options or IPv6 extension headers.
    pub options: bool,
}

impl Meta {
    /// A packet of which only the family and the offset of the IP header are known.
    #[inline]
    pub const fn blank(family: Family, l3: u16) -> Self {
        Self {
            source: 0,
            destination: 0,
            identification: 0,
            source_port: 0,
            destination_port: 0,
            l3,
            l4: l3,
            end: l3,
            fragment_offset: 0,
            family,
            transport: Transport::Other,
            fragment: Fragment::No,
            protocol: 0,
            hop_limit: 0,
            tos: 0,
            tcp_flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            whole: 0,
            dont_fragment: false,
            more_fragments: false,
            options: false,
        }
    }

    /// Length of the datagram, IP header included.
    #[inline]
    pub const fn ip_len(&self) -> u16 {
        self.end.saturating_sub(self.l3)
    }

    /// Whether the packet is a whole datagram: an atomic fragment is, whatever else has its identification.
    //= conformance FRAG-15
    #[inline]
    pub const fn is_whole(&self) -> bool {
        matches!(self.fragment, Fragment::No | Fragment::Atomic)
    }

    /// What a first fragment tells of its datagram.
    pub const fn head(&self) -> Head {
        Head {
            source_port: self.source_port,
            destination_port: self.destination_port,
            identification: self.identification as u16,
            whole: self.whole,
            kind: if matches!(self.transport, Transport::Tcp) { self.tcp_flags } else { self.icmp_type },
        }
    }

    /// Takes over what the first fragment of the datagram tells: from here on a fragment has ports, like any packet of its
    /// flow.
    //= conformance FRAG-23
    pub fn adopt(&mut self, head: Head) {
        self.source_port = head.source_port;
        self.destination_port = head.destination_port;
        self.identification = head.identification.into();
        self.whole = head.whole;
        if self.protocol == self.family.icmp() {
            self.icmp_type = head.kind;
            self.transport = self.family.icmp_transport(head.kind);
        } else if self.transport == Transport::Tcp {
            self.tcp_flags = head.kind;
        }
    }
}

/// A packet that cannot be forwarded as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What to count it as.
    pub reason: DropReason,
    /// What its sender should be told, if anything.
    pub report: Option<IcmpMessage>,
    /// What is known of it. If there is something to report, offsets, family and addresses are right, and so is the
    /// transport if it could be reached.
    pub meta: Meta,
}
