//! The targets, one a file.

pub mod engine;
pub mod messages;
pub mod parser;
pub mod translator;
pub mod yaml;
