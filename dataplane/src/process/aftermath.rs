//! What earlier lives of the dataplane had in use, and rests now (PORT-13).
//!
//! The sessions of a dataplane that ends, however it ends, are lost. But their records stay in the run directory until the next
//! life makes a region of its own: they are the journal of port blocks. What is taken from it is written down again in
//! `blocks.bin`, since that life may end as well before the blocks have rested. A reboot leaves neither.

use sluice_nat::{Config, ConfigError, Quarantine, Remains, Shared, Spec, TICKS_PER_SECOND};
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

/// One a process, from its first configuration on: a rebuild of threads is no new life.
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
