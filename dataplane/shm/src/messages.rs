//! What travels through the rings. Every message has a fixed size and is checked when it is read.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod command;
mod notice;
mod reply;
mod trace;

pub use command::{Command, NeighbourState, Request, TraceFilter};
pub use notice::Notice;
pub use reply::{MAX_REPLY_TEXT, Reply};
pub use trace::{MAX_CAPTURE, MAX_STAGES, NO_INTERFACE, Stage, StageMark, TraceEnd, TraceRecord};

/// A message of a ring.
pub trait Message: Sized {
    /// Its form in a slot: fixed size, a multiple of 8 bytes, any bytes are some value.
    type Wire: FromBytes + IntoBytes + Immutable + KnownLayout + Copy;

    /// Into a slot.
    fn to_wire(&self) -> Self::Wire;

    /// Out of a slot that anyone may have written.
    ///
    /// # Errors
    ///
    /// [`MessageError`] for bytes that no [`Message::to_wire`] makes.
    fn from_wire(wire: &Self::Wire) -> Result<Self, MessageError>;
}

/// Why the bytes of a slot are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No message has this number.
    #[error(
        "message kind {0} is unknown: control and dataplane are of different builds, or the ring is damaged"
    )]
    Kind(u16),
    /// A field has a value that it cannot have.
    #[error("field `{field}` of a message is {value}, at most {most} was expected: the ring is damaged")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The largest it may have.
        most: u64,
    },
}

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// IPv6, else IPv4.
    pub ipv6: bool,
    /// The number that its text means; IPv4 in the low 32 bits.
    pub value: u128,
}

impl Address {
    /// An IPv4 address.
    pub const fn v4(value: u32) -> Self {
        Self { ipv6: false, value: value as u128 }
    }

    /// An IPv6 address.
    pub const fn v6(value: u128) -> Self {
        Self { ipv6: true, value }
    }

    /// As the standard library has it.
    pub const fn to_ip(self) -> IpAddr {
        if self.ipv6 {
            IpAddr::V6(Ipv6Addr::from_bits(self.value))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(self.value as u32))
        }
    }

    fn from_wire(family: u8, value: [u64; 2]) -> Result<Self, MessageError> {
        let value = join(value);
        match family {
            0 if value > u128::from(u32::MAX) => {
                Err(MessageError::Field { field: "address", value: value as u64, most: u64::from(u32::MAX) })
            }
            0 | 1 => Ok(Self { ipv6: family == 1, value }),
            _ => Err(MessageError::Field { field: "family", value: family.into(), most: 1 }),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::v4(address.to_bits()),
            IpAddr::V6(address) => Self::v6(address.to_bits()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_ip(), f)
    }
}

/// An address in two words, high first: a `u128` would make the slot 16-byte aligned.
const fn split(value: u128) -> [u64; 2] {
    [(value >> 64) as u64, value as u64]
}

const fn join(words: [u64; 2]) -> u128 {
    (words[0] as u128) << 64 | words[1] as u128
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
