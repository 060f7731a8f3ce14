use super::*;

fn counters() -> Box<WorkerCounters> {
    let zero = || AtomicU64::new(0);
    Box::new(WorkerCounters {
        totals: core::array::from_fn(|_| zero()),
        drops: core::array::from_fn(|_| zero()),
        punts: core::array::from_fn(|_| zero()),
        interfaces: core::array::from_fn(|_| InterfaceCounters {
            rx_packets: zero(),
            rx_bytes: zero(),
            tx_packets: zero(),
            tx_bytes: zero(),
            drops: zero(),
        }),
    })
}

#[test]
fn names_are_unique_and_fit_a_metric() {
    let mut names: Vec<_> = Counter::ALL.iter().map(|c| c.name()).collect();
    assert!(
        names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Counter::COUNT);
    assert!(Counter::ALL.iter().all(|c| Counter::from_index(c.index()) == Some(*c) && !c.help().is_empty()));
    assert!(Counter::Sessions.is_gauge() && !Counter::RxPackets.is_gauge());
}

#[test]
fn every_term_of_the_conservation_law_counts_once_on_its_side() {
    let sides: [(&[Counter], bool); 2] = [
        (
            &[
                Counter::RxPackets,
                Counter::HandoffIn,
                Counter::Generated,
                Counter::FragmentsMade,
                Counter::Injected,
            ],
            true,
        ),
        (&[Counter::TxPackets, Counter::Punt, Counter::HandoffOut, Counter::Absorbed, Counter::Held], false),
    ];
    let mut terms = 0;
    for (side, left) in sides {
        for &counter in side {
            let counters = counters();
            counters.add(counter, 5);
            assert_eq!(counters.snapshot().balance(), if left { (5, 0) } else { (0, 5) }, "{counter}");
            terms += 1;
        }
    }
    for &counter in Counter::ALL {
        if !sides.iter().any(|(side, _)| side.contains(&counter)) {
            let counters = counters();
            counters.set(counter, 5);
            assert_eq!(counters.snapshot().balance(), (0, 0), "{counter}");
            terms += 1;
        }
    }
    assert_eq!(terms, Counter::COUNT);
    for &reason in DropReason::ALL {
        let counters = counters();
        counters.add_drop(reason, 7);
        assert_eq!(counters.snapshot().balance(), (0, 7), "{reason}");
        assert_eq!(counters.snapshot().drops(reason), 7);
    }
    for &reason in PuntReason::ALL {
        let counters = counters();
        counters.add_punt(reason, 3);
        assert_eq!(counters.snapshot().balance(), (0, 3), "{reason}");
        assert_eq!(counters.snapshot().punts(reason), 3);
    }
}

#[test]
fn threads_are_summed() {
    let (a, b) = (counters(), counters());
    a.add(Counter::RxPackets, 3);
    b.add(Counter::RxPackets, 4);
    a.set(Counter::LongestLoopNs, 100);
    b.set(Counter::LongestLoopNs, 70);
    a.set(Counter::CyclesPerMicrosecond, 2600);
    b.set(Counter::CyclesPerMicrosecond, 2600);
    a.set(Counter::Generation, 8);
    b.set(Counter::Generation, 7);
    a.interface(1).add_rx(1, 64);
    b.interface(1).add_rx(1, 65);
    b.interface(1).add_tx(2, 128);
    b.interface(1).add_drops(1);
    let sum: CountersSnapshot = [a.snapshot(), b.snapshot()].into_iter().sum();
    assert_eq!(sum.get(Counter::RxPackets), 7);
    assert_eq!(sum.get(Counter::LongestLoopNs), 100);
    assert_eq!(sum.get(Counter::CyclesPerMicrosecond), 2600);
    assert_eq!(sum.get(Counter::Generation), 7);
    let expected = InterfaceSnapshot { rx_packets: 2, rx_bytes: 129, tx_packets: 2, tx_bytes: 128, drops: 1 };
    assert_eq!(sum.interface(1), expected);
    assert_eq!(sum.interface(MAX_INTERFACES), InterfaceSnapshot::default());
}

#[test]
fn a_difference_keeps_gauges() {
    let counters = counters();
    counters.add(Counter::TxPackets, 10);
    counters.set(Counter::Sessions, 5);
    let before = counters.snapshot();
    counters.add(Counter::TxPackets, 7);
    counters.add_drop(DropReason::NoRoute, 2);
    counters.set(Counter::Sessions, 4);
    let difference = counters.snapshot().since(&before);
    assert_eq!(difference.get(Counter::TxPackets), 7);
    assert_eq!(difference.get(Counter::Sessions), 4);
    assert_eq!(difference.all_drops(), 2);
}

#[test]
fn json_has_a_name_for_every_number() {
    let counters = counters();
    counters.add_drop(DropReason::NoRoute, 2);
    counters.interface(1).add_tx(1, 60);
    let json = serde_json::to_value(counters.snapshot()).unwrap();
    assert_eq!(json["drops"]["no_route"], 2);
    assert_eq!(json["totals"].as_object().unwrap().len(), Counter::COUNT);
    assert_eq!(json["interfaces"].as_array().unwrap().len(), 2);
    assert_eq!(json["interfaces"][1]["tx_bytes"], 60);
}
