//! Rows about packets of established sessions.

use sluice_nat::{Direction, Protocol};
use sluice_packet::Family;

use super::Suite;
use crate::checksum::FullChecksum;
use crate::established::Established;
use crate::flows::{DIRECTIONS, Flows, KINDS, direction_name};
use crate::frames::family;
use crate::lookup::Lookup;
use crate::meter::{Meter, Run, Workload};
use crate::population::Arrival;
use crate::report::{Row, YARDSTICK};
use crate::rewrite::{DeltaAlone, RewriteAlone};
use crate::suite::SIZES;
use crate::whole::{Parse, Whole};
use crate::yardstick::{Walk, Yardstick};
use crate::{Error, Population};

type OnPopulation = Box<dyn Workload<State = Population>>;

/// A workload on a population, and what it took so far.
struct Entry {
    bench: String,
    workload: OnPopulation,
    runs: Vec<Run>,
    arrival: Arrival,
}

impl Entry {
    fn new(bench: String, workload: impl Workload<State = Population> + 'static) -> Self {
        Self { bench, workload: Box::new(workload), runs: Vec::new(), arrival: Arrival::Uniform }
    }
}

/// The rows of a table full of such flows.
fn entries(flows: Flows, short: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for direction in DIRECTIONS {
        let name = flows.name(direction);
        let is_tcp = flows.protocol == Protocol::Tcp;
        if !short || !is_tcp || direction == Direction::Outbound {
            entries.push(Entry::new(format!("engine.{name}"), Established::new(direction, Arrival::Uniform)));
        }
        if is_tcp {
            continue;
        }
        if !short {
            let zipf = Established::new(direction, Arrival::Zipf);
            let zipf = Entry::new(format!("engine.{name}.zipf"), zipf);
            entries.push(Entry { arrival: Arrival::Zipf, ..zipf });
            entries.push(Entry::new(format!("engine.lookup.{name}"), Lookup::new(direction)));
        }
        entries.push(Entry::new(format!("engine.whole.{name}"), Whole::new(direction)));
    }
    entries
}

/// One run of each workload.
fn take_turns(groups: &mut [(Population, Vec<Entry>)], meter: &mut Meter) -> Result<(), Error> {
    for (population, entries) in groups {
        for entry in entries {
            entry.runs.push(meter.run(&mut *entry.workload, population)?);
        }
    }
    Ok(())
}

impl Suite<'_> {
    /// Populations for the entries that are wanted.
    fn groups(&self, all: Vec<(Flows, Vec<Entry>)>) -> Result<Vec<(Population, Vec<Entry>)>, Error> {
        let wanted = all.into_iter().map(|(flows, entries)| {
            (flows, entries.into_iter().filter(|entry| self.plan.wants(&entry.bench)).collect::<Vec<_>>())
        });
        let wanted = wanted.filter(|(_, entries)| !entries.is_empty());
        wanted.map(|(flows, entries)| Ok((Population::new(flows)?, entries))).collect()
    }

    /// Workloads for which the number of sessions does not matter.
    pub(super) fn alone(&mut self) -> Result<(), Error> {
        let mut all: Vec<_> = KINDS.map(|kind| (Flows::udp(kind, SIZES[0]), Vec::new())).into();
        for (flows, entries) in &mut all {
            let direction = Direction::Outbound;
            let family = match family(flows.kind, direction) {
                Family::V6 => "ipv6",
                Family::V4 => "ipv4",
            };
            entries.push(Entry::new(format!("engine.parse.{family}"), Parse::new(direction)));
            entries.extend(DIRECTIONS.map(|direction| {
                let name = format!("engine.rewrite.{}.{}", flows.kind, direction_name(direction));
                Entry::new(name, RewriteAlone::new(direction))
            }));
        }
        let delta = DeltaAlone::new(Direction::Outbound);
        let entries = &mut all[0].1;
        entries.push(Entry::new("engine.checksum.delta".into(), delta));
        for len in [46, 1500] {
            entries.push(Entry::new(format!("engine.checksum.full.{len}"), FullChecksum::new(len)));
        }
        let mut groups = self.groups(all)?;
        if groups.is_empty() {
            return Ok(());
        }
        self.say("headers and checksums alone");
        for _ in 0..self.plan.runs {
            take_turns(&mut groups, &mut self.meter)?;
        }
        for entry in groups.into_iter().flat_map(|(_, entries)| entries) {
            self.add(entry.bench, 0, &entry.runs);
        }
        Ok(())
    }

    /// All rows of a size.
    pub(super) fn engine(&mut self, sessions: u32, runs: usize) -> Result<(), Error> {
        let flows =
            KINDS.into_iter().flat_map(|kind| [Flows::udp(kind, sessions), Flows::tcp(kind, sessions)]);
        let all: Vec<_> = flows.map(|flows| (flows, entries(flows, self.plan.is_short()))).collect();
        let wants =
            |(_, entries): &(Flows, Vec<Entry>)| entries.iter().any(|entry| self.plan.wants(&entry.bench));
        if !all.iter().any(wants) && !self.plan.wants(YARDSTICK) {
            return Ok(());
        }
        self.say(&format!("engine, {sessions} sessions"));
        let mut groups = self.groups(all)?;
        let has_zipf =
            groups.iter().flat_map(|(_, entries)| entries).any(|entry| entry.arrival == Arrival::Zipf);
        let mut table = Yardstick::new(sessions);
        let mut walks = vec![(YARDSTICK.to_owned(), Walk::new(Arrival::Uniform), Vec::new())];
        if has_zipf {
            walks.push((format!("{YARDSTICK}.zipf"), Walk::new(Arrival::Zipf), Vec::new()));
        }
        self.machine.see_memory();
        for _ in 0..runs {
            for (_, walk, runs) in &mut walks {
                runs.push(self.meter.run(walk, &mut table)?);
            }
            take_turns(&mut groups, &mut self.meter)?;
        }
        let mut least = Vec::new();
        for (bench, _, runs) in walks {
            let mut row = Row::of_cycles(bench, sessions, &runs);
            row.yardstick = Some(row.min);
            least.push(row.min);
            self.report.rows.push(row);
        }
        for entry in groups.into_iter().flat_map(|(_, entries)| entries) {
            let mut row = Row::of_cycles(entry.bench, sessions, &entry.runs);
            // Packets that come by Zipf's law are compared with a yardstick whose packets do.
            row.yardstick =
                if entry.arrival == Arrival::Zipf { least.last() } else { least.first() }.copied();
            self.report.rows.push(row);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        for (short, count) in [(true, 10), (false, 20)] {
            let flows = KINDS.into_iter().flat_map(|kind| [Flows::udp(kind, 1024), Flows::tcp(kind, 1024)]);
            let names: Vec<_> =
                flows.flat_map(|flows| entries(flows, short)).map(|entry| entry.bench).collect();
            assert_eq!((names.len(), names.iter().collect::<HashSet<_>>().len()), (count, count));
            assert!(names.contains(&"engine.nat64.outbound.tcp".to_owned()));
        }
    }
}
