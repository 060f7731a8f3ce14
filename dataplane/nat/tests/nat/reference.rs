//! A NAT as one would write it without thinking of speed, and the engine beside it on random traffic.
//!
//! The reference does not choose ports: it takes over the engine's choice and checks that it was allowed.

use std::collections::HashMap;

use sluice_nat::*;
use sluice_packet::DropReason;

use crate::common::*;
use Direction::{Inbound, Outbound};
use Protocol::{Icmp, Tcp, Udp};

type Inside = (KindRealm, Protocol, u128, u16);
type External = (Protocol, u32, u16);
type Remote = (u32, u16);

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Open,
    InitIn,
    InitOut,
    Established,
    Fin(Direction),
    Closing,
    Trans,
}

struct Entry {
    state: State,
    last: Tick,
}

/// Bindings and sessions in maps, nothing else.
#[derive(Default)]
struct Reference {
    by_inside: HashMap<Inside, External>,
    by_external: HashMap<External, Inside>,
    sessions: HashMap<(External, Remote), Entry>,
    filtering: [Filtering; 3],
    max_sessions: usize,
}

fn life(protocol: Protocol, state: State) -> u32 {
    let seconds = match (protocol, state) {
        (Udp, _) => 300,
        (Icmp, _) => 60,
        (Tcp, State::Established | State::Fin(_)) => 7200,
        (Tcp, _) => 240,
    };
    seconds * TICKS_PER_SECOND
}

/// RFC 6146, section 3.5.2.2, once more and differently.
fn tcp(entry: &mut Entry, direction: Direction, flags: u8, now: Tick) {
    let (syn, fin, rst) = (flags & SYN != 0 && flags & RST == 0, flags & FIN != 0, flags & RST != 0);
    let before = entry.state;
    let refresh = match before {
        State::Open => true,
        State::InitIn | State::InitOut => {
            let opener = if before == State::InitIn { Outbound } else { Inbound };
            if syn && direction != opener {
                entry.state = State::Established;
            }
            syn && (direction != opener || before == State::InitIn)
        }
        State::Established => {
            if rst {
                entry.state = State::Trans;
            } else if fin {
                entry.state = State::Fin(direction);
            }
            true
        }
        State::Fin(first) => {
            if fin && !rst && !syn && direction != first {
                entry.state = State::Closing;
            }
            true
        }
        State::Closing => {
            let anew = syn && flags & ACK == 0 && direction == Outbound;
            if anew {
                entry.state = State::InitIn;
            }
            anew
        }
        State::Trans => {
            if !rst {
                entry.state = State::Established;
            }
            !rst
        }
    };
    if refresh {
        entry.last = now;
    }
}

impl Reference {
    /// Lets everything end whose time is over.
    fn expire(&mut self, now: Tick) {
        self.sessions.retain(|((protocol, ..), _), entry| {
            let over = now.since(entry.last) > life(*protocol, entry.state);
            if over && entry.state == State::Established {
                *entry = Entry { state: State::Trans, last: now };
                return true;
            }
            !over
        });
        let used: std::collections::HashSet<External> = self.sessions.keys().map(|key| key.0).collect();
        self.by_external.retain(|external, _| used.contains(external));
        self.by_inside.retain(|_, external| used.contains(external));
    }

    fn sessions_of(&self, external: External) -> impl Iterator<Item = Remote> {
        self.sessions.keys().filter(move |key| key.0 == external).map(|key| key.1)
    }

    fn open(&mut self, key: (External, Remote), direction: Direction, now: Tick) {
        let state = match (key.0.0, direction) {
            (Tcp, Outbound) => State::InitIn,
            (Tcp, Inbound) => State::InitOut,
            _ => State::Open,
        };
        self.sessions.insert(key, Entry { state, last: now });
    }

    /// `made` is what the engine did.
    fn outbound(
        &mut self,
        inside: Inside,
        remote: Remote,
        flags: u8,
        now: Tick,
        made: Result<External, DropReason>,
    ) -> Result<External, DropReason> {
        let is_tcp = inside.1 == Tcp;
        let bound = self.by_inside.get(&inside).copied();
        if is_tcp && (flags == 0 || flags & SYN != 0 && flags & (FIN | RST) != 0) {
            return Err(DropReason::TcpFlagsIllegal);
        }
        if let Some(entry) = bound.and_then(|external| self.sessions.get_mut(&(external, remote))) {
            tcp(entry, Outbound, flags, now);
            return Ok(bound.expect("has a session"));
        }
        if is_tcp && flags & (SYN | ACK | RST) != SYN {
            return bound.ok_or(DropReason::TcpNoSession);
        }
        if self.sessions.len() >= self.max_sessions {
            return Err(DropReason::SessionTableFull);
        }
        let external = match bound {
            Some(external) => external,
            None => {
                let Ok(external) = made else { return Err(DropReason::PoolExhausted) };
                assert_eq!(external.0, inside.1);
                assert_eq!(external.1 & !3, POOL);
                assert!(external.2 >= 1024);
                assert!(!self.by_external.contains_key(&external), "a port of two hosts");
                self.by_external.insert(external, inside);
                self.by_inside.insert(inside, external);
                external
            }
        };
        self.open((external, remote), Outbound, now);
        Ok(external)
    }

    fn inbound(
        &mut self,
        external: External,
        remote: Remote,
        flags: u8,
        now: Tick,
    ) -> Result<Inside, DropReason> {
        let is_tcp = external.0 == Tcp;
        if is_tcp && (flags == 0 || flags & SYN != 0 && flags & (FIN | RST) != 0) {
            return Err(DropReason::TcpFlagsIllegal);
        }
        let syn = flags & (SYN | ACK) == SYN;
        let Some(&inside) = self.by_external.get(&external) else {
            return Err(match (is_tcp, syn) {
                (true, true) => DropReason::UnsolicitedSyn,
                (true, false) => DropReason::TcpNoSession,
                _ => DropReason::NoBinding,
            });
        };
        if let Some(entry) = self.sessions.get_mut(&(external, remote)) {
            tcp(entry, Inbound, flags, now);
            return Ok(inside);
        }
        let allowed = match self.filtering[external.0.index()] {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.sessions_of(external).any(|known| known.0 == remote.0),
            Filtering::AddressAndPortDependent => false,
        };
        if !allowed {
            return Err(DropReason::Filtered);
        }
        if is_tcp && !syn {
            return Ok(inside);
        }
        if self.sessions.len() >= self.max_sessions {
            return Err(DropReason::SessionTableFull);
        }
        self.open((external, remote), Inbound, now);
        Ok(inside)
    }
}

/// xorshift: the traffic is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn run(seed: u64, packets: u32, filtering: [Filtering; 3], records: usize) {
    let mut given = spec();
    given.rules.iter_mut().for_each(|rule| rule.filtering = filtering);
    let mut bench = Bench::with_records(&given, records);
    let mut reference = Reference { filtering, max_sessions: records, ..Reference::default() };
    let mut dice = Dice(seed);
    let mut externals: Vec<External> = Vec::new();
    let all_flags = [SYN, SYN, SYN | ACK, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST, 0, SYN | FIN];
    for packet in 0..packets {
        let protocol = [Udp, Tcp, Icmp][dice.roll(3) as usize];
        let flags = if protocol == Tcp { all_flags[dice.roll(all_flags.len() as u64) as usize] } else { 0 };
        let port = if protocol == Icmp { 0 } else { 80 + dice.roll(3) as u16 };
        let remote = (S + dice.roll(5) as u32, port);
        let now = bench.now;
        if dice.roll(2) == 0 {
            let (host, inside_port) = (dice.roll(6) as u128, 1000 + dice.roll(8) as u16);
            let tuple = if dice.roll(2) == 0 {
                out64(protocol, H + (host << 64), inside_port, remote.0, remote.1)
            } else {
                out44(protocol, HOST + host, inside_port, remote.0, remote.1)
            };
            let inside = (tuple.kind_realm, protocol, tuple.inside, inside_port);
            let made = bench.out(tuple, flags).map(|fixed| (protocol, fixed.external, fixed.external_port));
            let wanted = reference.outbound(inside, remote, flags, now, made);
            assert_eq!(made, wanted, "packet {packet}: {tuple:?} flags {flags:#x}");
            if let Ok(external) = made
                && !externals.contains(&external)
            {
                externals.push(external);
            }
        } else if !externals.is_empty() {
            let at = dice.roll(externals.len() as u64) as usize;
            let mut external = externals[at];
            if !reference.by_external.contains_key(&external) {
                externals.swap_remove(at);
            }
            external.2 ^= u16::from(dice.roll(20) == 0);
            let tuple = InboundTuple {
                protocol: external.0,
                external: external.1,
                external_port: external.2,
                remote: remote.0,
                remote_port: if external.0 == Icmp { 0 } else { remote.1 },
            };
            let flags = if external.0 == Tcp { all_flags[dice.roll(11) as usize] } else { 0 };
            let kind = |fixed: Fixed| (fixed.kind_realm, external.0, fixed.inside, fixed.inside_port);
            let made = bench.inn(tuple, flags).map(kind);
            let wanted = reference.inbound(external, (tuple.remote, tuple.remote_port), flags, now);
            assert_eq!(made, wanted, "packet {packet}: {tuple:?} flags {flags:#x}");
        }
        // Mostly many packets within a tick, now and then a step or a leap.
        let ticks = match dice.roll(200) {
            0..3 => 1 + dice.roll(40) as u32,
            3 => dice.roll(1000) as u32,
            4 if dice.roll(40) == 0 => dice.roll(40_000) as u32,
            _ => 0,
        };
        if ticks > 0 {
            bench.now = bench.now.after(ticks);
            bench.settle();
            bench.heard();
            reference.expire(bench.now);
            let stats = bench.engine.stats();
            assert_eq!(stats.sessions as usize, reference.sessions.len(), "packet {packet}");
            assert_eq!(stats.bindings as usize, reference.by_inside.len(), "packet {packet}");
        }
    }
}

#[test]
fn the_engine_agrees_with_the_reference_whatever_the_filtering() {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    run(1, 150_000, [EndpointIndependent; 3], 20_000);
    run(2, 100_000, [AddressDependent; 3], 20_000);
    run(3, 100_000, [AddressAndPortDependent, EndpointIndependent, AddressDependent], 20_000);
}

#[test]
fn the_engine_agrees_with_the_reference_when_the_table_is_often_full() {
    run(4, 100_000, [Filtering::EndpointIndependent; 3], 150);
}
