//! Rows about everything that is not the packet of an established session.

use sluice_nat::Kind;

use super::Suite;
use crate::expiry::{self, Calls, Expiry, Round};
use crate::flows::{Flows, KINDS};
use crate::handoff::{ShmRing, WorkerRing};
use crate::least::LEAST_RUNS;
use crate::machine::available_kib;
use crate::meter::{BATCH, Run, Workload};
use crate::port::{Pool, SHARES};
use crate::report::{CYCLES, Row};
use crate::setup::{Beside, Filling, RING};
use crate::{Error, memory};

/// Sessions of the tables whose memory and whose end are measured.
const MANY: u32 = 1 << 20;
/// The most sessions whose memory is measured.
const MOST: u32 = 10_000_000;
/// Room for a table of [`MOST`] sessions, and to spare.
const ROOM_FOR_MOST_KIB: u64 = 4 << 20;
/// Flows of a binding where they share one.
const SHARING: u32 = 8;

impl Suite<'_> {
    pub(super) fn memory(&mut self) -> Result<(), Error> {
        let more = !self.plan.quick && available_kib() > ROOM_FOR_MOST_KIB;
        for sessions in std::iter::once(MANY).chain(more.then_some(MOST)) {
            for (kind, sharing) in [(Kind::Nat64, 1), (Kind::Nat64, SHARING), (Kind::Nat44, 1)] {
                let bindings = if sharing == 1 { "own_binding" } else { "shared_binding" };
                let bench = format!("memory.{kind}.{bindings}");
                if !self.plan.wants(&bench) {
                    continue;
                }
                self.say(&format!("memory, {sessions} sessions"));
                let bytes = memory::grown(Flows { sharing, ..Flows::udp(kind, sessions) })? as f64;
                let total = format!("{bench}.total");
                let each = vec![bytes / f64::from(sessions)];
                self.report.rows.push(Row::new(bench, sessions, "bytes", each));
                self.report.rows.push(Row::new(total, sessions, "GiB", vec![bytes / f64::from(1 << 30)]));
            }
        }
        Ok(())
    }

    pub(super) fn handoff(&mut self) -> Result<(), Error> {
        let rings: [(&str, Box<dyn Workload<State = ()>>); 2] = [
            ("handoff.shm_ring", Box::new(ShmRing::new()?)),
            ("handoff.ring", Box::new(WorkerRing::default())),
        ];
        for (bench, mut ring) in rings {
            if !self.plan.wants(bench) {
                continue;
            }
            self.say("rings");
            let runs: Result<Vec<Run>, Error> =
                (0..self.plan.runs).map(|_| self.meter.run(&mut *ring, &mut ())).collect();
            self.add(bench, 0, &runs?);
        }
        Ok(())
    }

    /// New sessions in a table of a size.
    pub(super) fn setup(&mut self, sessions: u32) -> Result<(), Error> {
        let tables = KINDS.map(|kind| (format!("setup.{kind}"), Flows::udp(kind, sessions)));
        let shared = Flows { sharing: SHARING, ..Flows::udp(Kind::Nat64, sessions) };
        let tables = tables.into_iter().chain([("setup.nat64.shared_binding".to_owned(), shared)]);
        let tables: Vec<_> = tables.filter(|(bench, _)| self.plan.wants(bench)).collect();
        let beside = "setup.nat64.established_beside";
        let has_beside = self.plan.wants(beside) && sessions / 5 * 2 > RING as u32;
        if tables.is_empty() && !has_beside {
            return Ok(());
        }
        self.say(&format!("new sessions, room for {sessions}"));
        self.yardstick(sessions)?;
        for (bench, flows) in tables {
            let mut table = Filling::new(flows, 12 * BATCH as u32)?;
            let runs: Result<Vec<Run>, Error> = (0..self.plan.runs).map(|_| table.run()).collect();
            self.add(bench, sessions, &runs?);
        }
        if has_beside {
            let mut table = Beside::new(sessions)?;
            let runs: Result<Vec<Run>, Error> = (0..self.plan.runs).map(|_| table.run()).collect();
            self.add(beside, sessions, &runs?);
        }
        Ok(())
    }

    /// New bindings while a share of the pool is in use.
    pub(super) fn ports(&mut self) -> Result<(), Error> {
        let bench = |share| format!("setup.port.{share}");
        if !SHARES.into_iter().any(|share| self.plan.wants(&bench(share))) {
            return Ok(());
        }
        self.say("ports of a pool that is nearly used up");
        let mut pool = Pool::new(self.plan.runs)?;
        for share in SHARES {
            pool.use_up(share)?;
            if self.plan.wants(&bench(share)) {
                let runs: Result<Vec<Run>, Error> = (0..self.plan.runs).map(|_| pool.run()).collect();
                self.add(bench(share), pool.ports(), &runs?);
            }
        }
        Ok(())
    }

    /// The end of sessions.
    pub(super) fn expiry(&mut self) -> Result<(), Error> {
        let names = ["end", "refile", "nothing"].map(|part| format!("expiry.{part}.thousandth_call"));
        if !names.iter().any(|name| self.plan.wants_part_of(name)) {
            return Ok(());
        }
        self.say("end of sessions");
        let mut table = Expiry::new(MANY)?;
        let rounds: Result<Vec<Round>, Error> = (0..self.plan.runs).map(|_| table.round()).collect();
        let rounds = rounds?;
        let each = |pick: fn(&Round) -> f64| rounds.iter().map(pick).collect::<Vec<_>>();
        let mut rows = vec![
            Row::new("expiry.end", MANY, CYCLES, each(|r| r.end.cycles as f64 / f64::from(r.ended))),
            Row::new(
                "expiry.refile",
                MANY,
                CYCLES,
                each(|r| r.refile.cycles as f64 / r.refile.seen.max(1) as f64),
            ),
        ];
        let calls = rounds.iter().flat_map(|r| [r.end, r.refile, r.nothing]);
        let calls: Vec<Calls> = calls.collect();
        for (number, part) in ["end", "refile", "nothing"].into_iter().enumerate() {
            let each = || calls.iter().skip(number).step_by(3);
            let time = |cycles: u64| cycles as f64 / self.machine.unit_mhz;
            let thousandth = each().map(|calls| time(calls.thousandth)).collect();
            rows.push(Row::new(format!("expiry.{part}.thousandth_call"), MANY, "microseconds", thousandth));
            let longest = each().map(|calls| time(calls.longest)).collect();
            rows.push(Row::new(format!("expiry.{part}.interrupted"), MANY, "microseconds", longest));
        }
        drop(table);
        for &sessions in self.plan.longest_sizes() {
            self.say(&format!("longest calls, {sessions} sessions"));
            let [refile, end] = expiry::least(sessions, self.plan.runs.max(LEAST_RUNS))?;
            for (part, least) in [("end", end), ("refile", refile)] {
                let longest = least.longest() as f64 / self.machine.unit_mhz;
                let name = format!("expiry.{part}.longest_call");
                rows.push(Row::new(name, sessions, "microseconds", vec![longest]));
            }
        }
        self.report.rows.extend(rows.into_iter().filter(|row| self.plan.wants(&row.bench)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SIZES;

    #[test]
    fn the_largest_chunk_fits_the_smallest_table_that_is_flooded() {
        assert!(SIZES.iter().filter(|&&size| size / 5 * 2 > RING as u32).count() == 3);
    }
}
