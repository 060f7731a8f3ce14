//! Waiting for something to become true, with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks every 20 ms until `probe` gives a value, for at most `limit`. `what` names the thing in the error, which also
/// says what the last attempt found.
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                bail!("waited {:.1} s for {what}; last: {error:#}", limit.as_secs_f32())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The error of a probe that is not satisfied yet.
pub fn require(condition: bool, found: impl Debug) -> Result<()> {
    if condition {
        return Ok(());
    }
    bail!("found {found:?}")
}
