//! What `bench` measures: each part beside a peer, in one process or run, in turns, so that a noisy machine disturbs
//! both alike.

pub mod consensus;
pub mod descriptor;
pub mod onionbalance;
pub mod primitives;
pub mod ring;
pub mod stopwatch;
