//! Which session records are free. One a worker; records come in extents of 4096 that are claimed from [`Shared`].
//!
//! A record has one `u32` of link in a side array, used by whatever list it is in: the free list of its extent, or a slot
//! of the timer wheel. Links hold record + 1, so that zeroed memory is a valid array of empty links.

use crate::arena::{Touch, prefetch, prepare_table};
use crate::shared::{EXTENT, Shared};
use crate::types::WorkerId;

/// Free records of the extents of one worker.
#[derive(Debug)]
pub(crate) struct Records {
    worker: WorkerId,
    records: u32,
    links: Vec<u32>,
    /// Own extents.
    extents: Vec<Extent>,
    /// The extent that records are taken from, unless it is empty.
    current: usize,
    /// Free records of all own extents.
    free: u32,
}

#[derive(Clone, Debug, Default)]
struct Extent {
    mine: bool,
    /// Head of the free list, as a link.
    head: u32,
    /// Records at the end that were never given out.
    fresh: u32,
    free: u32,
}

impl Records {
    pub(crate) fn new(shared: &Shared, worker: WorkerId) -> Self {
        let records = shared.sessions().len() as u32;
        let extents = records.div_ceil(EXTENT) as usize;
        let mut links = vec![0; records as usize];
        prepare_table(&mut links, Touch::AtStart);
        Self {
            worker,
            records,
            links,
            extents: vec![Extent::default(); extents],
            // Workers start far apart, so that they do not meet in each other's extents.
            current: extents * usize::from(worker.0) / usize::from(shared.workers()),
            free: 0,
        }
    }

    pub(crate) fn links(&mut self) -> &mut [u32] {
        &mut self.links
    }

    /// Whether this worker owns the extent of a record.
    pub(crate) fn owns(&self, record: u32) -> bool {
        self.extents.get((record / EXTENT) as usize).is_some_and(|extent| extent.mine)
    }

    fn size(&self, extent: usize) -> u32 {
        EXTENT.min(self.records - extent as u32 * EXTENT)
    }

    /// A free record.
    pub(crate) fn take(&mut self, shared: &Shared) -> Option<u32> {
        if self.extents.get(self.current)?.free == 0 {
            self.current = self.find(shared)?;
        }
        let size = self.size(self.current);
        let extent = &mut self.extents[self.current];
        extent.free -= 1;
        self.free -= 1;
        if extent.head != 0 {
            let record = extent.head - 1;
            extent.head = self.links[record as usize];
            return Some(record);
        }
        extent.fresh -= 1;
        Some(self.current as u32 * EXTENT + size - 1 - extent.fresh)
    }

    /// The record that will be taken next, as far as can be told without looking further. Asks for its link.
    pub(crate) fn next(&self) -> Option<u32> {
        let record = self.extents.get(self.current)?.head.checked_sub(1)?;
        prefetch(&self.links[record as usize]);
        Some(record)
    }

    /// An own extent with free records, or a new one.
    #[cold]
    fn find(&mut self, shared: &Shared) -> Option<usize> {
        if self.free > 0 {
            // On from the current one, so that a table full of small gaps is walked once a round and not once a record.
            let count = self.extents.len();
            return (1..=count)
                .map(|step| (self.current + step) % count)
                .find(|&extent| self.extents[extent].free > 0);
        }
        let extent = shared.claim_extent(self.worker, self.current)?;
        let size = self.size(extent);
        self.extents[extent] = Extent { mine: true, head: 0, fresh: size, free: size };
        self.free += size;
        Some(extent)
    }

    /// Takes a record back. An extent that is wholly free goes back to all workers.
    pub(crate) fn give_back(&mut self, shared: &Shared, record: u32) {
        let number = (record / EXTENT) as usize;
        let size = self.size(number);
        let extent = &mut self.extents[number];
        self.links[record as usize] = extent.head;
        extent.head = record + 1;
        extent.free += 1;
        self.free += 1;
        if extent.free == size {
            *extent = Extent::default();
            self.free -= size;
            shared.release_extent(number);
        }
    }
}
