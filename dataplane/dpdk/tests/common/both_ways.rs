//! Frames over a port on one end of a veth pair and a packet socket on the other, both ways.

use sluice_dpdk::{Burst, Device, Eal, Mempool, MempoolConfig, Port, PortConfig};

use super::veth::{PacketSocket, Veth, frame, is_ours, wait};

/// Frame lengths, shortest and longest included.
const LENGTHS: [usize; 5] = [60, 64, 128, 590, 1514];

/// Whether a driver gives its buffers back when its port is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// All of them.
    GivesBack,
    /// Those in the kernel's rings are lost: `net_af_xdp`, up to 24.11 at least.
    Loses,
}

/// Sends and receives 2000 frames, and prints what it measures for whoever runs the test with `--nocapture`.
pub fn frames_pass_both_ways(eal: &Eal, veth: &Veth, device: &str, close: Close) {
    let missing = Device::parse(&device.replace(&veth.near, "nosuchif")).unwrap();
    let text = Port::attach(eal, &missing, 7).unwrap_err().to_string();
    assert!(text.contains("no interface `nosuchif`"), "{text}");

    let pool = Mempool::new("veth", &MempoolConfig { count: 8191, ..MempoolConfig::default() }).unwrap();
    let device = Device::parse(device).unwrap();
    let mut port = Port::attach(eal, &device, 0).unwrap();
    let capabilities = port.capabilities().unwrap();
    println!("{device}: {capabilities:?}");
    let config = PortConfig::default();
    let (mut rx, mut tx) = port.configure(&config, &pool).unwrap();
    let (mut rx, mut tx) = (rx.remove(0), tx.remove(0));
    wait("the link is up", || port.link().unwrap().up.then_some(()));
    println!("{device}: {:?}, in use after start {}", port.link().unwrap(), pool.in_use());

    let socket = PacketSocket::new(&veth.far);
    let at_rest = pool.in_use();
    receive(&device, &socket, &mut rx);
    transmit(&device, &pool, &socket, &mut tx);
    let stats = port.stats().unwrap();
    println!("{device}: {stats:?}");
    assert!(stats.rx_packets >= 2000 && stats.tx_packets == 2000, "{stats:?}");
    // Drivers that send from our buffers return them with later sends only, so this is a bound and not zero.
    println!("{device}: in use at rest {at_rest}, after traffic {}", pool.in_use());

    drop((rx, tx));
    port.detach().unwrap();
    println!("{device}: in use after close {}", pool.in_use());
    match close {
        Close::GivesBack => assert_eq!(pool.in_use(), 0, "a closed port holds no buffer"),
        // Twice the receive descriptors in the fill ring, and what waits in the completion ring.
        Close::Loses => assert!(pool.in_use() <= 3 * u32::from(config.rx_descriptors), "{}", pool.in_use()),
    }
    let mut again = Port::attach(eal, &device, 0).unwrap();
    let queues = again.configure(&config, &pool).map(drop);
    match (close, queues) {
        (Close::GivesBack, queues) => queues.expect("a detached device can be attached again"),
        // A driver that has learned it is no reason to fail.
        (Close::Loses, Ok(())) => println!("{device}: can be attached again"),
        (Close::Loses, Err(error)) => assert!(error.to_string().contains("one AF_XDP socket"), "{error}"),
    }
}

fn receive(device: &Device, socket: &PacketSocket, rx: &mut sluice_dpdk::RxQueue) {
    let mut burst: Burst = Burst::new();
    let (mut next, mut rounds) = (0u32, 0u32);
    while next < 2000 {
        for number in next..next + 20 {
            socket.send(&frame(number, LENGTHS[number as usize % LENGTHS.len()]));
        }
        let end = next + 20;
        while next < end {
            wait("frames sent on the far end are received", || {
                rounds += 1;
                (rx.rx(&mut burst) > 0).then_some(())
            });
            for mbuf in burst.drain().filter(|mbuf| is_ours(mbuf.data())) {
                if next == 0 {
                    println!("{device}: headroom of a received frame {}", mbuf.headroom());
                }
                assert_eq!(mbuf.segments(), 1);
                assert_eq!(mbuf.data(), frame(next, LENGTHS[next as usize % LENGTHS.len()]), "frame {next}");
                next += 1;
            }
        }
    }
    println!("{device}: 2000 frames received in {rounds} polls");
}

fn transmit(device: &Device, pool: &Mempool, socket: &PacketSocket, tx: &mut sluice_dpdk::TxQueue) {
    let mut burst: Burst = Burst::new();
    let (mut next, mut partial) = (0u32, 0);
    while next < 2000 {
        assert_eq!(pool.alloc_bulk(&mut burst, 20), 20);
        for (i, mbuf) in burst.iter_mut().enumerate() {
            let number = next + i as u32;
            let bytes = frame(number, LENGTHS[number as usize % LENGTHS.len()]);
            mbuf.with_frame(|frame| {
                assert!(frame.set_len(bytes.len()));
                frame.bytes_mut().copy_from_slice(&bytes);
            });
        }
        wait("the driver takes a burst", || {
            tx.tx(&mut burst);
            partial += u32::from(!burst.is_empty());
            burst.is_empty().then_some(())
        });
        for _ in 0..20 {
            let got = wait("frames sent by the port arrive on the far end", || socket.receive());
            assert_eq!(got, frame(next, LENGTHS[next as usize % LENGTHS.len()]), "frame {next}");
            next += 1;
        }
    }
    println!("{device}: 2000 frames sent, {partial} bursts taken in part");
}
