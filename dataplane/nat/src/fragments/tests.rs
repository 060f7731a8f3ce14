//! Datagrams in pieces: order, overlaps, time, bounds, and a slow table that agrees.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SPEC: FragmentSpec = FragmentSpec {
    timeout: 2,
    datagrams: 8,
    waiting: 6,
    per_source: 5,
    lowest_ipv6_mtu: 1280,
    remap_identification: false,
};

const HEAD: Head = Head { source_port: 5000, destination_port: 53, identification: 7, whole: 0, kind: 0 };
const START: Tick = Tick(u32::MAX - 20);

fn table(spec: FragmentSpec) -> Fragments<u32> {
    Fragments::with_seed(spec, HashSeed::new([1, 2, 3, 4]))
}

fn key(source: u128, identification: u64) -> DatagramKey {
    DatagramKey { source: source << 64, destination: 9, rest: identification }
}

fn piece(offset: u16, len: u16, last: bool) -> Piece {
    Piece { offset, len, last, head: (offset == 0).then_some(HEAD), together: false }
}

/// What a fragment leads to: its fate, what goes with it in order, and what had to go.
fn show(
    table: &mut Fragments<u32>,
    key: &DatagramKey,
    piece: Piece,
    now: Tick,
    item: u32,
) -> (Fate, Vec<u32>, Vec<u32>) {
    let Arrival { fate, item, mut released, mut evicted } = table.arrive(key, piece, now, item);
    let gone = std::iter::from_fn(|| table.take(&mut evicted)).collect();
    let all = item.into_iter().chain(std::iter::from_fn(|| table.take(&mut released))).collect();
    (fate, all, gone)
}

fn ready(total: u16) -> Fate {
    Fate::Ready { head: HEAD, total }
}

fn expired(table: &mut Fragments<u32>, now: Tick) -> Vec<u32> {
    let mut all = vec![];
    while let Some(mut chain) = table.expire(now) {
        all.extend(std::iter::from_fn(|| table.take(&mut chain)));
    }
    all
}

//= conformance FRAG-17, FRAG-23
#[test]
fn fragments_go_on_as_soon_as_the_first_is_known() {
    let (mut table, key) = (table(SPEC), key(1, 1));
    assert_eq!(show(&mut table, &key, piece(100, 80, true), START, 3), (Fate::Waits, vec![], vec![]));
    assert_eq!(show(&mut table, &key, piece(50, 400, false), START, 2), (Fate::Waits, vec![], vec![]));
    assert_eq!(table.waiting(), 2);
    assert_eq!(show(&mut table, &key, piece(0, 160, false), START, 1), (ready(0), vec![1, 2, 3], vec![]));
    assert_eq!((table.waiting(), table.datagrams()), (0, 1));
    let last = show(&mut table, &key, piece(20, 240, false), START, 4);
    assert_eq!(last, (ready(0), vec![4], vec![]), "in order or not");
    assert_eq!(table.datagrams(), 0, "nothing is remembered of what is complete");
}

//= conformance FRAG-26, FRAG-25
#[test]
fn what_needs_the_whole_waits_for_the_whole() {
    let (mut table, key) = (table(SPEC), key(1, 1));
    let first = Piece { together: true, ..piece(0, 80, false) };
    assert_eq!(show(&mut table, &key, first, START, 1).0, Fate::Waits);
    assert_eq!(show(&mut table, &key, piece(20, 7, true), START, 3).0, Fate::Waits);
    let last = show(&mut table, &key, piece(10, 80, false), START, 2);
    assert_eq!(last, (ready(167), vec![1, 2, 3], vec![]), "in order");
    assert_eq!((table.waiting(), table.datagrams()), (0, 0));
}

//= conformance FRAG-22
#[test]
fn overlapping_fragments_end_their_datagram() {
    for (name, second, last_first) in [
        ("the end of another", piece(9, 80, false), false),
        ("the middle of another", piece(2, 8, false), false),
        ("around another", piece(0, 800, false), false),
        ("beyond the end", piece(100, 8, false), true),
        ("another end", piece(100, 8, true), true),
    ] {
        let (mut table, key) = (table(SPEC), key(1, 1));
        show(&mut table, &key, piece(1, 79, last_first), START, 1);
        let fate = show(&mut table, &key, second, START, 2);
        assert_eq!(fate, (Fate::Drop(DropReason::FragmentOverlap), vec![2, 1], vec![]), "{name}");
        let later = show(&mut table, &key, piece(0, 8, false), START, 3);
        assert_eq!(
            later.0,
            Fate::Drop(DropReason::FragmentOverlap),
            "{name}: what comes later is refused too"
        );
        assert_eq!(table.waiting(), 0, "{name}");
    }
}

//= conformance FRAG-22
#[test]
fn an_exact_duplicate_is_dropped_and_the_datagram_lives() {
    let (mut table, key) = (table(SPEC), key(1, 1));
    show(&mut table, &key, piece(0, 80, false), START, 1);
    let again = show(&mut table, &key, piece(0, 80, false), START, 2);
    assert_eq!(again, (Fate::Drop(DropReason::FragmentDuplicate), vec![2], vec![]));
    assert_eq!(show(&mut table, &key, piece(10, 80, true), START, 3), (ready(0), vec![3], vec![]));
}

//= conformance FRAG-19, FRAG-36
#[test]
fn fragments_may_come_over_two_seconds() {
    let (mut table, key) = (table(SPEC), key(1, 1));
    show(&mut table, &key, piece(0, 80, false), START, 1);
    let late = START.after(2 * TICKS_PER_SECOND);
    assert!(expired(&mut table, late).is_empty());
    assert_eq!(show(&mut table, &key, piece(10, 80, false), late, 2).0, ready(0), "1.9 s later");
    let too_late = late.after(2 * TICKS_PER_SECOND);
    assert_eq!(
        show(&mut table, &key, piece(20, 80, true), too_late, 3).0,
        Fate::Waits,
        "its datagram is forgotten"
    );

    // One whose first never comes waits in vain, for as long.
    let waits = too_late.after(2 * TICKS_PER_SECOND);
    assert!(expired(&mut table, waits).is_empty());
    assert_eq!(expired(&mut table, waits.after(1)), [3]);
    assert_eq!((table.waiting(), table.datagrams()), (0, 0));
}

//= conformance FRAG-39
#[test]
fn datagrams_are_told_apart_by_addresses_identification_and_protocol() {
    let meta = |family, protocol, identification| Meta {
        protocol,
        identification,
        source: 1,
        destination: 2,
        ..Meta::blank(family, 14)
    };
    let key = |meta: Meta| DatagramKey::of(&meta);
    let udp = meta(Family::V4, 17, 7);
    assert_ne!(key(udp), key(meta(Family::V4, 6, 7)), "IPv4: another protocol is another datagram");
    assert_ne!(key(udp), key(meta(Family::V4, 17, 8)));
    assert_ne!(key(udp), key(Meta { source: 3, ..udp }));
    assert_ne!(key(udp), key(Meta { destination: 3, ..udp }));
    assert_ne!(key(udp), key(meta(Family::V6, 17, 7)));
    assert_eq!(
        key(meta(Family::V6, 17, 7)),
        key(meta(Family::V6, 6, 7)),
        "IPv6: the protocol is not looked at"
    );
}

//= conformance FRAG-18
#[test]
fn a_source_has_no_more_than_its_share() {
    let mut table = table(SPEC);
    for n in 0..5 {
        assert_eq!(show(&mut table, &key(1, n), piece(1, 8, false), START, 1).0, Fate::Waits);
    }
    let sixth = show(&mut table, &key(1, 5), piece(1, 8, false), START, 6);
    assert_eq!(sixth, (Fate::Drop(DropReason::FragmentLimit), vec![6], vec![]));
    assert_eq!(show(&mut table, &key(2, 0), piece(1, 8, true), START, 7).0, Fate::Waits, "others are served");
    assert_eq!(show(&mut table, &key(2, 0), piece(0, 8, false), START, 8).0, ready(0));
    expired(&mut table, START.after(100));
    assert_eq!(show(&mut table, &key(1, 6), piece(1, 8, false), START.after(100), 9).0, Fate::Waits);
}

//= conformance FRAG-18
#[test]
fn those_without_beginning_do_not_push_out_those_with_one() {
    let mut table = table(FragmentSpec { waiting: 100, ..SPEC });
    for n in 0..4 {
        assert_eq!(show(&mut table, &key(n, 0), piece(0, 8, false), START, 0).0, ready(0));
    }
    let mut gone = vec![];
    for n in 0..1000 {
        gone.extend(show(&mut table, &key(1000 + u128::from(n), 0), piece(1, 8, false), START, n).2);
    }
    assert_eq!(gone, (0..996).collect::<Vec<_>>(), "the oldest gives way, once there are more than half");
    assert_eq!((table.datagrams(), table.waiting()), (8, 4));
    for n in 0..4 {
        assert_eq!(show(&mut table, &key(n, 0), piece(1, 8, true), START, 0).0, ready(0));
    }
    // And the other way round.
    for n in 0..1000 {
        show(&mut table, &key(5000 + u128::from(n), 0), piece(0, 8, false), START, n);
    }
    assert_eq!(show(&mut table, &key(1999, 0), piece(0, 8, false), START, 1).1, [1, 999]);
}

//= conformance FRAG-18
#[test]
fn the_oldest_that_waits_makes_room_for_the_next() {
    let mut table = table(SPEC);
    for n in 0..5u32 {
        assert_eq!(show(&mut table, &key(n.into(), 0), piece(1, 8, false), START, n).2, []);
    }
    assert_eq!(show(&mut table, &key(9, 0), piece(1, 8, false), START, 9).2, [0]);
    assert_eq!(table.waiting(), 5);
    assert_eq!(show(&mut table, &key(10, 0), piece(1, 8, false), START, 10).2, [1]);
}

//= conformance FRAG-18, LIM-12
#[test]
fn refused_datagrams_do_not_keep_others_from_making_room() {
    let mut table = table(FragmentSpec { datagrams: 64, ..SPEC });
    for n in 0..40 {
        let overlap = |begin, item| (key(100 + n, 0), piece(begin, 80, false), item);
        for (key, piece, item) in [overlap(10, 1), overlap(11, 2)] {
            show(&mut table, &key, piece, START, item);
        }
    }
    assert_eq!((table.waiting(), table.datagrams()), (0, 40));
    for n in 0..20u32 {
        let newcomer = show(&mut table, &key(n.into(), 0), piece(1, 8, false), START, n);
        let oldest = n.checked_sub(5).into_iter().collect();
        assert_eq!(newcomer, (Fate::Waits, vec![], oldest), "the oldest gives way");
    }
}

#[test]
fn a_datagram_has_no_more_fragments_than_there_is_room_for() {
    let (mut table, key) = (table(SPEC), key(1, 1));
    for n in 0..128 {
        assert_eq!(show(&mut table, &key, piece(n * 2, 8, false), START, 0).0, ready(0));
    }
    assert_eq!(
        show(&mut table, &key, piece(300, 8, false), START, 1).0,
        Fate::Drop(DropReason::FragmentLimit)
    );
}

//= conformance XLT-33, FRAG-18
#[test]
fn without_room_nothing_is_kept() {
    let mut none = table(FragmentSpec { datagrams: 0, waiting: 0, ..SPEC });
    let refused = Fate::Drop(DropReason::FragmentLimit);
    assert_eq!(show(&mut none, &key(1, 1), piece(0, 8, false), START, 1), (refused, vec![1], vec![]));
    let mut hasty = table(FragmentSpec { waiting: 0, ..SPEC });
    assert_eq!(show(&mut hasty, &key(1, 1), piece(1, 8, true), START, 1).0, refused);
    assert_eq!(
        show(&mut hasty, &key(1, 2), piece(0, 8, false), START, 1).0,
        ready(0),
        "what need not wait goes on"
    );
}

proptest! {
    /// Against a table that keeps everything in maps: same fates, nothing lost, nothing twice.
    #[test]
    fn a_slow_table_agrees(
        steps in prop::collection::vec((0..3u128, 0..2u64, 0..12u16, 1..4u16, any::<(bool, bool)>(), 0..3u32), 0..300),
    ) {
        let spec = FragmentSpec { datagrams: 64, waiting: 400, per_source: 400, ..SPEC };
        let mut table = table(spec);
        type Slow = (Tick, Vec<(u16, u16, bool)>, bool, bool, Vec<(u16, u32)>, bool);
        let mut slow: HashMap<(u128, u64), Slow> = HashMap::new();
        let mut now = START;
        for (item, (source, id, offset, units, (last, together), wait)) in (0..).zip(steps) {
            now = now.after(wait);
            let mut gone: Vec<u32> = vec![];
            slow.retain(|_, (since, .., waiting, _)| {
                let over = now.since(*since) > spec.timeout * TICKS_PER_SECOND;
                if over { gone.extend(waiting.iter().map(|&(_, item)| item)); }
                !over
            });
            let mut expired = expired(&mut table, now);
            expired.sort_unstable();
            gone.sort_unstable();
            prop_assert_eq!(expired, gone);
            let shown = Piece { together: together && id == 1, ..piece(offset, units * 8, last) };
            let (fate, all, evicted) = show(&mut table, &key(source, id), shown, now, item);
            prop_assert!(evicted.is_empty());

            let entry = slow.entry((source, id)).or_insert_with(|| (now, vec![], false, false, vec![], false));
            let (since, parts, headed, whole, waiting, refused) = entry;
            let covers = |&(o, u, _): &(u16, u16, bool)| o..o + u;
            let end = parts.iter().find(|part| part.2).map(|part| part.0 + part.1);
            let beyond = end.is_some_and(|end| offset + units > end || (last && offset + units != end))
                || last && parts.iter().any(|part| part.0 + part.1 > offset + units);
            let known = parts.iter().any(|part| (part.0, part.1) == (offset, units));
            let overlaps = parts.iter().map(covers).any(|part| offset < part.end && part.start < offset + units);
            let expected = if *refused {
                (Fate::Drop(DropReason::FragmentOverlap), vec![item])
            } else if known && !beyond {
                (Fate::Drop(DropReason::FragmentDuplicate), vec![item])
            } else if overlaps || beyond {
                (*refused, *since) = (true, now);
                waiting.sort_unstable();
                (Fate::Drop(DropReason::FragmentOverlap), [item].into_iter().chain(waiting.drain(..).map(|w| w.1)).collect())
            } else {
                parts.push((offset, units, last));
                if offset == 0 { (*headed, *whole) = (true, shown.together); }
                let total = parts.iter().find(|part| part.2).map(|part| part.0 + part.1);
                let complete = total == Some(parts.iter().map(|part| part.1).sum());
                if *headed && (complete || !*whole) {
                    let first = waiting.is_empty() && offset != 0;
                    waiting.sort_unstable();
                    let mut out: Vec<u32> = waiting.drain(..).map(|w| w.1).collect();
                    if *whole { out.push(item); out.sort_by_key(|_| 0); } else { out.insert(0, item); }
                    let total = if *whole { total.unwrap_or(0) * 8 } else { 0 };
                    let _ = first;
                    if offset == 0 { *since = now; }
                    if complete { slow.remove(&(source, id)); }
                    (ready(total), out)
                } else {
                    waiting.push((offset, item));
                    (Fate::Waits, vec![])
                }
            };
            prop_assert_eq!(fate, expected.0);
            if shown.together || matches!(fate, Fate::Ready { total: 1.., .. }) {
                let sorted = |mut all: Vec<u32>| { all.sort_unstable(); all };
                prop_assert_eq!(sorted(all), sorted(expected.1));
            } else {
                prop_assert_eq!(all, expected.1);
            }
        }
        let mut kept = 0;
        while let Some(mut chain) = table.drain() {
            kept += std::iter::from_fn(|| table.take(&mut chain)).count();
        }
        prop_assert_eq!(kept, slow.values().map(|entry| entry.4.len()).sum::<usize>());
        prop_assert_eq!((table.waiting(), table.datagrams()), (0, 0));
    }
}
