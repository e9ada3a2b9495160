//! What an operator asks of the running cluster, and why it may be refused.

use core::fmt;

use super::{Cluster, Liveness, NodeState, sign};
use crate::id::NodeId;
use crate::output::{DurableKind, Outbox};
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
    /// The change before this one is not on disk yet.
    Busy,
    /// Nobody else serves: draining would leave clients nobody to go to.
    LastServing,
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
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopping => "this node is stopping",
            Self::OnlyMember => "this is the only member; to stop it, stop the process",
            Self::NotAMember => "this node is not a member of the cluster any more",
            Self::Oneself => "a node does not remove itself; use leave",
            Self::Unknown => "no such node in the cluster",
            Self::Gone => "that node has left or was removed already",
            Self::Busy => "the last change is still being written to disk; try again",
            Self::ClientExists => "another authorised client has that name; remove it first, or choose another name",
            Self::KeyInUse => "another authorised client has that key; give each its own",
            Self::NoSuchClient => "no authorised client has that name; see `rustbalance clients list`",
            Self::TooManyClients => {
                "the descriptor has no room for another authorised client (111 fit its 49,999 bytes beside 20 introduction \
                 points); remove one first"
            }
            Self::LastServing => "no other node serves clients now; start another one first, or stop this one",
        })
    }
}

impl core::error::Error for CommandError {}

impl Cluster {
    /// Takes this node out of the plan and the election while open sessions go on; a restart keeps it so. Idempotent.
    ///
    /// # Errors
    /// `Stopping`; `LastServing` if no live member serves clients.
    pub fn drain(&mut self, now: Now, out: &mut Outbox) -> Result<(), CommandError> {
        if self.records.own().state == NodeState::Active && !self.does_another_serve() {
            return Err(CommandError::LastServing);
        }
        self.set_state(now, NodeState::Draining, out)
    }

    /// Ends [`Cluster::drain`]. Idempotent.
    ///
    /// # Errors
    /// `Stopping`.
    pub fn undrain(&mut self, now: Now, out: &mut Outbox) -> Result<(), CommandError> {
        self.set_state(now, NodeState::Active, out)
    }

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

    pub(super) fn may_change_the_cluster(&self) -> Result<(), CommandError> {
        if self.goodbye.is_some() {
            return Err(CommandError::Stopping);
        }
        if !self.roster.contains(self.me.id) {
            return Err(CommandError::NotAMember);
        }
        if self.rotations.staged().is_some() { Err(CommandError::Busy) } else { Ok(()) }
    }

    fn does_another_serve(&self) -> bool {
        let live = self.others().filter(|node| self.members.liveness(*node) == Liveness::Live);
        live.filter_map(|node| self.records.get(node)).any(|record| record.serves())
    }

    fn set_state(&mut self, now: Now, state: NodeState, out: &mut Outbox) -> Result<(), CommandError> {
        if self.goodbye.is_some() {
            return Err(CommandError::Stopping);
        }
        let changed = self.records.amend(&self.me, &mut self.items, |record| {
            record.state = state;
            record.eligible &= state == NodeState::Active;
        });
        if changed {
            self.disk.want(DurableKind::Drain, sign::encode(&(state == NodeState::Draining)));
            self.push_own(now.mono);
            self.save(out, now.mono);
        }
        Ok(())
    }
}
