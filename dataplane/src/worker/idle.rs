//! What a worker does when a loop brought no packet.

use std::time::Duration;

/// How a worker rests. The poll-mode default is for cores that belong to the worker; others share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// Poll again at once.
    Spin,
    /// Let another thread of the same core run: more workers than cores.
    Yield,
    /// Sleep a little after a while without packets: a machine without dedicated cores.
    Sleep,
}

/// The resting state of a worker.
#[derive(Debug)]
pub struct Idle {
    policy: Policy,
    empty: u32,
}

/// Empty loops before a sharing worker sleeps.
const PATIENCE: u32 = 2_000;
/// How long it sleeps: below what a ping notices, above what keeps a laptop warm.
const NAP: Duration = Duration::from_micros(50);

impl Idle {
    /// For workers that own their cores.
    pub fn dedicated() -> Self {
        Self { policy: Policy::Spin, empty: 0 }
    }

    /// For workers that share cores with each other.
    pub fn shared_cores() -> Self {
        Self { policy: Policy::Yield, empty: 0 }
    }

    /// For a worker that is not pinned.
    pub fn unpinned() -> Self {
        Self { policy: Policy::Sleep, empty: 0 }
    }

    /// The loop had packets.
    #[inline]
    pub(super) fn busy(&mut self) {
        self.empty = 0;
    }

    /// The loop had none.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.empty = self.empty.saturating_add(1);
        match self.policy {
            Policy::Spin => std::hint::spin_loop(),
            Policy::Yield => std::thread::yield_now(),
            Policy::Sleep if self.empty < PATIENCE => std::thread::yield_now(),
            Policy::Sleep => std::thread::sleep(NAP),
        }
    }
}
