//! A snapshot for operators: what `rustbalance status --json` prints. Times are ages in milliseconds.

use serde::{Deserialize, Serialize};

use crate::cluster::{Access, GivenOrder, Liveness, Member, NodeState};
use crate::id::{NodeId, hex};
use crate::time::{Mono, Now};

/// The whole node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Software version.
    pub version: String,
    /// The master address, with `.onion`.
    pub address: String,
    /// This node, 64 hex digits.
    pub node: String,
    /// Its name.
    pub name: String,
    /// `alone`, `follower` or `holder`.
    pub role: String,
    /// Newest epoch known.
    pub epoch: u64,
    /// The holder's node id, if known.
    pub holder: Option<String>,
    /// `native` or `merged`.
    pub mode: String,
    /// Our tors, one line each: `ready`, `bootstrapping 45`, ...
    pub tors: Vec<String>,
    /// `up` or `down`.
    pub target: String,
    /// Connections open through the proxy.
    pub sessions: usize,
    /// This machine's clock beside the others'.
    #[serde(default)]
    pub clock: ClockStatus,
    /// This machine.
    #[serde(default)]
    pub host: HostStatus,
    /// What is wrong with the two, or that somebody else publishes the address, and what to do, a line each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Who may connect.
    pub access: AccessStatus,
    /// `in`, `going out` (out of service, and what is published may still name it) or `out` (introduction circuits that
    /// clients may know are closed).
    pub presence: String,
    /// What this node was ordered and keeps over restarts, one line each: it goes before the configuration.
    pub ordered: Vec<String>,
    /// It has stepped down, and has the worst priority for so much longer.
    pub stood_down_ms: Option<u64>,
    /// The cluster is paused.
    pub paused: Option<PauseStatus>,
    /// The last order given here to each other node.
    pub orders: Vec<OrderStatus>,
    /// Live members that have not said, since anything changed here, that they know all that this node knows.
    pub unheard: Vec<String>,
    /// Files of the state directory whose newest content is not on the disk yet: a restart would undo it.
    #[serde(default)]
    pub unsaved: Vec<String>,
    /// The roster.
    pub members: Vec<MemberStatus>,
    /// What is published.
    pub publication: PublicationStatus,
    /// Refused inputs by name.
    pub rejected: std::collections::BTreeMap<String, u64>,
}

/// This machine's clock beside those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ClockStatus {
    /// How many milliseconds it is ahead of the middle of them, behind if negative; none while no other's is known.
    pub ahead_ms: Option<i64>,
    /// How many others are known.
    pub others: usize,
}

/// This machine; what could not be measured is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct HostStatus {
    /// File handles of the node's process.
    pub files: Option<u64>,
    /// How many it may have.
    pub files_max: Option<u64>,
    /// Memory of the group of processes that has a limit, or of the node's process where there is none.
    pub memory_bytes: Option<u64>,
    /// The limit.
    pub memory_max_bytes: Option<u64>,
    /// What is free where the state directory is.
    pub disk_free_bytes: Option<u64>,
}

/// Who may connect to the address, as far as this node knows. Who they are is not for everybody who watches the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
pub struct AccessStatus {
    /// Authorised clients alone.
    pub restricted: bool,
    /// How many there are.
    pub clients: usize,
}

impl From<&Access> for AccessStatus {
    fn from(access: &Access) -> Self {
        Self { restricted: access.is_restricted(), clients: access.clients().count() }
    }
}

/// A pause of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// Who took the order, 64 hex digits.
    pub by: String,
    /// Until it ends by itself.
    pub left_ms: u64,
}

/// An order that was given at this node for another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// 64 hex digits.
    pub node: String,
    /// In words.
    pub order: String,
    /// `sent`, `obeyed` or `refused`.
    pub state: String,
    /// Why it was refused.
    pub why: Option<String>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// 64 hex digits.
    pub node: String,
    /// Its name, empty if no record yet.
    pub name: String,
    /// `live`, `unknown`, `down`.
    pub liveness: String,
    /// In that state for this long.
    pub since_ms: u64,
    /// `active`, `draining`, `leaving`; empty if no record yet.
    pub state: String,
    /// Priority.
    pub priority: u8,
    /// Share of clients.
    pub weight: u16,
    /// Points in its record.
    pub introduction_points: usize,
    /// Points of it in the current plan.
    pub planned_points: usize,
    /// Its tor is ready.
    pub tor_ready: bool,
    /// Its target answers.
    pub target_up: bool,
    /// Since we last heard it ourselves.
    #[serde(default)]
    pub heard_ms: Option<u64>,
    /// Since the last handshake of the tunnel to it.
    #[serde(default)]
    pub handshake_ms: Option<u64>,
    /// How many milliseconds its clock is ahead of ours, behind if negative, if it has told us within an hour.
    #[serde(default)]
    pub clock_ahead_ms: Option<i64>,
}

/// Publication: on the holder its own work, on others empty but for the plan they know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
pub struct PublicationStatus {
    /// The time period that clients use, by tor's newest consensus.
    pub period: Option<PeriodStatus>,
    /// Introduction points in the plan, hex of the auth keys, with their node.
    pub points: Vec<PlannedPoint>,
    /// Points left out and why.
    pub left_out: Vec<String>,
    /// How many different descriptors list them: one, or as many as HSDirs that clients read; 0 on others than the holder.
    pub descriptors: usize,
    /// Of a million fresh clients, how many are meant for each node (64 hex digits); of no node on others than the holder.
    pub shares: std::collections::BTreeMap<String, u32>,
    /// Per slot and HSDir.
    pub slots: Vec<SlotStatus>,
    /// Every HSDir of both slots has confirmed the current plan.
    pub confirmed: bool,
    /// So it has, and those of the current slot have given it back; the other slot's cannot be asked.
    pub proven: bool,
    /// Why nothing is being uploaded, if so.
    pub waiting: Option<String>,
    /// Whether clients find proof of work in what they read, in words, if a node offers any.
    #[serde(default)]
    pub pow: Option<String>,
}

/// A time period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodStatus {
    /// Its number.
    pub number: u64,
    /// Its length.
    pub length_minutes: u32,
}

/// A point in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedPoint {
    /// 64 hex digits.
    pub node: String,
    /// 64 hex digits.
    pub auth_key: String,
    /// Relay fingerprint.
    pub relay: String,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// `first` or `second`.
    pub slot: String,
    /// Time period number.
    pub period: u64,
    /// Whether clients fetch this one now.
    pub current: bool,
    /// Revision counter last confirmed.
    pub revision: Option<u64>,
    /// The HSDirs.
    pub hsdirs: Vec<HsDirStatus>,
}

/// One HSDir of a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HsDirStatus {
    /// Relay fingerprint.
    pub relay: String,
    /// `wanted`, `sent`, `confirmed` (it says that it has the plan), `verified` (it has also given it back), `refused`;
    /// or what it gave back instead, and is served again for: `gone`, `stale`, `foreign` (another publisher's).
    pub state: String,
    /// Last failure, if any.
    pub failure: Option<String>,
    /// Since the last confirmation.
    pub confirmed_ms: Option<u64>,
    /// Since it last gave back what it confirmed.
    pub verified_ms: Option<u64>,
}

impl OrderStatus {
    pub(crate) fn new(node: NodeId, given: &GivenOrder) -> Self {
        Self {
            node: hex(&node.0),
            order: given.order.to_string(),
            state: match given.outcome {
                None => "sent",
                Some(Ok(())) => "obeyed",
                Some(Err(_)) => "refused",
            }
            .to_owned(),
            why: given.outcome.and_then(Result::err).map(|why| why.to_string()),
        }
    }
}

fn age_ms(now: Now, at: Mono) -> u64 {
    now.mono.as_ms().saturating_sub(at.as_ms())
}

impl MemberStatus {
    pub(crate) fn new(
        now: Now,
        member: &Member,
        (heard_at, clock_ahead_ms): (Option<Mono>, Option<i64>),
        publication: &PublicationStatus,
    ) -> Self {
        let node = hex(&member.node.0);
        let record = member.record.as_ref();
        Self {
            name: record.map(|record| record.name.clone()).unwrap_or_default(),
            liveness: match member.liveness {
                Liveness::Live => "live",
                Liveness::Unknown => "unknown",
                Liveness::Down => "down",
            }
            .to_owned(),
            since_ms: age_ms(now, member.since),
            state: match record.map(|record| record.state) {
                Some(NodeState::Active) => "active",
                Some(NodeState::Draining) => "draining",
                Some(NodeState::Leaving) => "leaving",
                None => "",
            }
            .to_owned(),
            priority: record.map_or(0, |record| record.priority),
            weight: record.map_or(0, |record| record.weight),
            introduction_points: record.map_or(0, |record| record.points.len()),
            planned_points: publication.points.iter().filter(|point| point.node == node).count(),
            tor_ready: record.is_some_and(|record| record.tor_ready),
            target_up: record.is_some_and(|record| record.target_up),
            heard_ms: heard_at.map(|at| age_ms(now, at)),
            handshake_ms: None,
            clock_ahead_ms,
            node,
        }
    }
}
