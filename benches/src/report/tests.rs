use super::*;

fn runs(figures: &[f64]) -> Vec<Run> {
    figures.iter().map(|&cycles_per_packet| Run { cycles_per_packet, interrupted: 25, rings: 2500 }).collect()
}

#[test]
fn a_row_says_least_median_most_and_ratio() {
    let mut row = Row::of_cycles("engine.x", 1024, &runs(&[30.0, 10.0, 20.0]));
    row.yardstick = Some(8.0);
    assert_eq!((row.min, row.median, row.max), (10.0, 20.0, 30.0));
    assert_eq!((row.ratio(), row.interrupted), (Some(2.5), Some(0.01)));
    assert_eq!(row.runs, [30.0, 10.0, 20.0]);
    assert_eq!(row.ratio_min(), Some(1.25));
    assert_eq!(row.family(), "engine");
    assert_eq!(Row::of_cycles("x", 1, &runs(&[1.0, 2.0])).median, 1.5);
}

#[test]
fn a_line_has_what_a_reader_needs() {
    let mut row = Row::of_cycles("engine.nat64.outbound.udp", 1024, &runs(&[1.0, 2.0, 3.0]));
    row.yardstick = Some(1.0);
    let json = serde_json::to_value(&row).unwrap();
    assert_eq!((&json["bench"], &json["sessions"]), (&"engine.nat64.outbound.udp".into(), &1024.into()));
    assert_eq!((&json["unit"], &json["cycles"]), (&"cycles".into(), &2.0.into()));
    assert_eq!((&json["min"], &json["max"], &json["ratio"]), (&1.0.into(), &3.0.into(), &2.0.into()));
    assert_eq!(json["runs"].as_array().unwrap().len(), 3);
    assert!(json.get("value").is_none());
    let json = serde_json::to_value(Row::new("memory.x", 0, "bytes", vec![98.0])).unwrap();
    assert_eq!((&json["unit"], &json["value"]), (&"bytes".into(), &98.0.into()));
    assert!(json.get("cycles").is_none() && json.get("yardstick").is_none());
}

#[test]
fn what_was_written_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("results.json");
    let machine = Machine { cpu: "a machine".into(), ..Machine::default() };
    let report = Report {
        sources: vec![Source { machine, method: Method::engine(3) }],
        rows: vec![
            Row::of_cycles("handoff.ring", 0, &runs(&[1.5, 2.5])),
            Row::new("memory.x", 7, "bytes", vec![98.0]),
        ],
    };
    report.write(&path).unwrap();
    assert_eq!(Report::read([&path]).unwrap(), report);
    assert_eq!(Report::read([&path, &path]).unwrap().rows.len(), 4);
}

#[test]
fn lines_of_other_programs_may_say_little_and_get_the_yardstick_of_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("worker.json");
    let text = r#"{"machine":{"cpu":"x"},"method":{"part":"worker","text":"as it says"}}
{"bench":"engine.yardstick","sessions":1024,"cycles":9.0,"min":8.0,"max":10.0,"runs":[8.0,9.0,10.0]}

{"bench":"worker.nat64.outbound","sessions":1024,"cycles":96.0}
{"bench":"io.memif","unit":"percent","value":61.5}
"#;
    std::fs::write(&path, text).unwrap();
    let report = Report::read([&path]).unwrap();
    assert_eq!((report.sources[0].method.part.as_str(), report.sources[0].method.runs), ("worker", 0));
    let worker = report.row("worker.nat64.outbound", 1024).unwrap();
    assert_eq!((worker.ratio(), worker.max), (Some(12.0), 96.0));
    let io = report.row("io.memif", 0).unwrap();
    assert_eq!((io.unit.as_str(), io.median, io.ratio()), ("percent", 61.5, None));
    std::fs::write(&path, "{\"bench\":3}\n").unwrap();
    let error = Report::read([&path]).unwrap_err();
    assert!(matches!(error, Error::Line { line: 1, .. }), "{error}");
    assert!(matches!(Report::read(["/nonexistent"]), Err(Error::Read { .. })));
}
