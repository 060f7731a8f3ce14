//! The way to the dataplane: one life of it after the other.

use std::time::Duration;

use sluice_shm::{
    Address, Command, ControlSide, DataplaneState, PortInfo, Reply, Request, RunDir, ShmError, now_ns,
};

/// Why a command has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The dataplane says no.
    #[error("the dataplane refused: {0}")]
    Refused(String),
    /// The dataplane says nothing.
    #[error(
        "the dataplane has not answered within {} s; `sluice status` shows whether it is alive",
        _0.as_secs()
    )]
    Timeout(Duration),
    /// The dataplane is gone.
    #[error("the dataplane has ended before it answered; its log says why")]
    Gone,
    /// It does not read its commands.
    #[error("the command ring is full: the dataplane does not read its commands; restart it")]
    Full,
}

/// The attached dataplane, or none.
pub(crate) struct Link {
    run: RunDir,
    side: Option<ControlSide>,
    /// The last reason why attaching failed, so that it is logged once and not at every look.
    complaint: Option<String>,
}

/// What looking for the dataplane has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// As before.
    None,
    /// A new life of the dataplane is attached.
    Attached,
    /// The dataplane is gone.
    Lost,
}

impl Link {
    pub(crate) fn new(run: RunDir) -> Self {
        Self { run, side: None, complaint: None }
    }

    pub(crate) fn side(&mut self) -> Option<&mut ControlSide> {
        self.side.as_mut()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.side.is_some()
    }

    pub(crate) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Looks whether the dataplane is still the same, still there, or there again. It asks the file system.
    pub(crate) fn look(&mut self) -> Change {
        if self.side.as_ref().is_some_and(ControlSide::is_current) {
            return Change::None;
        }
        let had = self.side.take().is_some();
        match ControlSide::attach(&self.run) {
            Ok(Some(side)) => {
                side.beat(now_ns());
                let info = side.info();
                tracing::info!(
                    pid = info.pid,
                    workers = info.workers,
                    drained = side.drained(),
                    "dataplane attached"
                );
                self.side = Some(side);
                self.complaint = None;
                Change::Attached
            }
            Ok(None) => {
                self.complaint = None;
                if had { Change::Lost } else { Change::None }
            }
            Err(error) => {
                self.complain(&error);
                if had { Change::Lost } else { Change::None }
            }
        }
    }

    fn complain(&mut self, error: &ShmError) {
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            tracing::error!("{text}");
            self.complaint = Some(text);
        }
    }

    pub(crate) fn beat(&self) {
        if let Some(side) = &self.side {
            side.beat(now_ns());
        }
    }

    /// The dataplane reads its commands and reports its ports.
    pub(crate) fn is_running(&self) -> bool {
        self.side.as_ref().is_some_and(|side| side.info().state == DataplaneState::Running)
    }

    /// Generation that every worker works with.
    pub(crate) fn generation(&self) -> u64 {
        self.side.as_ref().map_or(0, |side| side.info().generation)
    }

    /// The port behind a device string.
    pub(crate) fn port(&self, device: &str) -> Option<PortInfo> {
        // The region keeps 64 bytes of a device string.
        let kept = &device[..device.floor_char_boundary(64)];
        self.side.as_ref()?.ports().into_iter().flatten().find(|port| port.device == kept)
    }

    /// Sends a command without waiting; its number, or `None` without a dataplane or without room.
    pub(crate) fn send(&mut self, command: Command) -> Option<u32> {
        let side = self.side.as_mut()?;
        let sequence = side.next_sequence();
        side.commands.push(&Request { sequence, command }).then_some(sequence)
    }

    /// Room for commands.
    pub(crate) fn room(&mut self) -> usize {
        self.side.as_mut().map_or(0, |side| side.commands.room())
    }

    pub(crate) fn next_reply(&mut self) -> Option<Reply> {
        self.side.as_mut()?.replies.pop()
    }

    /// Sends a command and waits for its answer, beating meanwhile. Replies to other commands are of no interest by then:
    /// neighbours are sent again on every new life, and traces are asked for one at a time.
    pub(crate) async fn call(&mut self, command: Command, patience: Duration) -> Result<Reply, LinkError> {
        if self.side.is_none() {
            return Err(LinkError::Gone);
        }
        let sequence = self.send(command).ok_or(LinkError::Full)?;
        let start = tokio::time::Instant::now();
        let mut looked = start;
        loop {
            while let Some(reply) = self.next_reply() {
                if reply.sequence() != sequence {
                    continue;
                }
                return match reply {
                    Reply::Refused { message, .. } => Err(LinkError::Refused(message)),
                    reply => Ok(reply),
                };
            }
            self.beat();
            let now = tokio::time::Instant::now();
            if now - looked > Duration::from_millis(500) {
                looked = now;
                if !self.side.as_ref().is_some_and(ControlSide::is_current) {
                    return Err(LinkError::Gone);
                }
            }
            if now - start > patience {
                return Err(LinkError::Timeout(patience));
            }
            super::watchdog();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Tells the dataplane a neighbour; false if there was no room.
    pub(crate) fn neighbour(
        &mut self,
        interface: u16,
        address: Address,
        mac: Option<[u8; 6]>,
        state: Option<sluice_shm::NeighbourState>,
    ) -> bool {
        let command = match state {
            Some(state) => Command::NeighbourSet { interface, address, mac: mac.unwrap_or_default(), state },
            None => Command::NeighbourDelete { interface, address },
        };
        self.send(command).is_some()
    }
}
