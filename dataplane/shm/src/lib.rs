//! The shared-memory contract between control and dataplane.

pub mod snapshot;
