//! What RustBalance is tested with: a private tor network on loopback, nodes as child processes, real tor clients.
//!
//! * [`sim`]: the deterministic cluster simulator;
//! * [`tor_net`]: directory authorities and relays, all C tor, with a clock so fast that both rotations of an
//!   onion service happen every few minutes;
//! * [`cluster`]: `rustbalance` nodes, each with its own state directory and its own web application ([`web`]);
//! * [`machine`]: machines in namespaces, for what is installed and deployed; [`booted`]: those that run systemd;
//! * [`client`]: fresh tor clients that load a page, and [`visitors`] that keep loading it, in the background or as a
//!   [`crowd`];
//! * [`secrets`]: keys of nodes, sought wherever they must not be;
//! * [`hsdir`]: an independent reader of what the HSDirs hold; [`native`]: what tor publishes by itself, beside ours;
//! * [`plain`]: a service of a plain tor; [`onionbalance`]: the peer that everybody runs;
//! * `arti` (with the feature of that name): Arti's descriptors, oracle and peer of ours.
//!
//! Nothing outlives the program that started it: see [`process`].

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]
#![allow(clippy::unwrap_used, reason = "tests: a failed unwrap is a failed test")]

#[cfg(feature = "arti")]
pub mod arti;
pub mod bench;
pub mod booted;
pub mod client;
pub mod cluster;
pub mod control;
pub mod crowd;
pub mod hsdir;
pub mod machine;
pub mod native;
pub mod onionbalance;
pub mod plain;
pub mod process;
pub mod report;
pub mod secrets;
pub mod sim;
pub mod takeover;
pub mod tor;
pub mod tor_net;
pub mod visitors;
pub mod wait;
pub mod web;
