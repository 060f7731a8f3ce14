use super::*;
use crate::record::{Fixed, Hot, Route};
use crate::types::{Kind, KindRealm, Protocol};

const POOL: u16 = 3;

/// Sessions to different servers, all of one binding.
fn table() -> (Bindings, &'static [Session]) {
    let sessions: &'static [Session] = Box::leak((0..8).map(|_| Session::default()).collect());
    for (remote, session) in (1..).zip(sessions) {
        let fixed = Fixed {
            kind_realm: KindRealm::new(Kind::Nat64, 2),
            protocol: 17,
            inside_port: 5000,
            inside: 1 << 100 | 16,
            remote,
            external: 0xc000_0201,
            remote_port: 53,
            external_port: 40_000,
            delta: 0,
            rule: 0,
            binding: 0,
            owner: 0,
            prefix64: 1,
        };
        session.create(&fixed, Hot::default(), Route::default());
    }
    (Bindings::new(sessions, 4, HashSeed::new([1, 2, 3, 4])), sessions)
}

fn to_be_made(table: &Bindings, ends: Ends) -> Binding {
    let number = table.next().expect("room");
    Binding { number, ends, home: 7, sessions: 0, pool: POOL, prefix64: 1, retired: false, revoked: false }
}

fn check(table: &Bindings, ends: &Ends, number: u32, sessions: u32) {
    assert_eq!(table.by_inside(&ends.inside_key(POOL)), Some(number));
    assert_eq!(table.by_external(&ends.external_key()), Some(number));
    let binding = table.get(number);
    assert_eq!((binding.ends, binding.home, binding.sessions), (*ends, 7, sessions));
}

#[test]
fn a_key_of_a_record_is_the_key_of_its_ends() {
    let (_, sessions) = table();
    let ends = Ends::of(&sessions[0]);
    assert_eq!(InsideKey::of(&sessions[0], POOL), ends.inside_key(POOL));
    assert_ne!(InsideKey::of(&sessions[0], POOL + 1), ends.inside_key(POOL));
    assert_ne!(Ends { inside_port: 1, ..ends }.inside_key(POOL), ends.inside_key(POOL));
    assert_ne!(Ends { protocol: Protocol::Tcp, ..ends }.inside_key(POOL), ends.inside_key(POOL));
}

#[test]
fn the_ends_are_found_whichever_session_closes_and_are_forgotten_with_the_last() {
    for first in 0..4 {
        let (mut table, sessions) = table();
        let ends = Ends::of(&sessions[0]);
        let binding = to_be_made(&table, ends);
        assert!(table.add(&binding, 0));
        (1..4).for_each(|_| table.opened(0));
        for (left, record) in (0..4).rev().zip((0..4).map(|n| (first + n) % 4)) {
            check(&table, &ends, 0, left + 1);
            assert_eq!(table.closed(record).sessions, left);
            sessions[record as usize].delete();
        }
        assert_eq!((table.len(), table.kept.len()), (0, 0));
        assert_eq!(table.by_inside(&ends.inside_key(POOL)), None);
        assert_eq!(table.by_external(&ends.external_key()), None);
    }
}

#[test]
fn a_retired_binding_is_not_found_and_goes_with_its_last_session() {
    let (mut table, sessions) = table();
    let ends = Ends::of(&sessions[0]);
    let binding = to_be_made(&table, ends);
    assert!(table.add(&binding, 0));
    table.opened(0);
    table.retire(0);
    table.retire(0);
    assert_eq!(table.by_external(&ends.external_key()), None);
    assert!(table.closed(0).retired && table.get(0).ends == ends && table.len() == 1);
    assert!(table.closed(1).is_over() && table.len() == 0 && table.kept.len() == 0);
}

#[test]
fn a_static_binding_stays_without_sessions_until_it_is_retired() {
    let (mut table, sessions) = table();
    let ends = Ends::of(&sessions[0]);
    assert!(table.add_static(&ends, 7, 1));
    assert_eq!(table.by_inside(&ends.inside_key(STATIC)), Some(0));
    table.opened(0);
    assert!(!table.closed(0).is_over() && table.get(0).ends == ends);
    table.opened(0);
    table.retire(0);
    assert!(table.closed(1).is_over());
    assert_eq!((table.len(), table.kept.len()), (0, 0));
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    let (mut table, sessions) = table();
    let ends = Ends::of(&sessions[0]);
    for port in 0..4 {
        assert!(table.add_static(&Ends { inside_port: port, external_port: port, ..ends }, 7, 1));
    }
    assert_eq!(table.next(), None);
    assert!(!table.add_static(&ends, 7, 1));
    assert_eq!((table.len(), table.kept.len()), (4, 4));
}
