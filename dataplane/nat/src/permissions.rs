//! Which remote addresses may send to a binding under address-dependent filtering.
//!
//! One entry for each pair of binding and remote address that has a session, with their number. Only sessions of rules
//! that filter this way have entries, so with the default rules the table stays empty and its memory untouched. The
//! alternative, a list of sessions at each binding, costs every session a link and makes the check unbounded.

use crate::arena::Touch;
use crate::hash::HashSeed;
use crate::index::Index;
use crate::slab::Slab;

#[derive(Clone, Copy, Debug)]
struct Permission {
    binding: u32,
    remote: u32,
    sessions: u32,
}

/// The table of one worker.
#[derive(Debug)]
pub(crate) struct Permissions {
    slab: Slab<Permission>,
    index: Index,
    seed: HashSeed,
}

impl Permissions {
    pub(crate) fn new(capacity: u32, seed: HashSeed) -> Self {
        Self {
            slab: Slab::new(capacity, Touch::WhenUsed),
            index: Index::dense(capacity, Touch::WhenUsed),
            seed,
        }
    }

    fn hash(&self, binding: u32, remote: u32) -> u64 {
        self.seed.of_two(binding.into(), remote.into())
    }

    fn find(&self, binding: u32, remote: u32) -> Option<u32> {
        self.index.find(self.index.place(self.hash(binding, remote)), |number| {
            let known = self.slab.get(number);
            known.binding == binding && known.remote == remote
        })
    }

    /// Whether a session of the binding goes to the remote address.
    pub(crate) fn allows(&self, binding: u32, remote: u32) -> bool {
        self.find(binding, remote).is_some()
    }

    /// Counts a session. False if there is no room.
    pub(crate) fn add(&mut self, binding: u32, remote: u32) -> bool {
        if let Some(number) = self.find(binding, remote) {
            self.slab.get_mut(number).sessions += 1;
            return true;
        }
        let Some(number) = self.slab.insert(Permission { binding, remote, sessions: 1 }) else {
            return false;
        };
        let place = self.index.place(self.hash(binding, remote));
        if !self.index.insert(place, number) {
            self.slab.remove(number);
            return false;
        }
        true
    }

    /// Uncounts a session.
    pub(crate) fn remove(&mut self, binding: u32, remote: u32) {
        let Some(number) = self.find(binding, remote) else { return };
        let permission = self.slab.get_mut(number);
        permission.sessions -= 1;
        if permission.sessions == 0 {
            self.index.remove(self.index.place(self.hash(binding, remote)), number);
            self.slab.remove(number);
        }
    }
}
