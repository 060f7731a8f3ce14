//! The state of a translator: sessions, bindings, ports, subscribers, TCP tracking, timers. No I/O and no clock of its own.
//!
//! | module | what |
//! | --- | --- |
//! | [`types`], [`key`], [`record`] | ticks and indices; what packets are looked up by; the session record |
//! | [`spec`], `compile`, [`error`], [`config`] | what the operator asked for, checked and compiled |
//! | [`deterministic`] | port ranges that follow from inside addresses |
//! | [`shared`], `toeplitz`, `ports`, `reserved` | what workers share: owners of extents and blocks, port bitmaps, the worker of a subscriber |
//! | [`engine`] | what a worker calls; `tables` is the state behind it |
//! | [`quarantine`] | port blocks that rest after a loss of state |
//! | `create`, `mapping`, `statics`, `expire`, `ahead` | new sessions, bindings and their ports, the end of sessions, and the memory for them |
//! | [`removal`] | mappings that the operator takes away |
//! | [`event`], `reports` | what the log is told; limits that are reached, not each time |
//! | `index`, `records`, `wheel`, `slab`, `bindings` (of `binding`), `blocks`, `subscribers`, `permissions` | one table each |
//! | [`fragments`] | datagrams of which fragments come one by one |
//! | [`tcp`] | the TCP machine and the timers |
#![deny(unsafe_code)]

mod ahead;
mod arena;
mod binding;
mod bindings;
mod blocks;
mod compile;
pub mod config;
mod create;
pub mod deterministic;
pub mod engine;
pub mod error;
pub mod event;
mod exhausted;
mod expire;
pub mod fragments;
mod hash;
mod index;
pub mod key;
mod mapping;
mod permissions;
mod ports;
pub mod quarantine;
mod ranges;
pub mod record;
mod records;
pub mod removal;
mod reports;
mod reserved;
mod search;
pub mod shared;
mod slab;
pub mod spec;
mod statics;
mod subscribers;
mod tables;
pub mod tcp;
mod toeplitz;
pub mod types;
mod wheel;

pub use config::{Config, Outbound};
pub use deterministic::{Deterministic, DeterministicError};
pub use engine::{Engine, EngineStats, Flow};
pub use error::ConfigError;
pub use event::{Event, Events, Quota, SessionEnds};
pub use fragments::{Arrival, Chain, DatagramKey, Fate, Fragments, Piece};
pub use key::{InboundKey, InboundTuple, OutboundKey, OutboundTuple};
pub use quarantine::{Quarantine, Remains, UnitBits};
pub use record::{Fixed, Hot, Outside, Route, Session, SessionView};
pub use removal::{Removal, Removed};
pub use search::Search;
pub use shared::{ExternalOwner, Geometry, Shared};
pub use spec::{
    Algorithm, DeterministicSpec, Filtering, FragmentSpec, Limits, LogSpec, Pairing, PoolSpec, PortSet,
    RuleSpec, Spec, StaticSpec, Timers,
};
pub use tcp::{TcpState, TimerClass};
pub use types::{Direction, Kind, KindRealm, Protocol, SessionIndex, TICKS_PER_SECOND, Tick, WorkerId};
