//! What happens when chunks run out: the route is refused and nothing else changes.

use sluice_fib::{Config, Fib4, Fib6, Full, Prefix4, Prefix6, Stats, Target, Writer4, Writer6};

fn size(chunks: usize) -> Config {
    Config { chunks, ..Config::default() }
}

fn target(value: u32) -> Target {
    Target::new(value).expect("30 bits")
}

fn v4(text: &str) -> Prefix4 {
    text.parse().expect("a prefix")
}

fn v6(text: &str) -> Prefix6 {
    text.parse().expect("a prefix")
}

#[test]
fn a_full_table_refuses_and_stays_as_it_was() {
    let mut writer = Writer4::new(Fib4::new(size(1)));
    let fib = writer.fib();
    writer.insert(v4("10.0.0.0/8"), target(1)).unwrap();
    writer.insert(v4("10.0.0.1/32"), target(2)).unwrap();
    let before: Vec<_> = writer.iter().collect();

    let refused = writer.insert(v4("10.0.1.1/32"), target(3));
    assert_eq!(refused, Err(Full { needed: 1, free: 0, retired: 0 }));
    assert_eq!(fib.lookup(0x0a00_0101), Some(target(1)));
    assert_eq!(writer.get(v4("10.0.1.1/32")), None);
    assert!(writer.iter().eq(before));

    // What needs no chunk still goes: a route in the same /24, a shorter one, a new target.
    writer.insert(v4("10.0.0.128/25"), target(4)).unwrap();
    writer.insert(v4("10.0.1.0/24"), target(5)).unwrap();
    writer.insert(v4("10.0.0.1/32"), target(6)).unwrap();
    assert_eq!(fib.lookup(0x0a00_0080), Some(target(4)));
    assert_eq!(fib.lookup(0x0a00_0101), Some(target(5)));
    assert_eq!(fib.lookup(0x0a00_0001), Some(target(6)));
}

#[test]
fn a_path_of_several_chunks_is_made_whole_or_not_at_all() {
    let mut writer = Writer6::new(Fib6::new(size(15)));
    let fib = writer.fib();
    writer.insert(v6("2001:db8::1/128"), target(1)).unwrap();
    assert_eq!(writer.stats(), Stats { routes: 1, chunks_used: 13, chunks_free: 2, chunks_retired: 0 });

    assert_eq!(writer.insert(v6("2001:db8:1::/65"), target(2)), Err(Full { needed: 3, free: 2, retired: 0 }));
    assert_eq!(writer.stats(), Stats { routes: 1, chunks_used: 13, chunks_free: 2, chunks_retired: 0 });
    assert_eq!(fib.lookup(v6("2001:db8:1::/65").address()), None);

    writer.insert(v6("2001:db8:1::/64"), target(2)).unwrap();
    assert_eq!(fib.lookup(v6("2001:db8:1::ff:0:0:0/128").address()), Some(target(2)));
    assert_eq!(writer.stats().chunks_free, 0);
}

#[test]
fn retired_chunks_come_back_with_reclaim_and_not_before() {
    let mut writer = Writer4::new(Fib4::new(size(2)));
    let fib = writer.fib();
    writer.insert(v4("192.0.2.1/32"), target(1)).unwrap();
    writer.insert(v4("198.51.100.1/32"), target(2)).unwrap();
    assert!(writer.remove(v4("192.0.2.1/32")));
    assert!(!writer.remove(v4("192.0.2.1/32")));
    let mark = writer.mark();
    assert!(writer.remove(v4("198.51.100.1/32")));
    assert_eq!(writer.stats(), Stats { routes: 0, chunks_used: 0, chunks_free: 0, chunks_retired: 2 });
    let refused = writer.insert(v4("203.0.113.1/32"), target(3));
    assert_eq!(refused, Err(Full { needed: 1, free: 0, retired: 2 }));

    // Readers have passed the mark, but not the second removal.
    assert_eq!(writer.reclaim_to(mark), 1);
    writer.insert(v4("203.0.113.1/32"), target(3)).unwrap();
    assert!(writer.insert(v4("203.0.114.1/32"), target(4)).is_err());
    writer.reclaim();
    writer.insert(v4("203.0.114.1/32"), target(4)).unwrap();
    assert_eq!(fib.lookup(0xcb00_7101), Some(target(3)));
    assert_eq!(fib.lookup(0xcb00_7201), Some(target(4)));
    // Nothing of the chunks' earlier lives shows.
    assert_eq!(fib.lookup(0xcb00_7102), None);
    assert_eq!(fib.lookup(0xcb00_7202), None);
}

#[test]
fn a_table_without_chunks_takes_routes_up_to_24_bits() {
    let mut writer = Writer6::new(Fib6::new(size(0)));
    writer.insert(v6("::/0"), target(1)).unwrap();
    writer.insert(v6("2001:d00::/24"), target(2)).unwrap();
    assert!(writer.insert(v6("2001:db8::/32"), target(3)).is_err());
    assert_eq!(writer.fib().lookup(v6("2001:db8::/32").address()), Some(target(2)));
    assert_eq!(writer.fib().lookup(0), Some(target(1)));
}
