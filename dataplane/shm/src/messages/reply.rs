//! Replies: dataplane to control, one for each command but those about neighbours, which come by the thousand.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Message, MessageError};

/// Bytes of text that a reply holds. Longer text is cut.
pub const MAX_REPLY_TEXT: usize = 1000;

/// The dataplane's answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done {
        /// Number of the command.
        sequence: u32,
    },
    /// Not done, and nothing has changed, unless the text says otherwise.
    Refused {
        /// Number of the command.
        sequence: u32,
        /// Why, for a person; at most [`MAX_REPLY_TEXT`] bytes arrive.
        message: String,
    },
    /// Every worker works with the new configuration.
    Applied {
        /// Number of the command.
        sequence: u32,
        /// Generation of the snapshot.
        generation: u64,
    },
    /// Every worker has looked through its sessions.
    Removed {
        /// Number of the command.
        sequence: u32,
        /// Sessions that were deleted.
        sessions: u64,
    },
}

impl Reply {
    /// Number of the command that is answered.
    pub fn sequence(&self) -> u32 {
        match self {
            Self::Done { sequence }
            | Self::Refused { sequence, .. }
            | Self::Applied { sequence, .. }
            | Self::Removed { sequence, .. } => *sequence,
        }
    }
}

/// A reply in its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReplyWire {
    kind: u16,
    length: u16,
    sequence: u32,
    generation: u64,
    text: [u8; MAX_REPLY_TEXT],
    sessions: u64,
}

const _: () = assert!(size_of::<ReplyWire>() == 1024);

const DONE: u16 = 1;
const REFUSED: u16 = 2;
const APPLIED: u16 = 3;
const REMOVED: u16 = 4;

impl Message for Reply {
    type Wire = ReplyWire;

    fn to_wire(&self) -> ReplyWire {
        let mut wire = ReplyWire::new_zeroed();
        wire.sequence = self.sequence();
        wire.kind = match self {
            Self::Done { .. } => DONE,
            Self::Refused { message, .. } => {
                let length = message.floor_char_boundary(MAX_REPLY_TEXT);
                wire.text[..length].copy_from_slice(&message.as_bytes()[..length]);
                wire.length = length as u16;
                REFUSED
            }
            Self::Applied { generation, .. } => {
                wire.generation = *generation;
                APPLIED
            }
            Self::Removed { sessions, .. } => {
                wire.sessions = *sessions;
                REMOVED
            }
        };
        wire
    }

    fn from_wire(wire: &ReplyWire) -> Result<Self, MessageError> {
        let sequence = wire.sequence;
        match wire.kind {
            DONE => Ok(Self::Done { sequence }),
            REFUSED => {
                let text = wire.text.get(..wire.length.into()).ok_or(MessageError::Field {
                    field: "length",
                    value: wire.length.into(),
                    most: MAX_REPLY_TEXT as u64,
                })?;
                // What a person reads need not be refused for a bad byte. What stands for one is longer than it was.
                let mut message = String::from_utf8_lossy(text).into_owned();
                message.truncate(message.floor_char_boundary(MAX_REPLY_TEXT));
                Ok(Self::Refused { sequence, message })
            }
            APPLIED => Ok(Self::Applied { sequence, generation: wire.generation }),
            REMOVED => Ok(Self::Removed { sequence, sessions: wire.sessions }),
            kind => Err(MessageError::Kind(kind)),
        }
    }
}
