//! ICMP errors of IPv6 routers, where the configuration has a pool of addresses that stand for them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use sluice_tests::checks::{PORT, server6, with_gateway};
use sluice_tests::lab::SERVER;
use sluice_tests::site::Site;
use sluice_tests::traffic::{datagrams, embed, exchange};
use sluice_tests::wire::{Wire, icmp, udp};

/// Behind the network header of the IPv4 frames.
const L4: usize = 34;

/// Errors of a router come from both addresses of the pool and name the router, those of the host itself from its external
/// address.
#[test]
//= conformance ICMP-93
//= conformance ICMP-94
//= conformance ICMP-95
fn errors_of_routers_come_from_the_pool() -> Result<()> {
    let more = "icmp-source-pool: [203.0.113.128/31]\n".to_owned();
    with_gateway(&Site { more, ..Site::default() }, |scene| {
        let host: Ipv6Addr = "2001:db8:501::10".parse()?;
        let router: Ipv6Addr = "2001:db8:501:0:8000::77".parse()?;
        let socket = datagrams(scene.lab.host("client6"), (host, 46010).into(), server6())?;
        let external: SocketAddr = String::from_utf8(exchange(&socket, b"who?")?)?.parse()?;
        let IpAddr::V4(external) = external.ip() else { bail!("{external} is not IPv4") };
        let inside = Wire::open(scene.lab.host("client6"), "eth0", scene.gateway, "inside")?;
        let outside = Wire::open(scene.lab.host("router"), "eth0", scene.gateway, "outside")?;
        let quoted = udp(inside.v6(embed(SERVER), host), (PORT, 46010), b"quoted");
        let error = |from: Ipv6Addr, kind: (u8, u8), translated: [u8; 2]| -> Result<Vec<u8>> {
            inside.send(&icmp(inside.v6(from, embed(SERVER)), true, kind, &quoted[14..]))?;
            outside.expect("translated error", Duration::from_secs(3), |frame| {
                frame[12..14] == [8, 0] && frame[23] == 1 && frame[L4..L4 + 2] == translated
            })
        };
        let mut seen = BTreeSet::new();
        for round in 0..32 {
            let frame = error(router, (3, 0), [11, 0])?;
            let source: [u8; 4] = frame[26..30].try_into()?;
            seen.insert(Ipv4Addr::from(source));
            let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            ensure!(frame[L4 + 5] == 32, "round {round}: a quote of {} words", frame[L4 + 5]);
            let extension = &frame[L4 + 8 + 128..end];
            let object = [&[0, 24, 2, 4, 0, 2, 0, 0], &router.octets()[..]].concat();
            ensure!(extension[0] == 0x20 && extension[4..] == object, "round {round}: {extension:02x?}");
        }
        let pool = [128, 129].map(|last| Ipv4Addr::new(203, 0, 113, last));
        ensure!(seen == BTreeSet::from(pool), "the errors came from {seen:?}");
        let frame = error(host, (1, 4), [3, 3])?;
        ensure!(frame[26..30] == external.octets(), "the host's own error came from {:?}", &frame[26..30]);
        ensure!(frame[L4 + 5] == 0, "it has an extension");
        Ok(())
    })
}
