//! Rows about whole workers: from Ethernet in to transmit, with routes, sizes, counters and time; the driver's share left out.

#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod golden;
mod longest;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod pieces;
mod rig;

use std::sync::Arc;

use sluice_dpdk::{Eal, EalArgs};
use sluice_nat::{Direction, Engine, Kind, WorkerId};
use sluice_shm::{Counter, CountersSnapshot};

use crate::flows::{DIRECTIONS, Flows, KINDS, direction_name};
use crate::frames::{self, Buffer};
use crate::least::{LEAST_RUNS, Least};
use crate::machine::Machine;
use crate::meter::{START, summary};
use crate::population::Arrival;
use crate::report::{CYCLES, Method, Report, Row, Source, YARDSTICK};
use crate::suite::{Plan, SIZES};
use crate::yardstick::{Walk, Yardstick};
use crate::{Error, Meter, Population, Random};
use rig::{ROUND, Rig, driver};

/// Rounds of a run.
const ROUNDS: usize = 1000;
/// Memory of DPDK: rings and buffers of the rigs of a size.
const MEMORY_MB: u32 = 768;
/// Sessions of the rows about hand-off.
const SHARED_SESSIONS: u32 = SIZES[1];

/// The stages that a worker keeps account of, and how their rows are called.
const STAGES: [(&str, Counter); 7] = [
    ("receive", Counter::CyclesReceive),
    ("parse", Counter::CyclesParse),
    ("look_up", Counter::CyclesLookUp),
    ("route", Counter::CyclesRoute),
    ("translate", Counter::CyclesTranslate),
    ("transmit", Counter::CyclesTransmit),
    ("upkeep", Counter::CyclesUpkeep),
];

/// A measurement under way.
struct Bench<'a> {
    eal: Eal,
    plan: &'a Plan,
    report: Report,
    random: Random,
    /// What the driver takes a packet.
    driver: f64,
    progress: &'a mut dyn FnMut(&str),
}

/// Measures all rows of a plan. `progress` hears what comes next.
///
/// # Errors
/// Of DPDK and engine, [`Error::Lost`], [`Error::NoRow`].
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    let mut machine = Machine::before(plan.core);
    let eal = Eal::init(&EalArgs { memory_mb: MEMORY_MB, ..EalArgs::default() })?;
    let (report, random) = (Report::default(), Random::new(0x776f_726b));
    let mut bench = Bench { eal, plan, report, random, driver: 0.0, progress: &mut progress };
    bench.of_driver()?;
    for sessions in SIZES {
        bench.established(sessions)?;
    }
    bench.new_sessions()?;
    bench.hand_off()?;
    bench.longest_turns(machine.unit_mhz)?;
    machine.after();
    let Bench { mut report, .. } = bench;
    report.rows.retain(|row| plan.wants(&row.bench) || row.bench == YARDSTICK);
    if report.rows.iter().all(|row| row.bench == YARDSTICK) {
        return Err(Error::NoRow(plan.only.clone().unwrap_or_default()));
    }
    report.sources.push(Source { machine, method: method(plan.runs) });
    report.compare();
    Ok(report)
}

fn method(runs: usize) -> Method {
    let text = format!(
        "A worker with both directions' ports (net_ring) in one thread: {ROUND} frames of 64 bytes are put into a ring outside of \
         the measured time, the worker's loop runs until nothing is left, what comes out is counted. From Ethernet in to \
         transmit, with interfaces, routes, next hops, MTU, counters and clock; bursts of {}. What the driver takes for the same \
         frames without a worker (worker.driver) is subtracted. Every flow has had a packet before. The rows of stages are the \
         worker's own account, as `sluice cycles` shows it; upkeep includes the rounds of the loop that found nothing.",
        rig::BURST
    );
    Method { part: "worker".into(), text, runs, batch: rig::BURST, ..Method::default() }
}

impl Bench<'_> {
    fn wants(&self, bench: &str) -> bool {
        self.plan.wants(bench)
    }

    fn of_driver(&mut self) -> Result<(), Error> {
        (self.progress)("the driver alone");
        let mut runs = Vec::new();
        for _ in 0..self.plan.runs {
            runs.push(summary(&mut driver(&self.eal, ROUNDS)?, ROUND));
        }
        let row = Row::of_cycles("worker.driver", 0, &runs);
        self.driver = row.median;
        self.report.rows.push(row);
        Ok(())
    }

    /// A worker over the engine of a population, which keeps the flows.
    fn rig(&self, population: &mut Population) -> Result<Rig, Error> {
        // The sessions are as old as they are in the engine's own benchmarks.
        Rig::over(&self.eal, population, START.after(4))
    }

    fn established(&mut self, sessions: u32) -> Result<(), Error> {
        let name = |kind: Kind, direction| format!("worker.{kind}.{}", direction_name(direction));
        let all = KINDS.into_iter().flat_map(|kind| DIRECTIONS.map(|direction| (kind, direction)));
        let wanted: Vec<_> = all.filter(|&(kind, direction)| self.wants(&name(kind, direction))).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        (self.progress)(&format!("worker, {sessions} sessions"));
        let mut rigs = Vec::new();
        for kind in KINDS.into_iter().filter(|kind| wanted.iter().any(|(wanted, _)| wanted == kind)) {
            let mut population = Population::new(Flows::udp(kind, sessions))?;
            rigs.push((self.rig(&mut population)?, population));
        }
        for (rig, population) in &mut rigs {
            for direction in DIRECTIONS {
                warm_up(rig, population, direction)?;
            }
        }
        let (mut table, mut meter) = (Yardstick::new(sessions), Meter::new());
        let (mut walk, mut walks) = (Walk::new(Arrival::Uniform), Vec::new());
        let mut runs = vec![Vec::new(); wanted.len()];
        let mut stages = vec![Vec::new(); wanted.len()];
        for _ in 0..self.plan.runs {
            walks.push(meter.run(&mut walk, &mut table)?);
            for ((&(kind, direction), runs), stages) in wanted.iter().zip(&mut runs).zip(&mut stages) {
                let found = rigs.iter_mut().find(|(_, population)| population.flows.kind == kind);
                let Some((rig, population)) = found else { continue };
                let before = rig.counters(0);
                let mut samples = Vec::with_capacity(ROUNDS);
                for _ in 0..ROUNDS {
                    samples.push(round(rig, population, direction, &mut self.random)?);
                }
                runs.push(summary(&mut samples, ROUND));
                stages.push(account(&before, &rig.counters(0)));
            }
        }
        let yardstick = Row::of_cycles(YARDSTICK, sessions, &walks);
        self.report.rows.push(Row { yardstick: Some(yardstick.min), ..yardstick });
        for (((kind, direction), mut runs), stages) in wanted.into_iter().zip(runs).zip(stages) {
            runs.iter_mut().for_each(|run| run.cycles_per_packet -= self.driver);
            let name = name(kind, direction);
            self.report.rows.push(Row::of_cycles(&name, sessions, &runs));
            for (at, (stage, _)) in STAGES.into_iter().enumerate() {
                let figures = stages.iter().map(|account| account[at]).collect();
                self.report.rows.push(Row::new(format!("{name}.{stage}"), sessions, CYCLES, figures));
            }
        }
        Ok(())
    }

    /// First packets of flows: a table of a million sessions is filled to four fifths.
    fn new_sessions(&mut self) -> Result<(), Error> {
        for kind in KINDS {
            let (name, room) = (format!("worker.new.{kind}"), SIZES[2]);
            if !self.wants(&name) {
                continue;
            }
            (self.progress)(&format!("new {kind} sessions"));
            let mut runs = Vec::new();
            for _ in 0..self.plan.runs.min(3) {
                let mut population = Population::empty(Flows::udp(kind, room), room)?.shuffled();
                let mut rig = self.rig(&mut population)?;
                let mut samples = Vec::new();
                let (first, last) = (room / 5 * 2, room / 5 * 4);
                for start in (0..last).step_by(ROUND) {
                    let mut n = start;
                    let (spent, out) = rig.round(Direction::Outbound, |buffer| {
                        n += 1;
                        write(&population, Direction::Outbound, population.nth(n - 1), buffer)
                    });
                    check(out)?;
                    if start >= first {
                        samples.push(spent);
                    }
                }
                runs.push(summary(&mut samples, ROUND));
            }
            runs.iter_mut().for_each(|run| run.cycles_per_packet -= self.driver);
            self.report.rows.push(Row::of_cycles(name, room, &runs));
        }
        Ok(())
    }

    /// The longest turn while sessions end or begin. With ten million only if it is asked for by name.
    fn longest_turns(&mut self, unit_mhz: f64) -> Result<(), Error> {
        type Measure = fn(&Eal, u32, usize) -> Result<Least, Error>;
        let all: [(&str, Measure); 2] = [("end", longest::end), ("new", longest::new)];
        for (name, measure) in all.map(|(part, measure)| (format!("worker.longest_turn.{part}"), measure)) {
            if !self.wants(&name) {
                continue;
            }
            for &sessions in self.plan.longest_sizes() {
                (self.progress)(&format!("{name}, {sessions} sessions"));
                let least = measure(&self.eal, sessions, self.plan.runs.max(LEAST_RUNS))?;
                self.report.rows.extend(rows_of_longest(&name, sessions, &least, unit_mhz));
            }
        }
        Ok(())
    }

    /// Two workers in turn on one core, the second without receive queues: a share of the packets is the second's.
    fn hand_off(&mut self) -> Result<(), Error> {
        if !self.wants("handoff.worker.") && !self.wants("handoff.worker.0") {
            return Ok(());
        }
        (self.progress)("hand-off between two workers");
        let flows = Flows::udp(Kind::Nat64, SHARED_SESSIONS);
        let population = Population::for_workers(flows, 2)?;
        let (shared, config) = (Arc::clone(&population.shared), Arc::clone(&population.config));
        let engines =
            [0, 1].map(|worker| Engine::new(Arc::clone(&shared), WorkerId(worker), Arc::clone(&config)));
        let mut rig = Rig::at(&self.eal, &shared, &config, engines.into(), 1, START.after(4))?;
        let owner = |flow: &u32| {
            let tuple = population.outbound(*flow);
            shared.subscriber_worker(&config, tuple.kind_realm, tuple.inside).0
        };
        let owned = [0, 1]
            .map(|worker| (0..SHARED_SESSIONS).filter(|flow| owner(flow) == worker).collect::<Vec<u32>>());
        // The first packets open the sessions.
        let mut all = (0..SHARED_SESSIONS).cycle();
        for _ in 0..2 * SHARED_SESSIONS as usize / ROUND {
            let (_, out) = rig.round(Direction::Outbound, |buffer| {
                write(&population, Direction::Outbound, all.next().unwrap_or(0), buffer)
            });
            check(out)?;
        }
        for share in [0, 50, 100] {
            let mut runs = Vec::new();
            for _ in 0..self.plan.runs {
                let mut samples = Vec::with_capacity(ROUNDS);
                for _ in 0..ROUNDS {
                    let random = &mut self.random;
                    let (spent, out) = rig.round(Direction::Outbound, |buffer| {
                        let flows = &owned[usize::from(random.below(100) < share)];
                        let flow = flows[random.below(flows.len() as u32) as usize];
                        write(&population, Direction::Outbound, flow, buffer)
                    });
                    check(out)?;
                    samples.push(spent);
                }
                runs.push(summary(&mut samples, ROUND));
            }
            runs.iter_mut().for_each(|run| run.cycles_per_packet -= self.driver);
            self.report.rows.push(Row::of_cycles(format!("handoff.worker.{share}"), SHARED_SESSIONS, &runs));
        }
        Ok(())
    }
}

/// The longest turn by its least over the runs, and what the runs had for longest turns themselves.
fn rows_of_longest(name: &str, sessions: u32, least: &Least, unit_mhz: f64) -> [Row; 3] {
    let time = |cycles: u64| cycles as f64 / unit_mhz;
    let interrupted = least.interrupted().iter().map(|&cycles| time(cycles)).collect();
    [
        Row::new(name, sessions, "microseconds", vec![time(least.longest())]),
        Row::new(format!("{name}.later"), sessions, "microseconds", vec![time(least.longest_later())]),
        Row::new(format!("{name}.interrupted"), sessions, "microseconds", interrupted),
    ]
}

/// A frame of a flow. Returns its length.
fn write(population: &Population, direction: Direction, flow: u32, buffer: &mut Buffer) -> usize {
    frames::write(population, direction, flow, buffer);
    frames::len(frames::family(population.flows.kind, direction))
}

fn check(out: usize) -> Result<(), Error> {
    let (handled, expected) = (out as u64, ROUND as u64);
    if handled == expected { Ok(()) } else { Err(Error::Lost { handled, expected }) }
}

/// A packet of every flow.
fn warm_up(rig: &mut Rig, population: &Population, direction: Direction) -> Result<(), Error> {
    let mut flows = (0..population.sessions()).cycle();
    for _ in 0..(population.sessions() as usize).div_ceil(ROUND) {
        let next = |buffer: &mut Buffer| write(population, direction, flows.next().unwrap_or(0), buffer);
        check(rig.round(direction, next).1)?;
    }
    Ok(())
}

/// Packets of any flows. Returns the cycles.
fn round(
    rig: &mut Rig,
    population: &Population,
    direction: Direction,
    random: &mut Random,
) -> Result<u64, Error> {
    let (spent, out) = rig
        .round(direction, |buffer| write(population, direction, random.below(population.sessions()), buffer));
    check(out)?;
    Ok(spent)
}

/// Cycles a packet of each stage between two snapshots.
fn account(before: &CountersSnapshot, after: &CountersSnapshot) -> [f64; STAGES.len()] {
    let passed = |counter: Counter| after.get(counter).saturating_sub(before.get(counter)) as f64;
    let packets = passed(Counter::SampledPackets).max(1.0);
    STAGES.map(|(_, counter)| passed(counter) / packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    // DPDK starts once in a process, so there is one test.
    #[test]
    fn workers_translate_open_and_hand_over() {
        let eal = Eal::init(&EalArgs { memory_mb: 256, ..EalArgs::default() }).unwrap();
        let plan = Plan { runs: 1, quick: true, only: None, core: None };
        let mut progress = |_: &str| ();
        let (report, random) = (Report::default(), Random::new(1));
        let mut bench = Bench { eal, plan: &plan, report, random, driver: 0.0, progress: &mut progress };
        for kind in KINDS {
            let mut population = Population::new(Flows::udp(kind, 2048)).unwrap();
            let mut rig = bench.rig(&mut population).unwrap();
            for direction in DIRECTIONS {
                warm_up(&mut rig, &population, direction).unwrap();
                round(&mut rig, &population, direction, &mut bench.random).unwrap();
            }
            let counters = rig.counters(0);
            let of = |counter: Counter| counters.get(counter);
            assert_eq!(of(Counter::RxPackets), of(Counter::TxPackets));
            assert_eq!(of(Counter::Established), 2 * (2048 + ROUND as u64));
            assert!(of(Counter::SampledPackets) > 0 && of(Counter::CyclesTranslate) > 0);
        }
        bench.hand_off().unwrap();
        assert_eq!(bench.report.rows.len(), 3);
        for measure in [longest::end, longest::new] {
            let least = measure(&bench.eal, 8192, 2).unwrap();
            assert!(least.longest() > 0 && least.interrupted().iter().all(|&run| run >= least.longest()));
        }
        for kind in KINDS {
            the_lane_does_what_the_general_stages_do(&bench, Flows::udp(kind, 300));
            the_lane_does_what_the_general_stages_do(&bench, Flows::tcp(kind, 300));
            flood::established_flows_lose_nothing(&bench.eal, kind);
            flood::fragments_and_errors_cost_established_flows_nothing(&bench.eal, kind);
            pieces::fragments_arrive_as_what_was_sent(&bench.eal, kind);
        }
        pieces::atomic_fragments_disturb_nobody(&bench.eal);
        pieces::hosts_with_the_same_identification_leave_with_others(&bench.eal);
        pieces::fragments_are_hairpinned(&bench.eal);
        pieces::traced_fragments_have_an_end(&bench.eal);
        for (name, behaviour) in behaviour::ALL {
            println!("{name}");
            behaviour(&bench.eal);
        }
        golden::every_case_gives_what_it_gave(&bench.eal);
    }

    //= conformance XLT-50
    /// Two workers get the same frames one by one, of flows that exist and of others, many of them damaged. One of them traces
    /// all, which is the general way. To the byte, they send the same, and count the same.
    fn the_lane_does_what_the_general_stages_do(bench: &Bench<'_>, flows: Flows) {
        let mut random = Random::new(0x6c61_6e65);
        let mut populations = [0, 1].map(|_| Population::empty(flows, 1024).unwrap());
        populations.iter_mut().for_each(|population| population.open_to(200, START).unwrap());
        let known = Population::new(flows).unwrap();
        let mut rigs = populations.each_mut().map(|population| bench.rig(population).unwrap());
        rigs[1].trace_all();
        let mut carried = 0;
        for n in 0..6000u32 {
            let direction = DIRECTIONS[random.below(2) as usize];
            let population = &populations[0];
            // Inbound packets need the external port that the flow was given; of others, any will do.
            let flow = random.below(if direction == Direction::Inbound { 200 } else { flows.count });
            let mut buffer = Buffer::default();
            let len = write(if flow < 200 { population } else { &known }, direction, flow, &mut buffer);
            let mut frame = buffer.frame(len).to_vec();
            damage(&mut frame, &mut random);
            let port = usize::from(direction == Direction::Inbound);
            let out = rigs.each_mut().map(|rig| rig.one(port, &frame));
            carried += out[0].len();
            assert_eq!(out[0], out[1], "{flows:?} {direction:?} {n}: {frame:02x?}");
        }
        assert!(carried > 3000, "{carried}");
        // Gauges are published now and then.
        rigs.iter_mut().for_each(Rig::rest);
        let [lane, general] = rigs.each_ref().map(|rig| rig.counters(0));
        let own = |counter: Counter| {
            let name = counter.name();
            name.starts_with("cycles")
                || name.contains("loop")
                || name.contains("sampled")
                || name == "traces_lost"
        };
        for &counter in Counter::ALL.iter().filter(|&&counter| !own(counter)) {
            assert_eq!(lane.get(counter), general.get(counter), "{flows:?} {counter}");
        }
        for &reason in sluice_packet::DropReason::ALL {
            assert_eq!(lane.drops(reason), general.drops(reason), "{flows:?} {reason:?}");
        }
        for interface in 0..2 {
            assert_eq!(lane.interface(interface), general.interface(interface), "{flows:?} {interface}");
        }
    }

    /// What the network does to packets, and worse.
    fn damage(frame: &mut Vec<u8>, random: &mut Random) {
        let six = frame[12..14] == [0x86, 0xdd];
        let (ttl, l4) = if six { (21, 54) } else { (22, 34) };
        match random.below(16) {
            0 => frame[ttl] = random.below(3) as u8,
            1 => frame[random.below(14) as usize] ^= 1 << random.below(8),
            2 => frame[14 + random.below(40) as usize] ^= 1 << random.below(8),
            3 => frame[l4 + random.below(20) as usize] ^= 1 << random.below(8),
            4 => frame.truncate(14 + random.below(60) as usize),
            5 => frame.extend((0..random.below(60)).map(|_| 0xee)),
            // A UDP checksum of zero; in TCP the upper half of the sequence number.
            6 => frame[l4 + 6..l4 + 8].fill(0),
            7 => frame.splice(12..12, [0x81, 0, random.below(2) as u8, 0]).for_each(drop),
            // Flags of TCP.
            8 => frame[(l4 + 13).min(59)] = random.below(256) as u8,
            _ => return,
        }
        if !six && frame.len() >= 34 && frame[14] == 0x45 && random.below(4) > 0 {
            frame[24..26].fill(0);
            let sum = sluice_packet::checksum::ipv4_header(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    }
}
