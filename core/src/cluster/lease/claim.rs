//! Taking the lease: when it is vacant, when its holder is deaf, and when it is offered.

use super::super::PeerError;
use super::super::timing::{QUESTION, QUESTION_PEERS, QUESTION_REPEAT, RANK_STEP, TTL};
use super::super::wire::Message;
use super::{Context, Lease, State};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;

impl Lease {
    /// Follows, unless it is our turn to claim. A released lease and a deaf holder's need no question: the answer
    /// is known.
    pub(super) fn follow(&mut self, now: Mono, ctx: Context<'_>, rng: &mut Rng, out: &mut Outbox) {
        let is_due = |at: Option<Mono>| at.is_some_and(|at| now >= at);
        if is_due(self.deaf_at(now, ctx)) {
            self.claim(true);
        } else if is_due(self.claim_at(ctx)) {
            let unasked = is_broken(Rule::AskBeforeClaim);
            if unasked || self.newest.as_ref().is_some_and(|seen| seen.beacon.released) {
                self.claim(false);
            } else {
                self.state = State::Asking { since: now, repeated: false };
                self.ask(ctx, rng, out);
            }
        }
    }

    /// Asks a second time, then claims; a newer beacon meanwhile means there is nothing to claim.
    pub(super) fn ask_on(
        &mut self,
        now: Mono,
        ctx: Context<'_>,
        since: Mono,
        repeated: bool,
        rng: &mut Rng,
        out: &mut Outbox,
    ) {
        if self.claim_at(ctx).is_none_or(|at| now < at) {
            self.state = State::Following;
        } else if now >= since.plus(QUESTION) {
            self.claim(false);
        } else if !repeated && now >= since.plus(QUESTION_REPEAT) {
            self.state = State::Asking { since, repeated: true };
            self.ask(ctx, rng, out);
        }
    }

    pub(super) fn asking_step(since: Mono, repeated: bool) -> Mono {
        since.plus(if repeated { QUESTION } else { QUESTION_REPEAT })
    }

    /// "Has anyone a newer beacon?" To the last holder and three random peers.
    fn ask(&self, ctx: Context<'_>, rng: &mut Rng, out: &mut Outbox) {
        let (epoch, seq) = self.newest();
        let holder = self.newest.as_ref().map(|seen| seen.beacon.holder).filter(|holder| *holder != ctx.me());
        let others = ctx.ranks.roster.members().keys().copied();
        let others = others.filter(|node| *node != ctx.me() && Some(*node) != holder).collect();
        for to in holder.into_iter().chain(super::super::pick(others, QUESTION_PEERS, rng)) {
            Message::Question { epoch, seq }.send(to, out);
        }
    }

    /// The claim is made; it counts once it is on disk.
    fn claim(&mut self, firm: bool) {
        self.epoch_max = self.epoch_max.saturating_add(1);
        self.state = State::Claiming { epoch: self.epoch_max, firm };
    }

    /// When we may claim a vacant lease, by our rank; `None` while we may not.
    pub(super) fn claim_at(&self, ctx: Context<'_>) -> Option<Mono> {
        let since = self.eligible_since.filter(|_| !self.stopping)?;
        let gone = self.newest.as_ref().map(|seen| seen.beacon.holder);
        let vacant_at = self.vacant_at().max(since).max(self.not_before);
        Some(self.after_rank(vacant_at, ctx.ranks.better_than_me(|node| Some(node) != gone)))
    }

    /// When we may claim from a deaf holder: it has left us out for a TTL, and so it has at least half of the members
    /// we hear, and one at least. The best of those left out goes first.
    pub(super) fn deaf_at(&self, now: Mono, ctx: Context<'_>) -> Option<Mono> {
        let seen = self.newest.as_ref().filter(|_| self.is_left_out(now, ctx.me()) && !self.stopping)?;
        self.eligible_since?;
        let holder = seen.beacon.holder;
        let heard = ctx.ranks.members.heartbeats(now).filter(|(node, _)| *node != holder);
        let heard: Vec<(NodeId, bool)> = heard.map(|(node, beat)| (node, beat.left_out)).collect();
        let agree: Vec<NodeId> = heard.iter().filter(|(_, left_out)| *left_out).map(|(node, _)| *node).collect();
        let agreed = !agree.is_empty() && agree.len() * 2 >= heard.len();
        let since = seen.renewed_at.plus(TTL).max(self.grace_until).max(self.not_before);
        agreed.then(|| self.after_rank(since, ctx.ranks.better_than_me(|node| agree.contains(&node))))
    }

    fn after_rank(&self, at: Mono, rank: u32) -> Mono {
        at.plus(RANK_STEP * rank).plus(self.jitter)
    }

    /// Whether we ask the holder for the lease: strictly better priority, eligible for our preemption delay.
    pub(in super::super) fn wants(&self, now: Mono, ctx: Context<'_>) -> bool {
        let Some(seen) = self.newest.as_ref().filter(|_| now < self.vacant_at()) else { return false };
        let patient = self.eligible_since.is_some_and(|at| now.since(at) >= self.handover.preempt_delay(now));
        // An order may have changed it since the beacon's epoch began.
        let theirs = ctx.ranks.records.get(seen.beacon.holder).map_or(seen.beacon.priority, |record| record.priority);
        let better = ctx.ranks.records.own().priority < theirs;
        patient && better && self.state == State::Following && !self.stopping && now >= self.not_before
    }

    /// `from` wants our lease: offers it if that is the best there is, and nobody else has an offer.
    pub(in super::super) fn consider(&mut self, now: Mono, ctx: Context<'_>, from: NodeId, out: &mut Outbox) {
        let State::Holding { epoch, .. } = self.state else { return };
        let priority = |node| ctx.ranks.records.get(node).map(|record| (record.priority, record.node));
        let mine = ctx.ranks.records.own().priority;
        let better = priority(from).is_some_and(|(theirs, _)| theirs < mine) && ctx.ranks.is_eligible(from);
        let others = ctx.ranks.members.heartbeats(now).filter(|(_, beat)| beat.wants);
        let best = others.filter(|(node, _)| ctx.ranks.is_eligible(*node)).filter_map(|(node, _)| priority(node)).min();
        if better && best == priority(from) && !self.handover.is_offered_beside(now, from) {
            self.handover.offer(now, from);
            Message::Offer { epoch, digest: ctx.items.digest() }.send(from, out);
        }
    }

    /// The holder offers. We claim once we hold all it holds; until then it offers again with every beat.
    /// `Ok(false)`: something is missing.
    ///
    /// # Errors
    /// `Stale` if that is not the holder's current lease or we do not want it (any more).
    pub(in super::super) fn offered(
        &mut self,
        now: Mono,
        ctx: Context<'_>,
        from: NodeId,
        epoch: u64,
        digest: [u64; 16],
    ) -> Result<bool, PeerError> {
        let current = self.newest.as_ref().map(|seen| (seen.beacon.holder, seen.beacon.epoch));
        if current != Some((from, epoch)) || !self.wants(now, ctx) {
            return Err(PeerError::Stale);
        }
        let complete = digest == ctx.items.digest();
        if complete {
            self.claim(true);
        }
        Ok(complete)
    }
}
