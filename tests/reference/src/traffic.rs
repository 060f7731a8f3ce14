//! Hosts inside and outside, and the network between them: it loses packets, delivers them twice, late and in another order,
//! and strangers put theirs in.

use sluice_nat::Protocol;

use crate::dice::Dice;
use crate::nat::{External, Flow, Inside};
use crate::rules::{Rules, embed};
use crate::tcp::{ACK, FIN, RST, SYN};
use Protocol::{Icmp, Tcp, Udp};

/// Inside hosts of NAT64, in /64s of their own.
pub const H: u128 = 0x2001_0db8_0001 << 80 | 0x10;
/// Inside hosts of NAT44.
pub const HOST: u128 = 0x0a00_000a;
/// Servers.
pub const S: u32 = 0xc633_6409;

/// Interface that faces the Internet; 0 and 1 face the inside.
pub const OUTSIDE: u16 = 2;
/// Packets under way at most.
const FLIGHT: usize = 48;

/// A packet, as far as a NAT is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Where it arrives.
    pub interface: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Source address.
    pub source: u128,
    /// Source port, or identifier.
    pub source_port: u16,
    /// Destination address.
    pub destination: u128,
    /// Destination port, or identifier.
    pub destination_port: u16,
    /// Flags of TCP.
    pub flags: u8,
}

impl Packet {
    /// Whether it is IPv6.
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    fn with_port(mut self, source_port: u16, destination_port: u16) -> Self {
        self.source_port = source_port;
        self.destination_port = destination_port;
        if self.protocol == Icmp {
            // One identifier stands for both.
            let identifier = if self.interface == OUTSIDE { destination_port } else { source_port };
            (self.source_port, self.destination_port) = (identifier, identifier);
        }
        self
    }
}

/// The network.
#[derive(Debug, Default)]
pub struct Network {
    flight: Vec<Packet>,
    /// External ends that were seen lately.
    seen: Vec<External>,
}

const FLAGS: [u8; 12] =
    [SYN, SYN, SYN | ACK, ACK, ACK, FIN | ACK, FIN, RST, RST | ACK, 0, SYN | FIN, SYN | RST];

impl Network {
    /// The next packet that reaches the gateway.
    pub fn next(&mut self, dice: &mut impl Dice, rules: &Rules) -> Packet {
        loop {
            match dice.roll(16) {
                0..5 => return from_inside(dice, rules),
                5..14 if !self.flight.is_empty() => {
                    // Mostly in order, but any may overtake the others.
                    let last = self.flight.len() as u32;
                    let at = if dice.one_in(3) { dice.roll(last) as usize } else { 0 };
                    match dice.roll(16) {
                        // Twice.
                        0 => return self.flight[at],
                        // Lost.
                        1 => drop(self.flight.remove(at)),
                        _ => return self.flight.remove(at),
                    }
                }
                14 => return self.stranger(dice),
                _ => return hostile(dice, rules),
            }
        }
    }

    /// Somebody writes to an external address and port that is or was in use, or to one beside it.
    fn stranger(&mut self, dice: &mut impl Dice) -> Packet {
        let known = self.seen.len() as u32;
        let (protocol, external, port) = match known {
            0 => (Udp, crate::scenario::POOL, 1024),
            _ => self.seen[dice.roll(known) as usize],
        };
        let port = if dice.one_in(8) { port ^ 1 } else { port };
        let (remote, remote_port) = server(dice);
        let flags = if protocol == Tcp { dice.pick(&FLAGS) } else { 0 };
        let (source, destination) = (remote.into(), external.into());
        let packet = Packet {
            v6: false,
            interface: OUTSIDE,
            protocol,
            source,
            destination,
            source_port: 0,
            destination_port: 0,
            flags,
        };
        packet.with_port(remote_port, port)
    }

    /// A flow's packet left to the outside: its receiver may answer.
    pub fn left(&mut self, flow: &Flow, flags: u8, dice: &mut impl Dice) {
        let (protocol, external, port) = flow.external;
        if !self.seen.contains(&flow.external) {
            if self.seen.len() < 64 {
                self.seen.push(flow.external);
            } else {
                let at = dice.roll(64) as usize;
                self.seen[at] = flow.external;
            }
        }
        let Some(flags) = answer(protocol, flags, dice) else { return };
        let (source, destination) = (flow.remote.0.into(), external.into());
        let packet = Packet {
            v6: false,
            interface: OUTSIDE,
            protocol,
            source,
            destination,
            source_port: 0,
            destination_port: 0,
            flags,
        };
        self.send(packet.with_port(flow.remote.1, port));
    }

    /// A flow's packet reached its inside host, which may answer.
    pub fn reached(&mut self, flow: &Flow, interface: u16, flags: u8, rules: &Rules, dice: &mut impl Dice) {
        let Inside { protocol, address: source, port, .. } = flow.inside;
        let Some(flags) = answer(protocol, flags, dice) else { return };
        let prefix = rules.prefix(flow.prefix);
        let v6 = prefix.is_some();
        let destination = prefix.map_or(flow.remote.0.into(), |prefix| embed(prefix, flow.remote.0));
        let interface = if interface == OUTSIDE { 0 } else { interface };
        let packet = Packet {
            v6,
            interface,
            protocol,
            source,
            destination,
            source_port: 0,
            destination_port: 0,
            flags,
        };
        self.send(packet.with_port(port, flow.remote.1));
    }

    fn send(&mut self, packet: Packet) {
        if self.flight.len() < FLIGHT {
            self.flight.push(packet);
        }
    }
}

/// How a host answers a segment or datagram.
fn answer(protocol: Protocol, flags: u8, dice: &mut impl Dice) -> Option<u8> {
    let roll = dice.roll(8);
    if protocol != Tcp {
        return (roll < 4).then_some(0);
    }
    match flags & (SYN | ACK | FIN | RST) {
        SYN if roll == 0 => Some(RST | ACK),
        // Both open at once.
        SYN if roll == 1 => Some(SYN),
        SYN => Some(SYN | ACK),
        flags if flags & RST != 0 => None,
        flags if flags & FIN != 0 => Some([ACK, FIN | ACK][usize::from(roll > 2)]),
        _ => match roll {
            0..3 => None,
            3 => Some(FIN | ACK),
            4 => Some(RST),
            _ => Some(ACK),
        },
    }
}

fn server(dice: &mut impl Dice) -> (u32, u16) {
    let address = match dice.roll(16) {
        0 => 0x0808_0808,
        1 => 0x0a00_000a + dice.roll(8),
        _ => S + dice.roll(5),
    };
    (address, 80 + dice.roll(3) as u16)
}

fn inside_port(dice: &mut impl Dice) -> u16 {
    match dice.roll(8) {
        0 => 500 + dice.roll(100) as u16,
        1 => 1000 + dice.roll(200) as u16,
        _ => 1000 + dice.roll(24) as u16,
    }
}

/// A host begins something, or goes on with what it began.
fn from_inside(dice: &mut impl Dice, rules: &Rules) -> Packet {
    let protocol = dice.pick(&[Udp, Tcp, Icmp]);
    let flags = match protocol {
        Tcp if dice.one_in(4) => dice.pick(&FLAGS),
        Tcp => SYN,
        _ => 0,
    };
    let (mut remote, remote_port) = server(dice);
    if dice.one_in(24) {
        // A hairpin: another host's external address, or nobody's.
        remote = crate::scenario::POOL + dice.roll(8);
    }
    let prefixes = rules.prefixes();
    let v6 = dice.one_in(2) && !prefixes.is_empty();
    let (source, destination) = if v6 {
        let prefix = prefixes[dice.roll(prefixes.len() as u32) as usize];
        let host = u128::from(dice.roll(6)) << 64 | u128::from(dice.roll(2));
        (H + host, embed(prefix, remote))
    } else {
        (HOST + u128::from(dice.roll(8)), remote.into())
    };
    let interface = u16::from(dice.one_in(4));
    let packet =
        Packet { v6, interface, protocol, source, destination, source_port: 0, destination_port: 0, flags };
    let remote_port = if dice.one_in(16) { 1024 + dice.roll(64) as u16 } else { remote_port };
    packet.with_port(inside_port(dice), remote_port)
}

/// What no honest host sends: forged sources, wrong directions, any flags, any ports, addresses that mean nothing.
fn hostile(dice: &mut impl Dice, rules: &Rules) -> Packet {
    let mut packet = from_inside(dice, rules);
    packet.flags = if packet.protocol == Tcp { dice.roll(64) as u8 } else { 0 };
    match dice.roll(5) {
        0 => packet.interface = OUTSIDE,
        1 => std::mem::swap(&mut packet.source, &mut packet.destination),
        2 => packet.destination ^= 1 << dice.roll(if packet.v6 { 128 } else { 32 }),
        3 => packet.source ^= 1 << dice.roll(if packet.v6 { 128 } else { 32 }),
        _ => {
            let (source, destination) = (dice.roll(1 << 16) as u16, dice.roll(1 << 16) as u16);
            return packet.with_port(source, destination);
        }
    }
    packet
}
