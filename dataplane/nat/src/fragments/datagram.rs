//! One datagram of which fragments have come.

use sluice_packet::Head;

use super::{DatagramKey, NONE};
use crate::types::Tick;

/// Fragments that a datagram may have: the longest one over links of 576 bytes.
const MOST: usize = 128;

/// What is known of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its first fragment has not come, or it waits for the last.
    Headless,
    /// Its first fragment has come and gone on.
    Open,
    /// Nothing of it goes on any more.
    Refused,
}

/// The kinds of datagrams that share the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Headless = 0,
    Open = 1,
    Refused = 2,
}

/// What a fragment is beside those that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// A part that was missing.
    New,
    /// Exactly one that has come before.
    Known,
    /// Something that has come before, in part or otherwise cut; or more than the last fragment left.
    Overlaps,
    /// One more than a datagram may have.
    TooMany,
}

/// A datagram.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) key: DatagramKey,
    /// Next in the bucket, or next free one.
    pub(super) next: u32,
    pub(super) bucket: u32,
    pub(super) older: u32,
    pub(super) younger: u32,
    /// First of the fragments that wait.
    pub(super) waiting: u32,
    pub(super) since: Tick,
    pub(super) head: Option<Head>,
    pub(super) waited: u16,
    pub(super) source: u16,
    pub(super) state: State,
    /// The list that it is in.
    pub(super) filed: Shape,
    pub(super) together: bool,
    /// Length, once the last fragment has come.
    length: Option<u32>,
    /// Bytes that have come.
    covered: u32,
    count: u16,
    /// Offset in units of 8 bytes and length in bytes of each fragment that has come.
    parts: [(u16, u16); MOST],
}

impl Datagram {
    /// A free place. Not all zero, so that its memory is there.
    pub(super) const fn free(next: u32) -> Self {
        let key = DatagramKey { source: 0, destination: 0, rest: u64::MAX };
        Self {
            key,
            next,
            bucket: NONE,
            older: NONE,
            younger: NONE,
            waiting: NONE,
            since: Tick(0),
            head: None,
            waited: 0,
            source: 0,
            state: State::Refused,
            filed: Shape::Headless,
            together: false,
            length: None,
            covered: 0,
            count: 0,
            parts: [(0, 0); MOST],
        }
    }

    pub(super) const fn new(key: DatagramKey, bucket: u32, source: u16, since: Tick, next: u32) -> Self {
        Self { key, bucket, source, since, state: State::Headless, ..Self::free(next) }
    }

    pub(super) fn shape(&self) -> Shape {
        match self.state {
            State::Open => Shape::Open,
            State::Headless => Shape::Headless,
            State::Refused => Shape::Refused,
        }
    }

    /// Notes a part. Parts that overlap are refused whatever they hold: what the receiver would make of them is what attacks
    /// are made of.
    pub(super) fn add(&mut self, offset: u16, len: u16, last: bool) -> Extent {
        let begin = u32::from(offset) * 8;
        let end = begin + u32::from(len);
        let parts = &self.parts[..usize::from(self.count)];
        let end_of = |&(other, len): &(u16, u16)| u32::from(other) * 8 + u32::from(len);
        let another_end = self.length.is_some_and(|length| end > length || (last && end != length));
        if another_end || last && parts.iter().any(|part| end_of(part) > end) {
            return Extent::Overlaps;
        }
        for part in parts {
            if *part == (offset, len) {
                return Extent::Known;
            }
            if begin < end_of(part) && u32::from(part.0) * 8 < end {
                return Extent::Overlaps;
            }
        }
        let Some(place) = self.parts.get_mut(usize::from(self.count)) else { return Extent::TooMany };
        *place = (offset, len);
        self.count += 1;
        self.covered += u32::from(len);
        if last {
            self.length = Some(end);
        }
        Extent::New
    }

    /// Whether all parts have come.
    pub(super) fn is_complete(&self) -> bool {
        self.length == Some(self.covered)
    }

    /// Length of the whole, if it is known.
    pub(super) fn total(&self) -> Option<u16> {
        self.length.and_then(|length| u16::try_from(length).ok())
    }
}
