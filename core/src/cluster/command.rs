//! What an operator asks of the running cluster, and why it may be refused.

use core::fmt;

use super::{Cluster, Liveness, NodeState, sign};
use crate::output::{DurableKind, Outbox};
use crate::time::Now;

/// Why a command was refused; state unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// This node is shutting down or leaving.
    Stopping,
    /// Nobody else serves: draining would leave clients nobody to go to.
    LastServing,
    /// The only member cannot leave: the address would be gone.
    OnlyMember,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopping => "this node is stopping",
            Self::OnlyMember => "this is the only member; to stop it, stop the process",
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

    fn does_another_serve(&self) -> bool {
        let live = self.others().filter(|node| self.members.liveness(*node) == Liveness::Live);
        live.filter_map(|node| self.records.get(node)).any(super::Record::serves)
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
