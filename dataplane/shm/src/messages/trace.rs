//! Trace records: the way of one packet through one thread, stage by stage.

use sluice_packet::reason::{DropReason, PuntReason};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Message, MessageError};

/// Stages that a record holds. Later ones are not recorded.
pub const MAX_STAGES: usize = 24;

/// Bytes of a packet that a record holds.
pub const MAX_CAPTURE: usize = 128;

/// In place of an interface: none.
pub const NO_INTERFACE: u16 = u16::MAX;

/// Declares the stages: variant, stable name, and one line of documentation.
macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// A stage of a packet's way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Stage { $($(#[doc = $doc])+ $variant,)+ }

        impl Stage {
            /// Every stage, in code order.
            pub const ALL: &'static [Stage] = &[$(Stage::$variant,)+];

            /// The name that a person reads.
            pub const fn name(self) -> &'static str {
                match self { $(Stage::$variant => $text,)+ }
            }

            /// From the code of a record.
            pub fn from_code(code: u8) -> Option<Self> { Self::ALL.get(usize::from(code)).copied() }
        }

        impl core::fmt::Display for Stage {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.pad(self.name()) }
        }
    };
}

stages! {
    /// Taken from a receive queue, a hand-off ring or a TAP twin.
    Receive = "receive",
    /// Headers read.
    Parse = "parse",
    /// Decided whether it is translated, routed or punted.
    Classify = "classify",
    /// Looked for in the outbound index.
    LookupOutbound = "lookup-outbound",
    /// Looked for in the inbound index.
    LookupInbound = "lookup-inbound",
    /// A session was made, or refused.
    NewSession = "new-session",
    /// A session was found and refreshed.
    Established = "established",
    /// The owner was computed.
    Steer = "steer",
    /// Handed to another worker.
    HandOff = "hand-off",
    /// Turned around to the inside.
    Hairpin = "hairpin",
    /// Next hop found.
    Route = "route",
    /// Held against the MTU of the way out.
    Mtu = "mtu",
    /// Headers rewritten.
    Translate = "translate",
    /// An ICMP error was asked for.
    IcmpError = "icmp-error",
    /// A packet was made.
    Generate = "generate",
    /// Given to a transmit queue.
    Transmit = "transmit",
    /// Given to the kernel.
    Punt = "punt",
    /// Dropped.
    Drop = "drop",
}

/// A stage that a packet passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StageMark {
    /// Code of the [`Stage`].
    pub stage: u8,
    /// Always 0.
    pub spare: [u8; 3],
    /// A number that the stage knows: session, worker, next hop, MTU.
    pub info: u32,
    /// Nanoseconds since the record's time.
    pub offset_ns: u32,
}

/// Where a traced packet ended, as far as the recording thread saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEnd {
    /// Transmitted.
    Transmit,
    /// Given to the kernel.
    Punt(PuntReason),
    /// Dropped.
    Drop(DropReason),
    /// Handed to another worker, by number.
    HandOff(u8),
    /// Waits for its next hop to be resolved; it is taken up again, as another record, or dropped.
    Held,
}

impl TraceEnd {
    const fn codes(self) -> (u8, u8) {
        match self {
            Self::Transmit => (1, 0),
            Self::Punt(reason) => (2, reason.index() as u8),
            Self::Drop(reason) => (3, reason.index() as u8),
            Self::HandOff(worker) => (4, worker),
            Self::Held => (5, 0),
        }
    }

    fn from_codes(end: u8, reason: u8) -> Option<Self> {
        match end {
            1 => Some(Self::Transmit),
            2 => PuntReason::from_index(reason.into()).map(Self::Punt),
            3 => DropReason::from_index(reason.into()).map(Self::Drop),
            4 => Some(Self::HandOff(reason)),
            5 => Some(Self::Held),
            _ => None,
        }
    }
}

/// The way of one packet. Filled by a worker, so it allocates nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TraceRecord {
    /// `CLOCK_BOOTTIME` when the packet was taken up.
    pub time_ns: u64,
    /// Number of the trace.
    pub id: u32,
    /// Logical interface that it came in on, or [`NO_INTERFACE`].
    pub interface_in: u16,
    /// Logical interface that it went out of, or [`NO_INTERFACE`].
    pub interface_out: u16,
    /// Whole length of the packet that came in.
    pub before_full: u16,
    /// Whole length of the packet that went out.
    pub after_full: u16,
    /// Thread that recorded it.
    pub worker: u8,
    /// Stages in `stages`.
    pub stage_count: u8,
    /// Bytes in `before`.
    pub before_len: u8,
    /// Bytes in `after`.
    pub after_len: u8,
    end: u8,
    reason: u8,
    spare: [u8; 6],
    /// The stages.
    pub stages: [StageMark; MAX_STAGES],
    /// The packet's first bytes as it came in, from the Ethernet header on.
    pub before: [u8; MAX_CAPTURE],
    /// Its first bytes as it went out.
    pub after: [u8; MAX_CAPTURE],
}

const _: () = assert!(size_of::<TraceRecord>() == 576);

impl TraceRecord {
    /// A record without stages and end.
    pub fn new(id: u32, worker: u8, interface_in: u16, time_ns: u64) -> Self {
        let mut record = Self::new_zeroed();
        record.id = id;
        record.worker = worker;
        record.interface_in = interface_in;
        record.interface_out = NO_INTERFACE;
        record.time_ns = time_ns;
        record
    }

    /// Appends a stage, if there is room.
    pub fn mark(&mut self, stage: Stage, info: u32, now_ns: u64) {
        if let Some(mark) = self.stages.get_mut(usize::from(self.stage_count)) {
            let offset_ns = now_ns.saturating_sub(self.time_ns).min(u32::MAX.into()) as u32;
            *mark = StageMark { stage: stage as u8, spare: [0; 3], info, offset_ns };
            self.stage_count += 1;
        }
    }

    /// Keeps the first bytes of the packet as it came in.
    pub fn set_before(&mut self, packet: &[u8]) {
        (self.before_len, self.before_full) = capture(&mut self.before, packet);
    }

    /// Keeps the first bytes of the packet as it goes out.
    pub fn set_after(&mut self, packet: &[u8]) {
        (self.after_len, self.after_full) = capture(&mut self.after, packet);
    }

    /// Says where the packet ended.
    pub fn finish(&mut self, end: TraceEnd) {
        (self.end, self.reason) = end.codes();
    }

    /// Where the packet ended; `None` if [`TraceRecord::finish`] was not called.
    pub fn end(&self) -> Option<TraceEnd> {
        TraceEnd::from_codes(self.end, self.reason)
    }

    /// Stage, its number and nanoseconds since the record's time, in order.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, u32, u32)> {
        let marks = self.stages.iter().take(self.stage_count.into());
        marks.filter_map(|mark| Some((Stage::from_code(mark.stage)?, mark.info, mark.offset_ns)))
    }

    /// First bytes of the packet as it came in.
    pub fn before(&self) -> &[u8] {
        &self.before[..usize::from(self.before_len).min(MAX_CAPTURE)]
    }

    /// First bytes of the packet as it went out; empty if it did not.
    pub fn after(&self) -> &[u8] {
        &self.after[..usize::from(self.after_len).min(MAX_CAPTURE)]
    }
}

fn capture(into: &mut [u8; MAX_CAPTURE], packet: &[u8]) -> (u8, u16) {
    let length = packet.len().min(MAX_CAPTURE);
    into[..length].copy_from_slice(&packet[..length]);
    (length as u8, packet.len().min(u16::MAX.into()) as u16)
}

impl Message for TraceRecord {
    type Wire = Self;

    fn to_wire(&self) -> Self {
        *self
    }

    fn from_wire(wire: &Self) -> Result<Self, MessageError> {
        let bounds = [
            ("stage_count", wire.stage_count, MAX_STAGES),
            ("before_len", wire.before_len, MAX_CAPTURE),
            ("after_len", wire.after_len, MAX_CAPTURE),
        ];
        for (field, value, most) in bounds {
            if usize::from(value) > most {
                return Err(MessageError::Field { field, value: value.into(), most: most as u64 });
            }
        }
        let marks = &wire.stages[..usize::from(wire.stage_count)];
        if let Some(mark) = marks.iter().find(|mark| Stage::from_code(mark.stage).is_none()) {
            let most = Stage::ALL.len() as u64 - 1;
            return Err(MessageError::Field { field: "stage", value: mark.stage.into(), most });
        }
        if wire.end != 0 && wire.end().is_none() {
            return Err(MessageError::Field { field: "end", value: wire.end.into(), most: 5 });
        }
        Ok(*wire)
    }
}
