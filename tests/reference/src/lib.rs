//! A NAT and a translator as one would write them without thinking of speed, and what compares them with the real ones on
//! random traffic: outputs packet by packet, all state now and then.
//!
//! | module | what |
//! | --- | --- |
//! | [`nat`] | the reference NAT: bindings and sessions in maps; it takes over the engine's choice of ports, and checks it |
//! | [`rules`] | which rule serves a packet, read from the [`sluice_nat::Spec`] itself |
//! | [`ports`] | whether a port or block that the engine chose was its to choose |
//! | [`tcp`] | the states of RFC 6146 and how long they last |
//! | [`bytes`] | packets as bytes, built and translated with all checksums in full |
//! | [`hash`] | maps with a cheap hash |
//! | [`dice`] | where chance comes from: a generator with a seed, or the bytes of a fuzzer |
//! | [`scenario`], [`traffic`] | random configurations; hosts, a lossy network between them, and hostile strangers |
//! | [`rig`] | engines of several workers, driven as the data plane drives them |
//! | [`play`] | a game: both sides get the same operations, and have to agree |
//! | [`run`] | many games, on all cores, each known by its seed |

pub mod bytes;
pub mod dice;
pub mod hash;
pub mod nat;
pub mod play;
pub mod ports;
pub mod rig;
pub mod rules;
pub mod run;
pub mod scenario;
pub mod tcp;
pub mod traffic;
