//! Keys, addresses, periods and counters of a v3 onion service (rend-spec).

pub mod address;
pub mod cert;
pub mod key;
pub mod period;
pub mod revision;
pub mod signature;
