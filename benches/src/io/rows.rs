//! From windows of time to rows.

use sluice_nat::Direction;
use sluice_packet::Family;

use super::links::Kind;
use super::window::Window;
use crate::flows::{Flows, direction_name};
use crate::frames;
use crate::report::Row;

/// Unit of rates.
pub const MPPS: &str = "Mpps";
/// Unit of shares.
pub const PERCENT: &str = "percent";
/// More than this share of what was offered came through: the device might have taken more.
const STARVED: f64 = 0.9;

/// What was seen of a device in a direction.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name of its row.
    pub bench: String,
    /// The name of testpmd's row with the same frames; that row itself has none.
    pub bound: Option<String>,
    /// Sessions.
    pub sessions: u32,
    /// Windows of time.
    pub windows: Vec<Window>,
}

/// Name of testpmd's row with frames of a family.
fn testpmd(kind: Kind, family: Family) -> String {
    let family = if family == Family::V6 { "ipv6" } else { "ipv4" };
    format!("io.{}.testpmd.mac.{family}", kind.name())
}

impl Seen {
    /// Of testpmd, with the frames that a gateway would get for these flows outbound.
    pub fn of_testpmd(kind: Kind, flows: &Flows, windows: Vec<Window>) -> Self {
        let bench = testpmd(kind, frames::family(flows.kind, Direction::Outbound));
        Self { bench, bound: None, sessions: flows.count, windows }
    }

    /// Of the gateway.
    pub fn of_gateway(kind: Kind, flows: &Flows, direction: Direction, sessions: u32, windows: Vec<Window>) -> Self {
        Self {
            bench: format!("io.{}.{}.{}", kind.name(), flows.kind, direction_name(direction)),
            bound: Some(testpmd(kind, frames::family(flows.kind, direction))),
            sessions,
            windows,
        }
    }

    /// Million packets a second that came through, window by window.
    fn rates(&self) -> Vec<f64> {
        self.windows.iter().map(|window| window.received as f64 / window.seconds / 1e6).collect()
    }

    fn lost(&self) -> Vec<f64> {
        // Rings fill and run empty between windows, so a few more may come than were sent.
        let share = |window: &Window| 1.0 - window.received as f64 / window.sent.max(1) as f64;
        self.windows.iter().map(|window| (share(window) * 100.0).max(0.0)).collect()
    }

    /// Share of the time that was left out.
    fn cut(&self) -> f64 {
        let sum = |of: fn(&Window) -> usize| self.windows.iter().map(of).sum::<usize>() as f64;
        sum(|window| window.cut) / sum(|window| window.slices).max(1.0)
    }

    /// Whether the generator did not offer much more than came through.
    fn starved(&self) -> bool {
        let sum = |of: fn(&Window) -> u64| self.windows.iter().map(of).sum::<u64>() as f64;
        sum(|window| window.received) > STARVED * sum(|window| window.asked)
    }
}

/// Rows of all that was seen: rate, loss, and share of testpmd.
pub fn rows(seen: &[Seen]) -> Vec<Row> {
    let mut rows = Vec::new();
    for one in seen {
        let starved = one.starved().then(|| "the generator was the limit".to_owned());
        let interrupted = Some(one.cut());
        let rate = Row { note: starved, interrupted, ..Row::new(&one.bench, one.sessions, MPPS, one.rates()) };
        let bound = one.bound.as_ref().and_then(|name| seen.iter().find(|other| other.bench == *name));
        if let Some(bound) = bound {
            let most = Row::new(&bound.bench, 0, MPPS, bound.rates()).median;
            let shares = one.rates().into_iter().map(|rate| rate / most * 100.0).collect();
            let note = match (one.starved(), bound.starved()) {
                (false, false) => None,
                (true, false) => Some("the gateway might reach more: the generator was its limit"),
                (false, true) => Some("testpmd might reach more: the generator was its limit"),
                (true, true) => Some("the generator was the limit of both"),
            };
            let share = Row::new(format!("{}.share", one.bench), one.sessions, PERCENT, shares);
            rows.push(Row { note: note.map(String::from), ..share });
        }
        rows.push(rate);
        rows.push(Row::new(format!("{}.lost", one.bench), one.sessions, PERCENT, one.lost()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_nat::Kind as Nat;

    fn window(asked: u64, sent: u64, received: u64) -> Window {
        Window { asked, sent, received, seconds: 0.5, ..Window::default() }
    }

    #[test]
    fn rates_are_what_came_and_shares_are_of_the_same_frames() {
        let flows = Flows::udp(Nat::Nat64, 1 << 20);
        let ours = vec![window(20_000_000, 3_000_000, 3_000_000), window(20_000_000, 4_000_000, 3_000_000)];
        let seen = [
            Seen::of_testpmd(Kind::Memif, &flows, vec![window(20_000_000, 5_000_000, 5_000_000)]),
            Seen::of_gateway(Kind::Memif, &flows, Direction::Outbound, 1 << 20, ours.clone()),
            Seen::of_gateway(Kind::Memif, &flows, Direction::Inbound, 1 << 20, ours),
        ];
        let rows = rows(&seen);
        let of = |bench: &str| rows.iter().find(|row| row.bench == bench);
        assert_eq!(of("io.memif.testpmd.mac.ipv6").unwrap().median, 10.0);
        let row = of("io.memif.nat64.outbound").unwrap();
        assert_eq!((row.median, row.unit.as_str(), row.sessions, row.note.as_deref()), (6.0, MPPS, 1 << 20, None));
        assert_eq!(of("io.memif.nat64.outbound.share").unwrap().median, 60.0);
        assert_eq!(of("io.memif.nat64.outbound.lost").unwrap().runs, [0.0, 25.0]);
        // IPv4 frames were not given to testpmd.
        assert!(of("io.memif.nat64.inbound").is_some() && of("io.memif.nat64.inbound.share").is_none());
    }

    #[test]
    fn a_device_that_takes_nearly_all_is_said_to_be_starved() {
        let flows = Flows::udp(Nat::Nat44, 1024);
        let seen = [
            Seen::of_testpmd(Kind::Xdp, &flows, vec![window(1000, 1000, 950)]),
            Seen::of_gateway(Kind::Xdp, &flows, Direction::Outbound, 1024, vec![window(1000, 1000, 500)]),
        ];
        let rows = rows(&seen);
        let note = |bench: &str| rows.iter().find(|row| row.bench == bench).and_then(|row| row.note.clone());
        assert!(note("io.xdp.testpmd.mac.ipv4").is_some() && note("io.xdp.nat44.outbound").is_none());
        assert!(note("io.xdp.nat44.outbound.share").is_some_and(|note| note.starts_with("testpmd")));
    }
}
