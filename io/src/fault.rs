//! Whose fault an error is, for the exit code.

/// Where a remedy is to be sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine, or us.
    Runtime,
    /// The command line or the configuration.
    Usage,
    /// The state directory or a key.
    State,
    /// The network or a peer.
    Network,
    /// Tor.
    Tor,
}
