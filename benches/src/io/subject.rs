//! Devices under test: the gateway as it is, and testpmd, which looks at nothing but link addresses.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_dpdk::Device;
use sluice_nat::Kind;

use super::error::IoError;
use super::frame::{Duty, Macs};
use super::process::{Process, run, tail};
use super::watch;
use crate::flows::{Flows, POOL, PORTS};

/// How long a device may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Of each, in DPDK's count: what the gateway gives its ports.
const DESCRIPTORS: u16 = 1024;
/// Buffers of testpmd's pool: as many as both ports of the gateway have together.
const BUFFERS: u32 = 2 * 16_383;
/// MiB of packet memory.
const MEMORY: u32 = 512;
/// Link addresses of the generator's ports.
const GENERATOR: [[u8; 6]; 2] = [[2, 0x53, 0x4c, 0, 0, 1], [2, 0x53, 0x4c, 0, 0, 2]];
/// What frames to testpmd are addressed to: nobody, so that no kernel takes them for its own.
const NOBODY: [u8; 6] = [2, 0x53, 0x4c, 0, 0, 9];

/// Where a device runs.
#[derive(Clone, Debug)]
pub struct Site {
    /// Files of the run.
    pub directory: PathBuf,
    /// Programs of the gateway.
    pub programs: PathBuf,
    /// Core of the thread that forwards.
    pub core: usize,
    /// Cores of the gateway's other threads and processes.
    pub others: Vec<usize>,
}

/// A device under test that runs.
#[derive(Debug)]
pub struct Subject {
    /// In the order in which they are stopped.
    processes: Vec<Process>,
    /// Link addresses on the inside and the outside link.
    pub macs: [Macs; 2],
    /// What it does to packets.
    pub duty: Duty,
    run_dir: Option<PathBuf>,
    _leftovers: Option<Leftovers>,
}

/// Files that an EAL leaves behind: testpmd's always, ours if a port of `net_af_xdp` was open, which never gives all of its
/// buffers back.
#[derive(Debug)]
pub struct Leftovers(PathBuf);

impl Leftovers {
    /// Of the process with a file prefix.
    pub fn of(prefix: &str) -> Self {
        Self(Path::new("/run/dpdk").join(prefix))
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // Small, and replaced by the next process of the same number.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Subject {
    /// testpmd in mac mode, all its threads on one core.
    ///
    /// # Errors
    /// If it does not start.
    pub fn testpmd(site: &Site, devices: &[Device; 2]) -> Result<Self, IoError> {
        let core = site.core;
        let mut words =
            vec!["dpdk-testpmd".to_owned(), format!("--lcores=0@{core},1@{core}"), "--no-pci".into()];
        words.extend(["--no-telemetry".into(), "--iova-mode=va".into(), "-m".into(), MEMORY.to_string()]);
        let prefix = format!("sluice-bench-{}", std::process::id());
        words.push(format!("--file-prefix={prefix}"));
        if !hugepages() {
            words.push("--no-huge".into());
        }
        for (number, device) in devices.iter().enumerate() {
            let (name, arguments) = device.vdev(number as u16).unwrap_or_default();
            words.push(format!("--vdev={name},{arguments}"));
        }
        words.extend(["--", "--forward-mode=mac", "--nb-cores=1", "--disable-link-check"].map(String::from));
        words.push(format!("--total-num-mbufs={BUFFERS}"));
        words.extend(["rxd", "txd"].map(|ring| format!("--{ring}={DESCRIPTORS}")));
        // A terminal is not asked for commands: it runs until it is told to end.
        words.push("--stats-period=3600".into());
        let mut testpmd = Process::spawn("testpmd", &words, &site.directory)?;
        wait("testpmd", || {
            testpmd.alive()?;
            let log = testpmd.log();
            Ok(if log.contains("Port statistics") { Ok(()) } else { Err(tail(&log)) })
        })?;
        let macs = GENERATOR.map(|source| Macs { source, destination: NOBODY });
        let leftovers = Some(Leftovers::of(&prefix));
        Ok(Self { processes: vec![testpmd], macs, duty: Duty::Pass, run_dir: None, _leftovers: leftovers })
    }

    /// The gateway with room for the sessions of flows, one worker.
    ///
    /// # Errors
    /// If it does not start, or refuses its configuration.
    pub fn gateway(site: &Site, devices: &[Device; 2], flows: &Flows) -> Result<Self, IoError> {
        let config = site.directory.join("sluice.yaml");
        let text = configuration(devices, flows, site.core);
        std::fs::write(&config, text).map_err(|error| IoError::File { path: config.clone(), error })?;
        let run_dir = site.directory.join("run");
        std::fs::create_dir_all(&run_dir).map_err(|error| IoError::File { path: run_dir.clone(), error })?;
        let program = |name: &str| site.programs.join(name).display().to_string();
        let at = run_dir.display().to_string();
        let memory = MEMORY.to_string();
        let pages = if hugepages() { "require" } else { "never" };
        let words =
            [&program("sluice-dataplane"), "--run-dir", &at, "--memory", &memory, "--hugepages", pages];
        let mut dataplane = Process::spawn("sluice-dataplane", &words.map(String::from), &site.directory)?;
        let words = [&program("sluice-control"), "--run-dir", &at, "--config", &config.display().to_string()];
        let mut control = Process::spawn("sluice-control", &words.map(String::from), &site.directory)?;
        let sluice = program("sluice");
        let mut macs = GENERATOR.map(|source| Macs { source, destination: NOBODY });
        wait("the gateway", || {
            dataplane.alive()?;
            control.alive()?;
            let status = match run(&[&sluice, "--run-dir", &at, "status", "--json"]) {
                Ok(status) => status,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let found = ready(&serde_json::from_str(&status).unwrap_or_default());
            for (macs, found) in macs.iter_mut().zip(found.iter().flatten()) {
                macs.destination = *found;
            }
            Ok(found.map(drop).ok_or(status))
        })?;
        // Not "permanent": control asks the kernel to keep its gateways alive, which makes such an entry an ordinary one that
        // is probed, and the generator does not answer.
        for (interface, address, number) in
            [("inside", "172.16.0.2", 0), ("inside", "fd00::2", 0), ("outside", "172.16.1.2", 1)]
        {
            let mac = GENERATOR[number].map(|byte| format!("{byte:02x}")).join(":");
            let words = ["ip", "neigh", "replace", address, "lladdr", &mac, "dev", interface, "nud", "noarp"];
            run(&words)?;
        }
        // Nothing shares its core with the worker, as on a real machine.
        [&dataplane, &control]
            .into_iter()
            .try_for_each(|process| watch::move_others(process.id(), &site.others))?;
        Ok(Self {
            processes: vec![control, dataplane],
            macs,
            duty: Duty::Translate,
            run_dir: Some(run_dir),
            _leftovers: None,
        })
    }

    /// # Errors
    /// [`IoError::Ended`] if one of its processes has.
    pub fn alive(&mut self) -> Result<(), IoError> {
        self.processes.iter_mut().try_for_each(Process::alive)
    }

    /// Lets the process that forwards rest or go on. At rest it uses no core, and its ports fill.
    pub fn pause(&self, pause: bool) {
        if let Some(process) = self.processes.last() {
            process.pause(pause);
        }
    }

    /// The thread that forwards: its folder in `/proc`.
    pub fn forwarder(&self) -> Option<PathBuf> {
        self.processes.iter().find_map(|process| watch::forwarder(process.id()))
    }

    /// What the gateway says of its counters; nothing of testpmd.
    pub fn counters(&self, site: &Site) -> Option<String> {
        let run_dir = self.run_dir.as_ref()?.display().to_string();
        let sluice = site.programs.join("sluice").display().to_string();
        run(&[&sluice, "--run-dir", &run_dir, "counters"]).ok()
    }

    /// Ends it. The generator's ports are still there, and nobody polls them: a memif whose peer leaves in the middle of a
    /// burst can crash DPDK's driver.
    ///
    /// # Errors
    /// If a process does not end, or ends badly.
    pub fn stop(self) -> Result<(), IoError> {
        let stopped = self.processes.into_iter().try_for_each(Process::stop);
        if let Some(run_dir) = self.run_dir {
            // The next gateway begins without sessions.
            std::fs::remove_dir_all(&run_dir).map_err(|error| IoError::File { path: run_dir, error })?;
        }
        stopped
    }
}

/// Link addresses of the gateway's interfaces, once both have a port and a twin.
fn ready(status: &Value) -> Option<Vec<[u8; 6]>> {
    let twins = status["control"]["twins"].as_array()?;
    if twins.len() != 2 || !twins.iter().all(|twin| twin["ready"] == true) {
        return None;
    }
    let mac = |name: &str| {
        let interface = status["interfaces"].as_array()?.iter().find(|one| one["name"] == name)?;
        let bytes = interface["mac"].as_array()?.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
        bytes.collect::<Vec<_>>().try_into().ok()
    };
    ["inside", "outside"].into_iter().map(mac).collect()
}

fn wait(
    name: &'static str,
    mut done: impl FnMut() -> Result<Result<(), String>, IoError>,
) -> Result<(), IoError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match done()? {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > deadline => {
                return Err(IoError::NotReady { name, seconds: PATIENCE.as_secs(), why });
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// The gateway's configuration. No limit stands in the way: the benchmark is not about them.
fn configuration(devices: &[Device; 2], flows: &Flows, core: usize) -> String {
    let [inside, outside] = devices;
    let pool = std::net::Ipv4Addr::from(POOL);
    let length = 32 - flows.addresses.trailing_zeros();
    let first = 65_536 - PORTS;
    // A little more than there are: an extent of records is dealt to a worker as a whole.
    let sessions = flows.count.max(4096) + 4096;
    let rule = match flows.kind {
        Kind::Nat64 => "nat64:\n  - { prefix: 2001:db8:64::/96, sources: [2001:db8::/43], pool: bench }",
        Kind::Nat44 => "nat44:\n  - { sources: [10.0.0.0/8], pool: bench }",
    };
    format!(
        "interfaces:
  inside:
    device: {inside}
    addresses: [172.16.0.1/24, fd00::1/64]
  outside:
    device: {outside}
    addresses: [172.16.1.1/24]
workers: {{ cores: [{core}] }}
pools:
  bench: {{ prefixes: [{pool}/{length}], ports: {first}-65535, block-size: 64, parity: false }}
{rule}
subscribers: {{ max-sessions: 65536, new-sessions-per-second: 0 }}
timers: {{ udp: 1h }}
sessions: {sessions}
routes:
  - {{ to: 0.0.0.0/0, via: 172.16.1.2 }}
  - {{ to: 10.0.0.0/8, via: 172.16.0.2 }}
  - {{ to: 2001:db8::/43, via: fd00::2 }}
"
    )
}

/// Whether there are hugepages for both, generator and device.
pub fn hugepages() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    value("HugePages_Free:") * value("Hugepagesize:") / 1024 >= 3 * u64::from(MEMORY)
}

/// What a method says of the devices.
pub fn text(core: usize, generator: usize) -> String {
    let pages = if hugepages() { "hugepages" } else { "ordinary pages (no hugepages were free)" };
    format!(
        "generator on core {generator}, device under test on core {core}, packet memory on {pages}. Both devices have rings of \
         {DESCRIPTORS} descriptors, the gateway bursts of 64 and testpmd its usual 32; memif has rings of 1024 buffers of 2048 bytes, copied on either side; xdp and \
         packet ports are veth pairs without offloads, one queue each. The gateway's other threads (main, punt) and its control \
         process run on cores that are not the worker's"
    )
}

/// Where the programs of the gateway are: beside this one.
pub fn programs() -> PathBuf {
    let here = std::env::current_exe().ok();
    here.as_deref().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gateway_is_ready_when_both_twins_are() {
        let mut status = json!({
            "control": { "twins": [{ "ready": true }, { "ready": false }] },
            "interfaces": [
                { "name": "outside", "mac": [2, 0, 0, 0, 0, 2] },
                { "name": "inside", "mac": [2, 0, 0, 0, 0, 1] },
            ],
        });
        assert_eq!(ready(&status), None);
        status["control"]["twins"][1]["ready"] = true.into();
        assert_eq!(ready(&status), Some(vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]]));
        assert_eq!(ready(&Value::Null), None);
    }
}
