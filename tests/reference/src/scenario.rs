//! Random configurations: small pools, few hosts, all kinds of rules, so that everything that can be scarce is.

use sluice_nat::{Filtering, Kind, Limits, Pairing, PoolSpec, Protocol, RuleSpec, Spec, StaticSpec, Timers};

use crate::dice::Dice;
use crate::traffic::{H, HOST};

/// First address of the pools.
pub const POOL: u32 = 0xc000_0200;
/// Prefixes: two of /96, the well-known one, one of /64 and one of /40.
const PREFIXES: [(u128, u8); 5] = [
    (0x2001_0db8_0064 << 80, 96),
    (0x2001_0db8_0065 << 80, 96),
    (0x64_ff9b << 96, 96),
    (0x2001_0db8_0066_0001 << 64, 64),
    (0x20_010d_ba01 << 88, 40),
];

/// A configuration. It need not be a valid one.
pub fn spec(dice: &mut impl Dice) -> Spec {
    let mut rules = vec![nat64(dice, 0, 0), nat44(dice, 0)];
    for prefix in 1..5 {
        if dice.one_in(3) {
            let pool = dice.roll(2) as u16;
            rules.push(nat64(dice, prefix, pool));
        }
    }
    if dice.one_in(4) {
        rules.insert(0, RuleSpec { sources: vec![(HOST + 2, 31)], ..nat44(dice, 1) });
    }
    if dice.one_in(4) {
        rules.insert(0, RuleSpec { realm: 5, interfaces: vec![1], ..nat44(dice, 1) });
    }
    if dice.one_in(6) {
        let gone = dice.roll(rules.len() as u32) as usize;
        rules.remove(gone);
    }
    if rules.len() > 1 && dice.one_in(4) {
        let last = rules.len() - 1;
        rules.swap(0, last);
    }
    let statics = statics(dice, &rules);
    Spec { pools: pools(dice), statics, rules, limits: limits(dice), timers: timers(dice), ..Spec::default() }
}

fn filtering(dice: &mut impl Dice) -> [Filtering; 3] {
    let all = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
        Filtering::EndpointIndependent,
    ];
    [(); 3].map(|()| dice.pick(&all))
}

fn nat64(dice: &mut impl Dice, prefix: usize, pool: u16) -> RuleSpec {
    RuleSpec {
        kind: Kind::Nat64,
        realm: 0,
        prefix64: Some(PREFIXES[prefix]),
        sources: if dice.one_in(6) {
            vec![(H & !0xff, 120), (H + (2 << 64), 127)]
        } else {
            vec![(0x2001_0db8 << 96, 32)]
        },
        except: vec![],
        interfaces: if dice.one_in(12) { vec![1] } else { vec![] },
        pool,
        filtering: filtering(dice),
        wkp_allow_non_global: dice.one_in(2),
    }
}

fn nat44(dice: &mut impl Dice, pool: u16) -> RuleSpec {
    RuleSpec {
        kind: Kind::Nat44,
        realm: 0,
        prefix64: None,
        sources: match dice.roll(12) {
            0 => vec![],
            1 => vec![(HOST, 32), (HOST + 4, 31)],
            _ => vec![(0x0a00_0000, 8)],
        },
        except: if dice.one_in(6) { vec![(crate::traffic::S + 2, 32)] } else { vec![] },
        interfaces: vec![],
        pool,
        filtering: filtering(dice),
        wkp_allow_non_global: false,
    }
}

fn pools(dice: &mut impl Dice) -> Vec<PoolSpec> {
    let hold = |dice: &mut _| Dice::pick(dice, &[0, 60, 120, 240]);
    let first = PoolSpec {
        name: "first".into(),
        prefixes: vec![(POOL + 4 * dice.roll(2), dice.pick(&[30, 30, 31, 32]))],
        port_min: dice.pick(&[1, 1024, 1024, 1100]),
        port_max: dice.pick(&[1279, 2047, 2047, 65_535]),
        block_size: dice.pick(&[64, 128, 256]),
        hold_down: hold(dice),
        max_resting: PoolSpec::ALL,
        parity: !dice.one_in(4),
        reserved: reserved(dice),
        pairing: dice.pick(&[Pairing::Strict, Pairing::Strict, Pairing::Soft]),
        deterministic: None,
    };
    let second = PoolSpec {
        name: "second".into(),
        prefixes: vec![(0xcb00_7180, 31)],
        port_min: 1024,
        port_max: 1500,
        block_size: 64,
        hold_down: hold(dice),
        max_resting: PoolSpec::ALL,
        parity: true,
        reserved: vec![],
        pairing: Pairing::Strict,
        deterministic: None,
    };
    vec![first, second]
}

/// Reserved ports: single ones, parts of blocks, whole blocks. Some that static bindings leave alone are left of each block.
fn reserved(dice: &mut impl Dice) -> Vec<(u16, u16)> {
    match dice.roll(4) {
        0 => vec![(1040, 1040), (1100, 1100 + dice.roll(40) as u16), (1234, 1235)],
        1 => vec![(1030, 1030 + dice.roll(300) as u16), (2000, 2001)],
        _ => vec![],
    }
}

fn timers(dice: &mut impl Dice) -> Timers {
    Timers {
        udp: 120 + dice.roll(300),
        tcp_opening: 1 + dice.roll(300),
        tcp_transitory: 1 + dice.roll(300),
        tcp_established: 7200 + dice.roll(3) * 3600,
        icmp: 60 + dice.roll(100),
        udp_inbound_refresh: dice.one_in(2),
        ..Timers::default()
    }
}

fn limits(dice: &mut impl Dice) -> Limits {
    Limits {
        ipv6_prefix_length: 64,
        max_sessions: dice.pick(&[30, 100, 4096]),
        max_port_blocks: dice.pick(&[1, 2, 4, 8]),
        new_sessions_per_second: dice.pick(&[0, 0, 5, 50]),
        ..Limits::default()
    }
}

fn statics(dice: &mut impl Dice, rules: &[RuleSpec]) -> Vec<StaticSpec> {
    (0..dice.roll(5) as u16)
        .map(|n| {
            let rule = dice.roll(rules.len() as u32) as u16;
            let v4 = rules[usize::from(rule)].kind == Kind::Nat44;
            StaticSpec {
                rule,
                protocol: dice.pick(&[Protocol::Udp, Protocol::Tcp, Protocol::Icmp]),
                inside: if v4 { HOST } else { H } + u128::from(dice.roll(3)),
                inside_port: 1000 + n,
                external: POOL + dice.roll(8),
                external_port: 1024 + n,
            }
        })
        .collect()
}
