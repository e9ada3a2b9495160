//! Addresses nobody else uses: a random /24 of 127.0.0.0/8 per network, held by a listener for as long as it is used; or
//! one that the test has to itself, in a network namespace of its own.
//!
//! Two networks on one machine never meet, however many tests run at once, and no port has to be found, closed and hoped
//! for: outgoing connections on loopback come from 127.0.0.1.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use anyhow::{Context, Result};

/// The port whose listener holds the subnet.
const HOLD_PORT: u16 = 20_999;
/// Tries before giving up; one in 60,000 or so is taken.
const TRIES: usize = 20;

/// A subnet, ours while this value lives.
pub struct Subnet {
    network: [u8; 3],
    _hold: Option<TcpListener>,
}

impl Subnet {
    /// This one, which nobody else uses.
    pub fn given(network: [u8; 3]) -> Self {
        Self { network, _hold: None }
    }

    /// Takes a random free one of loopback.
    ///
    /// # Errors
    /// If none of some 20 can be held.
    pub fn take() -> Result<Self> {
        (0..TRIES)
            .find_map(|_| {
                let [_, a, b, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
                let network = [127, a.max(1), b];
                let hold = TcpListener::bind(SocketAddrV4::new(host(network, 1), HOLD_PORT)).ok()?;
                Some(Self { network, _hold: Some(hold) })
            })
            .context("no free subnet of 127.0.0.0/8; is port 20999 taken on all addresses?")
    }

    /// Host `number` of it.
    pub fn host(&self, number: u8) -> Ipv4Addr {
        host(self.network, number)
    }
}

fn host([a, b, c]: [u8; 3], number: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, number)
}
