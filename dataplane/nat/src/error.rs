//! Why a specification was refused.

use core::fmt;

use crate::deterministic::DeterministicError;

/// A specification that makes no working translator. The text names the place by position in the lists of the
/// [`crate::Spec`] and says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A rule translates between families but names no prefix (ADDR-24).
    Prefix64Missing {
        /// Rule.
        rule: usize,
    },
    /// A translation prefix of a forbidden length or form (ADDR-07, ADDR-09, ADDR-12).
    Prefix64Invalid {
        /// Rule.
        rule: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A NAT44 rule with a translation prefix.
    Prefix64OnNat44 {
        /// Rule.
        rule: usize,
    },
    /// More than 255 different translation prefixes.
    TooManyPrefixes,
    /// More than 65535 rules, or pools, in the life of the process.
    TooManyRules,
    /// A realm above 63.
    Realm {
        /// Rule.
        rule: usize,
    },
    /// A rule whose pool does not exist.
    PoolUnknown {
        /// Rule.
        rule: usize,
        /// The position it names.
        pool: u16,
    },
    /// A source that is no prefix of the rule's inside family, or has host bits.
    Source {
        /// Rule.
        rule: usize,
        /// Which source.
        source: usize,
    },
    /// An exception that is no IPv4 prefix, or has host bits.
    Exception {
        /// Rule.
        rule: usize,
        /// Which exception.
        except: usize,
    },
    /// Exceptions on a NAT64 rule: its destinations are chosen by the prefix.
    ExceptionOnNat64 {
        /// Rule.
        rule: usize,
    },
    /// A destination to be routed untranslated that is no IPv6 prefix, or has host bits.
    Native {
        /// Which one.
        native: usize,
    },
    /// A pool without addresses (ADDR-24).
    PoolEmpty {
        /// Pool.
        pool: usize,
    },
    /// A pool prefix that is no IPv4 prefix, has host bits, or holds addresses that no host can have.
    PoolPrefix {
        /// Pool.
        pool: usize,
        /// Which prefix.
        prefix: usize,
    },
    /// Two pools share an address, or one pool names it twice.
    PoolOverlap {
        /// Pool.
        pool: usize,
        /// The other pool.
        other: usize,
    },
    /// Ports not in order, or port 0.
    PortRange {
        /// Pool.
        pool: usize,
    },
    /// A block size that is no power of two from 64 to 4096.
    BlockSize {
        /// Pool.
        pool: usize,
    },
    /// A hold-down above [`ConfigError::HOLD_DOWN_MAX`] seconds.
    HoldDown {
        /// Pool.
        pool: usize,
    },
    /// Reserved ports not in order, or port 0.
    ReservedPorts {
        /// Pool.
        pool: usize,
    },
    /// A pool all of whose ports are reserved.
    NothingLeft {
        /// Pool.
        pool: usize,
    },
    /// A deterministic pool whose variables make no ranges.
    Deterministic {
        /// Pool.
        pool: usize,
        /// What is wrong.
        error: DeterministicError,
    },
    /// More pool addresses than the process was started for.
    TooManyAddresses {
        /// How many there may be.
        max: u32,
    },
    /// No room for new pool addresses until the blocks of removed ones have rested.
    AddressesResting,
    /// A timer below its floor (N64-UDP-05, N64-TCP-34, N64-ICMP-05) or above [`ConfigError::TIMER_MAX`].
    Timer {
        /// Which.
        timer: &'static str,
        /// Seconds it must have at least.
        min: u32,
        /// Seconds it has.
        found: u32,
    },
    /// A number about fragments outside its bounds (FRAG-02, FRAG-19).
    Fragments {
        /// Which.
        name: &'static str,
        /// The least it may be.
        least: u32,
        /// The most it may be.
        most: u32,
        /// What it is.
        found: u32,
    },
    /// An IPv6 prefix length of subscribers outside 48 to 128 (MAP-05).
    SubscriberPrefix {
        /// What it is.
        found: u8,
    },
    /// A limit of zero sessions, mappings or subscribers, or of zero or more than 1024 blocks.
    Limit {
        /// Which.
        limit: &'static str,
    },
    /// A static binding whose rule does not exist.
    StaticRule {
        /// Static binding.
        binding: usize,
    },
    /// A static binding whose inside address is not of the rule's family, whose external address is no unicast
    /// address, or that has a port 0.
    StaticAddress {
        /// Static binding.
        binding: usize,
    },
    /// Two static bindings with the same inside or the same external side (MAP-02).
    StaticTwice {
        /// Static binding.
        binding: usize,
    },
}

impl ConfigError {
    /// Longest hold-down, in seconds.
    pub const HOLD_DOWN_MAX: u32 = 240;
    /// Longest timer, in seconds: 30 days.
    pub const TIMER_MAX: u32 = 30 * 86_400;
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix64Missing { rule } => {
                write!(f, "rule {rule}: a NAT64 rule needs a translation prefix")
            }
            Self::Prefix64Invalid { rule, what } => write!(f, "rule {rule}: {what}"),
            Self::Prefix64OnNat44 { rule } => {
                write!(f, "rule {rule}: a NAT44 rule has no translation prefix")
            }
            Self::TooManyPrefixes => write!(f, "more than 255 translation prefixes"),
            Self::TooManyRules => write!(f, "more than 65535 rules or pools since the start"),
            Self::Realm { rule } => write!(f, "rule {rule}: realms are 0 to 63"),
            Self::PoolUnknown { rule, pool } => write!(f, "rule {rule}: there is no pool {pool}"),
            Self::Source { rule, source } => {
                write!(
                    f,
                    "rule {rule}, source {source}: expected a prefix of the inside family without host bits"
                )
            }
            Self::Exception { rule, except } => {
                write!(f, "rule {rule}, exception {except}: expected an IPv4 prefix without host bits")
            }
            Self::ExceptionOnNat64 { rule } => write!(f, "rule {rule}: exceptions are for NAT44 rules only"),
            Self::Native { native } => {
                write!(f, "native destination {native}: expected an IPv6 prefix without host bits")
            }
            Self::PoolEmpty { pool } => write!(f, "pool {pool}: expected at least one address"),
            Self::PoolPrefix { pool, prefix } => {
                write!(f, "pool {pool}, prefix {prefix}: expected an IPv4 unicast prefix without host bits")
            }
            Self::PoolOverlap { pool, other } => write!(f, "pool {pool} shares addresses with pool {other}"),
            Self::PortRange { pool } => {
                write!(f, "pool {pool}: expected ports from 1, the first not above the last")
            }
            Self::BlockSize { pool } => {
                write!(f, "pool {pool}: block size must be a power of two from 64 to 4096")
            }
            Self::HoldDown { pool } => {
                write!(f, "pool {pool}: hold-down is at most {} seconds", Self::HOLD_DOWN_MAX)
            }
            Self::ReservedPorts { pool } => {
                write!(
                    f,
                    "pool {pool}: expected reserved ports from 1, the first of a range not above its last"
                )
            }
            Self::NothingLeft { pool } => write!(f, "pool {pool}: all of its ports are reserved"),
            Self::Deterministic { pool, error } => write!(f, "pool {pool}: {error}"),
            Self::TooManyAddresses { max } => write!(f, "the pools have more than {max} addresses"),
            Self::AddressesResting => {
                write!(
                    f,
                    "no room for new pool addresses yet: ports of removed ones are still in use or resting"
                )
            }
            Self::Timer { timer, min, found } => {
                write!(f, "timer {timer}: expected {min} to {} seconds, found {found}", Self::TIMER_MAX)
            }
            Self::Fragments { name, least, most, found } => {
                write!(f, "fragments, {name}: expected {least} to {most}, found {found}")
            }
            Self::SubscriberPrefix { found } => {
                write!(f, "subscriber prefix length: expected 48 to 128, found {found}")
            }
            Self::Limit { limit } => write!(f, "limit {limit} is out of range"),
            Self::StaticRule { binding } => write!(f, "static binding {binding}: its rule does not exist"),
            Self::StaticAddress { binding } => {
                write!(f, "static binding {binding}: address or port does not fit its rule")
            }
            Self::StaticTwice { binding } => {
                write!(f, "static binding {binding}: another one has the same inside or external side")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
