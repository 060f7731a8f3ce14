//! The routes as they were given to the writer: the trie alone cannot tell what a withdrawn route uncovers.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::entry::Target;
use crate::prefix::Prefix;

/// All routes of one table, ordered by address and then by length.
pub(crate) struct Rib<A> {
    routes: BTreeMap<Prefix<A>, Target>,
}

impl<A: Address> Rib<A> {
    pub(crate) fn new() -> Self {
        Self { routes: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, prefix: Prefix<A>, target: Target) -> Option<Target> {
        self.routes.insert(prefix, target)
    }

    pub(crate) fn remove(&mut self, prefix: Prefix<A>) -> Option<Target> {
        self.routes.remove(&prefix)
    }

    pub(crate) fn get(&self, prefix: Prefix<A>) -> Option<Target> {
        self.routes.get(&prefix).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Prefix<A>, Target)> {
        self.routes.iter().map(|(prefix, target)| (*prefix, *target))
    }

    /// The longest route that covers `prefix` and is shorter.
    ///
    /// In this order the predecessor of a prefix either covers it, and then is the longest that does, or tells how many
    /// bits the two share: whatever covers `prefix` lies before both, so it is no longer than that. A few steps do,
    /// where one probe for each shorter length would be up to 127.
    pub(crate) fn covering(&self, prefix: Prefix<A>) -> Option<(Prefix<A>, Target)> {
        let mut previous = self.routes.range(..prefix).next_back();
        loop {
            let (&candidate, &target) = previous?;
            if candidate.covers(prefix) {
                return Some((candidate, target));
            }
            let shared = prefix.shorten(candidate.address().common(prefix.address()));
            previous = self.routes.range(..=shared).next_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_skips_siblings_and_their_children() {
        let mut rib = Rib::<u32>::new();
        let routes = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.1.0/24", "10.1.0.0/17", "10.1.2.0/24"];
        for (value, route) in (0..).zip(routes) {
            rib.insert(route.parse().unwrap(), Target::new(value).unwrap());
        }
        let cases = [
            ("0.0.0.0/0", None),
            ("9.0.0.0/8", Some("0.0.0.0/0")),
            ("10.0.0.0/8", Some("0.0.0.0/0")),
            ("10.0.0.0/16", Some("10.0.0.0/8")),
            ("10.0.1.0/24", Some("10.0.0.0/16")),
            ("10.0.1.0/25", Some("10.0.1.0/24")),
            ("10.0.2.0/24", Some("10.0.0.0/16")),
            ("10.1.3.0/24", Some("10.1.0.0/17")),
            ("10.1.128.0/17", Some("10.0.0.0/8")),
            ("10.255.255.255/32", Some("10.0.0.0/8")),
            ("255.255.255.255/32", Some("0.0.0.0/0")),
        ];
        for (prefix, expected) in cases {
            let found = rib.covering(prefix.parse().unwrap()).map(|(covering, _)| covering.to_string());
            assert_eq!(found.as_deref(), expected, "{prefix}");
        }
    }
}
