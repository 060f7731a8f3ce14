//! A packet generator that understands stateful translators, small edition: one thread, two ports, every frame verified.
//!
//! ```text
//!              inside port                          outside port
//!  initiator ──────────────▶  device under test  ──────────────▶ responder
//!            ◀──────────────                     ◀──────────────
//! ```
//!
//! The initiator sends UDP flows; the responder learns the external address and port of each and answers to those only
//! (RFC 9693). Frames carry a signature, so that loss, duplicates, order, delay and every wrong byte show per flow.
//!
//! | module | what |
//! | --- | --- |
//! | [`cli`] | the command line, and what it means: a [`plan::Plan`] |
//! | [`plan`], [`hosts`] | which flow has which addresses and ports |
//! | [`signature`], [`template`] | frames, built by patching one per direction |
//! | [`received`], [`fault`] | frames as they come back, and what can be wrong with one |
//! | [`verify`], [`window`], [`histogram`] | judgement of each frame, flow by flow, and the numbers that follow |
//! | [`neighbour`] | ARP and ND: answers, and the gateway's MAC address |
//! | [`pace`] | when the next frame is due |
//! | [`side`], [`run`] | DPDK ports, and the loop over them |
//! | [`report`] | what comes out |
//!
//! All but `side` and `run` are pure: no DPDK, no clock.

pub mod cli;
pub mod fault;
pub mod histogram;
pub mod hosts;
pub mod neighbour;
pub mod pace;
pub mod plan;
pub mod received;
pub mod report;
pub mod run;
pub mod side;
pub mod signature;
pub mod strangers;
pub mod template;
pub mod verify;
pub mod window;
