//! A bystander of the simulated world: it sees what crosses the boundary of a node, and nothing inside.

use std::collections::BTreeSet;

use rustbalance_core::output::Stop;
use rustbalance_core::{Event, Rejected};

use super::fault::Fault;
use super::history::History;
use super::marks::Marks;
use super::traffic::Traffic;
use super::world::World;

/// Something seen at one machine.
#[derive(Debug)]
pub enum Sight<'a> {
    /// A fault is about to strike.
    Strikes(&'a Fault),
    /// Something befell the world, in words.
    Befell(&'a str),
    /// The node reports an event.
    Says(&'a Event),
    /// The node stops by itself.
    Stops(Stop),
    /// The node refuses an input.
    Rejects(&'a Rejected),
    /// The node sends a datagram.
    Sends {
        /// To which machine.
        to: usize,
        /// The datagram.
        bytes: &'a [u8],
    },
    /// The node hands its tor a descriptor.
    Posts {
        /// The descriptor.
        text: &'a str,
    },
    /// An upload of the node's tor has reached an HSDir.
    Uploads(Upload<'a>),
    /// Its tor breaks uploads off.
    BreaksOff,
    /// What it sends is longer than what the path carries.
    IsTooLong,
    /// A fetch of the node's tor has reached an HSDir.
    Fetches,
    /// An HSDir that was responsible is not in the consensus that is new.
    HsDirLeaves,
}

/// An upload, as the HSDir sees it.
#[derive(Debug)]
pub struct Upload<'a> {
    /// Keys of the points in it, if it was stored.
    pub points: Option<&'a BTreeSet<[u8; 32]>>,
    /// Its revision counter.
    pub revision: u64,
    /// The revision counter of what was stored until now.
    pub stored: Option<u64>,
}

/// Everything that looks on.
#[derive(Debug, Default)]
pub struct Witness {
    /// What can be drawn.
    pub history: History,
    /// Which situations came about.
    pub marks: Marks,
    /// Datagrams in calm.
    pub traffic: Traffic,
}

impl World {
    /// Shows a sight at machine `index` to whoever looks on.
    pub(super) fn see(&mut self, index: usize, sight: &Sight<'_>) {
        let Some(mut witness) = self.witness.take() else { return };
        if let Sight::Sends { bytes, .. } = sight {
            witness.traffic.count(self, index, bytes.len());
        }
        witness.history.see(self, index, sight);
        witness.marks.see(self, index, sight);
        self.witness = Some(witness);
    }
}
