//! What the last life of the dataplane had in use, and rests now (PORT-13).
//!
//! The sessions of a dataplane that ends, however it ends, are lost. But their records stay in the run directory until the next
//! life makes a region of its own: they are the journal of port blocks. A reboot leaves none.

use sluice_nat::{Config, Quarantine, Remains, Shared, Spec, TICKS_PER_SECOND, Tick};
use sluice_shm::{RunDir, StateReader};

use crate::clock::Clock;

/// One a life, from its first configuration on: a rebuild of threads is no new life.
pub(super) struct Aftermath {
    remains: Remains,
    /// Tick 0 is when the records were read.
    clock: Clock,
    quarantine: Option<Quarantine>,
}

impl Aftermath {
    /// Reads the records of the last life, as far as they are of the pools of the first configuration. The caller is about to
    /// replace them.
    //= conformance PORT-13
    pub(super) fn read(run: &RunDir, spec: &Spec, max_addresses: u32) -> Self {
        let mut remains = Remains::new(spec, max_addresses);
        match StateReader::open_last_life(run) {
            Ok(Some(reader)) => reader.iter().for_each(|(_, session)| remains.add(&session.fixed)),
            Ok(None) => {
                tracing::info!(
                    "no record of sessions before this start: ports are drawn at random from all blocks"
                )
            }
            Err(error) => {
                tracing::warn!(%error, "no usable record of sessions before this start: ports are drawn at random from all blocks");
            }
        }
        Self { remains, clock: Clock::new(sluice_shm::now_ns()), quarantine: None }
    }

    /// Lets port blocks rest in new tables, before a worker has them.
    pub(super) fn rest(&mut self, shared: &Shared, config: &Config) {
        if self.remains.is_empty() {
            return;
        }
        let mut quarantine = Quarantine::new(shared, config, &self.remains, Tick(0));
        let (blocks, seconds) = (quarantine.blocks(), quarantine.longest() / TICKS_PER_SECOND);
        // Another set of tables within the same life goes on where the first one was.
        quarantine.release(shared, self.clock.tick());
        if !quarantine.is_over() {
            tracing::info!(
                blocks,
                seconds,
                "port blocks with sessions before this start rest, for so long from it on"
            );
        }
        self.quarantine = Some(quarantine);
    }

    /// Takes over a new configuration of the same tables.
    pub(super) fn set_config(&mut self, shared: &Shared, config: &Config) {
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.set_config(shared, config);
        }
    }

    /// Frees what has rested. Called from time to time.
    pub(super) fn pass(&mut self, shared: &Shared) {
        let Some(quarantine) = &mut self.quarantine else { return };
        quarantine.release(shared, self.clock.tick());
        if quarantine.is_over() {
            tracing::info!("no port block rests any more because of sessions before this start");
            (self.quarantine, self.remains) = (None, Remains::default());
        }
    }
}
