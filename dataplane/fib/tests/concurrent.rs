//! Readers beside a writer that flaps routes: whatever they ask has one of the answers that were right in the meantime.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use sluice_fib::{BATCH, Config, Fib4, Fib6, Prefix4, Prefix6, Target, Writer4, Writer6};

const READERS: usize = 2;

fn size(chunks: usize) -> Config {
    Config { chunks, ..Config::default() }
}

fn target(value: u32) -> Target {
    Target::new(value).expect("30 bits")
}

/// Runs `write` again and again while readers check with `read`; returns how often they did.
fn flap(mut write: impl FnMut(), read: impl Fn() + Send + Sync) -> usize {
    let stop = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    let start = Barrier::new(READERS + 1);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    read();
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        start.wait();
        let end = Instant::now() + Duration::from_millis(800);
        while Instant::now() < end {
            write();
        }
        stop.store(true, Ordering::Relaxed);
    });
    reads.into_inner()
}

/// Asks for one address, alone and in a batch.
fn ask4(fib: &Fib4, address: u32, allowed: &[Target]) {
    let single = fib.lookup(address);
    assert!(single.is_some_and(|found| allowed.contains(&found)), "{single:?}, expected one of {allowed:?}");
    let mut results = [None; BATCH];
    fib.lookup_batch(&[address; BATCH], &mut results);
    for found in results {
        assert!(
            found.is_some_and(|found| allowed.contains(&found)),
            "{found:?}, expected one of {allowed:?}"
        );
    }
}

#[test]
fn a_replaced_route_never_vanishes() {
    let mut writer = Writer4::new(Fib4::new(size(8)));
    let fib = writer.fib();
    let prefix: Prefix4 = "192.0.2.64/26".parse().unwrap();
    writer.insert(prefix, target(1)).unwrap();
    let mut value = 1;
    let write = || {
        value = 3 - value;
        writer.insert(prefix, target(value)).unwrap();
    };
    assert!(flap(write, || ask4(&fib, 0xc000_0255, &[target(1), target(2)])) > 0);
}

#[test]
fn chunks_change_hands_between_readers_quiet_moments() {
    // The protocol of the workers: each counts its iterations, and the writer reclaims what it gave up before the mark
    // once all have counted on. Two paths of 13 chunks share 20, so they are used for either in turn.
    let mut writer = Writer6::new(Fib6::new(size(20)));
    let fib = writer.fib();
    let prefix = |text: &str| text.parse::<Prefix6>().expect("a prefix");
    let (network, near, far) =
        (prefix("2001:d00::/24"), prefix("2001:db8::1/128"), prefix("2001:db8:ffff::1/128"));
    writer.insert(network, target(1)).unwrap();
    let iterations = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for iteration in &iterations {
            scope.spawn(|| {
                let asked = [near.address(), far.address(), near.address() + 1, far.address() + 1];
                let allowed = [[1, 2], [1, 3], [1, 1], [1, 1]];
                while !stop.load(Ordering::Relaxed) {
                    let mut results = [None; 4];
                    fib.lookup_batch(&asked, &mut results);
                    for (number, allowed) in allowed.iter().enumerate() {
                        for found in [results[number], fib.lookup(asked[number])] {
                            assert!(
                                found.is_some_and(|found| allowed.contains(&found.get())),
                                "{number}: {found:?}"
                            );
                        }
                    }
                    iteration.fetch_add(1, Ordering::Release);
                }
            });
        }
        let end = Instant::now() + Duration::from_millis(800);
        let mut reused = 0;
        while Instant::now() < end {
            for (host, value) in [(near, 2), (far, 3)] {
                writer.insert(host, target(value)).unwrap();
                assert!(writer.remove(host));
                let mark = writer.mark();
                let before = iterations.each_ref().map(|iteration| iteration.load(Ordering::Acquire));
                while iterations.iter().zip(before).any(|(now, before)| now.load(Ordering::Acquire) == before)
                {
                    // A reader that failed counts no further: its panic is the result then.
                    if Instant::now() > end + Duration::from_secs(20) {
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                    thread::yield_now();
                }
                reused += writer.reclaim_to(mark);
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reused > 26, "{reused}");
    });
}

#[test]
fn between_default_and_a_route_there_is_no_gap() {
    // At every moment one of the two is there, but not always the same: a lookup that read the default gone, and
    // then found the route's entry empty, must look again. The route is as deep as can be, and the sibling keeps its
    // chunks in place, so that a lookup takes long enough for the writer to change both meanwhile.
    let mut writer = Writer6::new(Fib6::new(size(13)));
    let fib = writer.fib();
    let prefix = |text: &str| text.parse::<Prefix6>().expect("a prefix");
    let (default, route, sibling) = (prefix("::/0"), prefix("2001:db8::1/128"), prefix("2001:db8::2/128"));
    writer.insert(default, target(1)).unwrap();
    writer.insert(sibling, target(3)).unwrap();
    let write = || {
        writer.insert(route, target(2)).unwrap();
        assert!(writer.remove(default));
        writer.insert(default, target(1)).unwrap();
        assert!(writer.remove(route));
    };
    let read = || {
        for _ in 0..BATCH {
            let single = fib.lookup(route.address());
            assert!(single == Some(target(1)) || single == Some(target(2)), "{single:?}");
        }
        let mut results = [None; BATCH];
        fib.lookup_batch(&[route.address(); BATCH], &mut results);
        assert!(
            results.iter().all(|found| *found == Some(target(1)) || *found == Some(target(2))),
            "{results:?}"
        );
    };
    assert!(flap(write, read) > 0);
}

#[test]
fn a_reader_sees_only_what_was_there_before_it_asked() {
    // One direction only: what a reader saw of a counter that grows never falls back.
    let mut writer = Writer4::new(Fib4::new(size(8)));
    let fib = writer.fib();
    let (wide, narrow): (Prefix4, Prefix4) =
        ("192.0.2.0/24".parse().unwrap(), "192.0.2.128/25".parse().unwrap());
    writer.insert(wide, target(0)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (fib, stop) = (Arc::clone(&fib), Arc::clone(&stop));
        thread::spawn(move || {
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                let now = fib.lookup(0xc000_0281).expect("a route is always there").get();
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        })
    };
    // Not reclaimed: a reader may be anywhere in the chunks given up, and reads there what was right when they were.
    for round in 0..4 {
        for value in 0..10_000 {
            let value = round * 40_000 + value * 4;
            writer.insert(wide, target(value + 1)).unwrap();
        }
        let value = round * 40_000 + 39_998;
        writer.insert(narrow, target(value)).unwrap();
        writer.insert(wide, target(value + 1)).unwrap();
        assert!(writer.remove(narrow));
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(writer.stats().chunks_retired, 4);
}
