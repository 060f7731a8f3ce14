//! What is written, read back by decoders of other people: `netflow_parser` for IPFIX, `syslog_loose` for RFC 5424.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use netflow_parser::variable_versions::ipfix::{FlowSetBody, IPFix};
use netflow_parser::{DataNumber, FieldValue, NetflowPacket, NetflowParser};
use sluice_nat::{Event, Kind, KindRealm, Protocol, Quota, SessionEnds};
use sluice_packet::DropReason;
use syslog_loose::{ProcId, SyslogFacility, SyslogSeverity, Variant, parse_message};

use super::*;
use crate::config::logging::{Facility, LimitEvents};

/// 192.0.2.1, 198.51.100.9, 10.0.0.10.
const EXTERNAL: u32 = 0xc000_0201;
const REMOTE: u32 = 0xc633_6409;
const HOST4: u128 = 0x0a00_000a;
/// 2001:db8:1::10.
const HOST6: u128 = 0x2001_0db8_0001 << 80 | 0x10;
/// 2026-02-28T23:59:59.250Z.
const TIME: u64 = 1_772_323_199_250;

type Fields = BTreeMap<String, String>;
type Said = Vec<(&'static str, &'static str)>;

fn realm(kind: Kind) -> KindRealm {
    KindRealm::new(kind, 0)
}

fn session(kind: Kind) -> SessionEnds {
    SessionEnds {
        kind_realm: realm(kind),
        protocol: Protocol::Tcp,
        inside: if kind == Kind::Nat64 { HOST6 } else { HOST4 },
        inside_port: 5000,
        external: EXTERNAL,
        external_port: 40_000,
        remote: REMOTE,
        remote_port: 443,
    }
}

fn binding(kind: Kind, created: bool) -> Event {
    let SessionEnds { kind_realm, protocol, inside, inside_port, external, external_port, .. } =
        session(kind);
    match created {
        true => Event::BindingCreated { kind_realm, protocol, inside, inside_port, external, external_port },
        false => Event::BindingDeleted { kind_realm, protocol, inside, inside_port, external, external_port },
    }
}

fn block(kind: Kind, allocated: bool) -> Event {
    let SessionEnds { kind_realm, inside: subscriber, external, .. } = session(kind);
    match allocated {
        true => Event::BlockAllocated { kind_realm, subscriber, external, first: 1024, last: 1279 },
        false => Event::BlockReleased { kind_realm, subscriber, external, first: 1024, last: 1279 },
    }
}

fn quota(quota: Quota, kind: Kind) -> Event {
    let SessionEnds { kind_realm, inside, .. } = session(kind);
    Event::QuotaExceeded { quota, limit: 4096, kind_realm, inside }
}

fn record(event: Event) -> Record {
    Record { time_ms: TIME, event, pool: Some("pub\"l]ic".into()) }
}

/// Every kind of event, with what a record of it says beside the time: in the words of the registry.
fn everything() -> Vec<(Event, &'static str, Said)> {
    use Kind::{Nat44, Nat64};
    let v4 = ("sourceIPv4Address", "10.0.0.10");
    let v6 = ("sourceIPv6Address", "2001:db8:1::10");
    let outside = ("postNATSourceIPv4Address", "192.0.2.1");
    let mapping = |event, source| {
        let ports = [("sourceTransportPort", "5000"), ("postNAPTSourceTransportPort", "40000")];
        let mut all = vec![("natEvent", event), source, outside, ("protocolIdentifier", "6")];
        all.extend(ports);
        all
    };
    let range = |event, source| {
        let ports = [("portRangeStart", "1024"), ("portRangeEnd", "1279")];
        let mut all = vec![("natEvent", event), source, outside];
        all.extend(ports);
        all
    };
    let limit = |number, name, source: Option<(&'static str, &'static str)>| {
        let mut all = vec![("natEvent", "13"), ("natQuotaExceededEvent", number), (name, "4096")];
        all.extend(source);
        all
    };
    let per_user = "maxEntriesPerUser";
    let waiting = "maxFragmentsPendingReassembly";
    let exceeded = "NAT-QUOTA-EXCEEDED";
    vec![
        (Event::SessionCreated(session(Nat44)), "NAT44-SESSION-CREATE", mapping("4", v4)),
        (Event::SessionDeleted(session(Nat44)), "NAT44-SESSION-DELETE", mapping("5", v4)),
        (Event::SessionCreated(session(Nat64)), "NAT64-SESSION-CREATE", mapping("6", v6)),
        (Event::SessionDeleted(session(Nat64)), "NAT64-SESSION-DELETE", mapping("7", v6)),
        (binding(Nat44, true), "NAT44-BIB-CREATE", mapping("8", v4)),
        (binding(Nat44, false), "NAT44-BIB-DELETE", mapping("9", v4)),
        (binding(Nat64, true), "NAT64-BIB-CREATE", mapping("10", v6)),
        (binding(Nat64, false), "NAT64-BIB-DELETE", mapping("11", v6)),
        (block(Nat44, true), "NAT44-PORT-BLOCK-ALLOCATE", range("16", v4)),
        (block(Nat44, false), "NAT44-PORT-BLOCK-FREE", range("17", v4)),
        (block(Nat64, true), "NAT64-PORT-BLOCK-ALLOCATE", range("16", v6)),
        (block(Nat64, false), "NAT64-PORT-BLOCK-FREE", range("17", v6)),
        (
            Event::AddressesExhausted { pool: 0 },
            "NAT-ADDRESSES-EXHAUSTED",
            vec![("natEvent", "3"), ("natPoolId", "1"), ("natPoolName", "pub\"l]ic")],
        ),
        (
            Event::PortsExhausted { protocol: Protocol::Udp, external: EXTERNAL },
            "NAT-PORTS-EXHAUSTED",
            vec![("natEvent", "12"), outside, ("protocolIdentifier", "17")],
        ),
        (quota(Quota::Sessions, Nat64), exceeded, limit("1", "maxSessionEntries", None)),
        (quota(Quota::Bindings, Nat44), exceeded, limit("2", "maxBIBEntries", None)),
        (quota(Quota::PerUser, Nat44), exceeded, limit("3", per_user, Some(v4))),
        (quota(Quota::PerUser, Nat64), exceeded, limit("3", per_user, Some(v6))),
        (quota(Quota::Subscribers, Nat64), exceeded, limit("4", "maxSubscribers", None)),
        (
            Event::FragmentsPending { limit: 4096, ipv6: false, source: HOST4 },
            exceeded,
            limit("5", waiting, Some(v4)),
        ),
        (
            Event::FragmentsPending { limit: 4096, ipv6: true, source: HOST6 },
            exceeded,
            limit("5", waiting, Some(v6)),
        ),
    ]
}

fn text(value: &FieldValue) -> String {
    match value {
        FieldValue::DataNumber(DataNumber::U8(number)) => number.to_string(),
        FieldValue::DataNumber(DataNumber::U16(number)) => number.to_string(),
        FieldValue::DataNumber(DataNumber::U32(number)) => number.to_string(),
        FieldValue::Duration(time) => time.as_duration().as_millis().to_string(),
        FieldValue::Ip4Addr(address) => address.to_string(),
        FieldValue::Ip6Addr(address) => address.to_string(),
        FieldValue::NatEvent(event) => u8::from(*event).to_string(),
        FieldValue::ProtocolType(protocol) => u8::from(*protocol).to_string(),
        FieldValue::String(text) => text.value.clone(),
        other => format!("{other:?}"),
    }
}

/// Decodes one message: its header, the templates in it, and its data records under the decoder's own names, in lower case.
fn decode(collector: &mut NetflowParser, message: &[u8]) -> (IPFix, Vec<u16>, Vec<Fields>) {
    let result = collector.parse_bytes(message);
    assert!(result.error.is_none(), "{:?}", result.error);
    let [NetflowPacket::IPFix(packet)] = &result.packets[..] else { panic!("{:?}", result.packets) };
    let (mut templates, mut records) = (Vec::new(), Vec::new());
    for set in &packet.flowsets {
        match &set.body {
            FlowSetBody::Template(template) => {
                assert_eq!(set.header.header_id, 2);
                templates.push(template.template_id);
            }
            FlowSetBody::Templates(all) => {
                assert_eq!(set.header.header_id, 2);
                templates.extend(all.iter().map(|template| template.template_id));
            }
            FlowSetBody::Data(data) => {
                assert!(set.header.header_id >= 256);
                records.extend(data.fields.iter().map(|record| {
                    let name = |field| {
                        format!("{field:?}").trim_start_matches("IANA(").trim_end_matches(')').to_lowercase()
                    };
                    record.iter().map(|(field, value)| (name(field), text(value))).collect::<Fields>()
                }));
            }
            other => panic!("{other:?}"),
        }
    }
    (packet.clone(), templates, records)
}

fn fields<'a>(all: impl IntoIterator<Item = &'a (&'static str, &'static str)>) -> Fields {
    all.into_iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect()
}

/// All templates, then all records, in messages of at most `most` octets.
fn export(stream: &mut Stream, records: &[Record], time: u32) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut left = &Shape::ALL[..];
    while !left.is_empty() {
        let taken = stream.templates(left, time);
        assert!(taken > 0);
        left = &left[taken..];
        messages.push(stream.message().to_vec());
    }
    let mut left = records;
    while !left.is_empty() {
        let (taken, written) = stream.records(left, time);
        assert!(taken > 0 && written <= taken);
        left = &left[taken..];
        if written > 0 {
            messages.push(stream.message().to_vec());
        }
    }
    messages
}

#[test]
fn every_event_is_decoded_by_another_ipfix_implementation() {
    //= conformance LOG-01, LOG-02, LOG-06, LOG-07, LOG-08, LOG-09, LOG-10, LOG-11, LOG-12, LOG-13, LOG-14, LOG-15
    //= conformance LOG-16, LOG-17, LOG-21, LOG-22, FRAG-37
    let records: Vec<Record> = everything().iter().map(|(event, ..)| record(*event)).collect();
    let mut stream = Stream::new(7, Options::default(), 484);
    let mut collector = NetflowParser::default();
    let (mut got, mut templates, mut sequence) = (Vec::new(), Vec::new(), 0);
    for message in export(&mut stream, &records, 1_800_000_000) {
        assert!(message.len() <= 484);
        let (packet, new, decoded) = decode(&mut collector, &message);
        let header = &packet.header;
        assert_eq!((header.version, usize::from(header.length)), (10, message.len()));
        assert_eq!((header.export_time, header.observation_domain_id), (1_800_000_000, 7));
        assert_eq!(header.sequence_number, sequence);
        sequence += decoded.len() as u32;
        templates.extend(new);
        got.extend(decoded);
    }
    assert_eq!(templates, (256..256 + Shape::ALL.len() as u16).collect::<Vec<_>>());
    let wanted: Vec<Fields> = everything()
        .iter()
        .map(|(_, _, said)| {
            let mut wanted = fields(said);
            wanted.insert("observationtimemilliseconds".into(), TIME.to_string());
            wanted
        })
        .collect();
    assert_eq!(got, wanted);
}

#[test]
fn destinations_and_instances_are_there_when_asked_for() {
    //= conformance LOG-07, LOG-08, LOG-22, LOG-24
    let options = Options { destinations: true, instance: Some(3) };
    let records = [
        record(Event::SessionCreated(session(Kind::Nat44))),
        record(Event::SessionCreated(session(Kind::Nat64))),
        record(block(Kind::Nat64, true)),
    ];
    let mut stream = Stream::new(1, options, 484);
    let mut collector = NetflowParser::default();
    let decoded: Vec<Fields> = export(&mut stream, &records, 1)
        .iter()
        .flat_map(|message| decode(&mut collector, message).2)
        .collect();
    let remote = [
        ("postNATDestinationIPv4Address", "198.51.100.9"),
        ("destinationTransportPort", "443"),
        ("postNAPTDestinationTransportPort", "443"),
        ("natInstanceID", "3"),
    ];
    for (record, has) in decoded.iter().zip([&remote[..], &remote[..], &remote[3..]]) {
        for (name, value) in fields(has) {
            assert_eq!(record.get(&name), Some(&value), "{name}");
        }
    }
    assert_eq!(decoded[0]["destinationipv4address"], "198.51.100.9");
    assert_eq!(decoded.iter().map(BTreeMap::len).collect::<Vec<_>>(), [12, 11, 7]);
}

#[test]
fn messages_are_full_but_never_longer_than_the_path_takes() {
    //= conformance LOG-01, LOG-04
    let records: Vec<Record> =
        everything().iter().cycle().take(800).map(|(event, ..)| record(*event)).collect();
    for most in [228, 484, 1472, TCP_MESSAGE] {
        let mut stream = Stream::new(1, Options { destinations: true, instance: Some(1) }, most);
        let mut collector = NetflowParser::default();
        let messages = export(&mut stream, &records, 1);
        let mut count = 0;
        for message in &messages {
            assert!(message.len() <= most);
            let (packet, _, decoded) = decode(&mut collector, message);
            assert_eq!(packet.header.sequence_number as usize, count);
            count += decoded.len();
        }
        assert_eq!(count, records.len());
        // The longest record with its set takes less than 80 octets.
        let short = messages.iter().rev().skip(1).filter(|message| message.len() + 80 < most).count();
        assert!(
            short <= 1,
            "{short} of {} messages are not full; the last with templates may be",
            messages.len()
        );
    }
}

#[test]
fn a_new_session_begins_to_count_anew() {
    let mut stream = Stream::new(1, Options::default(), 484);
    let records = [record(binding(Kind::Nat64, true))];
    let mut collector = NetflowParser::default();
    stream.records(&records, 1);
    stream.records(&records, 1);
    stream.templates(&Shape::ALL, 1);
    assert_eq!(decode(&mut collector, stream.message()).0.header.sequence_number, 2);
    stream.restart();
    stream.templates(&Shape::ALL, 1);
    assert_eq!(decode(&mut collector, stream.message()).0.header.sequence_number, 0);
}

#[test]
fn a_refusal_that_ipfix_has_no_words_for_is_passed_over() {
    let refused =
        Event::Refused { reason: DropReason::SubscriberRate, kind_realm: realm(Kind::Nat64), inside: HOST6 };
    let mut stream = Stream::new(1, Options::default(), 484);
    assert_eq!(stream.records(&[record(refused)], 1), (1, 0));
    assert_eq!(stream.records(&[record(refused), record(binding(Kind::Nat44, true))], 1), (2, 1));
    let mut writer = Writer::new(Facility(16), 32_473, "gw".to_owned(), Options::default());
    writer.record(&record(refused));
    let message = String::from_utf8(writer.message().to_vec()).unwrap();
    assert!(
        message.ends_with(
            "NAT-SESSION-REFUSED [nat@32473 sourceIPv6Address=\"2001:db8:1::10\" reason=\"subscriber_rate\"]"
        ),
        "{message}"
    );
}

/// RFC 7915 asks for addresses and ports, so the remote side is there even if sessions are logged without.
#[test]
fn a_datagram_without_checksum_is_logged_with_addresses_and_ports() {
    //= conformance LOG-32
    let missing = Event::ChecksumMissing(SessionEnds { protocol: Protocol::Udp, ..session(Kind::Nat64) });
    let mut stream = Stream::new(1, Options::default(), 484);
    assert_eq!(stream.records(&[record(missing)], 1), (1, 0));
    let mut writer = Writer::new(Facility(16), 32_473, "gw".to_owned(), Options::default());
    writer.record(&record(missing));
    let text = std::str::from_utf8(writer.message()).unwrap();
    let message = parse_message(text, Variant::RFC5424);
    assert_eq!(message.msgid, Some("NAT-UDP-CHECKSUM-MISSING"));
    assert_eq!(message.severity, Some(SyslogSeverity::SEV_WARNING));
    let got: Vec<_> = message.structured_data[0].params().map(|(name, value)| (*name, value)).collect();
    let wanted = [
        ("sourceIPv6Address", "2001:db8:1::10"),
        ("postNATSourceIPv4Address", "192.0.2.1"),
        ("protocolIdentifier", "17"),
        ("sourceTransportPort", "5000"),
        ("postNAPTSourceTransportPort", "40000"),
        ("postNATDestinationIPv4Address", "198.51.100.9"),
        ("destinationTransportPort", "443"),
    ];
    assert_eq!(got, wanted.map(|(name, value)| (name, value.to_owned())));
    // The same flow once an interval.
    let start = Instant::now();
    let mut gate = Gate::new(LimitEvents { interval: 60, per_second: 10 }, start);
    let other = Event::ChecksumMissing(SessionEnds { remote_port: 53, ..session(Kind::Nat64) });
    assert!(gate.admits(&missing, start) && gate.admits(&other, start) && !gate.admits(&missing, start));
}

#[test]
fn every_event_is_decoded_by_another_syslog_implementation() {
    //= conformance LOG-28, LOG-29, LOG-30
    let mut writer = Writer::new(Facility(20), 32_473, "gw1.example".to_owned(), Options::default());
    for (event, name, said) in everything() {
        let record = record(event);
        writer.record(&record);
        let text = std::str::from_utf8(writer.message()).unwrap();
        let message = parse_message(text, Variant::RFC5424);
        assert_eq!(message.protocol, syslog_loose::Protocol::RFC5424(1), "{text}");
        assert_eq!(message.facility, Some(SyslogFacility::LOG_LOCAL4));
        let severity = if record.is_limit() { SyslogSeverity::SEV_WARNING } else { SyslogSeverity::SEV_INFO };
        assert_eq!(message.severity, Some(severity));
        assert_eq!(message.timestamp.unwrap().to_rfc3339(), "2026-02-28T23:59:59.250+00:00");
        assert_eq!((message.hostname, message.appname), (Some("gw1.example"), Some("sluice")));
        assert_eq!(message.procid, Some(ProcId::PID(std::process::id() as i32)));
        assert_eq!((message.msgid, message.msg), (Some(name), ""));
        let [element] = &message.structured_data[..] else { panic!("{text}") };
        assert_eq!(element.id, "nat@32473");
        let got: Fields = element.params().map(|(name, value)| (name.to_lowercase(), value)).collect();
        assert_eq!(got, fields(&said), "{text}");
    }
}

#[test]
fn the_longest_syslog_message_fits_everywhere() {
    //= conformance LOG-30
    let options = Options { destinations: true, instance: Some(u32::MAX) };
    let mut writer = Writer::new(Facility(23), u32::MAX, "h".repeat(64), options);
    let longest = SessionEnds {
        inside: u128::MAX,
        inside_port: u16::MAX,
        external: u32::MAX,
        external_port: u16::MAX,
        remote: u32::MAX,
        remote_port: u16::MAX,
        protocol: Protocol::Udp,
        kind_realm: realm(Kind::Nat64),
    };
    let mut all: Vec<Event> = everything().into_iter().map(|(event, ..)| event).collect();
    all.extend([Event::SessionDeleted(longest), Event::ChecksumMissing(longest)]);
    for event in all {
        writer.record(&Record { time_ms: TIME, event, pool: Some(shortened(&"\"".repeat(1000))) });
        // Seven digits are the longest process id.
        assert!(writer.message().len() + 7 <= 480, "{}", String::from_utf8_lossy(writer.message()));
    }
}

#[test]
fn dates_are_those_of_the_calendar() {
    let mut writer = Writer::new(Facility(0), 1, "gw".to_owned(), Options::default());
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_800, "2000-03-01T00:00:00.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (1_735_689_600, "2025-01-01T00:00:00.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (1_763_754_291, "2025-11-21T19:44:51.000Z"),
    ] {
        writer.record(&Record { time_ms: seconds * 1000, event: binding(Kind::Nat44, true), pool: None });
        let message = std::str::from_utf8(writer.message()).unwrap();
        assert_eq!(message.split(' ').nth(1), Some(text));
        let parsed = parse_message(message, Variant::RFC5424);
        assert_eq!(parsed.timestamp.map(|time| time.timestamp()), Some(seconds as i64));
    }
}

#[test]
fn limits_are_logged_once_an_interval_and_few_a_second() {
    //= conformance LOG-25
    let start = Instant::now();
    let mut gate = Gate::new(LimitEvents { interval: 60, per_second: 3 }, start);
    gate.set(LimitEvents { interval: 60, per_second: 3 }, 64);
    let full = quota(Quota::Sessions, Kind::Nat64);
    let admitted = (0..100_000).filter(|_| gate.admits(&full, start)).count();
    assert_eq!((admitted, gate.suppressed()), (1, 99_999));
    // The same subscriber with another address, then others.
    let user = |n: u128| Event::QuotaExceeded {
        quota: Quota::PerUser,
        limit: 1,
        kind_realm: realm(Kind::Nat64),
        inside: HOST6 + n,
    };
    assert!(gate.admits(&user(0), start) && !gate.admits(&user(1), start));
    assert!(gate.admits(&user(1 << 64), start) && !gate.admits(&user(2 << 64), start));
    let later = start + Duration::from_secs(1);
    assert!(gate.admits(&user(2 << 64), later) && !gate.admits(&full, later));
    let much_later = start + Duration::from_secs(60);
    assert!(gate.admits(&full, much_later) && gate.admits(&user(0), much_later));
    // What is no limit is never kept back.
    assert!((0..100).all(|_| gate.admits(&binding(Kind::Nat64, true), much_later)));
}

#[test]
fn subscribers_beyond_memory_are_not_logged_until_it_is_free_again() {
    let start = Instant::now();
    let mut gate = Gate::new(LimitEvents { interval: 60, per_second: 10_000 }, start);
    let user = |n: u32| Event::QuotaExceeded {
        quota: Quota::PerUser,
        limit: 1,
        kind_realm: realm(Kind::Nat44),
        inside: n.into(),
    };
    assert_eq!((0..5000).filter(|n| gate.admits(&user(*n), start)).count(), 4096);
    assert!(gate.admits(&user(5000), start + Duration::from_secs(60)));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ipfix(server: SocketAddr, transport: Transport) -> Collector {
    let stream = Stream::new(1, Options::default(), 484);
    let language =
        Language::Ipfix { stream, shapes: Shape::ALL.to_vec(), refresh: Duration::from_millis(200) };
    Collector::start(Way { server, source: None, transport }, language)
}

/// Lets tasks run until something is so.
async fn until(what: &str, mut probe: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if probe() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

#[test]
fn templates_come_before_data_and_again_for_collectors_that_come_late() {
    //= conformance LOG-03
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = listener.local_addr().unwrap();
    runtime().block_on(async {
        let collector = ipfix(server, Transport::Udp);
        let mut early = NetflowParser::default();
        let mut late = NetflowParser::default();
        let (mut seen, mut seen_late, mut rounds) = (0, 0, 0);
        let mut buffer = [0; 2000];
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            collector.offer(record(binding(Kind::Nat64, true)));
            tokio::time::sleep(Duration::from_millis(10)).await;
            while let Ok(length) = listener.recv(&mut buffer) {
                let (_, templates, records) = decode(&mut early, &buffer[..length]);
                (seen, rounds) = (seen + records.len(), rounds + usize::from(templates.contains(&256)));
                // The late one misses the first templates.
                if rounds > 1 {
                    seen_late += decode(&mut late, &buffer[..length]).2.len();
                }
            }
        }
        assert!(seen >= 40 && seen_late > 0 && (3..=5).contains(&rounds), "{seen} {seen_late} {rounds}");
        assert_eq!(collector.status().records, seen as u64);
    });
}

#[test]
fn a_udp_collector_that_is_gone_costs_records_and_nothing_else() {
    //= conformance LOG-31
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    runtime().block_on(async {
        let collector = ipfix(server, Transport::Udp);
        collector.offer(record(binding(Kind::Nat64, true)));
        until("the first record", || collector.status().records == 1).await;
        drop(listener);
        for _ in 0..50 {
            collector.offer(record(binding(Kind::Nat64, false)));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        until("losses", || collector.status().lost_send > 40).await;
        let status = collector.status();
        assert_eq!(status.records + status.lost_send + status.waiting, 51, "{status:?}");
        assert!(status.error.is_some());
        let again = UdpSocket::bind(server).unwrap();
        again.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = collector.status().records;
        collector.offer(record(binding(Kind::Nat64, false)));
        until("a record to the new collector", || collector.status().records > before).await;
        collector.end(Duration::from_secs(1)).await;
        assert!(again.recv(&mut [0; 2000]).is_ok());
    });
}

#[test]
fn collectors_that_stay_as_they_are_keep_their_counts() {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let config = |what: &str| {
        let text = format!(
            "interfaces: {{ inside: {{ device: 'packet:a' }}, outside: {{ device: 'packet:b' }} }}
pools: {{ public: {{ prefixes: [192.0.2.0/30] }} }}
logging: {{ {what}, syslog: [{{ server: '{server}' }}] }}
"
        );
        crate::config::load("t.yaml", &text).unwrap().config
    };
    runtime().block_on(async {
        let mut log = Logging::new();
        let clocks = Clocks::read();
        // Nobody collects yet, and nobody wants bindings then.
        log.event(&block(Kind::Nat64, true), clocks.boot_ns, clocks);
        log.follow(&config("events: [blocks]"));
        log.event(&block(Kind::Nat64, true), clocks.boot_ns, clocks);
        log.event(&binding(Kind::Nat64, true), clocks.boot_ns, clocks);
        until("the record", || log.status().collectors[0].records == 1).await;
        log.follow(&config("events: [blocks], limit-events: { interval: 1s }"));
        assert_eq!(log.status().collectors[0].records, 1);
        log.follow(&config("events: [bindings]"));
        log.event(&binding(Kind::Nat64, true), clocks.boot_ns, clocks);
        log.event(&block(Kind::Nat64, true), clocks.boot_ns, clocks);
        until("the record", || log.status().collectors[0].records == 1).await;
        log.event(&Event::AddressesExhausted { pool: 0 }, clocks.boot_ns, clocks);
        log.event(&Event::AddressesExhausted { pool: 0 }, clocks.boot_ns, clocks);
        assert_eq!(log.status().limits_suppressed, 1);
        log.end().await;
    });
    // Whatever was queued was sent before the end.
    listener.set_nonblocking(true).unwrap();
    let mut names = Vec::new();
    let mut buffer = [0; 1000];
    while let Ok(length) = listener.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        names.push(parse_message(&text, Variant::RFC5424).msgid.unwrap_or_default().to_owned());
    }
    assert_eq!(names, ["NAT64-PORT-BLOCK-ALLOCATE", "NAT64-BIB-CREATE", "NAT-ADDRESSES-EXHAUSTED"]);
}

#[test]
fn the_time_of_an_event_is_told_by_the_clock_of_the_wall() {
    //= conformance LOG-06
    let clocks = Clocks { wall_ms: 1_000_000, boot_ns: 50_000_000_000 };
    assert_eq!(clocks.wall_ms(50_000_000_000), 1_000_000);
    assert_eq!(clocks.wall_ms(49_750_000_000), 999_750);
    // A worker's clock may be a little ahead, and a notice without time happened now.
    assert_eq!((clocks.wall_ms(50_000_000_001), clocks.wall_ms(0)), (1_000_000, 1_000_000));
}

#[test]
fn a_full_queue_loses_and_counts() {
    //= conformance LOG-31
    runtime().block_on(async {
        // A port that nobody listens on: connections are refused.
        let server = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let collector = ipfix(server, Transport::Tcp);
        let began = Instant::now();
        for _ in 0..70_000 {
            collector.offer(record(binding(Kind::Nat64, true)));
        }
        assert!(began.elapsed() < Duration::from_secs(5), "nobody waits");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = collector.status();
        assert_eq!((status.waiting, status.lost_queue, status.records), (65_536, 70_000 - 65_536, 0));
        assert!(!status.connected && status.error.is_some(), "{status:?}");
    });
}

#[test]
fn a_tcp_collector_that_comes_back_gets_templates_and_a_new_count() {
    //= conformance LOG-01, LOG-03, LOG-31
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    // One message of a stream: its length stands in its header.
    let next = |stream: &mut std::net::TcpStream| -> std::io::Result<Vec<u8>> {
        let mut message = vec![0; 4];
        stream.read_exact(&mut message)?;
        message.resize(u16::from_be_bytes([message[2], message[3]]).into(), 0);
        stream.read_exact(&mut message[4..])?;
        Ok(message)
    };
    runtime().block_on(async {
        let collector = ipfix(server, Transport::Tcp);
        for life in 0..2 {
            until("a connection", || collector.status().connected).await;
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..3 {
                collector.offer(record(binding(Kind::Nat64, true)));
            }
            let sent = 3 * (life + 1);
            until("records", || collector.status().records == sent).await;
            let mut decoder = NetflowParser::default();
            let mut records = 0;
            while records < 3 {
                let (packet, _, decoded) = decode(&mut decoder, &next(&mut stream).unwrap());
                assert_eq!(packet.header.sequence_number, records);
                records += decoded.len() as u32;
            }
            drop(stream);
            until("the loss of the connection", || !collector.status().connected).await;
        }
    });
}
