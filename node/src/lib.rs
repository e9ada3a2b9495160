//! What the program `rustbalance` reads and how it fails, apart from its commands.

pub mod config_file;
pub mod failure;
