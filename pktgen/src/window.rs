//! Which sequence numbers of a flow have come: what is a duplicate, and what is only late.

/// How far back a frame is still recognised as late and not as a duplicate, in frames of its flow.
pub const DEPTH: u32 = u128::BITS;

/// What the number of a frame says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Behind all that came before.
    InOrder,
    /// A later one came first.
    Reordered,
    /// It has come already.
    Duplicate,
    /// More than [`DEPTH`] frames late: nobody knows whether it has come before. It counts as lost, so that no duplicate
    /// hides a loss.
    TooLate,
}

/// The numbers that came, exact for the last [`DEPTH`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// One above the highest number that came.
    next: u32,
    /// Bit i: number `next - 1 - i` came.
    bits: u128,
}

impl Window {
    /// A window whose first number is `first`.
    pub fn starting_at(first: u32) -> Self {
        Self { next: first, bits: 0 }
    }

    /// Takes note of a number.
    #[inline]
    pub fn accept(&mut self, sequence: u32) -> Arrival {
        if let Some(ahead) = sequence.checked_sub(self.next) {
            self.bits = if ahead < DEPTH - 1 { self.bits << (ahead + 1) } else { 0 } | 1;
            self.next = sequence.wrapping_add(1);
            return Arrival::InOrder;
        }
        let behind = self.next - 1 - sequence;
        if behind >= DEPTH {
            return Arrival::TooLate;
        }
        let bit = 1 << behind;
        if self.bits & bit != 0 {
            return Arrival::Duplicate;
        }
        self.bits |= bit;
        Arrival::Reordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::*;

    fn arrivals(first: u32, numbers: &[u32]) -> Vec<Arrival> {
        let mut window = Window::starting_at(first);
        numbers.iter().map(|number| window.accept(*number)).collect()
    }

    #[test]
    fn order_and_duplicates() {
        assert_eq!(arrivals(0, &[0, 1, 2]), [InOrder; 3]);
        assert_eq!(arrivals(0, &[0, 2, 1, 1, 2]), [InOrder, InOrder, Reordered, Duplicate, Duplicate]);
        assert_eq!(arrivals(5, &[7, 5, 6, 5]), [InOrder, Reordered, Reordered, Duplicate]);
        assert_eq!(arrivals(0, &[0, 0]), [InOrder, Duplicate]);
    }

    #[test]
    fn what_is_too_late_is_not_called_received() {
        for (jump, behind) in [(127, Reordered), (128, TooLate), (1000, TooLate)] {
            assert_eq!(arrivals(0, &[jump, 0]), [InOrder, behind], "{jump}");
        }
        assert_eq!(arrivals(0, &[0, 127, 0]), [InOrder, InOrder, Duplicate]);
        assert_eq!(arrivals(0, &[0, 128, 1, 1]), [InOrder, InOrder, Reordered, Duplicate]);
    }
}
