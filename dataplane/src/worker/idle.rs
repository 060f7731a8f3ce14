//! What a worker does when a loop brought no packet.
//!
//! It rests shortly at first and longer the longer nothing comes, so that packets that follow one another wait for nobody. A
//! sleeping worker is woken by its alarm alone: docs/decisions.md says why not by its port.

use std::time::Duration;

use sluice_shm::snapshot::{IdleMode, Snapshot};

/// How a worker rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Poll again at once: a core of its own.
    Poll,
    /// Wait on the processor, longer and longer, without the system: a core of its own that is not to burn, or whose sibling
    /// thread has work.
    Pause,
    /// Let another thread of the same core run: more workers than cores.
    Yield,
    /// Let others run, after a while sleep, longer and longer up to this: a machine without dedicated cores.
    Sleep(Duration),
}

/// What a worker does after one empty loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// So many times the processor's hint that this is a waiting loop: 10 to 140 cycles each, by model.
    Pause(u32),
    Yield,
    Nap(Duration),
}

/// Empty loops before a pause doubles, and how often it does: 64 hints are up to a few microseconds.
const PAUSES: u32 = 64;
const PAUSE_DOUBLINGS: u32 = 6;
/// Empty loops before the first nap.
const PATIENCE: u32 = 2_000;
/// The first nap: below what a ping notices, above what keeps a laptop warm.
const SHORTEST: Duration = Duration::from_micros(50);
/// Naps before one doubles, and how often it may.
const NAPS: u32 = 8;
const NAP_DOUBLINGS: u32 = 5;
/// The longest nap that can be asked for. A ring of 1024 descriptors is full in it at a million packets a second.
const LONGEST: Duration = Duration::from_millis(1);

impl Policy {
    /// As configured. Unless it says otherwise, a worker polls on a core that is its own, yields on one that it shares, and
    /// takes short naps where the scheduler puts it.
    pub fn of(snapshot: &Snapshot) -> Self {
        match snapshot.idle {
            IdleMode::Poll => Self::Poll,
            IdleMode::Pause => Self::Pause,
            IdleMode::Sleep => Self::Sleep(LONGEST),
            IdleMode::Auto if snapshot.cores.is_empty() => Self::Sleep(SHORTEST),
            IdleMode::Auto if snapshot.shares_cores() => Self::Yield,
            IdleMode::Auto => Self::Poll,
        }
    }

    /// What to do after so many empty loops before this one.
    fn after(self, empty: u32) -> Rest {
        match self {
            Self::Poll => Rest::Pause(1),
            Self::Pause => Rest::Pause(1 << (empty / PAUSES).min(PAUSE_DOUBLINGS)),
            Self::Yield => Rest::Yield,
            Self::Sleep(_) if empty < PATIENCE => Rest::Yield,
            Self::Sleep(longest) => {
                let doublings = ((empty - PATIENCE) / NAPS).min(NAP_DOUBLINGS);
                Rest::Nap((SHORTEST * (1 << doublings)).min(longest))
            }
        }
    }
}

/// The resting state of a worker.
#[derive(Debug)]
pub(super) struct Idle {
    policy: Policy,
    /// Empty loops in a row.
    empty: u32,
}

impl Idle {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, empty: 0 }
    }

    /// Another policy from now on.
    pub(super) fn follow(&mut self, policy: Policy) {
        *self = Self::new(policy);
    }

    /// The loop had packets, or left work behind.
    #[inline]
    pub(super) fn busy(&mut self) {
        self.empty = 0;
    }

    /// The loop had nothing to do.
    #[inline]
    pub(super) fn rest(&mut self) {
        let rest = self.policy.after(self.empty);
        self.empty = self.empty.saturating_add(1);
        match rest {
            Rest::Pause(hints) => (0..hints).for_each(|_| std::hint::spin_loop()),
            Rest::Yield => std::thread::yield_now(),
            Rest::Nap(nap) => std::thread::sleep(nap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(idle: IdleMode, cores: &[u16]) -> Policy {
        Policy::of(&Snapshot { idle, cores: cores.to_vec(), ..Snapshot::default() })
    }

    #[test]
    fn cores_decide_unless_the_file_does() {
        assert_eq!(policy(IdleMode::Auto, &[2, 3]), Policy::Poll);
        assert_eq!(policy(IdleMode::Auto, &[0, 1, 0]), Policy::Yield);
        assert_eq!(policy(IdleMode::Auto, &[]), Policy::Sleep(SHORTEST));
        for cores in [&[][..], &[2, 3], &[0, 0]] {
            assert_eq!(policy(IdleMode::Poll, cores), Policy::Poll);
            assert_eq!(policy(IdleMode::Pause, cores), Policy::Pause);
            assert_eq!(policy(IdleMode::Sleep, cores), Policy::Sleep(LONGEST));
        }
    }

    #[test]
    fn polling_never_grows_lazy() {
        for empty in [0, 1, PATIENCE, u32::MAX] {
            assert_eq!(Policy::Poll.after(empty), Rest::Pause(1));
            assert_eq!(Policy::Yield.after(empty), Rest::Yield);
        }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_never_call_the_system() {
        let hints = |empty| match Policy::Pause.after(empty) {
            Rest::Pause(hints) => hints,
            other => panic!("{other:?}"),
        };
        assert_eq!([hints(0), hints(63), hints(64), hints(128)], [1, 1, 2, 4]);
        assert_eq!([hints(6 * 64 - 1), hints(6 * 64), hints(u32::MAX)], [32, 64, 64]);
        assert!((1..1000).all(|empty| hints(empty) >= hints(empty - 1)));
    }

    #[test]
    fn naps_come_late_and_grow_to_a_millisecond() {
        let sleep = Policy::Sleep(LONGEST);
        assert!((0..PATIENCE).all(|empty| sleep.after(empty) == Rest::Yield));
        let naps: Vec<_> = (0..7).map(|step| sleep.after(PATIENCE + step * NAPS)).collect();
        let expected = [50, 100, 200, 400, 800, 1000, 1000];
        assert_eq!(naps, expected.map(|us| Rest::Nap(Duration::from_micros(us))));
        assert_eq!(sleep.after(u32::MAX), Rest::Nap(LONGEST));
        assert_eq!(Policy::Sleep(SHORTEST).after(u32::MAX), Rest::Nap(SHORTEST));
    }

    #[test]
    fn a_packet_ends_the_rest() {
        let mut idle = Idle { policy: Policy::Pause, empty: 5000 };
        idle.busy();
        assert_eq!(idle.policy.after(idle.empty), Rest::Pause(1));
        idle.empty = u32::MAX;
        idle.rest();
        assert_eq!(idle.empty, u32::MAX);
        idle.follow(Policy::Poll);
        assert_eq!((idle.policy, idle.empty), (Policy::Poll, 0));
    }
}
