//! The states of RFC 6146, section 3.5.2, once more and differently, and how long they last.

use sluice_nat::{Direction, Protocol, TICKS_PER_SECOND, TcpState, Timers};

/// Flags of a segment.
pub const FIN: u8 = 1;
/// Begins a connection.
pub const SYN: u8 = 2;
/// Ends it at once.
pub const RST: u8 = 4;
/// Acknowledges something.
pub const ACK: u8 = 16;

/// Whether no stack sends such a segment.
pub fn is_illegal(flags: u8) -> bool {
    flags & 0x3f == 0 || flags & SYN != 0 && flags & (FIN | RST) != 0
}

/// Whether a segment may open a connection.
pub fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// State of a session that a packet of this direction opens.
pub fn initial(protocol: Protocol, direction: Direction) -> TcpState {
    match (protocol, direction) {
        (Protocol::Tcp, Direction::Outbound) => TcpState::InsideInit,
        (Protocol::Tcp, Direction::Inbound) => TcpState::OutsideInit,
        _ => TcpState::None,
    }
}

/// What a legal segment does to a state: the next one, and whether the session's time begins anew.
pub fn step(state: TcpState, direction: Direction, flags: u8) -> (TcpState, bool) {
    let rst = flags & RST != 0;
    let (syn, fin) = (flags & SYN != 0 && !rst, flags & FIN != 0 && !rst);
    let outbound = direction == Direction::Outbound;
    match state {
        TcpState::None => (state, true),
        TcpState::InsideInit if syn && outbound => (state, true),
        TcpState::InsideInit if syn => (TcpState::Established, true),
        TcpState::OutsideInit if syn && outbound => (TcpState::Established, true),
        TcpState::InsideInit | TcpState::OutsideInit => (state, false),
        TcpState::Established if rst => (TcpState::Transitory, true),
        TcpState::Established if fin && outbound => (TcpState::InsideFin, true),
        TcpState::Established if fin => (TcpState::OutsideFin, true),
        TcpState::Established => (state, true),
        TcpState::InsideFin if fin && !outbound => (TcpState::BothFin, true),
        TcpState::OutsideFin if fin && outbound => (TcpState::BothFin, true),
        TcpState::InsideFin | TcpState::OutsideFin => (state, true),
        TcpState::BothFin if opens(flags) && outbound => (TcpState::InsideInit, true),
        TcpState::BothFin => (state, false),
        TcpState::Transitory if rst => (state, false),
        TcpState::Transitory => (TcpState::Established, true),
    }
}

/// Ticks from the last packet that counted to the end: a tick more than the seconds of the timer, for no session ends early.
pub fn life(protocol: Protocol, state: TcpState, timers: &Timers) -> u32 {
    let seconds = match (protocol, state) {
        (Protocol::Udp, _) => timers.udp,
        (Protocol::Icmp, _) => timers.icmp,
        (_, TcpState::InsideInit | TcpState::OutsideInit) => timers.tcp_opening,
        (_, TcpState::Established | TcpState::InsideFin | TcpState::OutsideFin) => timers.tcp_established,
        _ => timers.tcp_transitory,
    };
    seconds * TICKS_PER_SECOND + 1
}
