//! The targets, one a file.

pub mod engine;
pub mod fragments;
pub mod messages;
pub mod parser;
mod pieces;
pub mod translator;
pub mod yaml;
