//! The log of what the translator did: port blocks, bindings, sessions and limits, to collectors by syslog and IPFIX.
//!
//! | module | what |
//! | --- | --- |
//! | `record` | an event with its time, as information elements: what templates, data records and messages are made of |
//! | `ipfix`, `syslog` | messages: RFC 7011 with RFC 8158, RFC 5424 |
//! | `gate` | how often limits that are reached are logged |
//! | `exporter` | a collector: its queue, its socket, its losses |
//!
//! Everything runs on the daemon's thread: an event costs an encoding and a copy, and collectors are tasks beside the daemon.

mod exporter;
mod gate;
mod ipfix;
mod record;
mod syslog;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluice_nat::Event;
use sluice_shm::now_ns;

use crate::api::LoggingStatus;
use crate::config::Config;
use crate::config::logging::{Ipfix, Logging as Wanted, Syslog, Transport};
use exporter::{Collector, Language, TCP_MESSAGE, Way};
use gate::Gate;
use ipfix::Stream;
use record::{Options, Record, Shape, is_limit};
use syslog::Writer;

/// What is left of a datagram for IPFIX, by family.
const IPV4_UDP: usize = 20 + 8;
const IPV6_UDP: usize = 40 + 8;
/// Names of pools are cut to so many octets: a message takes no more (LOG-30).
const MAX_NAME: usize = 64;
/// How long the end of the daemon waits for collectors.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Which records a collector gets: with other ones it is another transport session, because templates differ.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    blocks: bool,
    bindings: bool,
    sessions: bool,
    options: Options,
}

/// What a collector was made from.
#[derive(Clone, Debug, PartialEq)]
enum Made {
    Syslog(Syslog, Choice),
    Ipfix(Ipfix, Choice),
}

/// The log.
#[derive(Debug)]
pub(crate) struct Logging {
    choice: Choice,
    pools: Vec<Arc<str>>,
    collectors: Vec<(Made, Collector)>,
    gate: Gate,
}

/// The wall clock beside the clock of notices, read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    wall_ms: u64,
    boot_ns: u64,
}

impl Clocks {
    pub(crate) fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_ms: wall.as_millis() as u64, boot_ns: now_ns() }
    }

    /// The wall clock at a moment of the other. A notice without time happened now.
    fn wall_ms(self, time_ns: u64) -> u64 {
        let ago = if time_ns == 0 { 0 } else { self.boot_ns.saturating_sub(time_ns) };
        self.wall_ms.saturating_sub(ago / 1_000_000)
    }
}

impl Logging {
    pub(crate) fn new() -> Self {
        let wanted = Wanted::default();
        Self {
            choice: Choice::of(&wanted),
            pools: Vec::new(),
            collectors: Vec::new(),
            gate: Gate::new(wanted.limit_events, Instant::now()),
        }
    }

    /// Takes a configuration over. Collectors that stay as they are keep their queues and connections; those that go send
    /// what they have.
    pub(crate) fn follow(&mut self, config: &Config) {
        let wanted = &config.logging;
        self.choice = Choice::of(wanted);
        self.gate.set(wanted.limit_events, config.subscribers.ipv6_prefix_length);
        self.pools = config.pools.iter().map(|pool| shortened(&pool.name.value)).collect();
        let choice = self.choice;
        let syslog = wanted.syslog.iter().map(|s| Made::Syslog(s.clone(), choice));
        let ipfix = wanted.ipfix.iter().map(|i| Made::Ipfix(i.clone(), choice));
        let mut before = std::mem::take(&mut self.collectors);
        for made in syslog.chain(ipfix) {
            let collector = match before.iter().position(|(other, _)| *other == made) {
                Some(at) => before.swap_remove(at).1,
                None => made.start(),
            };
            self.collectors.push((made, collector));
        }
    }

    /// Logs an event, if it is to be logged.
    pub(crate) fn event(&mut self, event: &Event, time_ns: u64, clocks: Clocks) {
        if self.collectors.is_empty() || !self.choice.has(event) || !self.gate.admits(event, Instant::now()) {
            return;
        }
        let pool = match event {
            Event::AddressesExhausted { pool } => self.pools.get(usize::from(*pool)).cloned(),
            _ => None,
        };
        let record = Record { time_ms: clocks.wall_ms(time_ns), event: *event, pool };
        for (_, collector) in &self.collectors {
            collector.offer(record.clone());
        }
    }

    /// How it is.
    pub(crate) fn status(&self) -> LoggingStatus {
        LoggingStatus {
            collectors: self.collectors.iter().map(|(_, collector)| collector.status()).collect(),
            limits_suppressed: self.gate.suppressed(),
        }
    }

    /// Sends what is queued, as far as that takes no time.
    pub(crate) async fn end(&mut self) {
        let ends = self.collectors.drain(..).map(|(_, collector)| collector.end(LAST_WORDS));
        futures::future::join_all(ends).await;
    }
}

impl Choice {
    fn of(wanted: &Wanted) -> Self {
        Self {
            blocks: wanted.blocks,
            bindings: wanted.bindings,
            sessions: wanted.sessions,
            options: Options { destinations: wanted.destinations, instance: wanted.instance },
        }
    }

    /// Events that are not wanted come too: notices of the configuration before.
    fn has(&self, event: &Event) -> bool {
        match event {
            Event::BlockAllocated { .. } | Event::BlockReleased { .. } => self.blocks,
            Event::BindingCreated { .. } | Event::BindingDeleted { .. } => self.bindings,
            Event::SessionCreated(_) | Event::SessionDeleted(_) => self.sessions,
            _ => is_limit(event),
        }
    }

    /// Templates of what is logged.
    fn shapes(&self) -> Vec<Shape> {
        let wanted = |shape: &Shape| match shape {
            Shape::Session44 | Shape::Session64 => self.sessions,
            Shape::Binding44 | Shape::Binding64 => self.bindings,
            Shape::Block44 | Shape::Block64 => self.blocks,
            _ => true,
        };
        Shape::ALL.into_iter().filter(wanted).collect()
    }
}

impl Made {
    fn start(&self) -> Collector {
        match self {
            Self::Syslog(wanted, choice) => {
                let way = Way { server: wanted.server, source: wanted.source, transport: Transport::Udp };
                let hostname = wanted.hostname.clone().unwrap_or_else(host_name);
                let writer = Writer::new(wanted.facility, wanted.enterprise, hostname, choice.options);
                Collector::start(way, Language::Syslog(writer))
            }
            Self::Ipfix(wanted, choice) => {
                let way = Way { server: wanted.server, source: wanted.source, transport: wanted.transport };
                let headers = if wanted.server.is_ipv4() { IPV4_UDP } else { IPV6_UDP };
                //= conformance LOG-04
                let most = match wanted.transport {
                    Transport::Udp => usize::from(wanted.mtu) - headers,
                    Transport::Tcp => TCP_MESSAGE,
                };
                let stream = Stream::new(wanted.domain, choice.options, most);
                let refresh = Duration::from_secs(wanted.template_refresh.into());
                Collector::start(way, Language::Ipfix { stream, shapes: choice.shapes(), refresh })
            }
        }
    }
}

/// A name, or its beginning.
fn shortened(name: &str) -> Arc<str> {
    name[..name.floor_char_boundary(MAX_NAME)].into()
}

/// The box's name as syslog may have it; `-` stands for none (RFC 5424, section 6.2.4).
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}
