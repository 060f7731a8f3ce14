//! The addresses that flows come from.

use sluice_packet::Family;

/// Evenly spaced addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The first address.
    pub first: u128,
    /// From one to the next.
    pub step: u128,
    /// How many; at least one.
    pub count: u32,
    /// Their family.
    pub family: Family,
}

impl Hosts {
    /// One host.
    pub fn one(address: u128, family: Family) -> Self {
        Self { first: address, step: 1, count: 1, family }
    }

    /// The address of a host.
    #[inline]
    pub fn address(&self, host: u32) -> u128 {
        self.first.wrapping_add(self.step.wrapping_mul(u128::from(host)))
    }

    /// The last address; `None` if it lies behind the end of the family.
    pub fn last(&self) -> Option<u128> {
        let most = match self.family {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        };
        let offset = self.step.checked_mul(u128::from(self.count - 1))?;
        self.first.checked_add(offset).filter(|last| *last <= most)
    }

    /// Whether an address is one of them.
    pub fn contains(&self, family: Family, address: u128) -> bool {
        family == self.family
            && address.checked_sub(self.first).is_some_and(|offset| {
                offset.is_multiple_of(self.step) && offset / self.step < u128::from(self.count)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_their_address() {
        let hosts = Hosts { first: 1 << 100 | 2, step: 1 << 64, count: 300, family: Family::V6 };
        for host in [0, 1, 299] {
            assert!(hosts.contains(Family::V6, hosts.address(host)));
            assert!(!hosts.contains(Family::V6, hosts.address(host) + 1));
            assert!(!hosts.contains(Family::V4, hosts.address(host)));
        }
        assert!(!hosts.contains(Family::V6, hosts.address(300)));
        assert!(!hosts.contains(Family::V6, hosts.first - 1));
        assert_eq!(hosts.last(), Some(hosts.address(299)));
    }

    #[test]
    fn hosts_behind_the_end_of_the_family_are_noticed() {
        let hosts = Hosts { first: 0xffff_fffe, step: 1, count: 2, family: Family::V4 };
        assert_eq!(hosts.last(), Some(0xffff_ffff));
        assert_eq!(Hosts { count: 3, ..hosts }.last(), None);
        assert_eq!(Hosts { first: 2, step: 1 << 127, count: 3, family: Family::V6 }.last(), None);
    }
}
