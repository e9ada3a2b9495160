//! Whom a node of a large cluster gossips with: a few at a time, so that few of its tunnels have to be kept warm.

use super::pick;
use super::timing::{PARTNER_CHANGE, PARTNERS, PARTNERS_ABOVE};
use crate::id::NodeId;
use crate::rng::Rng;
use crate::time::Mono;

/// The partners in a large cluster, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Partners {
    chosen: Vec<NodeId>,
    change_at: Mono,
}

impl Partners {
    /// Whether a cluster of so many members is one where not everyone is everyone's partner.
    pub(super) fn are_few(members: usize) -> bool {
        members > PARTNERS_ABOVE
    }

    /// Those of `others` to gossip with now: members that may live, drawn at random, and one of them replaced every
    /// [`PARTNER_CHANGE`].
    pub(super) fn choose(
        &mut self,
        now: Mono,
        others: impl Iterator<Item = NodeId>,
        may_live: impl Fn(NodeId) -> bool,
        rng: &mut Rng,
    ) -> &[NodeId] {
        self.chosen.retain(|node| may_live(*node));
        if now >= self.change_at {
            self.change_at = now.plus(PARTNER_CHANGE);
            self.chosen.drain(..self.chosen.len().min(1));
        }
        if self.chosen.len() < PARTNERS {
            let fresh = others.filter(|node| !self.chosen.contains(node) && may_live(*node)).collect();
            self.chosen.extend(pick(fresh, PARTNERS - self.chosen.len(), rng));
        }
        &self.chosen
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;
    use std::collections::BTreeSet;

    use super::*;

    struct Fixture {
        partners: Partners,
        rng: Rng,
        down: BTreeSet<NodeId>,
    }

    impl Fixture {
        fn new() -> Self {
            Self { partners: Partners::default(), rng: Rng::seed_from_u64(1), down: BTreeSet::new() }
        }

        fn choose(&mut self, at: Mono) -> BTreeSet<NodeId> {
            let others = (0..100).map(|n| NodeId([n; 32]));
            let chosen = self.partners.choose(at, others, |node| !self.down.contains(&node), &mut self.rng);
            chosen.iter().copied().collect()
        }
    }

    #[test]
    fn partners_stay_for_a_while_and_change_one_by_one() {
        let (mut f, mut at) = (Fixture::new(), Mono::from_ms(5));
        let (mut before, mut met) = (f.choose(at), BTreeSet::new());
        for _ in 0..1_000 {
            let early = Mono::from_ms(at.as_ms() - 1).plus(PARTNER_CHANGE);
            assert_eq!(f.choose(early), before);
            at = at.plus(PARTNER_CHANGE);
            let now = f.choose(at);
            assert_eq!(now.len(), PARTNERS);
            assert!(now.intersection(&before).count() >= PARTNERS - 1);
            met.extend(now.iter().copied());
            before = now;
        }
        assert_eq!(met.len(), 100, "in time everybody is met");
    }

    #[test]
    fn who_is_down_is_replaced_at_once() {
        let mut f = Fixture::new();
        let before = f.choose(Mono::from_ms(0));
        f.down = before.iter().copied().take(3).collect();
        let now = f.choose(Mono::from_ms(1));
        assert_eq!((now.len(), now.intersection(&before).count()), (PARTNERS, PARTNERS - 3));
        assert!(now.is_disjoint(&f.down));
    }

    #[test]
    fn where_fewer_live_all_of_them_are_partners() {
        let mut f = Fixture::new();
        f.down = (2..100).map(|n| NodeId([n; 32])).collect();
        assert_eq!(f.choose(Mono::from_ms(0)).len(), 2);
    }
}
