//! Faults of the network that last until they are healed.

/// Each number counts only as far as it is worse than what [`Options`](super::options::Options) say.
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
    /// Longer datagrams are lost: a path carries no more.
    pub bytes_max: Option<usize>,
    /// Everything is lost until then, milliseconds of true time.
    pub burst_until: u64,
}

impl Trouble {
    /// Whether there is none at `now` that keeps what is said from whom it is said to.
    pub fn is_over(&self, now: u64) -> bool {
        self.silences_nobody(now) && self.bytes_max.is_none()
    }

    /// Whether a datagram so long passes.
    pub(super) fn carries(&self, bytes: usize) -> bool {
        self.bytes_max.is_none_or(|most| bytes <= most)
    }

    /// Whether whoever speaks at `now` is heard at once, though perhaps only in short datagrams.
    pub(super) fn silences_nobody(&self, now: u64) -> bool {
        self.loss_permille + self.handshake_loss_permille == 0 && self.reorder.0 == 0 && now >= self.burst_until
    }
}
