//! The engine as its callers see it: one module a subject, all with virtual time.

mod common;
mod mapping;
mod tcp;
mod timers;
