//! Whether threads had their cores to themselves.
//!
//! Generator and device are as fast as the slower of the two, so a third party on one of their cores falsifies what is seen.
//! The kernel counts for each thread how long it has waited to run.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::error::IoError;

/// How long two threads have waited for a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// The generator.
    pub generator: Duration,
    /// The thread that forwards.
    pub device: Duration,
}

impl Waited {
    /// What has been added since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            generator: self.generator.saturating_sub(before.generator),
            device: self.device.saturating_sub(before.device),
        }
    }
}

/// The threads that are watched, if any.
#[derive(Debug, Default)]
pub struct Watch {
    threads: Option<[File; 2]>,
}

impl Watch {
    /// Watches the calling thread, the generator, and another by its folder in `/proc`.
    ///
    /// # Errors
    /// If the kernel does not count, or there is no such thread.
    pub fn new(device: &Path) -> io::Result<Self> {
        let open = |thread: &Path| File::open(thread.join("schedstat"));
        Ok(Self { threads: Some([open(Path::new("/proc/thread-self"))?, open(device)?]) })
    }

    /// How long they have waited so far. A thread that waits right now is counted when it runs.
    pub fn waited(&self) -> Waited {
        let Some([generator, device]) = &self.threads else { return Waited::default() };
        Waited { generator: waited(generator), device: waited(device) }
    }
}

/// Second of three numbers: time on a core, time waited for one, times it got one.
fn waited(file: &File) -> Duration {
    let mut bytes = [0; 80];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0))
}

/// The folder in `/proc` of a process's thread that forwards; `None` before it is there.
pub fn forwarder(process: u32) -> Option<PathBuf> {
    threads(process).into_iter().find(|thread| forwards(thread))
}

/// Moves all other threads of a process to other cores.
///
/// # Errors
/// If the kernel refuses.
pub fn move_others(process: u32, cores: &[usize]) -> Result<(), IoError> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    for thread in threads(process).into_iter().filter(|thread| !forwards(thread)) {
        let number = thread.file_name().and_then(|name| name.to_str()?.parse().ok()).and_then(Pid::from_raw);
        sched_setaffinity(number, &set)
            .map_err(|error| IoError::File { path: thread, error: error.into() })?;
    }
    Ok(())
}

fn threads(process: u32) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(format!("/proc/{process}/task"));
    folder.into_iter().flatten().flatten().map(|thread| thread.path()).collect()
}

/// The gateway's threads that do are called so, and testpmd's.
fn forwards(thread: &Path) -> bool {
    let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
    name.starts_with("worker-") || name.starts_with("rte-worker-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_waited_never_goes_back() {
        let watch = Watch::new(Path::new("/proc/thread-self")).unwrap();
        let before = watch.waited();
        std::thread::sleep(Duration::from_millis(2));
        let since = watch.waited().since(before);
        assert!(
            since.generator < Duration::from_secs(60) && before.since(watch.waited()) == Waited::default()
        );
        assert!(Watch::new(Path::new("/proc/none")).is_err());
        assert_eq!(Watch::default().waited(), Waited::default());
    }
}
