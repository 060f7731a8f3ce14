//! A `net_ring` port in a real EAL: what is sent is received, and no buffer is lost.

#![allow(clippy::unwrap_used)]

mod common;

use sluice_dpdk::*;

/// Frames sent in the tests: content depends on the number, so that order and content show.
fn fill(mbuf: &mut Mbuf, number: u8) {
    mbuf.with_frame(|frame| {
        assert!(frame.set_len(64));
        frame.bytes_mut().fill(number);
    });
}

#[test]
fn ring_port() {
    let eal = common::start("ring", 128);
    assert!(!eal.uses_hugepages());
    assert!(matches!(Eal::init(&EalArgs::default()), Err(Error::AlreadyStarted)));

    let pool = Mempool::new("ring", &MempoolConfig { count: 1023, ..MempoolConfig::default() }).unwrap();
    assert_eq!((pool.available(), pool.in_use()), (1023, 0));

    let device = Device::parse("ring:loop").unwrap();
    let mut port = Port::attach(&eal, &device, 0).unwrap();
    assert!(matches!(Port::attach(&eal, &device, 0), Err(Error::InUse { .. })));
    assert!(matches!(Port::by_name(&eal, "net_ring_loop"), Err(Error::InUse { .. })));

    let capabilities = port.capabilities().unwrap();
    assert_eq!(capabilities.driver, "net_ring");
    let (mut rx, mut tx) = port.configure(&PortConfig::default(), &pool).unwrap();
    assert!(port.link().unwrap().up);
    let (mut rx, mut tx) = (rx.remove(0), tx.remove(0));

    send_and_receive(&pool, &mut rx, &mut tx);
    burst_owns_its_packets(&pool);
    partial_transmit(&pool, &mut rx, &mut tx);
    bounds(&pool);
    exhaustion(&pool);
    assert_eq!(port.stats().unwrap().rx_packets, port.stats().unwrap().tx_packets);
    assert!(!port.xstats().unwrap().is_empty());

    reconfigure(&mut port, &pool, rx, tx);
    port.detach().unwrap();
    let again = Port::attach(&eal, &device, 0).unwrap();
    drop(again);
    assert_eq!(pool.in_use(), 0);
}

fn send_and_receive(pool: &Mempool, rx: &mut RxQueue, tx: &mut TxQueue) {
    let mut burst: Burst = Burst::new();
    for round in 0..100u8 {
        assert_eq!(pool.alloc_bulk(&mut burst, 32), 32);
        for (i, mbuf) in burst.iter_mut().enumerate() {
            fill(mbuf, round.wrapping_add(i as u8));
        }
        assert_eq!(tx.tx(&mut burst), 32);
        assert!(burst.is_empty());
        assert_eq!(rx.rx(&mut burst), 32);
        for (i, mbuf) in burst.drain().enumerate() {
            mbuf.prefetch();
            assert_eq!((mbuf.len(), mbuf.segments(), mbuf.rss_hash()), (64, 1, None));
            assert!(mbuf.data().iter().all(|byte| *byte == round.wrapping_add(i as u8)));
        }
        assert_eq!(rx.rx(&mut burst), 0);
    }
    assert_eq!(pool.in_use(), 0);
}

fn burst_owns_its_packets(pool: &Mempool) {
    let mut burst: Burst<8> = Burst::new();
    assert_eq!(pool.alloc_bulk(&mut burst, 100), 8, "no more than there is room for");
    let extra = pool.alloc().unwrap();
    let extra = burst.push(extra).unwrap_err();
    assert_eq!(pool.in_use(), 9);
    drop(extra);
    drop(burst.pop().unwrap());
    assert_eq!((burst.len(), pool.in_use()), (7, 7));
    burst.clear();
    assert_eq!((burst.len(), pool.in_use()), (0, 0));

    pool.alloc_bulk(&mut burst, 8);
    let taken: Vec<Mbuf> = burst.drain().take(3).collect();
    assert_eq!((burst.len(), pool.in_use()), (0, 3), "what a drain does not give out is freed");
    drop(taken);

    pool.alloc_bulk(&mut burst, 8);
    let mut iterator = burst.into_iter();
    let first = iterator.next().unwrap();
    assert_eq!((iterator.len(), pool.in_use()), (7, 8));
    drop(iterator);
    assert_eq!(pool.in_use(), 1);

    let raw = first.into_raw();
    assert_eq!(pool.in_use(), 1);
    // SAFETY: from `into_raw`, once.
    drop(unsafe { Mbuf::from_raw(raw) });
    assert_eq!(pool.in_use(), 0);
}

/// The ring has 1024 slots less one; what does not fit stays in the burst, in order.
fn partial_transmit(pool: &Mempool, rx: &mut RxQueue, tx: &mut TxQueue) {
    let mut burst: Burst = Burst::new();
    let mut sent = 0;
    let other =
        Mempool::new("ring-more", &MempoolConfig { count: 1023, ..MempoolConfig::default() }).unwrap();
    loop {
        let source = if sent < 900 { pool } else { &other };
        assert_eq!(source.alloc_bulk(&mut burst, 32), 32);
        for (i, mbuf) in burst.iter_mut().enumerate() {
            fill(mbuf, i as u8);
        }
        let taken = tx.tx(&mut burst);
        sent += taken;
        if taken < 32 {
            assert_eq!(burst.len(), 32 - taken);
            for (i, mbuf) in burst.iter_mut().enumerate() {
                assert_eq!(mbuf.data()[0], (taken + i) as u8, "the rest keeps its order");
            }
            break;
        }
    }
    let left = burst.len() as u32;
    assert_eq!(pool.in_use() + other.in_use(), sent as u32 + left);
    drop(burst);
    assert_eq!(pool.in_use() + other.in_use(), sent as u32);
    let mut back: Burst<64> = Burst::new();
    let mut received = 0;
    while rx.rx(&mut back) > 0 {
        received += back.len();
        back.clear();
    }
    assert_eq!(received, sent);
    assert_eq!((pool.in_use(), other.in_use()), (0, 0));
}

fn bounds(pool: &Mempool) {
    let mut mbuf = pool.alloc().unwrap();
    assert_eq!((mbuf.len(), mbuf.headroom(), mbuf.capacity()), (0, 128, 2048 + 128));
    fill(&mut mbuf, 7);
    mbuf.with_frame(|frame| {
        assert!(frame.push_front(20));
        frame.bytes_mut()[..20].fill(9);
    });
    assert_eq!((mbuf.len(), mbuf.headroom()), (84, 108));
    assert!(mbuf.data()[..20].iter().all(|b| *b == 9) && mbuf.data()[20..].iter().all(|b| *b == 7));
    mbuf.set_bounds(0, 2176);
    assert_eq!(mbuf.data_mut().len(), 2176);
    let outside = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mbuf.set_bounds(1, 2176)));
    assert!(outside.is_err());
}

fn exhaustion(pool: &Mempool) {
    let mut all: Burst<2000> = Burst::new();
    assert_eq!(pool.alloc_bulk(&mut all, 2000), 1023, "all that there are, though fewer than asked for");
    assert!(pool.alloc().is_none());
    drop(all);
    assert_eq!((pool.in_use(), pool.available()), (0, 1023));
}

fn reconfigure(port: &mut Port, pool: &Mempool, rx: RxQueue, tx: TxQueue) {
    let two = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    assert!(matches!(port.configure(&two, pool), Err(Error::QueuesInUse { .. })));
    drop((rx, tx));
    let (rx, tx) = port.configure(&two, pool).unwrap();
    assert_eq!((rx.len(), tx.len()), (2, 2));
    drop((rx, tx));
    let many = PortConfig { rx_queues: 1000, ..PortConfig::default() };
    let text = port.configure(&many, pool).unwrap_err().to_string();
    assert!(text.contains("1000 receive") && text.contains("net_ring"), "{text}");
    let jumbo = PortConfig { mtu: 4000, ..PortConfig::default() };
    let text = port.configure(&jumbo, pool).unwrap_err().to_string();
    assert!(text.contains("at most 2026 with buffers of 2176"), "{text}");
    let hash = RssConfig { key: None, functions: RssFunctions::IPV4 };
    let text = port.configure(&PortConfig { rss: Some(hash), ..two }, pool).unwrap_err().to_string();
    assert!(text.contains("offers none"), "{text}");
}
