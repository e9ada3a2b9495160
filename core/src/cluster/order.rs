//! Orders: what an operator wants of one node, given at that node or at any other member.
//!
//! A record is its owner's own word, so the order travels to the owner, signed by the member that took it, and the owner
//! obeys and says so in its record. An order names the record that it acts on: once the owner has obeyed another one, or
//! has been restarted, it refuses what was ordered before, and so nothing old can be repeated. Who gives an order signs it
//! anew with every try, for the newest record that it knows.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::sign::{self, Purpose, Unverified, hash16};
use super::timing::{ORDER_AGAIN, ORDER_TRIES, ORDERS_MAX, STEP_DOWN_SECS_MAX};
use super::wire::Message;
use super::{Cluster, CommandError, Identity, Liveness, NodeState, PeerError, Ranks, ranks};
use crate::id::NodeId;
use crate::output::{DurableKind, Outbox};
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now};

/// What a node can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Serve no new clients until [`Order::Undrain`], over restarts too; open sessions go on.
    Drain,
    /// Serve again.
    Undrain,
    /// Take this share of clients, 1 to 1000, instead of what the configuration says; `None`: what it says.
    Weight(Option<u16>),
    /// Have this priority as publisher, lower is preferred, instead of what the configuration says; `None`: what it says.
    Priority(Option<u8>),
    /// Hand the lease over, and for so many seconds, at most a day, have the worst priority.
    StepDown(u32),
}

impl Order {
    fn is_within_bounds(self) -> bool {
        match self {
            Self::Weight(Some(weight)) => (1..=1000).contains(&weight),
            Self::StepDown(secs) => secs <= STEP_DOWN_SECS_MAX,
            Self::Drain | Self::Undrain | Self::Weight(None) | Self::Priority(_) => true,
        }
    }
}

impl core::fmt::Display for Order {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Drain => f.write_str("drain"),
            Self::Undrain => f.write_str("undrain"),
            Self::Weight(Some(weight)) => write!(f, "weight {weight}"),
            Self::Weight(None) => f.write_str("weight default"),
            Self::Priority(Some(priority)) => write!(f, "priority {priority}"),
            Self::Priority(None) => f.write_str("priority default"),
            Self::StepDown(secs) => write!(f, "step-down for {secs} s"),
        }
    }
}

/// Why a node does not obey, as it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    Stopping,
    LastServing,
    NotHolder,
    NobodyElse,
    /// Another order, or a restart, came first.
    Overtaken,
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stopping => Self::Stopping,
            Refusal::LastServing => Self::LastServing,
            Refusal::NotHolder => Self::NotHolder,
            Refusal::NobodyElse => Self::NobodyElse,
            Refusal::Overtaken => Self::Overtaken,
        }
    }
}

/// An order as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    by: NodeId,
    to: NodeId,
    /// Of the record that it acts on.
    acts_on: (u64, u64),
    order: Order,
}

/// What this node was ordered and keeps over restarts, as its file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Out of service.
    pub draining: bool,
    /// Instead of what the configuration says.
    pub weight: Option<u16>,
    /// Instead of what the configuration says.
    pub priority: Option<u8>,
}

impl Ordered {
    /// One order a line.
    pub fn lines(self) -> Vec<String> {
        let weight = self.weight.map(|weight| Order::Weight(Some(weight)));
        let priority = self.priority.map(|priority| Order::Priority(Some(priority)));
        let drain = self.draining.then_some(Order::Drain);
        [drain, weight, priority].into_iter().flatten().map(|order| order.to_string()).collect()
    }

    /// Writes it into our record.
    pub(super) fn apply(self, me: &Identity, stood_down: bool, record: &mut Record) {
        if record.state != NodeState::Leaving {
            record.state = if self.draining { NodeState::Draining } else { NodeState::Active };
        }
        record.eligible &= record.state == NodeState::Active;
        record.weight = self.weight.unwrap_or(me.weight);
        record.priority = if stood_down { u8::MAX } else { self.priority.unwrap_or(me.priority) };
    }
}

/// An order given here, for another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenOrder {
    /// What.
    pub order: Order,
    /// What has come of it; `None`: it is on its way.
    pub outcome: Option<Result<(), CommandError>>,
    tries: u32,
    next_at: Mono,
    hash: [u8; 16],
}

/// Orders that we obey, and those we give.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) ordered: Ordered,
    /// Until then our priority is the worst.
    stood_down_until: Option<Mono>,
    /// An order that acts on an older record of ours comes too late.
    floor: (u64, u64),
    /// The last order obeyed, by whom, and whether that one still waits to hear that it is on disk.
    obeyed: Option<([u8; 16], NodeId, bool)>,
    /// The last one for each node; at most [`ORDERS_MAX`].
    given: BTreeMap<NodeId, GivenOrder>,
}

impl Orders {
    pub(super) fn new(ordered: Ordered) -> Self {
        Self { ordered, ..Self::default() }
    }

    /// Whether there is room for an order to `node`, and it has answered the last one.
    fn may_give(&self, node: NodeId) -> bool {
        let is_waited_for = |given: &GivenOrder| given.outcome.is_none();
        let has_room = self.given.values().filter(|given| is_waited_for(given)).count() < ORDERS_MAX;
        has_room && !self.given.get(&node).is_some_and(is_waited_for)
    }

    /// Notes an order that may be given; those that are answered make room.
    fn give(&mut self, node: NodeId, given: GivenOrder) {
        if self.given.len() >= ORDERS_MAX {
            self.given.retain(|_, given| given.outcome.is_none());
        }
        self.given.insert(node, given);
    }

    /// When there is something to do.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        let given = self.given.values().filter(|given| given.outcome.is_none()).map(|given| given.next_at);
        given.chain(self.stood_down_until).min()
    }
}

impl Cluster {
    /// Has `node` follow an order: at once if that is us, else it is on its way, and [`Cluster::given_orders`] tells what
    /// comes of it.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`; `Unknown`; `Silent` if that node is not live; `Busy` if it has not answered the last one;
    /// `LastServing`, `NotHolder`, `NobodyElse`; `OutOfRange`.
    pub fn order(&mut self, now: Now, node: NodeId, order: Order, out: &mut Outbox) -> Result<(), CommandError> {
        if !order.is_within_bounds() {
            return Err(CommandError::OutOfRange);
        }
        if node == self.me.id {
            self.obey(now, order, out)?;
            return Ok(());
        }
        self.may_order(node, order)?;
        let given = GivenOrder { order, outcome: None, tries: 0, next_at: now.mono, hash: [0; 16] };
        self.orders.give(node, given);
        self.keep_orders(now, out);
        Ok(())
    }

    fn may_order(&self, node: NodeId, order: Order) -> Result<(), CommandError> {
        self.may_command()?;
        if !self.roster.contains(node) {
            return Err(CommandError::Unknown);
        }
        if self.members.liveness(node) != Liveness::Live || self.records.get(node).is_none() {
            return Err(CommandError::Silent);
        }
        if order == Order::Drain && !self.does_one_serve_beside(node) {
            return Err(CommandError::LastServing);
        }
        if !self.orders.may_give(node) {
            return Err(CommandError::Busy);
        }
        Ok(())
    }

    /// The last order given here to each other node.
    pub fn given_orders(&self) -> impl Iterator<Item = (&NodeId, &GivenOrder)> {
        self.orders.given.iter()
    }

    /// What this node was ordered.
    pub fn ordered(&self) -> Ordered {
        self.orders.ordered
    }

    /// Until when our priority is the worst, if so.
    pub fn stood_down_until(&self) -> Option<Mono> {
        self.orders.stood_down_until
    }

    /// Follows an order.
    fn obey(&mut self, now: Now, order: Order, out: &mut Outbox) -> Result<(), Refusal> {
        if self.goodbye.is_some() {
            return Err(Refusal::Stopping);
        }
        if order == Order::Drain && !self.orders.ordered.draining && !self.does_another_serve() {
            return Err(Refusal::LastServing);
        }
        let ordered = &mut self.orders.ordered;
        match order {
            Order::Drain => ordered.draining = true,
            Order::Undrain => ordered.draining = false,
            Order::Weight(weight) => ordered.weight = weight,
            Order::Priority(priority) => ordered.priority = priority,
            Order::StepDown(secs) => {
                // Who has stepped down may be told so again: our answer was lost, or the disk slow, and each try is signed
                // anew for the record that shows the last one obeyed.
                let holds = self.lease.holding().is_some();
                if !holds && self.orders.stood_down_until.is_none() {
                    return Err(Refusal::NotHolder);
                }
                if holds {
                    if !ranks!(self).is_another_eligible() {
                        return Err(Refusal::NobodyElse);
                    }
                    self.lease.release(now.mono);
                }
                let long = core::time::Duration::from_secs(secs.into());
                self.orders.stood_down_until = Some(now.mono.plus(long));
            }
        }
        self.disk.want(DurableKind::Orders, sign::encode(&self.orders.ordered));
        self.show_orders(now.mono);
        self.orders.floor = self.records.own().order();
        self.save(out, now.mono);
        Ok(())
    }

    /// Our record says what we were ordered.
    fn show_orders(&mut self, now: Mono) {
        let Self { orders, me, .. } = self;
        let (ordered, stood_down) = (orders.ordered, orders.stood_down_until.is_some());
        if self.records.amend(me, &mut self.items, |record| ordered.apply(me, stood_down, record)) {
            self.push_own(now);
        }
    }

    /// The configuration has changed while we run.
    ///
    /// # Errors
    /// `OutOfRange`.
    pub fn reconfigure(&mut self, now: Now, weight: u16, priority: u8) -> Result<(), CommandError> {
        if !Order::Weight(Some(weight)).is_within_bounds() {
            return Err(CommandError::OutOfRange);
        }
        (self.me.weight, self.me.priority) = (weight, priority);
        self.show_orders(now.mono);
        Ok(())
    }

    /// An order from a member.
    ///
    /// # Errors
    /// State unchanged: malformed, out of bounds, not for us, not by a member, or badly signed.
    pub(super) fn on_order(&mut self, now: Now, from: NodeId, blob: &[u8], out: &mut Outbox) -> Result<(), PeerError> {
        let signed = Unverified::<Signed>::decode(blob).ok_or(PeerError::Malformed)?;
        let Signed { by, to, order, .. } = *signed.claim();
        if to != self.me.id || !order.is_within_bounds() {
            return Err(PeerError::Malformed);
        }
        if !self.roster.contains(by) {
            return Err(PeerError::NotAMember);
        }
        let signed = signed.verify(by, Purpose::Order, self.me.cluster).ok_or(PeerError::BadSignature)?;
        let hash = hash16(blob);
        let is_repeated = self.orders.obeyed.is_some_and(|(obeyed, ..)| obeyed == hash);
        if !is_repeated {
            let refused = match signed.acts_on < self.orders.floor.max((self.records.own().incarnation, 0)) {
                true => Err(Refusal::Overtaken),
                false => self.obey(now, order, out),
            };
            if let Err(refusal) = refused {
                Message::Obeyed { hash, refused: Some(refusal) }.send(from, out);
                return Ok(());
            }
        }
        self.orders.obeyed = Some((hash, from, true));
        self.answer_order(out);
        Ok(())
    }

    /// Says that an order is obeyed, once a restart would not undo it.
    fn answer_order(&mut self, out: &mut Outbox) {
        if let Some((hash, from, waits @ true)) = &mut self.orders.obeyed
            && (self.disk.is_settled(DurableKind::Orders) || is_broken(Rule::OrderOnDisk))
        {
            *waits = false;
            Message::Obeyed { hash: *hash, refused: None }.send(*from, out);
        }
    }

    /// What another node says of our order.
    ///
    /// # Errors
    /// State unchanged: it was given none like that, or has answered it.
    pub(super) fn on_obeyed(
        &mut self,
        from: NodeId,
        hash: [u8; 16],
        refused: Option<Refusal>,
    ) -> Result<(), PeerError> {
        let given = self.orders.given.get_mut(&from).filter(|given| given.outcome.is_none() && given.hash == hash);
        let given = given.ok_or(PeerError::Stale)?;
        // We know an older record than its own: it is on its way.
        if refused != Some(Refusal::Overtaken) || given.tries >= ORDER_TRIES {
            given.outcome = Some(refused.map_or(Ok(()), |refusal| Err(refusal.into())));
        }
        Ok(())
    }

    /// Sends what is not answered, answers what is on disk, and ends a time of worst priority.
    pub(super) fn keep_orders(&mut self, now: Now, out: &mut Outbox) {
        self.answer_order(out);
        if self.orders.stood_down_until.is_some_and(|until| now.mono >= until) {
            self.orders.stood_down_until = None;
            self.show_orders(now.mono);
        }
        let Self { orders, roster, records, me, .. } = self;
        orders.given.retain(|node, _| roster.contains(*node));
        let waiting = orders.given.iter_mut().filter(|(_, given)| given.outcome.is_none() && now.mono >= given.next_at);
        for (node, given) in waiting {
            let record = records.get(*node).filter(|_| given.tries < ORDER_TRIES);
            let Some(record) = record else {
                given.outcome = Some(Err(CommandError::Silent));
                continue;
            };
            let signed = Signed { by: me.id, to: *node, acts_on: record.order(), order: given.order };
            let blob = sign::seal(&me.keypair, Purpose::Order, me.cluster, &signed);
            given.hash = hash16(&blob);
            given.tries += 1;
            given.next_at = now.mono.plus(ORDER_AGAIN);
            Message::Order(blob).send(*node, out);
        }
    }
}
