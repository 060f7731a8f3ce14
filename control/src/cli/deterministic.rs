//! `sluice deterministic`: which ports an inside host has in a deterministic pool, and whose a port is (RFC 7422).
//!
//! Computed from the applied configuration, without daemon and dataplane: with the variables of another time, which control has
//! logged, the same is true of that time (`--config`).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use clap::Args;
use sluice_nat::{Deterministic, PoolSpec};
use sluice_shm::read_snapshot;

use super::output::Output;
use super::{CliError, Global};
use crate::config;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sluice deterministic                     (the variables of every pool that has ranges)\n  sluice deterministic 10.0.0.7            (external address and ports of an inside host)\n  sluice deterministic 198.51.100.1:2001   (the inside host that has a port)\n  sluice deterministic --config old.yaml 198.51.100.1:2001"
)]
pub(crate) struct ShowDeterministic {
    /// An inside address, or an external address with a port
    #[arg(value_name = "ADDRESS[:PORT]", value_parser = query)]
    query: Option<Query>,
    /// Ask this configuration file instead of the applied configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Query {
    Inside(Ipv4Addr),
    External(SocketAddrV4),
}

fn query(text: &str) -> Result<Query, String> {
    if let Ok(address) = text.parse() {
        return Ok(Query::Inside(address));
    }
    let hint = "expected an IPv4 address such as 10.0.0.7, or one with a port such as 198.51.100.1:2001";
    text.parse().map(Query::External).map_err(|_| hint.to_owned())
}

/// An inside host and what it has.
#[derive(serde::Serialize)]
struct Range {
    pool: String,
    inside: Ipv4Addr,
    external: Ipv4Addr,
    first: u16,
    last: u16,
}

impl ShowDeterministic {
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let snapshot = match &self.config {
            None => read_snapshot(&global.run())?,
            Some(path) => {
                let name = path.display().to_string();
                let checked = config::load(&name, &config::read(path)?).map_err(CliError::Config)?;
                config::compile(&checked.config, 1)
            }
        };
        let pools: Vec<(&PoolSpec, Deterministic)> = snapshot
            .nat
            .pools
            .iter()
            .filter_map(|pool| Some((pool, Deterministic::of(pool).ok().flatten()?)))
            .collect();
        if pools.is_empty() {
            return Err(CliError::Nothing(
                "no pool is deterministic: ports are in the log of blocks and in `sluice sessions`"
                    .to_owned(),
            ));
        }
        let Some(query) = self.query else {
            for (pool, map) in &pools {
                let record = config::variables(pool, map);
                if out.json { out.json_line(&record)? } else { out.line(record.to_string())? }
            }
            return Ok(());
        };
        let range = answer(&pools, query).ok_or_else(|| CliError::Nothing(nothing(query)))?;
        if out.json {
            return out.json(&range);
        }
        let Range { pool, inside, external, first, last } = range;
        out.line(format!("{inside} has {external}:{first}-{last} (pool {pool})"))
    }
}

//= conformance PORT-18
fn answer(pools: &[(&PoolSpec, Deterministic)], query: Query) -> Option<Range> {
    pools.iter().find_map(|(pool, map)| {
        let inside = match query {
            Query::Inside(inside) => inside.to_bits(),
            Query::External(external) => map.inside(external.ip().to_bits(), external.port())?,
        };
        let (external, first, last) = map.range(inside)?;
        Some(Range {
            pool: pool.name.clone(),
            inside: Ipv4Addr::from_bits(inside),
            external: Ipv4Addr::from_bits(external),
            first,
            last,
        })
    })
}

fn nothing(query: Query) -> String {
    match query {
        Query::Inside(inside) => format!("{inside} is in the `inside` of no deterministic pool"),
        Query::External(external) => {
            format!("{external} is in no range: such ports are given out in blocks, which are in the log")
        }
    }
}
