//! Golden packets: `tests/golden/<family>/<case>/` holds IP packets that go in, those that come out, and every counter that
//! changes. For what a person wants to see as bytes. A case is three files:
//!
//! - `in`: comments that say what it shows, then packets. A packet is a line with the port (`inside`, `outside`), lines of hex,
//!   and an empty line; what follows a `#` is a comment.
//! - `out`: the same of what comes out, written by this test. `SLUICE_GOLDEN=rewrite` writes it anew, to be reviewed.
//! - `counters`: every counter, drop and punt of the worker that changes, and by how much; written likewise.
//!
//! Identifications of IPv4 packets that are whole may be anything (FRAG-31): they are shown as zero. On failure a pcap file of
//! what came out lies in the temporary directory that the message names.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sluice_dpdk::Eal;
use sluice_nat::{Protocol, StaticSpec};
use sluice_packet::{DropReason, PuntReason, checksum};
use sluice_shm::{Counter, CountersSnapshot};

use super::behaviour::Scene;
use super::packets::*;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
const REWRITE: &str = "SLUICE_GOLDEN";
const PORTS: [&str; 2] = ["inside", "outside"];

/// Hosts whose port or identifier 5000 is bound, so that cases do not depend on what is drawn at random.
const BOUND: [(u16, u128, u32, u16); 4] = [
    (0, H, 0xc000_0201, 40_000),
    (0, H2, 0xc000_0202, 41_000),
    (1, HOST as u128, 0xc000_0201, 42_000),
    (1, HOST2 as u128, 0xc000_0202, 43_000),
];

/// A port and an IP packet.
type Packet = (usize, Vec<u8>);

pub(super) fn every_case_gives_what_it_gave(eal: &Eal) {
    let cases = folders(Path::new(ROOT)).into_iter().flat_map(|family| folders(&family));
    let (mut count, mut failures) = (0, Vec::new());
    for case in cases {
        count += 1;
        if let Err(message) = run(eal, &case) {
            failures.push(format!("{}: {message}", case.display()));
        }
    }
    assert!(count > 0, "no case in {ROOT}");
    assert!(
        failures.is_empty(),
        "{REWRITE}=rewrite writes anew what has to be reviewed:\n{}",
        failures.join("\n")
    );
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn run(eal: &Eal, case: &Path) -> Result<(), String> {
    let input = fs::read_to_string(case.join("in")).map_err(|error| format!("in: {error}"))?;
    let input = packets(&input)?;
    let mut scene = Scene::with(eal, 1, |spec, _| {
        let bound = BOUND.iter().flat_map(|&(rule, inside, external, external_port)| {
            Protocol::ALL.map(|protocol| StaticSpec {
                rule,
                protocol,
                inside,
                inside_port: 5000,
                external,
                external_port,
            })
        });
        spec.statics = bound.collect();
    });
    let before = scene.rig.counters(0);
    let mut out = Vec::new();
    for (port, packet) in &input {
        out.extend(scene.rig.one(*port, &frame(packet)).iter().map(|(port, frame)| (*port, settled(frame))));
    }
    let found = [("out", shown(&out)), ("counters", counted(&scene.rig.counters(0).since(&before)))];
    let mut differ = Vec::new();
    for (name, text) in found {
        let path = case.join(name);
        if std::env::var_os(REWRITE).is_some_and(|value| value == "rewrite") {
            fs::write(&path, &text).map_err(|error| format!("{name}: {error}"))?;
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        let same = if name == "out" { packets(&known)? == out } else { bare(&known) == bare(&text) };
        if !same {
            differ.push(format!("{name} is\n{text}and should be\n{known}"));
        }
    }
    if differ.is_empty() { Ok(()) } else { Err(format!("{}\n{}", differ.join("\n"), pcap(case, &out))) }
}

/// Lines without comments.
fn bare(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

fn packets(text: &str) -> Result<Vec<Packet>, String> {
    let mut packets: Vec<Packet> = Vec::new();
    for line in bare(text) {
        if let Some(port) = PORTS.iter().position(|name| *name == line) {
            packets.push((port, Vec::new()));
            continue;
        }
        let (_, packet) = packets.last_mut().ok_or_else(|| format!("no port above {line}"))?;
        for byte in line.split_whitespace() {
            packet.push(u8::from_str_radix(byte, 16).map_err(|_| format!("{byte} is no byte"))?);
        }
    }
    Ok(packets)
}

/// The IP packet of a frame, all its checksums checked, its identification zero if that may be anything.
fn settled(frame: &[u8]) -> Vec<u8> {
    let mut packet = frame[14..].to_vec();
    let word = |packet: &[u8], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let whole = packet[0] >> 4 == 6 || word(&packet, 6) & 0x3fff == 0;
    if whole {
        // Reads all of it, and minds checksums. A fragment has a part of what is summed.
        let _ = Seen::of(frame);
    }
    if packet[0] >> 4 == 6 {
        packet.truncate(40 + usize::from(word(&packet, 4)));
        return packet;
    }
    packet.truncate(usize::from(word(&packet, 2)));
    let header = usize::from(packet[0] & 15) * 4;
    if whole {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
        let sum = checksum::ipv4_header(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn shown(packets: &[Packet]) -> String {
    let mut text = String::new();
    for (port, packet) in packets {
        let (header, source, destination) = match packet[0] >> 4 {
            6 => {
                let address = |at: usize| {
                    let bytes: [u8; 16] = packet[at..at + 16].try_into().unwrap();
                    std::net::Ipv6Addr::from(bytes).to_string()
                };
                (40, address(8), address(24))
            }
            _ => {
                let address = |at: usize| {
                    let bytes: [u8; 4] = packet[at..at + 4].try_into().unwrap();
                    std::net::Ipv4Addr::from(bytes).to_string()
                };
                (usize::from(packet[0] & 15) * 4, address(12), address(16))
            }
        };
        let _ = writeln!(text, "{}\n# {source} > {destination}, {} bytes", PORTS[*port], packet.len());
        for part in [&packet[..header], &packet[header..]] {
            for line in part.chunks(16) {
                let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
                let _ = writeln!(text, "{}", bytes.join(" "));
            }
        }
        text.push('\n');
    }
    text
}

/// Every counter that has changed; those of time and memory left out.
fn counted(counters: &CountersSnapshot) -> String {
    let timed = |name: &str| ["cycles", "loop", "sampled"].iter().any(|part| name.contains(part));
    let plain = Counter::ALL.iter().filter(|counter| !counter.is_gauge() && !timed(counter.name()));
    let plain = plain.map(|&counter| (counter.name().to_owned(), counters.get(counter)));
    let drops = DropReason::ALL.iter().map(|&reason| (format!("drop {reason}"), counters.drops(reason)));
    let punts = PuntReason::ALL.iter().map(|&reason| (format!("punt {reason}"), counters.punts(reason)));
    let changed = plain.chain(drops).chain(punts).filter(|&(_, count)| count > 0);
    changed.map(|(name, count)| format!("{name} {count}\n")).collect()
}

/// Writes packets for tcpdump and the like, and says where.
fn pcap(case: &Path, packets: &[Packet]) -> String {
    // Version 2.4, no time zone, packets of any length, link type "raw IP".
    let mut bytes = [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 101].map(u32::to_be_bytes).concat();
    for (_, packet) in packets {
        let length = packet.len() as u32;
        bytes.extend([0, 0, length, length].map(u32::to_be_bytes).as_flattened());
        bytes.extend(packet);
    }
    let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("sluice-golden-{}-{name}.pcap", std::process::id()));
    match fs::write(&path, bytes) {
        Ok(()) => format!("what came out: {}", path.display()),
        Err(error) => format!("{}: {error}", path.display()),
    }
}
