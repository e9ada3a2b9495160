//! Whether clients are to find this node, and when what is published has followed.

use super::timing::OUT_WITHIN;
use super::{Cluster, NodeState};
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;
use crate::tor::Presence;

impl Cluster {
    /// Whether clients are to find this node. It is out only once the newest proven plan does not list it, or for
    /// [`OUT_WITHIN`]; and only while another serves, for else clients would have nobody to go on to, and the node, when it
    /// comes back, no points.
    pub fn presence(&self, now: Mono) -> Presence {
        match self.out_since {
            None => Presence::In,
            Some(_) if !self.does_another_serve() || is_broken(Rule::OutClosesPoints) => Presence::GoingOut,
            Some(since) if !self.is_listed() || now >= since.plus(OUT_WITHIN) => Presence::Out,
            Some(_) => Presence::GoingOut,
        }
    }

    /// Notes when this node went out of service: by an order, by stopping, or for want of its target outside a pause.
    pub(super) fn keep_presence(&mut self, now: Mono) {
        let own = self.records.own();
        let is_unwell = !own.target_up && self.paused(now).is_none();
        let is_out = own.state != NodeState::Active || is_unwell;
        self.out_since = is_out.then(|| self.out_since.unwrap_or(now));
    }

    fn is_listed(&self) -> bool {
        self.plans.proven().is_none_or(|plan| plan.nodes.contains_key(&self.me.id) || plan.nodes.is_empty())
    }

    /// When time alone takes us out.
    pub(super) fn presence_timeout(&self) -> Option<Mono> {
        let at = self.out_since?.plus(OUT_WITHIN);
        (self.stall.ticked_at() < at).then_some(at)
    }
}
