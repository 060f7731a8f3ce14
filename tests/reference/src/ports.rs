//! Port blocks as the engine claims them, and the question whether what it chose was its to choose.
//!
//! The reference never chooses. It asks: is the port in range, in a block of this subscriber, free, rested, nobody's by
//! static binding; and was there one that would have been liked better (range, parity)?

use sluice_nat::{Pairing, PoolSpec, Protocol, TICKS_PER_SECOND, Tick};

use crate::hash::HashMap;
use crate::nat::{Inside, Owner};
use crate::rules::Rules;

/// Ticks after its hold-down within which a port may rest still: the engine keeps the time of it in coarse units.
const COARSE: u32 = 64;
/// Ticks that an empty block may wait for its release at most: twice the longest hold-down, as blocks queue behind each other.
const RELEASE: u32 = 2 * (241 * TICKS_PER_SECOND);

/// What the engine said of a block: external address, first and last port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// External address.
    pub external: u32,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Port {
    used: bool,
    freed: Option<Tick>,
}

#[derive(Clone, Debug)]
struct Block {
    claim: Claim,
    /// First and last port of the whole block, of which the pool's range may have cut something off.
    whole: (u16, u16),
    owner: Owner,
    pool: String,
    hold: u32,
    ports: [Vec<Port>; 3],
    used: u32,
    rests: Option<Tick>,
    empty_since: Tick,
}

impl Block {
    fn port(&mut self, protocol: Protocol, port: u16) -> &mut Port {
        &mut self.ports[protocol.index()][usize::from(port - self.claim.first)]
    }

    /// Ports of a window that can be had without any doubt.
    fn has_free(&self, window: &Window<'_>, rules: &Rules, now: Tick) -> bool {
        (self.claim.first..=self.claim.last).any(|port| {
            let at = &self.ports[window.protocol.index()][usize::from(port - self.claim.first)];
            window.likes(port)
                && !at.used
                && at.freed.is_none_or(|freed| now.since(freed) >= self.hold + COARSE)
                && !is_static(rules, window.protocol, self.claim.external, port)
        })
    }
}

/// Which ports would do.
#[derive(Clone, Copy, Debug)]
struct Window<'a> {
    pool: &'a PoolSpec,
    protocol: Protocol,
    first: u16,
    last: u16,
    parity: Option<u16>,
}

impl Window<'_> {
    fn likes(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
            && self.parity.is_none_or(|parity| port % 2 == parity)
            && !is_reserved(self.pool, port)
    }
}

/// Whether the operator bound a port.
pub fn is_static(rules: &Rules, protocol: Protocol, external: u32, port: u16) -> bool {
    let mut statics = rules.spec.statics.iter();
    statics.any(|made| (made.protocol, made.external, made.external_port) == (protocol, external, port))
}

/// Whether a pool keeps a port from dynamic use.
pub fn is_reserved(pool: &PoolSpec, port: u16) -> bool {
    pool.reserved.iter().any(|&(first, last)| (first..=last).contains(&port))
}

/// Whether a pool has an address.
pub fn has(pool: &PoolSpec, address: u32) -> bool {
    pool.prefixes.iter().any(|&(prefix, len)| len == 0 || (address ^ prefix) >> (32 - len) == 0)
}

/// All blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    all: HashMap<u64, Block>,
    by_owner: HashMap<Owner, Vec<u64>>,
    next: u64,
}

impl Blocks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many a subscriber has.
    pub fn of(&self, owner: Owner) -> usize {
        self.by_owner.get(&owner).map_or(0, Vec::len)
    }

    /// The blocks of a subscriber, for a person.
    pub fn describe(&self, owner: Owner) -> Vec<String> {
        let numbers = self.by_owner.get(&owner).into_iter().flatten();
        let one = |block: &Block| {
            format!(
                "{:?} of {} with {} in use, rests until {:?}",
                block.claim, block.pool, block.used, block.rests
            )
        };
        numbers.map(|number| one(&self.all[number])).collect()
    }

    fn own<'a>(&'a self, owner: Owner, pool: &'a PoolSpec) -> impl Iterator<Item = &'a Block> {
        let numbers = self.by_owner.get(&owner).into_iter().flatten();
        let blocks = numbers.map(|number| &self.all[number]);
        blocks.filter(|block| block.pool == pool.name && has(pool, block.claim.external))
    }

    /// The engine claimed a block.
    pub fn claim(&mut self, claim: Claim, owner: Owner, pool: &PoolSpec, most: u16, now: Tick) {
        let Claim { external, first, last } = claim;
        assert!(has(pool, external), "{claim:?} is not of pool {}", pool.name);
        let start = first / pool.block_size * pool.block_size;
        let end = start + (pool.block_size - 1);
        assert_eq!((first, last), (start.max(pool.port_min), end.min(pool.port_max)), "not a block");
        let near = |block: &&Block| block.claim.external == external;
        for other in self.all.values().filter(near) {
            assert!(other.whole.1 < start || other.whole.0 > end, "{claim:?} is {:?}'s", other.owner);
        }
        assert!(self.of(owner) < usize::from(most), "{owner:?} has its blocks already");
        // It may have several addresses, if one left the pool and came back.
        let home = self.own(owner, pool).last().map(|block| block.claim.external);
        let paired = home.is_none_or(|home| {
            home == external || pool.pairing == Pairing::Soft && !self.has_free_block(home, pool)
        });
        assert!(paired, "{owner:?} was on another address");
        let block = Block {
            claim,
            whole: (start, end),
            owner,
            pool: pool.name.clone(),
            hold: pool.hold_down * TICKS_PER_SECOND,
            ports: [(); 3].map(|()| vec![Port::default(); usize::from(last - first) + 1]),
            used: 0,
            rests: None,
            empty_since: now,
        };
        self.all.insert(self.next, block);
        self.by_owner.entry(owner).or_default().push(self.next);
        self.next += 1;
    }

    /// The engine gave a block back. Returns whose it was.
    pub fn release(&mut self, claim: Claim, now: Tick) -> Owner {
        let found = self.all.iter().find(|(_, block)| block.claim == claim).map(|(number, _)| *number);
        let number = found.unwrap_or_else(|| panic!("{claim:?} was nobody's"));
        let block = self.all.remove(&number).expect("just found");
        assert_eq!(block.used, 0, "{claim:?} is in use");
        assert!(block.rests.is_none_or(|until| until.since(now) == 0), "{claim:?} has not rested");
        let own = self.by_owner.get_mut(&block.owner).expect("has blocks");
        own.retain(|&other| other != number);
        if own.is_empty() {
            self.by_owner.remove(&block.owner);
        }
        block.owner
    }

    /// The engine chose a port for a new binding. Returns the block's number.
    pub fn take(
        &mut self,
        rules: &Rules,
        owner: Owner,
        pool: &PoolSpec,
        inside: &Inside,
        (external, port): (u32, u16),
        now: Tick,
    ) -> u64 {
        let numbers = self.by_owner.get(&owner).into_iter().flatten();
        let holds = |number: &&u64| {
            let claim = self.all[*number].claim;
            claim.external == external && (claim.first..=claim.last).contains(&port)
        };
        let number =
            *numbers.into_iter().find(holds).unwrap_or_else(|| panic!("port {port} of no own block"));
        let (near, liked) = windows(pool, inside);
        for wish in [liked, near] {
            let had =
                wish.likes(port) || !self.own(owner, pool).any(|block| block.has_free(&wish, rules, now));
            assert!(had, "port {port} for {inside:?}, though there were others: {wish:?}");
        }
        assert!((pool.port_min..=pool.port_max).contains(&port), "port {port} out of range");
        assert!(!is_reserved(pool, port), "port {port} is reserved");
        assert!(!is_static(rules, inside.protocol, external, port), "port {port} is the operator's");
        let block = self.all.get_mut(&number).expect("just found");
        assert!(block.pool == pool.name && has(pool, external), "an address that left its pool");
        let hold = block.hold;
        let at = block.port(inside.protocol, port);
        assert!(!at.used, "port {port} is in use");
        assert!(at.freed.is_none_or(|freed| now.since(freed) >= hold), "port {port} rests");
        at.used = true;
        block.used += 1;
        number
    }

    /// A binding is over; `revoked`, because the operator took it away.
    pub fn give_back(&mut self, number: u64, protocol: Protocol, port: u16, revoked: bool, now: Tick) {
        let block = self.all.get_mut(&number).expect("blocks outlive their bindings");
        let rests = (protocol != Protocol::Tcp || revoked) && block.hold > 0;
        let at = block.port(protocol, port);
        *at = Port { used: false, freed: if rests { Some(now) } else { at.freed } };
        if rests {
            block.rests = Some(now.after(block.hold + 1));
        }
        block.used -= 1;
        if block.used == 0 {
            block.empty_since = now;
        }
    }

    /// Whether the engine may say that a subscriber has no port to give: none of its own is free, and there is no block.
    pub fn none_left(
        &self,
        rules: &Rules,
        owner: Owner,
        pool: &PoolSpec,
        inside: &Inside,
        now: Tick,
    ) -> bool {
        let (first, last) = (pool.port_min, pool.port_max);
        let any = Window { pool, protocol: inside.protocol, first, last, parity: None };
        if self.own(owner, pool).any(|block| block.has_free(&any, rules, now)) {
            return false;
        }
        let addresses: Vec<u32> = match self.own(owner, pool).last() {
            Some(block) if pool.pairing == Pairing::Strict => vec![block.claim.external],
            _ => (pool.prefixes.iter())
                .flat_map(|&(first, len)| (0..1 << (32 - len)).map(move |n: u32| first + n))
                .collect(),
        };
        self.of(owner) >= usize::from(rules.spec.limits.max_port_blocks)
            || !addresses.into_iter().any(|address| self.has_free_block(address, pool))
    }

    fn has_free_block(&self, address: u32, pool: &PoolSpec) -> bool {
        let size = pool.block_size;
        let near = |block: &&Block| block.claim.external == address;
        let taken: Vec<(u16, u16)> = self.all.values().filter(near).map(|block| block.whole).collect();
        (pool.port_min / size..=pool.port_max / size).any(|number| {
            let (first, last) = (number * size, number * size + (size - 1));
            let mut ports = first.max(pool.port_min)..=last.min(pool.port_max);
            ports.any(|port| !is_reserved(pool, port))
                && !taken.iter().any(|&(start, end)| start <= last && end >= first)
        })
    }

    /// No block is kept that nobody needs.
    pub fn check(&self, now: Tick) {
        for block in self.all.values().filter(|block| block.used == 0) {
            assert!(now.since(block.empty_since) <= RELEASE, "{:?} is never released", block.claim);
        }
    }
}

/// The range that an inside port asks for, and of it the ports that are liked best.
fn windows<'a>(pool: &'a PoolSpec, inside: &Inside) -> (Window<'a>, Window<'a>) {
    let (min, max) = (pool.port_min, pool.port_max);
    let (first, last) = if inside.port < 1024 { (min, max.min(1023)) } else { (min.max(1024), max) };
    let (first, last) = if first <= last { (first, last) } else { (min, max) };
    let near = Window { pool, protocol: inside.protocol, first, last, parity: None };
    let keeps = inside.protocol == Protocol::Udp && pool.parity;
    (near, Window { parity: keeps.then_some(inside.port % 2), ..near })
}
