//! Threads that EAL knows.
//!
//! A thread of ours has no lcore id until it registers, and without one every mempool operation bypasses the per-lcore
//! cache: it works, and it is several times slower. Nothing warns about it, so workers hold a [`RegisteredThread`].

use std::marker::PhantomData;
use std::sync::Arc;

use sluice_dpdk_sys as sys;

use crate::eal::Runtime;
use crate::error::{Cause, Error, last_errno};
use crate::log;

/// The calling thread as an lcore, until this is dropped. It stays on its thread.
#[derive(Debug)]
pub struct RegisteredThread {
    lcore: u32,
    /// EAL's main lcore is an lcore already and must not be unregistered.
    ours: bool,
    _runtime: Arc<Runtime>,
    /// Registration belongs to the thread: a raw pointer is neither `Send` nor `Sync`.
    _thread: PhantomData<*mut ()>,
}

impl RegisteredThread {
    /// Registers the calling thread. On a thread that is an lcore already it changes nothing, then and when dropped.
    ///
    /// # Errors
    /// If EAL is not running or has no lcore id left.
    pub fn new() -> Result<Self, Error> {
        let runtime = Runtime::current()?;
        if let Some(lcore) = current_lcore() {
            return Ok(Self { lcore, ours: false, _runtime: runtime, _thread: PhantomData });
        }
        // SAFETY: EAL is running.
        let (code, logged) = log::capture(|| unsafe { sys::rte_thread_register() });
        match current_lcore() {
            Some(lcore) if code == 0 => {
                Ok(Self { lcore, ours: true, _runtime: runtime, _thread: PhantomData })
            }
            _ => Err(Error::Thread { cause: Cause::new(last_errno(), logged), limit: sys::RTE_MAX_LCORE }),
        }
    }

    /// The lcore id.
    pub fn lcore_id(&self) -> u32 {
        self.lcore
    }
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: this thread registered itself in `new`, and the value never leaves it. EAL is kept by `_runtime`.
            unsafe { sys::rte_thread_unregister() };
        }
    }
}

/// The calling thread's lcore id; `None` if EAL does not know the thread.
pub fn current_lcore() -> Option<u32> {
    // SAFETY: reads a thread-local variable.
    let id = unsafe { sys::sluice_lcore_id() };
    (id != sys::LCORE_ID_ANY).then_some(id)
}
