//! The state of a translator: sessions, bindings, ports, subscribers, TCP tracking, timers. No I/O and no clock of its own.

pub mod record;
pub mod spec;
pub mod types;

pub use record::{Fixed, Hot, Route, Session, SessionView};
pub use spec::{Filtering, Limits, PoolSpec, RuleSpec, Spec, StaticSpec, Timers};
pub use types::{Direction, Kind, KindRealm, Protocol, SessionIndex, Tick, TICKS_PER_SECOND, WorkerId};
