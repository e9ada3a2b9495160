//! What `bench` measures: each part that has a peer beside it, in one process or run, in turns, so that a noisy machine
//! disturbs both alike (where the peer is Arti, with the feature `arti`); and the simulator, which has none.

pub mod consensus;
#[cfg(feature = "arti")]
pub mod descriptor;
pub mod node;
pub mod onionbalance;
#[cfg(feature = "arti")]
pub mod primitives;
pub mod ring;
pub mod simulator;
pub mod stand_in;
pub mod stopwatch;
