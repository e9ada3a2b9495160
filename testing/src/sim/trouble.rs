//! Faults of the network that last until they are healed.

/// Each number counts only as far as it is worse than what [`Options`](super::world::Options) say.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Datagrams lost, per thousand.
    pub loss_permille: u64,
    /// Datagrams changed under way, per thousand.
    pub corrupt_permille: u64,
    /// Handshake messages lost besides, per thousand.
    pub handshake_loss_permille: u64,
    /// Datagrams delivered twice, per thousand.
    pub duplicate_permille: u64,
    /// Datagrams that come late, per thousand, and by up to how much, milliseconds.
    pub reorder: (u64, u64),
    /// Everything is lost until then, milliseconds of true time.
    pub burst_until: u64,
}
