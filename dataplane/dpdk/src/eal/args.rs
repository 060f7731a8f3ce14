//! What EAL is started with.

use std::mem::MaybeUninit;

use crate::error::Error;

/// Whether packet memory comes from hugepages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hugepages {
    /// Use them if enough are free, else ordinary pages.
    #[default]
    Auto,
    /// Fail without them.
    Require,
    /// Ordinary pages.
    Never,
}

/// Least severe messages that DPDK logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what may become one.
    #[default]
    Warning,
    /// And unusual events.
    Notice,
    /// And what it does.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Arguments of EAL.
#[derive(Debug, Clone)]
pub struct EalArgs {
    /// Separates this process's files in `/run/dpdk` and hugetlbfs from those of other DPDK processes: unique per process.
    pub file_prefix: String,
    /// Kind of memory.
    pub hugepages: Hugepages,
    /// Memory for pools and rings. Without hugepages it is fixed, with them it is what is reserved at start.
    pub memory_mb: u32,
    /// CPU that the calling thread is pinned to; `None` leaves it where it may run.
    pub main_core: Option<u16>,
    /// Whether PCI devices can be attached. If not, the bus is not looked at.
    pub allow_pci: bool,
    /// How much DPDK says.
    pub log_level: LogLevel,
    /// Further arguments, after ours.
    pub extra: Vec<String>,
}

impl Default for EalArgs {
    fn default() -> Self {
        Self {
            file_prefix: format!("sluice-{}", std::process::id()),
            hugepages: Hugepages::Auto,
            memory_mb: 256,
            main_core: None,
            allow_pci: false,
            log_level: LogLevel::Warning,
            extra: Vec::new(),
        }
    }
}

impl EalArgs {
    /// The command line, once it is known whether hugepages are used.
    ///
    /// Never `--in-memory`: with `--no-huge` it makes 22.11 fail, and with hugepages it would hide leftovers that EAL
    /// otherwise removes at the next start under the same prefix.
    pub(super) fn build(&self, hugepages: bool) -> Result<Vec<String>, Error> {
        let prefix = &self.file_prefix;
        if prefix.is_empty() || prefix.contains(['/', '%']) || prefix.starts_with('.') {
            return Err(Error::Argument {
                what: "file prefix",
                value: prefix.clone(),
                expected: "it becomes a file name, so it is not empty and has neither `/` nor `%` nor a leading dot",
            });
        }
        let mut list: Vec<String> = Vec::with_capacity(16);
        let mut add = |words: &[&str]| list.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["sluice", "--file-prefix", prefix, "--no-telemetry", "-m", &self.memory_mb.to_string()]);
        add(&["--lcores", &self.lcores(), "--log-level", self.log_level.name()]);
        if !hugepages {
            add(&["--no-huge"]);
        }
        if !self.allow_pci {
            add(&["--no-pci"]);
        } else if !self.extra.iter().any(|word| word.starts_with("-a") || word.starts_with("-b")) {
            // An allow-list with a device that no driver wants: NICs are attached one by one, by configuration, and
            // those of other processes are left alone.
            add(&["-a", "0000:00:00.0"]);
        }
        // Physical addresses need hugepages and are of use to PCI devices without IOMMU only.
        let chosen = self.extra.iter().any(|word| word.starts_with("--iova-mode"));
        if !chosen && (!hugepages || !self.allow_pci) {
            add(&["--iova-mode=va"]);
        }
        list.extend(self.extra.iter().cloned());
        Ok(list)
    }

    /// EAL gets one lcore, the calling thread; workers register themselves.
    fn lcores(&self) -> String {
        match self.main_core {
            Some(core) => format!("0@{core}"),
            None => {
                let cpus: Vec<String> = allowed_cpus().iter().map(ToString::to_string).collect();
                if cpus.is_empty() { "0".to_owned() } else { format!("0@({})", cpus.join(",")) }
            }
        }
    }
}

/// CPUs that the calling thread may run on; empty if the system does not say.
fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let size = std::mem::size_of::<libc::cpu_set_t>();
    // SAFETY: the kernel writes at most `size` bytes; all-zero is a valid set for what it leaves.
    let set = unsafe {
        if libc::sched_getaffinity(0, size, set.as_mut_ptr()) != 0 {
            return Vec::new();
        }
        set.assume_init()
    };
    // SAFETY: indices below CPU_SETSIZE lie within the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &EalArgs, hugepages: bool) -> String {
        args.build(hugepages).unwrap().join(" ")
    }

    #[test]
    fn without_hugepages_addresses_are_virtual_and_memory_is_not_in_memory_mode() {
        let text = line(&EalArgs { main_core: Some(3), ..EalArgs::default() }, false);
        assert!(text.contains("--no-huge") && text.contains("--iova-mode=va"), "{text}");
        assert!(text.contains("--lcores 0@3 ") && text.contains("--no-pci"), "{text}");
        assert!(!text.contains("in-memory"), "{text}");
    }

    #[test]
    fn with_pci_and_hugepages_eal_chooses_addresses_and_attaches_nothing_by_itself() {
        let args = EalArgs { allow_pci: true, ..EalArgs::default() };
        let text = line(&args, true);
        assert!(!text.contains("--iova-mode") && text.contains("-a 0000:00:00.0"), "{text}");
        let own = EalArgs { extra: vec!["-a".into(), "0000:01:00.0".into()], ..args };
        assert!(!line(&own, true).contains("0000:00:00.0"));
    }

    #[test]
    fn a_prefix_that_is_no_file_name_is_refused() {
        for prefix in ["", "a/b", ".hidden", "100%"] {
            assert!(
                EalArgs { file_prefix: prefix.into(), ..EalArgs::default() }.build(false).is_err(),
                "{prefix}"
            );
        }
    }
}
