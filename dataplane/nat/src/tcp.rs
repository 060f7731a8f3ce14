//! The TCP machine and the timers, as tables.
//!
//! The machine follows connections only as far as lifetimes need it (RFC 6146, section 3.5.2): `V6` is the inside, `V4` the
//! outside, for NAT44 as well (N44-06). No sequence numbers are tracked (N64-TCP-41), so no segment is refused for its state.

use crate::spec::Timers;
use crate::types::{Direction, Protocol, TICKS_PER_SECOND};

/// State of a session, as stored in its hot word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TcpState {
    /// Not TCP.
    None = 0,
    /// SYN seen from inside.
    InsideInit = 1,
    /// SYN seen from outside.
    OutsideInit = 2,
    /// SYN seen from both sides.
    Established = 3,
    /// Established, FIN seen from outside.
    OutsideFin = 4,
    /// Established, FIN seen from inside.
    InsideFin = 5,
    /// FIN seen from both sides.
    BothFin = 6,
    /// RST seen, or idle for the time of an established session.
    Transitory = 7,
}

impl TcpState {
    /// From the byte of a record.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::InsideInit,
            2 => Self::OutsideInit,
            3 => Self::Established,
            4 => Self::OutsideFin,
            5 => Self::InsideFin,
            6 => Self::BothFin,
            7 => Self::Transitory,
            _ => Self::None,
        }
    }

    /// The timer that runs in this state.
    pub(crate) const fn timer(self) -> TimerClass {
        match self {
            Self::None => TimerClass::Udp,
            //= conformance N64-TCP-12
            Self::InsideInit | Self::OutsideInit => TimerClass::TcpOpening,
            Self::Established | Self::OutsideFin | Self::InsideFin => TimerClass::TcpEstablished,
            Self::BothFin | Self::Transitory => TimerClass::TcpTransitory,
        }
    }
}

/// Which timer runs, as stored in the hot word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TimerClass {
    /// UDP.
    Udp = 1,
    /// ICMP queries.
    Icmp = 2,
    /// TCP before both SYNs.
    TcpOpening = 3,
    /// TCP while data may flow.
    TcpEstablished = 4,
    /// TCP after both FINs, a RST or a probe.
    TcpTransitory = 5,
    /// UDP of NAT44 to a port with a shorter timer.
    UdpShort = 6,
}

impl TimerClass {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Udp, Self::Icmp, Self::TcpOpening, Self::TcpEstablished, Self::TcpTransitory, Self::UdpShort];
}

/// What a segment is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Segment {
    Other = 0,
    Syn = 1,
    SynAck = 2,
    Fin = 3,
    Rst = 4,
    Illegal = 5,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Segment {
    /// RST before SYN before FIN; SYN with FIN or RST, and no flag at all, are no segments of any stack.
    //= conformance N64-TCP-36
    const fn of_flags(flags: u8) -> Self {
        if flags & 0x3f == 0 || flags & SYN != 0 && flags & (FIN | RST) != 0 {
            Self::Illegal
        } else if flags & RST != 0 {
            Self::Rst
        } else if flags & SYN != 0 {
            if flags & ACK != 0 { Self::SynAck } else { Self::Syn }
        } else if flags & FIN != 0 {
            Self::Fin
        } else {
            Self::Other
        }
    }

    #[inline(always)]
    pub(crate) fn from_flags(flags: u8) -> Self {
        SEGMENTS[usize::from(flags & 0x3f)]
    }
}

static SEGMENTS: [Segment; 64] = {
    let mut table = [Segment::Other; 64];
    let mut flags = 0;
    while flags < 64 {
        table[flags] = Segment::of_flags(flags as u8);
        flags += 1;
    }
    table
};

/// What a segment does: the state that follows, and whether the timer starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) state: TcpState,
    pub(crate) refresh: bool,
}

/// The step of one state, direction and segment.
//= conformance N44-06
const fn step(state: TcpState, direction: Direction, segment: Segment) -> Step {
    use Direction::{Inbound, Outbound};
    use Segment::{Fin, Rst, Syn, SynAck};
    use TcpState::{BothFin, Established, InsideFin, InsideInit, None, OutsideFin, OutsideInit, Transitory};
    let (state, refresh) = match (state, direction, segment) {
        (None, ..) => (None, true),
        //= conformance N64-TCP-15
        (InsideInit, Outbound, Syn | SynAck) => (InsideInit, true),
        //= conformance N64-TCP-13, N64-TCP-35
        (InsideInit, Inbound, Syn | SynAck) => (Established, true),
        //= conformance N64-TCP-16
        (InsideInit, ..) => (InsideInit, false),
        //= conformance N64-TCP-10, N64-TCP-35, N44-09
        (OutsideInit, Outbound, Syn | SynAck) => (Established, true),
        //= conformance N64-TCP-11
        (OutsideInit, ..) => (OutsideInit, false),
        //= conformance N64-TCP-17
        (Established, Inbound, Fin) => (OutsideFin, true),
        //= conformance N64-TCP-18
        (Established, Outbound, Fin) => (InsideFin, true),
        //= conformance N64-TCP-19, N44-07
        (Established, _, Rst) => (Transitory, true),
        //= conformance N64-TCP-20
        (Established, ..) => (Established, true),
        //= conformance N64-TCP-23
        (OutsideFin, Outbound, Fin) => (BothFin, true),
        //= conformance N64-TCP-24
        (OutsideFin, ..) => (OutsideFin, true),
        //= conformance N64-TCP-26
        (InsideFin, Inbound, Fin) => (BothFin, true),
        //= conformance N64-TCP-27
        (InsideFin, ..) => (InsideFin, true),
        //= conformance N64-TCP-37
        (BothFin, Outbound, Syn) => (InsideInit, true),
        //= conformance N64-TCP-29
        (BothFin, ..) => (BothFin, false),
        //= conformance N64-TCP-31
        (Transitory, _, Rst) => (Transitory, false),
        //= conformance N64-TCP-30, N64-TCP-42
        (Transitory, ..) => (Established, true),
    };
    Step { state, refresh }
}

static MACHINE: [Step; 8 * 2 * 8] = {
    let mut table = [Step { state: TcpState::None, refresh: false }; 128];
    let mut at = 0;
    while at < 128 {
        let direction = if at & 8 == 0 { Direction::Outbound } else { Direction::Inbound };
        let segment = match at & 7 {
            1 => Segment::Syn,
            2 => Segment::SynAck,
            3 => Segment::Fin,
            4 => Segment::Rst,
            _ => Segment::Other,
        };
        table[at] = step(TcpState::from_number((at >> 4) as u8), direction, segment);
        at += 1;
    }
    table
};

/// Looks a step up.
#[inline(always)]
pub(crate) fn advance(state: u8, direction: Direction, segment: Segment) -> Step {
    let inbound = matches!(direction, Direction::Inbound);
    MACHINE[usize::from(state & 7) << 4 | usize::from(inbound) << 3 | segment as usize]
}

/// Timers in ticks, by [`TimerClass`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    lifetime: [u32; 8],
    /// How far ahead a record of this class may be filed: its class may change to one with a shorter timer, and then the
    /// wheel has to look in time.
    horizon: [u32; 8],
}

impl Lifetimes {
    pub(crate) fn new(timers: &Timers) -> Self {
        // A tick more: the last packet came at some moment of its tick, and no timer may fire early (MAP-17).
        //= conformance MAP-17
        let ticks = |seconds: u32| seconds * TICKS_PER_SECOND + 1;
        let mut lifetime = [u32::MAX / 4; 8];
        for class in TimerClass::ALL {
            lifetime[class as usize] = ticks(timers.seconds(class));
        }
        let mut horizon = lifetime;
        let shortest = ticks(timers.tcp_opening.min(timers.tcp_transitory));
        for class in [TimerClass::TcpOpening, TimerClass::TcpEstablished, TimerClass::TcpTransitory] {
            horizon[class as usize] = shortest;
        }
        Self { lifetime, horizon }
    }

    /// Ticks from the last packet to expiry.
    #[inline]
    pub(crate) fn of(&self, class: u8) -> u32 {
        self.lifetime[usize::from(class & 7)]
    }

    /// Whether any record could be filed later than these timers want.
    pub(crate) fn is_shorter_than(&self, other: &Self) -> bool {
        let any = |own: &[u32], other: &[u32]| own.iter().zip(other).any(|(own, other)| own < other);
        any(&self.lifetime, &other.lifetime) || any(&self.horizon, &other.horizon)
    }

    /// Ticks from now at which to look, if `left` are left.
    #[inline]
    pub(crate) fn look_in(&self, class: u8, left: u32) -> u32 {
        left.min(self.horizon[usize::from(class & 7)])
    }
}

/// State and timer of a new session.
pub(crate) const fn initial(protocol: Protocol, direction: Direction) -> (TcpState, TimerClass) {
    match (protocol, direction) {
        (Protocol::Udp, _) => (TcpState::None, TimerClass::Udp),
        (Protocol::Icmp, _) => (TcpState::None, TimerClass::Icmp),
        //= conformance N64-TCP-01
        (Protocol::Tcp, Direction::Outbound) => (TcpState::InsideInit, TimerClass::TcpOpening),
        //= conformance N64-TCP-07
        (Protocol::Tcp, Direction::Inbound) => (TcpState::OutsideInit, TimerClass::TcpOpening),
    }
}

#[cfg(test)]
mod tests;
