//! The whole gateway with I/O, and testpmd on the same kind of ports in the same run.
//!
//! Two processes, a core each: the [`generator`] here and the device under test. What came out of the device is counted.
//!
//! | module | what |
//! | --- | --- |
//! | [`frame`] | frames of flows, made and checked |
//! | [`wire`], [`memif`] | ports of the generator: of DPDK, and its own end of a memif |
//! | [`generator`] | opens flows, and sends as fast as the device takes |
//! | [`links`], [`subject`], [`process`] | veth pairs and sockets, the device under test, its processes |
//! | [`watch`], [`window`] | what of the time counts, and what was seen in it |
//! | [`rows`] | what is made of the windows |

pub mod error;
pub mod frame;
pub mod generator;
pub mod links;
pub mod memif;
pub mod process;
pub mod rows;
pub mod subject;
pub mod watch;
pub mod window;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use core_affinity::CoreId;
use sluice_dpdk::{Eal, EalArgs, Hugepages, RegisteredThread};
use sluice_nat::Direction;

use crate::Error;
use crate::flows::{DIRECTIONS, Flows, KINDS};
use crate::machine::Machine;
use crate::report::{Method, Report, Source};
use error::IoError;
use generator::Generator;
use links::{End, Kind, Links};
use memif::Memif;
use rows::Seen;
use subject::{Site, Subject};
use watch::Watch;
use window::Window;
use wire::{DpdkWire, Wire};

/// Sessions that fit the caches, for comparison.
const FEW: u32 = 1024;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Only memif, outbound.
    pub quick: bool,
    /// Kinds of ports.
    pub kinds: Vec<Kind>,
    /// Flows.
    pub sessions: u32,
    /// Windows of time of each row.
    pub windows: usize,
    /// Length of a window.
    pub window: Duration,
    /// Core of the generator.
    pub generator: CoreId,
    /// The device under test: its core, its programs, files of the run.
    pub site: Site,
}

impl Plan {
    fn directions(&self) -> &'static [Direction] {
        if self.quick { &DIRECTIONS[..1] } else { &DIRECTIONS }
    }
}

/// A run under way.
struct Suite<'a> {
    plan: &'a Plan,
    /// Of the ports that are DPDK's.
    eal: Option<Eal>,
    /// Links that were made so far.
    links: usize,
    seen: Vec<Seen>,
    progress: &'a mut dyn FnMut(&str),
}

/// Measures all rows of a plan. `progress` hears what comes next.
///
/// # Errors
/// [`Error::Io`].
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    own_network()?;
    go_first();
    let mut machine = Machine::before(Some(plan.site.core));
    let mut suite = Suite { plan, eal: None, links: 0, seen: Vec::new(), progress: &mut progress };
    for &kind in &plan.kinds {
        suite.testpmd(kind)?;
        for nat in KINDS {
            suite.gateway(kind, Flows::udp(nat, plan.sessions))?;
        }
    }
    machine.see_memory();
    machine.after();
    let method = method(plan);
    Ok(Report { sources: vec![Source { machine, method }], rows: rows::rows(&suite.seen) })
}

impl Suite<'_> {
    /// testpmd with frames of both families.
    fn testpmd(&mut self, kind: Kind) -> Result<(), IoError> {
        let plan = self.plan;
        (self.progress)(&format!("io.{}.testpmd", kind.name()));
        let links = self.links(kind)?;
        let subject = Subject::testpmd(&plan.site, &links.device)?;
        let flows = KINDS.map(|nat| Flows::udp(nat, plan.sessions));
        let seen = self.with_generator(subject, &links, flows[0], |generator, watch| generator.pass(kind, plan, &flows, watch))?;
        self.seen.extend(seen);
        Ok(())
    }

    /// The gateway with sessions of one kind of translation.
    fn gateway(&mut self, kind: Kind, flows: Flows) -> Result<(), IoError> {
        let plan = self.plan;
        (self.progress)(&format!("io.{}.{}", kind.name(), flows.kind));
        let links = self.links(kind)?;
        let subject = Subject::gateway(&plan.site, &links.device, &flows)?;
        let seen = self.with_generator(subject, &links, flows, |generator, watch| generator.translate(kind, plan, flows, watch))?;
        self.seen.extend(seen);
        Ok(())
    }

    fn links(&mut self, kind: Kind) -> Result<Links, IoError> {
        self.links += 1;
        Links::new(kind, self.links, &self.plan.site.directory)
    }

    /// Runs the generator on its core, then ends the device, then lets the ports go: in this order.
    fn with_generator(
        &mut self,
        mut subject: Subject,
        links: &Links,
        flows: Flows,
        work: impl FnOnce(&mut Ports, &Watch) -> Result<Vec<Seen>, IoError> + Send,
    ) -> Result<Vec<Seen>, IoError> {
        let number = 2 * self.links as u16;
        let (core, duty, macs) = (self.plan.generator, subject.duty, subject.macs);
        if self.eal.is_none() && links.generator.iter().any(|end| matches!(end, End::Port(_))) {
            self.eal = Some(start_dpdk()?);
        }
        let eal = self.eal.as_ref();
        let forwarder = subject.forwarder().ok_or(IoError::Silent)?;
        let run = || -> Result<_, IoError> {
            core_affinity::set_for_current(core);
            // Without it DPDK's buffers have no cache.
            let _registered = eal.map(|_| RegisteredThread::new()).transpose()?;
            let mut ports = match (&links.generator, eal) {
                ([End::Memif(inside), End::Memif(outside)], _) => {
                    Ports::Memif(Generator::new([connect(inside)?, connect(outside)?], duty, flows, macs))
                }
                ([End::Port(inside), End::Port(outside)], Some(eal)) => {
                    let ports = [(inside, number), (outside, number + 1)];
                    let [inside, outside] = ports.map(|(device, index)| open(eal, device, index));
                    Ports::Dpdk(Generator::new([inside?, outside?], duty, flows, macs))
                }
                _ => return Err(IoError::Silent),
            };
            let failed = |error| IoError::File { path: forwarder.clone(), error };
            let watch = Watch::new(&forwarder).map_err(failed)?;
            let seen = work(&mut ports, &watch);
            Ok((ports, seen))
        };
        let ended = std::thread::scope(|scope| scope.spawn(run).join());
        // That it has ended explains all other errors.
        subject.alive()?;
        let (ports, seen) = ended.map_err(|_| IoError::Panic)??;
        if let (Err(_), Some(counters)) = (&seen, subject.counters(&self.plan.site)) {
            (self.progress)(&format!("the gateway's counters:\n{counters}"));
        }
        let stopped = subject.stop();
        drop(ports);
        let seen = seen?;
        stopped.map(|()| seen)
    }
}

/// A generator on either kind of ports.
#[derive(Debug)]
enum Ports {
    Memif(Generator<Memif>),
    Dpdk(Generator<DpdkWire>),
}

impl Ports {
    fn pass(&mut self, kind: Kind, plan: &Plan, flows: &[Flows], watch: &Watch) -> Result<Vec<Seen>, IoError> {
        match self {
            Self::Memif(generator) => pass(generator, kind, plan, flows, watch),
            Self::Dpdk(generator) => pass(generator, kind, plan, flows, watch),
        }
    }

    fn translate(&mut self, kind: Kind, plan: &Plan, flows: Flows, watch: &Watch) -> Result<Vec<Seen>, IoError> {
        match self {
            Self::Memif(generator) => translate(generator, kind, plan, flows, watch),
            Self::Dpdk(generator) => translate(generator, kind, plan, flows, watch),
        }
    }
}

/// What testpmd is asked.
fn pass<W: Wire>(
    generator: &mut Generator<W>,
    kind: Kind,
    plan: &Plan,
    flows: &[Flows],
    watch: &Watch,
) -> Result<Vec<Seen>, IoError> {
    let mut seen = Vec::new();
    for flows in flows {
        generator.set_flows(*flows);
        generator.reach()?;
        let windows = saturate(generator, plan, Direction::Outbound, flows.count, watch)?;
        seen.push(Seen::of_testpmd(kind, flows, windows));
    }
    Ok(seen)
}

/// What the gateway is asked: first with few sessions, then with all.
fn translate<W: Wire>(
    generator: &mut Generator<W>,
    kind: Kind,
    plan: &Plan,
    flows: Flows,
    watch: &Watch,
) -> Result<Vec<Seen>, IoError> {
    generator.reach()?;
    let mut seen = Vec::new();
    let sizes = if plan.quick { vec![flows.count] } else { vec![FEW.min(flows.count), flows.count] };
    for sessions in sizes {
        generator.open(sessions)?;
        for &direction in plan.directions() {
            generator.lap(direction, sessions);
            let windows = saturate(generator, plan, direction, sessions, watch)?;
            seen.push(Seen::of_gateway(kind, &flows, direction, sessions, windows));
        }
    }
    Ok(seen)
}

fn saturate<W: Wire>(
    generator: &mut Generator<W>,
    plan: &Plan,
    direction: Direction,
    sessions: u32,
    watch: &Watch,
) -> Result<Vec<Window>, IoError> {
    generator.saturate(direction, sessions, (plan.windows, plan.window), watch)
}

fn connect(socket: &PathBuf) -> Result<Memif, IoError> {
    Memif::connect(socket).map_err(|error| IoError::Memif { path: socket.clone(), error })
}

fn open(eal: &Eal, device: &sluice_dpdk::Device, index: u16) -> Result<DpdkWire, IoError> {
    let wire = DpdkWire::open(eal, device, index)?;
    if wire.wait_for_link()? { Ok(wire) } else { Err(IoError::LinkDown(device.to_string())) }
}

fn start_dpdk() -> Result<Eal, IoError> {
    let hugepages = if subject::hugepages() { Hugepages::Require } else { Hugepages::Never };
    let file_prefix = format!("sluice-bench-generator-{}", std::process::id());
    Ok(Eal::init(&EalArgs { file_prefix, hugepages, memory_mb: 1024, ..EalArgs::default() })?)
}

/// Refuses to work in the machine's own network.
fn own_network() -> Result<(), IoError> {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if network("self") == network("1") { Err(IoError::Network) } else { Ok(()) }
}

/// Where the kernel shares cores out by session (`autogroup`), niceness says nothing to programs of other sessions: this one
/// takes a session of its own that goes before them. Busy loops that are preempted measure the neighbours. Whoever may not do
/// that measures all the same, and more is left out.
fn go_first() {
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", "-15");
}

fn method(plan: &Plan) -> Method {
    let text = format!(
        "UDP packets of 64 bytes (84 over IPv6) in one direction, uniformly random over flows, offered as fast as the device takes \
         them; counted is what comes out of its other port, in windows of {} ms, of which moments are left out in which the thread that \
         forwards or the generator had to wait for its core. {}. The generator speaks memif itself, without DPDK, so that it is the \
         faster side. On xdp and packet ports the kernel does its part of a hop (copies, softirq) on the core of the side that \
         sends, so a device pays for what it sends, and the generator for what the device receives; the generator's ports are of the \
         same kind. One frame in 64 is checked: addresses, ports, checksums. A share is the median by testpmd's median with \
         frames of the same family. `lost`: sent and not received, at a load that nobody can take in full.",
        plan.window.as_millis(),
        subject::text(plan.site.core, plan.generator.id),
    );
    Method { part: "io".into(), text, runs: plan.windows, batch: wire::BURST, ..Method::default() }
}
