//! The session record: one cache line, the truth from which everything else is derived.
//!
//! ```text
//! word  offset  low bits ................................................ high bits
//!  0      0     sequence u32 | kind and realm u8 | protocol u8 | inside port u16
//!  1      8     inside address, high 64 bits (0 for IPv4)
//!  2     16     inside address, low 64 bits
//!  3     24     remote IPv4 u32 | external IPv4 u32
//!  4     32     remote port u16 | external port u16 | outbound delta u16 | rule id u16
//!  5     40     hot:   last seen u32 | TCP state u8 | timer class u8 | flags u16
//!  6     48     route: next hop outbound u16 | next hop inbound u16 | FIB generation u16 | rule generation u16
//!  7     56     binding u32 | owner u8 | prefix64 id u8 | spare u16
//! ```
//!
//! All fields are integers in host byte order (an address is the number that its text means). Every word is an
//! `AtomicU64`; after creation only words 5 and 6 change, each by one relaxed store, so that a reader in another
//! process never sees a torn field. The sequence is odd only while the record is created or deleted; 0 means never used.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::types::{KindRealm, Tick};

/// One session, 64 bytes, at its place in the region for as long as it lives.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Session {
    words: [AtomicU64; 8],
}

const _: () = assert!(size_of::<Session>() == 64 && align_of::<Session>() == 64);

/// The hot word: what changes while packets flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hot {
    /// Tick of the last packet that refreshed the session.
    pub last_seen: Tick,
    /// State of the TCP machine, 0 for other protocols.
    pub tcp_state: u8,
    /// Which timer runs.
    pub timer_class: u8,
    /// Flags of the engine.
    pub flags: u16,
}

impl Hot {
    /// As stored.
    #[inline]
    pub const fn pack(self) -> u64 {
        self.last_seen.0 as u64
            | (self.tcp_state as u64) << 32
            | (self.timer_class as u64) << 40
            | (self.flags as u64) << 48
    }

    /// From the stored word.
    #[inline]
    pub const fn unpack(word: u64) -> Self {
        Self {
            last_seen: Tick(word as u32),
            tcp_state: (word >> 32) as u8,
            timer_class: (word >> 40) as u8,
            flags: (word >> 48) as u16,
        }
    }
}

/// The route word: cached next hops and the generations under which they and the rule were valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Next hop of outbound packets.
    pub outbound: u16,
    /// Next hop of inbound packets.
    pub inbound: u16,
    /// FIB generation of both next hops.
    pub fib_generation: u16,
    /// Generation of the configuration under which the rule was last checked.
    pub rule_generation: u16,
}

impl Route {
    /// As stored.
    #[inline]
    pub const fn pack(self) -> u64 {
        self.outbound as u64
            | (self.inbound as u64) << 16
            | (self.fib_generation as u64) << 32
            | (self.rule_generation as u64) << 48
    }

    /// From the stored word.
    #[inline]
    pub const fn unpack(word: u64) -> Self {
        Self {
            outbound: word as u16,
            inbound: (word >> 16) as u16,
            fib_generation: (word >> 32) as u16,
            rule_generation: (word >> 48) as u16,
        }
    }
}

/// The fields that stay as they are for a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// NAT64 or NAT44, and the realm of the inside address.
    pub kind_realm: KindRealm,
    /// Protocol number: 1, 6 or 17.
    pub protocol: u8,
    /// Inside port or identifier.
    pub inside_port: u16,
    /// Inside address, IPv4 in the low 32 bits.
    pub inside: u128,
    /// Remote IPv4 address.
    pub remote: u32,
    /// External IPv4 address.
    pub external: u32,
    /// Remote port; 0 for ICMP.
    pub remote_port: u16,
    /// External port or identifier.
    pub external_port: u16,
    /// Transport checksum delta of outbound packets (addresses and ports); its complement is the inbound one.
    pub delta: u16,
    /// Rule that made the session.
    pub rule: u16,
    /// Binding in the owner's table.
    pub binding: u32,
    /// Worker that owns the session.
    pub owner: u8,
    /// Translation prefix that the session was made with (ADDR-18).
    pub prefix64: u8,
}

/// The far side of a session: what an outbound packet becomes, and all that an outbound packet has to ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Remote IPv4 address.
    pub remote: u32,
    /// External IPv4 address.
    pub external: u32,
    /// Remote port; 0 for ICMP.
    pub remote_port: u16,
    /// External port or identifier.
    pub external_port: u16,
    /// Transport checksum delta of outbound packets.
    pub delta: u16,
}

/// A whole record, read consistently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// What identifies the session.
    pub fixed: Fixed,
    /// What changes with packets.
    pub hot: Hot,
    /// Cached routes.
    pub route: Route,
}

impl Session {
    /// A word by its number.
    #[inline(always)]
    pub fn word(&self, n: usize) -> u64 {
        self.words[n].load(Ordering::Relaxed)
    }

    /// The hot word.
    #[inline(always)]
    pub fn hot(&self) -> Hot {
        Hot::unpack(self.word(5))
    }

    /// Stores the hot word: one store, by the owner only.
    #[inline(always)]
    pub fn set_hot(&self, hot: Hot) {
        self.words[5].store(hot.pack(), Ordering::Relaxed);
    }

    /// The route word.
    #[inline(always)]
    pub fn route(&self) -> Route {
        Route::unpack(self.word(6))
    }

    /// Stores the route word: one store, by the owner only.
    #[inline(always)]
    pub fn set_route(&self, route: Route) {
        self.words[6].store(route.pack(), Ordering::Relaxed);
    }

    /// Whether the record holds a live session, as its owner sees it.
    #[inline]
    pub fn is_live(&self) -> bool {
        let word = self.word(0);
        word & 1 == 0 && word >> 32 != 0
    }

    /// Binding of a live session.
    #[inline(always)]
    pub(crate) fn binding(&self) -> u32 {
        self.word(7) as u32
    }

    /// Kind of translation, and realm of the inside address.
    #[inline(always)]
    pub fn kind_realm(&self) -> KindRealm {
        KindRealm((self.word(0) >> 32) as u8)
    }

    /// The far side. A word is loaded as often as it is asked for, so that packets ask for no more than they need.
    #[inline(always)]
    pub fn outside(&self) -> Outside {
        let (w3, w4) = (self.word(3), self.word(4));
        Outside {
            remote: w3 as u32,
            external: (w3 >> 32) as u32,
            remote_port: w4 as u16,
            external_port: (w4 >> 16) as u16,
            delta: (w4 >> 32) as u16,
        }
    }

    /// Inside address and port.
    #[inline(always)]
    pub fn inside(&self) -> (u128, u16) {
        (u128::from(self.word(1)) << 64 | u128::from(self.word(2)), (self.word(0) >> 48) as u16)
    }

    /// Inside address of NAT44, and port.
    #[inline(always)]
    pub fn inside_v4(&self) -> (u32, u16) {
        (self.word(2) as u32, (self.word(0) >> 48) as u16)
    }

    /// Translation prefix that the session was made with.
    #[inline(always)]
    pub fn prefix64(&self) -> u8 {
        (self.word(7) >> 40) as u8
    }

    /// The fixed fields, as the owner sees them. Meaningless unless the record is live.
    #[inline(always)]
    pub fn fixed(&self) -> Fixed {
        let (w0, w3, w4, w7) = (self.word(0), self.word(3), self.word(4), self.word(7));
        Fixed {
            kind_realm: KindRealm((w0 >> 32) as u8),
            protocol: (w0 >> 40) as u8,
            inside_port: (w0 >> 48) as u16,
            inside: u128::from(self.word(1)) << 64 | u128::from(self.word(2)),
            remote: w3 as u32,
            external: (w3 >> 32) as u32,
            remote_port: w4 as u16,
            external_port: (w4 >> 16) as u16,
            delta: (w4 >> 32) as u16,
            rule: (w4 >> 48) as u16,
            binding: w7 as u32,
            owner: (w7 >> 32) as u8,
            prefix64: (w7 >> 40) as u8,
        }
    }

    /// Creates a session in a free record. A kill between the two sequence stores leaves it odd: not live.
    pub fn create(&self, fixed: &Fixed, hot: Hot, route: Route) {
        let sequence = (self.word(0) as u32).wrapping_add(1) | 1;
        self.words[0].store(u64::from(sequence), Ordering::Relaxed);
        fence(Ordering::Release);
        self.words[1].store((fixed.inside >> 64) as u64, Ordering::Relaxed);
        self.words[2].store(fixed.inside as u64, Ordering::Relaxed);
        self.words[3].store(u64::from(fixed.remote) | u64::from(fixed.external) << 32, Ordering::Relaxed);
        self.words[4].store(
            u64::from(fixed.remote_port)
                | u64::from(fixed.external_port) << 16
                | u64::from(fixed.delta) << 32
                | u64::from(fixed.rule) << 48,
            Ordering::Relaxed,
        );
        self.words[5].store(hot.pack(), Ordering::Relaxed);
        self.words[6].store(route.pack(), Ordering::Relaxed);
        self.words[7].store(
            u64::from(fixed.binding) | u64::from(fixed.owner) << 32 | u64::from(fixed.prefix64) << 40,
            Ordering::Relaxed,
        );
        let identity = u64::from(fixed.kind_realm.0) << 32
            | u64::from(fixed.protocol) << 40
            | u64::from(fixed.inside_port) << 48;
        self.words[0].store(u64::from(sequence.wrapping_add(1)) | identity, Ordering::Release);
    }

    /// Frees the record: words 1 to 7 become zero, the sequence even and higher.
    pub fn delete(&self) {
        let sequence = (self.word(0) as u32).wrapping_add(1) | 1;
        self.words[0].store(u64::from(sequence), Ordering::Relaxed);
        fence(Ordering::Release);
        for word in &self.words[1..] {
            word.store(0, Ordering::Relaxed);
        }
        self.words[0].store(u64::from(sequence.wrapping_add(1)), Ordering::Release);
    }

    /// A consistent copy for a reader that is not the owner; `None` if the record is free or was changing.
    pub fn read(&self) -> Option<SessionView> {
        let before = self.words[0].load(Ordering::Acquire);
        if before & 1 == 1 || before >> 32 == 0 {
            return None;
        }
        let view = SessionView { fixed: self.fixed(), hot: self.hot(), route: self.route() };
        fence(Ordering::Acquire);
        (self.word(0) == before).then_some(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    fn fixed() -> Fixed {
        Fixed {
            kind_realm: KindRealm::new(Kind::Nat64, 5),
            protocol: 17,
            inside_port: 5000,
            inside: 0x2001_0db8_0001_0000_0000_0000_0000_0010,
            remote: 0xc633_6409,
            external: 0xc000_0201,
            remote_port: 53,
            external_port: 40000,
            delta: 0xbeef,
            rule: 3,
            binding: 77,
            owner: 2,
            prefix64: 1,
        }
    }

    #[test]
    fn a_record_reads_back_what_was_created_until_it_is_deleted() {
        let session = Session::default();
        assert_eq!(session.read(), None);
        let hot = Hot { last_seen: Tick(9), tcp_state: 1, timer_class: 2, flags: 3 };
        let route = Route { outbound: 1, inbound: 2, fib_generation: 3, rule_generation: 4 };
        session.create(&fixed(), hot, route);
        assert_eq!(session.read(), Some(SessionView { fixed: fixed(), hot, route }));
        assert!(session.is_live());
        session.delete();
        assert_eq!(session.read(), None);
        assert!(!session.is_live());
    }

    #[test]
    fn a_record_killed_while_being_created_is_not_live() {
        let session = Session::default();
        session.words[0].store(7, Ordering::Relaxed);
        assert_eq!(session.read(), None);
        session.create(&fixed(), Hot::default(), Route::default());
        assert_eq!(session.word(0) as u32 & 1, 0);
        assert!(session.read().is_some());
    }
}
