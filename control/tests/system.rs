//! `control::system` against the real kernel.
//!
//! Needs root. Every test runs in a network namespace of its own thread, which has no name and vanishes with the
//! thread, so that tests may run beside each other, twice at once, and leave nothing behind when they fail.
#![allow(clippy::unwrap_used, reason = "the helpers of tests panic like the tests themselves")]

#[path = "system/dataplane.rs"]
mod dataplane;
#[path = "system/fence.rs"]
mod fence;
#[path = "system/neighbours.rs"]
mod neighbours;
#[path = "system/ports.rs"]
mod ports;
#[path = "system/taps.rs"]
mod taps;
#[path = "system/twins.rs"]
mod twins;
#[path = "system/world.rs"]
mod world;
#[path = "system/xdp.rs"]
mod xdp;
