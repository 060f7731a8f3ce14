//! The log as collectors get it: who had which external address and port when, and nothing that was not asked for.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sluice_tests::checks::{PORT, server4, server6};
use sluice_tests::collector::{Collector, Record};
use sluice_tests::gateway::Gateway;
use sluice_tests::lab::{Lab, SERVER};
use sluice_tests::service::Service;
use sluice_tests::site::Site;
use sluice_tests::traffic::{ask, datagrams, exchange, seen_as};
use sluice_tests::wait;
use sluice_tests::wire::{Wire, udp};

const SOON: Duration = Duration::from_secs(10);
/// On the inside link, reached through the gateway's own twin.
const SYSLOG: &str = "10.0.0.10:5514";
const UDP: &str = "10.0.0.10:4739";
const TCP: &str = "10.0.0.10:4740";
/// IPFIX messages in packets of 512 octets.
const MOST: usize = 484;

/// A site with a log. `what` is more of the section, `more` more of the file.
fn site(what: &str, more: &str) -> Site {
    let more = format!(
        "timers: {{ tcp-transitory: 1 }}
logging:
  {what}
  syslog: [{{ server: '{SYSLOG}', hostname: gw1, enterprise: 32473 }}]
  ipfix:
    - {{ server: '{UDP}', domain: 7, template-refresh: 1 }}
    - {{ server: '{TCP}', transport: tcp, domain: 8 }}
{more}"
    );
    Site { more, ..Site::default() }
}

struct Collectors {
    syslog: Collector,
    udp: Collector,
    tcp: Collector,
}

impl Collectors {
    fn start(lab: &Lab) -> Result<Self> {
        let host = lab.host("client4");
        Ok(Self {
            syslog: Collector::udp(host, SYSLOG.parse()?)?,
            udp: Collector::udp(host, UDP.parse()?)?,
            tcp: Collector::tcp(host, TCP.parse()?)?,
        })
    }

    /// The records of all three, once each has one that will do.
    fn until(&self, what: &str, good: impl Fn(&Record) -> bool) -> Result<[Vec<Record>; 3]> {
        wait::until(SOON, what, || {
            let all = [self.syslog.syslog()?, self.udp.ipfix()?.records, self.tcp.ipfix()?.records];
            for records in &all {
                wait::require(records.iter().any(&good), (records.len(), records.last()))?;
            }
            Ok(all)
        })
    }
}

fn get<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.get(&name.to_lowercase()).map(String::as_str)
}

fn number(record: &Record, name: &str) -> Result<u64> {
    let text = get(record, name).with_context(|| format!("no {name} in {record:?}"))?;
    Ok(text.parse()?)
}

fn is(record: &Record, event: &str) -> bool {
    get(record, "natEvent") == Some(event)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Who had an external address and port at a time, as an abuse desk asks.
fn who(records: &[Record], outside: SocketAddr, protocol: &str, time: u64) -> Result<Vec<String>> {
    let mut holders: Vec<(String, String)> = Vec::new();
    for record in records {
        if get(record, "postNATSourceIPv4Address") != Some(&outside.ip().to_string())
            || number(record, "observationTimeMilliseconds")? > time
        {
            continue;
        }
        let matches = match get(record, "portRangeStart") {
            Some(_) => {
                let range = number(record, "portRangeStart")?..=number(record, "portRangeEnd")?;
                range.contains(&outside.port().into())
            }
            None => {
                get(record, "protocolIdentifier") == Some(protocol)
                    && get(record, "postNAPTSourceTransportPort") == Some(&outside.port().to_string())
            }
        };
        if !matches {
            continue;
        }
        let inside = get(record, "sourceIPv6Address").or(get(record, "sourceIPv4Address"));
        let inside = inside.with_context(|| format!("{record:?}"))?.to_owned();
        let port = get(record, "sourceTransportPort").unwrap_or("any").to_owned();
        match get(record, "natEvent") {
            Some("4" | "6" | "8" | "10" | "16") => holders.push((inside, port)),
            Some("5" | "7" | "9" | "11" | "17") => {
                let at = holders.iter().position(|holder| *holder == (inside.clone(), port.clone()));
                holders.remove(at.with_context(|| format!("an end without beginning: {record:?}"))?);
            }
            _ => {}
        }
    }
    Ok(holders.into_iter().map(|(inside, _)| inside).collect())
}

/// What must hold of every log that was collected from its beginning.
fn sound(collectors: &Collectors, events: &[&str], destinations: bool) -> Result<()> {
    let (udp, tcp) = (collectors.udp.ipfix()?, collectors.tcp.ipfix()?);
    ensure!(
        udp.domains.iter().eq([&7]) && tcp.domains.iter().eq([&8]),
        "{:?} {:?}",
        udp.domains,
        tcp.domains
    );
    for message in collectors.udp.messages() {
        ensure!(message.len() <= MOST, "a message of {} octets", message.len());
    }
    for records in [collectors.syslog.syslog()?, udp.records, tcp.records] {
        ensure!(!records.is_empty(), "a collector got nothing");
        for record in &records {
            let event = get(record, "natEvent").with_context(|| format!("{record:?}"))?;
            ensure!(events.contains(&event), "an event that was not asked for: {record:?}");
            let time = number(record, "observationTimeMilliseconds")?;
            ensure!((now_ms() - 300_000..=now_ms()).contains(&time), "{record:?}");
        }
    }
    // destinationTransportPort, destinationIPv4Address, destinationIPv6Address, postNATDestinationIPv4Address.
    for elements in [udp.elements, tcp.elements] {
        ensure!(elements.contains(&323) && elements.contains(&230), "{elements:?}");
        let remote = [11, 12, 28, 226].iter().any(|element| elements.contains(element));
        ensure!(remote == destinations, "{elements:?}");
    }
    Ok(())
}

/// A UDP flow of an inside host from a port of its own.
fn flow(lab: &Lab, source: &str, port: u16) -> Result<UdpSocket> {
    let local = SocketAddr::new(source.parse()?, port);
    let (host, remote) = if local.is_ipv6() { ("client6", server6()) } else { ("client4", server4()) };
    datagrams(lab.host(host), local, remote)
}

/// What the server sees an inside address as, by a UDP flow.
fn seen_by_udp(lab: &Lab, source: &str, port: u16) -> Result<SocketAddr> {
    Ok(String::from_utf8(exchange(&flow(lab, source, port)?, b"who?")?)?.parse()?)
}

fn collectors_of(gateway: &Gateway) -> Result<Vec<Value>> {
    let status = gateway.json(&["status"])?;
    status["control"]["logging"]["collectors"].as_array().cloned().with_context(|| status.to_string())
}

/// By default the log is of port blocks alone, and they answer who had a port.
#[test]
//= conformance LOG-01, LOG-02, LOG-03, LOG-04, LOG-12, LOG-21, LOG-22, LOG-23, LOG-24, LOG-27, LOG-28, PORT-15
fn blocks_are_logged_by_default_and_name_who_had_a_port() -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let collectors = Collectors::start(&lab)?;
    let gateway = Gateway::start(&lab, &site("", ""))?;
    let mut asked = Vec::new();
    for (source, subscriber) in
        [("2001:db8:501::10", "2001:db8:501::"), ("10.0.0.10", "10.0.0.10"), ("10.0.0.11", "10.0.0.11")]
    {
        let outside = seen_by_udp(&lab, source, 42_000)?;
        asked.push((outside, subscriber, now_ms()));
        let last = |record: &Record| {
            get(record, "sourceIPv6Address").or(get(record, "sourceIPv4Address")) == Some(subscriber)
        };
        collectors.until(&format!("the block of {subscriber}"), last)?;
    }
    let all = collectors.until("a block", |record| is(record, "16"))?;
    for records in &all {
        for (outside, subscriber, time) in &asked {
            // Events have the time of the loop that they happened in; the answer came back later.
            ensure!(
                who(records, *outside, "17", *time)? == [*subscriber],
                "{outside} at {time}: {records:?}"
            );
            ensure!(who(records, *outside, "17", time - 60_000)?.is_empty(), "before it began");
        }
        ensure!(records.len() == 3, "one block a subscriber: {records:?}");
    }
    sound(&collectors, &["16", "17"], false)?;
    let status = collectors_of(&gateway)?;
    for collector in &status {
        ensure!(collector["records"] == 3 && collector["lost_queue"] == 0, "{collector}");
    }
    let shown = gateway.sluice(&["status"])?;
    ensure!(shown.contains("ipfix/tcp") && shown.contains(SYSLOG), "{shown}");
    gateway.finish()?;
    drop((collectors, service));
    lab.finish()
}

/// Bindings, then sessions with destinations, when they are asked for: each begins and ends, live.
#[test]
//= conformance LOG-07, LOG-08, LOG-09, LOG-22, LOG-27
fn bindings_and_sessions_are_logged_when_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let collectors = Collectors::start(&lab)?;
    let gateway = Gateway::start(&lab, &site("events: [bindings]", ""))?;
    let hosts = [
        ("client6", "2001:db8:501::10", server6(), ("10", "11"), ("6", "7")),
        ("client4", "10.0.0.11", server4(), ("8", "9"), ("4", "5")),
    ];
    for (n, (host, source, server, (made, gone), _)) in hosts.into_iter().enumerate() {
        let source = SocketAddr::new(source.parse::<IpAddr>()?, 43_000 + n as u16);
        let outside = seen_as(lab.host(host), Some(source), server)?;
        let (seen_at, port) = (now_ms(), source.port().to_string());
        let of_it = |record: &Record| get(record, "sourceTransportPort") == Some(&port);
        let ended = |record: &Record| of_it(record) && is(record, gone);
        for records in collectors.until(&format!("the end of the binding of {source}"), ended)? {
            ensure!(records.iter().any(|record| of_it(record) && is(record, made)), "{records:?}");
            ensure!(who(&records, outside, "6", seen_at)? == [source.ip().to_string()], "{records:?}");
            ensure!(who(&records, outside, "6", now_ms())?.is_empty(), "it has ended");
        }
    }
    // Nothing else: what was not asked for, and no session.
    sound(&collectors, &["8", "9", "10", "11"], false)?;
    drop(collectors);

    let collectors = Collectors::start(&lab)?;
    gateway.write_config(&site("events: [sessions]\n  destinations: true", "").yaml())?;
    let said = gateway.apply()?;
    ensure!(said.contains("[bindings] → [sessions]"), "{said}");
    for (n, (host, source, server, _, (made, gone))) in hosts.into_iter().enumerate() {
        let source = SocketAddr::new(source.parse::<IpAddr>()?, 44_000 + n as u16);
        let outside = seen_as(lab.host(host), Some(source), server)?;
        let port = source.port().to_string();
        let of_it = |record: &Record| get(record, "sourceTransportPort") == Some(&port);
        let ended = |record: &Record| of_it(record) && is(record, gone);
        for records in collectors.until(&format!("the end of the session of {source}"), ended)? {
            let record = records.iter().find(|record| of_it(record) && is(record, made));
            let record = record.with_context(|| format!("no beginning of {source}: {records:?}"))?;
            for (name, value) in [
                ("postNATDestinationIPv4Address", SERVER.to_string()),
                ("destinationTransportPort", PORT.to_string()),
                ("postNATSourceIPv4Address", outside.ip().to_string()),
                ("postNAPTSourceTransportPort", outside.port().to_string()),
            ] {
                ensure!(get(record, name) == Some(&value), "{name} is not {value} in {record:?}");
            }
        }
    }
    sound(&collectors, &["4", "5", "6", "7"], true)?;
    gateway.finish()?;
    drop((collectors, service));
    lab.finish()
}

/// Limits are logged when they are reached, once an interval, and refusals that were not are counted.
#[test]
//= conformance LIM-08, LIM-14, LOG-15, LOG-16, LOG-25
fn limits_are_logged_and_not_each_time() -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let collectors = Collectors::start(&lab)?;
    let limits = "subscribers: { max-sessions: 8, max-subscribers: 2 }\n";
    let gateway = Gateway::start(&lab, &site("limit-events: { interval: 60, per-second: 5 }", limits))?;
    let mine = flow(&lab, "10.0.0.10", 42_000)?;
    exchange(&mine, b"before")?;
    let wire = Wire::open(lab.host("client4"), "eth0", &gateway, "inside")?;
    let before = gateway.settled()?;
    // The first has eight sessions, some of them already; the other would be the third subscriber.
    for port in 0..2000_u16 {
        for source in ["10.0.0.10", "10.0.0.11"] {
            wire.send(&udp(wire.v4(source.parse()?, SERVER), (20_000 + port, PORT), b"a flow"))?;
        }
        if port % 16 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let user = |record: &Record| get(record, "natQuotaExceededEvent") == Some("3");
    let third = |record: &Record| get(record, "natQuotaExceededEvent") == Some("4");
    collectors.until("the quota of a subscriber", user)?;
    for records in collectors.until("the quota of subscribers", third)? {
        let of = |which: &dyn Fn(&Record) -> bool| -> Result<Record> {
            let all: Vec<&Record> = records.iter().filter(|record| which(record)).collect();
            let [one] = all[..] else { bail!("expected one in an interval: {all:?}") };
            Ok(one.clone())
        };
        let (user, third) = (of(&user)?, of(&third)?);
        ensure!(is(&user, "13") && get(&user, "maxEntriesPerUser") == Some("8"), "{user:?}");
        ensure!(get(&user, "sourceIPv4Address") == Some("10.0.0.10"), "{user:?}");
        ensure!(is(&third, "13") && get(&third, "maxSubscribers") == Some("2"), "{third:?}");
    }
    let after = gateway.settled()?;
    let drops = after.drops_since(&before);
    let refused = drops.get("subscriber_sessions").copied().unwrap_or(0)
        + drops.get("subscriber_table_full").copied().unwrap_or(0);
    ensure!(refused > 3000, "{drops:?}");
    let status = gateway.json(&["status"])?;
    let reported = ["quota_exceeded"].map(|kind| status["control"]["events"][kind].as_u64().unwrap_or(0));
    let kept_back = after.total("events_suppressed")? - before.total("events_suppressed")?;
    ensure!(
        kept_back + reported[0] == refused,
        "{refused} refused, {reported:?} reported, {kept_back} kept back"
    );
    // Of those reported, all but the two were kept back by the interval.
    let in_control = status["control"]["logging"]["limits_suppressed"].as_u64();
    ensure!(in_control == Some(reported[0] - 2), "{in_control:?} of {reported:?}");
    ensure!(exchange(&mine, b"after")? == b"after", "who was there before was harmed");
    sound(&collectors, &["16", "17", "13"], false)?;
    gateway.finish()?;
    drop((collectors, service));
    lab.finish()
}

/// Collectors that die cost records, which are counted, and nothing else; those that come back are served again.
#[test]
//= conformance LOG-03, LOG-31
fn collectors_that_die_do_not_disturb() -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let collectors = Collectors::start(&lab)?;
    let gateway = Gateway::start(&lab, &site("events: [bindings]", ""))?;
    collectors.until("a binding", |record| is(record, "10"))?;
    drop(collectors);
    // Over UDP the host answers that nobody listens, and of several answers at once a socket tells one.
    let mut lost_before = 0;
    for round in 0..3 {
        for port in 0..20 {
            let began = std::time::Instant::now();
            for source in ["2001:db8:501::10", "10.0.0.10"] {
                let socket = flow(&lab, source, 45_000 + 20 * round + port)?;
                ensure!(exchange(&socket, b"on")? == b"on", "not forwarded");
            }
            ensure!(began.elapsed() < Duration::from_secs(1), "forwarding waited");
        }
        lost_before = wait::until(SOON, "losses to be counted", || {
            let status = collectors_of(&gateway)?;
            let counts = status.iter().map(|collector| {
                let lost = collector["lost_send"].as_u64().unwrap_or(0);
                let waiting = collector["waiting"].as_u64().unwrap_or(0);
                // Over TCP they wait for the next connection.
                let seen = if collector["transport"] == "tcp" { (waiting + lost) / 40 } else { lost };
                wait::require(seen > lost_before && collector["error"].is_string(), collector)?;
                Ok(seen)
            });
            Ok(counts.collect::<Result<Vec<_>>>()?.into_iter().min().unwrap_or(0).min(round.into()))
        })?;
    }
    ensure!(lost_before == 2);
    // The API answers as before, and so do those that come back.
    let collectors = Collectors::start(&lab)?;
    let again = wait::until(SOON, "a new connection", || {
        let status = collectors_of(&gateway)?;
        let tcp = status.iter().find(|c| c["transport"] == "tcp").cloned().context("tcp")?;
        wait::require(tcp["connected"] == true && tcp["waiting"] == 0, &tcp)?;
        Ok(tcp)
    })?;
    ensure!(again["records"].as_u64() > Some(60), "{again}");
    // Templates came again within a second, so that even the late one understands what comes now.
    std::thread::sleep(Duration::from_millis(1200));
    let _ = ask(lab.host("client6"), Some("[2001:db8:501::10]:46000".parse()?), server6(), b'W')?;
    collectors.until("a new binding", |record| get(record, "sourceTransportPort") == Some("46000"))?;
    let shown = gateway.sluice(&["counters"])?;
    ensure!(shown.contains("ipfix/udp") && shown.contains("not sent"), "{shown}");
    gateway.finish()?;
    drop((collectors, service));
    lab.finish()
}
