//! Keys, addresses, periods and counters of a v3 onion service (rend-spec).

pub mod address;
pub(crate) mod base32;
pub mod cert;
pub mod client;
mod comb;
mod edwards;
mod field;
pub mod key;
pub mod key_file;
pub(crate) mod low_order;
pub mod montgomery;
pub mod period;
pub mod revision;
mod secret_base;
pub mod signature;
