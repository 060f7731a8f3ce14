//! Results as a page of the documentation.

mod io;

use std::fmt::{self, Write as _};

use crate::machine::Machine;
use crate::plot::short;
use crate::report::{CYCLES, Report, Row};
use crate::table::figure;

/// A part of the page: rows whose names begin so, its heading, and what a reader should know.
struct Section {
    prefixes: &'static [&'static str],
    title: &'static str,
    text: &'static str,
}

const SECTIONS: [Section; 12] = [
    Section {
        prefixes: &["engine."],
        title: "Engine",
        text: "Index lookup, session and rewrite of a packet whose headers have been read, in a table that is full. `zipf`: packets come \
               by Zipf's law with exponent 1, and are compared with a yardstick whose packets do as well.",
    },
    Section {
        prefixes: &["engine.lookup."],
        title: "Index and session alone",
        text: "The same without reading the fixed fields and without rewrite.",
    },
    Section {
        prefixes: &["engine.whole."],
        title: "Engine on packets",
        text: "Headers read and classified, engine, rewrite. Routes, counters, source checks and driver are not in it.",
    },
    Section {
        prefixes: &["engine.parse.", "engine.rewrite.", "engine.checksum."],
        title: "Headers and checksums alone",
        text: "`full`: a checksum over a whole datagram of so many bytes, which the delta of a session saves.",
    },
    Section {
        prefixes: &["worker."],
        title: "Worker",
        text: "From Ethernet in to transmit, without driver. `longest_turn`: the longest loop with full bursts in it while seven eighths of all sessions \
               end in the same tick (`end`), and while an empty table is filled by nothing but first packets (`new`). Several runs do the same with new \
               memory each time; a turn counts with the least that it took in any, which leaves out what the machine put in between. `interrupted`: the longest \
               turns of the runs as they were; `later`: but for the very first turn.",
    },
    Section {
        prefixes: &["io."],
        title: "With I/O",
        text: "Between software ports of DPDK, two processes on a core each. `testpmd --forward-mode=mac` on the same kind of ports, fed with \
               the same frames by the same generator in turn with the gateway, is the bound. xdp and packet are veth pairs, where the kernel does \
               most of the work of both.",
    },
    Section {
        prefixes: &["setup."],
        title: "New sessions",
        text: "A table is filled from 40 to 80 % of its room, flows in random order, each event encoded into a notice ring in shared memory. \
               `shared_binding`: eight sessions a binding. `established_beside`: an established packet in batches of which half open sessions.",
    },
    Section {
        prefixes: &["setup.port."],
        title: "New bindings in a pool that is nearly used up",
        text: "A new session of a new subscriber while 50, 90 and 99 % of the ports are in use. Sessions: ports of the pool.",
    },
    Section {
        prefixes: &["expiry."],
        title: "End of sessions",
        text: "`end`: seven eighths of all sessions end in the same tick, in calls that look at no more than 32 records, with packets of the others in \
               between. `refile`: none ends, all are looked at. `longest_call`: the same is done several times, each time with new memory; every call \
               counts with the least that it took, for interruptions hit other calls in each run and work does not; this is the longest of them. \
               `thousandth_call`: what one call in a thousand exceeds, and `interrupted`: the longest, both in single runs, with all that kernel and \
               hypervisor do in between. For these `nothing` is a loop that does nothing, as often and as long as the calls of `end`.",
    },
    Section {
        prefixes: &["memory."],
        title: "Memory",
        text: "Growth of the process, by sessions: records, indexes, bindings, ports, timers. Tables are full, indexes at their design load.",
    },
    Section {
        prefixes: &["handoff."],
        title: "Rings",
        text: "A message pushed and popped in bursts of 32, both ends on one core.",
    },
    Section { prefixes: &[""], title: "Others", text: "" },
];

/// What peers take, as issue 3 has it: one session, 1k, 64k, 1M, new session.
const PEERS: [[&str; 6]; 5] = [
    ["VPP 26.06 plain IPv4 / IPv6 forwarding", "60 / 77", "", "", "", ""],
    [
        "VPP NAT44 endpoint-dependent, out / in",
        "140 / 148",
        "182 / 170",
        "816 / 792",
        "1155 / 1055",
        "3100–4100",
    ],
    ["VPP NAT64, 6→4 / 4→6", "231 / 208", "284", "1587", "2049 / 1999", "3600–6300"],
    [
        "Linux nftables masquerade (native kernel, own share)",
        "",
        "about 4300",
        "about 5900",
        "",
        "about 12000",
    ],
    ["Jool NAT64 6→4 (relative to nftables)", "", "2.2 ×", "1.8 ×", "1.5 ×", "about 1 ×"],
];

/// What no run on a machine like this can say.
const NOT_MEASURED: [&str; 5] = [
    "10G and 100G line rate of 64-byte frames: needs a NIC",
    "RSS hash from the NIC, and its agreement with the worker that owns the subscriber: needs a NIC",
    "Cores: whether throughput grows linearly with workers: needs more than two cores",
    "VLAN and checksum offloads, multi-segment packets of a driver: need a NIC",
    "Peers in the same run: their figures are from the same kind of machine, measured once",
];

/// The page. `picture` is a path relative to it; `notes` are appended as they are.
pub fn markdown(report: &Report, picture: Option<&str>, notes: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = page(&mut out, report, picture);
    if !notes.trim().is_empty() {
        out.push('\n');
        out.push_str(notes.trim_end());
        out.push('\n');
    }
    out
}

fn page(out: &mut String, report: &Report, picture: Option<&str>) -> fmt::Result {
    writeln!(out, "# Performance\n")?;
    writeln!(
        out,
        "Written by `scripts/bench`, which repeats all of it; what a person has to say is in `performance-notes.md`. Cycles are those of the time \
         stamp counter. A figure is the median of all runs, in parentheses the least and the most, then the ratio to the least of the yardstick \
         with as many sessions: the cost of touching a header line, a random bucket line and a random session line, and nothing else.\n"
    )?;
    if let Some(picture) = picture {
        writeln!(out, "![Cycles a packet against the number of sessions]({picture})\n")?;
    }
    writeln!(out, "## Machine\n")?;
    let mut machines: Vec<&Machine> = Vec::new();
    for source in &report.sources {
        // Load and memory differ from part to part of one run.
        if !machines
            .iter()
            .any(|known| known.cpu == source.machine.cpu && known.kernel == source.machine.kernel)
        {
            machines.push(&source.machine);
        }
    }
    machines.iter().try_for_each(|machine| self::machine(out, machine))?;
    writeln!(out, "## Method\n")?;
    for source in &report.sources {
        let method = &source.method;
        let core = source.machine.core.map(|core| format!(", core {core}")).unwrap_or_default();
        writeln!(out, "- **{}**, {} runs of each row{core}: {}", method.part, method.runs, method.text)?;
    }
    peers(out, report)?;
    for (number, section) in SECTIONS.iter().enumerate() {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| section_of(&row.bench) == number).collect();
        let expected = matches!(section.prefixes, ["worker."] | ["io."]);
        if rows.is_empty() && !expected {
            continue;
        }
        writeln!(out, "\n## {}\n", section.title)?;
        if !section.text.is_empty() {
            writeln!(out, "{}\n", section.text)?;
        }
        if rows.is_empty() {
            writeln!(out, "Not measured in this run.")?;
        } else if matches!(section.prefixes, ["io."]) {
            io::table(out, &rows)?;
        } else {
            table(out, &rows)?;
        }
    }
    writeln!(out, "\n## Not measured\n")?;
    NOT_MEASURED.iter().try_for_each(|what| writeln!(out, "- {what}."))
}

/// The section with the longest prefix that fits.
fn section_of(bench: &str) -> usize {
    let length = |section: &Section| {
        section.prefixes.iter().filter(|prefix| bench.starts_with(**prefix)).map(|prefix| prefix.len()).max()
    };
    let fitting =
        SECTIONS.iter().enumerate().filter_map(|(number, section)| Some((length(section)?, number)));
    fitting.max().map_or(SECTIONS.len() - 1, |(_, number)| number)
}

fn machine(out: &mut String, machine: &Machine) -> fmt::Result {
    let mib = |kib: u64| kib / 1024;
    let flags = if machine.rustflags.is_empty() { "none" } else { &machine.rustflags };
    let kind = if machine.virtual_machine { "virtual machine" } else { "bare metal" };
    writeln!(out, "| | |\n| --- | --- |")?;
    for (what, value) in [
        (
            "processor",
            format!("{}, {} CPUs, {kind}, {}", machine.cpu, machine.cpus, machine.caches.join(", ")),
        ),
        ("counter", format!("{} at {:.0} MHz", machine.unit, machine.unit_mhz)),
        (
            "memory",
            format!(
                "pages of {} KiB; transparent huge pages `{}`, {} of {} MiB on them",
                machine.page_size / 1024,
                machine.huge_pages,
                mib(machine.huge_kib),
                mib(machine.anonymous_kib)
            ),
        ),
        (
            "system",
            format!(
                "Linux {}; load {:.1} before, {:.1} after",
                machine.kernel, machine.load[0], machine.load[1]
            ),
        ),
        (
            "build",
            format!("{}, {}, opt-level {}, flags: {flags}", machine.rustc, machine.target, machine.opt_level),
        ),
    ] {
        writeln!(out, "| {what} | {value} |")?;
    }
    if machine.debug_assertions {
        writeln!(out, "\n**With debug assertions: these numbers mean nothing.**")?;
    }
    writeln!(out)
}

fn peers(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "\n## Beside others\n\nCycles a packet from Ethernet in to transmit without generator and driver, one core, 64-byte UDP, uniformly random over \
         established sessions; the kernel's in time on its own core. Peers: same kind of machine, VPP with vectors of 256 packets.\n"
    )?;
    writeln!(out, "| | 1 session | 1k | 64k | 1M | new session |\n| --- | --- | --- | --- | --- | --- |")?;
    for (name, kind) in [("NAT44, out / in", "nat44"), ("NAT64, 6→4 / 4→6", "nat64")] {
        let both = |sessions: u32| {
            let of = |direction: &str| report.row(&format!("worker.{kind}.{direction}"), sessions);
            match (of("outbound"), of("inbound")) {
                (Some(out), Some(back)) => format!("**{:.0} / {:.0}**", out.median, back.median),
                (Some(out), None) => format!("**{:.0} / –**", out.median),
                (None, Some(back)) => format!("**– / {:.0}**", back.median),
                (None, None) => "not measured".into(),
            }
        };
        let new = report.row(&format!("setup.{kind}"), 1 << 20);
        let new = new.map_or_else(|| "not measured".into(), |row| format!("**{:.0}**", row.median));
        let sizes = [1, 1 << 10, 1 << 16, 1 << 20].map(both);
        writeln!(out, "| **Sluice {name}** | {} | {new} |", sizes.join(" | "))?;
    }
    for row in PEERS {
        writeln!(out, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

/// A line a bench, a column a size.
fn table(out: &mut String, rows: &[&Row]) -> fmt::Result {
    let mut sizes: Vec<u32> = rows.iter().map(|row| row.sessions).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut benches: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !benches.contains(&(&row.bench, &row.unit)) {
            benches.push((&row.bench, &row.unit));
        }
    }
    let heads: Vec<String> =
        sizes.iter().map(|&size| if size == 0 { "any".into() } else { short(size) }).collect();
    writeln!(out, "| sessions | {} |", heads.join(" | "))?;
    writeln!(out, "| --- |{}", " --- |".repeat(sizes.len()))?;
    for (bench, unit) in benches {
        let unit_said = if unit == CYCLES { String::new() } else { format!(" ({unit})") };
        write!(out, "| `{bench}`{unit_said} |")?;
        for &size in &sizes {
            let row = rows.iter().find(|row| row.bench == bench && row.unit == unit && row.sessions == size);
            write!(out, " {} |", row.map(|row| cell(row)).unwrap_or_default())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cell(row: &Row) -> String {
    let mut text = figure(row.median);
    if row.runs.len() > 1 {
        let _ = write!(text, " ({}–{})", figure(row.min), figure(row.max));
    }
    if let (Some(ratio), CYCLES) = (row.ratio(), row.unit.as_str()) {
        let _ = write!(text, " {ratio:.2}×");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Method, Source, YARDSTICK};

    #[test]
    fn a_page_has_machine_method_peers_rows_and_notes() {
        let mut rows = vec![
            Row::new(YARDSTICK, 1 << 20, CYCLES, vec![40.0, 50.0, 60.0]),
            Row::new("engine.nat64.outbound.udp", 1 << 20, CYCLES, vec![100.0]),
            Row::new("worker.nat64.outbound", 1 << 20, CYCLES, vec![180.0]),
            Row::new("worker.nat64.inbound", 1 << 20, CYCLES, vec![170.0]),
            Row::new("setup.nat64", 1 << 20, CYCLES, vec![800.0]),
            Row::new("setup.port.50", 1_032_192, CYCLES, vec![700.0]),
            Row::new("memory.nat64.own_binding", 1 << 20, "bytes", vec![120.0]),
        ];
        rows[1].yardstick = Some(40.0);
        let machine = Machine { cpu: "EPYC".into(), page_size: 4096, ..Machine::default() };
        let sources = vec![Source { machine, method: Method::engine(9) }];
        let page = markdown(&Report { sources, rows }, Some("performance.svg"), "## Ideas\n\nNone.\n\n");
        for wanted in [
            "# Performance\n",
            "(performance.svg)",
            "| processor | EPYC",
            "pages of 4 KiB",
            "- **engine**, 9 runs of each row",
            "| **Sluice NAT64, 6→4 / 4→6** | not measured | not measured | not measured | **180 / 170** | **800** |",
            "| VPP NAT64, 6→4 / 4→6 | 231 / 208 |",
            "| `engine.yardstick` | 50.0 (40.0–60.0) |",
            "| `engine.nat64.outbound.udp` | 100.0 2.50× |",
            "| `memory.nat64.own_binding` (bytes) | 120.0 |",
            "## With I/O\n\nBetween software ports",
            "of both.\n\nNot measured in this run.",
            "\n## Not measured\n",
        ] {
            assert!(page.contains(wanted), "{wanted}\n{page}");
        }
        assert!(page.ends_with(".\n\n## Ideas\n\nNone.\n"), "{page}");
    }

    #[test]
    fn rows_are_in_the_section_that_fits_best() {
        let title = |bench| SECTIONS[section_of(bench)].title;
        assert_eq!(title("engine.nat64.outbound.udp"), "Engine");
        assert_eq!(title("engine.lookup.nat64.outbound.udp"), "Index and session alone");
        assert_eq!(title("setup.port.99"), "New bindings in a pool that is nearly used up");
        assert_eq!(title("nonsense"), "Others");
    }
}
