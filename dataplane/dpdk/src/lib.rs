//! A safe, small layer over DPDK, in the spirit of capsule: owned mbufs, bursts, and queues that have one owner.
//!
//! | module | what |
//! | --- | --- |
//! | [`eal`] | start and end of DPDK in this process; one [`Eal`] per process |
//! | [`thread`] | what makes a thread of ours an lcore; one [`RegisteredThread`] per worker |
//! | [`mempool`], [`mbuf`], [`burst`] | where packets live: [`Mempool`] → [`Mbuf`] → [`Burst`] |
//! | [`device`] | what the configuration calls a port: [`Device`] |
//! | [`port`], [`queue`] | [`Port`] is control, [`RxQueue`] and [`TxQueue`] are the packet path, one owner each |
//! | [`cycles`] | the time stamp counter |
//! | [`rss`] | hash functions and the Toeplitz hash in software |
//! | [`error`], [`log`] | errors that say what to do, with what the driver logged |
//!
//! Everything that DPDK allocates is kept alive by whoever uses it: queues hold their port, ports and pools hold EAL.
//! `unsafe` lives here and in `sluice-dpdk-sys`; a program above this crate needs none, except to pass mbufs through
//! rings as raw pointers.

pub mod burst;
pub mod cycles;
pub mod device;
pub mod eal;
pub mod error;
pub mod log;
pub mod mbuf;
pub mod mempool;
pub mod port;
pub mod queue;
pub mod rss;
pub mod thread;

pub use burst::Burst;
pub use cycles::cycles;
pub use device::{Device, DeviceError};
pub use eal::{Eal, EalArgs, Hugepages, LogLevel};
pub use error::Error;
pub use mbuf::Mbuf;
pub use mempool::{Mempool, MempoolConfig, SocketId};
pub use port::{Capabilities, Link, MacAddress, Port, PortConfig, PortStats, RssConfig};
pub use queue::{RxQueue, TxQueue};
pub use rss::{RssFunctions, toeplitz};
pub use thread::{RegisteredThread, current_lcore};
