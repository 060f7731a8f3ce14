//! TCP sessions from their first SYN to their end.

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Direction::{Inbound, Outbound};
use Protocol::Tcp;

/// A bench with one TCP session from `H`:4000 to `S`:80.
struct Line {
    bench: Bench,
    tuple: OutboundTuple,
    fixed: Fixed,
    session: SessionIndex,
}

impl Line {
    fn new(make: fn(Protocol, u128, u16, u32, u16) -> OutboundTuple, inside: u128) -> Self {
        let mut bench = Bench::new(&spec());
        let tuple = make(Tcp, inside, 4000, S, 80);
        let flow = bench.out_flow(tuple, SYN).expect("made");
        Self { bench, tuple, fixed: flow.fixed, session: flow.session }
    }

    fn established() -> Self {
        let mut line = Self::new(out64, H);
        line.send(Inbound, SYN | ACK);
        line.expect(TcpState::Established);
        line
    }

    fn send(&mut self, direction: Direction, flags: u8) {
        let sent = match direction {
            Outbound => self.bench.out(self.tuple, flags),
            Inbound => self.bench.inn(back(&self.fixed, S, 80), flags),
        };
        assert_eq!(sent, Ok(self.fixed));
    }

    fn state(&self) -> Option<TcpState> {
        let record = self.bench.engine.session(self.session);
        record.is_live().then(|| TcpState::from_number(record.hot().tcp_state))
    }

    #[track_caller]
    fn expect(&self, state: TcpState) {
        assert_eq!(self.state(), Some(state));
    }

    /// Still there just before `seconds` have passed, gone a second and a tick after.
    #[track_caller]
    fn ends_after(&mut self, seconds: u32) {
        self.bench.pass(f64::from(seconds) - 0.25);
        assert!(self.state().is_some(), "gone before {seconds} s");
        self.bench.pass(1.5);
        assert_eq!(self.state(), None, "there after {seconds} s");
        assert_eq!(self.bench.engine.stats().bindings, 0);
    }
}

#[test]
fn opening_from_inside() {
    //= conformance N64-TCP-01, N64-TCP-13, N64-TCP-14, N64-TCP-15, N64-TCP-16, N64-TCP-38, N44-06
    for (make, inside) in [(out64 as fn(_, _, _, _, _) -> _, H), (out44, HOST)] {
        let mut line = Line::new(make, inside);
        line.expect(TcpState::InsideInit);
        line.ends_after(240);
        let mut line = Line::new(make, inside);
        line.bench.pass(200.0);
        line.send(Outbound, SYN);
        line.send(Inbound, RST | ACK);
        line.expect(TcpState::InsideInit);
        line.ends_after(240);
        let mut line = Line::new(make, inside);
        line.send(Inbound, SYN);
        line.expect(TcpState::Established);
    }
}

#[test]
fn opening_from_outside() {
    //= conformance N64-TCP-07, N64-TCP-10, N64-TCP-11, N64-TCP-12
    let mut line = Line::new(out64, H);
    let stranger = back(&line.fixed, S2, 80);
    let flow = line.bench.inn_flow(stranger, SYN).expect("forwarded");
    let state = |line: &Line| line.bench.engine.session(flow.session).hot().tcp_state;
    assert_eq!(state(&line), TcpState::OutsideInit as u8);
    line.bench.pass(200.0);
    line.bench.inn(stranger, RST).expect("forwarded");
    assert_eq!(state(&line), TcpState::OutsideInit as u8);
    let answer = OutboundTuple { remote: S2, ..line.tuple };
    line.bench.out(answer, SYN | ACK).expect("forwarded");
    assert_eq!(state(&line), TcpState::Established as u8);
    let mut line = Line::new(out64, H);
    let flow = line.bench.inn_flow(stranger_of(&line), SYN).expect("forwarded");
    line.bench.pass(242.0);
    assert!(!line.bench.engine.session(flow.session).is_live());
}

fn stranger_of(line: &Line) -> InboundTuple {
    back(&line.fixed, S2, 80)
}

#[test]
fn both_ends_may_open_at_once() {
    //= conformance N64-TCP-35, N44-09
    for (make, inside) in [(out64 as fn(_, _, _, _, _) -> _, H), (out44, HOST)] {
        let mut line = Line::new(make, inside);
        line.send(Inbound, SYN);
        line.expect(TcpState::Established);
        line.send(Outbound, SYN | ACK);
        line.send(Inbound, SYN | ACK);
        line.bench.pass(7000.0);
        line.expect(TcpState::Established);
        // The SYN from outside is here first.
        let mut line = Line::new(make, inside);
        let flow = line.bench.inn_flow(stranger_of(&line), SYN).expect("forwarded");
        let state = |line: &Line| line.bench.engine.session(flow.session).hot().tcp_state;
        assert_eq!(state(&line), TcpState::OutsideInit as u8);
        line.bench.out(OutboundTuple { remote: S2, ..line.tuple }, SYN).expect("forwarded");
        assert_eq!(state(&line), TcpState::Established as u8);
        line.bench.pass(7000.0);
        assert_eq!(state(&line), TcpState::Established as u8);
    }
}

#[test]
fn segments_without_session() {
    //= conformance N64-TCP-08, N64-TCP-09, N64-TCP-36, N64-TCP-44, N64-TCP-40
    let mut line = Line::new(out64, H);
    let flow = line.bench.inn_flow(stranger_of(&line), ACK).expect("translated");
    assert_eq!((flow.session, flow.fixed.remote), (SessionIndex::NONE, S2));
    let flow = line.bench.out_flow(OutboundTuple { remote: S2, ..line.tuple }, ACK).expect("translated");
    assert_eq!((flow.session, flow.fixed.external_port), (SessionIndex::NONE, line.fixed.external_port));
    assert_eq!(line.bench.engine.stats().sessions, 1);
    let unknown = OutboundTuple { inside_port: 4001, ..line.tuple };
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        assert_eq!(line.bench.out(unknown, flags), Err(DropReason::TcpNoSession));
    }
    for flags in [0, SYN | FIN, SYN | RST] {
        assert_eq!(line.bench.out(unknown, flags), Err(DropReason::TcpFlagsIllegal));
        assert_eq!(line.bench.out(line.tuple, flags), Err(DropReason::TcpFlagsIllegal));
        assert_eq!(line.bench.inn(stranger_of(&line), flags), Err(DropReason::TcpFlagsIllegal));
    }
    let mut unbound = stranger_of(&line);
    unbound.external_port ^= 1;
    assert_eq!(line.bench.inn(unbound, ACK), Err(DropReason::TcpNoSession));
    assert_eq!(line.bench.inn(unbound, SYN | ACK), Err(DropReason::TcpNoSession));
    assert_eq!(line.bench.inn(unbound, SYN), Err(DropReason::UnsolicitedSyn));
    assert_eq!(line.bench.engine.stats().sessions, 1);
}

#[test]
fn an_idle_connection_is_probed_and_lives_two_hours_and_four_minutes() {
    //= conformance N64-TCP-20, N64-TCP-21, N64-TCP-22, N64-TCP-32, N64-TCP-33
    let mut line = Line::established();
    line.bench.pass(7199.75);
    assert_eq!(line.bench.probed(), []);
    line.bench.pass(1.25);
    assert_eq!(line.bench.probed(), [line.fixed]);
    line.expect(TcpState::Transitory);
    line.ends_after(239);
    // An answer to the probe brings it back.
    //= conformance N64-TCP-30, N64-TCP-42
    let mut line = Line::established();
    line.bench.pass(7300.0);
    line.expect(TcpState::Transitory);
    line.send(Outbound, ACK);
    line.expect(TcpState::Established);
    line.bench.pass(7100.0);
    line.expect(TcpState::Established);
}

/// Its time is the same, and so is what brings it back.
#[test]
fn without_probes_an_idle_connection_ends_in_silence() {
    //= conformance N64-TCP-22
    let mut silent = spec();
    silent.timers.tcp_idle_probe = false;
    for (back, lives) in [(None, false), (Some(Outbound), true), (Some(Inbound), true)] {
        let mut line = Line::established();
        line.bench.apply(&silent);
        line.bench.pass(7300.0);
        assert_eq!(line.bench.probed(), []);
        line.expect(TcpState::Transitory);
        if let Some(direction) = back {
            line.send(direction, ACK);
            line.expect(TcpState::Established);
        }
        line.bench.pass(200.0);
        assert_eq!(line.bench.engine.stats().sessions, u32::from(lives));
        assert_eq!(line.bench.probed(), []);
    }
}

#[test]
fn closing_with_fins() {
    //= conformance N64-TCP-17, N64-TCP-18, N64-TCP-23, N64-TCP-24, N64-TCP-25, N64-TCP-26, N64-TCP-27, N64-TCP-28
    for (first, then, half) in
        [(Inbound, Outbound, TcpState::OutsideFin), (Outbound, Inbound, TcpState::InsideFin)]
    {
        let mut line = Line::established();
        line.send(first, FIN | ACK);
        line.expect(half);
        line.bench.pass(5000.0);
        line.send(then, ACK);
        line.ends_after(7200);
        assert_eq!(line.bench.probed(), []);
        let mut line = Line::established();
        line.send(first, FIN | ACK);
        line.bench.pass(7000.0);
        line.send(then, FIN | ACK);
        line.expect(TcpState::BothFin);
        //= conformance N64-TCP-29
        line.bench.pass(200.0);
        line.send(first, ACK);
        line.ends_after(40);
    }
}

#[test]
fn a_closed_connection_may_be_opened_anew() {
    //= conformance N64-TCP-37
    let mut line = Line::established();
    line.send(Inbound, FIN | ACK);
    line.send(Outbound, FIN | ACK);
    line.send(Outbound, SYN);
    line.expect(TcpState::InsideInit);
    line.send(Inbound, SYN | ACK);
    line.bench.pass(7000.0);
    line.expect(TcpState::Established);
}

#[test]
fn a_reset_shortens_the_timer_and_resets_do_not_keep_it() {
    //= conformance N64-TCP-19, N64-TCP-31, N44-07
    for direction in [Inbound, Outbound] {
        let mut line = Line::established();
        line.bench.pass(3000.0);
        line.send(direction, RST);
        line.expect(TcpState::Transitory);
        line.bench.pass(120.0);
        line.send(direction, RST);
        line.ends_after(120);
    }
}

#[test]
fn opening_and_closing_timers_are_settings_of_their_own() {
    //= conformance N64-TCP-34
    let mut short = spec();
    short.timers = Timers { tcp_opening: 30, tcp_transitory: 10, ..short.timers };
    let mut bench = Bench::new(&short);
    let tuple = out64(Tcp, H, 4000, S, 80);
    let flow = bench.out_flow(tuple, SYN).expect("made");
    bench.pass(29.0);
    assert!(bench.engine.session(flow.session).is_live());
    bench.inn(back(&flow.fixed, S, 80), SYN | ACK).expect("known");
    bench.pass(1000.0);
    bench.out(tuple, RST).expect("known");
    bench.pass(9.75);
    assert!(bench.engine.session(flow.session).is_live());
    bench.pass(1.5);
    assert!(!bench.engine.session(flow.session).is_live());
}
