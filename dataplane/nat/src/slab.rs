//! A table of records of one type with a fixed capacity: all memory is reserved at the start, and there
//! from then on or from its first use ([`Touch`]).

use crate::arena::{Touch, prefetch, prepare_table};

/// The table. Positions are stable.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
    capacity: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new(capacity: u32, touch: Touch) -> Self {
        let size = capacity as usize;
        let mut items = Vec::with_capacity(size);
        prepare_table(&mut items, touch);
        let mut free = Vec::with_capacity(size);
        prepare_table(&mut free, Touch::WhenUsed);
        Self { items, free, capacity }
    }

    /// Items in use.
    pub(crate) fn len(&self) -> u32 {
        (self.items.len() - self.free.len()) as u32
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// The position of the item stored next; `None` if the table is full.
    pub(crate) fn next(&self) -> Option<u32> {
        let fresh = self.items.len() as u32;
        self.free.last().copied().or_else(|| (fresh < self.capacity).then_some(fresh))
    }

    /// Stores an item; `None` if the table is full. Never allocates: both vectors have their final capacity.
    pub(crate) fn insert(&mut self, item: T) -> Option<u32> {
        if let Some(position) = self.free.pop() {
            self.items[position as usize] = item;
            // The next one to be given out is known long before it is needed.
            if let Some(&next) = self.free.last() {
                self.prefetch(next);
            }
            return Some(position);
        }
        if self.items.len() as u32 >= self.capacity {
            return None;
        }
        self.items.push(item);
        Some(self.items.len() as u32 - 1)
    }

    /// Frees a position that is in use.
    pub(crate) fn remove(&mut self, position: u32) {
        self.free.push(position);
    }

    /// Asks for the memory of an item.
    #[inline]
    pub(crate) fn prefetch(&self, position: u32) {
        if let Some(item) = self.items.get(position as usize) {
            prefetch(item);
        }
    }

    #[inline]
    pub(crate) fn get(&self, position: u32) -> &T {
        &self.items[position as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, position: u32) -> &mut T {
        &mut self.items[position as usize]
    }
}
