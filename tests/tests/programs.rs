//! Programs that people use, through the gateway.

use anyhow::Result;
use sluice_tests::checks::{Check, pieces, programs, run_all, with_gateway};
use sluice_tests::site::{Device, Site};

const CHECKS: &[Check] = &[
    ("traceroute by UDP, TCP and ICMP", programs::traceroutes),
    ("keep-alive", programs::keep_alive),
    ("pings not to be cut", pieces::pings_not_to_be_cut),
];

/// Not for `packet:` ports: the kernel puts IPv4 fragments together before such a port sees them, and what is then larger than its
/// buffers is lost.
const FRAGMENTED: &[Check] = &[
    ("DNS by UDP and TCP, in fragments", programs::dns),
    ("large pings", pieces::large_pings),
    ("large datagrams", pieces::large_datagrams),
    ("464XLAT", programs::clat),
    ("small links", pieces::small_links),
];

#[test]
fn programs_by_xdp_with_2_workers() -> Result<()> {
    with_gateway(&Site::with(Device::Xdp, 2), |scene| run_all(scene, &[CHECKS, FRAGMENTED].concat()))
}

#[test]
fn programs_by_packet_with_1_worker() -> Result<()> {
    with_gateway(&Site::with(Device::Packet, 1), |scene| run_all(scene, CHECKS))
}

#[test]
fn discovery_of_each_filtering() -> Result<()> {
    for (filtering, found) in [
        ("endpoint-independent", "NAT with Endpoint Independent Filtering!"),
        ("address-dependent", "NAT with Address Dependent Filtering!"),
        ("address-and-port-dependent", "NAT with Address and Port Dependent Filtering!"),
    ] {
        let site = Site { filtering, ..Site::default() };
        with_gateway(&site, |scene| programs::discovery(scene, found))?;
        eprintln!("  ok      {filtering}: {found}");
    }
    Ok(())
}
