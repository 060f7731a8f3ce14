//! An almost empty table takes almost no memory. Alone in its file: the measure is of the whole process.
#![cfg(target_os = "linux")]

use sluice_fib::{Config, Fib4, Fib6, Target, Writer4, Writer6};

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn a_table_with_a_default_and_a_few_routes_is_small() {
    let target = Target::new(1).unwrap();
    let before = resident();
    let mut v4 = Writer4::new(Fib4::new(Config::default()));
    let mut v6 = Writer6::new(Fib6::new(Config::default()));
    let empty = resident() - before;
    v4.insert("0.0.0.0/0".parse().unwrap(), target).unwrap();
    v6.insert("::/0".parse().unwrap(), target).unwrap();
    assert_eq!(v4.fib().lookup(0xc000_0201), Some(target));
    let default = resident() - before;
    v4.insert("192.0.2.0/30".parse().unwrap(), target).unwrap();
    v4.insert("10.0.0.0/24".parse().unwrap(), target).unwrap();
    v6.insert("2001:db8:501::/64".parse().unwrap(), target).unwrap();
    let few = resident() - before;
    println!("empty {empty}, with defaults {default}, with a few routes {few} bytes");

    // Transparent huge pages, if always on, round each place that is touched up to 2 MiB.
    let always = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|policy| policy.contains("[always]"));
    let allowed = if always { 64 << 20 } else { 1 << 20 };
    assert!(few < allowed, "{few} bytes");

    // Huge pages change the price, not the answers.
    let mut huge = Writer4::new(Fib4::new(Config { huge_pages: true, ..Config::default() }));
    huge.insert("192.0.2.0/30".parse().unwrap(), target).unwrap();
    huge.insert("10.0.0.0/24".parse().unwrap(), target).unwrap();
    assert_eq!(huge.fib().lookup(0xc000_0203), Some(target));
    assert_eq!(huge.fib().lookup(0xc000_0204), None);
    let with_huge_pages = resident() - before - few;
    println!("with huge pages {with_huge_pages} bytes");
    assert!(with_huge_pages < 16 << 20, "{with_huge_pages} bytes");
}
