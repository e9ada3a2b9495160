//! What an operator asks of the running cluster, and why it may be refused.

use core::fmt;

use super::{Cluster, Liveness};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::time::Now;

/// Why a command was refused; state unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// This node is shutting down or leaving.
    Stopping,
    /// This node has left the cluster or was removed.
    NotAMember,
    /// A node is not removed by itself; it leaves.
    Oneself,
    /// No node of that name was ever admitted.
    Unknown,
    /// That node has left or was removed already.
    Gone,
    /// The change before this one is not on disk yet, or the last order is not answered.
    Busy,
    /// Nobody else serves: draining would leave clients nobody to go to.
    LastServing,
    /// Only the publisher can step down.
    NotHolder,
    /// Nobody else could publish.
    NobodyElse,
    /// That node is not heard, or has not answered.
    Silent,
    /// Another order, or a restart, came first.
    Overtaken,
    /// A number is out of its range.
    OutOfRange,
    /// The only member cannot leave: the address would be gone.
    OnlyMember,
    /// Another authorised client has that name.
    ClientExists,
    /// Another authorised client has that key.
    KeyInUse,
    /// No authorised client has that name.
    NoSuchClient,
    /// No further client fits the descriptor.
    TooManyClients,
    /// Another invite that has not expired has that name.
    InviteExists,
    /// No invite that has not expired has that name.
    NoSuchInvite,
    /// No further invite is remembered.
    TooManyInvites,
    /// For no node or too many, or good for no time or too long.
    InviteBounds,
    /// The tor of this node belongs to somebody else, has other services, and publishes what everybody can read.
    Attached,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopping => "this node is stopping",
            Self::OnlyMember => "this is the only member; to stop it, stop the process",
            Self::NotAMember => "this node is not a member of the cluster any more",
            Self::Oneself => "a node does not remove itself; use leave",
            Self::Unknown => "no such node in the cluster",
            Self::NotHolder => "that node does not publish now; see `rustbalance status`",
            Self::NobodyElse => "no other node could publish now; see who is ready in `rustbalance status`",
            Self::Silent => {
                "that node does not answer; its points leave the descriptor by themselves while it is down, and what is to \
                 hold when it is back must be ordered then"
            }
            Self::Overtaken => "another order, or a restart of that node, came first; look at its state, and ask again",
            Self::OutOfRange => "a number is out of range: weight 1 to 1000, priority 0 to 255, at most 24 hours",
            Self::Gone => "that node has left or was removed already",
            Self::Busy => "the change before this one is not done yet; try again",
            Self::ClientExists => "another authorised client has that name; remove it first, or choose another name",
            Self::KeyInUse => "another authorised client has that key; give each its own",
            Self::NoSuchClient => "no authorised client has that name; see `rustbalance clients list`",
            Self::TooManyClients => {
                "the descriptor has no room for another authorised client (111 fit its 49,999 bytes beside 20 introduction \
                 points); remove one first"
            }
            Self::InviteExists => "another invite has that name; choose another one",
            Self::NoSuchInvite => "no invite that has not expired has that name; see `rustbalance invite list`",
            Self::TooManyInvites => {
                "there are too many invites; wait until some expire, or make one that is good for longer than those that \
                 were used or revoked"
            }
            Self::InviteBounds => "an invite is for 1 to 8 nodes, and good for at most 30 days",
            Self::Attached => {
                "the tor that this node is attached to has other services: it publishes the address by itself, for everybody; \
                 see `rustbalance status`, and move those to another tor first"
            }
            Self::LastServing => "no other node serves clients now; start another one first, or stop this one",
        })
    }
}

impl core::error::Error for CommandError {}

impl Cluster {
    /// Makes a new cluster token. The old one admits nobody any more at any member that has heard of it; members stay.
    /// In force, and told to the others, once it is on disk.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`, `Busy`.
    pub fn rotate_token(&mut self, now: Now, out: &mut Outbox) -> Result<(), CommandError> {
        self.may_change_the_cluster()?;
        self.stage_rotation(now, None, out);
        Ok(())
    }

    /// Takes `node` off the roster for good, together with a new cluster token that it does not get. Also the last
    /// other member may be removed: its machine may be in other hands.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`, `Busy`; `Oneself`, `Unknown`, `Gone`.
    pub fn remove(&mut self, now: Now, node: NodeId, out: &mut Outbox) -> Result<(), CommandError> {
        self.may_change_the_cluster()?;
        if node == self.me.id {
            return Err(CommandError::Oneself);
        }
        if !self.roster.knows(node) {
            return Err(CommandError::Unknown);
        }
        let entry = self.roster.bury(&self.items, &self.me.keypair, node, now.wall);
        let entry = entry.filter(|_| self.roster.contains(node)).ok_or(CommandError::Gone)?;
        self.stage_rotation(now, Some((node, entry)), out);
        Ok(())
    }

    /// Whether others would follow what this node says.
    pub(super) fn may_command(&self) -> Result<(), CommandError> {
        if self.goodbye.is_some() {
            return Err(CommandError::Stopping);
        }
        if self.roster.contains(self.me.id) { Ok(()) } else { Err(CommandError::NotAMember) }
    }

    pub(super) fn may_change_the_cluster(&self) -> Result<(), CommandError> {
        self.may_command()?;
        if self.rotations.staged().is_some() { Err(CommandError::Busy) } else { Ok(()) }
    }

    /// Whether any other live member serves clients, by its own word.
    pub(super) fn does_another_serve(&self) -> bool {
        self.does_one_serve_beside(self.me.id)
    }

    /// Whether any live member but `node` serves clients, by its own word.
    pub(super) fn does_one_serve_beside(&self, node: NodeId) -> bool {
        let is_live = |other: NodeId| other == self.me.id || self.members.liveness(other) == Liveness::Live;
        let members = self.roster.members().keys().copied().filter(|other| *other != node && is_live(*other));
        members.filter_map(|other| self.records.get(other)).any(|record| record.serves())
    }
}
