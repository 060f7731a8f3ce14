//! What sessions take of main memory, everything counted: by how much the process grows while a table is made and filled.

use crate::hardware::{keep_allocator_steady, release_free_memory};
use crate::machine::resident_kib;
use crate::meter::START;
use crate::region::Region;
use crate::{Error, Flows, Population};

/// Bytes that a table of these flows takes when it is full, its indexes at their design load.
///
/// # Errors
/// Of the engine.
pub fn grown(flows: Flows) -> Result<u64, Error> {
    keep_allocator_steady();
    release_free_memory();
    let before = resident_kib();
    let mut population = Population::within(Region::fresh(flows.count as usize), flows)?;
    population.open_to(flows.count, START)?;
    let after = resident_kib();
    Ok(((after.saturating_sub(before)) * 1024).saturating_sub(population.own_bytes() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_nat::Kind;

    #[test]
    fn a_session_takes_more_than_its_record() {
        let flows = Flows::udp(Kind::Nat64, 1 << 18);
        let bytes = grown(flows).unwrap() >> 18;
        assert!((64..1000).contains(&bytes), "{bytes}");
    }
}
