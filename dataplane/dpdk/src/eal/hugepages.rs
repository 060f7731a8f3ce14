//! Whether hugepages are there, before EAL finds out the hard way.

use std::fs;
use std::path::Path;

use super::Hugepages;
use crate::error::Error;

/// Whether to use hugepages.
///
/// # Errors
/// If they are required and fewer than `memory_mb` are free or no hugetlbfs is mounted.
pub(super) fn decide(wish: Hugepages, memory_mb: u32) -> Result<bool, Error> {
    if wish == Hugepages::Never {
        return Ok(false);
    }
    let free_mb = free_mb(Path::new("/sys/kernel/mm/hugepages"));
    let mounted = fs::read_to_string("/proc/mounts").is_ok_and(|text| is_mounted(&text));
    let enough = mounted && free_mb >= u64::from(memory_mb.max(1));
    if wish == Hugepages::Require && !enough {
        return Err(Error::NoHugepages { wanted_mb: memory_mb, free_mb, mounted });
    }
    Ok(enough)
}

/// Free hugepages of all sizes: one directory per size, named `hugepages-2048kB`.
fn free_mb(directory: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(directory) else { return 0 };
    let kilobytes: u64 = sizes
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let free = fs::read_to_string(entry.path().join("free_hugepages")).ok()?;
            Some(size * free.trim().parse::<u64>().ok()?)
        })
        .sum();
    kilobytes >> 10
}

/// Whether a hugetlbfs is among the mounts; the third word of a line is the type.
fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| line.split_whitespace().nth(2) == Some("hugetlbfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_of_all_sizes_count() {
        let directory = std::env::temp_dir().join(format!("sluice-hugepages-{}", std::process::id()));
        for (size, free) in [("hugepages-2048kB", "100\n"), ("hugepages-1048576kB", "1\n"), ("other", "7\n")]
        {
            fs::create_dir_all(directory.join(size)).unwrap();
            fs::write(directory.join(size).join("free_hugepages"), free).unwrap();
        }
        let found = free_mb(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, 200 + 1024);
    }

    #[test]
    fn hugetlbfs_is_recognized_by_type_and_not_by_place() {
        assert!(is_mounted("none /mnt/huge hugetlbfs rw 0 0\n"));
        assert!(!is_mounted("tmpfs /dev/hugepages tmpfs rw 0 0\n"));
    }

    #[test]
    fn required_but_missing_says_how_many_to_reserve() {
        let error = decide(Hugepages::Require, u32::MAX).unwrap_err().to_string();
        assert!(error.contains("vm.nr_hugepages"), "{error}");
    }
}
