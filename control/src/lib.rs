//! Configuration, the control daemon and the `sluice` command.
//!
//! Control never touches a packet and never links DPDK: it reads the operator's file, asks the kernel for what the
//! box needs ([`system`]), and talks to the dataplane through the shared memory of `sluice-shm` only.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
mod logging;
pub mod system;
