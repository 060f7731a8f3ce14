//! Fuzz targets: functions from bytes to nothing, that panic when something is wrong.
//!
//! `scripts/fuzz` runs them under libFuzzer, with the coverage instrumentation that stable Rust has; the tests of this crate
//! replay what was found before, and some thousand mutations of it. A new target is a function in [`targets`], a line in
//! [`TARGETS`], and some seeds in [`seeds`].

pub mod choose;
pub mod mutate;
pub mod seeds;
pub mod targets;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its corpus too.
    pub name: &'static str,
    /// What is tried.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "engine", run: targets::engine::run },
    Target { name: "fragments", run: targets::fragments::run },
    Target { name: "messages", run: targets::messages::run },
    Target { name: "parser", run: targets::parser::run },
    Target { name: "translator", run: targets::translator::run },
    Target { name: "yaml", run: targets::yaml::run },
];

/// The target with a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
