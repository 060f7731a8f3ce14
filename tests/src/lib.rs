//! Whole-system tests: the real processes, real peers, in network namespaces of their own.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`lab`] | the network around one gateway, and its removal whatever happens |
//! | [`netns`] | one namespace: commands, threads and sockets inside it |
//! | [`process`] | a long-running program with its log, ended by its own number |
//! | [`programs`] | where the programs under test are |
//! | [`site`] | the configuration file of a test |
//! | [`gateway`] | data plane and control of one lab, and the `sluice` command |
//! | [`accounting`] | counters, and the law that every packet ends in one place |
//! | [`service`] | a TCP and UDP peer that says what it saw |
//! | [`traffic`] | connections and datagrams of a client |
//! | [`collector`] | a collector of the log: syslog, IPFIX |
//! | [`capture`] | what a host's interface carried |
//! | [`vlan`] | a tagged cable, also for kernels without VLANs |
//! | [`wait`] | deadlines instead of sleeps |
//! | [`wire`] | frames as a test writes them |
//! | [`checks`] | behaviours, each against a running gateway |
//! | [`conformance`] | which rows of the conformance table code and tests cite |
//!
//! One lab exists per test process at a time: polling workers of several gateways on two cores would measure
//! each other. Several test processes do not disturb one another.

pub mod accounting;
pub mod capture;
pub mod checks;
pub mod collector;
pub mod conformance;
pub mod gateway;
pub mod lab;
pub mod netns;
pub mod process;
pub mod programs;
pub mod service;
pub mod site;
pub mod traffic;
pub mod vlan;
pub mod wait;
pub mod wire;
