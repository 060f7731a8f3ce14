//! `packet:` over a veth pair.

#![allow(clippy::unwrap_used)]

mod common;

use common::both_ways;

#[test]
fn frames_pass_both_ways() {
    let veth = common::veth::Veth::new("slp");
    let eal = common::start("packet", 128);
    both_ways::frames_pass_both_ways(
        &eal,
        &veth,
        &format!("packet:{}", veth.near),
        both_ways::Close::GivesBack,
    );
}
