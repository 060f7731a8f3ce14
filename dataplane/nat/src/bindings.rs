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
    inside: [u64; 2],
    pub(crate) external: u32,
    pub(crate) inside_port: u16,
    pub(crate) external_port: u16,
    /// Its port block; of a static binding, its subscriber.
    pub(crate) home: u32,
    pub(crate) sessions: u32,
    /// Id of the pool, or [`STATIC`].
    pub(crate) pool: u16,
    /// Id of the rule, of a static binding.
    pub(crate) rule: u16,
    pub(crate) kind_realm: KindRealm,
    pub(crate) protocol: Protocol,
    /// Prefix of the first session: what sessions from outside are made with (ADDR-18).
    pub(crate) prefix64: u8,
    /// No longer found: it waits for its last session.
    pub(crate) retired: bool,
}

const _: () = assert!(size_of::<Binding>() == 40);

/// The inside of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InsideKey {
    pub(crate) kind_realm: KindRealm,
    pub(crate) protocol: Protocol,
    pub(crate) inside: u128,
    pub(crate) inside_port: u16,
    pub(crate) pool: u16,
}

/// The outside of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExternalKey {
    pub(crate) protocol: Protocol,
    pub(crate) external: u32,
    pub(crate) external_port: u16,
}

impl InsideKey {
    fn hash(&self, seed: &HashSeed) -> u64 {
        let rest = u64::from(self.inside_port)
            | u64::from(self.pool) << 16
            | u64::from(self.kind_realm.0) << 32
            | (self.protocol as u64) << 40;
        seed.of_four((self.inside >> 64) as u64, self.inside as u64, rest, 0)
    }
}

impl ExternalKey {
    fn hash(&self, seed: &HashSeed) -> u64 {
        let port = u64::from(self.external_port) | (self.protocol as u64) << 16;
        seed.of_two(u64::from(self.external) | port << 32, 0)
    }
}

impl Binding {
    pub(crate) fn new(inside: &InsideKey, external: &ExternalKey, home: u32) -> Self {
        Self {
            inside: [(inside.inside >> 64) as u64, inside.inside as u64],
            external: external.external,
            inside_port: inside.inside_port,
            external_port: external.external_port,
            home,
            sessions: 0,
            pool: inside.pool,
            rule: 0,
            kind_realm: inside.kind_realm,
            protocol: inside.protocol,
            prefix64: 0,
            retired: false,
        }
    }

    pub(crate) fn inside(&self) -> u128 {
        u128::from(self.inside[0]) << 64 | u128::from(self.inside[1])
    }

    pub(crate) fn is_static(&self) -> bool {
        self.pool == STATIC
    }

    pub(crate) fn inside_key(&self) -> InsideKey {
        InsideKey {
            kind_realm: self.kind_realm,
            protocol: self.protocol,
            inside: self.inside(),
            inside_port: self.inside_port,
            pool: self.pool,
        }
    }

    pub(crate) fn external_key(&self) -> ExternalKey {
        ExternalKey { protocol: self.protocol, external: self.external, external_port: self.external_port }
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
        self.prefetch_inside(&binding.inside_key());
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
            .find(self.by_inside.place(key.hash(&self.seed)), |number| self.get(number).inside_key() == *key)
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
