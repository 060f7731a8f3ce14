//! Who is who: a process by pid and start time, since pids are used again; the boot by its id; random numbers.

use std::fs::{self, File};
use std::io::{self, Read};

/// When a process was started, in clock ticks since boot; `None` if it does not exist or is dead and not yet reaped.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    // The command name, in parentheses, may hold anything: what follows its last one is well-formed.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // Field 3 was just taken; the start time is field 22.
    fields.nth(18)?.parse().ok()
}

/// Whether the process that had this pid and start time still lives.
pub(crate) fn is_alive(pid: u32, started: u64) -> bool {
    pid != 0 && start_time(pid) == Some(started)
}

/// The id of this boot, or 0 if the kernel does not tell: then no two boots are told apart.
pub(crate) fn boot_id() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or_default()
}

/// Random words of the kernel.
pub(crate) fn random<const N: usize>() -> io::Result<[u64; N]> {
    let mut source = File::open("/dev/urandom")?;
    let mut words = [0; N];
    for word in &mut words {
        let mut bytes = [0; 8];
        source.read_exact(&mut bytes)?;
        *word = u64::from_ne_bytes(bytes);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_of_its_pid_is_not() {
        let pid = std::process::id();
        let started = start_time(pid).unwrap();
        assert!(is_alive(pid, started));
        assert!(!is_alive(pid, started + 1));
        assert!(!is_alive(0, 0));
    }

    #[test]
    fn the_boot_has_an_id_and_random_words_differ() {
        assert_ne!(boot_id(), 0);
        assert_ne!(random::<2>().unwrap(), random::<2>().unwrap());
    }
}
