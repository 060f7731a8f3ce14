//! The DSCP of packets that change family, where the configuration says not to copy it.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_tests::checks::{PORT, with_gateway};
use sluice_tests::lab::SERVER;
use sluice_tests::site::Site;
use sluice_tests::traffic::embed;
use sluice_tests::wire::{Wire, udp};

/// First and later packets of a flow, which take different ways through a worker, both directions: DSCP as configured, ECN
/// as it came. What stays in its family keeps both.
#[test]
//= conformance XLT-09
//= conformance XLT-21
//= conformance XLT-41
fn dscp_is_replaced_and_ecn_survives() -> Result<()> {
    let more = "dscp: { to-ipv4: 8, to-ipv6: 0 }\n".to_owned();
    with_gateway(&Site { more, ..Site::default() }, |scene| {
        let patience = Duration::from_secs(3);
        let [inside6, inside4] = ["client6", "client4"]
            .map(|host| Wire::open(scene.lab.host(host), "eth0", scene.gateway, "inside"));
        let (inside6, inside4) = (inside6?, inside4?);
        let outside = Wire::open(scene.lab.host("router"), "eth0", scene.gateway, "outside")?;
        let client6 = "2001:db8:501::10".parse()?;
        // Not the service's port, so that nobody answers but this test.
        let ports = (47001, PORT + 1);
        for round in 0..3 {
            // Traffic class 0xb9: DSCP 46, ECT(1).
            let mut frame = udp(inside6.v6(client6, embed(SERVER)), ports, b"out");
            frame[14..16].copy_from_slice(&[0x6b, 0x90]);
            inside6.send(&frame)?;
            let seen = outside.expect("a packet out", patience, |frame| {
                frame[12..14] == [8, 0] && frame[23] == 17 && frame[36..38] == ports.1.to_be_bytes()
            })?;
            ensure!(seen[15] == 0x21, "round {round}: TOS {:#04x}", seen[15]);

            let external: [u8; 4] = seen[26..30].try_into()?;
            let port = u16::from_be_bytes([seen[34], seen[35]]);
            let mut frame = udp(outside.v4(SERVER, external.into()), (ports.1, port), b"back");
            mark(&mut frame, 0xbb);
            outside.send(&frame)?;
            let seen = inside6.expect("a packet back", patience, |frame| {
                frame[12..14] == [0x86, 0xdd] && frame[20] == 17 && frame[54..56] == ports.1.to_be_bytes()
            })?;
            let class = seen[14] << 4 | seen[15] >> 4;
            ensure!(class == 0x03, "round {round}: traffic class {class:#04x}");

            let mut frame = udp(inside4.v4("10.0.0.10".parse()?, SERVER), (47002, PORT + 2), b"nat44");
            mark(&mut frame, 0xb9);
            inside4.send(&frame)?;
            let seen = outside.expect("a packet of NAT44", patience, |frame| {
                frame[12..14] == [8, 0] && frame[23] == 17 && frame[36..38] == (PORT + 2).to_be_bytes()
            })?;
            ensure!(seen[15] == 0xb9, "round {round}: NAT44 has TOS {:#04x}", seen[15]);
        }
        Ok(())
    })
}

/// Sets the TOS of an IPv4 frame, whose checksum follows.
fn mark(frame: &mut [u8], tos: u8) {
    let old = u16::from_be_bytes([frame[14], frame[15]]);
    frame[15] = tos;
    let new = u16::from_be_bytes([frame[14], tos]);
    let sum = u32::from(!u16::from_be_bytes([frame[24], frame[25]])) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
