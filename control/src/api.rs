//! The API of the daemon: one JSON object a line over the Unix socket of the run directory.
//!
//! A client sends a [`Envelope`] with a [`Request`] and gets [`Response`]s, one a line: exactly one, except for a trace,
//! which streams packets until [`Response::TraceEnd`]. A connection may carry several requests, one after the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use sluice_nat::Protocol;

use crate::config::{ConfigError, Diff, Problem};

/// Version of this API. A daemon refuses requests of another one, because `sluice` and the daemon come in one package.
pub const VERSION: u32 = 1;

/// Longest line in either direction: a configuration file with every character escaped.
pub const MAX_LINE: usize = 40 << 20;

/// What stands on a line: the version beside the message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// [`VERSION`].
    pub version: u32,
    /// The message.
    #[serde(flatten)]
    pub message: T,
}

impl<T> Envelope<T> {
    /// With the present version.
    pub fn new(message: T) -> Self {
        Self { version: VERSION, message }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// How the daemon is.
    Status,
    /// The configuration that was applied last.
    Config,
    /// What applying a file would change.
    Plan {
        /// Name of the file, for messages.
        file: String,
        /// Its text.
        source: String,
    },
    /// Apply a file, all of it or nothing.
    Apply {
        /// Name of the file, for messages.
        file: String,
        /// Its text.
        source: String,
        /// Generation that the client's plan was made for; another one is refused.
        base: Option<u64>,
    },
    /// Record the way of packets.
    Trace(TraceRequest),
    /// Delete the mappings of an inside address, with all their sessions.
    DeleteSessions(DeleteRequest),
}

/// Which mappings to delete.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// Inside address.
    pub inside: IpAddr,
    /// Only of this inside port or identifier.
    pub port: Option<u16>,
    /// Only of this protocol.
    pub protocol: Option<Protocol>,
}

/// Which packets to trace. Everything that is given must match.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TraceRequest {
    /// Packets after which the trace ends.
    pub count: u32,
    /// Seconds after which it ends in any case.
    pub timeout: u32,
    /// Source or destination.
    pub address: Option<IpAddr>,
    /// Source or destination port, or identifier.
    pub port: Option<u16>,
    /// Protocol number.
    pub protocol: Option<u8>,
    /// Interface on which the packet came in, by name.
    pub interface: Option<String>,
    /// Only packets that were dropped.
    pub drops: bool,
}

/// What the daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Config`].
    Config(Box<Applied>),
    /// To [`Request::Plan`].
    Plan(Plan),
    /// To [`Request::Apply`].
    Applied(ApplyDone),
    /// To [`Request::DeleteSessions`].
    Deleted {
        /// How many sessions there were.
        sessions: u64,
    },
    /// A packet of a trace.
    TracePacket(Box<TracedPacket>),
    /// The end of a trace.
    TraceEnd {
        /// Packets that were sent.
        packets: u32,
        /// Packets that this client was too slow for.
        missed: u32,
        /// Why it ended.
        reason: String,
    },
    /// The request was refused; nothing has changed.
    Error(ApiError),
}

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What happened and what to do.
    pub message: String,
    /// For a configuration file: everything that is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigError>,
}

impl ApiError {
    /// With a text alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), config: None }
    }
}

/// How the daemon is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Version of its package. Not called `version`, which stands beside it on the line.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// A dataplane is attached.
    pub dataplane: bool,
    /// Generation of the applied configuration; 0 for none.
    pub generation: u64,
    /// File that it came from.
    pub file: Option<String>,
    /// The configuration waits for a dataplane.
    pub pending: bool,
    /// What went wrong last, until something goes well.
    pub trouble: Option<String>,
    /// TAP twins.
    pub twins: Vec<TwinStatus>,
    /// Fenced kernel interfaces.
    pub fences: Vec<String>,
    /// Neighbours by state.
    pub neighbours: BTreeMap<String, usize>,
    /// NAT events since the daemon started, by kind.
    pub events: BTreeMap<String, u64>,
    /// Notices of the dataplane that could not be read.
    pub bad_notices: u64,
    /// The log and its collectors.
    #[serde(default)]
    pub logging: LoggingStatus,
}

/// The log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoggingStatus {
    /// Collectors, in the order of the file: syslog, then IPFIX.
    pub collectors: Vec<CollectorStatus>,
    /// Limits that were reached and not logged, because they had been a moment ago.
    pub limits_suppressed: u64,
}

/// A collector. Counts begin when it was last configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectorStatus {
    /// `syslog` or `ipfix`.
    pub kind: String,
    /// Where it is.
    pub server: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: String,
    /// There is a socket to it. Over UDP that does not say that anyone listens.
    pub connected: bool,
    /// Records that wait in its queue.
    pub waiting: u64,
    /// Records that were sent.
    pub records: u64,
    /// Messages that were sent, those with templates included.
    pub messages: u64,
    /// Records that found the queue full.
    pub lost_queue: u64,
    /// Records of messages that could not be sent, or that the collector's host refused: of datagrams at least so many, because
    /// refusals that come together are told once.
    pub lost_send: u64,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A TAP twin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TwinStatus {
    /// Name of the interface and of the TAP.
    pub name: String,
    /// It has the port's MAC address and its own addresses.
    pub ready: bool,
}

/// The applied configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// Its generation.
    pub generation: u64,
    /// File that it came from.
    pub file: String,
    /// Text of the file.
    pub source: String,
    /// The same with every default filled in.
    pub config: serde_json::Value,
}

/// What applying a file would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Generation of the present configuration; 0 for none.
    pub base: u64,
    /// The difference to it.
    pub diff: Diff,
    /// What is allowed and most likely not meant.
    pub warnings: Vec<Problem>,
}

/// A file was applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyDone {
    /// Generation of the configuration.
    pub generation: u64,
    /// There is no dataplane: it will be applied when one starts.
    pub pending: bool,
    /// Nothing was different, so nothing was done.
    pub unchanged: bool,
    /// Parts that are in force only in part yet, such as an interface whose port is not up.
    pub notes: Vec<String>,
}

/// The way of one packet through one thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TracedPacket {
    /// Nanoseconds since boot when the packet was taken up.
    pub time_ns: u64,
    /// Thread that recorded it.
    pub thread: String,
    /// Interface on which it came in.
    pub interface_in: Option<String>,
    /// Interface on which it left.
    pub interface_out: Option<String>,
    /// Its stages.
    pub stages: Vec<TracedStage>,
    /// Where it ended: `transmit`, `punt`, `drop` or `hand-off`.
    pub end: String,
    /// The reason of a punt or drop, or the worker of a hand-off.
    pub reason: Option<String>,
    /// The first bytes as it came in, from the Ethernet header on, in hexadecimal.
    pub before: String,
    /// Its whole length as it came in.
    pub before_length: u16,
    /// The first bytes as it left; empty if it did not.
    pub after: String,
    /// Its whole length as it left.
    pub after_length: u16,
}

/// A stage of a packet's way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TracedStage {
    /// Name of the stage.
    pub stage: String,
    /// A number that the stage knows: session, worker, next hop, MTU.
    pub info: u32,
    /// Nanoseconds since the packet was taken up.
    pub offset_ns: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_and_reads_back() {
        let request = Request::Apply { file: "a.yaml".into(), source: "x: 1\ny: 2\n".into(), base: Some(3) };
        let line = serde_json::to_string(&Envelope::new(request)).unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("\"version\":1") && line.contains("\"request\":\"apply\""), "{line}");
        let back: Envelope<Request> = serde_json::from_str(&line).unwrap();
        assert!(
            matches!(back.message, Request::Apply { base: Some(3), source, .. } if source == "x: 1\ny: 2\n")
        );
    }
}
