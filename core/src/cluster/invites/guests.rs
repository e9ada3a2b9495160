//! Who shows an invite: looked at, judged, queued, and recorded before it is let in.

use crate::cluster::Cluster;
use crate::cluster::ledger::Content as _;
use crate::cluster::timing::{INVITE_BURST, INVITE_REQUEST_EVERY};
use crate::id::NodeId;
use crate::invite::exchange::{Guested, Reply, check_request};
use crate::invite::{InviteId, InvitePath};
use crate::join::AdmitError;
use crate::output::{Event, Outbox, Output, RequestId};
use crate::time::Now;

impl Cluster {
    /// A request of an invited node. It is answered ([`Output::InviteReply`]): with nothing if the request proves nothing, or
    /// too many come; with the reason, for the invited alone, if the node is not let in; else with everything, once the use
    /// and the admission are on disk.
    ///
    /// # Errors
    /// Refused; state unchanged, save that one more request was counted.
    pub fn handle_invited(
        &mut self,
        now: Now,
        request: RequestId,
        path: InvitePath,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<(), AdmitError> {
        let guested = match self.guest(now, path, bytes) {
            Ok(guested) => guested,
            Err(error) => {
                out.push(Output::InviteReply { request, answer: None });
                return Err(error);
            }
        };
        let reply = guested.reply;
        self.receive(now, request, guested).inspect_err(|error| self.turn_down(request, reply, *error, out))
    }

    /// Who asks, if it has an invite.
    fn guest(&mut self, now: Now, path: InvitePath, bytes: &[u8]) -> Result<Guested, AdmitError> {
        if !self.invites.bucket.take(now.mono, INVITE_BURST, INVITE_REQUEST_EVERY) {
            return Err(AdmitError::Busy);
        }
        let id = self.invites.answered(now.wall).find(|id| id.path() == path).ok_or(AdmitError::BadProof)?;
        check_request(bytes, id)
    }

    /// Queues who may join, or has joined and lost its answer.
    fn receive(&mut self, now: Now, request: RequestId, guested: Guested) -> Result<(), AdmitError> {
        let Guested { ask, reply } = guested;
        if self.goodbye.is_some() {
            return Err(AdmitError::Busy);
        }
        if self.rotations.door(&self.roster).is_none() {
            return Err(AdmitError::Rotating);
        }
        if !self.roster.knows(ask.node) {
            self.invites.kept.ledger().admits(reply.invite(), ask.node, now.wall, &self.roster)?;
        }
        self.admissions.handle_guest(now.mono, &self.me, &self.roster, request, ask, reply)
    }

    fn turn_down(&mut self, request: RequestId, reply: Reply, why: AdmitError, out: &mut Outbox) {
        let answer = reply.refuse(why, &mut self.rng);
        out.push(Output::InviteReply { request, answer });
    }

    /// Writes down the uses of those who wait to be let in; turns down who came too late for that.
    pub(super) fn record_uses(&mut self, now: Now, out: &mut Outbox) {
        let guests = self.admissions.guests(&self.roster);
        if guests.is_empty() {
            return;
        }
        let mut ledger = self.invites.kept.ledger().next();
        let mut is_changed = false;
        for (node, request, reply) in guests {
            let id = reply.invite();
            if let Err(why) = ledger.admits(id, node, now.wall, &self.roster) {
                if !ledger.has_used(id, node) {
                    self.admissions.forget(node);
                    self.turn_down(request, reply, why, out);
                }
            } else if let Some(entry) = ledger.invites.get_mut(&id) {
                is_changed |= entry.used.insert(node.into());
            }
        }
        if is_changed {
            self.stage_invites(now.mono, ledger, out);
        }
    }

    /// Says with which invite `node` was let in.
    pub(in crate::cluster) fn say_guest(&self, node: NodeId, id: InviteId, out: &mut Outbox) {
        if let Some(entry) = self.invites.kept.ledger().invites.get(&id) {
            out.event(Event::InviteUsed(entry.terms.name.clone(), node));
        }
    }
}
