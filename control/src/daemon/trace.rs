//! Traces that clients wait for.

use std::time::Duration;

use sluice_shm::{Address, Command, TraceEnd, TraceFilter, TraceRecord};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Daemon;
use crate::api::{ApiError, Response, TraceRequest, TracedPacket, TracedStage};

/// Traces at a time: the workers know one filter, and each packet is held against it.
const MAX_TRACES: usize = 1;

pub(crate) struct ActiveTrace {
    id: u32,
    client: mpsc::Sender<Response>,
    wanted: u32,
    sent: u32,
    missed: u32,
    deadline: Instant,
}

impl Daemon {
    /// Starts a trace; packets and end go to the client.
    pub(crate) async fn start_trace(
        &mut self,
        request: TraceRequest,
        client: mpsc::Sender<Response>,
    ) -> Result<(), ApiError> {
        let interface = match &request.interface {
            None => None,
            Some(name) => Some(self.interface_number(name)?),
        };
        if self.traces.len() >= MAX_TRACES {
            return Err(ApiError::new("another trace is running; wait for it to end"));
        }
        if !self.link.is_attached() {
            return Err(ApiError::new("no dataplane is running, so there are no packets to trace"));
        }
        self.last_trace = self.last_trace.wrapping_add(1).max(1);
        let id = self.last_trace;
        let wanted = request.count.clamp(1, 10_000);
        let filter = TraceFilter {
            address: request.address.map(Address::from),
            port: request.port,
            protocol: request.protocol,
            interface,
            drops_only: request.drops,
        };
        let command = Command::TraceStart { id, count: wanted, filter };
        self.link
            .call(command, Duration::from_secs(2))
            .await
            .map_err(|error| ApiError::new(format!("the trace was not started: {error}")))?;
        let deadline = Instant::now() + Duration::from_secs(u64::from(request.timeout.clamp(1, 3600)));
        self.traces.push(ActiveTrace { id, client, wanted, sent: 0, missed: 0, deadline });
        Ok(())
    }

    fn interface_number(&self, name: &str) -> Result<u16, ApiError> {
        let interfaces = self.current.as_ref().map(|c| c.config.interfaces.as_slice()).unwrap_or_default();
        let number = interfaces.iter().position(|i| i.name.value == name);
        number.map(|n| n as u16).ok_or_else(|| {
            let names: Vec<&str> = interfaces.iter().map(|i| i.name.value.as_str()).collect();
            ApiError::new(format!("there is no interface `{name}`; there is {}", names.join(", ")))
        })
    }

    /// Passes a record to the client that waits for it. A slow client misses packets; nobody waits for it.
    pub(crate) fn trace_record(&mut self, record: &TraceRecord) {
        let Some(at) = self.traces.iter().position(|trace| trace.id == record.id) else { return };
        let packet = self.describe(record);
        let trace = &mut self.traces[at];
        match trace.client.try_send(Response::TracePacket(Box::new(packet))) {
            Ok(()) => trace.sent += 1,
            Err(mpsc::error::TrySendError::Full(_)) => trace.missed += 1,
            Err(mpsc::error::TrySendError::Closed(_)) => trace.wanted = 0,
        }
        if trace.sent + trace.missed >= trace.wanted {
            self.end_trace(at, "all packets were seen");
        }
    }

    /// Ends traces whose time is over or whose client is gone.
    pub(crate) fn sweep_traces(&mut self) {
        let now = Instant::now();
        for at in (0..self.traces.len()).rev() {
            if self.traces[at].client.is_closed() {
                self.end_trace(at, "the client is gone");
            } else if self.traces[at].deadline <= now {
                self.end_trace(at, "the time is over");
            }
        }
    }

    pub(crate) fn end_all_traces(&mut self, reason: &str) {
        while !self.traces.is_empty() {
            self.end_trace(0, reason);
        }
    }

    fn end_trace(&mut self, at: usize, reason: &str) {
        let trace = self.traces.remove(at);
        self.link.send(Command::TraceStop { id: trace.id });
        let end = Response::TraceEnd { packets: trace.sent, missed: trace.missed, reason: reason.to_owned() };
        // A full channel would lose the end, and the client would wait for nothing; the closed channel tells it as well.
        let _ = trace.client.try_send(end);
    }

    fn describe(&self, record: &TraceRecord) -> TracedPacket {
        let name = |number: u16| {
            self.current.as_ref().and_then(|c| c.config.interface(number)).map(|i| i.name.value.clone())
        };
        let (end, reason) = match record.end() {
            Some(TraceEnd::Transmit) => ("transmit", None),
            Some(TraceEnd::Punt(reason)) => ("punt", Some(reason.name().to_owned())),
            Some(TraceEnd::Drop(reason)) => ("drop", Some(reason.name().to_owned())),
            Some(TraceEnd::HandOff(worker)) => ("hand-off", Some(worker.to_string())),
            Some(TraceEnd::Held) => ("held", None),
            None => ("unknown", None),
        };
        TracedPacket {
            time_ns: record.time_ns,
            thread: super::thread_name(usize::from(record.worker), self.workers),
            interface_in: name(record.interface_in),
            interface_out: name(record.interface_out),
            stages: record
                .stages()
                .map(|(stage, info, offset_ns)| TracedStage {
                    stage: stage.name().to_owned(),
                    info,
                    offset_ns,
                })
                .collect(),
            end: end.to_owned(),
            reason,
            before: hex(record.before()),
            before_length: record.before_full,
            after: hex(record.after()),
            after_length: record.after_full,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
