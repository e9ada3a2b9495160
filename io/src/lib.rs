//! The shell around the core: sockets, processes, files, clocks and entropy, on smol. It decides nothing.

pub mod backup;
pub mod clients;
pub mod clock;
mod driver;
pub mod entropy;
pub mod fault;
mod host;
pub mod init;
pub mod invites;
pub mod join;
pub mod keys;
pub mod memory;
pub mod mesh;
pub mod probe;
pub mod proxy;
pub mod run;
mod seldom;
pub mod settings;
mod signals;
pub mod status;
pub mod store;
mod systemd;
pub mod terminal;
pub mod tor;
