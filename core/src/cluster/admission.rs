//! Admissions from the member's side: requests wait for native publishing to be off and for the disk, then each is
//! answered with the roster it now stands in.

use std::collections::BTreeMap;

use super::invites::Invites;
use super::roster::{self, Roster};
use super::timing::{ADMISSION_WAIT, ADMISSIONS_MAX, PUSH_ALL};
use super::{Cluster, ClusterToken, Identity, Key, pick};
use crate::id::{NodeId, WgPublicKey};
use crate::invite::exchange::{Ask, Reply};
use crate::join::{self, AdmitError, Grant};
use crate::onion::key::HsIdKeypair;
use crate::output::{Event, Outbox, Output, RequestId};
use crate::time::{Mono, Now};

#[derive(Debug)]
struct Waiting {
    request: RequestId,
    wg: WgPublicKey,
    until: Mono,
    way: Way,
}

/// By which way a node asks.
#[derive(Debug)]
enum Way {
    /// Through a tunnel, with the cluster token.
    Tunnel,
    /// Through tor, with an invite.
    Invite { reply: Reply, contact: Option<String> },
}

impl Waiting {
    fn is_guest(&self) -> bool {
        matches!(self.way, Way::Invite { .. })
    }
}

/// Requests found good and not yet answered; at most [`ADMISSIONS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Admissions {
    waiting: BTreeMap<NodeId, Waiting>,
}

impl Admissions {
    /// Checks a request and queues it. A repeated one only updates where to answer.
    ///
    /// # Errors
    /// Refused; state unchanged.
    #[expect(clippy::too_many_arguments, reason = "a request is checked against all of these")]
    pub(super) fn handle(
        &mut self,
        now: Mono,
        me: &Identity,
        token: &ClusterToken,
        roster: &Roster,
        request: RequestId,
        wg: WgPublicKey,
        bytes: &[u8],
    ) -> Result<(), AdmitError> {
        let node = join::check_request(bytes, token, wg, me.wg)?;
        self.queue(me, roster, node, Waiting { request, wg, until: now.plus(ADMISSION_WAIT), way: Way::Tunnel })
    }

    /// Queues who was found to be invited. A repeated request takes the place of the one before.
    ///
    /// # Errors
    /// Refused; state unchanged.
    pub(super) fn handle_guest(
        &mut self,
        now: Mono,
        me: &Identity,
        roster: &Roster,
        request: RequestId,
        ask: Ask,
        reply: Reply,
    ) -> Result<(), AdmitError> {
        let Ask { node, wg, contact, .. } = ask;
        let way = Way::Invite { reply, contact };
        self.queue(me, roster, node, Waiting { request, wg, until: now.plus(ADMISSION_WAIT), way })
    }

    fn queue(&mut self, me: &Identity, roster: &Roster, node: NodeId, waiting: Waiting) -> Result<(), AdmitError> {
        let wg = waiting.wg;
        if !roster.contains(me.id) {
            return Err(AdmitError::Busy); // nobody would take our word for it
        }
        let members = roster.members();
        let queued = self.waiting.iter().map(|(other, waiting)| (*other, waiting.wg));
        let mut known = members.iter().map(|(other, wg)| (*other, *wg)).chain(queued);
        if known.any(|(other, theirs)| (other == node) != (theirs == wg)) {
            return Err(AdmitError::Taken);
        }
        if !members.contains_key(&node) {
            if roster.knows(node) {
                return Err(AdmitError::Tombstoned);
            }
            if roster.is_full() {
                return Err(AdmitError::Full);
            }
        }
        if self.waiting.len() >= ADMISSIONS_MAX && !self.waiting.contains_key(&node) {
            return Err(AdmitError::Busy);
        }
        self.waiting.insert(node, waiting);
        Ok(())
    }

    /// Who waits to enter the roster.
    fn outside(&self, roster: &Roster) -> impl Iterator<Item = (&NodeId, &Waiting)> {
        self.waiting.iter().filter(|(node, _)| !roster.contains(**node))
    }

    /// Who may enter the roster now: whoever was invited may once its use is recorded.
    fn may_enter(&self, roster: &Roster, invites: &Invites) -> impl Iterator<Item = (&NodeId, &Waiting)> {
        self.outside(roster).filter(|(node, waiting)| match &waiting.way {
            Way::Tunnel => true,
            Way::Invite { reply, .. } => invites.has_used(reply.invite(), **node),
        })
    }

    /// The invited who wait to enter the roster.
    pub(super) fn guests(&self, roster: &Roster) -> Vec<(NodeId, RequestId, Reply)> {
        let guest = |(node, waiting): (&NodeId, &Waiting)| match &waiting.way {
            Way::Invite { reply, .. } => Some((*node, waiting.request, *reply)),
            Way::Tunnel => None,
        };
        self.outside(roster).filter_map(guest).collect()
    }

    /// Drops the request of `node`, which has its answer.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.waiting.remove(&node);
    }

    /// Who waits for an answer and stands in the roster.
    fn ready(&self, roster: &Roster, are_guests: bool) -> Vec<NodeId> {
        let ready =
            self.waiting.iter().filter(|(node, waiting)| roster.contains(**node) && waiting.is_guest() == are_guests);
        ready.map(|(node, _)| *node).collect()
    }

    /// Answers those who are `ready`; the roster must be on disk.
    fn answer(&mut self, ready: &[NodeId], grant: Grant, out: &mut Outbox) {
        let datagrams = join::encode_reply(&Ok(grant));
        for node in ready {
            if let Some(Waiting { request, .. }) = self.waiting.remove(node) {
                out.push(Output::AdmitReply { request, datagrams: datagrams.clone() });
            }
        }
    }

    /// There is a new token: whoever asked with the old one and is not in the roster yet has to ask with the new.
    pub(super) fn turn_away(&mut self, roster: &Roster, out: &mut Outbox) {
        let with_token = self.outside(roster).filter(|(_, waiting)| !waiting.is_guest());
        let with_token: Vec<_> = with_token.map(|(node, waiting)| (*node, waiting.request)).collect();
        for (node, request) in with_token {
            self.forget(node);
            refuse(request, AdmitError::BadToken, out);
        }
    }

    /// Drops requests that have waited too long; the joiner repeats its own.
    pub(super) fn expire(&mut self, now: Mono) {
        self.waiting.retain(|_, waiting| now < waiting.until);
    }

    /// When the next one expires.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }
}

/// Says why not. Whoever asks has proven in its handshake that it knows our WireGuard key.
pub(super) fn refuse(request: RequestId, error: AdmitError, out: &mut Outbox) {
    out.push(Output::AdmitReply { request, datagrams: join::encode_reply(&Err(error)) });
}

impl Cluster {
    /// An admission request. Answered (`AdmitReply`) once native publishing is off (see
    /// [`Cluster::admission_waiting`]) and the roster with the new member is durable; a refusal at once.
    ///
    /// # Errors
    /// Refused; state unchanged.
    pub fn handle_admit(
        &mut self,
        now: Now,
        request: RequestId,
        wg: WgPublicKey,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<(), AdmitError> {
        let handled = match self.rotations.door(&self.roster) {
            // On our way out: nobody would take our word for it.
            _ if self.goodbye.is_some() => Err(AdmitError::Busy),
            Some(token) => self.admissions.handle(now.mono, &self.me, token, &self.roster, request, wg, bytes),
            None => Err(AdmitError::Rotating),
        };
        handled.inspect_err(|error| refuse(request, *error, out))
    }

    /// Whether an admission waits for native publishing to be off (`docs/PROTOCOL.md`, Modes).
    pub fn admission_waiting(&self) -> bool {
        self.admissions.may_enter(&self.roster, &self.invites).next().is_some()
    }

    /// Native publishing is off (acknowledged by every tor): waiting admissions may proceed.
    pub fn native_is_off(&mut self, now: Now, out: &mut Outbox) {
        let may_enter = self.admissions.may_enter(&self.roster, &self.invites);
        let entering = may_enter.map(|(node, waiting)| {
            let guest = match &waiting.way {
                Way::Tunnel => None,
                Way::Invite { reply, contact } => Some((reply.invite(), contact.clone())),
            };
            (*node, waiting.wg, guest)
        });
        for (node, wg, guest) in entering.collect::<Vec<_>>() {
            let entry = roster::admit(&self.me.keypair, self.me.cluster, self.generation(), node, wg);
            if self.roster.accept(&entry, &mut self.items).is_err() {
                continue;
            }
            out.event(Event::Admitted(node));
            if let Some((invite, contact)) = guest {
                self.say_guest(node, invite, out);
                self.contacts.learn(node, contact.as_ref());
            }
        }
        self.save(out, now.mono);
    }

    /// Whoever stands in the roster, on disk, gets its answer, and everyone hears of it.
    pub(super) fn answer_admissions(&mut self, now: Mono, out: &mut Outbox) {
        let ready = self.durable_and_ready(false);
        if ready.is_empty() {
            return;
        }
        let grant = self.grant();
        self.admissions.answer(&ready, grant, out);
        self.announce(now, ready);
    }

    /// The same for those who were invited; they get the address' key, too.
    pub fn answer_invited(&mut self, now: Now, master: &HsIdKeypair, out: &mut Outbox) {
        let ready = self.durable_and_ready(true);
        let Some(token) = self.rotations.door(&self.roster).filter(|_| !ready.is_empty()) else { return };
        let grant = self.grant();
        for node in &ready {
            if let Some(Waiting { request, way: Way::Invite { reply, .. }, .. }) = self.admissions.waiting.remove(node)
            {
                let answer = reply.welcome(&grant, token, master, &mut self.rng);
                out.push(Output::InviteReply { request, answer });
            }
        }
        self.announce(now.mono, ready);
    }

    fn grant(&self) -> Grant {
        let (cluster, genesis) = (self.me.cluster, self.roster.genesis());
        Grant { cluster, genesis, by: self.me.id, file: self.roster_file() }
    }

    fn durable_and_ready(&self, are_guests: bool) -> Vec<NodeId> {
        if self.is_roster_durable() { self.admissions.ready(&self.roster, are_guests) } else { Vec::new() }
    }

    fn announce(&mut self, now: Mono, admitted: Vec<NodeId>) {
        for node in admitted {
            let others = self.others().filter(|other| *other != node).collect();
            let targets = pick(others, PUSH_ALL, &mut self.rng);
            self.gossip.push(now, &self.items, Key::Entry(node), targets);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::cluster::NodeKeypair;
    use crate::cluster::item::Items;
    use crate::cluster::roster::RosterFile;
    use crate::cluster::tests::{CLUSTER, identity};
    use crate::join::Joiner;
    use crate::onion::key::HsId;
    use crate::rng::Rng;
    use crate::time::Wall;

    struct Fixture {
        me: Identity,
        token: ClusterToken,
        roster: Roster,
        items: Items,
        admissions: Admissions,
    }

    impl Fixture {
        fn new() -> Self {
            let me = identity(1);
            let (mut roster, mut items) = (Roster::new(CLUSTER, me.id), Items::default());
            roster.load(&[roster::admit(&me.keypair, CLUSTER, 0, me.id, me.wg)], &mut items);
            Self { me, token: ClusterToken::new([9; 32]), roster, items, admissions: Admissions::default() }
        }

        /// `node` asks through a tunnel of key `wg`.
        fn ask(&mut self, ms: u64, node: u8, wg: u8) -> Result<(), AdmitError> {
            let wg = WgPublicKey([wg; 32]);
            let keypair = NodeKeypair::from_seed(&[node; 32]);
            let rng = &mut Rng::seed_from_u64(ms);
            let joiner = Joiner::new(&keypair, wg, self.me.wg, &self.token, HsId([5; 32]), rng);
            let (now, request) = (Mono::from_ms(ms), RequestId(ms));
            self.admissions.handle(now, &self.me, &self.token, &self.roster, request, wg, &joiner.request())
        }

        fn are_waiting(&self) -> bool {
            self.admissions.may_enter(&self.roster, &Invites::default()).next().is_some()
        }

        fn admit(&mut self, node: u8) -> Vec<u8> {
            let id = identity(node);
            let entry = roster::admit(&self.me.keypair, CLUSTER, 0, id.id, id.wg);
            self.roster.accept(&entry, &mut self.items).unwrap();
            entry
        }
    }

    #[test]
    fn a_repeated_request_is_answered_where_it_came_from_last() {
        let mut f = Fixture::new();
        assert_eq!((f.ask(1, 2, 2), f.ask(2, 2, 2)), (Ok(()), Ok(())));
        assert!(f.are_waiting());
        f.admit(2);
        assert!(!f.are_waiting());
        let (ready, mut out) = (f.admissions.ready(&f.roster, false), Outbox::default());
        let grant = Grant { cluster: CLUSTER, genesis: f.me.id, by: f.me.id, file: RosterFile::default() };
        f.admissions.answer(&ready, grant, &mut out);
        assert!(matches!(out.pop(), Some(Output::AdmitReply { request: RequestId(2), .. })));
        assert!(out.pop().is_none());
        assert_eq!(f.ask(3, 2, 2), Ok(()), "a member that lost its answer asks again");
        assert_eq!(f.admissions.ready(&f.roster, false).len(), 1);
    }

    #[test]
    fn taken_keys_and_those_who_left_are_refused() {
        let mut f = Fixture::new();
        let entry = f.admit(2);
        assert_eq!(f.ask(0, 2, 3), Err(AdmitError::Taken), "the node with another WireGuard key");
        assert_eq!(f.ask(0, 3, 2), Err(AdmitError::Taken), "another node with its WireGuard key");
        assert_eq!(f.ask(0, 4, 4), Ok(()));
        assert_eq!(f.ask(0, 5, 4), Err(AdmitError::Taken), "also of one that waits");
        let gone = roster::leave(&identity(2).keypair, CLUSTER, &entry, Wall::default()).unwrap();
        f.roster.accept(&gone, &mut f.items).unwrap();
        assert_eq!(f.ask(0, 2, 2), Err(AdmitError::Tombstoned));
    }

    #[test]
    fn who_has_left_admits_nobody() {
        let mut f = Fixture::new();
        let own = roster::admit(&f.me.keypair, CLUSTER, 0, f.me.id, f.me.wg);
        let gone = roster::leave(&f.me.keypair, CLUSTER, &own, Wall::default()).unwrap();
        f.roster.accept(&gone, &mut f.items).unwrap();
        assert_eq!(f.ask(0, 2, 2), Err(AdmitError::Busy));
        assert!(!f.are_waiting());
    }

    #[test]
    fn requests_are_bounded_and_expire() {
        let mut f = Fixture::new();
        let most = u8::try_from(ADMISSIONS_MAX).unwrap();
        for n in 0..most {
            assert_eq!(f.ask(0, 10 + n, 10 + n), Ok(()));
        }
        assert_eq!(f.ask(0, 100, 100), Err(AdmitError::Busy));
        assert_eq!(f.ask(0, 10, 10), Ok(()), "a repeated one needs no room");
        assert_eq!(f.admissions.next_timeout(), Some(Mono::from_ms(15_000)));
        f.admissions.expire(Mono::from_ms(14_999));
        assert_eq!(f.ask(0, 100, 100), Err(AdmitError::Busy));
        f.admissions.expire(Mono::from_ms(15_000));
        assert_eq!(f.ask(0, 100, 100), Ok(()));
    }
}
