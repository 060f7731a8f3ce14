//! The bindings (BIB) of one worker: inside address and port to external address and port, per protocol and pool.

use crate::hash::HashSeed;
use crate::index::Index;
use crate::slab::Slab;
use crate::types::{KindRealm, Protocol};

/// Pool of a binding that the operator made.
pub(crate) const STATIC: u16 = u16::MAX;

/// A binding, 40 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    inside: InsideKey,
    pub(crate) external: u32,
    /// Its port block; of a static binding, its subscriber.
    pub(crate) home: u32,
    pub(crate) sessions: u32,
    pub(crate) external_port: u16,
    /// Prefix of the first session: what sessions from outside are made with (ADDR-18).
    pub(crate) prefix64: u8,
    /// No longer found: it waits for its last session.
    pub(crate) retired: bool,
}

const _: () = assert!(size_of::<Binding>() == 40);

/// The inside of a binding, in the words that it is hashed by and compared with: the address, and in the last word port u16,
/// pool u16, kind and realm u8, protocol u8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InsideKey([u64; 3]);

/// The outside of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExternalKey {
    pub(crate) protocol: Protocol,
    pub(crate) external: u32,
    pub(crate) external_port: u16,
}

impl InsideKey {
    /// Of an inside address and port in a pool.
    #[inline(always)]
    pub(crate) const fn new(
        kind_realm: KindRealm,
        protocol: Protocol,
        (inside, inside_port): (u128, u16),
        pool: u16,
    ) -> Self {
        let rest =
            inside_port as u64 | (pool as u64) << 16 | (kind_realm.0 as u64) << 32 | (protocol as u64) << 40;
        Self([(inside >> 64) as u64, inside as u64, rest])
    }

    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        seed.of_four(self.0[0], self.0[1], self.0[2], 0)
    }
}

impl ExternalKey {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        let port = u64::from(self.external_port) | (self.protocol as u64) << 16;
        seed.of_two(u64::from(self.external) | port << 32, 0)
    }
}

impl Binding {
    pub(crate) fn new(inside: &InsideKey, external: &ExternalKey, home: u32) -> Self {
        Self {
            inside: *inside,
            external: external.external,
            home,
            sessions: 0,
            external_port: external.external_port,
            prefix64: 0,
            retired: false,
        }
    }

    pub(crate) fn inside(&self) -> u128 {
        u128::from(self.inside.0[0]) << 64 | u128::from(self.inside.0[1])
    }

    pub(crate) fn inside_port(&self) -> u16 {
        self.inside.0[2] as u16
    }

    /// Id of the pool, or [`STATIC`].
    pub(crate) fn pool(&self) -> u16 {
        (self.inside.0[2] >> 16) as u16
    }

    pub(crate) fn kind_realm(&self) -> KindRealm {
        KindRealm((self.inside.0[2] >> 32) as u8)
    }

    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::from_number((self.inside.0[2] >> 40) as u8).unwrap_or(Protocol::Udp)
    }

    pub(crate) fn is_static(&self) -> bool {
        self.pool() == STATIC
    }

    #[inline(always)]
    fn inside_key(&self) -> &InsideKey {
        &self.inside
    }

    #[inline(always)]
    pub(crate) fn external_key(&self) -> ExternalKey {
        ExternalKey { protocol: self.protocol(), external: self.external, external_port: self.external_port }
    }
}

/// The table with its two indexes.
#[derive(Debug)]
pub(crate) struct Bindings {
    slab: Slab<Binding>,
    by_inside: Index,
    by_external: Index,
    seed: HashSeed,
}

impl Bindings {
    pub(crate) fn new(capacity: u32, seed: HashSeed) -> Self {
        Self {
            slab: Slab::new(capacity),
            by_inside: Index::new(capacity),
            by_external: Index::new(capacity),
            seed,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.slab.capacity()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slab.is_full()
    }

    #[inline]
    pub(crate) fn get(&self, binding: u32) -> &Binding {
        self.slab.get(binding)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, binding: u32) -> &mut Binding {
        self.slab.get_mut(binding)
    }

    /// Asks for the memory of a binding.
    #[inline]
    pub(crate) fn prefetch(&self, binding: u32) {
        self.slab.prefetch(binding);
    }

    /// Asks for the index lines of a binding.
    #[inline]
    pub(crate) fn prefetch_indexes(&self, binding: u32) {
        let binding = self.get(binding);
        self.prefetch_inside(binding.inside_key());
        self.prefetch_external(&binding.external_key());
    }

    /// Asks for the index line of an inside key.
    #[inline]
    pub(crate) fn prefetch_inside(&self, key: &InsideKey) {
        self.by_inside.prefetch(self.by_inside.place(key.hash(&self.seed)));
    }

    /// The binding whose tag stands in the index: perhaps the wanted one. Its memory is asked for.
    #[inline]
    pub(crate) fn guess(&self, key: &InsideKey) -> Option<u32> {
        let place = self.by_inside.place(key.hash(&self.seed));
        let slots = self.by_inside.candidates(place);
        let number = (slots != 0).then(|| self.by_inside.at(place, slots.trailing_zeros()))?;
        self.slab.prefetch(number);
        Some(number)
    }

    /// Asks for the index line of an external key.
    #[inline]
    pub(crate) fn prefetch_external(&self, key: &ExternalKey) {
        self.by_external.prefetch(self.by_external.place(key.hash(&self.seed)));
    }

    pub(crate) fn by_inside(&self, key: &InsideKey) -> Option<u32> {
        self.by_inside
            .find(self.by_inside.place(key.hash(&self.seed)), |number| *self.get(number).inside_key() == *key)
    }

    pub(crate) fn by_external(&self, key: &ExternalKey) -> Option<u32> {
        self.by_external.find(self.by_external.place(key.hash(&self.seed)), |number| {
            self.get(number).external_key() == *key
        })
    }

    /// Enters a binding. `None` if there is no room; then nothing has changed.
    pub(crate) fn add(&mut self, binding: Binding) -> Option<u32> {
        let inside = self.by_inside.place(binding.inside_key().hash(&self.seed));
        let external = self.by_external.place(binding.external_key().hash(&self.seed));
        let number = self.slab.insert(binding)?;
        if self.by_inside.insert(inside, number) {
            if self.by_external.insert(external, number) {
                return Some(number);
            }
            self.by_inside.remove(inside, number);
        }
        self.slab.remove(number);
        None
    }

    /// Takes a binding out of the indexes: no packet finds it any more. Its sessions keep it in the table.
    pub(crate) fn retire(&mut self, number: u32) {
        let binding = self.slab.get_mut(number);
        if binding.retired {
            return;
        }
        binding.retired = true;
        let binding = *binding;
        self.by_inside.remove(self.by_inside.place(binding.inside_key().hash(&self.seed)), number);
        self.by_external.remove(self.by_external.place(binding.external_key().hash(&self.seed)), number);
    }

    /// Deletes a binding.
    pub(crate) fn remove(&mut self, number: u32) {
        self.retire(number);
        self.slab.remove(number);
    }
}
