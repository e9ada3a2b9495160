//! The shell around the core: sockets, processes, files, clocks and entropy, on smol. It decides nothing.

pub mod clients;
pub mod clock;
mod driver;
pub mod entropy;
pub mod fault;
pub mod init;
pub mod join;
pub mod keys;
pub mod mesh;
pub mod probe;
pub mod proxy;
pub mod run;
mod seldom;
pub mod settings;
mod signals;
pub mod status;
pub mod store;
pub mod tor;
