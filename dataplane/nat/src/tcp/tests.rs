use super::*;
use Direction::{Inbound, Outbound};
use TcpState::{BothFin, Established, InsideFin, InsideInit, OutsideFin, OutsideInit, Transitory};

const SYN_ACK: u8 = SYN | ACK;
const FIN_ACK: u8 = FIN | ACK;
const RST_ACK: u8 = RST | ACK;

/// Row, state, direction, flags, state afterwards, timer restarted.
type Row = (&'static str, TcpState, Direction, u8, TcpState, bool);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("N64-TCP-10", OutsideInit, Outbound, SYN_ACK, Established, true),
    ("N64-TCP-10", OutsideInit, Outbound, SYN, Established, true),
    ("N64-TCP-11", OutsideInit, Inbound, RST, OutsideInit, false),
    ("N64-TCP-11", OutsideInit, Inbound, SYN, OutsideInit, false),
    ("N64-TCP-11", OutsideInit, Outbound, ACK, OutsideInit, false),
    ("N64-TCP-13", InsideInit, Inbound, SYN_ACK, Established, true),
    ("N64-TCP-13", InsideInit, Inbound, SYN, Established, true),
    ("N64-TCP-15", InsideInit, Outbound, SYN, InsideInit, true),
    ("N64-TCP-16", InsideInit, Inbound, RST_ACK, InsideInit, false),
    ("N64-TCP-16", InsideInit, Outbound, ACK, InsideInit, false),
    ("N64-TCP-17", Established, Inbound, FIN_ACK, OutsideFin, true),
    ("N64-TCP-18", Established, Outbound, FIN, InsideFin, true),
    ("N64-TCP-19", Established, Inbound, RST, Transitory, true),
    ("N64-TCP-19", Established, Outbound, RST_ACK, Transitory, true),
    ("N64-TCP-20", Established, Outbound, ACK, Established, true),
    ("N64-TCP-20", Established, Inbound, SYN, Established, true),
    ("N64-TCP-23", OutsideFin, Outbound, FIN_ACK, BothFin, true),
    ("N64-TCP-24", OutsideFin, Outbound, ACK, OutsideFin, true),
    ("N64-TCP-24", OutsideFin, Inbound, FIN_ACK, OutsideFin, true),
    ("N64-TCP-24", OutsideFin, Inbound, RST, OutsideFin, true),
    ("N64-TCP-26", InsideFin, Inbound, FIN_ACK, BothFin, true),
    ("N64-TCP-27", InsideFin, Inbound, ACK, InsideFin, true),
    ("N64-TCP-29", BothFin, Outbound, ACK, BothFin, false),
    ("N64-TCP-29", BothFin, Inbound, SYN, BothFin, false),
    ("N64-TCP-29", BothFin, Inbound, RST, BothFin, false),
    ("N64-TCP-30", Transitory, Outbound, ACK, Established, true),
    ("N64-TCP-30", Transitory, Inbound, FIN_ACK, Established, true),
    ("N64-TCP-31", Transitory, Inbound, RST, Transitory, false),
    ("N64-TCP-36", Established, Outbound, RST | FIN, Transitory, true),
    ("N64-TCP-37", BothFin, Outbound, SYN, InsideInit, true),
    ("N64-TCP-37", BothFin, Outbound, SYN_ACK, BothFin, false),
    ("N64-TCP-42", Transitory, Inbound, ACK, Established, true),
];

//= conformance N64-TCP-10, N64-TCP-11, N64-TCP-13, N64-TCP-15, N64-TCP-16, N64-TCP-17, N64-TCP-18, N64-TCP-19
//= conformance N64-TCP-20, N64-TCP-23, N64-TCP-24, N64-TCP-26, N64-TCP-27, N64-TCP-29, N64-TCP-30, N64-TCP-31
//= conformance N64-TCP-36, N64-TCP-37, N64-TCP-42, N44-06
#[test]
fn the_machine_row_by_row() {
    for &(row, state, direction, flags, after, refresh) in ROWS {
        let step = advance(state as u8, direction, Segment::from_flags(flags));
        assert_eq!(step, Step { state: after, refresh }, "{row}: {state:?} {direction:?} flags {flags:#x}");
    }
}

#[test]
fn segments_no_stack_sends_are_illegal_and_ece_and_cwr_do_not_matter() {
    //= conformance N64-TCP-36
    for flags in [0, SYN | FIN, SYN | RST, SYN | FIN | ACK, SYN | RST | FIN, 0xc0] {
        assert_eq!(Segment::from_flags(flags), Segment::Illegal, "{flags:#x}");
    }
    assert_eq!(Segment::from_flags(SYN | 0xc0), Segment::Syn);
    assert_eq!(Segment::from_flags(SYN_ACK | 0x40), Segment::SynAck);
    assert_eq!(Segment::from_flags(FIN | RST), Segment::Rst);
    assert_eq!(Segment::from_flags(8), Segment::Other);
}

#[test]
fn timers_never_end_before_their_seconds() {
    //= conformance MAP-17
    let timers = Timers { tcp_opening: 30, ..Timers::default() };
    let lifetimes = Lifetimes::new(&timers);
    assert_eq!(lifetimes.of(TimerClass::Udp as u8), 300 * TICKS_PER_SECOND + 1);
    // A session that is established may become a closing or a restarting one at any moment.
    assert_eq!(lifetimes.look_in(TimerClass::TcpEstablished as u8, 20_000), 30 * TICKS_PER_SECOND + 1);
    assert_eq!(lifetimes.look_in(TimerClass::Udp as u8, 700), 700);
}
