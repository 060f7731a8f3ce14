//! Commands: control to dataplane.

use serde::{Deserialize, Serialize};
use sluice_nat::Protocol;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Address, Message, MessageError, split};

/// A command with the number under which it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of the command, from `ControlSide::next_sequence`.
    pub sequence: u32,
    /// What to do.
    pub command: Command,
}

/// What control asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take up the snapshot of the run directory, which has this generation.
    Apply {
        /// Generation of the snapshot.
        generation: u64,
    },
    /// A neighbour of an interface is known, or is no more.
    NeighbourSet {
        /// Logical interface, by position.
        interface: u16,
        /// The neighbour.
        address: Address,
        /// Its MAC address; zeros unless the state is reachable or stale.
        mac: [u8; 6],
        /// What the kernel thinks of it.
        state: NeighbourState,
    },
    /// The kernel has forgotten a neighbour.
    NeighbourDelete {
        /// Logical interface, by position.
        interface: u16,
        /// The neighbour.
        address: Address,
    },
    /// Record the way of packets.
    TraceStart {
        /// Number that the records carry.
        id: u32,
        /// Packets, after which the trace ends by itself.
        count: u32,
        /// Which packets.
        filter: TraceFilter,
    },
    /// End a trace.
    TraceStop {
        /// Its number.
        id: u32,
    },
    /// Delete every session.
    FlushSessions,
    /// Delete the mappings of an inside address, with all their sessions (MAP-15).
    RemoveMappings {
        /// The inside address: IPv6 for NAT64, IPv4 for NAT44.
        inside: Address,
        /// Only of this inside port or identifier.
        port: Option<u16>,
        /// Only of this protocol.
        protocol: Option<Protocol>,
    },
    /// End the dataplane.
    Shutdown,
}

/// State of a neighbour entry, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum NeighbourState {
    /// Being asked for.
    Incomplete = 0,
    /// Known, and confirmed a short while ago.
    Reachable = 1,
    /// Known, not confirmed lately; forwarding goes on.
    Stale = 2,
    /// Did not answer.
    Failed = 3,
}

impl NeighbourState {
    fn from_number(number: u8) -> Result<Self, MessageError> {
        match number {
            0 => Ok(Self::Incomplete),
            1 => Ok(Self::Reachable),
            2 => Ok(Self::Stale),
            3 => Ok(Self::Failed),
            _ => Err(MessageError::Field { field: "neighbour state", value: number.into(), most: 3 }),
        }
    }
}

/// Which packets a trace takes: those that match everything that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFilter {
    /// Source or destination of the packet as it came in.
    pub address: Option<Address>,
    /// Source or destination port, or identifier.
    pub port: Option<u16>,
    /// Protocol number; 1 also means ICMPv6.
    pub protocol: Option<u8>,
    /// Logical interface that it came in on, by position.
    pub interface: Option<u16>,
    /// Only packets that end as a drop.
    pub drops_only: bool,
}

/// A command in its slot. Fields that a command does not have are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RequestWire {
    kind: u16,
    interface: u16,
    sequence: u32,
    generation: u64,
    address: [u64; 2],
    id: u32,
    count: u32,
    port: u16,
    mac: [u8; 6],
    family: u8,
    neighbour_state: u8,
    protocol: u8,
    /// Which parts of a trace filter, or of what is to be removed, are given.
    given: u8,
    spare: [u8; 12],
}

const _: () = assert!(size_of::<RequestWire>() == 64);

const APPLY: u16 = 1;
const NEIGHBOUR_SET: u16 = 2;
const NEIGHBOUR_DELETE: u16 = 3;
const TRACE_START: u16 = 4;
const TRACE_STOP: u16 = 5;
const FLUSH_SESSIONS: u16 = 6;
const SHUTDOWN: u16 = 7;
const REMOVE_MAPPINGS: u16 = 8;

const GIVEN_ADDRESS: u8 = 1;
const GIVEN_PORT: u8 = 2;
const GIVEN_PROTOCOL: u8 = 4;
const GIVEN_INTERFACE: u8 = 8;
const DROPS_ONLY: u8 = 16;
const GIVEN_ALL: u8 = 31;

impl RequestWire {
    fn set_address(&mut self, address: Address) {
        self.family = address.ipv6.into();
        self.address = split(address.value);
    }

    fn set_filter(&mut self, filter: &TraceFilter) {
        if let Some(address) = filter.address {
            self.set_address(address);
            self.given |= GIVEN_ADDRESS;
        }
        if let Some(port) = filter.port {
            self.port = port;
            self.given |= GIVEN_PORT;
        }
        if let Some(protocol) = filter.protocol {
            self.protocol = protocol;
            self.given |= GIVEN_PROTOCOL;
        }
        if let Some(interface) = filter.interface {
            self.interface = interface;
            self.given |= GIVEN_INTERFACE;
        }
        if filter.drops_only {
            self.given |= DROPS_ONLY;
        }
    }

    fn address(&self) -> Result<Address, MessageError> {
        Address::from_wire(self.family, self.address)
    }

    fn filter(&self) -> Result<TraceFilter, MessageError> {
        if self.given > GIVEN_ALL {
            return Err(MessageError::Field {
                field: "given",
                value: self.given.into(),
                most: GIVEN_ALL.into(),
            });
        }
        let given = |bit| self.given & bit != 0;
        Ok(TraceFilter {
            address: given(GIVEN_ADDRESS).then(|| self.address()).transpose()?,
            port: given(GIVEN_PORT).then_some(self.port),
            protocol: given(GIVEN_PROTOCOL).then_some(self.protocol),
            interface: given(GIVEN_INTERFACE).then_some(self.interface),
            drops_only: given(DROPS_ONLY),
        })
    }
}

impl RequestWire {
    fn removal(&self) -> Result<Command, MessageError> {
        let TraceFilter { port, protocol, .. } = self.filter()?;
        let known = |number| {
            Protocol::from_number(number).ok_or(MessageError::Field {
                field: "protocol",
                value: number.into(),
                most: Protocol::Udp as u64,
            })
        };
        let protocol = protocol.map(known).transpose()?;
        Ok(Command::RemoveMappings { inside: self.address()?, port, protocol })
    }
}

impl Message for Request {
    type Wire = RequestWire;

    fn to_wire(&self) -> RequestWire {
        let mut wire = RequestWire::new_zeroed();
        wire.sequence = self.sequence;
        wire.kind = match self.command {
            Command::Apply { generation } => {
                wire.generation = generation;
                APPLY
            }
            Command::NeighbourSet { interface, address, mac, state } => {
                wire.interface = interface;
                wire.mac = mac;
                wire.neighbour_state = state as u8;
                wire.set_address(address);
                NEIGHBOUR_SET
            }
            Command::NeighbourDelete { interface, address } => {
                wire.interface = interface;
                wire.set_address(address);
                NEIGHBOUR_DELETE
            }
            Command::TraceStart { id, count, filter } => {
                wire.id = id;
                wire.count = count;
                wire.set_filter(&filter);
                TRACE_START
            }
            Command::TraceStop { id } => {
                wire.id = id;
                TRACE_STOP
            }
            Command::FlushSessions => FLUSH_SESSIONS,
            Command::RemoveMappings { inside, port, protocol } => {
                let protocol = protocol.map(|protocol| protocol as u8);
                wire.set_filter(&TraceFilter {
                    address: Some(inside),
                    port,
                    protocol,
                    ..TraceFilter::default()
                });
                REMOVE_MAPPINGS
            }
            Command::Shutdown => SHUTDOWN,
        };
        wire
    }

    fn from_wire(wire: &RequestWire) -> Result<Self, MessageError> {
        let command = match wire.kind {
            APPLY => Command::Apply { generation: wire.generation },
            NEIGHBOUR_SET => Command::NeighbourSet {
                interface: wire.interface,
                address: wire.address()?,
                mac: wire.mac,
                state: NeighbourState::from_number(wire.neighbour_state)?,
            },
            NEIGHBOUR_DELETE => {
                Command::NeighbourDelete { interface: wire.interface, address: wire.address()? }
            }
            TRACE_START => Command::TraceStart { id: wire.id, count: wire.count, filter: wire.filter()? },
            TRACE_STOP => Command::TraceStop { id: wire.id },
            FLUSH_SESSIONS => Command::FlushSessions,
            REMOVE_MAPPINGS => wire.removal()?,
            SHUTDOWN => Command::Shutdown,
            kind => return Err(MessageError::Kind(kind)),
        };
        Ok(Self { sequence: wire.sequence, command })
    }
}
