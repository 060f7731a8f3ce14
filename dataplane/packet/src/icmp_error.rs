//! ICMP errors and the packets they quote.
//!
//! An error is about a packet that this gateway translated, so both the error and the quote must be brought back to
//! what the receiver knows. [`quoted`] verifies checksums and says which session the quote belongs to; the `error_*`
//! functions, which come after it, write the result. Between families the message is composed in a buffer of its own, at most 1280 bytes, because headers,
//! extensions and limits all change; within a family it is patched in place.
//!
//! A function that returns an error may have changed the frame: it is to be dropped.

use crate::checksum;
use crate::meta::{Family, Meta, Transport};
use crate::translate::Offsets;
use crate::{DropReason, Endpoints, Frame};

mod across;
mod interface;
mod quote;
mod within;

pub(crate) use across::{MAX_V4, MAX_V6};
pub use across::{error_four_to_six, error_six_to_four};
pub use within::{error_four_to_four, error_six_to_six};

/// The quoted packet as it is on the wire: what was sent, seen by the sender of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Family.
    pub family: Family,
    /// Transport: TCP, UDP or echo, nothing else has a session.
    pub transport: Transport,
    /// The protocol, or the last next header.
    pub protocol: u8,
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Source port, or the identifier of an echo.
    pub source_port: u16,
    /// Destination port, or the identifier of an echo.
    pub destination_port: u16,
    /// Type of a quoted echo, else zero.
    pub icmp_type: u8,
}

/// What an error shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRewrite {
    /// Source of the translated error.
    pub outer_source: u128,
    /// Its destination.
    pub outer_destination: u128,
    /// What the quoted packet shall show, in the target family.
    pub quoted: Endpoints,
    /// MTU of the IPv4 next-hop interface.
    pub mtu_v4: u16,
    /// MTU of the IPv6 next-hop interface.
    pub mtu_v6: u16,
    /// Whether the hop limit is counted down; the quoted one never is.
    pub decrement: bool,
    /// From IPv6 to IPv4: the address that the error came from, to be told in an extension (RFC 6791).
    pub origin: Option<u128>,
}

/// Reads the packet that an ICMP error quotes. The checksum of a quoted IPv4 header has to be right if `verify_header` says
/// so: some hosts quote headers that they have altered on the way up (RFC 5508, REQ-3a).
///
/// # Errors
/// [`DropReason::IcmpChecksum`], [`DropReason::IcmpQuoteMalformed`], [`DropReason::IcmpUntranslatable`] for types that
/// no translation passes, [`DropReason::ProtocolUnsupported`] for a quote without ports, [`DropReason::Fragment`].
pub fn quoted(frame: &[u8], meta: &Meta, verify_header: bool) -> Result<Quoted, DropReason> {
    if meta.transport != Transport::IcmpError {
        return Err(DropReason::IcmpUntranslatable);
    }
    if !meta.is_whole() {
        return Err(DropReason::Fragment);
    }
    let icmp =
        frame.get(usize::from(meta.l4)..usize::from(meta.end)).ok_or(DropReason::TransportMalformed)?;
    let parts = quote::split(meta.family, icmp)?;
    //= conformance ICMP-78
    let checksum = match meta.family {
        Family::V4 => checksum::of(icmp),
        Family::V6 => checksum::transport_v6(meta.source, meta.destination, meta.protocol, icmp),
    };
    if checksum != 0 {
        return Err(DropReason::IcmpChecksum);
    }
    let inner = quote::inner(meta.family, parts.quote, verify_header)?;
    Ok(Quoted {
        family: meta.family,
        transport: inner.transport,
        protocol: inner.protocol,
        source: inner.endpoints.source,
        destination: inner.endpoints.destination,
        source_port: inner.endpoints.source_port,
        destination_port: inner.endpoints.destination_port,
        icmp_type: inner.icmp_type,
    })
}

/// What every error translation checks first.
fn open(frame: &Frame, meta: &Meta, family: Family) -> Result<Offsets, DropReason> {
    let at = Offsets::new(frame, meta, family)?;
    if meta.transport != Transport::IcmpError {
        return Err(DropReason::IcmpUntranslatable);
    }
    //= conformance FRAG-26
    if meta.is_whole() { Ok(at) } else { Err(DropReason::Fragment) }
}

#[cfg(test)]
mod tests;
