//! DPDK's log: passed on line by line, and remembered while something is being tried.
//!
//! Drivers return -1 and log the reason. A capture collects what is logged meanwhile, so that the reason reaches the
//! error and with it the operator. By default lines go to standard error; [`set_handler`] sends them elsewhere.

use std::ffi::{c_char, c_void};
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use sluice_dpdk_sys as sys;

/// Lines kept per capture: the first ones name the cause, later ones its consequences.
const KEPT: usize = 6;

static HANDLER: OnceLock<fn(&str)> = OnceLock::new();

/// One capture for the process: control-path calls are few, and drivers log from helper threads of their own.
static CAPTURED: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Sends DPDK's log lines to `handler`, for the rest of the process. False if a handler was set before.
///
/// The handler runs on whatever thread logs, workers included, and must not call DPDK.
pub fn set_handler(handler: fn(&str)) -> bool {
    HANDLER.set(handler).is_ok()
}

/// Makes DPDK log through this module. Without memory for the stream it stays on standard error.
pub(crate) fn redirect() {
    // SAFETY: the sink is a function for the life of the process, and the stream is never closed.
    unsafe {
        let stream = sys::sluice_log_stream(sink);
        if !stream.is_null() {
            sys::rte_openlog_stream(stream);
        }
    }
}

/// Runs `f` and returns what DPDK logged meanwhile.
pub(crate) fn capture<R>(f: impl FnOnce() -> R) -> (R, Vec<String>) {
    *CAPTURED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    let result = f();
    let lines = CAPTURED.lock().unwrap_or_else(PoisonError::into_inner).take();
    (result, lines.unwrap_or_default())
}

/// Receives what stdio has buffered: usually one line, as DPDK flushes after each.
extern "C" fn sink(_cookie: *mut c_void, bytes: *const c_char, length: usize) -> isize {
    // SAFETY: stdio passes its own buffer, which holds `length` bytes that nobody writes during the call.
    let text = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
    for line in String::from_utf8_lossy(text).lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if let Some(kept) = CAPTURED.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
            && kept.len() < KEPT
        {
            kept.push(line.to_owned());
        }
        match HANDLER.get() {
            Some(handler) => handler(line),
            // A closed standard error must not end the process, as `eprintln!` would.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }
    length as isize
}
