//! When the next frame is due. Time is an argument.

/// How many frames are due.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    start: u64,
    sent: u64,
}

impl Pace {
    /// A pace that begins at `start`, in nanoseconds; without a rate, everything is due at once.
    pub fn new(rate: Option<u64>, start: u64) -> Self {
        Self { rate, start, sent: 0 }
    }

    /// Frames due at `now`. What could not be sent for more than ten milliseconds is given up: a sender that was held up must
    /// not make up for it with a burst that nobody asked for.
    #[inline]
    pub fn due(&mut self, now: u64) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let slots = (u128::from(now - self.start) * u128::from(rate) / 1_000_000_000) as u64 + 1;
        let most = (rate / 100).max(1);
        self.sent = self.sent.max(slots.saturating_sub(most));
        slots.saturating_sub(self.sent)
    }

    /// Takes note of what was sent.
    #[inline]
    pub fn sent(&mut self, frames: u64) {
        self.sent += frames;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_one_by_one() {
        let mut pace = Pace::new(Some(1000), 5_000_000);
        assert_eq!(pace.due(5_000_000), 1);
        pace.sent(1);
        assert_eq!((pace.due(5_999_999), pace.due(6_000_000)), (0, 1));
        assert_eq!(pace.due(8_500_000), 3);
    }

    #[test]
    fn a_pause_is_not_made_up_for_by_a_burst() {
        let mut pace = Pace::new(Some(100_000), 0);
        assert_eq!(pace.due(3_000_000_000), 1000, "ten milliseconds");
        pace.sent(1000);
        assert_eq!(pace.due(3_000_000_000), 0);
        assert_eq!(Pace::new(None, 0).due(1), u64::MAX);
    }
}
