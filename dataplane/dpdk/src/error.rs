//! What can go wrong at start-up and on the control path. The packet path has no errors, only counts.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;

use sluice_dpdk_sys as sys;

use crate::device::Device;

/// An error of DPDK or of this layer. The text says what was asked, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A second start in one process.
    #[error("DPDK can be started once per process, and it was started before")]
    AlreadyStarted,

    /// Something that needs EAL before it runs.
    #[error("DPDK is not running: keep the `Eal` alive while ports, pools and threads use it")]
    NotStarted,

    /// `rte_eal_init` failed.
    #[error("DPDK did not start with `{arguments}`: {cause}")]
    Start {
        /// The arguments, as EAL got them.
        arguments: String,
        /// Why.
        cause: Cause,
    },

    /// Hugepages were required and are not there.
    #[error(
        "{wanted_mb} MB of hugepages are required, {free_mb} MB are free{}: \
         reserve some (`sysctl vm.nr_hugepages={}`), or allow running without them",
        if *.mounted { "" } else { " and hugetlbfs is not mounted" },
        wanted_mb / 2
    )]
    NoHugepages {
        /// What was asked for.
        wanted_mb: u32,
        /// What is free, of all sizes.
        free_mb: u64,
        /// Whether a hugetlbfs is mounted.
        mounted: bool,
    },

    /// An argument that DPDK cannot take.
    #[error("{what} `{value}` is not usable: {expected}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What it was.
        value: String,
        /// What it should be.
        expected: &'static str,
    },

    /// `rte_thread_register` failed.
    #[error("this thread cannot become an lcore: {cause}; DPDK has room for {limit} registered threads")]
    Thread {
        /// Why.
        cause: Cause,
        /// Most lcores of this build of DPDK.
        limit: u32,
    },

    /// No memory for a mempool.
    #[error(
        "mempool `{name}` with {count} buffers of {data_room} bytes ({} MB) cannot be created: {cause}; \
         give DPDK more memory or the pool fewer buffers",
        (u64::from(*count) * (u64::from(*data_room) + 192)) >> 20
    )]
    Mempool {
        /// Its name.
        name: String,
        /// Buffers.
        count: u32,
        /// Bytes of a buffer.
        data_room: u16,
        /// Why.
        cause: Cause,
    },

    /// A device on a kernel interface that does not exist in this network namespace.
    #[error("`{device}`: there is no interface `{interface}` in this network namespace (see `ip link`)")]
    NoInterface {
        /// What was asked for.
        device: Device,
        /// The interface that is missing.
        interface: String,
    },

    /// A PCI device while PCI is off.
    #[error("`{device}` is a PCI device, but DPDK was started without PCI (`allow_pci`)")]
    PciOff {
        /// What was asked for.
        device: Device,
    },

    /// DPDK has no port of that name.
    #[error("DPDK has no port `{name}`")]
    NoPort {
        /// The name looked for.
        name: String,
    },

    /// The port already belongs to a `Port`.
    #[error("port `{name}` is in use: a port has one `Port`, and its queues one owner each")]
    InUse {
        /// Its name.
        name: String,
    },

    /// Queues of an earlier `configure` are still alive.
    #[error("port `{name}` still has queues in use: drop them before it is configured or detached")]
    QueuesInUse {
        /// The port's name.
        name: String,
    },

    /// A device could not be attached.
    #[error("`{device}` cannot be attached: {cause}{}", hint(.device, .cause.errno))]
    Attach {
        /// What was asked for.
        device: Device,
        /// Why.
        cause: Cause,
    },

    /// A port cannot do what it was configured for.
    #[error("port `{name}` ({driver}) was asked for {asked}, but the driver offers {offered}")]
    Unsupported {
        /// The port's name.
        name: String,
        /// Its driver.
        driver: String,
        /// What was asked for.
        asked: String,
        /// What there is.
        offered: String,
    },

    /// A driver refused a step.
    #[error("port `{name}` ({driver}): {step} failed: {cause}{}", step_hint(.driver, .step))]
    Port {
        /// The port's name.
        name: String,
        /// Its driver.
        driver: String,
        /// What was being done.
        step: String,
        /// Why.
        cause: Cause,
    },
}

/// An errno, with what DPDK logged while it failed: drivers put the reason there and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    errno: i32,
    logged: Vec<String>,
}

impl Cause {
    /// From a return code of DPDK, negative or not; `logged` is what [`crate::log::capture`] saw.
    pub(crate) fn new(code: i32, logged: Vec<String>) -> Self {
        Self { errno: code.saturating_abs(), logged }
    }

    /// The errno, positive; 0 if DPDK gave none.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// What DPDK logged, line by line, oldest first.
    pub fn logged(&self) -> &[String] {
        &self.logged
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errno == 0 {
            f.write_str("no reason given")?;
        } else {
            write!(f, "{} (errno {})", errno_text(self.errno), self.errno)?;
        }
        if !self.logged.is_empty() {
            write!(f, "; DPDK logged: {}", self.logged.join(" | "))?;
        }
        Ok(())
    }
}

/// DPDK's text for an errno: the system's, and DPDK's own codes from 1000.
fn errno_text(errno: i32) -> String {
    // SAFETY: returns a NUL-terminated string, static or thread-local to the caller, never null; it is copied at once.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno)) }.to_string_lossy().into_owned()
}

/// DPDK's errno of this thread.
pub(crate) fn last_errno() -> i32 {
    // SAFETY: reads a thread-local variable.
    unsafe { sys::sluice_errno() }
}

/// What usually is wrong at this step with this driver.
fn step_hint(driver: &str, step: &str) -> &'static str {
    if driver == "net_af_xdp" && step.starts_with("setting up receive") {
        "; a queue of an interface has one AF_XDP socket: is another program, or an earlier port of this process, bound \
         to it, or has the pool fewer than 2048 free buffers for each queue?"
    } else {
        ""
    }
}

/// What usually is wrong with a device of this kind.
fn hint(device: &Device, errno: i32) -> Cow<'static, str> {
    // The bus answers so to a name that none of its drivers knows.
    if errno == libc::EFAULT
        && let Some(driver) = device.driver()
    {
        let package = driver.replace('_', "-");
        return format!(
            "; DPDK has no driver {driver} here: Debian has it in the package librte-{package}23, which libdpdk-dev brings"
        )
        .into();
    }
    let text = match device {
        Device::Pci(_) => "; is the device bound to vfio-pci (`dpdk-devbind.py --status`)?",
        Device::Xdp { .. } | Device::Packet { .. } | Device::Tap { .. } => {
            "; needs CAP_NET_ADMIN and CAP_NET_RAW"
        }
        Device::Memif { .. } => "; does the socket's directory exist, and is no other server on it?",
        Device::Pcap(_) => "; can the files be opened?",
        Device::Ring { .. } | Device::Null { .. } => "",
    };
    text.into()
}
