//! Mappings that the operator takes away: asked of all workers, answered when the last is through.

use std::time::{Duration, Instant};

use sluice_nat::{Kind, Protocol, Removal};
use sluice_shm::{Address, Reply};

use super::Process;
use crate::worker::Order;

/// How long workers may take. Ten million records are looked through in a second or two, under full load as well.
const PATIENCE: Duration = Duration::from_secs(20);

/// A removal that the workers are at.
#[derive(Clone, Copy)]
pub(super) struct Removing {
    sequence: u32,
    number: u32,
    deadline: Instant,
}

impl Process {
    /// Tells the workers what to remove.
    pub(super) fn remove_mappings(
        &mut self,
        sequence: u32,
        inside: Address,
        port: Option<u16>,
        protocol: Option<Protocol>,
    ) {
        if self.removing.is_some() {
            let message = "another removal is under way; try again in a moment".to_owned();
            return self.answer(Reply::Refused { sequence, message });
        }
        if self.active.is_none() {
            return self.answer(Reply::Removed { sequence, sessions: 0 });
        }
        // Workers that are through with none say 0.
        self.removals = self.removals.wrapping_add(1).max(1);
        let number = self.removals;
        let kind = if inside.ipv6 { Kind::Nat64 } else { Kind::Nat44 };
        let removal = Removal { kind, inside: inside.value, port, protocol };
        self.order(|| Order::Remove { number, removal });
        self.removing = Some(Removing { sequence, number, deadline: Instant::now() + PATIENCE });
    }

    /// Answers a removal that is done.
    pub(super) fn finish_removal(&mut self) {
        let Some(Removing { sequence, number, deadline }) = self.removing else { return };
        let late = Instant::now() > deadline;
        // Somebody waits for this answer: it is not thrown at a full ring.
        if self.replies.room() == 0 && !late {
            return;
        }
        let reply = match self.active.as_ref().and_then(|active| active.topology.removed(number)) {
            Some(sessions) => Reply::Removed { sequence, sessions },
            None if late => {
                let message =
                    format!("workers did not look through their sessions within {} s", PATIENCE.as_secs());
                Reply::Refused { sequence, message }
            }
            None => return,
        };
        self.removing = None;
        self.answer(reply);
    }

    /// The workers are about to end, and with them what they were at.
    pub(super) fn give_removal_up(&mut self) {
        if let Some(Removing { sequence, .. }) = self.removing.take() {
            let message =
                "the ports were rebuilt meanwhile, and part of the sessions is left; try again".to_owned();
            self.answer(Reply::Refused { sequence, message });
        }
    }
}
