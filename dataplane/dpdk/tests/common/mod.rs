//! What every test with an EAL needs.

#![allow(dead_code, unreachable_pub)]

pub mod both_ways;
pub mod veth;

use sluice_dpdk::{Eal, EalArgs, Hugepages};

/// Ends the test unless it runs as root: DPDK's files, namespaces and packet sockets need it.
pub fn require_root() {
    // SAFETY: reads the process's user.
    let user = unsafe { libc::geteuid() };
    assert_eq!(user, 0, "this test needs root: run it with sudo or in a container as root");
}

/// An EAL without hugepages, under a prefix of its own.
pub fn start(name: &str, memory_mb: u32) -> Eal {
    require_root();
    Eal::init(&EalArgs {
        file_prefix: format!("sluice-test-{name}-{}", std::process::id()),
        hugepages: Hugepages::Never,
        memory_mb,
        ..EalArgs::default()
    })
    .expect("EAL starts without hugepages")
}
