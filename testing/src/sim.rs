//! The deterministic cluster simulator: the very same [`rustbalance_core::Node`] as the binary, in a world of
//! virtual time where one seed drives everything. No threads, no sockets, no clock.
//!
//! [`world::World`] owns the event queue and the nodes; [`tor::TorModel`] speaks tor's control protocol to a node;
//! [`hsdirs::HsDirs`] keeps what was uploaded under tor's revision rule; [`network::TorNetwork`] makes the consensus.
//! After every step each invariant in [`check`] looks at the world.

pub mod check;
pub mod fault;
pub mod hsdirs;
pub mod network;
pub mod scenario;
pub mod tor;
pub mod world;
