//! The configuration file: read, checked as a whole, compiled, compared.
//!
//! [`node`] gives the tree with places, [`reader`] and [`value`] turn it into the [`model`] and go on after a mistake, [`check`]
//! looks at the whole, [`compile`](compile()) makes the dataplane's snapshot, [`diff`] says what a change means.

mod check;
mod compile;
mod device;
pub mod diff;
pub mod logging;
pub mod model;
mod node;
mod packets;
mod pools;
pub mod problem;
mod reader;
mod rules;
mod sections;
mod value;
mod variables;

use std::path::{Path, PathBuf};

pub use compile::compile;
pub(crate) use compile::pool_spec;
pub use device::Device;
pub use diff::Diff;
pub use logging::Logging;
pub use model::Config;
pub use problem::{ConfigError, Problem};
pub use variables::{Variables, variables};

use problem::Mark;
use reader::{Cursor, Sink};

/// A file that may be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What it says.
    pub config: Config,
    /// What is allowed and most likely not meant.
    pub warnings: Vec<Problem>,
}

/// A file that could not even be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// {0} cannot be read: {1}.
    #[error("{} cannot be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{} is larger than {} MiB: is this the right file?", path.display(), node::MAX_FILE >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("{}:{line}: not UTF-8 text; save the file as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// First line that is not text.
        line: usize,
    },
}

/// Reads a file as text.
pub fn read(path: &Path) -> Result<String, ReadError> {
    use std::io::Read as _;
    let io = |error| ReadError::Io { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(node::MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > node::MAX_FILE {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ReadError::NotText { path: path.to_owned(), line: 1 + good.iter().filter(|b| **b == b'\n').count() }
    })
}

/// Checks the text of a file. `file` is its name for messages.
pub fn load(file: &str, source: &str) -> Result<Checked, ConfigError> {
    let failed = |problems| ConfigError::new(file, source, problems);
    if source.len() > node::MAX_FILE {
        return Err(failed(vec![Problem::new(Mark::START, "", "the file is larger than any configuration")]));
    }
    let mut root = node::parse(source).map_err(|problem| failed(vec![problem]))?;
    if matches!(root.kind, node::Kind::Null) {
        root.kind = node::Kind::Map(Vec::new());
        root.at = Mark::START;
    }
    let sink = Sink::default();
    let config = read_root(&Cursor { sink: &sink, node: &root, path: String::new() });
    if let Some(config) = &config {
        check::check(config, &sink);
    }
    let (problems, mut warnings) = sink.into_parts();
    match config {
        Some(config) if problems.is_empty() => {
            warnings.sort_by_key(|warning| warning.at);
            Ok(Checked { config, warnings })
        }
        _ => Err(failed(problems)),
    }
}

fn read_root(root: &Cursor<'_>) -> Option<Config> {
    if !matches!(root.node.kind, node::Kind::Map(_)) {
        root.error_hint(
            format!("expected a mapping that begins with `interfaces:`, found {}", root.node.found()),
            "see deploy/examples for complete files",
        );
        return None;
    }
    let mut fields = root.map("the configuration")?;
    let interfaces = fields.require("interfaces", "{ inside: { device: xdp:enp1s0f1 } }");
    let workers = fields.get("workers");
    let pools = fields.get("pools");
    let nat64 = fields.get("nat64");
    let nat44 = fields.get("nat44");
    let statics = fields.get("static-bindings");
    let subscribers = fields.get("subscribers");
    let timers = fields.get("timers");
    let fragments = fields.get("fragments");
    let routes = fields.get("routes");
    let icmp_errors = fields.get("icmp-errors-per-second");
    let icmp_sources = fields.get("icmp-source-pool");
    let dscp = fields.get("dscp");
    let unsolicited = fields.get("unsolicited");
    let checksums = fields.get("checksums");
    let sessions = fields.get("sessions");
    let logging = fields.get("logging");
    fields.get("bgp");
    if let Some(at) = fields.key_mark("bgp") {
        root.sink
            .push(Problem::new(at, "bgp", "`bgp` is not in this release").hint(
                "remove the section and run BIRD or FRR on this box: they see the interfaces as usual",
            ));
    }
    fields.finish();

    let interfaces = sections::interfaces(interfaces);
    let pools = pools::pools(pools);
    let names = rules::Names { interfaces: &interfaces, pools: &pools };
    let nat64 = rules::nat64(nat64, &names);
    let nat44 = rules::nat44(nat44, &names);
    let static_bindings = rules::static_bindings(statics, &nat64, &nat44);
    let routes = rules::routes(routes, &names);
    Some(Config {
        workers: sections::workers(workers),
        subscribers: sections::subscribers(subscribers),
        timers: sections::timers(timers),
        fragments: packets::fragments(fragments),
        icmp_errors_per_second: packets::icmp_errors(icmp_errors),
        icmp_sources: packets::icmp_sources(icmp_sources),
        dscp: packets::dscp(dscp),
        unsolicited: packets::unsolicited(unsolicited),
        checksums: packets::checksums(checksums),
        sessions: sections::sessions(sessions),
        logging: logging::logging(logging),
        interfaces,
        pools,
        nat64,
        nat44,
        static_bindings,
        routes,
    })
}

#[cfg(test)]
mod tests;
