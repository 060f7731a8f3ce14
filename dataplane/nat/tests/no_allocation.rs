//! After its start an engine never asks the allocator for anything, slow paths and changes of configuration included.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use sluice_nat::*;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn spec(filtering: Filtering, statics: u16) -> Spec {
    Spec {
        pools: vec![PoolSpec {
            name: "p".into(),
            prefixes: vec![(0xc000_0200, 28)],
            port_min: 1024,
            port_max: 65_535,
            block_size: 64,
            hold_down: 120,
            max_resting: PoolSpec::ALL,
            parity: true,
            reserved: vec![],
            pairing: sluice_nat::Pairing::Strict,
            deterministic: None,
        }],
        rules: vec![RuleSpec {
            kind: Kind::Nat44,
            realm: 0,
            prefix64: None,
            sources: vec![(0x0a00_0000, 8)],
            except: vec![],
            interfaces: vec![],
            pool: 0,
            filtering: [filtering; 3],
            wkp_allow_non_global: false,
        }],
        statics: (0..statics)
            .map(|n| StaticSpec {
                rule: 0,
                protocol: Protocol::Tcp,
                inside: 0x0a01_0000 + u128::from(n),
                inside_port: 80,
                external: 0xc000_0201,
                external_port: 2000 + n,
            })
            .collect(),
        ..Spec::default()
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let sessions: &'static [Session] = Box::leak((0..5000).map(|_| Session::default()).collect());
    let shared = Shared::new(sessions, Geometry::default());
    let mut configs = vec![Arc::new(shared.compile(&spec(Filtering::default(), 3), 1, None).expect("valid"))];
    for (generation, filtering, statics) in
        [(2, Filtering::AddressDependent, 30), (3, Filtering::AddressAndPortDependent, 5)]
    {
        let next = shared.compile(&spec(filtering, statics), generation, configs.last().map(Arc::as_ref));
        configs.push(Arc::new(next.expect("valid")));
    }
    let mut engine = Engine::new(shared, WorkerId(0), Arc::clone(&configs[0]));
    let before = CALLS.with(Cell::get);
    let mut refused = 0;
    for n in 0..60_000u32 {
        let now = Tick(n / 10);
        let protocol = Protocol::ALL[n as usize % 3];
        let tuple = OutboundTuple {
            kind_realm: KindRealm::new(Kind::Nat44, 0),
            protocol,
            inside: 0x0a00_0000 + u128::from(n % 97),
            inside_port: (n % 1013) as u16 + 1,
            remote: 0x0808_0000 + n % 11,
            remote_port: 0,
            prefix64: 0,
        };
        match engine.new_outbound(&tuple, 0, 2, now, &mut ()) {
            Ok(flow) => {
                let reply = InboundTuple {
                    protocol,
                    external: flow.fixed.external,
                    external_port: flow.fixed.external_port,
                    remote: 0x0808_0000 + n % 13,
                    remote_port: 0,
                };
                refused += u32::from(engine.new_inbound(&reply, 2, now, &mut ()).is_err());
            }
            Err(_) => refused += 1,
        }
        engine.expire(now, 32, &mut ());
        if n % 20_000 == 19_999 {
            engine.set_config(Arc::clone(&configs[n as usize / 20_000 % 3]));
        }
    }
    assert_eq!(CALLS.with(Cell::get) - before, 0);
    assert!(refused > 0 && engine.stats().sessions > 0);
}
