//! The packet process of Sluice, as a library: `main.rs` only reads the command line.
//!
//! | module | what |
//! | --- | --- |
//! | [`process`] | the main thread: commands, configurations, neighbours, heartbeat |
//! | [`topology`], [`ports`] | queues, rings and threads, built and taken down as a whole; ports, which may outlive them |
//! | [`setup`], [`router`], [`nexthop`] | a configuration as workers use it; routes; neighbours |
//! | [`worker`] | the poll loop and its stages |
//! | [`parcel`], [`punt`], [`tap`] | what travels between threads; the thread that speaks to the kernel |
//! | [`clock`], [`ident`] | time, IPv4 identification |

pub mod clock;
pub mod ident;
pub mod nexthop;
pub mod parcel;
pub mod ports;
pub mod process;
pub mod punt;
pub mod router;
pub mod setup;
pub mod tap;
pub mod topology;
pub mod worker;
