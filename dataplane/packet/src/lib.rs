//! Packets as bytes: header views, checksums, RFC 7915 translation, ICMP errors.
#![forbid(unsafe_code)]

pub mod frame;
pub mod reason;

pub use frame::Frame;
pub use reason::{DropReason, PuntReason, Verdict};
