//! `xdp:` over a veth pair.

#![allow(clippy::unwrap_used)]

mod common;

use common::{both_ways, veth};
use sluice_dpdk::{Burst, Device, Eal, Mempool, MempoolConfig, Port, PortConfig};

#[test]
fn frames_pass_both_ways() {
    let veth = veth::Veth::new("slx");
    let eal = common::start("xdp", 128);
    both_ways::frames_pass_both_ways(&eal, &veth, &format!("xdp:{}", veth.near), both_ways::Close::Loses);
    every_buffer_of_the_pool_is_usable(&eal, &veth);
    // Buffers that the driver keeps keep EAL, so nobody else removes its files.
    std::fs::remove_dir_all(format!("/run/dpdk/sluice-test-xdp-{}", std::process::id())).unwrap();
}

/// With buffers of DPDK's own layout, one to a page, the kernel knew three of five: reception stopped for good when those
/// were in use, and frames sent from the others vanished.
fn every_buffer_of_the_pool_is_usable(eal: &Eal, veth: &veth::Veth) {
    const COUNT: u32 = 4095;
    let pool = Mempool::new("every", &MempoolConfig { count: COUNT, ..MempoolConfig::default() }).unwrap();
    assert!(pool.is_packed());
    // The other end: the driver holds on to the queue of the first.
    let device = Device::parse(&format!("xdp:{}", veth.far)).unwrap();
    let mut port = Port::attach(eal, &device, 1).unwrap();
    let (mut rx, mut tx) = port.configure(&PortConfig::default(), &pool).unwrap();
    let socket = veth::PacketSocket::new(&veth.near);
    let mut held: Burst<4096> = Burst::new();
    let sent = veth::frame(1, 64);
    while pool.in_use() + 32 < COUNT {
        let before = held.len();
        (0..32).for_each(|_| socket.send(&sent));
        veth::wait("a frame is received although others are held", || {
            rx[0].rx(&mut held);
            (held.len() >= before + 32).then_some(())
        });
    }
    assert!(held.iter().all(|mbuf| mbuf.data() == sent));
    let most = held.len();
    assert!(most > 1900, "{most}");

    // Each of them carries a frame out as well.
    for mbuf in held.iter_mut() {
        mbuf.data_mut()[20] = 77;
    }
    let mut arrived = 0;
    veth::wait("all held buffers are sent", || {
        let mut burst: Burst<32> = Burst::new();
        while let Some(mbuf) = held.pop() {
            if let Err(mbuf) = burst.push(mbuf) {
                held.push(mbuf).unwrap();
                break;
            }
        }
        tx[0].tx(&mut burst);
        burst.drain().for_each(|mbuf| held.push(mbuf).unwrap());
        while let Some(frame) = socket.receive() {
            arrived += usize::from(frame[20] == 77);
        }
        (arrived == most).then_some(())
    });
}
