//! A collector and the task that feeds it: a bounded queue in front, a socket behind.
//!
//! Nobody waits for a collector. A record that finds the queue full is lost and counted, and so is what a socket refuses; a
//! connection that broke, or could not be made, is tried again, later and later, while the queue fills.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::ipfix::Stream;
use super::record::{Record, Shape};
use super::syslog::Writer;
use crate::api::CollectorStatus;
use crate::config::logging::Transport;

/// Records that may wait for a collector: some seconds at full speed, some megabytes.
const QUEUE: usize = 65_536;
/// Records that a task takes from its queue at once.
const BATCH: usize = 512;
/// Waits after the first failure, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A collector that takes nothing, or does not answer, for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a task that waits notices that it is not wanted any more.
const GLANCE: Duration = Duration::from_millis(100);
/// Octets of a message over TCP.
pub(crate) const TCP_MESSAGE: usize = 8192;

/// What a collector understands.
#[derive(Debug)]
pub(crate) enum Language {
    Syslog(Writer),
    Ipfix {
        stream: Stream,
        /// Templates, and how often they are sent over UDP.
        shapes: Vec<Shape>,
        refresh: Duration,
    },
}

impl Language {
    /// The message that was made last.
    fn message(&self) -> &[u8] {
        match self {
            Self::Syslog(writer) => writer.message(),
            Self::Ipfix { stream, .. } => stream.message(),
        }
    }
}

/// Where a collector is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) server: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) transport: Transport,
}

/// What became of records. Written by the daemon and by the task, on one thread; shared because tasks must be.
#[derive(Debug, Default)]
struct Tally {
    queued: AtomicU64,
    taken: AtomicU64,
    records: AtomicU64,
    messages: AtomicU64,
    /// Lost because the queue was full.
    overflow: AtomicU64,
    /// Lost on the way, as far as the socket says so.
    unsent: AtomicU64,
    connected: AtomicBool,
    error: Mutex<Option<String>>,
}

/// The daemon's end. Dropping it lets the task send what is queued, and end.
#[derive(Debug)]
pub(crate) struct Collector {
    queue: mpsc::Sender<Record>,
    tally: Arc<Tally>,
    way: Way,
    kind: &'static str,
    task: JoinHandle<()>,
}

impl Collector {
    /// Starts the task.
    pub(crate) fn start(way: Way, language: Language) -> Self {
        let (queue, records) = mpsc::channel(QUEUE);
        let tally = Arc::new(Tally::default());
        let kind = match language {
            Language::Syslog(_) => "syslog",
            Language::Ipfix { .. } => "ipfix",
        };
        let feeder = Feeder { way, language, records, tally: Arc::clone(&tally), batch: Vec::new(), last: 0 };
        Self { queue, tally, way, kind, task: tokio::spawn(feeder.run()) }
    }

    /// Queues a record, or counts it as lost.
    //= conformance LOG-31
    pub(crate) fn offer(&self, record: Record) {
        let counter = match self.queue.try_send(record) {
            Ok(()) => &self.tally.queued,
            Err(_) => &self.tally.overflow,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// How it is.
    pub(crate) fn status(&self) -> CollectorStatus {
        let tally = &self.tally;
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        CollectorStatus {
            kind: self.kind.to_owned(),
            server: self.way.server,
            transport: self.way.transport.name().to_owned(),
            connected: tally.connected.load(Relaxed),
            waiting: read(&tally.queued).saturating_sub(read(&tally.taken)),
            records: read(&tally.records),
            messages: read(&tally.messages),
            lost_queue: read(&tally.overflow),
            lost_send: read(&tally.unsent),
            error: tally.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Has it send what is queued, within `patience`.
    pub(crate) async fn end(self, patience: Duration) {
        let Self { queue, task, .. } = self;
        drop(queue);
        let _ = timeout(patience, task).await;
    }
}

/// The task's end.
struct Feeder {
    way: Way,
    language: Language,
    records: mpsc::Receiver<Record>,
    tally: Arc<Tally>,
    /// Records that were taken from the queue and not sent yet.
    batch: Vec<Record>,
    /// Records of the datagram that was sent last, which its error may be about.
    last: u64,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Why a transport session has ended.
enum End {
    /// There will be no more records.
    Done,
    Broken(io::Error),
}

impl Feeder {
    async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        while !(self.records.is_closed() && self.records.is_empty() && self.batch.is_empty()) {
            let error = match self.connect().await {
                Ok(socket) => {
                    let before = self.tally.messages.load(Relaxed);
                    self.tally.connected.store(true, Relaxed);
                    let end = self.serve(socket).await;
                    self.tally.connected.store(false, Relaxed);
                    // A collector that took something has earned a quick return.
                    if self.tally.messages.load(Relaxed) > before {
                        wait = FIRST_WAIT;
                    }
                    match end {
                        End::Done => return,
                        End::Broken(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.note(&error);
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.records.is_closed() {
                sleep(GLANCE).await;
            }
            if self.records.is_closed() {
                break;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        let left = self.batch.len() + self.records.len();
        if left > 0 {
            tracing::warn!(collector = %self.way.server, records = left, "given up with records not sent");
        }
    }

    async fn connect(&self) -> io::Result<Socket> {
        let Way { server, source, transport } = self.way;
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let local = SocketAddr::new(source.unwrap_or(any), 0);
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(local).await?;
                // Connected, so that the kernel tells when nobody listens.
                socket.connect(server).await?;
                Ok(Socket::Udp(socket))
            }
            Transport::Tcp => {
                let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                socket.bind(local)?;
                let stream = timeout(PATIENCE, socket.connect(server)).await.map_err(late)??;
                Ok(Socket::Tcp(stream))
            }
        }
    }

    /// A transport session.
    async fn serve(&mut self, mut socket: Socket) -> End {
        self.last = 0;
        if let Language::Ipfix { stream, .. } = &mut self.language {
            stream.restart();
        }
        if let Err(error) = self.templates(&mut socket).await {
            return End::Broken(error);
        }
        let refresh = match (&self.language, &socket) {
            //= conformance LOG-03
            (Language::Ipfix { refresh, .. }, Socket::Udp(_)) => Some(*refresh),
            _ => None,
        };
        let period = refresh.unwrap_or(PATIENCE);
        let mut refreshes = interval_at(Instant::now() + period, period);
        refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.send_batch(&mut socket).await {
                return End::Broken(error);
            }
            let result = tokio::select! {
                taken = self.records.recv_many(&mut self.batch, BATCH) => {
                    self.tally.taken.fetch_add(taken as u64, Relaxed);
                    match taken {
                        0 => return End::Done,
                        _ => Ok(()),
                    }
                }
                _ = refreshes.tick(), if refresh.is_some() => self.templates(&mut socket).await,
                error = socket.gone() => match socket.is_refusal(&error) {
                    true => {
                        self.refused(&error);
                        Ok(())
                    }
                    false => Err(error),
                },
            };
            if let Err(error) = result {
                return End::Broken(error);
            }
        }
    }

    async fn templates(&mut self, socket: &mut Socket) -> io::Result<()> {
        let mut left = match &self.language {
            Language::Ipfix { shapes, .. } => shapes.clone(),
            Language::Syslog(_) => Vec::new(),
        };
        while let Language::Ipfix { stream, .. } = &mut self.language
            && !left.is_empty()
        {
            left.drain(..stream.templates(&left, seconds()));
            match self.deliver(socket).await {
                Ok(()) => self.last = 0,
                // They are sent again before long.
                Err(error) if matches!(socket, Socket::Udp(_)) => self.note(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what was taken from the queue. What could not be sent on a connection that broke stays for the next one, but for
    /// the message under way.
    async fn send_batch(&mut self, socket: &mut Socket) -> io::Result<()> {
        let mut done = 0;
        let mut result = Ok(());
        while done < self.batch.len() && result.is_ok() {
            let (taken, written) = match &mut self.language {
                Language::Syslog(writer) => {
                    writer.record(&self.batch[done]);
                    (1, 1)
                }
                Language::Ipfix { stream, .. } => stream.records(&self.batch[done..], seconds()),
            };
            done += taken;
            if written == 0 {
                continue;
            }
            match self.deliver(socket).await {
                Ok(()) => {
                    self.tally.records.fetch_add(written as u64, Relaxed);
                    self.last = written as u64;
                }
                Err(error) => {
                    self.tally.unsent.fetch_add(written as u64, Relaxed);
                    self.last = 0;
                    match socket {
                        Socket::Tcp(_) => result = Err(error),
                        Socket::Udp(_) => self.note(&error),
                    }
                }
            }
        }
        self.batch.drain(..done);
        result
    }

    /// Sends the message that was made last.
    async fn deliver(&mut self, socket: &mut Socket) -> io::Result<()> {
        let mut sent = socket.send(self.language.message()).await;
        // The answer to an earlier datagram: nobody listens. This one was not sent, so it has its chance.
        if let Err(error) = &sent
            && socket.is_refusal(error)
        {
            self.refused(error);
            sent = socket.send(self.language.message()).await;
        }
        if sent.is_ok() {
            self.tally.messages.fetch_add(1, Relaxed);
        }
        sent
    }

    /// The datagram before this one was refused by the collector's host.
    fn refused(&mut self, error: &io::Error) {
        let last = std::mem::take(&mut self.last);
        self.tally.records.fetch_sub(last, Relaxed);
        self.tally.unsent.fetch_add(last, Relaxed);
        self.note(error);
    }

    /// Keeps the last error for `sluice status`, and logs it unless it is the same again.
    fn note(&self, error: &io::Error) {
        let text = error.to_string();
        let mut last = self.tally.error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&text) {
            tracing::warn!(collector = %self.way.server, "records are not delivered: {text}");
            *last = Some(text);
        }
    }
}

impl Socket {
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        match self {
            Self::Udp(socket) => socket.send(message).await.map(drop),
            Self::Tcp(stream) => timeout(PATIENCE, stream.write_all(message)).await.map_err(late)?,
        }
    }

    /// Whether an error is about a datagram that was sent before: its host has no such port open.
    fn is_refusal(&self, error: &io::Error) -> bool {
        matches!(self, Self::Udp(_)) && error.kind() == io::ErrorKind::ConnectionRefused
    }

    /// Resolves when the collector has closed the connection, or refused a datagram. A collector says nothing; what it says is
    /// not read by anyone.
    async fn gone(&self) -> io::Error {
        let stream = match self {
            Self::Udp(socket) => {
                // An answer by ICMP makes no socket readable: it is an error that waits.
                let waiting = || match socket.take_error() {
                    Ok(Some(error)) | Err(error) => Ok(error),
                    Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                };
                return socket.async_io(Interest::ERROR, waiting).await.unwrap_or_else(|error| error);
            }
            Self::Tcp(stream) => stream,
        };
        let mut ignored = [0; 512];
        loop {
            if let Err(error) = stream.readable().await {
                return error;
            }
            match stream.try_read(&mut ignored) {
                Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error,
            }
        }
    }
}

/// Seconds since 1970, as export times have them.
fn seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
