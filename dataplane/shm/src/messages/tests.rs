use proptest::prelude::*;
use sluice_nat::{Event, Kind, KindRealm, Protocol, Quota, SessionEnds};
use sluice_packet::reason::{DropReason, PuntReason};
use zerocopy::FromZeros;

use super::*;

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![any::<u32>().prop_map(Address::v4), any::<u128>().prop_map(Address::v6)]
}

fn kind_realm() -> impl Strategy<Value = KindRealm> {
    (prop_oneof![Just(Kind::Nat64), Just(Kind::Nat44)], 0..64_u8)
        .prop_map(|(kind, realm)| KindRealm::new(kind, realm))
}

fn request() -> impl Strategy<Value = Request> {
    let state = prop::sample::select(vec![
        NeighbourState::Incomplete,
        NeighbourState::Reachable,
        NeighbourState::Stale,
        NeighbourState::Failed,
    ]);
    let filter = (
        prop::option::of(address()),
        prop::option::of(any::<u16>()),
        prop::option::of(any::<u8>()),
        prop::option::of(any::<u16>()),
        any::<bool>(),
    )
        .prop_map(|(address, port, protocol, interface, drops_only)| TraceFilter {
            address,
            port,
            protocol,
            interface,
            drops_only,
        });
    let command = prop_oneof![
        any::<u64>().prop_map(|generation| Command::Apply { generation }),
        (any::<u16>(), address(), any::<[u8; 6]>(), state).prop_map(|(interface, address, mac, state)| {
            Command::NeighbourSet { interface, address, mac, state }
        }),
        (any::<u16>(), address())
            .prop_map(|(interface, address)| Command::NeighbourDelete { interface, address }),
        (any::<u32>(), any::<u32>(), filter).prop_map(|(id, count, filter)| Command::TraceStart {
            id,
            count,
            filter
        }),
        any::<u32>().prop_map(|id| Command::TraceStop { id }),
        Just(Command::FlushSessions),
        (
            address(),
            prop::option::of(any::<u16>()),
            prop::option::of(prop::sample::select(Protocol::ALL.to_vec()))
        )
            .prop_map(|(inside, port, protocol)| Command::RemoveMappings { inside, port, protocol }),
        Just(Command::Shutdown),
    ];
    (any::<u32>(), command).prop_map(|(sequence, command)| Request { sequence, command })
}

fn event() -> impl Strategy<Value = Event> {
    let block = (kind_realm(), any::<u128>(), any::<u32>(), any::<u16>(), any::<u16>(), any::<bool>())
        .prop_map(|(kind_realm, subscriber, external, first, last, allocated)| match allocated {
            true => Event::BlockAllocated { kind_realm, subscriber, external, first, last },
            false => Event::BlockReleased { kind_realm, subscriber, external, first, last },
        });
    let protocol = || prop::sample::select(Protocol::ALL.to_vec());
    let ends =
        ((kind_realm(), protocol()), (any::<u128>(), any::<u16>(), any::<u32>(), any::<u16>()), any::<u32>())
            .prop_map(|((kind_realm, protocol), (inside, inside_port, external, external_port), remote)| {
                let remote_port = (remote >> 3) as u16;
                SessionEnds {
                    kind_realm,
                    protocol,
                    inside,
                    inside_port,
                    external,
                    external_port,
                    remote,
                    remote_port,
                }
            });
    let of_session = (ends, 0..5).prop_map(|(session, which)| {
        let SessionEnds { kind_realm, protocol, inside, inside_port, external, external_port, .. } = session;
        match which {
            0 => Event::SessionCreated(session),
            1 => Event::SessionDeleted(session),
            4 => Event::ChecksumMissing(session),
            2 => Event::BindingCreated { kind_realm, protocol, inside, inside_port, external, external_port },
            _ => Event::BindingDeleted { kind_realm, protocol, inside, inside_port, external, external_port },
        }
    });
    let reason = prop::sample::select(DropReason::ALL.to_vec());
    let quota =
        prop::sample::select(vec![Quota::Sessions, Quota::Bindings, Quota::PerUser, Quota::Subscribers]);
    prop_oneof![
        block,
        of_session,
        any::<u16>().prop_map(|pool| Event::AddressesExhausted { pool }),
        (protocol(), any::<u32>())
            .prop_map(|(protocol, external)| Event::PortsExhausted { protocol, external }),
        (quota, any::<u32>(), kind_realm(), any::<u128>()).prop_map(|(quota, limit, kind_realm, inside)| {
            Event::QuotaExceeded { quota, limit, kind_realm, inside }
        }),
        (any::<u32>(), address()).prop_map(|(limit, address)| Event::FragmentsPending {
            limit,
            ipv6: address.ipv6,
            source: address.value,
        }),
        (reason, kind_realm(), any::<u128>()).prop_map(|(reason, kind_realm, inside)| Event::Refused {
            reason,
            kind_realm,
            inside
        }),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        (any::<u16>(), address())
            .prop_map(|(interface, address)| Notice::NeighbourWanted { interface, address }),
        (any::<u16>(), any::<bool>()).prop_map(|(port, up)| Notice::LinkChanged { port, up }),
        (any::<u64>(), event()).prop_map(|(time_ns, event)| Notice::Nat { time_ns, event }),
    ]
}

/// Arbitrary bytes either are refused or are a message that means the same when written again.
fn hostile<M: Message + PartialEq + core::fmt::Debug>(bytes: &[u8], kind: Option<u16>) {
    let mut wire = M::Wire::new_zeroed();
    let slot = wire.as_mut_bytes();
    let length = bytes.len().min(slot.len());
    slot[..length].copy_from_slice(&bytes[..length]);
    if let Some(kind) = kind {
        slot[..2].copy_from_slice(&kind.to_ne_bytes());
    }
    if let Ok(message) = M::from_wire(&wire) {
        assert_eq!(M::from_wire(&message.to_wire()).unwrap(), message);
    }
}

proptest! {
    #[test]
    fn requests_survive_the_slot(request in request()) {
        prop_assert_eq!(Request::from_wire(&request.to_wire()), Ok(request));
    }

    #[test]
    fn notices_survive_the_slot(notice in notice()) {
        prop_assert_eq!(Notice::from_wire(&notice.to_wire()), Ok(notice));
    }

    #[test]
    fn replies_survive_the_slot(sequence: u32, generation: u64, text in ".{0,1200}") {
        let removed = Reply::Removed { sequence, sessions: generation };
        for reply in [Reply::Done { sequence }, Reply::Applied { sequence, generation }, removed] {
            prop_assert_eq!(Reply::from_wire(&reply.to_wire()), Ok(reply));
        }
        let reply = Reply::Refused { sequence, message: text.clone() };
        match Reply::from_wire(&reply.to_wire()) {
            Ok(Reply::Refused { sequence: got, message }) => {
                prop_assert_eq!(got, sequence);
                prop_assert!(text.starts_with(&message));
                prop_assert!(message.len() == text.len() || message.len() > MAX_REPLY_TEXT - 4);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 1100), kind in 0..24_u16) {
        for kind in [None, Some(kind)] {
            hostile::<Request>(&bytes, kind);
            hostile::<Reply>(&bytes, kind);
            hostile::<Notice>(&bytes, kind);
            hostile::<TraceRecord>(&bytes, kind);
        }
    }

    #[test]
    fn hostile_small_bytes_never_panic(bytes in prop::collection::vec(0..26_u8, 600)) {
        hostile::<Request>(&bytes, None);
        hostile::<Notice>(&bytes, None);
        hostile::<TraceRecord>(&bytes, None);
    }
}

#[test]
fn a_text_of_bad_bytes_means_the_same_when_written_again() {
    let text = "x".repeat(MAX_REPLY_TEXT);
    let mut wire = Reply::Refused { sequence: 1, message: text.clone() }.to_wire();
    let place = wire.as_bytes().windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    wire.as_mut_bytes()[place..place + text.len()].fill(0xff);
    let reply = Reply::from_wire(&wire).unwrap();
    assert_eq!(Reply::from_wire(&reply.to_wire()), Ok(reply));
}

#[test]
fn unknown_kinds_and_values_are_refused_by_name() {
    let mut wire = Request { sequence: 1, command: Command::Shutdown }.to_wire();
    wire.as_mut_bytes()[..2].copy_from_slice(&999_u16.to_ne_bytes());
    let error = Request::from_wire(&wire).unwrap_err();
    assert_eq!(error, MessageError::Kind(999));
    assert!(error.to_string().contains("999"));

    assert_eq!(
        Address::from_wire(2, [0, 0]),
        Err(MessageError::Field { field: "family", value: 2, most: 1 })
    );
    assert!(matches!(Address::from_wire(0, [1, 0]), Err(MessageError::Field { field: "address", .. })));

    let event =
        Event::Refused { reason: DropReason::NoRoute, kind_realm: KindRealm::new(Kind::Nat44, 0), inside: 1 };
    let refused = Notice::Nat { time_ns: 7, event };
    let wire = refused.to_wire();
    let count = (0..size_of_val(&wire))
        .filter(|&offset| {
            let mut bytes = wire;
            bytes.as_mut_bytes()[offset] = 0xff;
            Notice::from_wire(&bytes).is_err()
        })
        .count();
    // Both bytes of the kind, the kind and realm, and the reason.
    assert_eq!(count, 4);
}

#[test]
fn a_reply_longer_than_it_can_be_is_refused() {
    let mut wire = Reply::Refused { sequence: 1, message: "no".into() }.to_wire();
    wire.as_mut_bytes()[2..4].copy_from_slice(&1001_u16.to_ne_bytes());
    assert!(matches!(Reply::from_wire(&wire), Err(MessageError::Field { field: "length", value: 1001, .. })));
}

#[test]
fn a_trace_record_tells_the_way_of_a_packet() {
    let mut record = TraceRecord::new(7, 2, 1, 1000);
    assert_eq!(record.end(), None);
    record.set_before(&[1; 60]);
    record.set_after(&[2; 1500]);
    record.interface_out = 3;
    for n in 0..30_u32 {
        record.mark(Stage::ALL[n as usize % Stage::ALL.len()], n, 1000 + u64::from(n));
    }
    for end in [
        TraceEnd::Transmit,
        TraceEnd::HandOff(3),
        TraceEnd::Held,
        TraceEnd::Drop(DropReason::InterfaceGone),
        TraceEnd::Punt(PuntReason::Arp),
    ] {
        record.finish(end);
        let read = TraceRecord::from_wire(&record.to_wire()).unwrap();
        assert_eq!(read.end(), Some(end));
        assert_eq!(read.stages().count(), MAX_STAGES);
        assert_eq!(read.stages().nth(5), Some((Stage::NewSession, 5, 5)));
        assert_eq!((read.before().len(), read.before_full), (60, 60));
        assert_eq!((read.after().len(), read.after_full), (MAX_CAPTURE, 1500));
        assert_eq!((read.id, read.worker, read.interface_in, read.interface_out), (7, 2, 1, 3));
    }
    record.before_len = 129;
    assert!(TraceRecord::from_wire(&record).is_err());
    assert_eq!(record.before().len(), MAX_CAPTURE);
}

#[test]
fn stages_have_names_of_their_own() {
    let names: std::collections::HashSet<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert_eq!(names.len(), Stage::ALL.len());
    assert!(Stage::ALL.iter().enumerate().all(|(code, stage)| Stage::from_code(code as u8) == Some(*stage)));
    assert_eq!(Stage::from_code(Stage::ALL.len() as u8), None);
}

#[test]
fn addresses_print_as_people_write_them() {
    let text = |address: &str| Address::from(address.parse::<IpAddr>().unwrap()).to_string();
    assert_eq!(text("192.0.2.1"), "192.0.2.1");
    assert_eq!(text("2001:db8::1"), "2001:db8::1");
    assert_eq!(Address::v4(0xc000_0201).value, 0xc000_0201);
}
