//! The timer wheel: lazy, one link a record.
//!
//! A record is filed once, under the tick at which it is to be looked at. Packets only move its deadline in the record;
//! when its slot fires, whoever drives the wheel looks, and files it again if there is time left. A record that is
//! deleted stays filed until its slot fires and goes back to the free list then: unlinking would need a second link.
//! A single level of 4096 ticks is enough because filing early is always right.

use crate::types::Tick;

/// Slots, one a tick: 17 minutes.
const SLOTS: u32 = 4096;

/// The wheel of one worker.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// First record of each slot, as a link (record + 1).
    heads: Box<[u32]>,
    /// The last tick that has fired completely.
    fired: Tick,
    started: bool,
}

impl Wheel {
    /// The farthest that a record is ever filed ahead, in ticks.
    pub(crate) const HORIZON: u32 = SLOTS;

    pub(crate) fn new() -> Self {
        Self { heads: vec![0; SLOTS as usize].into_boxed_slice(), fired: Tick(0), started: false }
    }

    fn start(&mut self, now: Tick) {
        if !self.started {
            self.started = true;
            self.fired = now;
        }
    }

    /// Files a record to be looked at in `ticks` ticks from `now`, or earlier.
    #[inline]
    pub(crate) fn file(&mut self, links: &mut [u32], record: u32, now: Tick, ticks: u32) {
        self.start(now);
        let distance = now.since(self.fired).saturating_add(ticks).clamp(1, SLOTS - 1);
        let head = &mut self.heads[(self.fired.after(distance).0 % SLOTS) as usize];
        links[record as usize] = *head;
        *head = record + 1;
    }

    /// Takes records whose tick has come into `due`, at most as many as fit. 0: nothing is due.
    ///
    /// Ticks without records cost a step each; after a leap of time all slots are passed once.
    pub(crate) fn take_due(&mut self, links: &[u32], now: Tick, due: &mut [u32]) -> usize {
        self.start(now);
        if now.since(self.fired) > SLOTS {
            self.fired = Tick(now.0.wrapping_sub(SLOTS));
        }
        let mut count = 0;
        while count < due.len() && now.since(self.fired) > 0 {
            let head = &mut self.heads[(self.fired.after(1).0 % SLOTS) as usize];
            while count < due.len() && *head != 0 {
                due[count] = *head - 1;
                *head = links[*head as usize - 1];
                count += 1;
            }
            if *head == 0 {
                self.fired = self.fired.after(1);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_at_their_tick_or_at_the_horizon() {
        let mut wheel = Wheel::new();
        let mut links = vec![0; 10];
        let start = Tick(u32::MAX - 100);
        wheel.file(&mut links, 3, start, 50);
        wheel.file(&mut links, 4, start, 200);
        wheel.file(&mut links, 5, start, 1_000_000);
        let mut due = [0; 4];
        assert_eq!(wheel.take_due(&links, start.after(49), &mut due), 0);
        assert_eq!((wheel.take_due(&links, start.after(50), &mut due), due[0]), (1, 3));
        assert_eq!((wheel.take_due(&links, start.after(4000), &mut due), due[0]), (1, 4));
        assert_eq!((wheel.take_due(&links, start.after(4095), &mut due), due[0]), (1, 5));
        assert_eq!(wheel.take_due(&links, start.after(40_000_000), &mut due), 0);
    }

    #[test]
    fn a_leap_of_any_length_passes_every_slot() {
        for leap in 4000..4200 {
            let mut wheel = Wheel::new();
            let mut links = vec![0; 1];
            let mut due = [0; 4];
            wheel.take_due(&links, Tick(5), &mut due);
            for distance in [1, 3, 100, 3990] {
                wheel.file(&mut links, 0, Tick(5), distance);
                assert_eq!(wheel.take_due(&links, Tick(5 + leap), &mut due), 1, "{leap} {distance}");
                wheel.fired = Tick(5);
            }
        }
    }

    #[test]
    fn a_record_filed_while_its_slot_is_drained_comes_once_more_and_no_earlier() {
        let mut wheel = Wheel::new();
        let mut links = vec![0; 10];
        let start = Tick(7);
        (0..3).for_each(|record| wheel.file(&mut links, record, start, 5));
        let mut due = [0; 1];
        let now = start.after(6);
        assert_eq!(wheel.take_due(&links, now, &mut due), 1);
        let record = due[0];
        wheel.file(&mut links, record, now, 0);
        let mut seen = Vec::new();
        while wheel.take_due(&links, now, &mut due) == 1 {
            seen.push(due[0]);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}
