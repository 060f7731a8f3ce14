//! The atomics under the ring, and the handle that keeps its memory: real ones, or loom's when the model is checked.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(loom))]
pub(crate) use crate::mapping::Shared;

/// In the model the ring lies on the heap: loom's atomics cannot lie in a mapped file.
#[cfg(loom)]
pub(crate) type Shared<T> = std::sync::Arc<T>;
