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
//! | [`population`], [`frames`] | an engine full of sessions, and packets of them |
//! | [`lookup`], [`rewrite`], [`whole`], [`checksum`] | workloads: the engine, the rewrite, both on packets, checksums alone |
//! | [`gateway`], [`reader`], [`listing`] | what `sluice sessions` costs the worker beside it, and how fast it is |
//! | [`suite`], [`report`], [`machine`] | the table: which rows, what they say, on what they were measured |
//!
//! `cargo bench -p sluice-benches` runs the workloads under Criterion, `sluice-bench` prints the table, and `sluice-bench
//! sessions` that of [`listing`].
#![deny(unsafe_code)]

pub mod checksum;
pub mod error;
pub mod frames;
pub mod gateway;
pub mod hardware;
pub mod listing;
pub mod lookup;
pub mod machine;
pub mod meter;
pub mod population;
pub mod random;
pub mod reader;
pub mod report;
pub mod rewrite;
pub mod suite;
pub mod whole;
pub mod worker;
pub mod yardstick;

pub use error::Error;
pub use meter::{BATCH, Meter, PACKETS_PER_RUN, RING, Run, Workload};
pub use population::Population;
pub use random::Random;
pub use report::Report;
pub use yardstick::Yardstick;

/// Sessions of the benchmarks: lines that fit the second-level cache, the third, and neither on most machines.
pub const SIZES: [u32; 3] = [1 << 10, 1 << 16, 1 << 20];
