//! `sluice sessions`: the session table, straight from the shared memory.
//!
//! The workers are not asked and do not notice, except for the memory bandwidth: so the records are read in chunks with a pause
//! after every few, and extents that were never used are passed over. To delete some is another matter: `delete.rs`.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use sluice_nat::{Kind, Protocol, SessionView, TcpState, TimerClass, Timers};
use sluice_shm::{StateReader, now_ns, read_snapshot};

use super::delete::DeleteSessions;
use super::line::Line;
use super::output::{Output, grouped, write_span};
use super::{CliError, Global};

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  sluice sessions --inside 2001:db8:500::/56 --limit 20\n  sluice sessions --outside 198.51.100.1 --protocol tcp\n  sluice sessions --remote 192.0.2.0/24 --count\n  sluice sessions --json | jq -c 'select(.idle > 60)'      (one object a line)\n  sluice sessions delete --inside 10.0.0.5:4000 --protocol udp"
)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only sessions of this inside address or prefix
    #[arg(long, value_name = "ADDRESS", value_parser = net)]
    inside: Option<IpNet>,
    /// Only sessions with this external address or prefix
    #[arg(long, value_name = "ADDRESS", value_parser = net)]
    outside: Option<IpNet>,
    /// Only sessions to this remote address or prefix
    #[arg(long, value_name = "ADDRESS", value_parser = net)]
    remote: Option<IpNet>,
    /// Only sessions of this protocol
    #[arg(long)]
    protocol: Option<ProtocolName>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only count them
    #[arg(long)]
    count: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Delete the mappings of an inside address, with all their sessions
    Delete(DeleteSessions),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolName {
    Tcp,
    Udp,
    Icmp,
}

impl ProtocolName {
    pub(crate) fn number(self) -> u8 {
        self.protocol() as u8
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::Icmp => Protocol::Icmp,
        }
    }
}

pub(crate) fn net(text: &str) -> Result<IpNet, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => {
            text.parse().map_err(|_| "expected an address or a prefix such as 2001:db8::/64".to_owned())
        }
    }
}

/// Chunks (of 4096 records, 256 KiB) between pauses, and the pause: 1.6 GB/s at most, so that 10 million records take half
/// a second and the workers keep most of the memory bandwidth.
const CHUNKS: u32 = 16;
const PAUSE: Duration = Duration::from_millis(2);

impl Sessions {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        if let Some(Action::Delete(delete)) = self.action {
            return delete.run(global, out);
        }
        let run = global.run();
        let reader = StateReader::open(&run)?;
        if !reader.is_of_this_boot() {
            return Err(CliError::Nothing(
                "the session table is of an earlier boot of this machine; start the dataplane".to_owned(),
            ));
        }
        let timers = read_snapshot(&run).map(|snapshot| snapshot.nat.timers).unwrap_or_default();
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut found = 0u64;
        let mut line = Line::default();
        if !self.count && !out.json {
            out.line(HEAD)?;
            out.flush()?;
        }
        let mut now = now_ns();
        'table: for (number, chunk) in (1u32..).zip(reader.chunks()) {
            for (index, session) in chunk.sessions() {
                if !self.matches(&session) {
                    continue;
                }
                if found == limit {
                    break 'table;
                }
                found += 1;
                if self.count {
                    continue;
                }
                let row = Row::new(index, &session, &timers, reader.clock().age(session.hot.last_seen, now));
                if out.json {
                    out.json_line(&row)?;
                } else {
                    row.write(&mut line).map_err(std::io::Error::other)?;
                    out.raw(line.text())?;
                }
            }
            if number % CHUNKS == 0 {
                // Few rows of many records are shown as they are found.
                out.flush()?;
                thread::sleep(PAUSE);
                now = now_ns();
            }
        }
        if self.count {
            return if out.json {
                out.json(&serde_json::json!({ "sessions": found, "capacity": reader.capacity() }))
            } else {
                out.line(format!("{} of {} sessions", grouped(found), grouped(reader.capacity().into())))
            };
        }
        Ok(())
    }

    fn matches(&self, session: &SessionView) -> bool {
        let fixed = &session.fixed;
        let within = |net: &Option<IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        self.protocol.is_none_or(|p| p.number() == fixed.protocol)
            && within(&self.inside, inside(session))
            && within(&self.outside, Ipv4Addr::from_bits(fixed.external).into())
            && within(&self.remote, Ipv4Addr::from_bits(fixed.remote).into())
    }
}

fn inside(session: &SessionView) -> IpAddr {
    match session.fixed.kind_realm.kind() {
        Some(Kind::Nat44) => Ipv4Addr::from_bits(session.fixed.inside as u32).into(),
        _ => Ipv6Addr::from_bits(session.fixed.inside).into(),
    }
}

const HEAD: &str = "proto  inside                                          external               remote                 state          idle     expires  rule  worker";

/// A session as it is shown.
#[derive(serde::Serialize)]
struct Row {
    index: u32,
    kind: Option<Kind>,
    protocol: Transport,
    inside: IpAddr,
    inside_port: u16,
    external: Ipv4Addr,
    external_port: u16,
    remote: Ipv4Addr,
    remote_port: u16,
    state: &'static str,
    /// Seconds since the last packet that refreshed it.
    idle: u64,
    /// Seconds until it expires if no packet comes; `None` if that is not known.
    expires: Option<u64>,
    rule: u16,
    worker: u8,
}

/// A protocol by name, or by number if a later dataplane knows more of them.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Transport {
    Known(Protocol),
    Other(u8),
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(protocol) => protocol.fmt(f),
            Self::Other(number) => number.fmt(f),
        }
    }
}

//= conformance MAP-19
impl Row {
    fn new(index: u32, session: &SessionView, timers: &Timers, idle: Duration) -> Self {
        let fixed = &session.fixed;
        let life = life(session.hot.timer_class, timers);
        let protocol = Protocol::from_number(fixed.protocol);
        Self {
            index,
            kind: fixed.kind_realm.kind(),
            protocol: protocol.map_or(Transport::Other(fixed.protocol), Transport::Known),
            inside: inside(session),
            inside_port: fixed.inside_port,
            external: Ipv4Addr::from_bits(fixed.external),
            external_port: fixed.external_port,
            remote: Ipv4Addr::from_bits(fixed.remote),
            remote_port: fixed.remote_port,
            state: match protocol {
                Some(Protocol::Tcp) => state(session.hot.tcp_state),
                _ => "-",
            },
            idle: idle.as_secs(),
            expires: life.map(|life| u64::from(life).saturating_sub(idle.as_secs())),
            rule: fixed.rule,
            worker: fixed.owner,
        }
    }

    /// Under [`HEAD`]; without the table's measuring, so that rows are written as they are read.
    fn write(&self, line: &mut Line) -> fmt::Result {
        line.clear();
        write!(line, "{}", self.protocol)?;
        line.left(5);
        line.endpoint(self.inside, self.inside_port)?;
        line.left(46);
        line.endpoint(self.external.into(), self.external_port)?;
        line.left(21);
        line.endpoint(self.remote.into(), self.remote_port)?;
        line.left(21);
        line.write_str(self.state)?;
        line.left(13);
        write_span(line, self.idle)?;
        line.right(6);
        match self.expires {
            Some(seconds) => write_span(line, seconds)?,
            None => line.write_str("-")?,
        }
        line.right(9);
        line.number(self.rule.into());
        line.right(4);
        line.number(self.worker.into());
        line.right(6);
        line.end();
        Ok(())
    }
}

fn state(number: u8) -> &'static str {
    match TcpState::from_number(number) {
        TcpState::None => "-",
        TcpState::InsideInit => "inside-syn",
        TcpState::OutsideInit => "outside-syn",
        TcpState::Established => "established",
        TcpState::OutsideFin => "outside-fin",
        TcpState::InsideFin => "inside-fin",
        TcpState::BothFin => "both-fin",
        TcpState::Transitory => "transitory",
    }
}

/// Seconds that a session lives without a packet.
fn life(class: u8, timers: &Timers) -> Option<u32> {
    TimerClass::ALL.into_iter().find(|known| *known as u8 == class).map(|class| timers.seconds(class))
}
