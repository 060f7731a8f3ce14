//! Packets as bytes: header views, checksums, RFC 7915 translation, ICMP errors.
//!
//! Everything here is a pure function on bytes: no clock, no allocation, no state, and no input that panics.
//! A packet's way: [`link`] and [`parse`] turn a frame into a [`Meta`]; the NAT engine decides; [`six_to_four`],
//! [`four_to_six`] and [`four_to_four`] rewrite data packets in a few loads and stores; [`quoted`] and the `error_*`
//! functions do the same for ICMP errors; [`make_error`] writes the gateway's own.
//!
//! Addresses are integers in host order, IPv4 in the low 32 bits where both families meet; so are ports.
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod cut;
pub mod ethernet;
pub mod frame;
pub mod icmp_error;
pub mod icmp_make;
pub mod icmp_map;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod message;
pub mod meta;
pub mod mss;
mod parse;
pub mod plain;
pub mod prefix64;
pub mod proxy;
pub mod reason;
pub mod remark;
pub mod tcp;
pub mod translate;
pub mod udp;
mod view;

pub use checksum::Delta;
pub use ethernet::{Link, link};
pub use frame::Frame;
pub use icmp_error::{
    ErrorRewrite, Quoted, error_four_to_four, error_four_to_six, error_six_to_four, error_six_to_six, quoted,
};
pub use icmp_make::{make_error, may_report};
pub use message::IcmpMessage;
pub use meta::{Family, Fragment, Head, Malformed, Meta, Transport};
pub use mss::clamp_mss;
pub use parse::parse;
pub use plain::{Ends, Plain, plain_four_to_four, plain_four_to_six, plain_six_to_four};
pub use prefix64::{
    Prefix64, Prefix64Error, is_global_v4, is_routable_unicast_v4, source_illegal_v4, source_illegal_v6,
};
pub use reason::{DropReason, PuntReason, Verdict};
pub use remark::Remark;
pub use translate::{
    DF_THRESHOLD, Endpoints, Rewrite, four_to_four, four_to_six, six_to_four, translated_len, transport_delta,
};

#[cfg(test)]
mod robust;
#[cfg(test)]
mod testing;
