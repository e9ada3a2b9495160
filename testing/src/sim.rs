//! The deterministic cluster simulator: the very same [`rustbalance_core::Node`] as the binary, in a world of
//! virtual time where one seed drives everything. No threads, no sockets, no clock.
//!
//! * [`world::World`] owns what is still to happen (`queue`) and the machines; `perform` does what a daemon wishes.
//! * [`machine`] is a machine with its [`clock`]; `admission` is how it becomes a member.
//! * [`mesh`] is the network between machines, `tunnel` a WireGuard tunnel's end.
//! * [`tor::TorModel`] speaks tor's control protocol to a daemon; `tors` are the tors in their world, `uploads` theirs.
//! * [`hsdirs::HsDirs`] keeps what was uploaded under tor's revision rule; [`network::TorNetwork`] makes the consensus,
//!   [`layout`] says which HSDirs matter. [`clients::Clients`] visit the service.
//! * `liar` says what is not so.
//! * [`fault::Fault`] is all that can go wrong, `strike` is how it does, [`trouble`] what lasts.
//!
//! [`scale`] measures what large clusters cost. After every step each invariant in [`check`] looks at what has changed in
//! the world.
//!
//! [`scenario`] tells stories, [`schedule`] draws the faults of one of them up front, and [`minimise`] shortens them;
//! [`campaign`] runs many seeds. A [`witness`] looks on from outside: [`history`] is drawn by [`svg`], [`marks`] say
//! which situations ([`mark`]) were reached, [`measure`] and [`traffic`] what it took, and [`summary`] adds all of it up.

mod admission;
pub mod campaign;
pub mod check;
pub mod ci;
pub mod clients;
pub mod clock;
pub mod fault;
pub mod history;
pub mod hsdirs;
pub mod layout;
mod liar;
pub mod machine;
pub mod mark;
pub mod marks;
pub mod measure;
pub mod mesh;
pub mod minimise;
pub mod network;
pub mod options;
mod perform;
mod queue;
pub mod scale;
pub mod scenario;
pub mod schedule;
mod strike;
pub mod summary;
pub mod svg;
pub mod tor;
mod tors;
pub mod traffic;
pub mod trouble;
mod tunnel;
mod uploads;
pub mod witness;
pub mod world;
