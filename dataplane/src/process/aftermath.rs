//! What earlier lives of the dataplane had in use, and rests now (PORT-13).
//!
//! The sessions of a dataplane that ends, however it ends, are lost. But their records stay in the run directory until the next
//! life makes a region of its own: they are the journal of port blocks. What is taken from it is written down again in
//! `blocks.bin`, since that life may end as well before the blocks have rested. A reboot leaves neither.

use sluice_nat::{Config, ConfigError, Quarantine, Remains, Session, Shared, Spec, TICKS_PER_SECOND};
use sluice_shm::{
    LostBlocks, RunDir, StateReader, now_ns, read_block_journal, remove_block_journal, write_block_journal,
};

use crate::clock::Clock;

/// Ticks since boot: they mean the same to every life.
const CLOCK: Clock = Clock::new(0);
/// After so long nothing rests, whatever its pool says.
const LONGEST_NS: u64 = ConfigError::HOLD_DOWN_MAX as u64 * 1_000_000_000;
/// Of more deaths than this within [`LONGEST_NS`] the earliest are forgotten.
const MAX_LIVES: usize = 64;

/// A life that ended.
struct Life {
    since_ns: u64,
    remains: Remains,
    quarantine: Option<Quarantine>,
}

impl Life {
    fn new(since_ns: u64, remains: Remains) -> Self {
        Self { since_ns, remains, quarantine: None }
    }
}

/// One a process, from its first configuration on: a rebuild of threads is no new life, unless sessions end with it.
pub(super) struct Aftermath {
    run: RunDir,
    /// The last one first.
    lives: Vec<Life>,
}

impl Aftermath {
    /// Reads what earlier lives left, as far as it is of the pools of the first configuration. The caller is about to replace
    /// the records of the last one.
    //= conformance PORT-13
    pub(super) fn read(run: &RunDir, spec: &Spec, max_addresses: u32) -> Self {
        let now = now_ns();
        let mut last = Life::new(now, Remains::new(spec, max_addresses));
        match StateReader::open_last_life(run) {
            Ok(Some(reader)) => reader.iter().for_each(|(_, session)| last.remains.add(&session.fixed)),
            Ok(None) => {
                tracing::info!(
                    "no record of sessions before this start: ports are drawn at random from all blocks"
                );
            }
            Err(error) => tracing::warn!(
                %error,
                "no usable record of sessions before this start: ports are drawn at random from all blocks"
            ),
        }
        let mut lives = vec![last];
        let journal = read_block_journal(run).unwrap_or_else(|error| {
            tracing::warn!(%error, "which port blocks rest already is not known");
            Vec::new()
        });
        for entry in journal.iter().filter(|entry| (now - LONGEST_NS.min(now)..now).contains(&entry.since_ns))
        {
            // Entries of one life follow one another.
            if lives.last().is_none_or(|life| life.since_ns != entry.since_ns) {
                if lives.len() == MAX_LIVES {
                    break;
                }
                lives.push(Life::new(entry.since_ns, Remains::new(spec, max_addresses)));
            }
            if let Some(life) = lives.last_mut() {
                life.remains.add_units(entry.address, entry.units);
            }
        }
        lives.retain(|life| !life.remains.is_empty());
        let aftermath = Self { run: run.clone(), lives };
        aftermath.write_down();
        aftermath
    }

    /// Takes note of what sessions have in use that are about to be deleted with their tables: the workers' number changes. It is
    /// as if a life had ended.
    //= conformance PORT-13
    pub(super) fn add_life<'a>(
        &mut self,
        sessions: impl Iterator<Item = &'a Session>,
        spec: &Spec,
        max_addresses: u32,
    ) {
        let mut life = Life::new(now_ns(), Remains::new(spec, max_addresses));
        sessions.filter(|session| session.is_live()).for_each(|session| life.remains.add(&session.fixed()));
        if !life.remains.is_empty() {
            self.lives.insert(0, life);
            self.lives.truncate(MAX_LIVES);
            self.write_down();
        }
    }

    fn write_down(&self) {
        let units =
            self.lives.iter().flat_map(|life| life.remains.units().map(|units| (life.since_ns, units)));
        let entries: Vec<LostBlocks> =
            units.map(|(since_ns, (address, units))| LostBlocks::new(since_ns, address, units)).collect();
        let outcome = if entries.is_empty() {
            remove_block_journal(&self.run)
        } else {
            write_block_journal(&self.run, &entries)
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "which port blocks rest could not be written down");
        }
    }

    /// Lets port blocks rest in new tables, before a worker has them. Other tables within the same process go on where the
    /// first ones were.
    pub(super) fn rest(&mut self, shared: &Shared, config: &Config) {
        let now = CLOCK.tick();
        let (mut blocks, mut left) = (0, 0);
        for life in &mut self.lives {
            let mut quarantine = Quarantine::new(shared, config, &life.remains, CLOCK.tick_at(life.since_ns));
            quarantine.release(shared, now);
            blocks += quarantine.blocks();
            left = left.max(quarantine.left(now));
            life.quarantine = Some(quarantine);
        }
        if blocks > 0 {
            let seconds = left.div_ceil(TICKS_PER_SECOND);
            tracing::info!(
                blocks,
                seconds,
                "port blocks of sessions before this start rest, for so long at most"
            );
        }
    }

    /// Takes over a new configuration of the same tables.
    pub(super) fn set_config(&mut self, shared: &Shared, config: &Config) {
        for quarantine in self.lives.iter_mut().filter_map(|life| life.quarantine.as_mut()) {
            quarantine.set_config(shared, config);
        }
    }

    /// Frees what has rested. Called from time to time.
    pub(super) fn pass(&mut self, shared: &Shared) {
        if self.lives.is_empty() {
            return;
        }
        let now = CLOCK.tick();
        for quarantine in self.lives.iter_mut().filter_map(|life| life.quarantine.as_mut()) {
            quarantine.release(shared, now);
        }
        self.lives.retain(|life| life.quarantine.as_ref().is_none_or(|quarantine| !quarantine.is_over()));
        if self.lives.is_empty() {
            tracing::info!("no port block rests any more because of sessions before this start");
            self.write_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_nat::{Fixed, Geometry, Hot, Kind, KindRealm, Pairing, PoolSpec, Route};
    use sluice_shm::{StateGeometry, StateRegion};

    use super::*;

    const POOL: u32 = 0xc633_6400;

    /// A pool of sixteen blocks.
    fn spec() -> Spec {
        let pool = PoolSpec {
            name: "public".into(),
            prefixes: vec![(POOL, 32)],
            port_min: 1024,
            port_max: 2047,
            block_size: 64,
            hold_down: 120,
            max_resting: PoolSpec::ALL,
            parity: true,
            reserved: vec![],
            pairing: Pairing::default(),
            deterministic: None,
        };
        Spec { pools: vec![pool], ..Spec::default() }
    }

    /// A life of the dataplane that begins, makes a session with each of these external ports, and ends.
    fn live(run: &RunDir, ports: &[u16]) -> (Aftermath, StateRegion) {
        let aftermath = Aftermath::read(run, &spec(), 16);
        let region = StateRegion::create(run, 4096, StateGeometry::new(1, 16).unwrap()).unwrap();
        for (session, &external_port) in region.sessions().iter().zip(ports) {
            let fixed = Fixed {
                kind_realm: KindRealm::new(Kind::Nat44, 0),
                protocol: 17,
                inside_port: 1,
                inside: 0x0a00_0001,
                remote: 1,
                external: POOL,
                remote_port: 53,
                external_port,
                delta: 0,
                rule: 0,
                binding: 0,
                owner: 0,
                prefix64: 0,
            };
            session.create(&fixed, Hot::default(), Route::default());
        }
        (aftermath, region)
    }

    /// Blocks that rest in new tables.
    fn resting(aftermath: &mut Aftermath, region: &StateRegion) -> (u32, std::sync::Arc<Shared>) {
        let shared = Shared::new(region.sessions(), Geometry { max_addresses: 16, ..Geometry::default() });
        let config = shared.compile(&spec(), 1, None).unwrap();
        aftermath.rest(&shared, &config);
        let quarantines = aftermath.lives.iter().filter_map(|life| life.quarantine.as_ref());
        (quarantines.map(Quarantine::blocks).sum(), shared)
    }

    //= conformance PORT-13
    #[test]
    fn a_second_death_does_not_make_the_first_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let (mut first, region) = live(&run, &[1024, 1025, 1100]);
        assert_eq!(resting(&mut first, &region).0, 0);
        let (mut second, region) = live(&run, &[1100, 1200]);
        assert_eq!(resting(&mut second, &region).0, 2);
        let (mut third, region) = live(&run, &[]);
        // The block of both lives rests once; other tables of the same life find the same.
        for _ in 0..2 {
            assert_eq!(resting(&mut third, &region).0, 3);
        }
        // A configuration that is refused is no end of it: nothing rests yet, nothing is forgotten.
        let (mut fourth, region) = live(&run, &[]);
        assert_eq!((fourth.lives.len(), resting(&mut fourth, &region).0), (2, 3));
    }

    //= conformance PORT-13
    #[test]
    fn sessions_that_end_with_their_tables_are_a_life_too() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let (mut first, region) = live(&run, &[1024, 1100]);
        assert_eq!(resting(&mut first, &region).0, 0);
        first.add_life(region.sessions().iter(), &spec(), 16);
        region.sessions().iter().filter(|session| session.is_live()).for_each(|session| session.delete());
        first.add_life(region.sessions().iter(), &spec(), 16);
        assert_eq!((first.lives.len(), resting(&mut first, &region).0), (1, 2));
        // It is written down: whoever comes next knows.
        let (mut second, region) = live(&run, &[]);
        assert_eq!(resting(&mut second, &region).0, 2);
    }

    //= conformance PORT-13
    #[test]
    fn the_journal_goes_when_all_has_rested() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let before = |seconds: u64| now_ns().saturating_sub(seconds * 1_000_000_000);
        if before(241) == 0 {
            // The machine has only just been started.
            return;
        }
        let entries = [(241, 1), (130, 2), (1, 4), (1, 8)];
        let entries =
            entries.map(|(seconds, units)| LostBlocks::new(before(seconds), POOL, [units << 16; 16]));
        let future = LostBlocks::new(u64::MAX, POOL, [u64::MAX; 16]);
        write_block_journal(&run, &[&entries[..], &[future]].concat()).unwrap();
        let (mut aftermath, region) = live(&run, &[]);
        // Whoever died more than 120 s ago does not count, nor who will.
        let (blocks, shared) = resting(&mut aftermath, &region);
        assert_eq!(blocks, 2);
        aftermath.pass(&shared);
        assert_eq!((aftermath.lives.len(), run.block_journal().exists()), (2, true));
        aftermath.lives.iter_mut().for_each(|life| life.since_ns = before(121));
        let (blocks, shared) = resting(&mut aftermath, &region);
        assert_eq!(blocks, 0);
        aftermath.pass(&shared);
        assert_eq!((aftermath.lives.len(), run.block_journal().exists()), (0, false));
    }
}
