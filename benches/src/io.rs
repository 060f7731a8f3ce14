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

use std::time::Duration;

use core_affinity::CoreId;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sluice_dpdk::{Eal, EalArgs, Hugepages};
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
use subject::{Leftovers, Site, Subject};
use watch::Watch;
use wire::{DpdkWire, Wire};

/// Sessions that fit the caches, for comparison.
const FEW: u32 = 1024;
/// Pairs of windows that are tried for each that is wanted: in some the machine may be busy with something else.
const TRIES: usize = 3;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Only all sessions, outbound.
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

    fn sizes(&self) -> Vec<u32> {
        if self.quick { vec![self.sessions] } else { vec![FEW.min(self.sessions), self.sessions] }
    }
}

/// A run under way.
struct Suite<'a> {
    plan: &'a Plan,
    /// Of the ports that are DPDK's.
    eal: Option<Eal>,
    _leftovers: Leftovers,
    /// Links that were made so far.
    links: usize,
    seen: Vec<Seen>,
    progress: &'a mut dyn FnMut(&str),
}

/// A device under test and the generator on it. They end in this order: a memif whose peer leaves while it is polled can crash
/// DPDK's driver, so the device goes while its peers are still there, and nobody polls.
struct Party<W> {
    subject: Subject,
    watch: Watch,
    generator: Generator<W>,
    _links: Links,
}

/// Measures all rows of a plan. `progress` hears what comes next.
///
/// # Errors
/// [`Error::Io`].
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
    own_network()?;
    go_first();
    let mut machine = Machine::before(Some(plan.site.core));
    let mut suite = Suite {
        plan,
        eal: None,
        _leftovers: Leftovers::of(&file_prefix()),
        links: 0,
        seen: Vec::new(),
        progress: &mut progress,
    };
    for &kind in &plan.kinds {
        match kind {
            Kind::Memif => suite.kind(kind, |end, _| connect(end))?,
            Kind::Xdp | Kind::Packet => {
                if suite.eal.is_none() {
                    suite.eal = Some(start_dpdk()?);
                }
                suite.kind(kind, open)?;
            }
        }
    }
    machine.see_memory();
    machine.after();
    let method = method(plan);
    let rows = suite.seen.iter().flat_map(Seen::rows).collect();
    Ok(Report { sources: vec![Source { machine, method }], rows })
}

/// Opens a port of the generator.
type Opener<W> = fn(&End, Option<(&Eal, u16)>) -> Result<W, IoError>;

impl Suite<'_> {
    /// All rows of a kind of ports. testpmd is there all the time, and at rest while it is the gateway's turn.
    fn kind<W: Wire>(&mut self, kind: Kind, open: Opener<W>) -> Result<(), IoError> {
        let mut testpmd = self.party(kind, open, &Flows::udp(KINDS[0], 1), |site, links, _| {
            Subject::testpmd(site, &links.device)
        })?;
        testpmd.generator.reach()?;
        testpmd.subject.pause(true);
        for nat in KINDS {
            let flows = Flows::udp(nat, self.plan.sessions);
            (self.progress)(&format!("io.{}.{nat}", kind.name()));
            let mut gateway = self.party(kind, open, &flows, |site, links, flows| {
                Subject::gateway(site, &links.device, flows)
            })?;
            testpmd.generator.set_flows(flows);
            let done = self.compare(kind, &flows, &mut gateway, &mut testpmd);
            // That it has ended explains all other errors.
            gateway.subject.alive()?;
            if let (Err(_), Some(counters)) = (&done, gateway.subject.counters(&self.plan.site)) {
                (self.progress)(&format!("failed; the gateway's counters:\n{counters}"));
            }
            done?;
            gateway.subject.stop()?;
        }
        testpmd.subject.stop()
    }

    fn party<W: Wire>(
        &mut self,
        kind: Kind,
        open: Opener<W>,
        flows: &Flows,
        start: impl FnOnce(&Site, &Links, &Flows) -> Result<Subject, IoError>,
    ) -> Result<Party<W>, IoError> {
        self.links += 1;
        let links = Links::new(kind, self.links, &self.plan.site.directory)?;
        let subject = start(&self.plan.site, &links, flows)?;
        let forwarder = subject.forwarder().ok_or(IoError::Silent)?;
        let failed = |error| IoError::File { path: forwarder.clone(), error };
        // Where the kernel carries the packets, its threads take their part of the cores, and that belongs to it.
        let watch =
            if kind.has_kernel() { Watch::default() } else { Watch::new(&forwarder).map_err(failed)? };
        let number = 2 * self.links as u16;
        let eal = |index| self.eal.as_ref().map(|eal| (eal, index));
        let ports = [open(&links.generator[0], eal(number))?, open(&links.generator[1], eal(number + 1))?];
        let generator = Generator::new(ports, subject.duty, *flows, subject.macs);
        Ok(Party { subject, watch, generator, _links: links })
    }

    /// The gateway's rows, first with few sessions, then with all, and in turn with each window one of testpmd with the same
    /// frames: on a virtual machine the way from core to core may be twice as long a second later.
    fn compare<W: Wire>(
        &mut self,
        kind: Kind,
        flows: &Flows,
        gateway: &mut Party<W>,
        testpmd: &mut Party<W>,
    ) -> Result<(), IoError> {
        let plan = self.plan;
        let _pinned = Pinned::to(plan.generator);
        gateway.generator.reach()?;
        for sessions in plan.sizes() {
            let took = gateway.generator.open(sessions)?;
            (self.progress)(&format!("{sessions} sessions are open after {:.1} s", took.as_secs_f64()));
            for &direction in plan.directions() {
                gateway.generator.lap(direction, sessions);
                let mut pairs = Vec::with_capacity(plan.windows);
                for _ in 0..TRIES * plan.windows {
                    let ours = gateway.generator.window(direction, sessions, plan.window, &gateway.watch)?;
                    gateway.subject.pause(true);
                    testpmd.subject.pause(false);
                    let theirs =
                        testpmd.generator.window(direction, sessions, plan.window, &testpmd.watch)?;
                    testpmd.subject.pause(true);
                    gateway.subject.pause(false);
                    // A share of nothing is none.
                    let theirs = theirs.filter(|window| window.received > 0);
                    pairs.extend(ours.zip(theirs).map(|(ours, theirs)| [ours, theirs]));
                    if pairs.len() == plan.windows {
                        break;
                    }
                }
                if pairs.is_empty() {
                    return Err(IoError::Busy);
                }
                let seen = Seen { kind, flows: *flows, direction, sessions, pairs };
                (self.progress)(&seen.summary());
                self.seen.push(seen);
            }
        }
        Ok(())
    }
}

fn connect(end: &End) -> Result<Memif, IoError> {
    match end {
        End::Memif(path) => {
            Memif::connect(path).map_err(|error| IoError::Memif { path: path.clone(), error })
        }
        End::Port(device) => Err(IoError::LinkDown(device.to_string())),
    }
}

fn open(end: &End, eal: Option<(&Eal, u16)>) -> Result<DpdkWire, IoError> {
    let (End::Port(device), Some((eal, index))) = (end, eal) else { return Err(IoError::Silent) };
    let wire = DpdkWire::open(eal, device, index)?;
    if wire.wait_for_link()? { Ok(wire) } else { Err(IoError::LinkDown(device.to_string())) }
}

/// This thread on one core, until it is dropped: programs that are started get all cores.
struct Pinned(Option<CpuSet>);

impl Pinned {
    fn to(core: CoreId) -> Self {
        let before = sched_getaffinity(None).ok();
        let mut set = CpuSet::new();
        set.set(core.id);
        // Where the system does not allow it, goes on without.
        Self(before.filter(|_| sched_setaffinity(None, &set).is_ok()))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.0.as_ref().map(|set| sched_setaffinity(None, set));
    }
}

fn file_prefix() -> String {
    format!("sluice-bench-generator-{}", std::process::id())
}

fn start_dpdk() -> Result<Eal, IoError> {
    let hugepages = if subject::hugepages() { Hugepages::Require } else { Hugepages::Never };
    Ok(Eal::init(&EalArgs { file_prefix: file_prefix(), hugepages, memory_mb: 1024, ..EalArgs::default() })?)
}

/// Refuses to work in the machine's own network.
fn own_network() -> Result<(), IoError> {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if network("self") == network("1") { Err(IoError::Network) } else { Ok(()) }
}

/// Where the kernel shares cores out by session (`autogroup`), niceness says nothing to programs of other sessions: this one
/// takes a session of its own, which goes before them and ends with it. Busy loops that are preempted measure the neighbours.
/// Whoever may not do that measures all the same, and more is left out.
fn go_first() {
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", "-15");
}

fn method(plan: &Plan) -> Method {
    let text = format!(
        "UDP packets of 64 bytes (84 over IPv6) in one direction, uniformly random over flows, offered as fast as the device takes \
         them; counted is what comes out of its other port, in windows of {} ms, gateway and testpmd in turn (the other is stopped), of which moments are left out, with memif, in which the thread \
         that forwards or the generator had to wait for its core. Both go before other programs. {}. The generator speaks memif itself, without DPDK, so that it is the \
         faster side. On xdp and packet ports the kernel does its part of a hop (copies, softirq) on the core of the side that \
         sends, so a device pays for what it sends, and the generator for what the device receives; the generator's ports are of the \
         same kind. One frame in 64 is checked: addresses, ports, checksums. A share is the median of the gateway's \
         windows by testpmd's next ones, with the same frames. `lost`: sent and not received, at a load that nobody can take in full.",
        plan.window.as_millis(),
        subject::text(plan.site.core, plan.generator.id),
    );
    Method { part: "io".into(), text, runs: plan.windows, batch: wire::BURST, ..Method::default() }
}
