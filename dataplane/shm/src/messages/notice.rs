//! Notices: what the threads of the dataplane tell control unasked. One that finds no room is lost and counted.

use sluice_nat::{Event, KindRealm, Protocol, Quota, SessionEnds};
use sluice_packet::reason::DropReason;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Address, Message, MessageError, join, split};

/// Something that control may want to know or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Packets wait for a neighbour that is not known; control asks the kernel to resolve it.
    NeighbourWanted {
        /// Logical interface, by position.
        interface: u16,
        /// The neighbour.
        address: Address,
    },
    /// The translation engine reports.
    Nat {
        /// When, in nanoseconds of `CLOCK_BOOTTIME`: the beginning of the loop in which it happened.
        time_ns: u64,
        /// What.
        event: Event,
    },
    /// The link of a port went up or down.
    LinkChanged {
        /// Port, by position.
        port: u16,
        /// Up, else down.
        up: bool,
    },
}

/// A notice in its slot. Fields that a notice does not have are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NoticeWire {
    kind: u16,
    /// Interface, port or inside port.
    number: u16,
    external: u32,
    address: [u64; 2],
    /// First port of a block, or external port.
    first: u16,
    last: u16,
    family: u8,
    kind_realm: u8,
    protocol: u8,
    reason: u8,
    up: u8,
    quota: u8,
    remote_port: u16,
    remote: u32,
    time_ns: u64,
    limit: u32,
    spare: [u8; 12],
}

const _: () = assert!(size_of::<NoticeWire>() == 64);
const _: () = assert!(DropReason::COUNT <= u8::MAX as usize);

const NEIGHBOUR_WANTED: u16 = 1;
const LINK_CHANGED: u16 = 2;
const BLOCK_ALLOCATED: u16 = 16;
const BLOCK_RELEASED: u16 = 17;
const BINDING_CREATED: u16 = 18;
const BINDING_DELETED: u16 = 19;
const REFUSED: u16 = 20;
const SESSION_CREATED: u16 = 21;
const SESSION_DELETED: u16 = 22;
const ADDRESSES_EXHAUSTED: u16 = 23;
const PORTS_EXHAUSTED: u16 = 24;
const QUOTA_EXCEEDED: u16 = 25;
const FRAGMENTS_PENDING: u16 = 26;
const CHECKSUM_MISSING: u16 = 27;

impl NoticeWire {
    fn put(&mut self, event: &Event) -> u16 {
        match *event {
            Event::BlockAllocated { kind_realm, subscriber, external, first, last } => {
                self.put_block(kind_realm, subscriber, external, first, last);
                BLOCK_ALLOCATED
            }
            Event::BlockReleased { kind_realm, subscriber, external, first, last } => {
                self.put_block(kind_realm, subscriber, external, first, last);
                BLOCK_RELEASED
            }
            Event::BindingCreated { kind_realm, protocol, inside, inside_port, external, external_port } => {
                self.put_binding(kind_realm, protocol, (inside, inside_port), (external, external_port));
                BINDING_CREATED
            }
            Event::BindingDeleted { kind_realm, protocol, inside, inside_port, external, external_port } => {
                self.put_binding(kind_realm, protocol, (inside, inside_port), (external, external_port));
                BINDING_DELETED
            }
            Event::Refused { reason, kind_realm, inside } => {
                self.reason = reason.index() as u8;
                self.kind_realm = kind_realm.0;
                self.address = split(inside);
                REFUSED
            }
            Event::SessionCreated(session) => {
                self.put_session(&session);
                SESSION_CREATED
            }
            Event::SessionDeleted(session) => {
                self.put_session(&session);
                SESSION_DELETED
            }
            Event::AddressesExhausted { pool } => {
                self.number = pool;
                ADDRESSES_EXHAUSTED
            }
            Event::PortsExhausted { protocol, external } => {
                self.protocol = protocol as u8;
                self.external = external;
                PORTS_EXHAUSTED
            }
            Event::QuotaExceeded { quota, limit, kind_realm, inside } => {
                self.quota = quota as u8;
                self.limit = limit;
                self.kind_realm = kind_realm.0;
                self.address = split(inside);
                QUOTA_EXCEEDED
            }
            Event::FragmentsPending { limit, ipv6, source } => {
                self.limit = limit;
                self.family = ipv6.into();
                self.address = split(source);
                FRAGMENTS_PENDING
            }
            Event::ChecksumMissing(session) => {
                self.put_session(&session);
                CHECKSUM_MISSING
            }
        }
    }

    fn put_block(&mut self, kind_realm: KindRealm, subscriber: u128, external: u32, first: u16, last: u16) {
        self.kind_realm = kind_realm.0;
        self.address = split(subscriber);
        self.external = external;
        self.first = first;
        self.last = last;
    }

    fn put_binding(
        &mut self,
        kind_realm: KindRealm,
        protocol: Protocol,
        inside: (u128, u16),
        external: (u32, u16),
    ) {
        self.kind_realm = kind_realm.0;
        self.protocol = protocol as u8;
        self.address = split(inside.0);
        self.number = inside.1;
        self.external = external.0;
        self.first = external.1;
    }

    fn put_session(&mut self, session: &SessionEnds) {
        let SessionEnds { kind_realm, protocol, inside, inside_port, external, external_port, .. } = *session;
        self.put_binding(kind_realm, protocol, (inside, inside_port), (external, external_port));
        self.remote = session.remote;
        self.remote_port = session.remote_port;
    }

    fn session(&self) -> Result<SessionEnds, MessageError> {
        Ok(SessionEnds {
            kind_realm: self.kind_realm()?,
            protocol: self.protocol()?,
            inside: join(self.address),
            inside_port: self.number,
            external: self.external,
            external_port: self.first,
            remote: self.remote,
            remote_port: self.remote_port,
        })
    }

    fn kind_realm(&self) -> Result<KindRealm, MessageError> {
        let kind_realm = KindRealm(self.kind_realm);
        match kind_realm.kind() {
            Some(_) => Ok(kind_realm),
            None => Err(MessageError::Field {
                field: "kind and realm",
                value: self.kind_realm.into(),
                most: 0xfe,
            }),
        }
    }

    fn protocol(&self) -> Result<Protocol, MessageError> {
        let unknown = MessageError::Field { field: "protocol", value: self.protocol.into(), most: 17 };
        Protocol::from_number(self.protocol).ok_or(unknown)
    }

    fn event(&self) -> Result<Event, MessageError> {
        match self.kind {
            ADDRESSES_EXHAUSTED => return Ok(Event::AddressesExhausted { pool: self.number }),
            PORTS_EXHAUSTED => {
                return Ok(Event::PortsExhausted { protocol: self.protocol()?, external: self.external });
            }
            FRAGMENTS_PENDING => {
                let Address { ipv6, value: source } = Address::from_wire(self.family, self.address)?;
                return Ok(Event::FragmentsPending { limit: self.limit, ipv6, source });
            }
            _ => {}
        }
        let kind_realm = self.kind_realm()?;
        let inside = join(self.address);
        let (external, first, last) = (self.external, self.first, self.last);
        Ok(match self.kind {
            BLOCK_ALLOCATED => {
                Event::BlockAllocated { kind_realm, subscriber: inside, external, first, last }
            }
            BLOCK_RELEASED => Event::BlockReleased { kind_realm, subscriber: inside, external, first, last },
            BINDING_CREATED => Event::BindingCreated {
                kind_realm,
                protocol: self.protocol()?,
                inside,
                inside_port: self.number,
                external,
                external_port: first,
            },
            BINDING_DELETED => Event::BindingDeleted {
                kind_realm,
                protocol: self.protocol()?,
                inside,
                inside_port: self.number,
                external,
                external_port: first,
            },
            REFUSED => {
                let most = DropReason::COUNT as u64 - 1;
                let unknown = MessageError::Field { field: "reason", value: self.reason.into(), most };
                let reason = DropReason::from_index(self.reason.into()).ok_or(unknown)?;
                Event::Refused { reason, kind_realm, inside }
            }
            SESSION_CREATED => Event::SessionCreated(self.session()?),
            SESSION_DELETED => Event::SessionDeleted(self.session()?),
            CHECKSUM_MISSING => Event::ChecksumMissing(self.session()?),
            QUOTA_EXCEEDED => {
                let unknown = MessageError::Field { field: "quota", value: self.quota.into(), most: 4 };
                let quota = Quota::from_number(self.quota).ok_or(unknown)?;
                Event::QuotaExceeded { quota, limit: self.limit, kind_realm, inside }
            }
            kind => return Err(MessageError::Kind(kind)),
        })
    }
}

impl Message for Notice {
    type Wire = NoticeWire;

    fn to_wire(&self) -> NoticeWire {
        let mut wire = NoticeWire::new_zeroed();
        wire.kind = match self {
            Self::NeighbourWanted { interface, address } => {
                wire.number = *interface;
                wire.family = address.ipv6.into();
                wire.address = split(address.value);
                NEIGHBOUR_WANTED
            }
            Self::LinkChanged { port, up } => {
                wire.number = *port;
                wire.up = u8::from(*up);
                LINK_CHANGED
            }
            Self::Nat { time_ns, event } => {
                wire.time_ns = *time_ns;
                wire.put(event)
            }
        };
        wire
    }

    fn from_wire(wire: &NoticeWire) -> Result<Self, MessageError> {
        match wire.kind {
            NEIGHBOUR_WANTED => {
                let address = Address::from_wire(wire.family, wire.address)?;
                Ok(Self::NeighbourWanted { interface: wire.number, address })
            }
            LINK_CHANGED if wire.up > 1 => {
                Err(MessageError::Field { field: "up", value: wire.up.into(), most: 1 })
            }
            LINK_CHANGED => Ok(Self::LinkChanged { port: wire.number, up: wire.up == 1 }),
            BLOCK_ALLOCATED..=CHECKSUM_MISSING => {
                wire.event().map(|event| Self::Nat { time_ns: wire.time_ns, event })
            }
            kind => Err(MessageError::Kind(kind)),
        }
    }
}
