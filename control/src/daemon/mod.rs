//! The control daemon: one task that owns everything, fed by channels and timers.
//!
//! It holds the twins, follows neighbours, hands the configuration to every life of the dataplane and answers the API. A
//! current-thread runtime is enough, and `/proc/sys/net` follows the thread's network namespace.

mod apply;
mod delete;
mod deterministic;
mod journal;
mod kernel;
mod link;
mod neighbours;
mod server;
mod trace;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use sluice_shm::{Notice, RunDir, ShmError, read_snapshot};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

pub use apply::ApplyError;
pub use kernel::KernelError;
pub use link::LinkError;

use crate::api::{ApiError, Request, Response, Status};
use crate::config::{self, ReadError};
use crate::logging::{Clocks, Logging};
use crate::system::NeighbourEvent;
use apply::Current;
use journal::Journal;
use kernel::Kernel;
use link::{Change, Link};
use neighbours::Neighbours;
use server::Job;
use trace::ActiveTrace;

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run directory.
    pub run: RunDir,
    /// Configuration that is applied at the start; without one, the one that was applied last.
    pub config: Option<PathBuf>,
}

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Lock, run directory or regions.
    #[error(transparent)]
    Shm(#[from] ShmError),
    /// The configuration file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The configuration at the start was not applied.
    #[error("{}", start_message(.0))]
    Apply(ApplyError),
    /// The kernel refuses what every daemon needs.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The socket or the signals.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
}

fn start_message(error: &ApplyError) -> String {
    match error {
        ApplyError::Config(config) => format!("{}{error}", config.render(false)),
        _ => error.to_string(),
    }
}

/// How often the rings are read. A neighbour that packets wait for is asked for within this time.
const RINGS: Duration = Duration::from_millis(10);
/// How often the dataplane is looked for: a new life of it is configured within this time.
const LOOKS: Duration = Duration::from_millis(50);
/// How often everything else is looked after.
const CHORES: Duration = Duration::from_millis(500);
/// How often routers are used if the kernel does not keep them by itself.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Trace records a thread and reading: more wait for the next, so that a flood does not stop the rest.
const BATCH: usize = 512;
/// Notices a thread and reading: a whole ring, because what finds it full is lost to the log.
const NOTICES: usize = 4096;
/// The same neighbour is not asked for more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Neighbours that are remembered as asked for.
const MAX_ASKED: usize = 4096;

/// Everything the daemon knows.
pub(crate) struct Daemon {
    run: RunDir,
    started: Instant,
    link: Link,
    kernel: Kernel,
    neighbours: Neighbours,
    journal: Journal,
    logging: Logging,
    deterministic: deterministic::Record,
    current: Option<Current>,
    last_generation: u64,
    /// The configuration waits for a dataplane.
    pending: bool,
    /// A dataplane is attached that was not given the configuration yet.
    unpushed: bool,
    trouble: Option<String>,
    kept_by_kernel: bool,
    kept_at: Instant,
    traces: Vec<ActiveTrace>,
    last_trace: u32,
    workers: usize,
    asked: BTreeMap<(u16, IpAddr), Instant>,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// [`DaemonError`]; everything that was changed in the kernel is put back then.
pub async fn run(options: Options) -> Result<(), DaemonError> {
    options.run.create()?;
    let _lock = options.run.lock_control()?;
    let io = |what: &str| {
        let what = what.to_owned();
        move |error| DaemonError::Io { what, error }
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(io("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("wait for SIGINT"))?;
    let kernel = Kernel::new(&options.run)?;
    let mut neighbour_events = kernel.system().watch_neighbours().map_err(KernelError::from)?;
    let mut daemon = Daemon::new(options.run.clone(), kernel);
    daemon.look();
    if let Err(error) = daemon.start(options.config).await {
        daemon.end().await;
        return Err(error);
    }
    let socket = options.run.socket();
    let bound = server::bind(&socket).map_err(io(&format!("listen on {}", socket.display())));
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => {
            daemon.end().await;
            return Err(error);
        }
    };
    let (jobs, mut requests) = mpsc::channel(16);
    let server = tokio::spawn(server::serve(listener, jobs));
    tell_manager(&[NotifyState::Ready, NotifyState::Status("ready")]);
    tracing::info!(socket = %socket.display(), "ready");

    let mut rings = interval(RINGS);
    rings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut chores = interval(CHORES);
    chores.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = looks.tick() => daemon.watch().await,
            _ = chores.tick() => daemon.chores().await,
            _ = rings.tick() => daemon.read_rings().await,
            Some(job) = requests.recv() => daemon.answer(job).await,
            Some(event) = neighbour_events.recv() => daemon.neighbour(event),
        }
    }
    tell_manager(&[NotifyState::Stopping]);
    server.abort();
    daemon.end_all_traces("the daemon ends");
    daemon.logging.end().await;
    let _ = std::fs::remove_file(&socket);
    daemon.end().await;
    tracing::info!("ended");
    Ok(())
}

impl Daemon {
    fn new(run: RunDir, kernel: Kernel) -> Self {
        let now = Instant::now();
        Self {
            link: Link::new(run.clone()),
            last_generation: read_snapshot(&run).map_or(0, |snapshot| snapshot.generation),
            run,
            started: now,
            kernel,
            neighbours: Neighbours::default(),
            journal: Journal::default(),
            logging: Logging::new(),
            deterministic: deterministic::Record::default(),
            current: None,
            pending: false,
            unpushed: false,
            trouble: None,
            kept_by_kernel: true,
            kept_at: now,
            traces: Vec::new(),
            last_trace: 0,
            workers: 0,
            asked: BTreeMap::new(),
        }
    }

    /// Applies the configuration of the command line, or takes up the last one.
    async fn start(&mut self, file: Option<PathBuf>) -> Result<(), DaemonError> {
        let (name, source) = match file {
            Some(path) => (path.display().to_string(), config::read(&path)?),
            None => {
                let path = source_path(&self.run);
                match config::read(&path) {
                    Ok(source) => (path.display().to_string(), source),
                    Err(_) => {
                        self.kernel.tidy(None).await;
                        tracing::info!("no configuration yet; `sluice apply FILE` gives one");
                        return Ok(());
                    }
                }
            }
        };
        self.apply(&name, &source, None).await.map_err(DaemonError::Apply)?;
        Ok(())
    }

    /// Leaves the machine as it was, unless a dataplane forwards: control may be restarted under traffic, so fences and
    /// twins stay then, and the next daemon finds them on record.
    async fn end(&mut self) {
        self.look();
        if self.link.is_attached() {
            tracing::info!("the dataplane goes on; twins and fences stay for it");
        } else {
            self.kernel.tidy(None).await;
        }
    }

    /// Looks for the dataplane.
    fn look(&mut self) {
        match self.link.look() {
            Change::None => {}
            Change::Attached => {
                self.workers = self.link.side().map_or(0, |side| side.workers());
                self.neighbours.tell_all_again();
                self.kernel.forget_plans();
                self.unpushed = true;
                self.asked.clear();
                self.end_all_traces("the dataplane has started anew");
            }
            Change::Lost => {
                tracing::warn!("the dataplane has ended");
                self.pending = self.current.is_some();
                self.unpushed = false;
                self.end_all_traces("the dataplane has ended");
            }
        }
    }

    /// Looks for the dataplane, and gives a new one what it needs.
    async fn watch(&mut self) {
        self.look();
        if self.unpushed && self.link.is_running() {
            self.unpushed = false;
            self.push().await;
            self.configure().await;
        }
    }

    /// Logs the variables of deterministic pools when it is time to.
    fn record_variables(&mut self) {
        if let Some(current) = &self.current {
            self.deterministic.keep(&current.config, Instant::now());
        }
    }

    async fn chores(&mut self) {
        watchdog();
        self.link.beat();
        self.sweep_traces();
        self.kernel.look_after_fences().await;
        self.configure().await;
        self.record_variables();
        let Some(current) = &self.current else { return };
        if !self.kept_by_kernel && self.kept_at.elapsed() > KEEP_ALIVE {
            self.kept_at = Instant::now();
            self.kept_by_kernel = self.kernel.keep_alive(&current.config).await;
        }
    }

    /// Configures twins whose ports have come.
    async fn configure(&mut self) {
        let Some(current) = &self.current else { return };
        match self.kernel.configure(&current.config, &self.link).await {
            Ok(false) => {}
            Ok(true) => self.kept_by_kernel = false,
            Err(error) => {
                let text = error.to_string();
                if self.trouble.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                    self.trouble = Some(text);
                }
            }
        }
    }

    fn neighbour(&mut self, event: NeighbourEvent) {
        // Whatever became of it, the next packet that wants it is a new question.
        let config = self.current.as_ref().map(|c| &c.config);
        if let Some(number) = config.and_then(|config| config.number(&event.interface)) {
            self.asked.remove(&(number, event.address));
        }
        self.neighbours.event(event);
        self.neighbours.tell(&mut self.link);
    }

    async fn read_rings(&mut self) {
        self.neighbours.tell(&mut self.link);
        let mut notices = Vec::new();
        let mut records = Vec::new();
        let Some(side) = self.link.side() else { return };
        // Answers that nobody waits for any more: neighbours and the ends of traces.
        while side.replies.pop().is_some() {}
        for thread in 0..side.threads() {
            side.notices(thread).pop_batch(NOTICES, |notice| notices.push(notice));
            side.traces(thread).pop_batch(BATCH, |record| records.push(record));
        }
        for record in &records {
            self.trace_record(record);
        }
        let clocks = Clocks::read();
        for notice in notices {
            match notice {
                Notice::Nat { time_ns, event } => {
                    self.journal.nat(&event);
                    self.logging.event(&event, time_ns, clocks);
                }
                Notice::LinkChanged { port, up } => {
                    self.journal.count("link_changed");
                    tracing::warn!(port, up, "link changed");
                }
                Notice::NeighbourWanted { interface, address } => {
                    self.journal.count("neighbour_wanted");
                    self.resolve(interface, address.to_ip()).await;
                }
            }
        }
    }

    /// Has the kernel ask for a neighbour, once in a while.
    async fn resolve(&mut self, interface: u16, address: IpAddr) {
        let Some(config) = self.current.as_ref().map(|c| &c.config) else { return };
        let Some(name) = config.interface(interface).map(|i| i.name.value.clone()) else { return };
        let now = Instant::now();
        if self.asked.get(&(interface, address)).is_some_and(|at| now - *at < ASK_AGAIN) {
            return;
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked.retain(|_, at| now - *at < ASK_AGAIN);
        }
        if self.asked.len() < MAX_ASKED {
            self.asked.insert((interface, address), now);
        }
        if let Err(error) = self.kernel.system().resolve_neighbour(&name, address).await {
            tracing::debug!("{error}");
        }
    }

    async fn answer(&mut self, job: Job) {
        let response = match job.request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Config => match &self.current {
                Some(current) => Response::Config(Box::new(current.to_api())),
                None => Response::Error(ApiError::new(
                    "no configuration is applied; `sluice apply FILE` gives one",
                )),
            },
            Request::Plan { file, source } => match self.plan(&file, &source) {
                Ok(plan) => Response::Plan(plan),
                Err(error) => Response::Error(error.into()),
            },
            Request::Apply { file, source, base } => match self.apply(&file, &source, base).await {
                Ok(done) => Response::Applied(done),
                Err(error) => {
                    tracing::error!("{file}: not applied: {error}");
                    Response::Error(error.into())
                }
            },
            Request::Trace(request) => match self.start_trace(request, job.reply.clone()).await {
                Ok(()) => return,
                Err(error) => Response::Error(error),
            },
            Request::DeleteSessions(request) => match self.delete_sessions(request).await {
                Ok(sessions) => Response::Deleted { sessions },
                Err(error) => Response::Error(error),
            },
        };
        // The channel is new and empty; only a client that is gone does not take it.
        let _ = job.reply.try_send(response);
    }

    fn status(&mut self) -> Status {
        let rejected = |side: &mut sluice_shm::ControlSide| {
            (0..side.threads()).map(|thread| side.notices(thread).rejected()).sum()
        };
        Status {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            dataplane: self.link.is_attached(),
            generation: self.current.as_ref().map_or(0, |c| c.generation),
            file: self.current.as_ref().map(|c| c.file.clone()),
            pending: self.pending,
            trouble: self.trouble.clone().or_else(|| self.link.complaint().map(str::to_owned)),
            twins: self.kernel.twin_status(),
            fences: self.kernel.fenced(),
            neighbours: self.neighbours.summary(),
            events: self.journal.counts(),
            bad_notices: self.link.side().map_or(0, rejected),
            logging: self.logging.status(),
        }
    }
}

/// The text of the applied configuration.
pub fn source_path(run: &RunDir) -> PathBuf {
    run.path().join("applied.yaml")
}

/// The name of a dataplane thread by its number.
pub(crate) fn thread_name(thread: usize, workers: usize) -> String {
    match thread.checked_sub(workers) {
        None => format!("worker {thread}"),
        Some(0) => "main".to_owned(),
        Some(_) => "punt".to_owned(),
    }
}

/// Tells the service manager that the loop turns. Cheap, and ignored without one.
pub(crate) fn watchdog() {
    tell_manager(&[NotifyState::Watchdog]);
}

fn tell_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager was not told: {error}");
    }
}
