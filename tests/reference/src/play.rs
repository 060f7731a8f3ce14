//! A game: the engines and the reference get the same packets, configurations and time, and have to agree on every verdict, on
//! every event, and now and then on all of their state.

mod compare;

use sluice_nat::config::Outbound;
use sluice_nat::{
    Direction, Event, Fixed, InboundTuple, KindRealm, OutboundTuple, Protocol, Removal, Session,
    SessionIndex, Spec, TICKS_PER_SECOND, Tick,
};
use sluice_packet::DropReason;

use crate::bytes;
use crate::dice::{Dice, Seeded};
use crate::hash::HashMap;
use crate::nat::{Choice, External, Flow, Inside, Nat};
use crate::ports::Claim;
use crate::rig::Rig;
use crate::rules::{Class, PrefixNumber};
use crate::scenario;
use crate::traffic::{Network, Packet};

/// Ticks after a change of configuration in which a session may end up to a second late: it was filed under a longer timer, and
/// a sweep looks for it once a second. Time goes by in whole seconds then.
const PATROL: u32 = 2 * 4096;

/// How much a game asks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Stakes {
    /// Workers.
    pub workers: u8,
    /// Session records.
    pub records: usize,
    /// One packet in so many is translated as bytes, too.
    pub bytes_every: u32,
    /// All state is compared after so many packets.
    pub compare_every: u32,
    /// Where the clock begins.
    pub begin: Tick,
}

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Of them translated, with or without a session.
    pub translated: u64,
    /// Translated as bytes.
    pub rewritten: u64,
    /// Second passes.
    pub hairpins: u64,
    /// Sessions made.
    pub sessions: u64,
    /// Sessions ended by time or by a change.
    pub ended: u64,
    /// Configurations.
    pub reloads: u64,
    /// Restarts.
    pub restarts: u64,
    /// Comparisons of all state.
    pub compared: u64,
    /// Seconds of simulated time.
    pub seconds: u64,
}

impl Tally {
    /// Adds another game's.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.translated += other.translated;
        self.rewritten += other.rewritten;
        self.hairpins += other.hairpins;
        self.sessions += other.sessions;
        self.ended += other.ended;
        self.reloads += other.reloads;
        self.restarts += other.restarts;
        self.compared += other.compared;
        self.seconds += other.seconds;
    }
}

/// A game.
#[derive(Debug)]
pub struct Game<'a, D> {
    dice: &'a mut D,
    stakes: Stakes,
    records: &'static [Session],
    rig: Rig,
    nat: Nat,
    network: Network,
    /// What the log says is bound.
    logged: HashMap<External, Inside>,
    calm_until: Tick,
    ticks: u64,
    /// What was played so far.
    pub tally: Tally,
}

/// Free records of a region. They are never given back, so ask for them once.
pub fn region(records: usize) -> &'static [Session] {
    Box::leak((0..records).map(|_| Session::default()).collect())
}

/// A configuration that anything accepts.
fn plain() -> Spec {
    scenario::spec(&mut crate::dice::Script(&[]))
}

impl<'a, D: Dice> Game<'a, D> {
    /// A new game. `records` are as many as the stakes say; whoever played with them before is done.
    pub fn new(dice: &'a mut D, stakes: Stakes, records: &'static [Session]) -> Self {
        let given = scenario::spec(dice);
        let now = stakes.begin;
        let (rig, nat) = fresh(dice, &stakes, records, given, now);
        Self {
            dice,
            stakes,
            records,
            rig,
            nat,
            network: Network::default(),
            logged: HashMap::default(),
            calm_until: now.after(PATROL),
            ticks: 0,
            tally: Tally::default(),
        }
    }

    /// Plays until so many packets have come, or the dice are used up.
    pub fn play(&mut self, packets: u64) {
        while self.tally.packets < packets && !self.dice.is_over() {
            self.step();
            if self.tally.packets.is_multiple_of(self.stakes.compare_every.into()) {
                self.settle();
                self.compare();
            }
        }
        self.settle();
        self.compare();
        self.tally.seconds = self.ticks / u64::from(TICKS_PER_SECOND);
    }

    /// A packet, and perhaps something else.
    pub fn step(&mut self) {
        let packet = self.network.next(self.dice, &self.nat.rules);
        self.tally.packets += 1;
        self.packet(&packet);
        match self.dice.roll(4096) {
            // Mostly many packets within a tick, now and then a step or a leap.
            0..40 => {
                let ticks = 1 + self.dice.roll(40);
                self.pass(ticks);
            }
            40..56 => {
                let ticks = self.dice.roll(2000);
                self.pass(ticks);
            }
            56 if self.dice.one_in(2) => {
                let hours = self.dice.roll(60);
                self.pass(hours * 3600 * TICKS_PER_SECOND);
            }
            57 => self.reload(),
            58..60 => self.delete(),
            61 => self.remove(),
            60 if self.dice.one_in(8) => self.restart(),
            _ => {}
        }
    }

    // Packets.

    fn packet(&mut self, packet: &Packet) {
        let (class, external) = self.rig.classify(packet);
        let wanted = match packet.is_v6() {
            true => self.nat.rules.class_v6(packet.source, packet.destination, packet.interface),
            false => {
                let (source, destination) = (packet.source as u32, packet.destination as u32);
                self.nat.rules.class_v4(source, destination, packet.interface)
            }
        };
        let class_wanted = match class {
            Outbound::Native if external => Class::Inbound,
            Outbound::Native => Class::Native,
            Outbound::Drop(reason) => Class::Drop(reason),
            Outbound::Translate { kind_realm, prefix64, remote } => {
                Class::Outbound { kind_realm, prefix: self.prefix(prefix64).expect("in use"), remote }
            }
        };
        assert_eq!(class_wanted, wanted, "{packet:?}");
        match class {
            Outbound::Translate { kind_realm, prefix64, remote } => {
                self.outbound(packet, kind_realm, prefix64, remote);
            }
            Outbound::Native if external => {
                let (source, destination) = (packet.source as u32, packet.destination as u32);
                self.inbound(packet, source, packet.source_port, destination, packet.destination_port);
            }
            _ => {}
        }
    }

    /// The reference's number of an engine's prefix; `None` if it is gone.
    fn prefix(&self, id: u8) -> Option<PrefixNumber> {
        if id == 0 {
            return Some(0);
        }
        let prefix = self.rig.config.prefix64(id)?;
        self.nat.rules.named((prefix.address(), prefix.len()))
    }

    fn outbound(&mut self, packet: &Packet, kind_realm: KindRealm, prefix64: u8, remote: u32) {
        let Packet { protocol, flags, interface, .. } = *packet;
        let remote_port = if protocol == Protocol::Icmp { 0 } else { packet.destination_port };
        let tuple = OutboundTuple {
            kind_realm,
            protocol,
            inside: packet.source,
            inside_port: packet.source_port,
            remote,
            remote_port,
            prefix64,
        };
        let made = self.rig.outbound(&tuple, interface, flags, self.dice);
        let inside = Inside { kind_realm, protocol, address: packet.source, port: packet.source_port };
        let key = (inside, self.prefix(prefix64).expect("in use"), (remote, remote_port));
        let choice = self.choice(&made);
        let before = self.nat.sessions.len();
        let wanted = self.nat.outbound(key, interface, flags, &choice);
        self.agree(packet, &made, wanted, before);
        if let (Ok(made), Ok(flow)) = (made, wanted) {
            self.rewritten(packet, &made.fixed, Direction::Outbound);
            self.network.left(&flow, flags, self.dice);
            if self.nat.rules.is_external(remote) {
                // The second pass of a hairpin: it comes in again from its external address.
                self.tally.hairpins += 1;
                let (_, external, port) = flow.external;
                let source_port = if protocol == Protocol::Icmp { 0 } else { port };
                let to = if protocol == Protocol::Icmp { port } else { remote_port };
                let hairpin = Packet {
                    v6: false,
                    source: external.into(),
                    source_port: port,
                    destination: remote.into(),
                    destination_port: to,
                    ..*packet
                };
                self.inbound(&hairpin, external, source_port, remote, to);
            }
        }
    }

    fn inbound(&mut self, packet: &Packet, source: u32, source_port: u16, external: u32, external_port: u16) {
        let Packet { protocol, flags, interface, .. } = *packet;
        let remote_port = if protocol == Protocol::Icmp { 0 } else { source_port };
        let tuple = InboundTuple { protocol, external, external_port, remote: source, remote_port };
        let made = self.rig.inbound(&tuple, flags, self.dice);
        let choice = self.choice(&made);
        let before = self.nat.sessions.len();
        let wanted =
            self.nat.inbound((protocol, external, external_port), (source, remote_port), flags, &choice);
        self.agree(packet, &made, wanted, before);
        if let (Ok(made), Ok(flow)) = (made, wanted) {
            self.rewritten(packet, &made.fixed, Direction::Inbound);
            self.network.reached(&flow, interface, flags, &self.nat.rules, self.dice);
        }
    }

    /// Where the engine chose.
    fn choice(&mut self, made: &Result<sluice_nat::Flow, DropReason>) -> Choice {
        let claims = self.hear();
        Choice { made: made.map(|flow| (flow.fixed.external, flow.fixed.external_port)), claims }
    }

    fn agree(
        &mut self,
        packet: &Packet,
        made: &Result<sluice_nat::Flow, DropReason>,
        wanted: Result<Flow, DropReason>,
        before: usize,
    ) {
        let flow = made.map(|flow| self.flow(&flow.fixed, flow.session.is_some()));
        assert_eq!(flow, wanted.map(Some), "{packet:?}: the engine, and the reference");
        self.tally.translated += u64::from(made.is_ok());
        self.tally.sessions += u64::from(self.nat.sessions.len() > before);
        let Ok(flow) = made else { return };
        // The owner of the external port is the worker of the subscriber.
        let fixed = &flow.fixed;
        let owner = self.rig.shared.subscriber_worker(&self.rig.config, fixed.kind_realm, fixed.inside);
        assert_eq!(fixed.owner, owner.0);
    }

    /// What the engine made, in the reference's words. `None` if its prefix is gone.
    fn flow(&self, fixed: &Fixed, session: bool) -> Option<Flow> {
        let protocol = Protocol::from_number(fixed.protocol)?;
        let (kind_realm, address, port) = (fixed.kind_realm, fixed.inside, fixed.inside_port);
        Some(Flow {
            inside: Inside { kind_realm, protocol, address, port },
            external: (protocol, fixed.external, fixed.external_port),
            remote: (fixed.remote, fixed.remote_port),
            prefix: self.prefix(fixed.prefix64)?,
            session,
        })
    }

    /// Now and then the packet is made of bytes, and they are translated.
    fn rewritten(&mut self, packet: &Packet, fixed: &Fixed, direction: Direction) {
        if self.dice.one_in(self.stakes.bytes_every) {
            self.tally.rewritten += 1;
            bytes::check_flow(packet, fixed, &self.rig.config, direction, self.dice);
        }
    }

    // Everything else.

    /// Reads what the engines told. Returns the blocks that they claimed.
    fn hear(&mut self) -> Vec<Claim> {
        let mut claims = Vec::new();
        for event in std::mem::take(&mut self.rig.ear.events) {
            match event {
                Event::BlockAllocated { external, first, last, .. } => {
                    claims.push(Claim { external, first, last });
                }
                Event::BlockReleased { external, first, last, .. } => {
                    self.nat.released(Claim { external, first, last });
                }
                Event::BindingCreated {
                    kind_realm,
                    protocol,
                    inside,
                    inside_port,
                    external,
                    external_port,
                } => {
                    let ends = Inside { kind_realm, protocol, address: inside, port: inside_port };
                    let before = self.logged.insert((protocol, external, external_port), ends);
                    assert_eq!(before, None, "logged twice");
                }
                Event::BindingDeleted {
                    kind_realm,
                    protocol,
                    inside,
                    inside_port,
                    external,
                    external_port,
                } => {
                    let ends = Inside { kind_realm, protocol, address: inside, port: inside_port };
                    let before = self.logged.remove(&(protocol, external, external_port));
                    assert_eq!(before, Some(ends), "the end of what was not logged");
                }
                // What was refused is compared packet by packet; sessions are compared as they stand.
                _ => {}
            }
        }
        claims
    }

    fn pass(&mut self, ticks: u32) {
        let calm = self.calm_until.since(self.rig.now) == 0;
        let ticks = if calm { ticks } else { ticks.next_multiple_of(TICKS_PER_SECOND) };
        self.rig.now = self.rig.now.after(ticks);
        self.ticks += u64::from(ticks);
        self.settle();
    }

    fn settle(&mut self) {
        self.rig.settle();
        let before = self.nat.sessions.len();
        let probed = self.nat.pass(self.rig.now);
        self.tally.ended += (before - self.nat.sessions.len()) as u64;
        assert!(self.hear().is_empty(), "blocks claimed by nobody's packet");
        assert_eq!(std::mem::take(&mut self.rig.ear.probes), probed, "sessions probed");
        let nat = &self.nat;
        let wanted = [nat.sessions.len(), nat.bindings.len(), nat.subscribers(), nat.blocks.len()];
        if self.rig.totals() != wanted {
            // Says which.
            self.compare();
        }
        let nat = &self.nat;
        let wanted = [nat.sessions.len(), nat.bindings.len(), nat.subscribers(), nat.blocks.len()];
        assert_eq!(self.rig.totals(), wanted, "sessions, bindings, subscribers, port blocks");
    }

    fn reload(&mut self) {
        let given = scenario::spec(self.dice);
        // One change at a time: how far the one before has come is nobody's business but the engine's.
        self.settle();
        if self.rig.reload(&given) {
            self.nat.reload(given);
            self.tally.reloads += 1;
            self.calm_until = self.rig.now.after(PATROL);
        }
        // Which sessions are ended before the sweep comes, and still count, depends on who is asked first. With one worker
        // that is known; of several, the one that has the session may not be the one that has its port now.
        if self.dice.one_in(2) || self.stakes.workers > 1 {
            self.settle();
        }
    }

    /// The operator deletes any session.
    fn delete(&mut self) {
        let live = self.records.iter().enumerate().filter(|(_, record)| record.is_live());
        let live: Vec<usize> = live.map(|(number, _)| number).collect();
        if live.is_empty() {
            return;
        }
        let number = live[self.dice.roll(live.len() as u32) as usize];
        let fixed = self.records[number].fixed();
        let Some(flow) = self.flow(&fixed, true) else { return };
        let key = (flow.inside, flow.prefix, flow.remote);
        let engine = &mut self.rig.engines[usize::from(fixed.owner)];
        engine.delete(SessionIndex(number as u32), self.rig.now, &mut self.rig.ear);
        self.nat.delete(&key);
        self.tally.ended += 1;
        assert!(self.hear().is_empty(), "a deletion claims no block");
    }

    /// The operator takes away all mappings of a host, or those of one port, or one protocol.
    fn remove(&mut self) {
        let live: Vec<&Session> = self.records.iter().filter(|record| record.is_live()).collect();
        if live.is_empty() {
            return;
        }
        let fixed = live[self.dice.roll(live.len() as u32) as usize].fixed();
        let Some(kind) = fixed.kind_realm.kind() else { return };
        let port = self.dice.one_in(2).then_some(fixed.inside_port);
        let protocol = Protocol::from_number(fixed.protocol).filter(|_| self.dice.one_in(2));
        let removal = Removal { kind, inside: fixed.inside, port, protocol };
        let removed = self.rig.remove(&removal);
        assert_eq!(removed, self.nat.remove(&removal), "sessions of {removal:?}");
        self.tally.ended += removed;
        assert!(self.hear().is_empty(), "a removal claims no block");
    }

    /// The process is killed and starts again, with any number of workers. Nothing of its state is left.
    fn restart(&mut self) {
        self.settle();
        self.compare();
        for record in self.records.iter().filter(|record| record.is_live()) {
            record.delete();
        }
        if self.stakes.workers > 1 {
            self.stakes.workers = 2 + self.dice.roll(6) as u8;
        }
        let spec = self.nat.rules.spec.clone();
        (self.rig, self.nat) = fresh(self.dice, &self.stakes, self.records, spec, self.rig.now);
        self.logged.clear();
        self.calm_until = self.rig.now.after(PATROL);
        self.tally.restarts += 1;
    }
}

/// Engines and a reference that know nothing yet.
fn fresh(
    dice: &mut impl Dice,
    stakes: &Stakes,
    records: &'static [Session],
    given: Spec,
    now: Tick,
) -> (Rig, Nat) {
    // Chosen by a fuzzer, the seeds of the hashes would be chosen to collide. Nobody outside can do that.
    let chosen = [(); 3].map(|()| u64::from(dice.roll(u32::MAX)));
    let mut mixed = Seeded::new(chosen[0] ^ chosen[1] << 21 ^ chosen[2] << 42);
    let seed = [(); 4].map(|()| u64::from(mixed.roll(u32::MAX)) << 32 | u64::from(mixed.roll(u32::MAX)) | 1);
    for record in records.iter().filter(|record| record.is_live()) {
        record.delete();
    }
    let mut given = given;
    if now.0 > u32::MAX / 2 {
        // An engine that is made seventeen years after its clock began takes the subscribers of its static bindings for
        // ones of the future, who have gained nothing yet. Nobody needs it to do better.
        given.statics.clear();
    }
    let (rig, given) = match Rig::new(records, stakes.workers, seed, &given, now) {
        Some(rig) => (rig, given),
        None => (Rig::new(records, stakes.workers, seed, &plain(), now).expect("a plain one"), plain()),
    };
    let mut rig = rig;
    rig.settle();
    (rig, Nat::new(given, records.len(), now))
}
