use std::fs;

use proptest::prelude::*;
use sluice_nat::{Filtering, Kind, PoolSpec, Protocol, RuleSpec, Spec, StaticSpec};

use super::*;
use crate::snapshot::{
    Checksums, Dscp, IcmpErrors, IdleMode, InterfaceSpec, MssClamp, PortSpec, RouteSpec, Unsolicited, Via,
};

fn snapshot() -> Snapshot {
    Snapshot {
        generation: 42,
        cores: vec![2, 3],
        idle: IdleMode::Pause,
        ports: vec![PortSpec { device: "xdp:enp1s0f0".into(), mtu: 1500 }],
        interfaces: vec![InterfaceSpec {
            name: "outside".into(),
            port: 0,
            vlan: Some(7),
            mtu: 1500,
            ipv4: vec![(0xc000_0202, 30)],
            ipv6: vec![(0x2001_0db8 << 96 | 2, 64)],
            mss_clamp: MssClamp::To(1400),
            time_exceeded: true,
            proxy_neighbours: true,
        }],
        nat: Spec {
            pools: vec![PoolSpec {
                name: "public".into(),
                prefixes: vec![(0xc633_6400, 30)],
                port_min: 1024,
                port_max: 65535,
                block_size: 256,
                hold_down: 120,
                max_resting: PoolSpec::ALL,
                parity: true,
                reserved: vec![],
                pairing: sluice_nat::Pairing::Strict,
                deterministic: None,
            }],
            rules: vec![RuleSpec {
                kind: Kind::Nat64,
                realm: 0,
                prefix64: Some((0x0064_ff9b << 96, 96)),
                sources: vec![(0x2001_0db8 << 96, 56)],
                except: Vec::new(),
                interfaces: vec![1],
                pool: 0,
                filtering: [Filtering::EndpointIndependent; 3],
                wkp_allow_non_global: false,
            }],
            statics: vec![StaticSpec {
                rule: 0,
                protocol: Protocol::Tcp,
                inside: 1,
                inside_port: 22,
                external: 0xc633_6401,
                external_port: 2222,
            }],
            ..Spec::default()
        },
        routes: vec![
            RouteSpec {
                ipv6: false,
                prefix: 0,
                len: 0,
                via: Via::Gateway { interface: 0, ipv6: false, address: 0xc000_0201 },
            },
            RouteSpec { ipv6: true, prefix: 1, len: 128, via: Via::Blackhole },
        ],
        icmp_errors_per_second: IcmpErrors { ipv4: 1000, ipv6: 0 },
        icmp_sources: vec![(0xcb00_7140, 28)],
        dscp: Dscp { to_ipv4: Some(8), to_ipv6: None, icmp_errors: Some(48) },
        unsolicited: Unsolicited { hold_syns: true, reject: false, reset_inside: true },
        checksums: Checksums { ignore_quoted: true, ..Checksums::default() },
        sessions: 1 << 20,
    }
}

fn run() -> (tempfile::TempDir, RunDir) {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    (dir, run)
}

#[test]
fn a_snapshot_is_read_as_it_was_written_and_replaces_the_last() {
    let (_dir, run) = run();
    let mut snapshot = snapshot();
    write_snapshot(&run, &snapshot).unwrap();
    assert_eq!(read_snapshot(&run).unwrap(), snapshot);
    snapshot.generation = 43;
    snapshot.routes.clear();
    write_snapshot(&run, &snapshot).unwrap();
    assert_eq!(read_snapshot(&run).unwrap(), snapshot);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
}

#[test]
fn generation_zero_is_none() {
    let (_dir, run) = run();
    let error = write_snapshot(&run, &Snapshot::default()).unwrap_err();
    assert!(matches!(error, SnapshotError::Generation { found: 0, .. }), "{error}");
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
}

#[test]
fn what_is_wrong_is_said() {
    let (_dir, run) = run();
    assert!(read_snapshot(&run).unwrap_err().to_string().contains("config.bin"));
    let good = encode(&snapshot()).unwrap();
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage, &str); 7] = [
        ("magic", |b| b[0] ^= 1, "not a file of Sluice"),
        ("layout", |b| b[8] ^= 1, "one build"),
        ("hash", |b| b[16] ^= 1, "one build"),
        ("generation", |b| b[64] ^= 1, "checksum"),
        ("length", |b| b[72] ^= 1, "its header says"),
        ("body", |b| b[100] ^= 1, "checksum"),
        ("tail", |b| b.truncate(50), "has 50 bytes"),
    ];
    for (name, damage, expected) in cases {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(run.snapshot(), bytes).unwrap();
        let error = read_snapshot(&run).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let file = fs::File::create(run.snapshot()).unwrap();
    file.set_len(MAX_SNAPSHOT_BYTES + 1).unwrap();
    assert!(matches!(read_snapshot(&run), Err(SnapshotError::TooLong { .. })));
}

/// A file with a head that fits its body, whatever that is.
fn sealed(generation: u64, body: &[u8]) -> Vec<u8> {
    let head = Head {
        preamble: Preamble::new(MAGIC, layout_hash()),
        generation,
        length: body.len() as u64,
        checksum: mix(generation, body),
        spare: 0,
    };
    [head.as_bytes(), body].concat()
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let run = RunDir::new("/nowhere");
        prop_assert!(decode(&run, &bytes).is_err());
        // The same behind a head that is in order: only the body's own decoding stands guard.
        let _ = decode(&run, &sealed(1, &bytes));
    }

    #[test]
    fn any_flipped_bit_is_found(at in 0..400_usize, bit in 0..8_u8) {
        let mut bytes = encode(&snapshot()).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let run = RunDir::new("/nowhere");
        // The version's text and the spare words are for people and for later.
        let unused = (12..16).contains(&at) || (24..64).contains(&at) || (88..96).contains(&at);
        prop_assert_eq!(decode(&run, &bytes).is_err(), !unused, "byte {}", at);
    }

    #[test]
    fn a_damaged_body_under_a_right_checksum_never_panics(at in 0..400_usize, byte: u8, cut in 0..40_usize) {
        let mut body = encode(&snapshot()).unwrap().split_off(HEAD);
        let at = at % body.len();
        body[at] = byte;
        let kept = body.len() - cut.min(body.len());
        let _ = decode(&RunDir::new("/nowhere"), &sealed(42, &body[..kept]));
    }
}
