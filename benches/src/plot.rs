//! The picture: cycles a packet against the number of sessions, both axes logarithmic, as SVG written by hand.

use std::fmt::Write as _;

use crate::report::{Report, Row, YARDSTICK};

const WIDTH: f64 = 940.0;
const HEIGHT: f64 = 540.0;
/// The plane of the curves, within the picture.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 480.0;
/// Lines of text do not come closer to each other.
const LINE: f64 = 17.0;

/// How a curve is drawn.
struct Style {
    colour: &'static str,
    width: f64,
    dash: &'static str,
}

/// A curve: sessions, and least, median and most of the cycles.
struct Curve {
    name: String,
    style: Style,
    points: Vec<(f64, [f64; 3])>,
}

const BLUE: &str = "#0b62a8";
const ORANGE: &str = "#c85a00";
const GREY: &str = "#8a8a8a";

/// The curves of measured rows: name in the picture, name of the row, style.
const MEASURED: [(&str, &str, Style); 9] = [
    ("yardstick", YARDSTICK, Style { colour: "#111111", width: 2.5, dash: "" }),
    ("engine NAT64 6→4", "engine.nat64.outbound.udp", Style { colour: BLUE, width: 2.0, dash: "" }),
    ("engine NAT64 4→6", "engine.nat64.inbound.udp", Style { colour: BLUE, width: 2.0, dash: "2 4" }),
    ("engine NAT44 out", "engine.nat44.outbound.udp", Style { colour: ORANGE, width: 2.0, dash: "" }),
    ("engine NAT44 in", "engine.nat44.inbound.udp", Style { colour: ORANGE, width: 2.0, dash: "2 4" }),
    ("worker NAT64 6→4", "worker.nat64.outbound", Style { colour: BLUE, width: 3.5, dash: "" }),
    ("worker NAT64 4→6", "worker.nat64.inbound", Style { colour: BLUE, width: 3.5, dash: "3 6" }),
    ("worker NAT44 out", "worker.nat44.outbound", Style { colour: ORANGE, width: 3.5, dash: "" }),
    ("worker NAT44 in", "worker.nat44.inbound", Style { colour: ORANGE, width: 3.5, dash: "3 6" }),
];

/// VPP's whole worker, as in [`crate::document`].
const PEERS: [(&str, [(f64, f64); 3]); 2] = [
    ("VPP NAT64 6→4", [(1024.0, 284.0), (65_536.0, 1587.0), (1_048_576.0, 2049.0)]),
    ("VPP NAT44 out", [(1024.0, 182.0), (65_536.0, 816.0), (1_048_576.0, 1155.0)]),
];

fn curves(report: &Report) -> Vec<Curve> {
    let measured = MEASURED.into_iter().map(|(name, bench, style)| {
        let is = |row: &&Row| row.sessions > 0 && row.median > 0.0 && row.bench == bench;
        let mut points: Vec<_> = report.rows.iter().filter(is).collect();
        points.sort_by_key(|row| row.sessions);
        let points = points.iter().map(|row| (f64::from(row.sessions), [row.min, row.median, row.max]));
        Curve { name: name.into(), style, points: points.collect() }
    });
    let peers = PEERS.into_iter().map(|(name, points)| Curve {
        name: name.into(),
        style: Style { colour: GREY, width: 1.5, dash: "7 4" },
        points: points.map(|(sessions, cycles)| (sessions, [cycles; 3])).into(),
    });
    peers.chain(measured).filter(|curve| !curve.points.is_empty()).collect()
}

/// A logarithmic axis: values of both ends, and where they lie.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share = (value / self.from).ln() / (self.to / self.from).ln();
        self.start + share * (self.end - self.start)
    }

    /// 1, 2 and 5 times the powers of ten that lie on it.
    fn steps(&self) -> impl Iterator<Item = f64> {
        let decades = (0..7).map(|power| 10f64.powi(power));
        let steps = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|factor| factor * decade));
        steps.filter(|step| (self.from..=self.to).contains(step))
    }
}

/// Sessions as people say them: `64k`, `1M`.
pub fn short(sessions: u32) -> String {
    match sessions {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
        n if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{} million", n / 1_000_000),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) && n < 1 << 20 => format!("{}k", n >> 10),
        n => n.to_string(),
    }
}

/// The picture of a report; `None` if nothing in it can be drawn.
pub fn svg(report: &Report) -> Option<String> {
    let curves = curves(report);
    let has_rows = curves.iter().any(|curve| curve.style.colour != GREY);
    let values = || curves.iter().flat_map(|curve| &curve.points);
    let most = values().map(|(_, cycles)| cycles[2]).fold(0.0, f64::max);
    let least = values().map(|(_, cycles)| cycles[0]).fold(f64::MAX, f64::min);
    let largest = values().map(|(sessions, _)| *sessions).fold(2048.0, f64::max);
    if !has_rows {
        return None;
    }
    let x = Axis { from: 1024.0, to: largest, start: LEFT, end: RIGHT };
    let y = Axis { from: least / 1.3, to: most * 1.3, start: BOTTOM, end: TOP };
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = draw(&mut out, &curves, &x, &y);
    Some(out)
}

fn draw(out: &mut String, curves: &[Curve], x: &Axis, y: &Axis) -> std::fmt::Result {
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222222">"##
    )?;
    writeln!(out, r#"<title>Cycles a packet against the number of sessions</title>"#)?;
    writeln!(out, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##)?;
    let title = "Cycles a packet against sessions: uniformly random packets of established flows, one core";
    writeln!(out, r#"<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{title}</text>"#)?;
    grid(out, x, y)?;
    for curve in curves {
        line(out, curve, x, y)?;
    }
    for (curve, place) in curves.iter().zip(labels(curves, y)) {
        label(out, curve, x, y, place)?;
    }
    writeln!(out, "</svg>")
}

fn grid(out: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
    for step in y.steps() {
        let at = y.at(step);
        writeln!(
            out,
            r##"<line x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}" stroke="#e4e4e4"/><text x="{}" y="{:.1}" text-anchor="end">{step}</text>"##,
            LEFT - 8.0,
            at + 4.5
        )?;
    }
    for shift in (10..=24).step_by(2) {
        let sessions = 1u32 << shift;
        let at = x.at(f64::from(sessions));
        if at <= RIGHT + 0.5 {
            writeln!(
                out,
                r##"<line x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{BOTTOM}" stroke="#e4e4e4"/><text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"##,
                BOTTOM + 20.0,
                short(sessions)
            )?;
        }
    }
    writeln!(
        out,
        r##"<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#222222"/><text x="{}" y="{}" text-anchor="middle">sessions</text>"##,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 44.0
    )?;
    let middle = f64::midpoint(TOP, BOTTOM);
    writeln!(
        out,
        r#"<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">cycles a packet, median (bars: least and most)</text>"#
    )
}

fn line(out: &mut String, curve: &Curve, x: &Axis, y: &Axis) -> std::fmt::Result {
    let Style { colour, width, dash } = curve.style;
    let points: Vec<String> = curve
        .points
        .iter()
        .map(|(sessions, cycles)| format!("{:.1},{:.1}", x.at(*sessions), y.at(cycles[1])))
        .collect();
    writeln!(
        out,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>"#,
        points.join(" ")
    )?;
    for (sessions, [least, median, most]) in &curve.points {
        let (across, from, to) = (x.at(*sessions), y.at(*least), y.at(*most));
        writeln!(
            out,
            r#"<path d="M{across:.1} {from:.1}V{to:.1}" stroke="{colour}"/><circle cx="{across:.1}" cy="{:.1}" r="{}" fill="{colour}"/>"#,
            y.at(*median),
            width + 0.8
        )?;
    }
    Ok(())
}

/// Heights of the names at the ends of the curves, moved apart where curves end side by side.
fn labels(curves: &[Curve], y: &Axis) -> Vec<f64> {
    let end = |curve: &Curve| curve.points.last().map_or(BOTTOM, |(_, cycles)| y.at(cycles[1]));
    let mut order: Vec<usize> = (0..curves.len()).collect();
    order.sort_by(|&a, &b| end(&curves[b]).total_cmp(&end(&curves[a])));
    let mut places = vec![0.0; curves.len()];
    let mut lowest = BOTTOM;
    for number in order {
        places[number] = end(&curves[number]).min(lowest);
        lowest = places[number] - LINE;
    }
    places
}

fn label(out: &mut String, curve: &Curve, x: &Axis, y: &Axis, place: f64) -> std::fmt::Result {
    let Some((sessions, cycles)) = curve.points.last() else { return Ok(()) };
    let (across, down) = (x.at(*sessions) + 6.0, y.at(cycles[1]));
    let text = RIGHT + 40.0;
    let Style { colour, width, dash } = curve.style;
    writeln!(
        out,
        r#"<path d="M{across:.1} {down:.1}L{} {place:.1}" stroke="{colour}" stroke-width="0.6" fill="none"/><path d="M{} {place:.1}H{}" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/><text x="{}" y="{:.1}" fill="{colour}">{}, {:.0}</text>"#,
        text - 18.0,
        text - 18.0,
        text + 6.0,
        text + 12.0,
        place + 4.5,
        curve.name,
        cycles[1],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::CYCLES;

    fn report() -> Report {
        let row = |bench: &str, sessions, cycles| Row::new(bench, sessions, CYCLES, vec![cycles]);
        let rows = vec![
            row(YARDSTICK, 1 << 20, 50.0),
            row(YARDSTICK, 1 << 10, 6.0),
            row("engine.nat64.outbound.udp", 1 << 10, 60.0),
            row("engine.nat64.outbound.udp", 1 << 20, 110.0),
            row("engine.nat64.outbound.udp.zipf", 1 << 20, 70.0),
        ];
        Report { sources: Vec::new(), rows }
    }

    #[test]
    fn what_was_measured_is_drawn_beside_the_peers() {
        let text = svg(&report()).unwrap();
        assert_eq!(text.matches("<polyline").count(), 4);
        assert!(text.contains(">yardstick, 50<") && text.contains(">engine NAT64 6→4, 110<"));
        assert!(text.contains("VPP") && !text.contains("worker") && !text.contains("NaN"));
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
        assert!(svg(&Report::default()).is_none());
    }

    #[test]
    fn points_are_in_the_order_of_their_sessions_and_labels_apart() {
        let curves = curves(&report());
        let yardstick = curves.iter().find(|curve| curve.name == "yardstick").unwrap();
        assert_eq!(yardstick.points.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1024.0, 1_048_576.0]);
        let y = Axis { from: 1.0, to: 1e6, start: BOTTOM, end: TOP };
        let mut places = labels(&curves, &y);
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 0.01));
    }

    #[test]
    fn sessions_are_said_shortly() {
        assert_eq!(
            [1 << 10, 1 << 16, 1 << 22, 10_000_000, 1_032_192].map(short),
            ["1k", "64k", "4M", "10 million", "1008k"]
        );
        assert_eq!(short(1000), "1000");
    }
}
