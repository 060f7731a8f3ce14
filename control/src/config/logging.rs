//! The section `logging`: what is logged, and who collects it.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use sluice_nat::LogSpec;

use super::problem::Problem;
use super::reader::{Cursor, Expected, Fields};
use super::value;

/// What is logged, and to whom. Without collectors nothing leaves the box.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Logging {
    /// Port blocks are logged.
    pub blocks: bool,
    /// Dynamic bindings are logged.
    pub bindings: bool,
    /// Sessions are logged.
    pub sessions: bool,
    /// Sessions are logged with their remote address and port.
    pub destinations: bool,
    /// natInstanceID of every record, where more than one instance sends to a collector.
    pub instance: Option<u32>,
    /// Exhaustion and quota events.
    pub limit_events: LimitEvents,
    /// Syslog collectors.
    pub syslog: Vec<Syslog>,
    /// IPFIX collectors.
    pub ipfix: Vec<Ipfix>,
}

/// How often limits that are reached are logged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LimitEvents {
    /// Seconds until the same limit is logged again.
    pub interval: u32,
    /// Records a second at most, of all limits together; 0 for none.
    pub per_second: u32,
}

/// A syslog collector, over UDP.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Syslog {
    /// Where it listens.
    pub server: SocketAddr,
    /// Address of the box that messages come from; the kernel's choice otherwise.
    pub source: Option<IpAddr>,
    /// HOSTNAME of messages; the name of the box otherwise.
    pub hostname: Option<String>,
    /// Facility, 0 to 23.
    pub facility: Facility,
    /// Private enterprise number after `nat@`.
    pub enterprise: u32,
}

/// An IPFIX collector.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ipfix {
    /// Where it listens.
    pub server: SocketAddr,
    /// Address of the box that messages come from; the kernel's choice otherwise.
    pub source: Option<IpAddr>,
    /// How messages travel.
    pub transport: Transport,
    /// Observation domain.
    pub domain: u32,
    /// Seconds until templates are sent again, over UDP.
    pub template_refresh: u32,
    /// Largest packet over UDP, IP header included.
    pub mtu: u16,
}

/// How IPFIX messages travel. There is no SCTP (LOG-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

/// A syslog facility, by its position in [`Facility::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Facility(pub u8);

impl Facility {
    /// As RFC 5424 numbers them, in the words of syslog daemons.
    pub const NAMES: [&'static str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5",
        "local6", "local7",
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.0) % Self::NAMES.len()]
    }
}

impl Transport {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// The number that RFC 5612 sets aside for examples: what stands after `nat@` if the file gives none.
const EXAMPLE_ENTERPRISE: u32 = 32_473;
/// RFC 7011, section 10.3.3: what any path takes.
const SMALLEST_MTU: u16 = 512;
/// Collectors of one kind.
const MAX_COLLECTORS: usize = 8;
/// What a hostname may have so that the longest message stays under 480 bytes (LOG-30).
const MAX_HOSTNAME: usize = 64;

impl Default for Logging {
    //= conformance LOG-22, LOG-23
    fn default() -> Self {
        Self {
            blocks: true,
            bindings: false,
            sessions: false,
            destinations: false,
            instance: None,
            limit_events: LimitEvents { interval: 60, per_second: 10 },
            syslog: Vec::new(),
            ipfix: Vec::new(),
        }
    }
}

impl Logging {
    /// Somebody collects.
    pub fn is_on(&self) -> bool {
        !self.syslog.is_empty() || !self.ipfix.is_empty()
    }

    /// What the engine is to report. Blocks are counted even if nobody collects: they are few.
    pub(crate) fn spec(&self) -> LogSpec {
        match self.is_on() {
            true => LogSpec { blocks: self.blocks, bindings: self.bindings, sessions: self.sessions },
            false => LogSpec { blocks: true, bindings: false, sessions: false },
        }
    }

    /// The words of `events`.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        let all = [("blocks", self.blocks), ("bindings", self.bindings), ("sessions", self.sessions)];
        all.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect()
    }
}

pub(crate) fn logging(section: Option<Cursor<'_>>) -> Logging {
    let mut logging = Logging::default();
    let Some(section) = section else { return logging };
    let Some(mut fields) = section.map("logging") else { return logging };
    let events = fields.get("events");
    let destinations = fields.get("destinations");
    let instance = fields.get("instance");
    let limit_events = fields.get("limit-events");
    let syslog = fields.get("syslog");
    let ipfix = fields.get("ipfix");
    fields.finish();
    if let Some(cursor) = &events {
        (logging.blocks, logging.bindings, logging.sessions) = chosen(cursor);
    }
    logging.destinations = destinations
        .as_ref()
        .and_then(|c| c.scalar("true or false", value::boolean))
        .unwrap_or(logging.destinations);
    logging.instance = instance.and_then(|c| c.scalar("an instance id", |t| value::number(t, 0, u32::MAX)));
    if let Some(cursor) = limit_events {
        logging.limit_events = self::limit_events(&cursor, logging.limit_events);
    }
    if let Some(cursor) = &syslog {
        logging.syslog = collectors(cursor, "syslog collectors", self::syslog);
    }
    if let Some(cursor) = &ipfix {
        logging.ipfix = collectors(cursor, "ipfix collectors", self::ipfix);
    }
    //= conformance LOG-22
    if logging.bindings
        && logging.sessions
        && !logging.destinations
        && let Some(cursor) = &events
    {
        cursor.error_hint(
            format!("{}: without destinations, sessions say nothing that bindings do not", cursor.path),
            "write `bindings` or `sessions`, or `destinations: true` (RFC 8158, section 4.6.1)",
        );
    }
    if logging.destinations
        && !logging.sessions
        && let Some(cursor) = &destinations
    {
        cursor.error_hint(
            format!("{}: destinations are logged with sessions, and these are not logged", cursor.path),
            "add `events: [sessions]`, or leave `destinations` out",
        );
    }
    if !logging.is_on() && syslog.is_none() && ipfix.is_none() {
        let message = format!("{}: there is no collector, so nothing is sent", section.path);
        section.sink.warn(Problem::new(section.at(), &section.path, message).hint(
            "add `syslog: [{ server: \"192.0.2.50:514\" }]` or `ipfix: [{ server: \"192.0.2.51:4739\" }]`",
        ));
    }
    logging
}

/// Blocks, bindings, sessions.
fn chosen(cursor: &Cursor<'_>) -> (bool, bool, bool) {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Automatic,
        Blocks,
        Bindings,
        Sessions,
    }
    const WORDS: [(&str, Word); 4] = [
        ("automatic", Word::Automatic),
        ("blocks", Word::Blocks),
        ("bindings", Word::Bindings),
        ("sessions", Word::Sessions),
    ];
    let mut words = Vec::new();
    for item in cursor.items("events") {
        words.extend(item.scalar("events", |text| value::word(text, &WORDS)));
    }
    let has = |word| words.contains(&word);
    // Every pool hands out blocks.
    (has(Word::Blocks) || has(Word::Automatic), has(Word::Bindings), has(Word::Sessions))
}

fn limit_events(cursor: &Cursor<'_>, default: LimitEvents) -> LimitEvents {
    let Some(mut fields) = cursor.map("limit-events") else { return default };
    let interval = fields.get("interval");
    let per_second = fields.get("per-second");
    fields.finish();
    let floor =
        |text: &str| value::duration_from(text, 1, "the engine reports a limit at most once a second");
    LimitEvents {
        interval: interval.and_then(|c| c.scalar("a duration", floor)).unwrap_or(default.interval),
        per_second: per_second
            .and_then(|c| c.scalar("a number, 0 for none", |t| value::number(t, 0, 10_000)))
            .unwrap_or(default.per_second),
    }
}

fn collectors<T: Collector>(
    cursor: &Cursor<'_>,
    what: &str,
    read: impl Fn(&Cursor<'_>) -> Option<T>,
) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    let entries = cursor.entries(what);
    if entries.len() > MAX_COLLECTORS {
        cursor.error(format!("expected at most {MAX_COLLECTORS} {what}, found {}", entries.len()));
    }
    for entry in entries {
        let Some(collector) = read(&entry) else { continue };
        if all.iter().any(|other| other.key() == collector.key()) {
            entry.error(format!("{}: {} gets every record already", entry.path, collector.key().0));
        }
        all.push(collector);
    }
    all
}

/// What two collectors must not have in common.
trait Collector {
    fn key(&self) -> (SocketAddr, Option<Transport>);
}

impl Collector for Syslog {
    fn key(&self) -> (SocketAddr, Option<Transport>) {
        (self.server, None)
    }
}

impl Collector for Ipfix {
    fn key(&self) -> (SocketAddr, Option<Transport>) {
        (self.server, Some(self.transport))
    }
}

/// `server` and `source`.
fn way(fields: &mut Fields<'_>, port: u16) -> (Option<SocketAddr>, Option<IpAddr>) {
    let example = format!("\"192.0.2.50:{port}\"");
    let server = fields.require("server", &example);
    let server = server.and_then(|c| c.scalar("a collector", |text| value::server(text, port)));
    let source = fields.get("source");
    let of_server = |text: &str| {
        let address = value::address(text)?;
        match server {
            Some(server) if server.is_ipv4() != address.is_ipv4() => {
                Err(Expected::new("an address of the same family as the server"))
            }
            _ => Ok(address),
        }
    };
    (server, source.and_then(|c| c.scalar("an address of this box", of_server)))
}

fn syslog(cursor: &Cursor<'_>) -> Option<Syslog> {
    let mut fields = cursor.map("a syslog collector")?;
    let (server, source) = way(&mut fields, 514);
    let hostname = fields.get("hostname");
    let facility = fields.get("facility");
    let enterprise = fields.get("enterprise");
    fields.finish();
    Some(Syslog {
        hostname: hostname.and_then(|c| c.scalar("a name", host_name)),
        facility: facility.and_then(|c| c.scalar("a facility", facility_of)).unwrap_or(Facility(16)),
        enterprise: enterprise
            .and_then(|c| c.scalar("a private enterprise number", |t| value::number(t, 1, u32::MAX)))
            .unwrap_or(EXAMPLE_ENTERPRISE),
        server: server?,
        source,
    })
}

fn ipfix(cursor: &Cursor<'_>) -> Option<Ipfix> {
    const TRANSPORTS: [(&str, Transport); 2] = [("udp", Transport::Udp), ("tcp", Transport::Tcp)];
    let mut fields = cursor.map("an ipfix collector")?;
    let (server, source) = way(&mut fields, 4739);
    let transport = fields.get("transport");
    let domain = fields.get("domain");
    let refresh = fields.get("template-refresh");
    let mtu = fields.get("mtu");
    fields.finish();
    let transport = transport
        .and_then(|c| c.scalar("`udp` or `tcp`", |text| value::word(text, &TRANSPORTS)))
        .unwrap_or(Transport::Udp);
    for (key, cursor) in [("template-refresh", &refresh), ("mtu", &mtu)] {
        if let Some(cursor) = cursor
            && transport == Transport::Tcp
        {
            cursor.error_hint(
                format!(
                    "{}: `{key}` is for UDP; a TCP connection keeps templates and cuts packets itself",
                    cursor.path
                ),
                "leave it out",
            );
        }
    }
    let once_a_second = |text: &str| {
        value::duration_from(text, 1, "600 is the default; collectors forget templates after some 30 min")
    };
    Some(Ipfix {
        transport,
        domain: domain.and_then(|c| c.scalar("a number", |t| value::number(t, 0, u32::MAX))).unwrap_or(1),
        template_refresh: refresh.and_then(|c| c.scalar("a duration", once_a_second)).unwrap_or(600),
        mtu: mtu
            .and_then(|c| c.scalar("a number", |t| value::number(t, 256, 9000)))
            .map_or(SMALLEST_MTU, |n| n as u16),
        server: server?,
        source,
    })
}

fn facility_of(text: &str) -> Result<Facility, Expected> {
    let words: Vec<(&'static str, Facility)> =
        (0..).zip(Facility::NAMES).map(|(number, name)| (name, Facility(number))).collect();
    value::word(text, &words)
}

/// RFC 5424 takes printable ASCII without blanks.
fn host_name(text: &str) -> Result<String, Expected> {
    let fits = !text.is_empty() && text.len() <= MAX_HOSTNAME && text.bytes().all(|b| b.is_ascii_graphic());
    match fits {
        true => Ok(text.to_owned()),
        false => Err(Expected::new(format!("1 to {MAX_HOSTNAME} printable ASCII characters without blanks"))),
    }
}
