//! What was seen in a window of time, less the moments in which somebody else had a core.

use std::time::Duration;

use super::watch::Waited;

/// Length of the moments that a window is made of. Long against what rings hold, short against what the kernel
/// gives another program.
pub const SLICE: Duration = Duration::from_micros(500);
/// A slice counts if the thread that forwards has waited for its core no longer, and the generator no longer than the rings
/// bridge: where there are two cores only, it shares its own with the gateway's other threads, which are awake for some
/// 15 microseconds every quarter of a millisecond.
const TOLERATED: Waited = Waited { generator: Duration::from_micros(75), device: Duration::from_micros(10) };
/// A window of which less is left than one slice in so many says nothing.
const LEAST: usize = 20;

/// What was seen in a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slice {
    /// Frames that were offered.
    pub asked: u64,
    /// Frames that the port took.
    pub sent: u64,
    /// Frames that came out of the device's other port.
    pub received: u64,
    /// Frames that came back where they were sent: errors and the like.
    pub returned: u64,
    /// Frames that were looked at and were what they should be.
    pub right: u64,
    /// How long generator and device have waited for their cores, as far as is known at its end.
    pub waited: Waited,
    /// Its length.
    pub took: Duration,
}

/// What was seen in a window: the sums of the slices that count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// See [`Slice::asked`].
    pub asked: u64,
    /// See [`Slice::sent`].
    pub sent: u64,
    /// See [`Slice::received`].
    pub received: u64,
    /// See [`Slice::returned`].
    pub returned: u64,
    /// See [`Slice::right`].
    pub right: u64,
    /// Length of what counts.
    pub seconds: f64,
    /// Slices, and those that do not count.
    pub slices: usize,
    /// See [`Window::slices`].
    pub cut: usize,
}

impl Window {
    /// A window of slices in their order; `None` if too little is left. A thread that waits at the end of a slice is known to
    /// have waited only in the next, and after a pause rings have to fill again: so a slice counts if its neighbours are
    /// undisturbed as well.
    pub fn of(slices: &[Slice]) -> Option<Self> {
        let disturbed = |Slice { waited, .. }: &Slice| {
            waited.generator > TOLERATED.generator || waited.device > TOLERATED.device
        };
        let mut window = Self { slices: slices.len(), ..Self::default() };
        for (at, slice) in slices.iter().enumerate() {
            let around = &slices[at.saturating_sub(1)..slices.len().min(at + 2)];
            if at + 1 == slices.len() || around.iter().any(disturbed) {
                window.cut += 1;
                continue;
            }
            window.asked += slice.asked;
            window.sent += slice.sent;
            window.received += slice.received;
            window.returned += slice.returned;
            window.right += slice.right;
            window.seconds += slice.took.as_secs_f64();
        }
        let left = window.slices - window.cut;
        (left > 0 && left * LEAST >= window.slices).then_some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(received: u64, waited: u64) -> Slice {
        let waited = Waited { generator: Duration::from_micros(50), device: Duration::from_micros(waited) };
        Slice { received, waited, took: SLICE, ..Slice::default() }
    }

    #[test]
    fn slices_count_that_nobody_disturbed_before_in_or_after() {
        let slices = [
            slice(1, 0),
            slice(10, 5),
            slice(100, 0),
            slice(1000, 900),
            slice(5, 0),
            slice(7, 0),
            slice(9, 0),
        ];
        let window = Window::of(&slices).unwrap();
        assert_eq!((window.received, window.slices, window.cut), (1 + 10 + 7, 7, 4));
        assert!((window.seconds - 0.0015).abs() < 1e-9);
        let mut slices = [slice(1, 0); 30];
        slices[20].waited.generator = Duration::from_micros(76);
        assert_eq!(Window::of(&slices).unwrap().cut, 4);
    }

    #[test]
    fn a_window_in_which_nothing_was_quiet_is_none() {
        assert_eq!(Window::of(&[slice(1, 500); 50]), None);
        assert_eq!(Window::of(&[]), None);
        let mut slices = [slice(1, 500); 60];
        slices[10..13].fill(slice(1, 0));
        assert_eq!(Window::of(&slices), None, "one in sixty is too few");
    }
}
