//! Who is a member, who lives, what each offers, who publishes (`docs/PROTOCOL.md`).
//! [`Cluster`] is the coordination part: it knows nothing of tor or descriptors beyond the records it carries.
//!
//! - `roster`: members, by a chain of signed admissions from the first node, each an `entry`; `admission` adds to it.
//! - `rotation`: the generations of the cluster `token`, and who is kept from it.
//! - `access`: who may connect to the address; `invites`: who may join through tor. Both are a `ledger`.
//! - `record`: what each node says of itself, signed and versioned; `contacts`: where each is reached.
//! - `gossip`, with `chunk` and `partners`: spreads roster entries, records, the last proven `plan`, the newest rotation and
//!   pause, and the ledgers, all as `item`s with comparable stamps.
//! - `member`: heartbeats, silence, probes, verdicts.
//! - `lease`, with `beacon`, `rank` and `handover`: who publishes.
//! - `command`: what operators ask for while the node runs; `order`: what they ask of one node, at any other.
//! - `pause`: for maintenance, nothing is changed by itself. `presence`: whether clients are to find this node.
//! - `start`: begins from what was saved. `disk`: what must be durable before it is acted on. `stall`: what happens when
//!   the process was stopped.
//!
//! Datagrams come from members only, proven by WireGuard, and reach a part through one `match` in [`Cluster`]. Every
//! part recomputes in its `tick` what should be true now; nothing depends on which input came before.

pub(crate) mod access;
mod admission;
mod beacon;
mod beat;
mod chunk;
mod command;
mod contacts;
mod disk;
mod entry;
#[doc(hidden)]
pub mod exercise;
mod forge;
mod goodbye;
mod gossip;
mod handover;
mod introduction;
mod invites;
mod item;
mod lease;
mod ledger;
mod member;
mod order;
mod partners;
mod pause;
mod plan;
mod presence;
mod rank;
mod receive;
mod record;
pub(crate) mod roster;
mod rotation;
pub(crate) mod sign;
mod stall;
mod start;
pub mod timing;
mod token;
mod token_age;
mod view;
mod walk;
mod wire;

use core::time::Duration;

use rand_core::Rng as _;

use self::access::Admittance;
use self::admission::Admissions;
use self::contacts::Contacts;
use self::disk::{Disk, LeaseFile};
use self::goodbye::{Farewells, Goodbye};
use self::gossip::Gossip;
use self::invites::Invites;
use self::item::{Items, Key};
use self::lease::{Context, Lease};
use self::member::{Judgement, Members};
use self::order::Orders;
use self::partners::Partners;
use self::pause::Pause;
use self::plan::Plans;
use self::rank::{Ranking, Ranks};
use self::record::Records;
use self::roster::Roster;
use self::rotation::Rotations;
use self::stall::{Stall, Stalled};
use self::token_age::TokenAge;
use crate::id::{ClusterId, EffectId, NodeId, WgPublicKey};
use crate::input::EffectError;
use crate::memo::Memo;
use crate::output::{DurableKind, Event, Outbox, Peer, TimerName};
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now};

pub use self::access::{Access, AccessChange, CLIENTS_MAX};
pub use self::command::CommandError;
pub use self::forge::{Forger, unknown_item, unknown_kind};
pub use self::invites::{INVITE_USES_MAX, InviteStatus, NewInvite};
pub use self::order::{GivenOrder, Order, Ordered};
pub use self::plan::{PlanNode, ProvenPlan, Publication};
pub use self::receive::PeerError;
pub use self::record::{CONTACT_MAX, HEADER_MAX, Local, NAME_MAX, NodeState, Record};
pub use self::sign::NodeKeypair;
pub use self::token::ClusterToken;
pub use self::view::{ClockOffset, Liveness, Member, Role, View};
pub use self::wire::VERSION as PROTOCOL_VERSION;

/// Everything the coordination part is told once. All durations are in `timing.rs`.
pub struct ClusterConfig {
    /// Our signing key.
    pub keypair: NodeKeypair,
    /// Our WireGuard key.
    pub wg: WgPublicKey,
    /// The cluster.
    pub cluster: ClusterId,
    /// The first node: root of the admission chain (may be ourselves).
    pub genesis: NodeId,
    /// The token the node was set up with, or the last it told the shell ([`Output::Token`]).
    pub token: ClusterToken,
    /// Lower is preferred as publisher, 0..=255.
    pub priority: u8,
    /// Share of clients, 1..=1000.
    pub weight: u16,
    /// At most 32 bytes, for people.
    pub name: String,
    /// Where peers can reach our mesh socket, in the shell's words, at most 64 bytes.
    pub contact: Option<String>,
    /// As the publisher, replace a token that is older; `None`: never.
    pub token_age_max: Option<Duration>,
}

/// Who we are: the configuration without what has a part of its own.
#[derive(Debug)]
struct Identity {
    keypair: NodeKeypair,
    id: NodeId,
    wg: WgPublicKey,
    cluster: ClusterId,
    priority: u8,
    weight: u16,
    name: String,
    contact: Option<String>,
}

/// The coordination part. `Debug` shows the whole state but secrets: equal text means equal state.
#[derive(Debug)]
pub struct Cluster {
    me: Identity,
    rng: Rng,
    roster: Roster,
    rotations: Rotations,
    token_age: TokenAge,
    records: Records,
    plans: Plans,
    items: Items,
    gossip: Gossip,
    partners: Partners,
    members: Members,
    lease: Lease,
    admittance: Admittance,
    admissions: Admissions,
    invites: Invites,
    disk: Disk,
    stall: Stall,
    publication: Publication,
    /// The lease's file as it was last wanted.
    wanted_lease: Option<LeaseFile>,
    /// [`Items::durable_changes`] and [`Contacts::changes`] when files were last made.
    saved_changes: Option<(u64, u64)>,
    contacts: Contacts,
    beat: u64,
    beat_at: Mono,
    role: Role,
    role_since: Mono,
    build_era: u64,
    alone_since: Option<Mono>,
    goodbye: Option<Goodbye>,
    /// Since when this node does not serve.
    out_since: Option<Mono>,
    farewells: Farewells,
    ranking: Ranking,
    orders: Orders,
    pause: Pause,
    /// The members as [`View`] shows them, by what roster, records and verdicts they follow from.
    seen: Memo<([u8; 16], u64, u64), Vec<Member>>,
    /// What [`Cluster::peers`] says of members.
    mates: Memo<([u8; 16], u64), Vec<Peer>>,
}

/// What ranks are computed from, borrowing no more than that.
macro_rules! ranks {
    ($cluster:expr) => {
        Ranks {
            me: &$cluster.me,
            roster: &$cluster.roster,
            records: &$cluster.records,
            members: &$cluster.members,
            ranking: &$cluster.ranking,
        }
    };
}

/// What the lease looks at, borrowing no more than that.
macro_rules! context {
    ($cluster:expr) => {
        Context {
            ranks: ranks!($cluster),
            items: &$cluster.items,
            publication: &$cluster.publication,
            generation: $cluster.rotations.generation(),
            durable: $cluster.disk.is_settled(DurableKind::Lease),
        }
    };
}
use {context, ranks};

impl Cluster {
    /// A persist ended; false if it was none of ours.
    pub fn handle_done(&mut self, now: Now, id: EffectId, result: &Result<(), EffectError>, out: &mut Outbox) -> bool {
        self.disk.done(now.mono, id, result, out)
    }

    /// What this node can say of itself; no effect if unchanged.
    pub fn set_local(&mut self, now: Now, local: Local, _out: &mut Outbox) {
        if self.records.set_local(&self.me, &mut self.items, local) {
            self.push_own(now.mono);
        }
    }

    /// What publication contributes.
    pub fn set_publication(&mut self, now: Now, publication: Publication, out: &mut Outbox) {
        if publication == self.publication {
            return;
        }
        if self.plans.publish(&self.me, &mut self.items, &publication) {
            let targets = self.push_targets(now.mono);
            self.gossip.push(now.mono, &self.items, Key::Plan, targets);
        }
        self.publication = publication;
        self.save(out, now.mono);
    }

    /// Does whatever is due. Idempotent; early, late or twice is harmless. Detects stalls (a tick > 500 ms late).
    pub fn tick(&mut self, now: Now, out: &mut Outbox) {
        self.notice_stall(now.mono);
        self.judge(now.mono, out);
        self.keep_records(now);
        self.keep_pause(now.mono, out);
        self.keep_presence(now.mono);
        self.keep_orders(now, out);
        self.keep_lease(now.mono, out);
        self.keep_token(now, out);
        self.keep_token_young(now, out);
        self.keep_access(now.mono, out);
        self.keep_invites(now, out);
        self.say_goodbye(now, out);
        self.farewells.tick(now.mono, &self.items, out);
        if now.mono >= self.beat_at {
            self.heartbeat(now, out);
        }
        self.gossip.tick(now.mono, &self.items, &self.roster, out);
        if self.gossip.is_digest_due(now.mono) {
            let mut live = self.partners(now.mono);
            live.retain(|node| self.members.liveness(*node) != Liveness::Down);
            pick(live, 1, &mut self.rng).into_iter().for_each(|to| gossip::compare(&self.items, to, out));
        }
        self.save(out, now.mono);
        self.admissions.expire(now.mono);
        self.answer_admissions(now.mono, out);
        self.stall.expect(self.next_timeout().map(|(at, _)| at));
    }

    /// When to be woken, and why.
    pub fn next_timeout(&self) -> Option<(Mono, TimerName)> {
        let timers = [
            (self.goodbye.as_ref().and_then(Goodbye::next_timeout), TimerName::Shutdown),
            (self.farewells.next_timeout(), TimerName::Shutdown),
            (self.next_token_step(), TimerName::Gossip),
            (self.token_age.next_timeout(), TimerName::Gossip),
            (Some(self.beat_at), TimerName::Beat),
            (self.lease.next_timeout(self.stall.ticked_at(), context!(self)), TimerName::Lease),
            (self.members.next_timeout(), TimerName::Probe),
            (self.gossip.next_timeout(), TimerName::Gossip),
            (self.disk.next_timeout(), TimerName::Gossip),
            (self.admissions.next_timeout(), TimerName::Gossip),
            (self.stall.next_timeout(), TimerName::Publish),
            (self.presence_timeout(), TimerName::TorPoll),
            (self.orders.next_timeout(), TimerName::Gossip),
            (self.pause.next_timeout(), TimerName::Gossip),
        ];
        timers.into_iter().filter_map(|(at, name)| Some((at?, name))).min()
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.roster.members().keys().copied().filter(|node| *node != self.me.id)
    }

    /// Whom to tell what others should know, too: every other member, or in a large cluster our partners.
    fn partners(&mut self, now: Mono) -> Vec<NodeId> {
        let Self { me, roster, members, partners, rng, .. } = self;
        let others = roster.members().keys().copied().filter(|node| *node != me.id);
        let may_live = |node: NodeId| roster.contains(node) && members.liveness(node) != Liveness::Down;
        match Partners::are_few(roster.len()) {
            true => partners.choose(now, others, may_live, rng).to_vec(),
            false => others.collect(),
        }
    }

    fn notice_stall(&mut self, now: Mono) {
        let epoch_seq = self.lease.holding().map(|_| self.lease.newest());
        let Some(stalled) = self.stall.notice(now, epoch_seq).filter(|_| !is_broken(Rule::DiscardAtStall)) else {
            return;
        };
        self.build_era += 1;
        if let Stalled::Until(grace_until) = stalled {
            self.members.stall(now, grace_until);
            self.lease.stall(grace_until);
        }
    }

    fn judge(&mut self, now: Mono, out: &mut Outbox) {
        let holder = self.lease.holder(now).map(|(node, _)| node);
        let hearer = ranks!(self).hearers(holder).contains(&self.me.id);
        let hearer = hearer && !is_broken(Rule::OwnEvidenceOfDeath);
        let told = if hearer { None } else { self.lease.told(now, ranks!(self)) };
        let judgement = Judgement { hearer, holder: self.lease.last_holder(), told };
        self.members.tick(now, self.me.id, &self.roster, &judgement, &mut self.rng, out);
    }

    fn keep_records(&mut self, now: Now) {
        self.roster.prune(now.wall, &mut self.items);
        self.records.retain_members(&self.roster, &mut self.items);
        self.contacts.retain_members(&self.roster);
    }

    fn keep_lease(&mut self, now: Mono, out: &mut Outbox) {
        let is_member = self.roster.contains(self.me.id);
        if self.roster.len() <= 1 || !is_member {
            self.lease.rest();
        } else {
            self.want_lease();
            self.lease.vacate(now, &self.roster);
            self.lease.tick(now, context!(self), &mut self.rng, out);
        }
        let role = self.role();
        if role != self.role {
            self.alone_since = (role == Role::Alone).then_some(now);
            self.build_era += 1;
            self.role = role;
            self.role_since = now;
            out.event(Event::Role(role));
        }
    }
}

/// At most `count` of `nodes`, at random, in random order.
fn pick(mut nodes: Vec<NodeId>, count: usize, rng: &mut Rng) -> Vec<NodeId> {
    if nodes.len() <= count {
        return nodes;
    }
    for at in 0..count {
        let left = u64::try_from(nodes.len() - at).unwrap_or(1);
        let other = at + usize::try_from(rng.next_u64() % left).unwrap_or_default();
        nodes.swap(at, other);
    }
    nodes.truncate(count);
    nodes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::wire::Message;
    use super::*;
    use crate::output::Output;

    pub(crate) const CLUSTER: ClusterId = ClusterId([1; 32]);

    /// The datagrams in `out`, decoded; drains it.
    pub(super) fn sent(out: &mut Outbox) -> Vec<(NodeId, Message)> {
        let outputs = core::iter::from_fn(|| out.pop());
        let sent = outputs.filter_map(|output| {
            let Output::SendPeer { to, bytes } = output else { return None };
            Some((to, Message::decode(&bytes).unwrap()))
        });
        sent.collect()
    }

    pub(super) fn identity(n: u8) -> Identity {
        let keypair = NodeKeypair::from_seed(&[n; 32]);
        let id = keypair.id();
        let (name, wg) = (format!("node{n}"), WgPublicKey([n; 32]));
        Identity { keypair, id, wg, cluster: CLUSTER, priority: 100, weight: 100, name, contact: None }
    }
}
