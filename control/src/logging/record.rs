//! A record of the log: what happened, when, and the information elements that say so.
//!
//! IPFIX and syslog write the same elements, in the same order, under the numbers and the names of IANA's registry: a template
//! is the list of a [`Shape`], a data record its values, a syslog message its names and values.

use std::sync::Arc;

use sluice_nat::{Event, Kind, KindRealm, Quota, SessionEnds};

/// Something that happened.
//= conformance LOG-27
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// When, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// What.
    pub(crate) event: Event,
    /// Name of the pool that it is about.
    pub(crate) pool: Option<Arc<str>>,
}

/// What every record of a log has or has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Sessions have their remote side.
    pub(crate) destinations: bool,
    /// natInstanceID.
    pub(crate) instance: Option<u32>,
}

/// Declares elements: variant, number, name, octets (none: as long as its text).
macro_rules! elements {
    ($($variant:ident = $id:literal $name:literal $octets:expr,)+) => {
        /// An information element of IANA's registry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Element { $(#[doc = $name] $variant,)+ }

        impl Element {
            /// Its number.
            pub(crate) const fn id(self) -> u16 {
                match self { $(Self::$variant => $id,)+ }
            }

            /// Its name.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Octets of its value.
            pub(crate) const fn octets(self) -> Option<u16> {
                match self { $(Self::$variant => $octets,)+ }
            }
        }
    };
}

elements! {
    Protocol = 4 "protocolIdentifier" Some(1),
    SourcePort = 7 "sourceTransportPort" Some(2),
    SourceV4 = 8 "sourceIPv4Address" Some(4),
    DestinationPort = 11 "destinationTransportPort" Some(2),
    DestinationV4 = 12 "destinationIPv4Address" Some(4),
    SourceV6 = 27 "sourceIPv6Address" Some(16),
    PostNatSource = 225 "postNATSourceIPv4Address" Some(4),
    PostNatDestination = 226 "postNATDestinationIPv4Address" Some(4),
    PostNaptSourcePort = 227 "postNAPTSourceTransportPort" Some(2),
    PostNaptDestinationPort = 228 "postNAPTDestinationTransportPort" Some(2),
    NatEvent = 230 "natEvent" Some(1),
    PoolId = 283 "natPoolId" Some(4),
    PoolName = 284 "natPoolName" None,
    Time = 323 "observationTimeMilliseconds" Some(8),
    PortRangeStart = 361 "portRangeStart" Some(2),
    PortRangeEnd = 362 "portRangeEnd" Some(2),
    Instance = 463 "natInstanceID" Some(4),
    QuotaEvent = 466 "natQuotaExceededEvent" Some(4),
    MaxSessions = 471 "maxSessionEntries" Some(4),
    MaxBindings = 472 "maxBIBEntries" Some(4),
    MaxPerUser = 473 "maxEntriesPerUser" Some(4),
    MaxSubscribers = 474 "maxSubscribers" Some(4),
    MaxFragments = 475 "maxFragmentsPendingReassembly" Some(4),
}

/// The value of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// As wide as the element.
    Number(u64),
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 address.
    V6(u128),
    /// Text.
    Text(&'a str),
}

/// Records of the same elements: a template of IPFIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Shape {
    Session44,
    Session64,
    Binding44,
    Binding64,
    Block44,
    Block64,
    Addresses,
    Ports,
    QuotaSessions,
    QuotaBindings,
    QuotaUser44,
    QuotaUser64,
    QuotaSubscribers,
    QuotaFragments4,
    QuotaFragments6,
}

/// RFC 7011, section 3.4.1: the first number that a template may have.
const FIRST_TEMPLATE: u16 = 256;

impl Shape {
    pub(crate) const ALL: [Self; 15] = [
        Self::Session44,
        Self::Session64,
        Self::Binding44,
        Self::Binding64,
        Self::Block44,
        Self::Block64,
        Self::Addresses,
        Self::Ports,
        Self::QuotaSessions,
        Self::QuotaBindings,
        Self::QuotaUser44,
        Self::QuotaUser64,
        Self::QuotaSubscribers,
        Self::QuotaFragments4,
        Self::QuotaFragments6,
    ];

    /// The template's number.
    //= conformance LOG-02
    pub(crate) const fn template(self) -> u16 {
        FIRST_TEMPLATE + self as u16
    }

    /// Its elements.
    pub(crate) fn elements(self, options: Options) -> impl Iterator<Item = Element> {
        let remote = if options.destinations { self.remote() } else { &[] };
        let instance = options.instance.map(|_| Element::Instance);
        self.always().iter().chain(remote).copied().chain(instance)
    }

    //= conformance LOG-06, LOG-07, LOG-08, LOG-09, LOG-10, LOG-11, LOG-12, LOG-13, LOG-14, LOG-15, LOG-16, LOG-17
    const fn always(self) -> &'static [Element] {
        use Element::*;
        match self {
            Self::Session44 | Self::Binding44 => {
                &[Time, NatEvent, SourceV4, PostNatSource, Protocol, SourcePort, PostNaptSourcePort]
            }
            Self::Session64 | Self::Binding64 => {
                &[Time, NatEvent, SourceV6, PostNatSource, Protocol, SourcePort, PostNaptSourcePort]
            }
            Self::Block44 => &[Time, NatEvent, SourceV4, PostNatSource, PortRangeStart, PortRangeEnd],
            Self::Block64 => &[Time, NatEvent, SourceV6, PostNatSource, PortRangeStart, PortRangeEnd],
            Self::Addresses => &[Time, NatEvent, PoolId, PoolName],
            Self::Ports => &[Time, NatEvent, PostNatSource, Protocol],
            Self::QuotaSessions => &[Time, NatEvent, QuotaEvent, MaxSessions],
            Self::QuotaBindings => &[Time, NatEvent, QuotaEvent, MaxBindings],
            Self::QuotaUser44 => &[Time, NatEvent, QuotaEvent, MaxPerUser, SourceV4],
            Self::QuotaUser64 => &[Time, NatEvent, QuotaEvent, MaxPerUser, SourceV6],
            Self::QuotaSubscribers => &[Time, NatEvent, QuotaEvent, MaxSubscribers],
            Self::QuotaFragments4 => &[Time, NatEvent, QuotaEvent, MaxFragments, SourceV4],
            Self::QuotaFragments6 => &[Time, NatEvent, QuotaEvent, MaxFragments, SourceV6],
        }
    }

    /// The remote side. That of NAT64 is told as the IPv4 side of the gateway has it.
    const fn remote(self) -> &'static [Element] {
        use Element::*;
        match self {
            Self::Session44 => &[DestinationV4, PostNatDestination, DestinationPort, PostNaptDestinationPort],
            Self::Session64 => &[PostNatDestination, DestinationPort, PostNaptDestinationPort],
            _ => &[],
        }
    }
}

/// Values of an event by what they mean; 0 for what it has not.
#[derive(Default)]
struct Parts {
    inside: u128,
    external: u32,
    protocol: u8,
    inside_port: u16,
    external_port: u16,
    remote: u32,
    remote_port: u16,
    ports: (u16, u16),
    limit: u32,
    quota: u8,
    pool: u16,
}

fn is_v6(kind_realm: KindRealm) -> bool {
    kind_realm.kind() == Some(Kind::Nat64)
}

impl Record {
    /// Its elements; `None` if IPFIX has no words for it.
    pub(crate) fn shape(&self) -> Option<Shape> {
        let by = |kind_realm, v6, v4| Some(if is_v6(kind_realm) { v6 } else { v4 });
        match self.event {
            Event::BlockAllocated { kind_realm, .. } | Event::BlockReleased { kind_realm, .. } => {
                by(kind_realm, Shape::Block64, Shape::Block44)
            }
            Event::BindingCreated { kind_realm, .. } | Event::BindingDeleted { kind_realm, .. } => {
                by(kind_realm, Shape::Binding64, Shape::Binding44)
            }
            Event::SessionCreated(session) | Event::SessionDeleted(session) => {
                by(session.kind_realm, Shape::Session64, Shape::Session44)
            }
            Event::AddressesExhausted { .. } => Some(Shape::Addresses),
            Event::PortsExhausted { .. } => Some(Shape::Ports),
            Event::QuotaExceeded { quota, kind_realm, .. } => match quota {
                Quota::Sessions => Some(Shape::QuotaSessions),
                Quota::Bindings => Some(Shape::QuotaBindings),
                Quota::PerUser => by(kind_realm, Shape::QuotaUser64, Shape::QuotaUser44),
                Quota::Subscribers => Some(Shape::QuotaSubscribers),
            },
            Event::FragmentsPending { ipv6: true, .. } => Some(Shape::QuotaFragments6),
            Event::FragmentsPending { ipv6: false, .. } => Some(Shape::QuotaFragments4),
            Event::ChecksumMissing(_) | Event::Refused { .. } => None,
        }
    }

    /// Its natEvent (RFC 8158, section 4.3), and its name as the MSGID of syslog.
    //= conformance LOG-07, LOG-08, LOG-09, LOG-12, LOG-21, LOG-29
    pub(crate) fn kind(&self) -> (u8, &'static str) {
        let by = |kind_realm, v6, v4| if is_v6(kind_realm) { v6 } else { v4 };
        match self.event {
            Event::AddressesExhausted { .. } => (3, "NAT-ADDRESSES-EXHAUSTED"),
            Event::SessionCreated(SessionEnds { kind_realm, .. }) => {
                by(kind_realm, (6, "NAT64-SESSION-CREATE"), (4, "NAT44-SESSION-CREATE"))
            }
            Event::SessionDeleted(SessionEnds { kind_realm, .. }) => {
                by(kind_realm, (7, "NAT64-SESSION-DELETE"), (5, "NAT44-SESSION-DELETE"))
            }
            Event::BindingCreated { kind_realm, .. } => {
                by(kind_realm, (10, "NAT64-BIB-CREATE"), (8, "NAT44-BIB-CREATE"))
            }
            Event::BindingDeleted { kind_realm, .. } => {
                by(kind_realm, (11, "NAT64-BIB-DELETE"), (9, "NAT44-BIB-DELETE"))
            }
            Event::PortsExhausted { .. } => (12, "NAT-PORTS-EXHAUSTED"),
            Event::QuotaExceeded { .. } | Event::FragmentsPending { .. } => (13, "NAT-QUOTA-EXCEEDED"),
            Event::BlockAllocated { kind_realm, .. } => {
                by(kind_realm, (16, "NAT64-PORT-BLOCK-ALLOCATE"), (16, "NAT44-PORT-BLOCK-ALLOCATE"))
            }
            Event::BlockReleased { kind_realm, .. } => {
                by(kind_realm, (17, "NAT64-PORT-BLOCK-FREE"), (17, "NAT44-PORT-BLOCK-FREE"))
            }
            Event::ChecksumMissing(_) => (0, "NAT-UDP-CHECKSUM-MISSING"),
            Event::Refused { .. } => (0, "NAT-SESSION-REFUSED"),
        }
    }

    /// A limit was reached, or something was refused; else something was made or ended.
    pub(crate) fn is_limit(&self) -> bool {
        is_limit(&self.event)
    }

    /// The value of an element of its shape.
    pub(crate) fn value(&self, element: Element, options: Options) -> Value<'_> {
        let parts = self.parts();
        let number = |number: u32| Value::Number(number.into());
        match element {
            Element::Time => Value::Number(self.time_ms),
            Element::NatEvent => number(self.kind().0.into()),
            Element::SourceV4 => Value::V4(parts.inside as u32),
            Element::SourceV6 => Value::V6(parts.inside),
            Element::PostNatSource => Value::V4(parts.external),
            Element::Protocol => number(parts.protocol.into()),
            Element::SourcePort => number(parts.inside_port.into()),
            Element::PostNaptSourcePort => number(parts.external_port.into()),
            Element::DestinationV4 | Element::PostNatDestination => Value::V4(parts.remote),
            Element::DestinationPort | Element::PostNaptDestinationPort => number(parts.remote_port.into()),
            Element::PortRangeStart => number(parts.ports.0.into()),
            Element::PortRangeEnd => number(parts.ports.1.into()),
            // Numbers of people begin at 1.
            Element::PoolId => number(u32::from(parts.pool) + 1),
            Element::PoolName => Value::Text(self.pool.as_deref().unwrap_or("")),
            Element::QuotaEvent => number(parts.quota.into()),
            Element::MaxSessions
            | Element::MaxBindings
            | Element::MaxPerUser
            | Element::MaxSubscribers
            | Element::MaxFragments => number(parts.limit),
            Element::Instance => number(options.instance.unwrap_or(0)),
        }
    }

    fn parts(&self) -> Parts {
        let none = Parts::default();
        match self.event {
            Event::BlockAllocated { subscriber, external, first, last, .. }
            | Event::BlockReleased { subscriber, external, first, last, .. } => {
                Parts { inside: subscriber, external, ports: (first, last), ..none }
            }
            Event::BindingCreated { protocol, inside, inside_port, external, external_port, .. }
            | Event::BindingDeleted { protocol, inside, inside_port, external, external_port, .. } => {
                Parts { protocol: protocol as u8, inside, inside_port, external, external_port, ..none }
            }
            Event::SessionCreated(session)
            | Event::SessionDeleted(session)
            | Event::ChecksumMissing(session) => Parts {
                protocol: session.protocol as u8,
                inside: session.inside,
                inside_port: session.inside_port,
                external: session.external,
                external_port: session.external_port,
                remote: session.remote,
                remote_port: session.remote_port,
                ..none
            },
            Event::AddressesExhausted { pool } => Parts { pool, ..none },
            Event::PortsExhausted { protocol, external } => {
                Parts { protocol: protocol as u8, external, ..none }
            }
            Event::QuotaExceeded { quota, limit, inside, .. } => {
                Parts { quota: quota as u8, limit, inside, ..none }
            }
            Event::FragmentsPending { limit, source, .. } => {
                Parts { quota: FRAGMENTS, limit, inside: source, ..none }
            }
            Event::Refused { inside, .. } => Parts { inside, ..none },
        }
    }
}

/// natQuotaExceededEvent of fragments that wait: the one that the engine does not report.
const FRAGMENTS: u8 = 5;

/// Whether an event says that a limit was reached, or that something was refused.
pub(crate) fn is_limit(event: &Event) -> bool {
    matches!(
        event,
        Event::AddressesExhausted { .. }
            | Event::PortsExhausted { .. }
            | Event::QuotaExceeded { .. }
            | Event::FragmentsPending { .. }
            | Event::ChecksumMissing(_)
            | Event::Refused { .. }
    )
}
