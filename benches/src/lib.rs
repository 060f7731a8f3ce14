//! Benchmarks, and the yardstick they are compared with.
//!
//! A cycle count says little on its own: it changes with the machine, its memory and its neighbours. So each result stands
//! beside the [`yardstick`] of the same run, the least that any flow table of this shape has to pay for memory.
//!
//! | module | what |
//! | --- | --- |
//! | [`hardware`] | cycle counter, prefetch, advice on pages: all `unsafe` of this crate |
//! | [`random`] | numbers that are the same in every run |
//! | [`meter`] | what a workload is, and how one is measured |
//! | [`yardstick`] | the memory limit |
//! | [`flows`], [`population`], [`region`], [`frames`] | flows, an engine full of their sessions, its memory, and packets of them |
//! | [`established`] | the engine: look up, take note, translate |
//! | [`lookup`], [`rewrite`], [`checksum`], [`whole`] | parts of it alone, and all of it on packets that have to be read first |
//! | [`setup`], [`port`], [`expiry`], [`least`], [`memory`], [`handoff`], [`notices`] | everything that is not the packet of an established session |
//! | [`gateway`], [`reader`], [`listing`] | what `sluice sessions` costs the worker beside it, and how fast it is |
//! | [`io`] | the whole gateway with I/O, beside testpmd |
//! | [`suite`], [`machine`] | which rows are measured, and on what |
//! | [`report`], [`table`], [`document`], [`plot`] | results: files of JSON lines, and what is made of them |
//!
//! `cargo bench -p sluice-benches` runs the packet workloads under Criterion. `sluice-bench` measures all rows and prints them,
//! `sluice-bench report` makes documents of results, `sluice-bench sessions` is about [`listing`], `sluice-bench io` about [`io`].
#![deny(unsafe_code)]

pub mod checksum;
pub mod document;
pub mod error;
pub mod established;
pub mod expiry;
pub mod flows;
pub mod frames;
pub mod gateway;
pub mod handoff;
pub mod hardware;
pub mod io;
pub mod least;
pub mod listing;
pub mod lookup;
pub mod machine;
pub mod memory;
pub mod meter;
pub mod notices;
pub mod plot;
pub mod population;
pub mod port;
pub mod random;
pub mod reader;
pub mod region;
pub mod report;
pub mod rewrite;
pub mod setup;
pub mod suite;
pub mod table;
pub mod whole;
pub mod worker;
pub mod yardstick;

pub use error::Error;
pub use flows::Flows;
pub use meter::{BATCH, Meter, PACKETS_PER_RUN, RING, Run, Workload};
pub use population::{Arrival, Population};
pub use random::Random;
pub use report::Report;
pub use suite::SIZES;
pub use yardstick::Yardstick;
