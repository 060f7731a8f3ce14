//! `sluice cycles`: how busy the workers are, and what a packet costs them, stage by stage.

use std::thread;
use std::time::Duration;

use clap::Args;
use serde::{Serialize, Serializer};
use sluice_shm::{Counter, CountersSnapshot, DataplaneInfo, now_ns};

use super::output::{BOLD, DIM, Output, PLAIN, Table, grouped, scaled};
use super::{CliError, Global};
use crate::daemon::thread_name;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice cycles\n  sluice cycles --interval 10\n  sluice cycles --total\n  sluice cycles --json | jq '.workers[] | {worker, load_percent, stages}'"
)]
pub(crate) struct Cycles {
    /// How long to look
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Show everything since the dataplane started instead of an interval
    #[arg(long, conflicts_with = "interval")]
    total: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0.1 to 3600 seconds".to_owned())
}

/// The counters at one moment.
struct Look {
    info: DataplaneInfo,
    /// By worker.
    counters: Vec<CountersSnapshot>,
    at_ns: u64,
}

impl Look {
    fn take(global: &Global) -> Result<Self, CliError> {
        let observer = global.observe()?;
        let info = observer.info();
        // One that has died counted until its last heartbeat.
        let at_ns = if info.alive { now_ns() } else { info.heartbeat_ns };
        Ok(Self { info, counters: observer.counters(), at_ns })
    }

    fn alive(global: &Global) -> Result<Self, CliError> {
        let look = Self::take(global)?;
        if look.info.alive {
            return Ok(look);
        }
        Err(CliError::Nothing(format!(
            "the dataplane of {} does not run; `sluice cycles --total` shows what its last life counted",
            global.run().path().display()
        )))
    }

    /// What every worker of the present configuration counted since an earlier look, or since the start of its life, and the
    /// seconds in which it did. A dataplane that was started anew in between has counted from zero.
    fn since(&self, earlier: Option<&Self>) -> (Vec<CountersSnapshot>, f64) {
        let mut counted = self.counters.clone();
        counted.truncate(self.info.active_workers);
        let mut from = self.info.started_ns;
        if let Some(earlier) = earlier.filter(|earlier| earlier.info.epoch == self.info.epoch) {
            from = earlier.at_ns;
            for (now, then) in counted.iter_mut().zip(&earlier.counters) {
                *now = now.since(then);
            }
        }
        (counted, (self.at_ns.saturating_sub(from) as f64 / 1e9).max(0.001))
    }
}

/// What the counters of a worker, or of all of them together, say.
#[derive(Debug, PartialEq, Serialize)]
struct Figures {
    load_percent: Option<f64>,
    /// Received, handed over by other workers, or sent by the kernel.
    packets: u64,
    packets_per_second: f64,
    packets_per_busy_loop: Option<f64>,
    cycles_per_packet: Option<f64>,
    sampled_packets: u64,
    /// Cycles a packet by [`Counter::STAGES`], of the rounds that were looked at closely.
    #[serde(serialize_with = "by_stage")]
    stages: [Option<f64>; Counter::STAGES.len()],
    longest_loop_ns: u64,
}

impl Figures {
    fn new(counted: &CountersSnapshot, seconds: f64) -> Self {
        let packets = [Counter::RxPackets, Counter::HandoffIn, Counter::Injected]
            .iter()
            .fold(0_u64, |sum, &counter| sum.wrapping_add(counted.get(counter)));
        let sampled_packets = counted.get(Counter::SampledPackets);
        Self {
            load_percent: load_percent(counted),
            packets,
            packets_per_second: packets as f64 / seconds,
            packets_per_busy_loop: quotient(packets, counted.get(Counter::BusyLoops)),
            cycles_per_packet: quotient(counted.get(Counter::CyclesBusy), packets),
            sampled_packets,
            stages: Counter::STAGES.map(|stage| quotient(counted.get(stage), sampled_packets)),
            longest_loop_ns: counted.get(Counter::LongestLoopNs),
        }
    }
}

/// The share of its time in which a worker had packets; nothing for one that did not run.
pub(super) fn load_percent(counted: &CountersSnapshot) -> Option<f64> {
    let busy = counted.get(Counter::CyclesBusy);
    quotient(busy, busy.saturating_add(counted.get(Counter::CyclesIdle))).map(|share| share * 100.0)
}

fn quotient(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `look_up` of `cycles_look_up`.
fn stage_name(stage: Counter) -> &'static str {
    stage.name().trim_start_matches("cycles_")
}

fn by_stage<S: Serializer>(stages: &[Option<f64>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Counter::STAGES.map(stage_name).iter().zip(stages))
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report {
    since_start: bool,
    seconds: f64,
    cycles_per_microsecond: Option<u64>,
    workers: Vec<WorkerFigures>,
    total: Figures,
}

#[derive(Serialize)]
struct WorkerFigures {
    worker: usize,
    #[serde(flatten)]
    figures: Figures,
}

impl Cycles {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let (look, (counted, seconds)) = if self.total {
            let look = Look::take(global)?;
            let counted = look.since(None);
            (look, counted)
        } else {
            let before = Look::alive(global)?;
            thread::sleep(self.interval);
            let look = Look::alive(global)?;
            let counted = look.since(Some(&before));
            (look, counted)
        };
        if counted.is_empty() {
            return Err(CliError::Nothing("no worker runs yet: apply a configuration".to_owned()));
        }
        let workers = counted.iter().enumerate();
        let workers = workers
            .map(|(worker, counted)| WorkerFigures { worker, figures: Figures::new(counted, seconds) })
            .collect();
        let sum: CountersSnapshot = counted.into_iter().sum();
        let rate = sum.get(Counter::CyclesPerMicrosecond);
        let report = Report {
            since_start: self.total,
            seconds,
            cycles_per_microsecond: (rate > 0).then_some(rate),
            workers,
            total: Figures::new(&sum, seconds),
        };
        if out.json { out.json(&report) } else { write(&report, look.info.workers, out) }
    }
}

fn write(report: &Report, room: usize, out: &mut Output) -> Result<(), CliError> {
    let stages = Counter::STAGES.map(|stage| format!(">{}", stage_name(stage).replace('_', " ")));
    let mut heads = vec!["worker", ">load", ">pkt/s", ">pkt/loop", ">cycles/pkt"];
    heads.extend(stages.iter().map(String::as_str));
    heads.push(">longest loop");
    let mut table = Table::new(&heads);
    for worker in &report.workers {
        table.row(cells(thread_name(worker.worker, room), &worker.figures));
    }
    table.row(cells(format!("{BOLD}total{PLAIN}"), &report.total));
    table.write(out)?;
    if report.total.packets == 0 {
        let when = if report.since_start { "since the dataplane started" } else { "in this interval" };
        return out.line(format!("no packets {when}"));
    }
    let rate =
        report.cycles_per_microsecond.map_or_else(String::new, |n| format!(", {n} of them a microsecond"));
    out.line(format!(
        "{DIM}cycles a packet{rate}; stages by samples, one busy loop of sixteen; longest loop of the last second{PLAIN}"
    ))
}

fn cells(name: String, figures: &Figures) -> Vec<String> {
    let mut cells = vec![
        name,
        share(figures.load_percent),
        scaled(figures.packets_per_second),
        or_dash(figures.packets_per_busy_loop.map(|packets| format!("{packets:.1}"))),
        or_dash(figures.cycles_per_packet.map(cycles)),
    ];
    cells.extend(figures.stages.iter().map(|stage| or_dash(stage.map(cycles))));
    cells.push(format!("{:.1} µs", figures.longest_loop_ns as f64 / 1e3));
    cells
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// A load as a person reads it.
pub(super) fn share(percent: Option<f64>) -> String {
    or_dash(percent.map(|percent| format!("{percent:.1}%")))
}

/// One place behind the point where it says something.
fn cycles(n: f64) -> String {
    if n < 100.0 { format!("{n:.1}") } else { grouped(n.round() as u64) }
}

#[cfg(test)]
mod tests {
    use sluice_shm::{DataplaneRegion, RunDir, WorkerCounters};

    use super::*;

    /// A life of a dataplane with two workers, one of which has counted something.
    fn life(run: &RunDir, counted: &[(Counter, u64)]) -> (DataplaneRegion, &'static WorkerCounters) {
        let mut region = DataplaneRegion::create(run, 2).unwrap();
        let counters = region.take_worker(0).counters;
        region.set_active_workers(2);
        count(counters, counted);
        (region, counters)
    }

    fn count(counters: &WorkerCounters, counted: &[(Counter, u64)]) {
        counted.iter().for_each(|&(counter, n)| counters.add(counter, n));
    }

    fn look(run: &RunDir) -> Look {
        Look::take(&Global { run_dir: Some(run.path().to_owned()), json: false }).unwrap()
    }

    const SECOND: &[(Counter, u64)] = &[
        (Counter::RxPackets, 600),
        (Counter::HandoffIn, 300),
        (Counter::Injected, 100),
        (Counter::BusyLoops, 50),
        (Counter::CyclesBusy, 250_000),
        (Counter::CyclesIdle, 750_000),
        (Counter::SampledPackets, 64),
        (Counter::CyclesReceive, 3200),
        (Counter::CyclesLookUp, 640),
    ];

    #[test]
    fn figures_are_quotients_of_what_was_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (_region, counters) = life(&RunDir::new(dir.path()), SECOND);
        counters.set(Counter::LongestLoopNs, 900);
        let figures = Figures::new(&counters.snapshot(), 2.0);
        let mut stages = [Some(0.0); Counter::STAGES.len()];
        (stages[0], stages[2]) = (Some(50.0), Some(10.0));
        let expected = Figures {
            load_percent: Some(25.0),
            packets: 1000,
            packets_per_second: 500.0,
            packets_per_busy_loop: Some(20.0),
            cycles_per_packet: Some(250.0),
            sampled_packets: 64,
            stages,
            longest_loop_ns: 900,
        };
        assert_eq!(figures, expected);
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!((&json["stages"]["receive"], &json["stages"]["look_up"]), (&50.0.into(), &10.0.into()));
    }

    #[test]
    fn without_packets_there_are_no_quotients() {
        let nothing = Figures::new(&CountersSnapshot::default(), 1.0);
        assert_eq!((nothing.load_percent, nothing.packets_per_second), (None, 0.0));
        assert_eq!((nothing.packets_per_busy_loop, nothing.cycles_per_packet), (None, None));
        assert!(nothing.stages.iter().all(Option::is_none));

        let dir = tempfile::tempdir().unwrap();
        let (_region, counters) = life(&RunDir::new(dir.path()), &[(Counter::CyclesIdle, 5)]);
        assert_eq!(load_percent(&counters.snapshot()), Some(0.0));
    }

    #[test]
    fn an_interval_has_what_was_counted_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let (_region, counters) = life(&run, SECOND);
        let before = look(&run);
        count(counters, &SECOND[..1]);
        let mut after = look(&run);
        after.at_ns = before.at_ns + 2_000_000_000;
        let (counted, seconds) = after.since(Some(&before));
        assert_eq!((counted.len(), seconds), (2, 2.0));
        assert_eq!((counted[0].get(Counter::RxPackets), counted[0].get(Counter::CyclesBusy)), (600, 0));
        let (counted, seconds) = after.since(None);
        assert_eq!(counted[0].get(Counter::RxPackets), 1200);
        assert!(seconds >= 2.0);
    }

    #[test]
    fn a_new_life_of_the_dataplane_counts_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let (region, _) = life(&run, SECOND);
        let mut before = look(&run);
        drop(region);
        let _second = life(&run, &[(Counter::RxPackets, 700)]);
        let mut after = look(&run);
        // The new life began half a second ago, long after the first look.
        before.at_ns = after.info.started_ns - 5_000_000_000;
        after.at_ns = after.info.started_ns + 500_000_000;
        let (counted, seconds) = after.since(Some(&before));
        assert_eq!((counted[0].get(Counter::RxPackets), seconds), (700, 0.5));
    }

    #[test]
    fn intervals_are_sensible() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "1e9", "a second"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
