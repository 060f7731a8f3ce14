//! `null:`, `memif:`, `tap:` and `pcap:`: ports that need no interface, and threads that EAL knows.

#![allow(clippy::unwrap_used)]

mod common;

use common::veth::wait;
use sluice_dpdk::*;

#[test]
fn software_ports() {
    // TAP interfaces belong in a namespace of the test's.
    let _veth = common::veth::Veth::new("sls");
    let eal = common::start("ports", 256);
    let pool = Mempool::new("ports", &MempoolConfig { count: 8191, ..MempoolConfig::default() }).unwrap();
    let directory = std::env::temp_dir().join(format!("sluice-ports-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();

    threads(&pool);
    null(&eal, &pool);
    memif(&eal, &pool, &directory.join("memif.sock").display().to_string());
    pcap(&eal, &pool, &directory.display().to_string());
    tap(&eal, &pool);
    mistakes(&eal, &pool);

    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(pool.in_use(), 0);
}

/// An unregistered thread has no lcore id, and each of its operations goes past the cache to the pool all share.
fn threads(pool: &Mempool) {
    assert_eq!(current_lcore(), Some(0), "the thread that started EAL is its main lcore");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(current_lcore(), None);
            let registered = RegisteredThread::new().unwrap();
            assert_eq!(current_lcore(), Some(registered.lcore_id()));
            assert_ne!(registered.lcore_id(), 0);
            drop(pool.alloc().unwrap());
            drop(registered);
            assert_eq!(current_lcore(), None);
        });
    });
    let per_pair = |registered: bool| {
        let work = || {
            let _lcore = registered.then(|| RegisteredThread::new().unwrap());
            let mut burst: Burst = Burst::new();
            let start = std::time::Instant::now();
            for _ in 0..20_000 {
                pool.alloc_bulk(&mut burst, 32);
                burst.clear();
            }
            start.elapsed() / (20_000 * 32)
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    };
    println!(
        "alloc and free in bursts of 32: registered {:?}, unregistered {:?}",
        per_pair(true),
        per_pair(false)
    );
    assert_eq!(pool.in_use(), 0);
}

fn null(eal: &Eal, pool: &Mempool) {
    let mut port = Port::attach(eal, &Device::parse("null:n,size=100").unwrap(), 0).unwrap();
    let (mut rx, mut tx) = port.configure(&PortConfig::default(), pool).unwrap();
    let mut burst: Burst = Burst::new();
    assert_eq!(rx[0].rx(&mut burst), 32);
    assert!(burst.iter().all(|mbuf| mbuf.len() == 100 && mbuf.port() == port.id()));
    assert_eq!(pool.in_use(), 32);
    assert_eq!(tx[0].tx(&mut burst), 32);
    assert_eq!(pool.in_use(), 0, "what is sent to nowhere is freed");
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (32, 32));
    // A queue outlives its port's handle.
    let mut rx = rx.remove(0);
    drop((port, tx));
    assert_eq!(rx.rx(&mut burst), 32);
}

fn memif(eal: &Eal, pool: &Mempool, socket: &str) {
    let device = |role| Device::parse(&format!("memif:{socket},role={role},id=1")).unwrap();
    let mut server = Port::attach(eal, &device("server"), 0).unwrap();
    let mut client = Port::attach(eal, &device("client"), 1).unwrap();
    let (mut server_rx, _server_tx) = server.configure(&PortConfig::default(), pool).unwrap();
    let (_client_rx, mut client_tx) = client.configure(&PortConfig::default(), pool).unwrap();
    wait("both ends are up", || (server.link().unwrap().up && client.link().unwrap().up).then_some(()));

    let mut burst: Burst = Burst::new();
    for round in 0..100u8 {
        assert_eq!(pool.alloc_bulk(&mut burst, 32), 32);
        for mbuf in burst.iter_mut() {
            mbuf.set_bounds(128, 200);
            mbuf.data_mut().fill(round);
        }
        assert_eq!(client_tx[0].tx(&mut burst), 32);
        let mut left = 32;
        while left > 0 {
            left -= wait("the server receives", || Some(server_rx[0].rx(&mut burst)).filter(|got| *got > 0));
            for mbuf in burst.drain() {
                assert_eq!((mbuf.len(), mbuf.segments()), (200, 1));
                assert!(mbuf.data().iter().all(|byte| *byte == round));
            }
        }
    }
    assert_eq!(pool.in_use(), 0);
}

fn pcap(eal: &Eal, pool: &Mempool, directory: &str) {
    let file = format!("{directory}/out.pcap");
    let write = Device::parse(&format!("pcap:tx={file}")).unwrap();
    let mut port = Port::attach(eal, &write, 5).unwrap();
    let (_rx, mut tx) = port.configure(&PortConfig::default(), pool).unwrap();
    let mut burst: Burst = Burst::new();
    pool.alloc_bulk(&mut burst, 5);
    for (i, mbuf) in burst.iter_mut().enumerate() {
        mbuf.set_bounds(128, 60 + i);
        mbuf.data_mut().fill(i as u8);
    }
    assert_eq!(tx[0].tx(&mut burst), 5);
    drop((port, _rx, tx));

    let read = Device::parse(&format!("pcap:rx={file}")).unwrap();
    let mut port = Port::attach(eal, &read, 5).unwrap();
    let (mut rx, _tx) = port.configure(&PortConfig::default(), pool).unwrap();
    assert_eq!(rx[0].rx(&mut burst), 5);
    for (i, mbuf) in burst.iter().enumerate() {
        assert_eq!((mbuf.len(), mbuf.data()[0]), (60 + i, i as u8));
    }
}

fn tap(eal: &Eal, pool: &Mempool) {
    let device = Device::parse("tap:slstap").unwrap();
    let mut port = Port::attach(eal, &device, 0).unwrap();
    let (mut rx, mut tx) = port.configure(&PortConfig::default(), pool).unwrap();
    common::veth::run("ip link set slstap up");
    let socket = common::veth::PacketSocket::new("slstap");
    let mut burst: Burst = Burst::new();
    socket.send(&common::veth::frame(1, 100));
    wait("the port receives what the kernel sends", || {
        rx[0].rx(&mut burst);
        burst.drain().find(|mbuf| mbuf.data() == common::veth::frame(1, 100)).map(drop)
    });
    let mut mbuf = pool.alloc().unwrap();
    mbuf.set_bounds(128, 80);
    mbuf.data_mut().copy_from_slice(&common::veth::frame(2, 80));
    burst.push(mbuf).unwrap();
    assert_eq!(tx[0].tx(&mut burst), 1);
    assert_eq!(
        wait("the kernel receives what the port sends", || socket.receive()),
        common::veth::frame(2, 80)
    );
}

/// Errors name what was asked, what there is, and what the driver logged.
fn mistakes(eal: &Eal, pool: &Mempool) {
    let attach =
        |text: &str| Port::attach(eal, &Device::parse(text).unwrap(), 9).map(drop).unwrap_err().to_string();
    let error = attach("pci:0000:01:00.0");
    assert!(error.contains("without PCI"), "{error}");
    let error = attach("pcap:rx=/nonexistent/file.pcap");
    assert!(error.contains("DPDK logged") && error.contains("/nonexistent"), "{error}");
    let error = Port::by_name(eal, "nobody").map(drop).unwrap_err().to_string();
    assert!(error.contains("no port `nobody`"), "{error}");
    let error =
        Mempool::new("big", &MempoolConfig { count: 1 << 24, ..MempoolConfig::default() }).unwrap_err();
    assert!(error.to_string().contains("more memory"), "{error}");
    assert!(Mempool::new("ports", pool.config()).is_err(), "names are unique");
    assert!(Mempool::new("a-name-that-is-far-too-long", pool.config()).is_err());
}
