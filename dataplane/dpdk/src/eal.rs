//! DPDK's environment abstraction layer: started once per process, cleaned up when its last user is gone.

mod args;
mod hugepages;

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sluice_dpdk_sys as sys;

pub use args::{EalArgs, Hugepages, LogLevel};

use crate::error::{Cause, Error, last_errno};
use crate::log;

/// `rte_eal_init` cannot be repeated, not even after a failure or a cleanup.
static STARTED: AtomicBool = AtomicBool::new(false);

/// How pools and threads find EAL without being handed it.
static RUNNING: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());

/// DPDK, running. One per process. Dropping it cleans up once ports, pools and registered threads are gone as well.
#[derive(Debug)]
pub struct Eal {
    runtime: Arc<Runtime>,
}

/// What users of EAL hold. Cleanup unmaps all of DPDK's memory, so it is this object's drop and not [`Eal`]'s.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) pci: bool,
    hugepages: bool,
    arguments: Vec<String>,
    /// Where EAL keeps this process's files.
    directory: PathBuf,
}

impl Eal {
    /// Starts DPDK. The calling thread becomes its main lcore; with `main_core` it is pinned there, else it stays where
    /// it was allowed to run.
    ///
    /// # Errors
    /// If it was started before, if hugepages are required and missing, or with what DPDK said.
    pub fn init(args: &EalArgs) -> Result<Self, Error> {
        let hugepages = hugepages::decide(args.hugepages, args.memory_mb)?;
        let arguments = args.build(hugepages)?;
        let owned = arguments
            .iter()
            .map(|text| {
                CString::new(text.as_str()).map_err(|_| Error::Argument {
                    what: "EAL argument",
                    value: text.clone(),
                    expected: "it must not contain a NUL byte",
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyStarted);
        }
        log::redirect();

        // EAL keeps pointers to its arguments for the life of the process and reorders the array: both are leaked.
        let mut pointers: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
        pointers.push(std::ptr::null_mut());
        let argv = Box::leak(pointers.into_boxed_slice());
        let argc = (argv.len() - 1) as i32;
        // SAFETY: `argv` holds `argc` NUL-terminated strings and a null pointer, writable and never freed. STARTED makes
        // this the only call in the process.
        let (code, logged) = log::capture(|| unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) });
        if code < 0 {
            let cause = Cause::new(last_errno(), logged);
            return Err(Error::Start { arguments: arguments.join(" "), cause });
        }
        // SAFETY: EAL is initialized.
        let hugepages = unsafe { sys::rte_eal_has_hugepages() } != 0;
        // SAFETY: EAL is initialized; the string is static and NUL-terminated, and is copied.
        let directory = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
        let directory = PathBuf::from(OsStr::from_bytes(directory.to_bytes()));
        let runtime = Arc::new(Runtime { pci: args.allow_pci, hugepages, arguments, directory });
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&runtime);
        Ok(Self { runtime })
    }

    /// Whether packet memory is in hugepages. Without, it works and costs TLB misses; a start-up message should say so.
    pub fn uses_hugepages(&self) -> bool {
        self.runtime.hugepages
    }

    /// The arguments that EAL was started with, for a log line.
    pub fn arguments(&self) -> &[String] {
        &self.runtime.arguments
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }
}

impl Runtime {
    /// The running EAL.
    pub(crate) fn current() -> Result<Arc<Self>, Error> {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).upgrade().ok_or(Error::NotStarted)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: EAL is initialized, and every port, pool and registered thread holds this object, so none is left.
        unsafe {
            sys::rte_eal_cleanup();
        }
        // EAL leaves its files for the next process of the same prefix to replace; with a prefix per process there is
        // none. What cannot be removed does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// DPDK's version, as in "DPDK 22.11.11".
pub fn version() -> String {
    // SAFETY: returns a pointer to a static string.
    unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
}
