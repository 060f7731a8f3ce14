//! Why a packet ended where it ended.
//!
//! These two enums are the single source of the drop and punt counters, their metric names, their rows in
//! `sluice counters` and their documentation lines: a reason that exists is counted, and nothing is counted that
//! is not listed here.

/// Declares a reason enum with its stable name, and one line of documentation that is also its help text.
macro_rules! reasons {
    ($(#[$outer:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every reason, in counter order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            /// How many there are: the length of a counter array.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name: counter, metric label and CLI row.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// One line for a person.
            pub const fn help(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The position in a counter array.
            pub const fn index(self) -> usize { self as usize }

            /// The reason at a position of a counter array.
            pub fn from_index(index: usize) -> Option<Self> { Self::ALL.get(index).copied() }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.pad(self.name()) }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// Ethernet frame shorter than its headers, or an EtherType nobody here speaks.
        EthernetMalformed = "ethernet_malformed",
        /// VLAN tag that no logical interface of the port has.
        VlanUnknown = "vlan_unknown",
        /// IPv4 header with a bad version, length or checksum (XLT-37).
        Ipv4Malformed = "ipv4_malformed",
        /// IPv6 header with a bad version or length.
        Ipv6Malformed = "ipv6_malformed",
        /// IPv6 extension chain truncated, longer than 8 headers or 256 bytes (XLT-48).
        Ipv6ExtensionChain = "ipv6_extension_chain",
        /// IPv6 routing header with segments left (XLT-18).
        Ipv6RoutingHeader = "ipv6_routing_header",
        /// IPv4 source route not yet expired (XLT-29).
        Ipv4SourceRoute = "ipv4_source_route",
        /// IPv6 jumbogram (XLT-46).
        Ipv6Jumbogram = "ipv6_jumbogram",
        /// TCP, UDP or ICMP header truncated or inconsistent with the IP length (XLT-38).
        TransportMalformed = "transport_malformed",
        /// UDP or TCP port 0 (N44-22).
        PortZero = "port_zero",
        /// Source address that no packet may have (XLT-19, XLT-26).
        SourceIllegal = "source_illegal",
        /// Source inside a translation prefix: hairpin loop guard (XLT-03).
        SourceInPref64 = "src_in_pref64",
        /// Destination embeds an IPv4 address that is not a routable unicast (ADDR-19) or has a non-zero u octet (ADDR-11).
        EmbeddedAddressIllegal = "embedded_address_illegal",
        /// Well-known prefix with a non-global IPv4 address (ADDR-13).
        WellKnownPrefixNonGlobal = "wkp_non_global",
        /// Multicast or broadcast that is not for the box itself (XLT-43).
        NotUnicast = "not_unicast",
        /// Link-layer destination of another station.
        NotForUs = "not_for_us",
        /// Transport protocol that a stateful translator cannot map (XLT-04, XLT-05).
        ProtocolUnsupported = "protocol_unsupported",
        /// ICMP or ICMPv6 type or code without counterpart in the other family (RFC 7915, 4.2 and 5.2).
        IcmpUntranslatable = "icmp_untranslatable",
        /// ICMP error whose quoted packet cannot be read, or quotes an ICMP error (ICMP-72, ICMP-74).
        IcmpQuoteMalformed = "icmp_quote_malformed",
        /// ICMP error with a bad checksum (ICMP-78), or quoting an IPv4 header with one (ICMP-79).
        IcmpChecksum = "icmp_checksum",
        /// ICMP error about a packet that no session knows (ICMP-76).
        IcmpNoSession = "icmp_no_session",
        /// Fragment of an ICMP error, which is not translated in pieces (FRAG-26).
        Fragment = "fragment",
        /// Fragment whose length or offset no fragment may have, or TCP that begins in the middle of a header (FRAG-21, FRAG-27, FRAG-28).
        FragmentMalformed = "fragment_malformed",
        /// Fragment that overlaps another of its datagram, and what waited of that datagram (FRAG-22).
        FragmentOverlap = "fragment_overlap",
        /// Fragment that had come before.
        FragmentDuplicate = "fragment_duplicate",
        /// Fragment that waited for the others of its datagram until its time was up (FRAG-19, FRAG-36).
        FragmentTimeout = "fragment_timeout",
        /// Fragment without room to wait, or of a source that has too many, or one that made room for others (FRAG-18).
        FragmentLimit = "fragment_limit",
        /// UDP over IPv6 with checksum zero (XLT-34).
        UdpChecksumZero = "udp_checksum_zero",
        /// UDP over IPv4 without checksum to an IPv6 host, where the configuration drops it (XLT-32).
        UdpChecksumMissing = "udp_checksum_missing",
        /// Hop limit or TTL would reach zero (XLT-14, XLT-25); an error was sent if the rate limit allowed.
        HopLimitExceeded = "hop_limit_exceeded",
        /// Larger than the next hop's MTU; Packet Too Big or Fragmentation Needed was sent if the rate limit allowed.
        PacketTooBig = "packet_too_big",
        /// No source rule of a translation prefix or pool matches.
        NoRule = "no_rule",
        /// Inbound packet to a pool address and port without binding (N64-UDP-09, N64-ICMP-06).
        NoBinding = "no_binding",
        /// Inbound TCP SYN to a pool address and port without binding, held for 6 s or not (N64-TCP-40).
        UnsolicitedSyn = "unsolicited_syn",
        /// Inbound TCP SYN that was held, and whose connection was opened from inside meanwhile (N64-TCP-05).
        SynSuperseded = "syn_superseded",
        /// Inbound TCP SYN that would have been held, but as many as may be are (N64-TCP-39).
        SynTableFull = "syn_table_full",
        /// TCP segment other than SYN without session or binding (N64-TCP-09).
        TcpNoSession = "tcp_no_session",
        /// TCP segment with a flag combination that no stack sends (N64-TCP-36).
        TcpFlagsIllegal = "tcp_flags_illegal",
        /// Refused by address-dependent or address-and-port-dependent filtering (N64-UDP-11, MAP-09).
        Filtered = "filtered",
        /// Session table full: the new session was refused, nothing existing was touched (MAP-12).
        SessionTableFull = "session_table_full",
        /// Binding table full.
        BindingTableFull = "binding_table_full",
        /// No port block left in the pool, or no port in the paired address (PORT-22, MAP-06).
        PoolExhausted = "pool_exhausted",
        /// Subscriber at its limit of sessions (LIM-04).
        SubscriberSessions = "subscriber_sessions",
        /// Subscriber at its limit of port blocks, all of them full (LIM-01).
        SubscriberPorts = "subscriber_ports",
        /// Subscriber at its limit of mappings of a protocol (LIM-02).
        SubscriberMappings = "subscriber_mappings",
        /// Subscriber at its rate of new sessions (LIM-03).
        SubscriberRate = "subscriber_rate",
        /// Subscriber table full, or as many subscribers as are configured (LIM-14).
        SubscriberTableFull = "subscriber_table_full",
        /// More new flows than the budget of one loop; established flows go first.
        MissBudget = "miss_budget",
        /// Hairpinned packet to a pool address and port without binding (HAIR-04).
        HairpinNoBinding = "hairpin_no_binding",
        /// No route to the destination.
        NoRoute = "no_route",
        /// Route that says blackhole.
        Blackhole = "blackhole",
        /// Next hop not yet resolved; resolution was requested.
        NeighbourUnresolved = "neighbour_unresolved",
        /// Next hop that the kernel could not resolve.
        NeighbourFailed = "neighbour_failed",
        /// Hand-off ring to another worker full.
        HandoffFull = "handoff_full",
        /// Hand-off of a packet that was handed off twice already.
        HandoffHops = "handoff_hops",
        /// Punt ring full.
        PuntFull = "punt_full",
        /// Refused by the policer of the punt path.
        PuntPoliced = "punt_policed",
        /// Transmit queue full.
        TxFull = "tx_full",
        /// No memory buffer for a packet that had to be made.
        NoMbuf = "no_mbuf",
        /// Packet spread over more memory segments than one.
        MbufSegmented = "mbuf_segmented",
        /// The TAP twin did not take the packet (interface down, or its queue full).
        TapWrite = "tap_write",
        /// No interface is configured on the port any more.
        InterfaceGone = "interface_gone",
    }
}

reasons! {
    /// Why a packet was given to the kernel.
    PuntReason {
        /// ARP.
        Arp = "arp",
        /// IPv6 neighbour or router discovery, multicast listener discovery.
        NeighbourDiscovery = "neighbour_discovery",
        /// To an address of the box.
        Local = "local",
        /// Multicast or link-local that the kernel may want.
        Multicast = "multicast",
        /// To a pool address that is also an interface address, without session.
        PoolLocal = "pool_local",
        /// EtherType that is not IP (LLDP, LACP and the like).
        OtherProtocol = "other_protocol",
    }
}

/// What became of a packet at a stage. Per packet there is a verdict, never a `Result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next stage, in the end to transmit.
    Forward,
    /// To another worker, by its number.
    HandOff(u8),
    /// To the kernel through the TAP twin.
    Punt(PuntReason),
    /// Dropped and counted.
    Drop(DropReason),
}
