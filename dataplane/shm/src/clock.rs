//! The clock of everything shared: `CLOCK_BOOTTIME`, which all processes of a machine agree on, which never steps
//! and which goes on while the machine sleeps.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine booted, suspends included.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
