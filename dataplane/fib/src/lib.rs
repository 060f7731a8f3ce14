//! Longest-prefix match for IPv4 and IPv6: the forwarding table of the dataplane.
//!
//! A multibit trie with a root of 2^24 entries and chunks of 2^8 below it, all of them atomic 32-bit words in one array.
//! An IPv4 lookup reads one or two words; an IPv6 lookup one more for every eight bits after the first 24. One
//! [`Writer`] changes a table, any number of readers look up in the same [`Fib`] without a lock and never see a route
//! half changed. A compressed trie would need a tenth of the memory, but two to three times the dependent
//! reads a lookup; the array's pages are touched only where routes are, so small tables stay small anyway.
//!
//! How many there are: one [`Fib4`] and one [`Fib6`] per routing table, each with exactly one writer; each worker holds
//! an `Arc` of both.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `address.rs` | what the trie needs to know of `u32` and `u128` |
//! | `prefix.rs` | [`Prefix4`] and [`Prefix6`], checked, printed and parsed |
//! | `entry.rs` | [`Target`] and the layout of a 32-bit entry |
//! | `arena.rs` | zeroed memory and prefetch: all `unsafe` of the crate |
//! | `fib.rs` | the readers' side: single and batched lookups |
//! | `writer.rs` | the writer's side: insert, remove, reclaim |
//! | `chunks.rs` | which chunks are free, in use, or waiting for readers to leave |
//! | `rib.rs` | the routes as they were given, to find what a withdrawn one uncovers |
//!
//! ```
//! use sluice_fib::{Config, Fib4, Target, Writer4};
//!
//! let mut writer = Writer4::new(Fib4::new(Config::default()));
//! let fib = writer.fib();
//! let upstream = Target::new(7).ok_or("more than 30 bits")?;
//! writer.insert("192.0.2.0/24".parse()?, upstream)?;
//! assert_eq!(fib.lookup(0xc000_0201), Some(upstream));
//! assert_eq!(fib.lookup(0xc000_0301), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod address;
mod arena;
mod chunks;
mod entry;
mod fib;
mod prefix;
mod rib;
mod writer;

pub use address::Address;
pub use chunks::{Full, Mark};
pub use entry::Target;
pub use fib::{BATCH, Config, Fib, Fib4, Fib6};
pub use prefix::{Prefix, Prefix4, Prefix6, PrefixError};
pub use writer::{Stats, Writer, Writer4, Writer6};
