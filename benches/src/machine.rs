//! What the results were measured on. Numbers without it cannot be compared.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::hardware::{UNIT, cycles_per_microsecond};

/// Facts about machine, system and build. What the system does not say is left empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Logical processors.
    pub cpus: usize,
    /// Core that the measurement was pinned to.
    pub core: Option<usize>,
    /// What is counted.
    pub unit: String,
    /// How often it counts in a microsecond: MHz of the time stamp counter, which may differ from that of the core.
    pub unit_mhz: f64,
    /// Whether a hypervisor runs below.
    pub virtual_machine: bool,
    /// Caches of the core, smallest first, such as `L1d 32K`.
    pub caches: Vec<String>,
    /// Kernel release.
    pub kernel: String,
    /// Bytes of an ordinary page.
    pub page_size: u64,
    /// Policy for transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: String,
    /// KiB of this process on huge pages, and of all its anonymous memory.
    pub huge_kib: u64,
    /// See [`Machine::huge_kib`].
    pub anonymous_kib: u64,
    /// Average number of tasks that wanted a processor in the last minute, before the measurement and at its end.
    pub load: [f64; 2],
    /// The compiler.
    pub rustc: String,
    /// What was compiled for.
    pub target: String,
    /// Optimisation level.
    pub opt_level: String,
    /// Whether debug assertions are compiled in: then the results mean nothing.
    pub debug_assertions: bool,
    /// Further flags of the compiler.
    pub rustflags: String,
}

impl Machine {
    /// What can be known before the measurement.
    pub fn before(core: Option<usize>) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let flags = field("flags").unwrap_or_default();
        Self {
            cpu: field("model name").unwrap_or_default(),
            // All of them: the process itself may be pinned to one.
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            core,
            unit: UNIT.into(),
            unit_mhz: cycles_per_microsecond(),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            caches: caches(core.unwrap_or(0)),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            page_size: kib(&read("/proc/self/smaps"), "KernelPageSize:") * 1024,
            huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            load: [load(), 0.0],
            rustc: env!("SLUICE_RUSTC").into(),
            target: env!("SLUICE_TARGET").into(),
            opt_level: env!("SLUICE_OPT_LEVEL").into(),
            debug_assertions: cfg!(debug_assertions),
            rustflags: env!("SLUICE_RUSTFLAGS").into(),
            ..Self::default()
        }
    }

    /// Adds what memory looks like while the tables are there; the most that was seen is kept.
    pub fn see_memory(&mut self) {
        let rollup = read("/proc/self/smaps_rollup");
        let anonymous = kib(&rollup, "Anonymous:");
        if anonymous > self.anonymous_kib {
            self.anonymous_kib = anonymous;
            self.huge_kib = kib(&rollup, "AnonHugePages:");
        }
    }

    /// Adds what is known at the end.
    pub fn after(&mut self) {
        self.load[1] = load();
    }
}

/// KiB of main memory that could be used now.
pub fn available_kib() -> u64 {
    kib(&read("/proc/meminfo"), "MemAvailable:")
}

/// KiB of main memory that this process holds.
pub fn resident_kib() -> u64 {
    kib(&read("/proc/self/smaps_rollup"), "Rss:")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn load() -> f64 {
    let average = read("/proc/loadavg");
    average.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// The value of the first line that starts with a name.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The word in brackets: how the kernel shows which of several is set.
fn chosen(text: &str) -> String {
    let inner = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map(|(word, _)| word.to_owned()).unwrap_or_default()
}

fn caches(core: usize) -> Vec<String> {
    let of = |index: usize, what: &str| {
        read(&format!("/sys/devices/system/cpu/cpu{core}/cache/index{index}/{what}")).trim().to_owned()
    };
    let cache = |index| {
        let (level, size) = (of(index, "level"), of(index, "size"));
        let kind = match of(index, "type").as_str() {
            "Instruction" => return None,
            "Data" => "d",
            _ => "",
        };
        (!level.is_empty()).then(|| format!("L{level}{kind} {size}"))
    };
    (0..8).filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen(""), "");
        assert_eq!(kib("Rss: 5 kB\nAnonHugePages:    2048 kB\n", "AnonHugePages:"), 2048);
        assert_eq!(kib("", "Anonymous:"), 0);
    }

    #[test]
    fn the_machine_is_known() {
        let mut machine = Machine::before(None);
        machine.see_memory();
        machine.after();
        assert!(machine.unit_mhz > 1.0);
        assert_eq!(machine.page_size % 4096, 0);
        assert!(machine.anonymous_kib > 0 && !machine.rustc.is_empty());
        assert!(resident_kib() > 0 && available_kib() > resident_kib());
    }
}
