//! What all workers share: who owns which extent of records, which port block, and the state of the ports in it.
//!
//! Nothing here is touched for an established session. Claims are compare-and-swap on one byte; what stands behind a
//! claimed byte is written by the owner only.
//!
//! A *slot* is the place of a pool address in these tables. Slots outlive configurations: an address that stays keeps its
//! slot, one that was removed keeps it until its last block has been released.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::arena::zeroed;
use crate::config::{Config, Pool};
use crate::error::ConfigError;
use crate::fragments::DatagramKey;
use crate::hash::{HashSeed, Rng};
use crate::ports::PortTable;
use crate::record::Session;
use crate::reserved::Withheld;
use crate::toeplitz::{KEY_BYTES, Toeplitz};
use crate::types::{Kind, KindRealm, Protocol, WorkerId};

/// Records of an extent.
pub(crate) const EXTENT: u32 = 4096;
/// Logarithm of the ports of a unit, the smallest block. Owners are kept by unit, so that blocks of several sizes can live
/// on one address: a block size may change while sessions last.
pub(crate) const UNIT_SHIFT: u8 = 6;
/// Units of an address.
pub(crate) const UNITS: usize = 65_536 >> UNIT_SHIFT;
/// Entries of the table from hash to worker.
const TABLE: usize = 128;
/// An owner byte nobody has claimed; worker n writes n + 1. Zero, so that untouched tables cost no memory.
const FREE: u8 = 0;
/// An owner byte of a unit that rests after a loss of state: not free, and nobody's.
const RESTS: u8 = u8::MAX;
const _: () = assert!(WorkerId::MAX < RESTS as usize);
/// Mark of a used slot identity.
const USED: u64 = 1 << 63;

/// Sizes and secrets, fixed for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Workers, 1 to [`WorkerId::MAX`].
    pub workers: u8,
    /// Pool addresses that there is room for, in one configuration.
    pub max_addresses: u32,
    /// Random: seeds the hashes, the worker function and the choice of ports.
    pub seed: [u64; 4],
}

impl Default for Geometry {
    fn default() -> Self {
        Self { workers: 1, max_addresses: 4096, seed: [0; 4] }
    }
}

/// Who serves an external address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalOwner {
    /// No external address.
    NotExternal,
    /// A port of a pool, in a block that nobody has, whether it may be claimed or rests.
    Free,
    /// The worker that has the block.
    Worker(WorkerId),
    /// A port that is never given out: the box's own, if the address is.
    Kernel,
    /// A static binding, and the worker of its subscriber.
    Static(WorkerId),
}

/// One a process, shared by all workers.
#[derive(Debug)]
pub struct Shared {
    sessions: &'static [Session],
    geometry: Geometry,
    toeplitz: Toeplitz,
    /// Owner of each extent.
    extents: Box<[AtomicU8]>,
    /// Address of each slot, with bit 63 set.
    identities: Box<[AtomicU64]>,
    /// Units that are not free, by slot.
    claimed: Box<[AtomicU32]>,
    /// Owner of each unit, [`UNITS`] a slot.
    owners: Box<[AtomicU8]>,
    pub(crate) ports: PortTable,
    /// Subscribers of each worker.
    subscribers: [Count; WorkerId::MAX],
    /// How often units have become free.
    releases: Count,
}

/// A number on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicU32);

impl Shared {
    /// Tables for a region of free session records. For each address 480 KiB of address space are reserved here. Its bitmaps, 48
    /// KiB, get their memory when it is configured; the rest is touched when used, a byte for each port and protocol that rests.
    pub fn new(sessions: &'static [Session], geometry: Geometry) -> Arc<Self> {
        let geometry = Geometry {
            workers: geometry.workers.clamp(1, WorkerId::MAX as u8),
            max_addresses: geometry.max_addresses.max(1),
            ..geometry
        };
        let mut rng = Rng::new(geometry.seed.map(|word| word ^ 0x7370_7265_6164), u8::MAX);
        let mut key = [0; KEY_BYTES];
        key.as_chunks_mut::<8>().0.iter_mut().for_each(|chunk| *chunk = rng.next().to_be_bytes());
        // Twice, so that one configuration can replace all addresses of another whose sessions are still there.
        let addresses = geometry.max_addresses as usize * 2;
        Arc::new(Self {
            sessions,
            geometry,
            toeplitz: Toeplitz::new(key),
            extents: zeroed(sessions.len().div_ceil(EXTENT as usize)),
            identities: zeroed(addresses),
            claimed: zeroed(addresses),
            owners: zeroed(addresses * UNITS),
            ports: PortTable::new(addresses),
            subscribers: std::array::from_fn(|_| Count::default()),
            releases: Count::default(),
        })
    }

    /// The records.
    pub fn sessions(&self) -> &'static [Session] {
        self.sessions
    }

    /// Number of workers.
    pub fn workers(&self) -> u8 {
        self.geometry.workers
    }

    /// Sizes and secrets.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn max_addresses(&self) -> u32 {
        self.geometry.max_addresses
    }

    pub(crate) fn hash_seed(&self) -> HashSeed {
        HashSeed::new(self.geometry.seed)
    }

    /// The Toeplitz key, for network cards that can be told to spread subscribers as [`Shared::subscriber_worker`] does.
    pub fn toeplitz_key(&self) -> &[u8; KEY_BYTES] {
        self.toeplitz.key()
    }

    /// The worker that owns a subscriber: hash of its prefix, through a fixed table of 128 entries.
    //= conformance MAP-13
    pub fn subscriber_worker(&self, config: &Config, kind_realm: KindRealm, inside: u128) -> WorkerId {
        let subscriber = config.subscriber(kind_realm, inside);
        let hash = match kind_realm.kind() {
            Some(Kind::Nat64) => self.toeplitz.v6(subscriber),
            _ => self.toeplitz.v4(subscriber as u32),
        };
        WorkerId((hash as usize % TABLE % usize::from(self.geometry.workers)) as u8)
    }

    /// The worker that sees all fragments of a datagram first.
    pub fn datagram_worker(&self, key: &DatagramKey) -> WorkerId {
        WorkerId((key.hash(self.hash_seed()) as u32 % u32::from(self.geometry.workers)) as u8)
    }

    /// Who serves an external address and port.
    //= conformance MAP-13
    pub fn external_owner(
        &self,
        config: &Config,
        protocol: Protocol,
        external: u32,
        port: u16,
    ) -> ExternalOwner {
        if let Some(binding) = config.static_at(protocol, external, port) {
            return ExternalOwner::Static(WorkerId(binding.worker));
        }
        let Some((pool, slot)) = config.locate(external) else {
            return if config.is_external(external) {
                ExternalOwner::Kernel
            } else {
                ExternalOwner::NotExternal
            };
        };
        match self.owners[slot as usize * UNITS + usize::from(port >> UNIT_SHIFT)].load(Ordering::Acquire) {
            //= conformance PORT-08
            _ if !pool.offers(port) => ExternalOwner::Kernel,
            FREE | RESTS => ExternalOwner::Free,
            owner => ExternalOwner::Worker(WorkerId(owner - 1)),
        }
    }

    /// The owner bytes of a block.
    fn units(&self, slot: u32, block: u16, shift: u8) -> &[AtomicU8] {
        let count = 1 << (shift - UNIT_SHIFT);
        &self.owners[slot as usize * UNITS + usize::from(block) * count..][..count]
    }

    /// Claims a free block of an address that has ports in `[first, last]`, some of them not withheld, starting the search at
    /// random.
    pub(crate) fn claim_block(
        &self,
        (address, slot): (u32, u32),
        shift: u8,
        ((first, last), withheld): ((u16, u16), Withheld<'_>),
        worker: WorkerId,
        rng: &mut Rng,
    ) -> Option<u16> {
        let (low, count) = (first >> shift, u32::from(last >> shift) - u32::from(first >> shift) + 1);
        let start = rng.below(count);
        let mut blocks = (0..count).map(|step| low + ((start + step) % count) as u16);
        //= conformance PORT-08, PORT-14
        let offers = |block: u16| {
            let start = u32::from(block) << shift;
            let end = start + (1 << shift) - 1;
            !withheld.covers(start.max(first.into()) as u16, end.min(last.into()) as u16)
        };
        let block = blocks.find(|&block| offers(block) && self.claim_units(slot, block, shift, worker))?;
        // The slot may have been given to another address between our configuration and now.
        if self.identities[slot as usize].load(Ordering::SeqCst) != identity(address) {
            self.release_block(slot, block, shift);
            return None;
        }
        Some(block)
    }

    /// Claims all units of a block or none.
    fn claim_units(&self, slot: u32, block: u16, shift: u8, worker: WorkerId) -> bool {
        let units = self.units(slot, block, shift);
        if units.iter().any(|unit| unit.load(Ordering::Relaxed) != FREE) {
            return false;
        }
        let take = |unit: &AtomicU8| {
            unit.compare_exchange(FREE, worker.0 + 1, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        let taken = units.iter().take_while(|unit| take(unit)).count();
        if taken < units.len() {
            units[..taken].iter().for_each(|unit| unit.store(FREE, Ordering::Release));
            return false;
        }
        self.claimed[slot as usize].fetch_add(units.len() as u32, Ordering::Relaxed);
        true
    }

    /// Gives a block back.
    pub(crate) fn release_block(&self, slot: u32, block: u16, shift: u8) {
        let units = self.units(slot, block, shift);
        self.claimed[slot as usize].fetch_sub(units.len() as u32, Ordering::Relaxed);
        units.iter().for_each(|unit| unit.store(FREE, Ordering::Release));
        self.releases.0.fetch_add(1, Ordering::Release);
    }

    /// How often units have become free, so far. What is found after this number was read, and as long as it stays, is true.
    pub(crate) fn releases(&self) -> u32 {
        self.releases.0.load(Ordering::Acquire)
    }

    /// Lets a free unit rest: nobody can claim it until [`Shared::wake_unit`]. False if it is not free.
    //= conformance PORT-13
    pub(crate) fn rest_unit(&self, slot: u32, unit: usize) -> bool {
        let owner = &self.owners[slot as usize * UNITS + unit];
        let rests = owner.compare_exchange(FREE, RESTS, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        self.claimed[slot as usize].fetch_add(u32::from(rests), Ordering::Relaxed);
        rests
    }

    /// Makes a unit that rests free. Who let it rest calls this, once.
    pub(crate) fn wake_unit(&self, slot: u32, unit: usize) {
        self.claimed[slot as usize].fetch_sub(1, Ordering::Relaxed);
        self.owners[slot as usize * UNITS + unit].store(FREE, Ordering::Release);
        self.releases.0.fetch_add(1, Ordering::Release);
    }

    /// Whether an address of a pool, by its position there, may have free units. No doubt unless units outside of what the
    /// pool gives out, left over from an earlier one, have become free since the configuration was compiled.
    pub(crate) fn has_free_block(&self, position: usize, pool: &Pool) -> bool {
        let (slot, beyond) = (pool.addresses[position].1, pool.beyond[position]);
        let units = pool.blocks << (pool.shift - UNIT_SHIFT);
        self.claimed[slot as usize].load(Ordering::Relaxed) < units + beyond
    }

    /// Units of a slot that are claimed though the pool gives none of their block's ports out: it was another one before.
    pub(crate) fn claimed_beyond(&self, slot: u32, pool: &Pool) -> u32 {
        let owners = &self.owners[slot as usize * UNITS..][..UNITS];
        let claimed = |owner: &AtomicU8| owner.load(Ordering::Relaxed) != FREE;
        let block = |unit: u32| unit >> (pool.shift - UNIT_SHIFT);
        let beyond =
            (0..).zip(owners).filter(|(unit, owner)| claimed(owner) && !pool.has_block(block(*unit)));
        beyond.count() as u32
    }

    /// Says how many subscribers a worker has.
    pub(crate) fn set_subscribers(&self, worker: WorkerId, count: u32) {
        self.subscribers[usize::from(worker.0)].0.store(count, Ordering::Relaxed);
    }

    /// Whether a worker that has `count` subscribers may have one more, if all workers together may have `most`. Each says first
    /// what it is about to have, so that two that ask at once may both be refused, but never both be served beyond the limit.
    pub(crate) fn admit_subscriber(&self, worker: WorkerId, count: u32, most: u32) -> bool {
        self.subscribers[usize::from(worker.0)].0.store(count + 1, Ordering::SeqCst);
        let workers = &self.subscribers[..usize::from(self.geometry.workers)];
        let all: u32 = workers.iter().map(|count| count.0.load(Ordering::SeqCst)).sum();
        if all > most {
            self.set_subscribers(worker, count);
        }
        all <= most
    }

    /// Claims an extent of records for a worker, looking from `hint` on.
    pub(crate) fn claim_extent(&self, worker: WorkerId, hint: usize) -> Option<usize> {
        let count = self.extents.len();
        (0..count).map(|step| (hint + step) % count).find(|&extent| {
            let owner = &self.extents[extent];
            owner.load(Ordering::Relaxed) == FREE
                && owner.compare_exchange(FREE, worker.0 + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })
    }

    /// Gives an extent back.
    pub(crate) fn release_extent(&self, extent: usize) {
        self.extents[extent].store(FREE, Ordering::Release);
    }

    /// Slots for addresses. An address that has one keeps it.
    pub(crate) fn assign_slots(
        &self,
        wanted: &[u32],
        previous: Option<&Config>,
    ) -> Result<Vec<u32>, ConfigError> {
        let identities = self.identities.iter().enumerate();
        let known: HashMap<u64, u32> =
            identities.map(|(slot, found)| (found.load(Ordering::Relaxed), slot as u32)).collect();
        let mut taken: HashSet<u32> = previous
            .into_iter()
            .flat_map(|config| &config.pools)
            .flat_map(|pool| pool.addresses.iter().map(|&(_, slot)| slot))
            .collect();
        taken.extend(wanted.iter().filter_map(|&address| known.get(&identity(address))));
        let mut candidates = 0..self.identities.len() as u32;
        let slot = |&address: &u32| match known.get(&identity(address)) {
            Some(&slot) => Ok(slot),
            None => candidates
                .by_ref()
                .find(|slot| !taken.contains(slot) && self.take_slot(*slot, identity(address)))
                .inspect(|&slot| self.ports.prepare(slot))
                .ok_or(ConfigError::AddressesResting),
        };
        wanted.iter().map(slot).collect()
    }

    /// Gives an unused slot to an address. A worker with an older configuration may claim a block of it at the same
    /// moment: it checks the identity after its claim, we check the claims after writing the identity, so one of us sees the other.
    fn take_slot(&self, slot: u32, identity: u64) -> bool {
        let own = slot as usize * UNITS..(slot as usize + 1) * UNITS;
        let unused = || self.owners[own.clone()].iter().all(|owner| owner.load(Ordering::SeqCst) == FREE);
        if self.identities[slot as usize].load(Ordering::Relaxed) != 0 && !unused() {
            return false;
        }
        self.identities[slot as usize].store(identity, Ordering::SeqCst);
        unused()
    }
}

fn identity(address: u32) -> u64 {
    USED | u64::from(address)
}
