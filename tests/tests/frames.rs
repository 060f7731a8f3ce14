//! Frames written by hand against a running gateway.

use anyhow::Result;
use sluice_tests::checks::frames::{NAMES, PATHS};
use sluice_tests::checks::{run_all, with_gateway};
use sluice_tests::site::{Device, Site};

#[test]
fn packet_ports_with_1_worker() -> Result<()> {
    with_gateway(&Site::with(Device::Packet, 1), |scene| run_all(scene, PATHS))
}

#[test]
fn xdp_ports_with_2_workers() -> Result<()> {
    with_gateway(&Site::with(Device::Xdp, 2), |scene| run_all(scene, PATHS))
}

/// On ports that show frames as they are: `net_af_packet` has the kernel put IPv4 fragments together first.
#[test]
fn every_mistake_has_a_name() -> Result<()> {
    with_gateway(&Site::with(Device::Xdp, 1), |scene| run_all(scene, NAMES))
}
