//! From windows of time to rows.

use sluice_nat::Direction;

use super::links::Kind;
use super::window::Window;
use crate::flows::{Flows, direction_name};
use crate::report::{Row, Spread};

/// Unit of rates.
pub const MPPS: &str = "Mpps";
/// Unit of shares.
pub const PERCENT: &str = "percent";
/// More than this share of what was offered came through: the device might have taken more.
const STARVED: f64 = 0.9;

/// What was seen of the gateway, and in turn with it of testpmd, in a direction.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Kind of ports.
    pub kind: Kind,
    /// Flows.
    pub flows: Flows,
    /// Direction of the packets.
    pub direction: Direction,
    /// Sessions, of which all packets are.
    pub sessions: u32,
    /// Windows of time in pairs, testpmd's second.
    pub pairs: Vec<[Window; 2]>,
}

/// What was seen of one device.
struct One(Vec<Window>);

impl One {
    fn sum(&self, of: fn(&Window) -> u64) -> f64 {
        self.0.iter().map(of).sum::<u64>() as f64
    }

    /// Whether the generator did not offer much more than came through.
    fn starved(&self) -> bool {
        self.sum(|window| window.received) > STARVED * self.sum(|window| window.asked)
    }

    /// Million packets a second that came through.
    fn row(&self, bench: &str, sessions: u32) -> Row {
        let cut = self.sum(|window| window.cut as u64) / self.sum(|window| window.slices as u64).max(1.0);
        let note = self.starved().then(|| "the generator was the limit".to_owned());
        let rates = self.0.iter().map(rate).collect();
        Row { note, interrupted: Some(cut), ..Row::new(bench, sessions, MPPS, rates) }
    }

    /// Packets that were sent and did not come.
    fn lost(&self, bench: &str, sessions: u32) -> Row {
        // Rings fill and run empty, so a few more may come than were sent.
        let share = |window: &Window| 1.0 - window.received as f64 / window.sent.max(1) as f64;
        let shares = self.0.iter().map(|window| (share(window) * 100.0).max(0.0)).collect();
        Row::new(format!("{bench}.lost"), sessions, PERCENT, shares)
    }
}

fn rate(window: &Window) -> f64 {
    window.received as f64 / window.seconds / 1e6
}

impl Seen {
    /// Rate, testpmd's rate with the same frames, share, and what was lost.
    pub fn rows(&self) -> [Row; 5] {
        let Self { kind, flows, direction, sessions, pairs } = self;
        let what = format!("{}.{}", flows.kind, direction_name(*direction));
        let bench = format!("io.{}.{what}", kind.name());
        let bound = format!("io.{}.testpmd.mac.{what}", kind.name());
        let ours = One(pairs.iter().map(|pair| pair[0]).collect());
        let theirs = One(pairs.iter().map(|pair| pair[1]).collect());
        let shares = pairs.iter().map(|[ours, theirs]| rate(ours) / rate(theirs) * 100.0).collect();
        let note = match (ours.starved(), theirs.starved()) {
            (false, false) => None,
            (true, false) => Some("the gateway might reach more: the generator was its limit"),
            (false, true) => Some("testpmd might reach more: the generator was its limit"),
            (true, true) => Some("the generator was the limit of both"),
        };
        let share = Row::new(format!("{bench}.share"), *sessions, PERCENT, shares);
        [
            ours.row(&bench, *sessions),
            theirs.row(&bound, *sessions),
            Row { note: note.map(String::from), ..share },
            ours.lost(&bench, *sessions),
            theirs.lost(&bound, *sessions),
        ]
    }

    /// Median of the rates of gateway and testpmd, for whoever waits.
    pub fn summary(&self) -> String {
        let median = |of: usize| {
            let rates: Vec<f64> = self.pairs.iter().map(|pair| rate(&pair[of])).collect();
            Spread::of(&rates).median
        };
        let returned: u64 = self.pairs.iter().map(|pair| pair[0].returned).sum();
        format!(
            "{} {} of {}: {:.2} Mpps, testpmd {:.2}; {} frames checked, {returned} came back",
            self.flows.kind,
            direction_name(self.direction),
            self.sessions,
            median(0),
            median(1),
            self.pairs.iter().flatten().map(|window| window.right).sum::<u64>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_nat::Kind as Nat;

    fn window(asked: u64, sent: u64, received: u64) -> Window {
        Window { asked, sent, received, seconds: 0.5, slices: 10, cut: 1, ..Window::default() }
    }

    fn rows(pairs: Vec<[Window; 2]>) -> [Row; 5] {
        let flows = Flows::udp(Nat::Nat64, 1 << 20);
        Seen { kind: Kind::Memif, flows, direction: Direction::Outbound, sessions: 1024, pairs }.rows()
    }

    #[test]
    fn rates_are_what_came_and_shares_are_of_the_window_beside() {
        let rows = rows(vec![
            [window(20_000_000, 3_000_000, 3_000_000), window(20_000_000, 5_000_000, 5_000_000)],
            [window(20_000_000, 4_000_000, 2_000_000), window(20_000_000, 4_000_000, 4_000_000)],
            [window(20_000_000, 6_000_000, 6_000_000), window(20_000_000, 8_000_000, 8_000_000)],
        ]);
        let names = rows.each_ref().map(|row| row.bench.as_str());
        assert_eq!(names[0], "io.memif.nat64.outbound");
        assert_eq!(names[1], "io.memif.testpmd.mac.nat64.outbound");
        assert_eq!(names[2..4], ["io.memif.nat64.outbound.share", "io.memif.nat64.outbound.lost"]);
        assert_eq!(rows[0].runs, [6.0, 4.0, 12.0]);
        assert_eq!((rows[1].median, rows[1].unit.as_str(), rows[1].sessions), (10.0, MPPS, 1024));
        assert_eq!(rows[2].median, 60.0);
        assert_eq!(rows[3].runs, [0.0, 50.0, 0.0]);
        assert!(rows.iter().all(|row| row.note.is_none()) && rows[0].interrupted == Some(0.1));
    }

    #[test]
    fn a_device_that_takes_nearly_all_is_said_to_be_starved() {
        let rows = rows(vec![[window(1000, 1000, 500), window(1000, 1000, 950)]]);
        assert!(rows[0].note.is_none() && rows[1].note.is_some());
        assert!(rows[2].note.as_ref().is_some_and(|note| note.starts_with("testpmd")));
    }
}
