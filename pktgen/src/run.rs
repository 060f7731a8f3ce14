//! Start-up, and the loop: one thread that sends, receives on both ports, judges and answers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use sluice_dpdk::{Burst, Device, Eal, EalArgs};

use crate::cli::{Cable, Cli, Command, Machine, UsageError};
use crate::neighbour;
use crate::pace::Pace;
use crate::plan::{Plan, Station, ip};
use crate::report::{Machinery, Report};
use crate::side::{Opened, Side, SideError};
use crate::signature::Direction;
use crate::strangers::{self, Strangers};
use crate::template::Template;
use crate::verify::{Verdict, Verifier};

/// How long a gateway may take to answer ARP or ND, and how often it is asked.
const RESOLVE: Duration = Duration::from_secs(5);
const ASK_AGAIN: u64 = 200_000_000;
/// How often a flow is opened before it is given up: the first frames may be lost to a device's own ARP.
const OPENING_ROUNDS: u32 = 5;
/// How long a round of opening waits for its last frames.
const OPENING_WAIT: u64 = 1_000_000_000;
/// Bursts read from a port in one turn, so that neither port nor sending starves.
const BURSTS: usize = 4;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The arguments make no sense together.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// DPDK did not start.
    #[error(transparent)]
    Dpdk(#[from] sluice_dpdk::Error),
    /// A port cannot be used.
    #[error(transparent)]
    Side(#[from] SideError),
    /// Nobody there.
    #[error(
        "nobody on the {side} ({device}) answered for {address} within {} s: is that the device's address there, and does it \
         run? --gateway-mac does without asking",
        RESOLVE.as_secs()
    )]
    NoGateway {
        /// Inside or outside.
        side: &'static str,
        /// The port.
        device: String,
        /// Who was asked for.
        address: std::net::IpAddr,
    },
    /// The user is tired of it.
    #[error("interrupted before anything was measured")]
    Interrupted,
    /// The system refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: std::io::Error,
    },
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let machine = match &cli.command {
        Command::Quick(quick) => &quick.machine,
        Command::Selftest(selftest) => &selftest.machine,
    };
    let result = measure(&cli.command, machine);
    match result {
        Ok(report) => {
            if machine.json {
                report.write_json()
            } else {
                report.write_text()
            };
            if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) if machine.json => {
            println!("{}", serde_json::json!({ "error": error.to_string() }));
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(command: &Command, machine: &Machine) -> Result<Report, RunError> {
    // Seven bits that differ from those of the run before, most of the time.
    let run = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| (age.as_nanos() >> 20) as u8 & 0x7f);
    let plan = match command {
        Command::Quick(quick) => quick.plan(run)?,
        Command::Selftest(selftest) => selftest.plan(run)?,
    };
    if let Some(hint) = plan.hint() {
        eprintln!("warning: {hint}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| RunError::System { what: "installing a signal handler", error })?;
    }
    let pci = matches!(command, Command::Quick(quick)
        if matches!(quick.inside, Device::Pci(_)) || matches!(quick.outside, Device::Pci(_)));
    let eal = Eal::init(&EalArgs {
        file_prefix: format!("sluice-pktgen-{}", std::process::id()),
        hugepages: machine.hugepages(),
        memory_mb: machine.memory,
        main_core: machine.core,
        allow_pci: pci,
        extra: machine.eal.clone(),
        ..EalArgs::default()
    })?;

    // Outlives the ports, which remove their sockets themselves.
    let mut sockets = None;
    let (devices, sides, macs) = match command {
        Command::Quick(quick) => {
            let inside = Opened::open(&eal, &quick.inside, 0)?;
            let outside = Opened::open(&eal, &quick.outside, 1)?;
            inside.wait_for_link(&quick.inside)?;
            outside.wait_for_link(&quick.outside)?;
            let sides = (inside.into_side(1, plan.seed)?, outside.into_side(2, plan.seed)?);
            let macs = match *quick.gateway_mac.as_slice() {
                [] => [None, None],
                [both] => [Some(both), Some(both)],
                [inside, outside, ..] => [Some(inside), Some(outside)],
            };
            ([quick.inside.to_string(), quick.outside.to_string()], sides, macs)
        }
        Command::Selftest(selftest) => {
            let (devices, sides) = connected(&eal, selftest.ports, plan.seed, &mut sockets)?;
            (devices, sides, [None, None])
        }
    };
    let (inside, outside) = sides;
    let clock = Clock::start();
    let (inside, outside, macs) = resolve(&plan, &devices, inside, outside, macs, &clock, &stop)?;
    let mut tester = Tester::new(plan, inside, outside, macs, clock, stop);
    let opened = tester.open();
    let sending = if opened > 0 { tester.measure() } else { Sending::default() };
    let machinery = Machinery {
        devices,
        dpdk: sluice_dpdk::eal::version(),
        hugepages: eal.uses_hugepages(),
        allow_loss: machine.allow_loss,
        own_losses: tester.inside.own_losses()? + tester.outside.own_losses()?,
        unanswered: tester.unanswered,
        opened,
        sending,
        strangers: tester.strangers.sent(),
    };
    Ok(Report::new(&tester.plan, &tester.judge, machinery))
}

/// Two ports that are connected to each other, and in `sockets` what has to outlive them.
fn connected(
    eal: &Eal,
    cable: Cable,
    seed: u64,
    sockets: &mut Option<Directory>,
) -> Result<([String; 2], (Side, Side)), RunError> {
    match cable {
        Cable::Ring => {
            let devices = ["inside", "outside"].map(|name| Device::Ring { name: name.to_owned() });
            let [inside, outside] = &devices;
            let sides = Opened::open(eal, inside, 0)?.cross(Opened::open(eal, outside, 1)?, seed)?;
            Ok((devices.map(|device| device.to_string()), sides))
        }
        Cable::Memif => {
            let directory = sockets.insert(Directory::new()?);
            let socket = directory.0.join("memif.sock").display().to_string();
            let devices = [sluice_dpdk::device::MemifRole::Server, sluice_dpdk::device::MemifRole::Client]
                .map(|role| Device::Memif { socket: socket.clone(), role, id: 0 });
            let [inside, outside] = &devices;
            let (one, other) = (Opened::open(eal, inside, 0)?, Opened::open(eal, outside, 1)?);
            one.wait_for_link(inside)?;
            other.wait_for_link(outside)?;
            let sides = (one.into_side(1, seed)?, other.into_side(2, seed)?);
            Ok((devices.map(|device| device.to_string()), sides))
        }
    }
}

/// A directory that goes with its owner.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, RunError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("sluice-pktgen-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| RunError::System { what: "making a directory for a socket", error })?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in /tmp does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Nanoseconds since the start. Both ports are of one process, so one clock does for delays.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    #[inline]
    fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// Finds the gateways' MAC addresses, and answers for the tester's own meanwhile.
fn resolve(
    plan: &Plan,
    devices: &[String; 2],
    mut inside: Side,
    mut outside: Side,
    mut macs: [Option<[u8; 6]>; 2],
    clock: &Clock,
    stop: &AtomicBool,
) -> Result<(Side, Side, [[u8; 6]; 2]), RunError> {
    let deadline = clock.now() + RESOLVE.as_nanos() as u64;
    let mut ask_at = 0;
    let mut burst: Burst = Burst::new();
    loop {
        let now = clock.now();
        for (index, (side, station)) in
            [(&mut inside, plan.inside), (&mut outside, plan.outside)].into_iter().enumerate()
        {
            let Station { family, address, gateway } = station;
            if macs[index].is_none() && now >= ask_at {
                side.send_slow(&neighbour::request(family, side.mac, address, gateway));
            }
            side.receive(&mut burst);
            for mbuf in burst.drain() {
                macs[index] = macs[index].or_else(|| neighbour::learn(mbuf.data(), family, gateway));
                answer_neighbour(plan, side, index == 0, mbuf.data());
            }
        }
        if now >= ask_at {
            ask_at = now + ASK_AGAIN;
        }
        if let [Some(one), Some(other)] = macs {
            return Ok((inside, outside, [one, other]));
        }
        if stop.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        if now > deadline {
            let (index, side, station) =
                if macs[0].is_none() { (0, "inside", plan.inside) } else { (1, "outside", plan.outside) };
            let address = ip(station.family, station.gateway);
            return Err(RunError::NoGateway { side, device: devices[index].clone(), address });
        }
        std::thread::yield_now();
    }
}

fn answer_neighbour(plan: &Plan, side: &mut Side, is_inside: bool, frame: &[u8]) {
    let holds = |family, address| {
        if is_inside { plan.holds_inside(family, address) } else { plan.holds_outside(family, address) }
    };
    if let Some(reply) = neighbour::answer(frame, side.mac, holds) {
        side.send_slow(&reply);
    }
}

/// How the sending went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sending {
    /// How long frames were sent.
    pub elapsed: Duration,
    /// Frames that the asked rate would have sent in that time; `None` without one.
    pub asked: Option<u64>,
}

/// A measurement that runs.
struct Tester {
    plan: Plan,
    inside: Side,
    outside: Side,
    outbound: Template,
    inbound: Template,
    judge: Verifier,
    clock: Clock,
    stop: Arc<AtomicBool>,
    strangers: Strangers,
    /// Frames that the responder could not answer for lack of room.
    unanswered: u64,
}

impl Tester {
    fn new(
        plan: Plan,
        inside: Side,
        outside: Side,
        macs: [[u8; 6]; 2],
        clock: Clock,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let outbound = Template::new(plan.inside.family, macs[0], inside.mac, plan.inside_len());
        let inbound = Template::new(plan.outside.family, macs[1], outside.mac, plan.outside_len());
        let judge = Verifier::new(&plan, inside.mac, outside.mac);
        let strangers = Strangers::new(&plan, clock.now());
        Self { strangers, plan, inside, outside, outbound, inbound, judge, clock, stop, unanswered: 0 }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Opens every flow; returns how many are open.
    //= conformance BENCH-61
    fn open(&mut self) -> u32 {
        let mut left = self.judge.unopened();
        for _ in 0..OPENING_ROUNDS {
            let mut pace = Pace::new(Some(self.plan.open_rate), self.clock.now());
            let mut next = 0;
            while next < left.len() && !self.stopped() {
                let now = self.clock.now();
                let due = pace.due(now).min(self.inside.room() as u64);
                let mut pushed = 0;
                while pushed < due && next < left.len() && self.send(left[next], now) {
                    (pushed, next) = (pushed + 1, next + 1);
                }
                pace.sent(pushed);
                self.turn(pushed > 0);
            }
            self.drain(OPENING_WAIT);
            left = self.judge.unopened();
            if left.is_empty() || self.stopped() {
                break;
            }
        }
        self.plan.flows - left.len() as u32
    }

    /// The measurement: all flows in turn, for the time that was asked.
    fn measure(&mut self) -> Sending {
        self.judge.start_measuring();
        self.unanswered = 0;
        let start = self.clock.now();
        self.strangers = Strangers::new(&self.plan, start);
        let length = self.plan.duration.as_nanos() as u64;
        let mut pace = Pace::new(self.plan.rate, start);
        let mut flow = 0;
        let mut now = start;
        while now - start < length && !self.stopped() {
            let due = pace.due(now).min(self.inside.room() as u64);
            let mut pushed = 0;
            while pushed < due && self.send(flow, now) {
                pushed += 1;
                flow = if flow + 1 == self.plan.flows { 0 } else { flow + 1 };
            }
            pace.sent(pushed);
            let busy = self.send_strangers(now) | (pushed > 0);
            self.turn(busy);
            now = self.clock.now();
        }
        let elapsed = Duration::from_nanos(now - start);
        self.drain(self.plan.linger.as_nanos() as u64);
        let asked = self.plan.rate.map(|rate| (elapsed.as_secs_f64() * rate as f64) as u64);
        Sending { elapsed, asked }
    }

    /// Strangers have the room that the flows have left. Whether there were any.
    fn send_strangers(&mut self, now: u64) -> bool {
        let Self { plan, inside, outside, outbound, inbound, judge, strangers, .. } = self;
        let from_inside = strangers.outbound.send(now, inside, outbound, |n| Some(strangers::first(plan, n)));
        let from_outside = strangers.inbound.send(now, outside, inbound, |n| {
            let (address, _) = judge.external(n % plan.flows)?;
            Some(strangers::unsolicited(plan, n, address))
        });
        from_inside | from_outside
    }

    #[inline]
    fn send(&mut self, flow: u32, now: u64) -> bool {
        let judge = &mut self.judge;
        self.inside.push(&self.outbound, || judge.next(Direction::Outbound, flow, now))
    }

    /// Sends what waits and receives what has come.
    #[inline]
    fn turn(&mut self, busy: bool) {
        self.inside.flush();
        let received = self.receive_outside() | self.receive_inside();
        self.outside.flush();
        // On a machine with few cores the device under test needs this one when there is nothing to do.
        if !busy && !received {
            std::thread::yield_now();
        }
    }

    fn receive_outside(&mut self) -> bool {
        let mut burst: Burst = Burst::new();
        for round in 0..BURSTS {
            if self.outside.receive(&mut burst) == 0 {
                return round > 0;
            }
            let now = self.clock.now();
            for mbuf in burst.drain() {
                match self.judge.judge(Direction::Outbound, mbuf.data(), now) {
                    Verdict::Received(flow) => self.answer(flow, now),
                    Verdict::Neighbour => answer_neighbour(&self.plan, &mut self.outside, false, mbuf.data()),
                    Verdict::Done => {}
                }
            }
        }
        true
    }

    /// The responder's answer.
    //= conformance BENCH-60
    #[inline]
    fn answer(&mut self, flow: u32, now: u64) {
        if self.outside.room() == 0 {
            self.outside.flush();
        }
        let judge = &mut self.judge;
        if !self.outside.push(&self.inbound, || judge.next(Direction::Inbound, flow, now)) {
            self.unanswered += 1;
        }
    }

    fn receive_inside(&mut self) -> bool {
        let mut burst: Burst = Burst::new();
        for round in 0..BURSTS {
            if self.inside.receive(&mut burst) == 0 {
                return round > 0;
            }
            let now = self.clock.now();
            for mbuf in burst.drain() {
                if self.judge.judge(Direction::Inbound, mbuf.data(), now) == Verdict::Neighbour {
                    answer_neighbour(&self.plan, &mut self.inside, true, mbuf.data());
                }
            }
        }
        true
    }

    /// Waits for what is on its way, until all is there or nothing has come for `quiet` nanoseconds.
    //= conformance BENCH-13
    fn drain(&mut self, quiet: u64) {
        let (mut last, mut seen) = (self.clock.now(), 0);
        loop {
            let flushed = self.inside.flush() & self.outside.flush();
            self.turn(false);
            let now = self.clock.now();
            let received = self.judge.outbound.received + self.judge.inbound.received;
            if received != seen {
                (last, seen) = (now, received);
            }
            // What becomes of strangers nobody knows: they have all the time.
            if (flushed && self.judge.is_complete() && !self.strangers.came()) || now - last > quiet {
                return;
            }
        }
    }
}
