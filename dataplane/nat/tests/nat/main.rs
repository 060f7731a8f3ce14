//! The engine as its callers see it: one module a subject, all with virtual time.

mod churn;
mod common;
mod config;
mod events;
mod found;
mod limits;
mod mapping;
mod ports;
mod quarantine;
mod removal;
mod tcp;
mod timers;
mod workers;
