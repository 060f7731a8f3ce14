//! What came out: the same numbers as text for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::histogram::Histogram;
use crate::plan::Plan;
use crate::run::Sending;
use crate::signature::Direction;
use crate::verify::{Counts, Verifier};

/// Where timestamps are taken, which any statement about delay has to say.
//= conformance BENCH-33
const TIMESTAMPS: &str =
    "software clock; from writing a frame to reading it in the same process, queues of both ports included";

/// What is not in the judge's book.
#[derive(Debug)]
pub struct Machinery {
    /// Inside and outside port.
    pub devices: [String; 2],
    /// DPDK's version.
    pub dpdk: String,
    /// Whether packet memory is in hugepages.
    pub hugepages: bool,
    /// Loss allowed, in percent.
    pub allow_loss: f64,
    /// Frames that the tester's own ports lost.
    pub own_losses: u64,
    /// Frames that the responder could not answer.
    pub unanswered: u64,
    /// Flows that came through both ways before the measurement.
    pub opened: u32,
    /// How the sending went.
    pub sending: Sending,
    /// Strangers' frames sent, from inside and from outside.
    pub strangers: [u64; 2],
}

/// A report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything was right.
    pub passed: bool,
    /// What was not.
    pub failures: Vec<String>,
    /// What makes the numbers doubtful, without being wrong.
    pub warnings: Vec<String>,
    /// nat64, nat44 or selftest.
    pub translation: &'static str,
    /// Inside port.
    pub inside: String,
    /// Outside port.
    pub outside: String,
    /// DPDK's version.
    pub dpdk: String,
    /// Whether packet memory is in hugepages.
    pub hugepages: bool,
    /// Flows asked for.
    pub flows: u32,
    /// Flows that came through both ways before the measurement.
    pub flows_opened: u32,
    /// Inside hosts.
    pub hosts: u32,
    /// Bytes of an inside frame, FCS included.
    pub frame_bytes: usize,
    /// Chose the source ports.
    pub seed: u64,
    /// Frames a second asked for; null is as fast as possible.
    pub asked_pps: Option<u64>,
    /// Seconds of sending.
    pub seconds: f64,
    /// Loss allowed, in percent.
    pub allow_loss_percent: f64,
    /// Inside to outside.
    pub outbound: Way,
    /// Outside to inside.
    pub inbound: Way,
    /// Wrong frames by kind.
    pub wrong_kinds: BTreeMap<&'static str, u64>,
    /// The first wrong frame.
    pub first_wrong: Option<FirstWrong>,
    /// First frames of new flows beside those that are measured.
    pub new_flows: Beside,
    /// Frames that nobody asked for.
    pub unsolicited: Beside,
    /// Frames that were none of the test's.
    pub foreign: u64,
    /// ICMP errors received.
    pub icmp_errors: u64,
    /// The first of them.
    pub first_icmp_error: Option<String>,
    /// Frames that the responder had no room to answer.
    pub unanswered: u64,
    /// Frames that the tester's own ports count as lost.
    pub tester_losses: u64,
    /// Where timestamps are taken.
    pub timestamps: &'static str,
}

/// One direction.
#[derive(Debug, Serialize)]
pub struct Way {
    /// Frames sent.
    pub sent: u64,
    /// Right frames received, each once.
    pub received: u64,
    /// Frames not received.
    pub lost: u64,
    /// The same in percent of those sent.
    pub loss_percent: f64,
    /// Frames received again.
    pub duplicates: u64,
    /// Frames received after a later one of their flow.
    pub reordered: u64,
    /// Frames so late that they count as lost.
    pub too_late: u64,
    /// Wrong frames.
    pub wrong: u64,
    /// Frames a second sent.
    pub sent_pps: f64,
    /// Frames a second received, from the first to the last.
    pub received_pps: f64,
    /// Flows that lost frames.
    pub flows_with_loss: u32,
    /// The flow that lost most, and how many.
    pub worst_flow: Option<(u32, u32)>,
    /// Delays; null if nothing was received.
    pub latency_us: Option<Latency>,
}

/// Frames beside the measured ones.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Beside {
    /// Frames sent.
    pub sent: u64,
    /// Frames that came out on the other side.
    pub came_out: u64,
}

/// Delays in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Shortest.
    pub min: f64,
    /// Half of the frames are faster.
    pub median: f64,
    /// All but one in a hundred are faster.
    pub p99: f64,
    /// Longest.
    pub max: f64,
}

/// The first wrong frame.
#[derive(Debug, Serialize)]
pub struct FirstWrong {
    /// outbound or inbound.
    pub direction: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// The frame.
    pub hex: String,
}

impl Report {
    /// A report of what the judge has seen.
    pub fn new(plan: &Plan, judge: &Verifier, machinery: Machinery) -> Self {
        let wrong = &judge.wrong;
        let first_wrong = wrong.first.as_ref().map(|frame| FirstWrong {
            direction: name(frame.direction),
            what: frame.fault.kind.name(),
            expected: frame.fault.expected.clone(),
            found: frame.fault.found.clone(),
            hex: frame.bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            }),
        });
        let seconds = machinery.sending.elapsed.as_secs_f64();
        let mut report = Self {
            passed: false,
            failures: Vec::new(),
            warnings: Vec::new(),
            translation: plan.translation.name(),
            dpdk: machinery.dpdk,
            hugepages: machinery.hugepages,
            flows: plan.flows,
            flows_opened: machinery.opened,
            hosts: plan.hosts.count,
            frame_bytes: plan.size,
            seed: plan.seed,
            asked_pps: plan.rate,
            seconds,
            allow_loss_percent: machinery.allow_loss,
            outbound: Way::new(judge, Direction::Outbound, seconds),
            inbound: Way::new(judge, Direction::Inbound, seconds),
            wrong_kinds: wrong.kinds.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
            first_wrong,
            new_flows: Beside { sent: machinery.strangers[0], came_out: judge.strangers[0] },
            unsolicited: Beside { sent: machinery.strangers[1], came_out: judge.strangers[1] },
            foreign: judge.foreign,
            icmp_errors: judge.icmp_errors,
            first_icmp_error: judge.first_icmp.clone(),
            unanswered: machinery.unanswered,
            tester_losses: machinery.own_losses,
            timestamps: TIMESTAMPS,
            inside: String::new(),
            outside: String::new(),
        };
        [report.inside, report.outside] = machinery.devices;
        report.judge(machinery.sending.asked, judge.learned());
        report
    }

    fn judge(&mut self, asked: Option<u64>, learned: usize) {
        let wrong = self.outbound.wrong + self.inbound.wrong;
        if wrong > 0 {
            let kinds: Vec<String> =
                self.wrong_kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            self.failures.push(format!("{} wrong frames: {}", grouped(wrong), kinds.join(", ")));
        }
        let unopened = self.flows - self.flows_opened;
        if f64::from(unopened) * 100.0 > self.allow_loss_percent * f64::from(self.flows) {
            self.failures.push(format!(
                "{unopened} of {} flows could not be opened both ways; {learned} reached the outside",
                self.flows
            ));
        }
        for (way, name) in [(&self.outbound, "outbound"), (&self.inbound, "inbound")] {
            if way.loss_percent > self.allow_loss_percent {
                let allowed = self.allow_loss_percent;
                self.failures.push(format!(
                    "{name}: {} frames lost, {:.4} %, where {allowed} % are allowed",
                    grouped(way.lost),
                    way.loss_percent
                ));
            }
        }
        if self.failures.is_empty() && (self.outbound.received == 0 || self.inbound.received == 0) {
            self.failures.push("no frame was measured".to_owned());
        }
        self.passed = self.failures.is_empty();
        //= conformance BENCH-20
        if let Some(asked) = asked.filter(|asked| self.outbound.sent + 1 < asked - asked / 100) {
            self.warnings.push(format!(
                "the asked rate was not reached: {} of {} frames were sent; the run says nothing about that rate",
                grouped(self.outbound.sent),
                grouped(asked)
            ));
        }
        if self.tester_losses > 0 {
            self.warnings.push(format!("the tester's own ports lost {} frames", grouped(self.tester_losses)));
        }
        if self.unanswered > 0 {
            self.warnings
                .push(format!("{} frames were not answered for lack of room", grouped(self.unanswered)));
        }
        if let Some(error) = &self.first_icmp_error {
            self.warnings.push(format!("{} ICMP errors, the first: {error}", grouped(self.icmp_errors)));
        }
    }

    /// Writes it as JSON.
    pub fn write_json(&self) {
        match serde_json::to_string_pretty(self) {
            Ok(text) => print_all(&(text + "\n")),
            Err(error) => eprintln!("error: the report cannot be written as JSON: {error}"),
        }
    }

    /// Writes it for people.
    pub fn write_text(&self) {
        print_all(&self.text());
    }

    /// The text for people.
    pub fn text(&self) -> String {
        let rate = self
            .asked_pps
            .map_or("as fast as possible".to_owned(), |pps| format!("{} frames/s", grouped(pps)));
        let mut lines = vec![
            format!(
                "{}: {} to {}, {} flows from {} hosts, frames of {} bytes, {rate} for {:.1} s, seed {}",
                self.translation,
                self.inside,
                self.outside,
                grouped(self.flows.into()),
                self.hosts,
                self.frame_bytes,
                self.seconds,
                self.seed
            ),
            format!("{}, {}", self.dpdk, if self.hugepages { "hugepages" } else { "without hugepages" }),
            format!("opened {} of {} flows", grouped(self.flows_opened.into()), grouped(self.flows.into())),
            String::new(),
            row("", |way| way.to_owned(), "outbound", "inbound"),
        ];
        let (out, back) = (&self.outbound, &self.inbound);
        let mut add = |name: &str, value: &dyn Fn(&Way) -> String| lines.push(row(name, value, out, back));
        add("sent", &|way| grouped(way.sent));
        add("received", &|way| grouped(way.received));
        add("lost", &|way| grouped(way.lost));
        add("lost, %", &|way| format!("{:.4}", way.loss_percent));
        add("flows with loss", &|way| grouped(way.flows_with_loss.into()));
        add("duplicates", &|way| grouped(way.duplicates));
        add("reordered", &|way| grouped(way.reordered));
        add("wrong", &|way| grouped(way.wrong));
        add("sent a second", &|way| grouped(way.sent_pps as u64));
        add("received a second", &|way| grouped(way.received_pps as u64));
        let delay = |pick: fn(&Latency) -> f64| {
            move |way: &Way| way.latency_us.as_ref().map_or("-".to_owned(), |l| format!("{:.1}", pick(l)))
        };
        add("latency min, µs", &delay(|latency| latency.min));
        add("latency median, µs", &delay(|latency| latency.median));
        add("latency p99, µs", &delay(|latency| latency.p99));
        add("latency max, µs", &delay(|latency| latency.max));
        lines.push(format!("latency: {}", self.timestamps));
        for (what, beside) in [("new flows", self.new_flows), ("unsolicited", self.unsolicited)] {
            if beside.sent > 0 {
                let (sent, came_out) = (grouped(beside.sent), grouped(beside.came_out));
                lines.push(format!("beside them, {what}: {sent} frames sent, {came_out} came out"));
            }
        }
        if let Some(wrong) = &self.first_wrong {
            lines.push(String::new());
            lines.push(format!("the first wrong frame, {}, by its {}:", wrong.direction, wrong.what));
            lines.push(format!("  expected {}", wrong.expected));
            lines.push(format!("  found    {}", wrong.found));
            lines.push(format!("  frame    {}", wrong.hex));
        }
        lines.push(String::new());
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.extend(self.failures.iter().map(|failure| format!("failed: {failure}")));
        if self.passed {
            lines.push("passed".to_owned());
        }
        lines.join("\n") + "\n"
    }
}

impl Way {
    fn new(judge: &Verifier, direction: Direction, seconds: f64) -> Self {
        let counts: &Counts = match direction {
            Direction::Outbound => &judge.outbound,
            Direction::Inbound => &judge.inbound,
        };
        let flows = judge.flow_loss(direction);
        let lost = counts.lost();
        let span = counts.first.map_or(0, |first| counts.last - first) as f64 / 1e9;
        let rate = |frames: f64, seconds: f64| if seconds > 0.0 { frames / seconds } else { 0.0 };
        Self {
            sent: counts.sent,
            received: counts.received,
            lost,
            loss_percent: if counts.sent == 0 { 0.0 } else { lost as f64 * 100.0 / counts.sent as f64 },
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            too_late: counts.too_late,
            wrong: judge.wrong.count[direction as usize],
            sent_pps: rate(counts.sent as f64, seconds),
            // Between the first and the last there is one gap fewer than frames.
            received_pps: rate(counts.received.saturating_sub(1) as f64, span),
            flows_with_loss: flows.flows,
            worst_flow: flows.worst,
            latency_us: Latency::of(&counts.delay),
        }
    }
}

impl Latency {
    fn of(delay: &Histogram) -> Option<Self> {
        let us = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1e3);
        Some(Self {
            min: us(delay.min())?,
            median: us(delay.quantile(500))?,
            p99: us(delay.quantile(990))?,
            max: us(delay.max())?,
        })
    }
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
    }
}

fn row<T: ?Sized>(name: &str, value: impl Fn(&T) -> String, out: &T, back: &T) -> String {
    format!("{name:<20}{:>16}{:>16}", value(out), value(back)).trim_end().to_owned()
}

/// `1234567` as `1 234 567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A reader that has gone away is no reason to change the exit status.
fn print_all(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
