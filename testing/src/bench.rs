//! What `bench` measures: each part that has a peer beside it, in one process or run, in turns, so that a noisy machine
//! disturbs both alike (with the feature `arti`); and the simulator, which has none.

#[cfg(feature = "arti")]
pub mod consensus;
#[cfg(feature = "arti")]
pub mod descriptor;
#[cfg(feature = "arti")]
pub mod onionbalance;
#[cfg(feature = "arti")]
pub mod primitives;
#[cfg(feature = "arti")]
pub mod ring;
pub mod simulator;
pub mod stopwatch;
